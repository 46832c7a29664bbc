//! One board: captures cycle after cycle on its own clock and sends each microphone's packets into its path.

use super::delay::{Path, Transit};
use super::loss::Losses;
use super::oscillator::Oscillator;
use super::rng::{Purpose, Rng};
use super::sending::{Part, Reads};
use super::truth::{Truth, Why, Withheld};
use super::{Boards, Length, Network, Packet, Piece, START_WALL, Scenario, instant};
use crate::time::{FramePos, Span};

/// The next send of a board that has sent everything.
pub(super) const FINISHED: i64 = i64::MAX;

/// A second copy comes this much after the first, in nanoseconds: always within half a period of 512 samples.
const COPY_AFTER: (f64, f64) = (20e3, 2e6);
/// IPv4 payload of a fragment at an MTU of 1500: 1480 bytes, the UDP header of 8 bytes in the first.
const FRAGMENT_BYTES: u32 = 1480;
const UDP_HEADER_BYTES: u32 = 8;

/// Times are nanoseconds since the start of the run.
#[derive(Clone, Debug)]
pub(super) struct Board {
    scenario: Scenario,
    index: usize,
    first_mic: usize,
    oscillator: Oscillator,
    ppm: f64,
    /// When the current cycle is complete, and the part of a nanosecond that the sum of periods has beyond that.
    captured: i64,
    part: f64,
    boot: u32,
    /// Of this boot so far: cycles, chunks of each microphone in them, and frames.
    cycle: u64,
    chunks: u64,
    frames: i64,
    /// Cycles of all boots so far.
    cycles: u64,
    reads: Reads,
    /// What becomes of each packet of the current cycle; empty until its first is sent.
    fates: Vec<Fate>,
    /// The place in the cycle of the packet that is sent next.
    turn: usize,
    /// No cycle of this boot is captured from here on.
    stop: i64,
    phase_rng: Rng,

    path: Path,
    /// When each microphone's newest packet in order arrived.
    arrived: Vec<i64>,
    losses: Losses,
    cycle_losses: Losses,
    cycle_lost: bool,
    /// Index of the next scripted drop, and how many cycles the current one still takes.
    next_drop: usize,
    dropping: u64,
    /// Index of the next network in `then`, and of the next of the `changes`.
    next_network: usize,
    next_change: usize,
    network: Network,
    copy_rng: Rng,
    reorder_rng: Rng,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug)]
struct Fate {
    transit: Transit,
    withheld: Option<Why>,
    /// Nothing of its chunk is sent.
    whole: bool,
}

impl Board {
    pub(super) fn new(scenario: &Scenario, index: usize) -> Board {
        let seed = scenario.seed;
        let mics = scenario.mics_of_a_board();
        let parts = scenario.sending.most_parts(scenario.samples, mics);
        let network = scenario.network;
        let rng = |purpose| Rng::stream(seed, purpose, index);
        let mut board = Board {
            index,
            first_mic: index * mics,
            oscillator: Oscillator::new(scenario.rates[index % scenario.rates.len()].clone(), seed, index),
            ppm: 0.0,
            captured: 0,
            part: 0.0,
            boot: 0,
            cycle: 0,
            chunks: 0,
            frames: 0,
            cycles: 0,
            reads: Reads::new(&scenario.sending, scenario.samples, scenario.spacing, mics, seed, index),
            fates: Vec::new(),
            turn: 0,
            stop: 0,
            phase_rng: rng(Purpose::Phase),
            path: Path::new(network.delay, network.floor, network.hold_back, parts, 0, seed, index),
            arrived: vec![i64::MIN; scenario.sources],
            losses: Losses::new(network.loss, Purpose::Loss, seed, index),
            cycle_losses: Losses::new(network.cycle_loss, Purpose::CycleLoss, seed, index),
            cycle_lost: false,
            next_drop: 0,
            dropping: 0,
            next_network: 0,
            next_change: 0,
            network,
            copy_rng: rng(Purpose::Duplicates),
            reorder_rng: rng(Purpose::Reordering),
            scenario: scenario.clone(),
        };
        board.start(0);
        board.turn = scenario.sending.unheard as usize;
        board
    }

    /// When it sends next, or [`FINISHED`].
    pub(super) fn next_send(&self) -> i64 {
        if self.captured == FINISHED { FINISHED } else { self.captured + self.reads.parts[self.turn].after }
    }

    /// Sends the next packet: hands to `arrive` what will arrive of it (nothing, it, or it and a copy), unstamped.
    pub(super) fn send(&mut self, truth: &mut Truth, mut arrive: impl FnMut(Packet)) {
        if self.fates.is_empty() {
            self.begin_cycle(truth);
        }
        let (part, fate) = (self.reads.parts[self.turn], self.fates[self.turn]);
        let packet = self.packet(part);
        let told = &mut truth.mics[packet.mic];
        told.captured += 1;
        told.chunks += u64::from(part.number + 1 == part.of);
        match fate.withheld {
            Some(why) => {
                let Packet { mic, boot, cycle, piece, sent, .. } = packet;
                truth.withhold(Withheld { mic, boot, cycle, piece, whole: fate.whole, sent, why });
            }
            None => self.deliver(packet, fate.transit, truth, &mut arrive),
        }
        self.turn += 1;
        if self.turn == self.reads.parts.len() {
            self.end_cycle();
        }
    }

    /// What the board sends, as if it arrived at once.
    fn packet(&self, part: Part) -> Packet {
        let (before, behind) = self.reads.around(part.chunk);
        let piece = Piece {
            chunk: FramePos(self.frames + before),
            chunk_samples: self.reads.sizes[part.chunk],
            number: part.number,
            of: part.of,
            offset: part.offset,
            bytes: part.bytes,
            channels: self.scenario.sending.channels,
        };
        let rate = f64::from(self.scenario.sample_rate) * (1.0 + self.ppm * 1e-6);
        let captured = self.captured - (behind as f64 * 1e9 / rate).round() as i64;
        let sent = self.captured + part.after;
        Packet {
            mic: self.first_mic + part.mic,
            board: self.index,
            boot: self.boot,
            cycle: self.chunks + part.chunk as u64,
            piece,
            position: piece.position(),
            captured: instant(captured),
            ppm: self.ppm,
            sent: instant(sent),
            arrival: instant(sent),
            stamp: START_WALL,
            copy: false,
            reordered: false,
            least: instant(sent),
            held_until: None,
        }
    }

    fn deliver(&mut self, packet: Packet, transit: Transit, truth: &mut Truth, arrive: &mut impl FnMut(Packet)) {
        let (mic, clean) = (packet.mic, self.is_clean());
        let sent = (packet.sent - instant(0)).as_nanos();
        let lag = self.scenario.lags.iter().filter(|lag| lag.mic == mic && within(sent, lag.from, lag.to));
        let lag: i64 = lag.map(|lag| lag.by.as_nanos()).sum();
        let in_order = (self.path.hand_over(transit) + lag).max(self.arrived[mic].saturating_add(1));
        let held_up = match self.network.reorder {
            Some(reorder) if self.reorder_rng.chance(reorder.probability) && !clean => {
                truth.mics[mic].reordered += 1;
                1 + self.reorder_rng.between(0.0, reorder.by.as_nanos() as f64) as i64
            }
            _ => 0,
        };
        let arrival = in_order + held_up;
        if held_up == 0 {
            self.arrived[mic] = in_order;
        }
        let packet = Packet {
            arrival: instant(arrival),
            reordered: held_up > 0,
            least: instant(transit.least),
            held_until: (transit.gate > sent).then(|| instant(transit.gate)),
            ..packet
        };
        arrive(packet);
        if self.copy_rng.chance(self.network.duplicate) && !clean {
            truth.mics[mic].duplicated += 1;
            let after = self.copy_rng.between(COPY_AFTER.0, COPY_AFTER.1) as i64;
            arrive(Packet { arrival: instant(arrival + after), copy: true, reordered: false, ..packet });
        }
    }

    /// Decides what concerns the cycle as a whole, and then what becomes of each of its packets.
    fn begin_cycle(&mut self, truth: &mut Truth) {
        self.change_network();
        let frames = self.frames + self.reads.frames();
        truth.timelines[self.index].note(self.boot, self.captured, frames, self.ppm);
        self.cycle_lost = self.cycle_losses.next() && !self.is_clean();
        while let Some(drop) = self.scenario.drop_cycles.get(self.next_drop)
            && self.captured >= drop.at.as_nanos()
        {
            self.dropping = self.dropping.max(drop.cycles);
            self.next_drop += 1;
        }
        if self.dropping > 0 {
            self.dropping -= 1;
            self.cycle_lost = true;
        }
        self.decide();
    }

    /// Every decision is drawn for every packet, whatever becomes of it, so that none changes another.
    fn decide(&mut self) {
        let (clean, of) = (self.is_clean(), self.reads.parts.len());
        for (turn, part) in self.reads.parts.iter().enumerate() {
            let sent = self.captured + part.after;
            let mut transit = self.path.transit(self.captured, sent, turn, of);
            let mut lost = self.losses.next();
            if self.network.fragments {
                for _ in 1..(part.bytes + UDP_HEADER_BYTES).div_ceil(FRAGMENT_BYTES) {
                    lost |= self.losses.next();
                    transit = transit.latest(self.path.transit(self.captured, sent, turn, of));
                }
            }
            let mic = self.first_mic + part.mic;
            let withheld = if self.scenario.mutes.iter().any(|m| m.mic == mic && within(sent, m.from, m.to)) {
                Some(Why::Muted)
            } else if self.cycle_lost {
                Some(Why::CycleLost)
            } else {
                (lost && !clean).then_some(Why::Lost)
            };
            self.fates.push(Fate { transit, withheld, whole: withheld.is_some() });
        }
        // Of a chunk in pieces nothing is sent when all of them are withheld. Those before `turn` were sent unheard.
        for turn in 0..of {
            let part = self.reads.parts[turn];
            let sent = |at: usize| at < self.turn || self.fates[at].withheld.is_none();
            let of_chunk =
                |at: &usize| (self.reads.parts[*at].mic, self.reads.parts[*at].chunk) == (part.mic, part.chunk);
            self.fates[turn].whole = self.fates[turn].whole && !(0..of).filter(of_chunk).any(sent);
        }
    }

    fn end_cycle(&mut self) {
        self.turn = 0;
        self.fates.clear();
        self.cycle += 1;
        self.cycles += 1;
        self.chunks += self.reads.sizes.len() as u64;
        self.frames += self.reads.frames();
        self.advance();
        if let Length::Cycles(cycles) = self.scenario.length
            && self.cycles >= cycles
        {
            self.captured = FINISHED;
        } else if self.captured >= self.stop {
            self.reboot();
        }
    }

    /// To the end of the next cycle's capture.
    fn advance(&mut self) {
        while let Some(change) = self.scenario.changes.get(self.next_change)
            && self.captured >= change.at.as_nanos()
        {
            self.reads.change(change.samples, &change.sending);
            self.next_change += 1;
        }
        self.reads.advance();
        self.ppm = self.oscillator.ppm(self.captured);
        let nominal = self.reads.frames() as f64 * 1e9 / f64::from(self.scenario.sample_rate);
        let next = self.part + nominal / (1.0 + self.ppm * 1e-6);
        self.captured += next as i64;
        self.part = next - next.floor();
    }

    /// Starts capturing at `at`; a board among others at a phase of its own.
    fn start(&mut self, at: i64) {
        let reboots = self.scenario.reboots.iter().filter(|reboot| reboot.board == self.index);
        let reboot = reboots.map(|reboot| reboot.at.as_nanos()).nth(self.boot as usize);
        self.stop = self.end().min(reboot.unwrap_or(i64::MAX));
        self.cycle = 0;
        self.chunks = 0;
        self.frames = 0;
        self.turn = 0;
        self.part = 0.0;
        self.reads.restart();
        self.captured = at;
        if self.scenario.boards == Boards::Three || self.boot > 0 {
            self.captured += self.phase_rng.between(0.0, self.scenario.period().as_nanos() as f64) as i64;
        }
        self.advance();
        if self.captured >= self.end() {
            self.captured = FINISHED;
        }
    }

    fn reboot(&mut self) {
        let reboots = self.scenario.reboots.iter().filter(|reboot| reboot.board == self.index);
        let Some(reboot) = reboots.copied().nth(self.boot as usize) else {
            self.captured = FINISHED;
            return;
        };
        self.boot += 1;
        self.start((reboot.at + reboot.down).as_nanos());
    }

    fn end(&self) -> i64 {
        match self.scenario.length {
            Length::Time(end) => end.as_nanos(),
            Length::Cycles(_) => i64::MAX,
        }
    }

    /// Whether the current cycle is among those that lead in or out.
    fn is_clean(&self) -> bool {
        let clean = u64::from(self.scenario.clean_cycles);
        let out = self.scenario.period().as_nanos() * clean as i64;
        let last_ones = match self.scenario.length {
            Length::Cycles(cycles) => self.cycles + clean >= cycles,
            Length::Time(_) => false,
        };
        self.cycle < clean || last_ones || self.captured >= self.stop.saturating_sub(out)
    }

    fn change_network(&mut self) {
        while let Some(&(from, network)) = self.scenario.then.get(self.next_network)
            && self.captured >= from.as_nanos()
        {
            self.next_network += 1;
            self.network = network;
            // A seed of its own for each network of the run, so that two of one kind do not repeat each other.
            let seed = self.scenario.seed.wrapping_add(1_000_003 * self.next_network as u64);
            let parts = self.scenario.sending.most_parts(self.scenario.samples, self.scenario.mics_of_a_board());
            let path =
                Path::new(network.delay, network.floor, network.hold_back, parts, self.captured, seed, self.index);
            self.path = path.after(&self.path);
            self.losses = Losses::new(network.loss, Purpose::Loss, seed, self.index);
            self.cycle_losses = Losses::new(network.cycle_loss, Purpose::CycleLoss, seed, self.index);
        }
    }
}

fn within(at: i64, from: Span, to: Span) -> bool {
    (from.as_nanos()..to.as_nanos()).contains(&at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sim::{DropCycles, Lag, Loss, Mute, Reorder, START, Sim};

    fn run(scenario: &Scenario) -> (Sim, Vec<Packet>) {
        let mut sim = Sim::new(scenario);
        let packets = sim.by_ref().collect();
        (sim, packets)
    }

    #[test]
    fn one_board_sends_its_cycles_in_order() {
        let (_, packets) = run(&Scenario::one_board(Span::from_secs(10)));
        // Captured at 1, 2, ... periods of 10.667 ms: 937 of them before 10 s.
        assert_eq!(packets.len(), 3 * 937);
        for (at, packet) in packets.iter().enumerate() {
            assert_eq!((packet.cycle, packet.mic), (at as u64 / 3, at % 3));
            assert_eq!(packet.position.0, packet.cycle as i64 * 512);
            assert_eq!(packet.sent - packet.captured, Span::from_micros(100 * packet.mic as i64));
            assert_eq!(packet.arrival - packet.sent, Span::from_micros(200));
            // A minute of nanosecond rounding stays below one.
            let due = START + Span::of_frames(packet.position.0 + 512, 48_000);
            assert!((packet.captured - due).abs() <= Span::from_nanos(1));
        }
    }

    #[test]
    fn a_day_of_periods_adds_up() {
        let mut board = Board::new(&Scenario::one_board(Span::MAX), 0);
        for _ in 0..8_100_000 {
            board.end_cycle();
        }
        // 8 100 001 periods of 512 frames at 48 kHz are 86 400.010667 s.
        let wanted = Span::of_frames(512 * 8_100_001, 48_000).as_nanos();
        assert!((board.captured - wanted).abs() < 1_000, "{}", board.captured - wanted);
    }

    #[test]
    fn scripted_losses_take_what_they_say() {
        let scenario = Scenario {
            drop_cycles: vec![
                DropCycles { at: Span::from_secs(2), cycles: 5 },
                DropCycles { at: Span::from_millis(4_005), cycles: 1 },
            ],
            mutes: vec![Mute { mic: 1, from: Span::from_secs(6), to: Span::MAX }],
            ..Scenario::one_board(Span::from_secs(10))
        };
        let (sim, packets) = run(&scenario);
        let cycles = |mic| packets.iter().filter(|p| p.mic == mic).map(|p| p.cycle).collect::<BTreeSet<u64>>();
        // Cycle k is captured at (k + 1) x 10.667 ms: the first after 2 s is 187, after 4.005 s is 375.
        let missing: Vec<u64> = (0..937).filter(|cycle| !cycles(0).contains(cycle)).collect();
        assert_eq!(missing, [187, 188, 189, 190, 191, 375]);
        assert_eq!(cycles(0), cycles(2));
        assert_eq!(cycles(1).last(), Some(&561), "the last before 6 s");
        let truth = &sim.truth().mics;
        assert_eq!([truth[0].cycle_lost, truth[1].cycle_lost], [6, 6]);
        assert_eq!([truth[0].muted, truth[1].muted, truth[2].muted], [0, 937 - 562, 0]);
    }

    #[test]
    fn the_first_and_the_last_cycles_are_clean() {
        let all = Network { loss: Loss::Independent(1.0), ..Network::default() };
        for length in [Length::Time(Span::from_secs(1)), Length::Cycles(93)] {
            let (_, packets) = run(&Scenario { network: all, length, ..Scenario::default() });
            let cycles: BTreeSet<u64> = packets.iter().map(|packet| packet.cycle).collect();
            assert_eq!(cycles, (0..8).chain(93 - 8..93).collect());
        }
    }

    #[test]
    fn networks_take_turns() {
        let lossy = Network { loss: Loss::Independent(1.0), ..Network::default() };
        let then = vec![(Span::from_secs(2), lossy), (Span::from_secs(3), Network::default())];
        let (sim, _) = run(&Scenario { then, ..Scenario::three_boards(Span::from_secs(5)) });
        let lost = &sim.truth().withheld;
        assert!((3 * 93..=3 * 94).contains(&lost.len()), "{}", lost.len());
        let second = START + Span::from_secs(2)..START + Span::from_secs(3);
        assert!(lost.iter().all(|lost| second.contains(&lost.sent)));
    }

    #[test]
    fn asking_for_more_does_not_change_what_is_lost() {
        let network = Network { loss: Loss::Independent(0.05), ..Network::default() };
        let plain = Scenario { seed: 9, network, ..Scenario::one_board(Span::from_secs(60)) };
        let reorder = Some(Reorder { probability: 0.1, by: Span::from_millis(5) });
        let delay = "wifi".parse().expect("a model's name");
        let network = Network { duplicate: 0.1, reorder, delay, ..network };
        let more = Scenario { network, ..plain.clone() };
        let lost = |scenario| run(scenario).0.truth().withheld.clone();
        assert!(!lost(&plain).is_empty());
        assert_eq!(lost(&plain), lost(&more));
    }

    #[test]
    fn losing_either_fragment_loses_the_packet() {
        let seed = 6;
        let rate = |samples, fragments| {
            let network = Network { loss: Loss::Independent(0.02), fragments, ..Network::default() };
            let (sim, _) = run(&Scenario { seed, samples, network, ..Scenario::one_board(Span::from_secs(600)) });
            let mics = &sim.truth().mics;
            let lost = mics.iter().map(|mic| mic.lost).sum::<u64>() as f64;
            let captured = mics.iter().map(|mic| mic.captured).sum::<u64>() as f64;
            println!("seed {seed}, {samples} samples: {lost} of {captured}");
            (lost / captured, 5.0 * (0.02 / captured).sqrt())
        };
        let (whole, error) = rate(512, false);
        assert!((whole - 0.02).abs() < error);
        // 2048 bytes are two fragments, 1440 bytes one: 1 - 0.98^2.
        let (fragmented, error) = rate(512, true);
        assert!((fragmented - 0.0396).abs() < 2.0 * error);
        let (small, error) = rate(360, true);
        assert!((small - 0.02).abs() < error);
    }

    #[test]
    fn a_lag_is_one_microphones_own() {
        let lag = Lag { mic: 2, from: Span::from_secs(1), to: Span::from_secs(2), by: Span::from_millis(16) };
        let (_, packets) = run(&Scenario { lags: vec![lag], ..Scenario::one_board(Span::from_secs(3)) });
        let second = START + Span::from_secs(1)..START + Span::from_secs(2);
        for packet in &packets {
            let lagging = packet.mic == 2 && second.contains(&packet.sent);
            // The packets right after a lag wait for those before them.
            let after = packet.mic == 2 && packet.sent >= second.end && packet.sent < second.end + lag.by;
            let extra = if lagging { lag.by } else { Span::ZERO };
            assert!(after || packet.arrival - packet.sent == Span::from_micros(200) + extra, "{packet:?}");
        }
    }

    #[test]
    fn reordering_changes_the_order_and_nothing_else_does() {
        let order = |reorder| {
            let network = Network { reorder, delay: "mix".parse().expect("a model's name"), ..Network::default() };
            let (_, packets) = run(&Scenario { network, ..Scenario::one_board(Span::from_secs(60)) });
            packets.windows(2).filter(|pair| (pair[0].cycle, pair[0].mic) > (pair[1].cycle, pair[1].mic)).count()
        };
        assert_eq!(order(None), 0);
        let held_up = order(Some(Reorder { probability: 0.01, by: Span::from_millis(20) }));
        // Of 168 packets held up (1 % of 16 875) by 0 to 20 ms, nearly all are passed by another.
        assert!(held_up > 100, "{held_up}");
    }
}
