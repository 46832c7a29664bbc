//! What is wrong with the microphones themselves: rate, level, headers, refused senders.
//!
//! Each accepted packet is shown to four meters, which look at it or not: [`rates`] (in slices), [`levels`] (one in thirty milliseconds),
//! [`header`] (sixteen a second) and [`refused`] (a count). Levels, and which signals are the same, are the channels'; the rest is the
//! sources', and each channel of a source has its faults. What they find is a [`Fault`], with when it began, what shows it and what to
//! do. Nothing here changes a sample, or a decision of the engine.

pub mod header;
pub mod levels;
pub mod rates;
pub mod refused;

mod fold;
mod tuning;

use crate::engine::health::tuning::health::{CLIPPING_LASTS, NEARLY, PLAINLY_WRONG, USUAL_HZ, WRONG_RATE};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Queued;
use super::figures::Known;
use super::intake::packet::SAMPLE_BYTES;
use crate::array::Layout;
use crate::sound::words::{Found, Shifted, Stuck};
use crate::time::{KernelTime, MonoTime};
use header::HeaderWatch;
use levels::{Level, LevelMeter, Twins};
use rates::{Rate, RateMeter};
use refused::{RefusalMeter, Refused};

/// The kinds of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    WrongRate,
    Refused,
    HeaderInAudio,
    Dead,
    SameAs(usize),
    /// Every second word is empty: the other I2S slot.
    HalfEmpty,
    ShiftedWords,
    StuckBits,
    Offset,
    Clipping,
}

impl FaultKind {
    /// As the diagnostics call it.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            FaultKind::WrongRate => "wrong_rate".into(),
            FaultKind::Refused => "refused".into(),
            FaultKind::HeaderInAudio => "header_in_audio".into(),
            FaultKind::Dead => "dead".into(),
            FaultKind::SameAs(channel) => format!("same_as_mic{channel}").into(),
            FaultKind::HalfEmpty => "half_empty".into(),
            FaultKind::ShiftedWords => "shifted_words".into(),
            FaultKind::StuckBits => "stuck_bits".into(),
            FaultKind::Offset => "offset".into(),
            FaultKind::Clipping => "clipping".into(),
        }
    }

    /// Audio of this microphone cannot be used: `/healthz` says so.
    pub fn is_unusable(self) -> bool {
        matches!(self, FaultKind::WrongRate | FaultKind::Refused)
    }

    /// The samples themselves show it.
    pub fn is_heard(self) -> bool {
        !self.is_unusable()
    }

    /// It is that of a whole source, not of one of its channels.
    fn is_of_source(self) -> bool {
        matches!(self, FaultKind::WrongRate | FaultKind::Refused | FaultKind::HeaderInAudio)
    }

    /// Its place among those of its source or channel.
    fn slot(self) -> usize {
        match self {
            FaultKind::WrongRate | FaultKind::Dead => 0,
            FaultKind::Refused | FaultKind::SameAs(_) => 1,
            FaultKind::HeaderInAudio | FaultKind::HalfEmpty => 2,
            FaultKind::ShiftedWords => 3,
            FaultKind::StuckBits => 4,
            FaultKind::Offset => 5,
            FaultKind::Clipping => 6,
        }
    }
}

/// What is wrong, and since when; by [`FaultKind::slot`].
type Faults = [Option<(FaultKind, KernelTime)>; 7];

/// What a whole window of samples shows.
const OF_LEVEL: [FaultKind; 6] = [
    FaultKind::Dead,
    FaultKind::HalfEmpty,
    FaultKind::ShiftedWords,
    FaultKind::StuckBits,
    FaultKind::Offset,
    FaultKind::Clipping,
];

/// Something wrong with a microphone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub since: KernelTime,
    /// What shows it.
    pub evidence: String,
    /// What to do about it.
    pub next_step: String,
}

/// An accepted packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub source: usize,
    pub at: MonoTime,
    pub stamp: KernelTime,
    pub payload: &'a [u8],
}

#[derive(Debug)]
struct Source {
    rate: RateMeter,
    /// Looks in a row that found the rate other than it was called.
    wrong: u32,
    /// What it was when it was last found wrong; 0 while that is not known well.
    wrong_hz: f64,
    header: HeaderWatch,
    refusals: RefusalMeter,
    followed: Option<SocketAddr>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Channel {
    level: LevelMeter,
    clipped: Option<MonoTime>,
    faults: Faults,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Health {
    nominal_hz: f64,
    layout: Layout,
    sources: Vec<Source>,
    channels: Vec<Channel>,
    twins: Twins,
    /// Room for the samples of one channel of several.
    own: Vec<[u8; SAMPLE_BYTES]>,
}

impl Health {
    pub fn new(layout: Layout, nominal_hz: u32) -> Health {
        let source = |source: usize| Source {
            rate: RateMeter::new(nominal_hz),
            wrong: 0,
            wrong_hz: 0.0,
            header: HeaderWatch::new(layout.channels_of(source).len()),
            refusals: RefusalMeter::default(),
            followed: None,
            faults: Faults::default(),
        };
        Health {
            nominal_hz: f64::from(nominal_hz),
            sources: (0..layout.sources()).map(source).collect(),
            channels: (0..layout.channels()).map(|_| Channel::default()).collect(),
            twins: Twins::new(layout.channels()),
            own: Vec::with_capacity(levels::MOST_SAMPLES),
            layout,
        }
    }

    /// What the array is made of.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Another sender is this source now.
    pub(super) fn restart(&mut self, source: usize) {
        let own = &mut self.sources[source];
        own.rate.restart();
        own.header.restart();
        (own.wrong, own.wrong_hz) = (0, 0.0);
        for kind in [FaultKind::WrongRate, FaultKind::HeaderInAudio] {
            own.faults[kind.slot()] = None;
        }
        for channel in &mut self.channels[self.layout.channels_of(source)] {
            channel.level.restart();
            channel.clipped = None;
            for kind in OF_LEVEL {
                channel.faults[kind.slot()] = None;
            }
        }
    }

    /// An accepted packet, its bytes as they came, how many frames end in it, and by how many its sender's positions went on, where its
    /// number says so.
    pub(super) fn accepted(
        &mut self,
        heard: &Heard<'_>,
        frames: u32,
        passed: Option<u32>,
        sender: SocketAddr,
        outputs: &mut VecDeque<Queued>,
    ) {
        let Heard { source, at, stamp, payload } = *heard;
        let own = &mut self.sources[source];
        if own.followed != Some(sender) {
            own.followed = Some(sender);
        }
        own.refusals.taken(at);
        if own.rate.on_packet(at, frames, passed) {
            self.judge_rate(source, stamp, outputs);
        }
        if self.sources[source].header.on_packet(at, payload) {
            let found = self.sources[source].header.found().is_some();
            self.set(self.layout.first_of(source), FaultKind::HeaderInAudio, found, stamp, outputs);
        }
        let own = &self.sources[source];
        if own.refusals.is_any() && own.faults[FaultKind::Refused.slot()].is_some() {
            self.judge_refused(source, at, stamp, outputs);
        }
    }

    /// Whole frames that were placed.
    pub(super) fn placed(&mut self, heard: &Heard<'_>, outputs: &mut VecDeque<Queued>) {
        let Heard { source, at, stamp, payload } = *heard;
        let (words, _) = payload.as_chunks::<SAMPLE_BYTES>();
        let channels = self.layout.channels_of(source);
        let wide = channels.len();
        for (nth, channel) in channels.enumerate() {
            let mut own = std::mem::take(&mut self.own);
            let is_due = self.channels[channel].level.is_due(at);
            let most = if is_due { levels::MOST_SAMPLES } else { levels::COMPARED };
            let samples = if wide == 1 {
                words
            } else {
                own.clear();
                own.extend(words.iter().skip(nth).step_by(wide).take(most));
                &own
            };
            self.twins.note(channel, samples);
            if is_due && self.channels[channel].level.look(at, samples) {
                self.judge_level(channel, at, stamp, outputs);
            }
            self.own = own;
        }
        if self.twins.look(at) {
            for channel in 0..self.channels.len() {
                // Told of the later one.
                let twin = self.twins.of(channel).filter(|&twin| twin < channel);
                let before = self.channels[channel].faults[FaultKind::SameAs(0).slot()].map(|(kind, _)| kind);
                let kind = twin.map(FaultKind::SameAs).or(before).unwrap_or(FaultKind::SameAs(0));
                self.set(channel, kind, twin.is_some(), stamp, outputs);
            }
        }
    }

    /// A valid packet of another sender than the one that is followed.
    pub(super) fn refused(
        &mut self,
        source: usize,
        at: MonoTime,
        stamp: KernelTime,
        from: SocketAddr,
        outputs: &mut VecDeque<Queued>,
    ) {
        self.sources[source].refusals.refused(at, from);
        self.judge_refused(source, at, stamp, outputs);
    }

    /// Of the last ten seconds, as the channel's source sends.
    pub fn rate(&self, channel: usize) -> Known<Rate> {
        let source = &self.sources[self.layout.source_of(channel)];
        source.sound_of(source.rate.window())
    }

    /// Since the source's sender was first heard.
    pub fn rate_since_start(&self, channel: usize) -> Known<Rate> {
        let source = &self.sources[self.layout.source_of(channel)];
        source.sound_of(source.rate.since_start())
    }

    /// How often a channel's rate was looked at.
    pub fn looks(&self, channel: usize) -> u64 {
        self.sources[self.layout.source_of(channel)].rate.looks()
    }

    /// The newest whole second.
    pub fn level(&self, channel: usize) -> Option<Level> {
        self.channels[channel].level.level()
    }

    /// Another channel with the same signal.
    pub fn twin(&self, channel: usize) -> Option<usize> {
        self.twins.of(channel)
    }

    /// Why no loss and no drift of a channel can be told: its rate is not the nominal one.
    pub fn disagreement(&self, channel: usize) -> Option<String> {
        self.sources[self.layout.source_of(channel)].faults[FaultKind::WrongRate.slot()]?;
        Some(format!("the rate disagrees: {}", self.evidence(channel, FaultKind::WrongRate)))
    }

    /// As what format a channel's source should be read, where words stand in front of its samples.
    pub fn format_with_header(&self, channel: usize) -> Option<String> {
        let source = &self.sources[self.layout.source_of(channel)];
        source.faults[FaultKind::HeaderInAudio.slot()]?;
        source.header.found().map(|header| header.format())
    }

    /// The rate that a channel's source is set to, in hertz, where it is not the nominal one and is known well.
    pub fn likely_rate(&self, channel: usize) -> Option<u32> {
        let source = &self.sources[self.layout.source_of(channel)];
        source.faults[FaultKind::WrongRate.slot()]?;
        (source.wrong_hz > 0.0).then_some(source.wrong_hz as u32)
    }

    /// What is wrong at this time, the worst first.
    pub fn faults(&self, channel: usize, now: MonoTime) -> Vec<Fault> {
        let source = &self.sources[self.layout.source_of(channel)];
        let all = source.faults.iter().chain(&self.channels[channel].faults).flatten();
        let present = all.filter(|(kind, _)| match kind {
            FaultKind::Refused => source.refusals.most(now).is_some(),
            _ => true,
        });
        present
            .map(|&(kind, since)| Fault {
                kind,
                since,
                evidence: self.evidence(channel, kind),
                next_step: self.next_step(channel, kind),
            })
            .collect()
    }

    fn judge_rate(&mut self, source: usize, stamp: KernelTime, outputs: &mut VecDeque<Queued>) {
        let channel = self.layout.first_of(source);
        let Ok(rate) = self.rate(channel) else { return };
        let Ok(counted) = self.sources[source].rate.window() else { return };
        let nominal_hz = self.nominal_hz;
        let off = |rate: &Rate| (rate.hz - nominal_hz).abs() - rate.uncertainty_hz;
        // A header may stand in front of the samples or in place of some: a rate that fits one way is not called wrong.
        let off = off(&rate).min(off(&counted));
        let wrong = off > WRONG_RATE * self.nominal_hz;
        let own = &mut self.sources[source];
        if wrong {
            own.wrong_hz = if rate.uncertainty_hz < PLAINLY_WRONG * rate.hz { likely(rate.hz) } else { own.wrong_hz };
        }
        let known = own.faults[FaultKind::WrongRate.slot()].is_some();
        // Two looks in a row, either way, but where it is plain.
        own.wrong = if wrong != known { own.wrong + 1 } else { 0 };
        if own.wrong >= 2 || (wrong && off > PLAINLY_WRONG * self.nominal_hz) {
            own.wrong = 0;
            self.set(channel, FaultKind::WrongRate, wrong, stamp, outputs);
        }
    }

    fn judge_level(&mut self, channel: usize, at: MonoTime, stamp: KernelTime, outputs: &mut VecDeque<Queued>) {
        let Some(level) = self.level(channel) else { return };
        self.set(channel, FaultKind::Dead, level.is_dead(), stamp, outputs);
        self.set(channel, FaultKind::Offset, level.is_offset(), stamp, outputs);
        if let Some(words) = level.words {
            self.set(channel, FaultKind::HalfEmpty, words.half_empty, stamp, outputs);
            self.set(channel, FaultKind::ShiftedWords, words.shifted.is_some(), stamp, outputs);
            self.set(channel, FaultKind::StuckBits, words.stuck.is_some(), stamp, outputs);
        }
        let own = &mut self.channels[channel];
        if level.clipped > 0.0 {
            own.clipped = Some(at);
        }
        let clips = own.clipped.is_some_and(|clipped| at - clipped < CLIPPING_LASTS);
        self.set(channel, FaultKind::Clipping, clips, stamp, outputs);
    }

    fn judge_refused(&mut self, source: usize, at: MonoTime, stamp: KernelTime, outputs: &mut VecDeque<Queued>) {
        let most = self.sources[source].refusals.most(at).is_some();
        self.set(self.layout.first_of(source), FaultKind::Refused, most, stamp, outputs);
    }

    /// It is so from now on, or no longer; a change is logged, but for clipping, which comes and goes with the sound.
    fn set(&mut self, channel: usize, kind: FaultKind, is: bool, stamp: KernelTime, outputs: &mut VecDeque<Queued>) {
        let source = self.layout.source_of(channel);
        let faults = match kind.is_of_source() {
            true => &mut self.sources[source].faults,
            false => &mut self.channels[channel].faults,
        };
        let slot = &mut faults[kind.slot()];
        if slot.map(|(kind, _)| kind) == is.then_some(kind) {
            return;
        }
        *slot = is.then_some((kind, stamp));
        if kind == FaultKind::Clipping {
            return;
        }
        let who = if kind.is_of_source() { self.layout.name_of(source) } else { format!("mic {channel}") };
        let line = match (is, kind) {
            (false, _) => format!("{who}: {} is over", kind.name()),
            // In the words that name the option.
            (_, FaultKind::WrongRate) => {
                format!("{who} {}: {}", self.evidence(channel, kind), self.next_step(channel, kind))
            }
            _ => format!("{who}: {}: {}", self.evidence(channel, kind), self.next_step(channel, kind)),
        };
        outputs.push_back(Queued::Log(line));
    }

    fn evidence(&self, channel: usize, kind: FaultKind) -> String {
        let own = &self.sources[self.layout.source_of(channel)];
        match kind {
            FaultKind::WrongRate => {
                let nominal = grouped(self.nominal_hz);
                match own.wrong_hz {
                    0.0 => format!("sends more than {nominal} samples a second"),
                    hz => format!("sends {} samples a second, not {nominal}", grouped(hz)),
                }
            }
            FaultKind::Refused => {
                let newest = own.refusals.newest();
                let Refused { refused, valid, from } = newest.unwrap_or(Refused { refused: 0, valid: 0, from: None });
                let name = |sender: Option<SocketAddr>| sender.map_or("nobody".to_owned(), |sender| sender.to_string());
                format!(
                    "most of its packets are refused: {refused} of {valid} valid ones of the last 10 s came from {}, while {} is followed",
                    name(from),
                    name(own.followed)
                )
            }
            FaultKind::HeaderInAudio => own.header.found().map_or(String::new(), |header| {
                format!("the first {} bytes of its packets {}", header.bytes, header.evidence())
            }),
            FaultKind::Dead => match self.level(channel) {
                Some(level) if level.peak == 0.0 => "all samples are 0".to_owned(),
                level => format!("the samples move by {} of 4294967296", level.map_or(0, |level| level.range)),
            },
            FaultKind::SameAs(other) => format!("its samples are those of mic {other}, bit for bit"),
            FaultKind::HalfEmpty => "every second sample is empty".to_owned(),
            FaultKind::ShiftedWords => match self.words(channel).shifted {
                Some(Shifted::Swapped) => "the bytes of its samples stand in the other order".to_owned(),
                _ => "its samples are quieter than any microphone's own noise, and their lowest bits move".to_owned(),
            },
            FaultKind::StuckBits => match self.words(channel).stuck {
                Some(Stuck { mask, at }) => format!("bits that never move: {mask:#010x}, they stand at {at:#010x}"),
                None => String::new(),
            },
            FaultKind::Offset => {
                let percent = self.level(channel).map_or(0.0, |level| 100.0 * level.offset);
                format!("its samples swing around {percent:.1} % of full scale, not around 0")
            }
            FaultKind::Clipping => {
                let share = self.level(channel).map_or(0.0, |level| 100.0 * level.clipped);
                format!("flat tops: {share:.2} % of the samples of the last second, some within 10 s")
            }
        }
    }

    /// What the words of the newest window show.
    fn words(&self, channel: usize) -> Found {
        self.level(channel).and_then(|level| level.words).unwrap_or_default()
    }

    fn next_step(&self, channel: usize, kind: FaultKind) -> String {
        let own = &self.sources[self.layout.source_of(channel)];
        match kind {
            FaultKind::WrongRate if own.wrong_hz == 0.0 => "ask the board for its rate, and set --sample-rate".to_owned(),
            FaultKind::WrongRate => format!("--sample-rate {:.0}", own.wrong_hz),
            FaultKind::Refused => "stop the sender that is not the microphone".to_owned(),
            FaultKind::HeaderInAudio => self.format_with_header(channel).map_or(String::new(), |format| {
                format!("a header? try --format {format}; taken as samples it is a click in each packet")
            }),
            FaultKind::Dead => "check its wiring, its power, and which slot (L/R) it is set to".to_owned(),
            FaultKind::SameAs(other) => {
                format!("check that the board reads a slot of its own for mic {channel}, and does not send mic {other} twice")
            }
            FaultKind::HalfEmpty => {
                "set the board's I2S driver to mono, or send only the slot (L/R) that the microphone fills".to_owned()
            }
            FaultKind::ShiftedWords => match self.words(channel).shifted {
                Some(Shifted::Swapped) => "send little-endian words (on an ESP32: as the I2S driver gives them)".to_owned(),
                _ => "let the board send the words as the microphone gives them, without a shift to the right".to_owned(),
            },
            FaultKind::StuckBits => {
                "check the data line (SD) and its solder joints; a bus clock too fast for long wires does this too".to_owned()
            }
            FaultKind::Offset => {
                "harmless to the ear, but it eats headroom: unsigned samples, or a microphone that needs a high-pass in the board"
                    .to_owned()
            }
            FaultKind::Clipping => "turn down the gain, or the shift, in the sender".to_owned(),
        }
    }
}

impl Source {
    /// Without what a header in front of the samples adds to the count.
    fn sound_of(&self, rate: Known<Rate>) -> Known<Rate> {
        let share = self.header.sound_share();
        let Rate { hz, uncertainty_hz, received_hz, span } = rate?;
        let received_hz = received_hz * share;
        Ok(Rate { hz: hz * share, uncertainty_hz: uncertainty_hz * share, received_hz, span })
    }
}

/// The usual rate that is meant, else the rate itself in whole hertz.
fn likely(hz: f64) -> f64 {
    USUAL_HZ.into_iter().find(|usual| (hz / usual - 1.0).abs() < NEARLY).unwrap_or(hz.round())
}

/// Whole thousands apart: 44 100.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
