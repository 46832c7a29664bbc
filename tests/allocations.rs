//! What a packet allocates, counted: nothing in the engine, and one event a cycle where somebody listens.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use micring::array::{ArrayId, Layout as Array};
use micring::conn::ConnId;
use micring::cycle::{Clocks, Cycle};
use micring::engine::{Borders, ClockChoice, Config, Datagram, Engine, Hold, Output};
use micring::http::{Action, House, HttpConfig, LocalTime, Server, Source, StreamFigures};
use micring::report::Metrics;
use micring::sim::{Delay, Loss, Network, Rate, Scenario, Sim};
use micring::time::{FramePos, KernelTime, Span};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; the counter touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What HTTP asks for while it streams: the history.
struct View<'a>(&'a Engine);

const ARRAY: ArrayId = ArrayId(0);

impl House for View<'_> {
    fn find(&self, _: &str) -> Option<ArrayId> {
        None
    }
    fn first(&self) -> Option<ArrayId> {
        Some(ARRAY)
    }
    fn array(&mut self, _: ArrayId) -> &mut dyn Source {
        self
    }
    fn arrays(&mut self) -> Bytes {
        Bytes::new()
    }
    fn ids(&self) -> Vec<ArrayId> {
        vec![ARRAY]
    }
    fn entry(&mut self, _: ArrayId) -> Option<String> {
        None
    }
    fn measure(&mut self, _: ArrayId, _: bool, _: &StreamFigures, _: &mut Metrics) -> bool {
        false
    }
    fn families(&mut self, _: Metrics) -> Vec<String> {
        Vec::new()
    }
    fn metrics(&mut self, _: &dyn Fn(ArrayId) -> StreamFigures) -> Bytes {
        Bytes::new()
    }
    fn health(&mut self) -> Result<(), String> {
        Ok(())
    }
}

impl Source for View<'_> {
    fn name(&self) -> &str {
        "default"
    }
    fn diagnostics_sync(&mut self, _: &StreamFigures) -> Bytes {
        Bytes::new()
    }
    fn diagnostics(&mut self, _: &StreamFigures) -> Bytes {
        Bytes::new()
    }
    fn latest(&mut self) -> Bytes {
        Bytes::new()
    }
    fn metrics(&mut self, _: &StreamFigures) -> Bytes {
        Bytes::new()
    }
    fn health(&mut self) -> Result<(), String> {
        Ok(())
    }
    fn channels(&self) -> usize {
        self.0.layout().channels()
    }
    fn sample_rate(&self) -> u32 {
        48_000
    }
    fn span(&self) -> Range<FramePos> {
        self.0.history().span()
    }
    fn read(&self, from: FramePos, frames: usize, out: &mut Vec<[u8; 4]>) -> Option<()> {
        self.0.history().append_to(out, from, frames)
    }
    fn cycle(&self, id: u64) -> Option<Cycle> {
        self.0.history().cycle(id)
    }
    fn cycle_ids(&self) -> Range<u64> {
        self.0.history().ids()
    }
    fn local_time(&self, _: KernelTime) -> LocalTime {
        LocalTime(*b"2026-11-22 11:05:00")
    }
}

/// Carries out what the server asks for: every send completes at once.
fn carry_out(server: &mut Server, engine: &Engine, clocks: Clocks) {
    while let Some(action) = server.poll_action(&mut View(engine)) {
        if let Action::Send(id, bytes) = action {
            let count = bytes.len();
            drop(bytes);
            server.sent(id, count, clocks);
        }
    }
}

/// Allocations and cycles of free boards that are resampled, from the twentieth second on.
fn resampled() -> (u64, u64) {
    let config = Config {
        layout: Array::mono(3),
        sample_rate: 48_000,
        clock: ClockChoice::Independent,
        hold: Hold::Auto,
        resample: true,
        history: Span::from_secs(5),
        max_datagram: 8192,
    };
    let mut engine = Engine::new(config);
    let rates = [20.0, -15.0, 3.0].map(Rate::Constant).to_vec();
    let mut sim = Sim::new(&Scenario { rates, ..Scenario::three_boards(Span::from_secs(40)) });
    let mut payload = Vec::new();
    let (mut packets, mut cycles, mut counted) = (0_u64, 0_u64, 0_u64);
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        let (sender, len) = (sim.sender(&packet), payload.len());
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        engine.begin_turn(sim.clocks(packet.arrival));
        engine.handle_datagram(&Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len });
        engine.handle_timeout();
        packets += 1;
        while engine.poll_output().is_some() {
            cycles += u64::from(packets > 3 * 94 * 20);
        }
        if packets > 3 * 94 * 20 {
            counted += ALLOCATIONS.load(Ordering::Relaxed) - before;
        }
    }
    (counted, cycles)
}

/// Allocations of boards that lose packets and are listened to, from the sixtieth second on, but for lines for people, what was
/// lost, and what the sound said.
fn in_doubt(scenario: &Scenario, clock: ClockChoice) -> (u64, u64, Borders) {
    let (layout, history) = (Array::mono(3), Span::from_secs(5));
    let (hold, resample, max_datagram) = (Hold::Auto, false, 8192);
    let mut engine =
        Engine::new(Config { layout, sample_rate: 48_000, clock, hold, resample, history, max_datagram }).hearing();
    // Noise of a resonance: what comes next can be told from what came.
    let (mut seed, mut sound) = (1_u32, vec![0_i32; 48_000 * 130]);
    for n in 2..sound.len() {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(seed >> 16) - 32_768.0;
        sound[n] = (1.9 * f64::from(sound[n - 1]) - 0.95 * f64::from(sound[n - 2]) + 64.0 * noise) as i32;
    }
    let mut sim = Sim::new(scenario);
    let mut payload = Vec::with_capacity(2048);
    let (mut packets, mut counted) = (0_u64, 0_u64);
    while let Some(packet) = sim.next() {
        let from = packet.position.0 as usize + 480_000 * packet.mic;
        payload.clear();
        payload.extend(sound[from..from + 512].iter().flat_map(|sample| sample.to_le_bytes()));
        let (sender, len) = (sim.sender(&packet), payload.len());
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        engine.begin_turn(sim.clocks(packet.arrival));
        engine.handle_datagram(&Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len });
        engine.handle_timeout();
        while engine.listen() {}
        let took = ALLOCATIONS.load(Ordering::Relaxed) - before;
        let mut said = false;
        while let Some(output) = engine.poll_output() {
            said |= matches!(output, Output::Log(_));
        }
        packets += 1;
        if packets > 3 * 94 * 60 && !said {
            counted += took;
        }
    }
    let lost = engine.counters().mics.map(|mic| mic.lost).iter().sum();
    (counted, lost, engine.borders())
}

#[test]
fn the_engine_allocates_nothing_a_packet_and_http_one_event_a_cycle() {
    let config = Config {
        layout: Array::mono(3),
        sample_rate: 48_000,
        clock: ClockChoice::Shared,
        hold: Hold::Auto,
        resample: false,
        history: Span::from_secs(5),
        max_datagram: 8192,
    };
    let (counted, cycles) = resampled();
    println!("resampled: {counted} allocations in {cycles} cycles");
    assert!(cycles > 1500);
    assert_eq!(counted, 0, "nor does one that is resampled");
    let exp5 = Delay::Exp(Span::from_millis(5));
    let network = Network { delay: exp5, loss: Loss::Independent(0.03), ..Network::default() };
    let rates = [20.0, -15.0, 3.0].map(Rate::Constant).to_vec();
    let free = Scenario { rates, network, clean_cycles: 200, ..Scenario::three_boards(Span::from_secs(100)) };
    let network = Network { loss: Loss::None, cycle_loss: Loss::Independent(0.03), ..network };
    let shared = Scenario { network, clean_cycles: 200, ..Scenario::one_board(Span::from_secs(100)) };
    for (scenario, clock) in [(free, ClockChoice::Independent), (shared, ClockChoice::Shared)] {
        let (counted, lost, borders) = in_doubt(&scenario, clock);
        println!("{clock:?}, in doubt: {counted} allocations, {lost} lost, {borders:?}");
        assert!(borders.judged > 100 && borders.decided > 0, "the sound was asked: {borders:?}");
        match clock {
            // Cycles that move behind a loss are lifted out of their places.
            ClockChoice::Shared => assert!(counted < 16 * lost, "{counted} for {lost} losses"),
            _ => assert_eq!(counted, 0, "nor does listening"),
        }
    }
    for subscribers in [0_u16, 1, 20] {
        let mut engine = Engine::new(config.clone());
        let mut server = Server::new(HttpConfig::new("127.0.0.1:5000".parse().unwrap()));
        server.add(ARRAY, 0);
        let mut sim = Sim::new(&Scenario::one_board(Span::from_secs(40)));
        let mut payload = Vec::new();
        let (mut packets, mut cycles, mut counted) = (0_u64, 0_u64, 0_u64);
        let mut joined = false;
        while let Some(packet) = sim.next() {
            sim.payload(&packet, &mut payload);
            let sender = sim.sender(&packet);
            let clocks = sim.clocks(packet.arrival);
            if !joined {
                joined = true;
                for n in 0..subscribers {
                    let id = ConnId { slot: n.into(), generation: 0 };
                    assert!(server.accept(id, ([127, 0, 0, 1], 1000 + n).into(), clocks), "below the limits");
                    carry_out(&mut server, &engine, clocks);
                    server.receive(id, b"GET /api/stream_3ch HTTP/1.1\r\nHost: localhost\r\n\r\n", clocks);
                    carry_out(&mut server, &engine, clocks);
                }
            }
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            engine.begin_turn(clocks);
            let len = payload.len();
            engine.handle_datagram(&Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len });
            engine.handle_timeout();
            while let Some(output) = engine.poll_output() {
                if let Output::Cycle(cycle) = output {
                    server.publish_cycle(ARRAY, &cycle, clocks, &View(&engine));
                    cycles += 1;
                }
            }
            carry_out(&mut server, &engine, clocks);
            packets += 1;
            // The first seconds fill what is then kept; 20 s later everything that will ever grow has grown.
            if packets > 3 * 94 * 20 {
                counted += ALLOCATIONS.load(Ordering::Relaxed) - before;
            } else {
                cycles = 0;
            }
        }
        println!("{subscribers} subscribers: {counted} allocations in {cycles} cycles");
        assert!(cycles > 1500);
        match subscribers {
            0 => assert_eq!(counted, 0, "a packet allocates nothing"),
            // The event's bytes, and the count of who shares them.
            _ => assert!(counted <= 2 * cycles, "{counted} allocations in {cycles} cycles, {subscribers} subscribers"),
        }
    }
}
