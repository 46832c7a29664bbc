//! Virtual microphones and a virtual network, pure and seeded: the instrument that every claim about clocks, losses and
//! alignment is held against, since here the truth is known.
//!
//! A [`Scenario`] says what there is; [`Sim`] yields its packets in the order of their arrival, in virtual time, as fast as
//! it can, and keeps the [`Truth`]. The same scenario gives the same packets on every machine. `simulate` sends the same
//! packets over real sockets.
//!
//! ```
//! use micring::sim::{Delay, Loss, Network, Rate, Scenario, Sim};
//! use micring::time::Span;
//!
//! let scenario = Scenario {
//!     seed: 1,
//!     rates: [20.0, -15.0, 3.0].map(Rate::Constant).to_vec(),
//!     network: Network { delay: Delay::Wifi, loss: Loss::Independent(0.02), ..Network::default() },
//!     ..Scenario::three_boards(Span::from_secs(60))
//! };
//! let mut sim = Sim::new(&scenario);
//! let mut payload = Vec::new();
//! while let Some(packet) = sim.next() {
//!     sim.payload(&packet, &mut payload); // only where samples are wanted
//!     let _ = (packet.mic, packet.stamp, sim.sender(&packet));
//! }
//! let truth = sim.truth();
//! assert_eq!(truth.withheld.len() as u64, truth.mics.iter().map(|mic| mic.withheld()).sum::<u64>());
//! ```
//!
//! Time runs from [`START`] on CLOCK_MONOTONIC_RAW, which is true time here; [`HostClock`] says what CLOCK_REALTIME makes of it.

mod board;
mod defect;
mod delay;
pub mod encode;
mod host;
mod loss;
mod oscillator;
mod rng;
pub mod room;
mod scenario;
mod sending;
mod signal;
mod truth;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use self::defect::{Defect, Wrong};
pub use self::delay::{Delay, HoldBack};
pub use self::host::{HostClock, HostEvent};
pub use self::loss::Loss;
pub use self::oscillator::Rate;
pub use self::scenario::{Boards, Change, DropCycles, Lag, Length, Mute, Network, Reboot, Reorder, Scenario};
pub use self::sending::{Mixed, Order, Piece, Sending};
pub use self::signal::{Signal, index_bits, index_of, index_sample, index_sample_among, source_delay};
pub use self::truth::{MicTruth, Truth, Why, Withheld};

use self::board::Board;
use self::room::Heard;
use crate::cycle::Clocks;
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// Where virtual time begins on CLOCK_MONOTONIC_RAW: 1000 s after boot.
pub const START: MonoTime = MonoTime::from_nanos(1_000_000_000_000);
/// What CLOCK_REALTIME shows then.
pub const START_WALL: KernelTime = KernelTime::from_nanos(1_795_345_500_000_000_000);

/// A packet that arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packet {
    /// Which source.
    pub mic: usize,
    /// Which board sent it: 0, or `mic` where each source has a board of its own.
    pub board: usize,
    /// Which start of the board: 0, then one more with each reboot.
    pub boot: u32,
    /// Chunks of its microphone since that start: the sequence number that a real packet does not carry.
    pub cycle: u64,
    /// Where it lies in its chunk.
    pub piece: Piece,
    /// The position of its first sample (which it may have a part of only), counted from that start.
    pub position: FramePos,
    /// When the last sample of its chunk had been captured.
    pub captured: MonoTime,
    /// The rate error of its sample clock then, in ppm.
    pub ppm: f64,
    pub sent: MonoTime,
    pub arrival: MonoTime,
    /// The kernel's timestamp of the arrival.
    pub stamp: KernelTime,
    /// The second copy of a duplicated packet.
    pub copy: bool,
    /// Held up out of order.
    pub reordered: bool,
    /// When it would have come without jitter and stalls: the floor of its path, with ramps and queues, at the moment that it was sent.
    pub least: MonoTime,
    /// A stall that it ran into ends then.
    pub held_until: Option<MonoTime>,
}

/// A running [`Scenario`].
#[derive(Clone, Debug)]
pub struct Sim {
    seed: u64,
    signal: Signal,
    heard: Option<Heard>,
    defects: Vec<Defect>,
    rate_hz: u32,
    channels: usize,
    host: HostClock,
    boards: Vec<Board>,
    /// Sent, not yet arrived; bounded by what a path can hold back.
    under_way: BinaryHeap<Reverse<UnderWay>>,
    order: u64,
    truth: Truth,
}

/// Ordered by arrival, then by the order of sending.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    arrival: i64,
    order: u64,
    packet: Packet,
}

impl Ord for UnderWay {
    fn cmp(&self, other: &UnderWay) -> std::cmp::Ordering {
        (self.arrival, self.order).cmp(&(other.arrival, other.order))
    }
}
impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &UnderWay) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for UnderWay {
    fn eq(&self, other: &UnderWay) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for UnderWay {}

impl Sim {
    /// # Panics
    /// When [`Scenario::check`] objects.
    pub fn new(scenario: &Scenario) -> Sim {
        if let Err(why) = scenario.check() {
            panic!("a scenario that cannot be: {why}");
        }
        let boards: Vec<Board> = (0..scenario.board_count()).map(|board| Board::new(scenario, board)).collect();
        Sim {
            seed: scenario.seed,
            signal: scenario.signal,
            heard: match scenario.signal {
                Signal::Room(sounds) => {
                    let channels = scenario.layout().channels();
                    Some(Heard::new(sounds, scenario.seed, channels, scenario.boards == Boards::Three))
                }
                _ => None,
            },
            defects: scenario.defects.clone(),
            rate_hz: scenario.sample_rate,
            host: scenario.host.clone(),
            channels: scenario.layout().channels(),
            truth: Truth::new(scenario.sources, boards.len(), scenario.sample_rate),
            boards,
            under_way: BinaryHeap::new(),
            order: 0,
        }
    }

    /// Writes the samples of `packet` into `payload` (its old content is replaced): s32le.
    pub fn payload(&self, packet: &Packet, payload: &mut Vec<u8>) {
        let since = packet.captured - START;
        let wrong_of = |mic: usize| {
            let defect = self.defects.iter().find(|d| d.mic == mic && since >= d.from && since < d.to);
            defect.map(|defect| defect.wrong)
        };
        let own = wrong_of(packet.mic);
        let heard_by = own.map_or(packet.mic, |wrong| wrong.heard_by(packet.mic));
        let heard = Packet { mic: heard_by, ..*packet };
        signal::fill(self.signal, self.heard.as_ref(), self.seed, &heard, self.rate_hz, self.channels, payload);
        // A copy is one of what the other sends, with what is wrong there.
        for wrong in wrong_of(heard_by).into_iter().chain(own.filter(|_| heard_by != packet.mic)) {
            wrong.apply(payload, packet.piece.offset / 4, packet.cycle);
        }
    }

    /// The sender of `packet`: an address a board, a new port with each of its starts.
    pub fn sender(&self, packet: &Packet) -> SocketAddr {
        let address = Ipv4Addr::new(192, 168, 4, 10 + packet.board as u8);
        SocketAddr::new(IpAddr::V4(address), 50_000 + (packet.boot % 10_000) as u16)
    }

    /// Both clocks of the host at `at`, as one turn of a loop reads them.
    pub fn clocks(&self, at: MonoTime) -> Clocks {
        Clocks { mono: at, wall: self.host.wall(at) }
    }

    /// The truth about what was captured so far (arrivals lag behind by what is under way).
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// Takes the list of withheld packets and leaves an empty one: for runs of days.
    pub fn drain_withheld(&mut self) -> std::vec::Drain<'_, Withheld> {
        self.truth.withheld.drain(..)
    }
}

/// Packets in the order of their arrival.
impl Iterator for Sim {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        loop {
            // Nothing arrives before it is sent: what arrives before the next packet is sent is final.
            let next = self.boards.iter_mut().min_by_key(|board| board.next_send());
            let next = next.expect("a scenario has at least one board");
            let horizon = next.next_send();
            if let Some(Reverse(first)) = self.under_way.peek()
                && first.arrival <= horizon
            {
                return self.under_way.pop().map(|Reverse(first)| first.packet);
            }
            if horizon == board::FINISHED {
                return None;
            }
            let (host, order, under_way) = (&self.host, &mut self.order, &mut self.under_way);
            next.send(&mut self.truth, |mut packet| {
                packet.stamp = host.wall(packet.arrival);
                let arrival = (packet.arrival - START).as_nanos();
                under_way.push(Reverse(UnderWay { arrival, order: *order, packet }));
                *order += 1;
            });
        }
    }
}

/// `nanos` since the start of the run, as an instant.
fn instant(nanos: i64) -> MonoTime {
    START + Span::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything at once, on three boards.
    fn rough(seed: u64) -> Scenario {
        Scenario {
            seed,
            rates: vec![Rate::Constant(20.0), Rate::Constant(-15.0), Rate::wander(3.0)],
            network: Network {
                delay: Delay::Mix,
                loss: Loss::BURSTS,
                cycle_loss: Loss::Independent(0.001),
                duplicate: 0.01,
                reorder: Some(Reorder { probability: 0.01, by: Span::from_millis(20) }),
                fragments: true,
                ..Network::default()
            },
            reboots: vec![Reboot { board: 1, at: Span::from_secs(30), down: Span::from_secs(2) }],
            mutes: vec![Mute { mic: 2, from: Span::from_secs(40), to: Span::from_secs(41) }],
            ..Scenario::three_boards(Span::from_secs(60))
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_packets() {
        let run = |seed| Sim::new(&rough(seed)).collect::<Vec<Packet>>();
        assert_eq!(run(11), run(11));
        assert_ne!(run(11), run(12));
    }

    #[test]
    fn a_copy_is_what_the_other_sends_with_what_is_wrong_there() {
        let defect = |mic, wrong| Defect { mic, wrong, from: Span::ZERO, to: Span::MAX };
        let scenario = Scenario {
            signal: Signal::Tone,
            defects: vec![defect(0, Wrong::Swapped), defect(1, Wrong::Copy)],
            ..Scenario::one_board(Span::from_secs(1))
        };
        let mut sim = Sim::new(&scenario);
        let mut sent = [const { Vec::new() }; 3];
        while let Some(packet) = sim.next() {
            let mut payload = Vec::new();
            sim.payload(&packet, &mut payload);
            sent[packet.mic].push(payload);
        }
        assert_eq!(sent[0], sent[1]);
        let swapped =
            |payload: &Vec<u8>| payload.as_chunks::<4>().0.iter().flat_map(|w| [w[3], w[2], w[1], w[0]]).collect();
        let right: Vec<Vec<u8>> = sent[0].iter().map(swapped).collect();
        assert_eq!(right, sent[2]);
    }

    /// What the first release of the simulator made of these scenarios, as a hash: seeds that somebody wrote down bring the
    /// same packets back.
    #[test]
    fn whole_datagrams_are_those_of_the_first_release() {
        let delayed = |delay: &str| Network { delay: delay.parse().expect("a model's name"), ..rough(11).network };
        let one = |delay| Scenario { network: delayed(delay), boards: Boards::One, reboots: Vec::new(), ..rough(12) };
        let scenarios = [
            rough(11),
            one("wifi"),
            Scenario { network: Network { fragments: false, ..delayed("exp2") }, signal: Signal::Source, ..rough(13) },
            Scenario { samples: 200, ..one("mix") },
        ];
        let hashes = scenarios.map(|scenario| {
            let mut sim = Sim::new(&scenario);
            let (mut payload, mut hash) = (Vec::new(), 0xcbf2_9ce4_8422_2325);
            while let Some(packet) = sim.next() {
                sim.payload(&packet, &mut payload);
                let times = [packet.captured, packet.sent, packet.arrival].map(|at| at.as_nanos() as u64);
                let place = [packet.mic as u64, u64::from(packet.boot), packet.cycle, packet.position.0 as u64];
                let marks = [packet.stamp.as_nanos() as u64, u64::from(packet.copy), u64::from(packet.reordered)];
                let words = times.into_iter().chain(place).chain(marks);
                // FNV-1a.
                for byte in words.flat_map(u64::to_le_bytes).chain(payload.iter().copied()) {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
            hash
        });
        assert_eq!(hashes, [4560198474763813437, 13192332481547203051, 16311118818765407506, 13835637709652983779u64]);
    }

    #[test]
    fn packets_come_in_order_and_what_does_not_come_is_withheld() {
        let seed = 11;
        let mut sim = Sim::new(&rough(seed));
        let mut came = [0u64; 3];
        let mut copies = [0u64; 3];
        let mut before = START;
        for packet in sim.by_ref() {
            assert!(before <= packet.arrival && packet.sent < packet.arrival && packet.captured <= packet.sent);
            before = packet.arrival;
            let count = if packet.copy { &mut copies } else { &mut came };
            count[packet.mic] += 1;
        }
        let truth = sim.truth();
        println!("seed {seed}: {:?}", truth.mics);
        for (mic, truth) in truth.mics.iter().enumerate() {
            assert_eq!(truth.delivered(), came[mic]);
            assert_eq!(truth.duplicated, copies[mic]);
            assert!(truth.lost > 0 && truth.cycle_lost > 0 && truth.duplicated > 0 && truth.reordered > 0);
        }
        // A second of one microphone is 93 or 94 packets.
        assert!((93..=94).contains(&truth.mics[2].muted));
        // A minute at 93.75 a second, less part of a period; of mic 1 less the reboot's two seconds too.
        assert!((5624..=5625).contains(&truth.mics[0].captured));
        assert!((5625 - 190..=5625 - 187).contains(&truth.mics[1].captured));
        assert_eq!(truth.withheld.len() as u64, truth.mics.iter().map(MicTruth::withheld).sum::<u64>());
    }
}
