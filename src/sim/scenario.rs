//! What a simulation consists of. All times count from the start of the run.

use super::defect::Defect;
use super::delay::{Delay, HoldBack};
use super::host::HostClock;
use super::loss::Loss;
use super::oscillator::Rate;
use super::sending::Sending;
use super::signal::Signal;
use crate::array::Layout;
use crate::time::Span;

/// Everything that decides a run. `Scenario::default()` is one board for a minute over a perfect network.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    pub seed: u64,
    pub length: Length,
    pub boards: Boards,
    /// Sources, each with a port of its own: of one board all, else one a board. In all that follows a "microphone" is a source; one has
    /// [`Sending::channels`].
    pub sources: usize,
    /// Samples a chunk, which is a packet unless it leaves in pieces.
    pub samples: u32,
    pub sending: Sending,
    /// Frames a second, nominal.
    pub sample_rate: u32,
    /// The sample clock of each board; one board has the first. Where there are fewer than boards, they begin anew.
    pub rates: Vec<Rate>,
    /// From one packet of a cycle to the next one of another microphone, as one board sends them.
    pub spacing: Span,
    pub network: Network,
    /// Networks that take the first one's place, each from its time on. Times rise.
    pub then: Vec<(Span, Network)>,
    pub drop_cycles: Vec<DropCycles>,
    pub mutes: Vec<Mute>,
    pub defects: Vec<Defect>,
    pub lags: Vec<Lag>,
    pub reboots: Vec<Reboot>,
    pub changes: Vec<Change>,
    /// So many cycles at a board's first start and before its last stop, and around each reboot, suffer no random loss,
    /// duplication or reordering (delays and what is scripted they do): a receiver cannot know of a packet that is lost
    /// before the first one arrives or after the last one, so no truth about those could be held against it.
    pub clean_cycles: u32,
    pub host: HostClock,
    pub signal: Signal,
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            seed: 1,
            length: Length::Time(Span::from_secs(60)),
            boards: Boards::One,
            sources: 3,
            samples: 512,
            sending: Sending::default(),
            sample_rate: 48_000,
            rates: vec![Rate::Constant(0.0)],
            spacing: Span::from_micros(100),
            network: Network::default(),
            then: Vec::new(),
            drop_cycles: Vec::new(),
            mutes: Vec::new(),
            defects: Vec::new(),
            lags: Vec::new(),
            reboots: Vec::new(),
            changes: Vec::new(),
            clean_cycles: 8,
            host: HostClock::default(),
            signal: Signal::Index,
        }
    }
}

impl Scenario {
    /// One board, one sample clock, for this long.
    pub fn one_board(length: Span) -> Scenario {
        Scenario { length: Length::Time(length), ..Scenario::default() }
    }

    /// A board for each microphone, for this long.
    pub fn three_boards(length: Span) -> Scenario {
        Scenario { boards: Boards::Three, ..Scenario::one_board(length) }
    }

    /// Says what about the scenario cannot be.
    ///
    /// # Errors
    /// Times out of order, a board or microphone that there is not.
    pub fn check(&self) -> Result<(), String> {
        let check =
            |samples, sending: &Sending| sending.check(samples, self.spacing, self.mics_of_a_board(), self.sample_rate);
        if self.rates.is_empty() {
            return Err("a board has a sample clock".into());
        }
        Layout::new(&vec![self.sending.channels as usize; self.sources])?;
        if self.changes.iter().any(|change| change.sending.channels != self.sending.channels) {
            return Err("a source keeps its number of channels".into());
        }
        check(self.samples, &self.sending)?;
        for change in &self.changes {
            check(change.samples, &change.sending)?;
        }
        let in_order = self.then.is_sorted_by_key(|(from, _)| *from)
            && self.drop_cycles.is_sorted_by_key(|drop| drop.at)
            && self.changes.is_sorted_by_key(|change| change.at);
        if !in_order {
            return Err("networks, lost cycles and changes are given in the order of their times".into());
        }
        let named = self.mutes.iter().map(|mute| mute.mic).chain(self.lags.iter().map(|lag| lag.mic));
        if named.chain(self.defects.iter().map(|defect| defect.mic)).any(|mic| mic >= self.sources) {
            return Err(format!("the microphones are 0 to {}", self.sources - 1));
        }
        if let Some(reboot) = self.reboots.iter().find(|reboot| reboot.board >= self.board_count()) {
            return Err(format!("there is no board {} to reboot: they count from 0", reboot.board));
        }
        for board in 0..self.board_count() {
            let mut up_since = Span::ZERO;
            for reboot in self.reboots.iter().filter(|reboot| reboot.board == board) {
                // A board that is up for less than two periods may not have sent anything yet.
                if reboot.at < up_since + self.period() + self.period() {
                    return Err(format!("board {board} reboots at {:?}, when it is hardly up", reboot.at));
                }
                up_since = reboot.at + reboot.down;
            }
        }
        Ok(())
    }

    pub fn board_count(&self) -> usize {
        self.boards.of(self.sources)
    }

    /// Microphones of each board.
    pub(super) fn mics_of_a_board(&self) -> usize {
        self.sources / self.board_count()
    }

    /// What the array is made of.
    pub fn layout(&self) -> Layout {
        Layout::new(&vec![self.sending.channels as usize; self.sources]).expect("a scenario that was checked")
    }

    /// The nominal time from one cycle to the next: from one read of a board to its next, in the mean.
    pub fn period(&self) -> Span {
        let frames = self.sending.frames_in_the_mean(self.samples);
        Span::of_frames(frames.round() as i64, self.sample_rate)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boards {
    /// One sample clock; the packets of a cycle are sent in order, over one path.
    One,
    /// Each microphone has its own sample clock, phase and path.
    Three,
}

impl Boards {
    /// How many there are, of so many sources.
    pub fn of(self, sources: usize) -> usize {
        match self {
            Boards::One => 1,
            Boards::Three => sources,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Cycles captured before this time are sent.
    Time(Span),
    /// Each board sends this many cycles: what it reads so many times.
    Cycles(u64),
}

/// What the network does to packets. Each board has a path of its own with these properties, its losses included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    pub delay: Delay,
    /// The delay that no packet undercuts.
    pub floor: Span,
    pub loss: Loss,
    /// Loss of whole cycles, by the same models.
    pub cycle_loss: Loss,
    pub hold_back: Option<HoldBack>,
    /// The probability that a packet (a datagram) comes twice, the second time within 20 us to 2 ms.
    pub duplicate: f64,
    pub reorder: Option<Reorder>,
    /// A packet above 1472 bytes travels as IP fragments at an MTU of 1500: losing one loses it, and it has arrived (and is
    /// stamped) when the last one has.
    pub fragments: bool,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            delay: Delay::None,
            floor: Span::from_micros(200),
            loss: Loss::None,
            cycle_loss: Loss::None,
            hold_back: None,
            duplicate: 0.0,
            reorder: None,
            fragments: false,
        }
    }
}

/// A packet is held up with this probability, uniformly up to `by`, while those behind it pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reorder {
    pub probability: f64,
    pub by: Span,
}

/// This many whole cycles are lost, from the first one that is captured at or after `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropCycles {
    pub at: Span,
    pub cycles: u64,
}

/// A microphone is dead for a while: its packets are not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mute {
    pub mic: usize,
    pub from: Span,
    pub to: Span,
}

/// One microphone's packets take longer for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    pub mic: usize,
    pub from: Span,
    pub to: Span,
    pub by: Span,
}

/// A board stops at `at` and starts anew `down` later (and a random part of a period): position and phase start anew, and it
/// sends from another port. The reboots of a board are given in order and do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reboot {
    pub board: usize,
    pub at: Span,
    pub down: Span,
}

/// Chunks have other sizes or leave in other pieces from the first read at or after `at`, on every board: other settings, or
/// (with a reboot) another firmware. Positions go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub at: Span,
    pub samples: u32,
    pub sending: Sending,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_said() {
        let good = Scenario::three_boards(Span::from_secs(60));
        let reboot = |board, at, down| Reboot { board, at: Span::from_secs(at), down: Span::from_secs(down) };
        let reboots = |reboots: &[Reboot]| Scenario { reboots: reboots.to_vec(), ..good.clone() }.check();
        assert_eq!(good.check(), Ok(()));
        assert_eq!(reboots(&[reboot(1, 5, 2), reboot(0, 6, 9), reboot(1, 9, 1)]), Ok(()));
        assert!(reboots(&[reboot(1, 5, 2), reboot(1, 6, 1)]).is_err(), "still down");
        assert!(reboots(&[reboot(1, 9, 1), reboot(1, 5, 2)]).is_err(), "out of order");
        assert!(reboots(&[reboot(3, 9, 1)]).is_err(), "no such board");
        let drop = |at| DropCycles { at: Span::from_secs(at), cycles: 1 };
        assert!(Scenario { drop_cycles: vec![drop(5), drop(4)], ..good.clone() }.check().is_err());
        let mute = Mute { mic: 3, from: Span::ZERO, to: Span::MAX };
        assert!(Scenario { mutes: vec![mute], ..good.clone() }.check().is_err());
    }
}
