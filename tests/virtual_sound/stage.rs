//! Boards in a room: a simulated network's packets with a room's sound in them, through an engine, held against the truth.
//!
//! The lowest byte of each sample, where a 24-bit microphone has none, says which sample of its board it is: 0.1 millionths of full
//! scale, which no ear hears. So the sound decides, and the truth is known.

use std::collections::BTreeMap;
use std::time::Instant;

use micring::array::Layout;
use micring::cycle::Cycle;
use micring::engine::{ClockChoice, Config, Datagram, Engine, Hold, Output};
use micring::sim::room::{Room, Scene, Sound, Source, between};
use micring::sim::{Packet, START, Scenario, Sim};
use micring::time::{FramePos, MonoTime, Span};

pub const MICS: usize = 3;
pub const PACKET: i64 = 512;
/// From a packet's arrival until the loop reads it.
pub const LOOP_DELAY: Span = Span::from_micros(60);

/// Three boards two metres from each other.
pub fn boards_apart(seed: u64, sound: Option<Sound>, level_db: f64) -> Scene {
    Scene {
        seed,
        room: Room { size: [6.3 + 0.3 * (seed % 4) as f64, 5.1, 2.7], rt60: 0.5 },
        mics: vec![[1.0, 1.0, 1.2], [3.0, 1.1, 1.2], [2.1, 2.8, 1.2]],
        sources: sound.map(|sound| Source { at: [4.4, 3.6, 1.5], sound, level_db }).into_iter().collect(),
        ambient_dba: Some(30.0),
        self_noise: true,
    }
}

/// What the microphones hear, over and over.
pub struct Stage {
    heard: Vec<Vec<i32>>,
}

impl Stage {
    pub fn new(scene: &Scene, seconds: usize) -> Stage {
        Stage { heard: scene.hear(seconds * 48_000) }
    }

    /// Nothing at all, bit for bit.
    pub fn silent() -> Stage {
        Stage { heard: vec![vec![0; 4]; MICS] }
    }

    fn at(&self, mic: usize, time: f64) -> i32 {
        between(&self.heard[mic], time)
    }

    pub fn payload(&self, packet: &Packet, payload: &mut Vec<u8>) {
        let step = 1.0 / (1.0 + packet.ppm * 1e-6);
        let end = (packet.captured - START).as_nanos() as f64 * 48e-6;
        let first = end - PACKET as f64 * step;
        payload.clear();
        for i in 0..PACKET {
            let sample = self.at(packet.mic, first + i as f64 * step) & !0xff;
            payload.extend((sample | mark(packet.position.0 + i)).to_le_bytes());
        }
    }
}

/// What the lowest byte says of a position: its last two bits, and one of four digits of the rest. Never 0: that is what is missing.
fn mark(position: i64) -> i32 {
    let (phase, rest) = (position % 4, position / 4);
    (phase | (rest >> (5 * phase) & 31) << 2 | 0x80) as i32
}

/// The position of the first of the samples, from four in a row.
pub fn position_of(samples: &[i32]) -> Option<i64> {
    let from = samples.windows(4).position(|four| four.iter().zip(0..).all(|(x, k)| x & 0x83 == 0x80 | k))?;
    let digit = |k: usize| i64::from(samples[from + k] >> 2 & 31) << (5 * k);
    Some(4 * (0..4).map(digit).sum::<i64>() - from as i64)
}

/// Four digits of five bits, and two.
const COMES_ROUND: i64 = 4 << 20;

/// The marks come round: the position that is nearest to the newest.
pub fn unwrapped(position: i64, newest: i64) -> i64 {
    newest + (position - newest + COMES_ROUND / 2).rem_euclid(COMES_ROUND) - COMES_ROUND / 2
}

pub fn config() -> Config {
    Config {
        layout: Layout::mono(MICS),
        sample_rate: 48_000,
        clock: ClockChoice::Independent,
        hold: Hold::Auto,
        resample: false,
        history: Span::from_secs(5),
        max_datagram: 8192,
    }
}

/// A time in which a board stood whole packets off.
#[derive(Clone, Copy, Debug)]
pub struct Episode {
    /// In cycles.
    pub cycles: u64,
    /// The sound has put it there.
    pub made: bool,
}

/// What a run showed.
pub struct Played {
    pub engine: Engine,
    pub sim: Sim,
    pub cycles: u64,
    pub logs: Vec<String>,
    pub episodes: Vec<Episode>,
    /// Distances between the earliest and the latest channel, in samples, by position.
    pub apart: Vec<(FramePos, f64)>,
    /// Everything that left, as a hash: cycles with their samples, and log lines.
    pub hash: u64,
    /// What slices of listening took on this machine, in nanoseconds.
    pub slices: Vec<u32>,
    captured: [BTreeMap<i64, (f64, f64)>; MICS],
    open: [Option<(u64, bool)>; MICS],
    corrected: Vec<u64>,
}

/// Runs a scenario of free boards (the lowest bytes say what is what for 87 s, then come round) on a stage.
pub fn play(scenario: &Scenario, stage: &Stage, hears: bool) -> Played {
    play_with(scenario, stage, hears, |_, _| {})
}

/// The same; `before` each packet something may be done to the engine.
pub fn play_with(
    scenario: &Scenario,
    stage: &Stage,
    hears: bool,
    mut before: impl FnMut(&mut Engine, &Packet),
) -> Played {
    let engine = Engine::new(config());
    let mut run = Played {
        engine: if hears { engine.hearing() } else { engine },
        sim: Sim::new(scenario),
        cycles: 0,
        logs: Vec::new(),
        episodes: Vec::new(),
        apart: Vec::new(),
        hash: 0xcbf2_9ce4_8422_2325,
        slices: Vec::new(),
        captured: Default::default(),
        open: [None; MICS],
        corrected: Vec::new(),
    };
    let mut payload = Vec::new();
    while let Some(packet) = run.sim.next() {
        run.wait_until(packet.arrival);
        run.note(&packet);
        stage.payload(&packet, &mut payload);
        let sender = run.sim.sender(&packet);
        let datagram = Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len: payload.len() };
        run.engine.begin_turn(run.sim.clocks(packet.arrival + LOOP_DELAY));
        before(&mut run.engine, &packet);
        run.engine.handle_datagram(&datagram);
        run.end_turn();
        run.sim.drain_withheld();
    }
    run
}

impl Played {
    fn note(&mut self, packet: &Packet) {
        let captured = &mut self.captured[packet.mic];
        if packet.boot > 0 && packet.cycle == 0 {
            captured.clear();
        }
        captured.insert(packet.position.0, ((packet.captured - START).as_nanos() as f64 * 48e-6, packet.ppm));
        while captured.len() > 8_000 {
            captured.pop_first();
        }
    }

    /// When a board captured a sample, in samples since the start of the run.
    fn when(&self, mic: usize, position: i64) -> Option<f64> {
        let newest = *self.captured[mic].last_key_value()?.0;
        let position = unwrapped(position, newest);
        let (&first, &(end, ppm)) = self.captured[mic].range(..=position).next_back()?;
        (position < first + PACKET).then(|| end - (first + PACKET - position) as f64 / (1.0 + ppm * 1e-6))
    }

    fn wait_until(&mut self, until: MonoTime) {
        while let Some(due) = self.engine.next_timeout().filter(|&due| due < until) {
            self.engine.begin_turn(self.sim.clocks(due));
            self.end_turn();
        }
    }

    fn end_turn(&mut self) {
        self.drain();
        self.engine.handle_timeout();
        self.drain();
        loop {
            let begun = Instant::now();
            if !self.engine.listen() {
                break;
            }
            self.slices.push(begun.elapsed().as_nanos().try_into().unwrap_or(u32::MAX));
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Cycle(cycle) => self.check(&cycle),
                Output::Log(line) => {
                    self.add_to_hash(line.bytes());
                    if line.contains("by its sound") {
                        self.corrected.push(self.cycles);
                    }
                    self.logs.push(line);
                }
            }
        }
    }

    fn add_to_hash(&mut self, bytes: impl Iterator<Item = u8>) {
        // FNV-1a.
        self.hash = bytes.fold(self.hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }

    fn check(&mut self, cycle: &Cycle) {
        self.cycles += 1;
        let mut words = Vec::new();
        self.engine.history().append_to(&mut words, cycle.first_frame, cycle.frames as usize).expect("it has left");
        let whole: Vec<u8> = words.iter().flatten().copied().chain(cycle.first_frame.0.to_le_bytes()).collect();
        self.add_to_hash(whole.into_iter());
        let shown: [Option<f64>; MICS] = std::array::from_fn(|mic| {
            let channel = words.iter().skip(mic).step_by(MICS).map(|word| i32::from_le_bytes(*word));
            // The end of the cycle, where a board that has just been put right is already.
            let channel: Vec<i32> = channel.skip(cycle.frames as usize / 2).collect();
            self.when(mic, position_of(&channel)?)
        });
        let mut known: Vec<f64> = shown.iter().flatten().copied().collect();
        if known.len() < MICS {
            return;
        }
        known.sort_by(f64::total_cmp);
        self.apart.push((cycle.first_frame, known[MICS - 1] - known[0]));
        for (mic, shown) in shown.iter().enumerate() {
            let off = (shown.expect("all are known") - known[1]).abs() > PACKET as f64 / 2.0;
            match (off, self.open[mic]) {
                (true, None) => {
                    let made = self.corrected.iter().any(|&at| self.cycles - at < 60);
                    self.open[mic] = Some((self.cycles, made));
                }
                (false, Some((from, made))) => {
                    self.open[mic] = None;
                    self.episodes.push(Episode { cycles: self.cycles - from, made });
                }
                _ => {}
            }
        }
    }

    /// What a slice took at these shares of all, in microseconds.
    pub fn slice_us<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let mut sorted = self.slices.clone();
        sorted.sort_unstable();
        let at = |share: f64| sorted.get(((sorted.len().max(1) - 1) as f64 * share) as usize);
        shares.map(|share| f64::from(at(share).copied().unwrap_or(0)) / 1e3)
    }

    /// Episodes that the sound has made.
    pub fn made(&self) -> usize {
        let open = self.open.iter().flatten().map(|&(_, made)| made);
        self.episodes.iter().map(|episode| episode.made).chain(open).filter(|&made| made).count()
    }

    /// Episodes, those that lasted more than two seconds, and cycles in which a board was off.
    pub fn tally(&self) -> (usize, usize, u64) {
        let open = self.open.iter().flatten().map(|(from, _)| self.cycles - from);
        let all: Vec<u64> = self.episodes.iter().map(|e| e.cycles).chain(open).collect();
        (all.len(), all.iter().filter(|&&cycles| cycles > 188).count(), all.iter().sum())
    }
}
