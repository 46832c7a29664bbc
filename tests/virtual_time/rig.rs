//! Runs a simulated scenario through the engine in virtual time, and holds every emitted cycle against the truth.

use std::collections::{BTreeMap, BTreeSet};

use micring::MICS;
use micring::array::Layout;
use micring::cycle::Cycle;
use micring::engine::{ClockChoice, Config, Datagram, Engine, Hold, Output, Verdict};
use micring::sim::{Scenario, Sending, Sim};
use micring::time::{FramePos, MonoTime, Span};

use super::memory;

/// From a packet's arrival until the loop reads it.
const LOOP_DELAY: Span = Span::from_micros(60);

pub fn config() -> Config {
    Config {
        layout: Layout::mono(3),
        sample_rate: 48_000,
        clock: ClockChoice::Auto,
        hold: Hold::Auto,
        resample: false,
        history: Span::from_secs(5),
        max_datagram: 8192,
    }
}

/// An emitted cycle, and the true position of each channel's first sample.
pub struct Seen {
    pub first: FramePos,
    pub truth: [Option<i64>; MICS],
}

/// The engine, a virtual loop around it, and what it was seen to do.
pub struct Rig {
    pub engine: Engine,
    pub cycles: u64,
    /// Frames in which two channels do not show the same position.
    pub misaligned: u64,
    /// Position that went out minus position that the board counted, with the cycle it began at.
    pub offsets: Vec<(u64, i64)>,
    pub logs: Vec<String>,
    /// Longest time from the newest packet of a complete cycle to the moment it left.
    /// But for the first: it waits until it is known that its packets are no pieces.
    pub slowest_complete: Span,
    /// Longest time from the first packet of any cycle to the moment it left.
    pub slowest: Span,
    pub last: Option<Cycle>,
    /// Every emitted cycle.
    pub seen: Vec<Seen>,
    /// Which of them left with some, but not all samples of a channel.
    pub partial: BTreeSet<usize>,
    /// Whether `seen`, `partial` and `logs` are kept: not for a day.
    pub keeps: bool,
    /// The scenario's chunks are not each one datagram: a channel may lack its beginning, and what is in the wrong place is
    /// counted as misaligned.
    pub pieces: bool,
    /// Samples that were missing in what left.
    pub missing: u64,
    /// By how many bytes what the engine holds has grown in the turns of packets.
    pub grown: i64,
    now: MonoTime,
}

impl Rig {
    pub fn new(config: Config) -> Rig {
        Rig {
            engine: Engine::new(config),
            cycles: 0,
            misaligned: 0,
            offsets: Vec::new(),
            logs: Vec::new(),
            slowest_complete: Span::ZERO,
            slowest: Span::ZERO,
            last: None,
            seen: Vec::new(),
            partial: BTreeSet::new(),
            keeps: true,
            pieces: false,
            missing: 0,
            grown: 0,
            now: MonoTime::from_nanos(0),
        }
    }

    /// Everything that the scenario sends, and the holds after it.
    pub fn run(scenario: &Scenario, config: Config) -> (Rig, Sim) {
        Rig::run_with(scenario, config, |_, _, _| {})
    }

    /// The same; `before` may do something just before each packet's turn.
    pub fn run_with(
        scenario: &Scenario,
        config: Config,
        before: impl FnMut(&mut Rig, &Sim, &micring::sim::Packet),
    ) -> (Rig, Sim) {
        Rig::new(config).play(scenario, before)
    }

    /// The same, without keeping what was seen; the truth's list of withheld packets is dropped too.
    pub fn run_long(scenario: &Scenario, config: Config) -> (Rig, Sim) {
        Rig::run_long_with(scenario, config, |_, _| {})
    }

    /// The same; `before` sees each packet first.
    pub fn run_long_with(
        scenario: &Scenario,
        config: Config,
        mut before: impl FnMut(&Rig, &micring::sim::Packet),
    ) -> (Rig, Sim) {
        let rig = Rig { keeps: false, ..Rig::new(config) };
        rig.play(scenario, |rig, _, packet| before(rig, packet))
    }

    fn play(
        mut self,
        scenario: &Scenario,
        mut before: impl FnMut(&mut Rig, &Sim, &micring::sim::Packet),
    ) -> (Rig, Sim) {
        self.pieces = scenario.sending != Sending::default() || !scenario.changes.is_empty();
        let rig = &mut self;
        let mut sim = Sim::new(scenario);
        let mut payload = Vec::new();
        while let Some(packet) = sim.next() {
            rig.wait_until(packet.arrival, &sim);
            before(rig, &sim, &packet);
            sim.payload(&packet, &mut payload);
            let d = Datagram {
                mic: packet.mic,
                stamp: packet.stamp,
                sender: sim.sender(&packet),
                bytes: &payload,
                len: payload.len(),
            };
            rig.feed(&d, packet.arrival, &sim);
            if !rig.keeps {
                sim.drain_withheld();
            }
        }
        let end = rig.now + Span::from_secs(1);
        rig.wait_until(end, &sim);
        (self, sim)
    }

    /// One turn that reads one datagram.
    pub fn feed(&mut self, d: &Datagram<'_>, arrival: MonoTime, sim: &Sim) -> Verdict {
        self.now = arrival + LOOP_DELAY;
        let clocks = sim.clocks(self.now);
        let before = memory::held();
        self.engine.begin_turn(clocks);
        let verdict = self.engine.handle_datagram(d);
        self.drain();
        self.engine.handle_timeout();
        self.drain();
        self.grown += memory::held() - before;
        verdict
    }

    /// Turns without a packet, at the moments the engine asks for.
    pub fn wait_until(&mut self, until: MonoTime, sim: &Sim) {
        while let Some(due) = self.engine.next_timeout().filter(|&due| due < until) {
            self.now = due.max(self.now);
            self.engine.begin_turn(sim.clocks(self.now));
            self.engine.handle_timeout();
            self.drain();
            assert!(self.engine.next_timeout().is_none_or(|next| next > due), "a timeout that was handled is over");
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Cycle(cycle) => {
                    self.missing += cycle.mic_samples.iter().map(|&n| u64::from(cycle.frames - n)).sum::<u64>();
                    self.check(&cycle);
                }
                Output::Log(line) if self.keeps => self.logs.push(line),
                Output::Log(_) => {}
            }
        }
    }

    /// One channel of a run of frames, from the history.
    pub fn channel(&self, mic: usize, first: FramePos, frames: usize) -> Vec<i32> {
        let mut words = Vec::new();
        self.engine.history().append_to(&mut words, first, frames).expect("the history holds what was emitted");
        let channels = self.engine.layout().channels();
        words.iter().skip(mic).step_by(channels).map(|word| i32::from_le_bytes(*word)).collect()
    }

    fn check(&mut self, cycle: &Cycle) {
        assert_eq!(cycle.id, self.cycles, "ids rise by one");
        let contiguous = self.last.is_none_or(|last| cycle.first_frame >= last.first_frame + i64::from(last.frames));
        assert!(contiguous, "positions are never used twice");
        self.cycles += 1;
        let mut positions = BTreeMap::new();
        let mut truth = [None; MICS];
        for (mic, truth) in truth.iter_mut().enumerate() {
            let n = cycle.mic_samples[mic] as usize;
            let samples = self.channel(mic, cycle.first_frame, cycle.frames as usize);
            assert_eq!(samples.iter().filter(|&&s| s != 0).count(), n, "mic_samples counts, what is missing is zeros");
            let Some(at) = samples.iter().position(|&s| s != 0) else { continue };
            if !self.engine.is_shared() {
                // A free board's samples begin anywhere in the cycle. Where its last one shows is enough.
                let last = samples.iter().rposition(|&s| s != 0).expect("samples are there");
                let own = samples[last] >> 28 == mic as i32 + 1;
                assert!(self.pieces || own, "a channel carries its own microphone: {:#x}", samples[last]);
                *truth = Some(i64::from(samples[last] & 0x0fff_ffff) - last as i64);
                continue;
            }
            let first = samples[at] - at as i32;
            let own = samples[at] >> 28 == mic as i32 + 1;
            assert!(self.pieces || own, "a channel carries its own microphone: {:#x}", samples[at]);
            let whole = samples.iter().zip(0..).all(|(&s, i)| s == first + i || s == 0);
            assert!(self.pieces || (at == 0 && whole && samples[..n].iter().all(|&s| s != 0)), "a packet stays whole");
            self.misaligned += u64::from(!whole || !own);
            let position = i64::from(samples[at] & 0x0fff_ffff) - at as i64;
            *truth = Some(position);
            *positions.entry(position).or_insert(0u64) += n as u64;
        }
        if !self.engine.is_shared() {
            if self.keeps && cycle.mic_samples.iter().any(|&n| n > 0 && n < cycle.frames) {
                self.partial.insert(self.seen.len());
            }
            self.keep(Seen { first: cycle.first_frame, truth });
            self.slowest = self.slowest.max(cycle.emitted - *cycle.arrival.iter().flatten().min().expect("heard"));
            self.last = Some(*cycle);
            return;
        }
        if positions.len() > 1 {
            self.misaligned += u64::from(cycle.frames);
        }
        let most = positions.iter().max_by_key(|&(_, n)| n).expect("a cycle holds at least a packet");
        let offset = cycle.first_frame.0 - most.0;
        if self.offsets.last().is_none_or(|&(_, last)| last != offset) {
            self.offsets.push((cycle.id, offset));
        }
        self.keep(Seen { first: cycle.first_frame, truth });
        let wall = cycle.arrival.iter().flatten();
        let (first, newest) = (wall.clone().min(), wall.max());
        if cycle.mic_samples.iter().all(|&n| n > 0) && cycle.id > 0 {
            self.slowest_complete = self.slowest_complete.max(cycle.emitted - *newest.expect("heard"));
        }
        self.slowest = self.slowest.max(cycle.emitted - *first.expect("heard"));
        self.last = Some(*cycle);
    }

    fn keep(&mut self, seen: Seen) {
        if self.keeps {
            self.seen.push(seen);
        }
    }

    pub fn lost(&self) -> [u64; MICS] {
        std::array::from_fn(|mic| self.engine.counters().mics[mic].lost)
    }

    /// Of a run that began with whole cycles: placed + lost + taken back = emitted + skipped, for each microphone.
    pub fn assert_books_balance(&self) {
        let counters = self.engine.counters();
        let cycles = counters.cycles;
        assert_eq!(cycles.emitted, cycles.complete + cycles.incomplete);
        for (mic, m) in counters.mics.iter().enumerate() {
            assert_eq!(m.received + m.lost + m.corrected, cycles.emitted + cycles.skipped, "mic {mic}: {counters:?}");
        }
    }
}
