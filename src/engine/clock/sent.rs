//! What the sender's own clock tells apart: how long it kept a packet, and how long the path took.
//!
//! Problem: an arrival that is late says nothing about who was late: the sender's tasks, or the network. Idea: a packet that carries
//! the sender's time (`raw` with `time=` in us or ms) was stamped between the two. Its time against its position on the one side, and its
//! arrival against its time on the other, each have a floor and a rate of their own: two clock models. What lies above each floor is
//! what its half added; the constant part of either cannot be seen.
//!
//! Neither is taken off the arrivals that teach the microphone's own clock: its model keeps to the least delayed packets as it is.
//!
//! A time that counts samples (RTP's) is the position itself, and VBAN has none: neither says when a packet was sent.

use crate::engine::clock::tuning::sent::{APART, NOMINAL_PPM};
use crate::engine::clock::{Again, ClockModel};
use crate::time::{FramePos, MonoTime, Span};
use crate::wire::known::{Numbered, stamp_step};
use crate::wire::{Format, Stamp, TimeUnit};

const IN_SAMPLES: &str = "its time counts samples: it says where they belong, not when they were sent";
const NO_TIME: &str = "its packets carry no time of the sender (raw with seq= and time=...:us does)";
const NO_NUMBER: &str = "its packets carry a time but no number: seq= is needed beside it";
/// Nothing is told before.
pub const YOUNG: &str = "the sender's clock is not known yet";

/// Why the two are not told of a source of this format; `None` where they can be.
pub fn reason(format: &Format) -> Option<&'static str> {
    match format {
        Format::Rtp(_) => Some(IN_SAMPLES),
        Format::Raw(raw) => match (raw.seq, raw.time) {
            (_, None) => Some(NO_TIME),
            (_, Some(time)) if time.unit == TimeUnit::Samples => Some(IN_SAMPLES),
            (None, Some(_)) => Some(NO_NUMBER),
            (Some(_), Some(_)) => None,
        },
        Format::Auto | Format::Audiovision | Format::Vban(_) => Some(NO_TIME),
    }
}

/// Of one packet: above the least. `None` where a clock is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delays {
    pub sender: Option<Span>,
    pub network: Option<Span>,
}

/// The sender's clock of one source.
#[derive(Clone, Debug)]
pub struct Sent {
    sample_rate: u32,
    newest: Option<Newest>,
    /// Positions against the sender's time.
    sender: ClockModel,
    /// The sender's time, in its ticks, against arrivals.
    network: ClockModel,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    stamp: Stamp,
    /// Ticks since the first.
    ticks: i64,
    end: FramePos,
}

impl Sent {
    /// `None` where the stamp is no time of a clock.
    pub fn new(stamp: Stamp, sample_rate: u32) -> Option<Sent> {
        let clock = !stamp.in_samples && stamp.hz > 0;
        clock.then(|| Sent {
            sample_rate,
            newest: None,
            sender: ClockModel::new(sample_rate),
            network: ClockModel::new(stamp.hz),
        })
    }

    /// The sender began anew: its positions have nothing in common with those before.
    pub fn begin(&mut self) {
        self.newest = None;
    }

    /// A packet that ends at `end` of its source's frames and arrived at `at`.
    pub fn hear(&mut self, packet: &Numbered, end: FramePos, at: MonoTime) -> Delays {
        let Some(stamp) = packet.sampled_at else { return Delays::default() };
        let newest = self.newest.filter(|newest| self.goes_on(newest, stamp, end));
        let Some(newest) = newest else {
            self.sender.restart(Again::AnotherBoard);
            self.network.restart(Again::AnotherBoard);
            self.newest = Some(Newest { stamp, ticks: 0, end });
            return Delays::default();
        };
        let ticks = newest.ticks + stamp_step(newest.stamp, stamp);
        let sent = FramePos(ticks);
        let on_its_clock = MonoTime::from_nanos(Span::of_frames(ticks, stamp.hz).as_nanos());
        if end > newest.end {
            self.sender.observe(end, on_its_clock);
            self.network.observe(sent, at);
            // A floor may rise; that is no packet's loss.
            self.sender.take_rise();
            self.network.take_rise();
            self.newest = Some(Newest { stamp, ticks, end });
        }
        Delays { sender: above(&self.sender, end, on_its_clock), network: above(&self.network, sent, at) }
    }

    fn goes_on(&self, newest: &Newest, stamp: Stamp, end: FramePos) -> bool {
        let step = in_time(stamp_step(newest.stamp, stamp), stamp.hz);
        (step - Span::of_frames(end - newest.end, self.sample_rate)).abs() < APART
    }
}

/// How much later than the floor, where the clock is known.
fn above(clock: &ClockModel, pos: FramePos, at: MonoTime) -> Option<Span> {
    clock.sharp_rate().filter(|rate| rate.ppm.0.abs() < NOMINAL_PPM)?;
    clock.residual(pos, at).map(|above| above.max(Span::ZERO))
}

/// A field that is no time may hold anything: what is beyond a day is a day.
fn in_time(ticks: i64, hz: u32) -> Span {
    let day = 86_400 * i64::from(hz);
    Span::of_frames(ticks.clamp(-day, day), hz)
}
