//! What virtual boards send in a format, through the engine, and where its samples ended up.

use std::collections::{BTreeMap, BTreeSet};

use micring::array::Layout;
use micring::engine::{ClockChoice, Config, Datagram, Engine, Hold, Output};
use micring::sim::encode::{Head, encode};
use micring::sim::{Packet, START_WALL, Scenario, Sim};
use micring::time::{MonoTime, Span};
use micring::wire::Format;

/// Within so much time sources are tied to one axis.
const STARTED: Span = Span::from_secs(2);
/// From a packet's arrival until the loop reads it.
pub const LOOP_DELAY: Span = Span::from_micros(60);

/// A sample that says which it is in its upper 24 bits (16, where a format has no more), and is never 0.
pub fn sample(mic: usize, position: i64) -> i32 {
    (mic as i32 + 1) << 28 | ((position & 0xfff) as i32) << 16 | (((position >> 12) & 0xff) as i32) << 8
}

/// The position of a sample, as many bits of it as `bits` show: the period after which they are the same again.
fn position(sample: i32, bits: u32) -> (i64, i64) {
    let low = i64::from(sample >> 16 & 0xfff);
    if bits == 16 { (low, 1 << 12) } else { (low | i64::from(sample >> 8 & 0xff) << 12, 1 << 20) }
}

pub fn numbered(format: &str) -> Format {
    format.parse().expect(format)
}

pub struct Played {
    pub engine: Engine,
    pub sim: Sim,
    pub logs: Vec<String>,
    /// The longest time that a cycle waited after its newest packet had arrived; once the sources stand on one axis.
    pub held: Span,
    /// Positions of the packets that came, by microphone.
    came: Vec<BTreeSet<i64>>,
    samples: i64,
    bits: u32,
}

/// What the history has of a channel.
pub struct Channel {
    /// Position in the history less the one captured, of all samples that are there.
    pub offsets: BTreeSet<i64>,
    /// Frames of silence in the history, and frames in it that never came.
    pub missing: u64,
    pub withheld: u64,
}

impl Played {
    pub fn channel(&self, mic: usize) -> Channel {
        let history = self.engine.history();
        let span = history.span();
        let (start, frames) = (span.start.0, (span.end - span.start) as usize);
        let channels = history.layout().channels();
        let mut all = Vec::new();
        history.append_to(&mut all, span.start, frames).expect("within the span");
        let (mut offsets, mut missing) = (BTreeMap::<i64, u64>::new(), 0);
        let mut gaps = Vec::new();
        // The offset is small against the period of what a sample tells, once it is known.
        let mut near: Option<i64> = None;
        for (at, word) in all.iter().skip(mic).step_by(channels).enumerate() {
            let (value, here) = (i32::from_le_bytes(*word), start + at as i64);
            if value == 0 {
                missing += 1;
                gaps.push(here);
                continue;
            }
            assert_eq!(value >> 28, mic as i32 + 1, "a sample of another microphone");
            let (told, period) = position(value, self.bits);
            let off = (here - told).rem_euclid(period);
            let base = *near.get_or_insert(off);
            let off = base + (off - base + period / 2).rem_euclid(period) - period / 2;
            *offsets.entry(off).or_default() += 1;
        }
        // Which position a place in the history has is known up to the period; the packets that came say which it was.
        let newest = *self.came[mic].last().expect("some came") + self.samples;
        let period = if self.bits == 16 { 1 << 12 } else { 1 << 20 };
        let base = near.expect("a sample came");
        let ends = start + frames as i64;
        let offset =
            (0..).map(|turn| base - turn * period).find(|off| ends - off > newest - period / 2).expect("one fits");
        let offset =
            (-2..=2).map(|turn| offset + turn * period).min_by_key(|off| (ends - off - newest).abs()).expect("five");
        let lost = |here: i64| {
            let position = here - offset;
            !self.came[mic].contains(&(position.div_euclid(self.samples) * self.samples))
        };
        let withheld = (start..ends).filter(|here| lost(*here)).count() as u64;
        // Where whole samples slip, places move with them.
        if offsets.len() == 1 && missing == withheld {
            assert!(gaps.into_iter().all(lost), "gaps stand elsewhere");
        }
        Channel { offsets: offsets.into_keys().collect(), missing, withheld }
    }
}

pub fn config(scenario: &Scenario, clock: ClockChoice, layout: Layout) -> Config {
    Config {
        layout,
        sample_rate: scenario.sample_rate,
        clock,
        hold: Hold::Auto,
        resample: false,
        history: Span::from_secs(30),
        max_datagram: 8192,
    }
}

/// Sources that send what they are declared to send.
pub fn play(scenario: &Scenario, format: &str, clock: ClockChoice) -> Played {
    play_as(scenario, &numbered(format), format, clock)
}

/// Sources that send `sent` and are declared as `declared`.
pub fn play_as(scenario: &Scenario, sent: &Format, declared: &str, clock: ClockChoice) -> Played {
    let declared: Vec<Format> = vec![declared.parse().expect(declared); 3];
    play_with(scenario, sent, clock, |engine| engine.declared(&declared))
}

/// The datagram of a packet, in a format.
pub fn datagram(packet: &Packet, scenario: &Scenario, sent: &Format, out: &mut Vec<u8>) {
    let samples: Vec<i32> =
        (0..i64::from(packet.piece.chunk_samples)).map(|i| sample(packet.mic, packet.position.0 + i)).collect();
    let head = Head {
        // They wrap within the run.
        number: packet.cycle + 65_000,
        position: packet.position.0 as u64,
        micros: (packet.captured - micring::sim::START).as_micros().max(0) as u64,
        rate: scenario.sample_rate,
        channels: 1,
        stream: packet.mic as u32 + 10 * packet.boot,
    };
    encode(sent, &head, &samples, out).expect("the format holds it");
}

pub fn play_with(
    scenario: &Scenario,
    sent: &Format,
    clock: ClockChoice,
    declare: impl FnOnce(Engine) -> Engine,
) -> Played {
    let mut engine = declare(Engine::new(config(scenario, clock, Layout::mono(3))));
    let mut sim = Sim::new(scenario);
    let (mut logs, mut bytes, mut came) = (Vec::new(), Vec::new(), vec![BTreeSet::new(); 3]);
    let mut held = Span::ZERO;
    let mut drain = |engine: &mut Engine| {
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Log(line) => logs.push(line),
                Output::Cycle(cycle) => {
                    let newest = cycle.arrival.iter().flatten().max().copied();
                    if let Some(newest) = newest.filter(|newest| *newest - START_WALL >= STARTED) {
                        held = held.max(cycle.emitted - newest);
                    }
                }
            }
        }
    };
    while let Some(packet) = sim.next() {
        let now = packet.arrival + LOOP_DELAY;
        serve_timeouts(&mut engine, &sim, now, &mut drain);
        datagram(&packet, scenario, sent, &mut bytes);
        engine.begin_turn(sim.clocks(now));
        let sender = sim.sender(&packet);
        let len = bytes.len();
        engine.handle_datagram(&Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &bytes, len });
        engine.handle_timeout();
        drain(&mut engine);
        came[packet.mic].insert(packet.position.0);
    }
    let bits = match sent {
        Format::Rtp(None) => 16,
        Format::Rtp(Some(rtp)) => 8 * rtp.coding.bytes() as u32,
        _ => 24,
    };
    Played { engine, sim, logs, held, came, samples: scenario.samples.into(), bits }
}

pub fn serve_timeouts(engine: &mut Engine, sim: &Sim, until: MonoTime, drain: &mut impl FnMut(&mut Engine)) {
    let mut served = None;
    while let Some(due) = engine.next_timeout().filter(|due| *due <= until) {
        if served == Some(due) {
            return;
        }
        served = Some(due);
        engine.begin_turn(sim.clocks(due));
        engine.handle_timeout();
        drain(engine);
    }
}
