//! What is wrong with the microphones themselves: rate, level, headers, refused senders.
//!
//! Each accepted packet is shown to four meters, which look at it or not: [`rates`] (in slices), [`levels`] (one in thirty milliseconds),
//! [`header`] (sixteen a second) and [`refused`] (a count). What they find is a [`Fault`], with when it began, what shows it and what to
//! do. Nothing here changes a sample, or a decision of the engine.

pub mod header;
pub mod levels;
pub mod rates;
pub mod refused;

mod fold;

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Output;
use super::figures::Known;
use crate::MICS;
use crate::sound::words::{Found, Shifted, Stuck};
use crate::time::{KernelTime, MonoTime, Span};
use header::HeaderWatch;
use levels::{Level, LevelMeter, Twins};
use rates::{Rate, RateMeter};
use refused::{RefusalMeter, Refused};

/// A rate that differs by more from the nominal one is wrong, whatever the crystal.
const WRONG_RATE: f64 = 1_000e-6;
/// Beyond this, one look is enough; below, two in a row.
const PLAINLY_WRONG: f64 = 0.01;
/// Rates that microphones are set to; a wrong one is mostly one of these, within what is not a crystal's error.
const USUAL_HZ: [f64; 14] = [
    8_000.0, 11_025.0, 12_000.0, 16_000.0, 22_050.0, 24_000.0, 32_000.0, 44_100.0, 48_000.0, 64_000.0, 88_200.0,
    96_000.0, 176_400.0, 192_000.0,
];
const NEARLY: f64 = 1_000e-6;
/// Clipping is told for so long after it was last seen.
const CLIPPING_LASTS: Span = Span::from_secs(10);

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
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::WrongRate => "wrong_rate",
            FaultKind::Refused => "refused",
            FaultKind::HeaderInAudio => "header_in_audio",
            FaultKind::Dead => "dead",
            FaultKind::SameAs(0) => "same_as_mic0",
            FaultKind::SameAs(1) => "same_as_mic1",
            FaultKind::SameAs(_) => "same_as_mic2",
            FaultKind::HalfEmpty => "half_empty",
            FaultKind::ShiftedWords => "shifted_words",
            FaultKind::StuckBits => "stuck_bits",
            FaultKind::Offset => "offset",
            FaultKind::Clipping => "clipping",
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

    fn slot(self) -> usize {
        match self {
            FaultKind::WrongRate => 0,
            FaultKind::Refused => 1,
            FaultKind::HeaderInAudio => 2,
            FaultKind::Dead => 3,
            FaultKind::SameAs(_) => 4,
            FaultKind::HalfEmpty => 5,
            FaultKind::ShiftedWords => 6,
            FaultKind::StuckBits => 7,
            FaultKind::Offset => 8,
            FaultKind::Clipping => 9,
        }
    }
}

const SLOTS: usize = 10;
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
    pub mic: usize,
    pub at: MonoTime,
    pub stamp: KernelTime,
    pub payload: &'a [u8],
}

#[derive(Debug)]
struct Mic {
    rate: RateMeter,
    /// Looks in a row that found the rate other than it was called.
    wrong: u32,
    /// What it was when it was last found wrong; 0 while that is not known well.
    wrong_hz: f64,
    level: LevelMeter,
    clipped: Option<MonoTime>,
    header: HeaderWatch,
    refusals: RefusalMeter,
    followed: Option<SocketAddr>,
    /// What is wrong, and since when.
    faults: [Option<(FaultKind, KernelTime)>; SLOTS],
}

/// See the top of the file.
#[derive(Debug)]
pub struct Health {
    nominal_hz: f64,
    mics: [Mic; MICS],
    twins: Twins,
}

impl Health {
    pub fn new(nominal_hz: u32) -> Health {
        Health {
            nominal_hz: f64::from(nominal_hz),
            mics: std::array::from_fn(|_| Mic {
                rate: RateMeter::new(nominal_hz),
                wrong: 0,
                wrong_hz: 0.0,
                level: LevelMeter::default(),
                clipped: None,
                header: HeaderWatch::default(),
                refusals: RefusalMeter::default(),
                followed: None,
                faults: [None; SLOTS],
            }),
            twins: Twins::default(),
        }
    }

    /// Another sender is this microphone now.
    pub(super) fn restart(&mut self, mic: usize) {
        let mic = &mut self.mics[mic];
        mic.rate.restart();
        mic.level.restart();
        mic.header.restart();
        (mic.wrong, mic.wrong_hz, mic.clipped) = (0, 0.0, None);
        for kind in [FaultKind::WrongRate, FaultKind::HeaderInAudio].into_iter().chain(OF_LEVEL) {
            mic.faults[kind.slot()] = None;
        }
    }

    /// An accepted packet, its samples in the history.
    pub(super) fn accepted(&mut self, heard: &Heard<'_>, sender: SocketAddr, outputs: &mut VecDeque<Output>) {
        let Heard { mic, at, stamp, payload } = *heard;
        let own = &mut self.mics[mic];
        own.followed = Some(sender);
        own.refusals.taken(at);
        let samples = (payload.len() / super::packet::SAMPLE_BYTES) as u32;
        if own.rate.on_packet(at, samples) {
            self.judge_rate(mic, stamp, outputs);
        }
        if self.mics[mic].level.on_packet(at, payload) {
            self.judge_level(mic, at, stamp, outputs);
        }
        if self.mics[mic].header.on_packet(at, payload) {
            let found = self.mics[mic].header.found().is_some();
            self.set(mic, FaultKind::HeaderInAudio, found, stamp, outputs);
        }
        if self.twins.on_packet(mic, at, payload) {
            for mic in 0..MICS {
                // Told of the later one.
                let twin = self.twins.of(mic).filter(|&twin| twin < mic);
                let before = self.mics[mic].faults[FaultKind::SameAs(0).slot()].map(|(kind, _)| kind);
                let kind = twin.map(FaultKind::SameAs).or(before).unwrap_or(FaultKind::SameAs(0));
                self.set(mic, kind, twin.is_some(), stamp, outputs);
            }
        }
        if self.mics[mic].faults[FaultKind::Refused.slot()].is_some() {
            self.judge_refused(mic, at, stamp, outputs);
        }
    }

    /// A valid packet of another sender than the one that is followed.
    pub(super) fn refused(
        &mut self,
        mic: usize,
        at: MonoTime,
        stamp: KernelTime,
        from: SocketAddr,
        outputs: &mut VecDeque<Output>,
    ) {
        self.mics[mic].refusals.refused(at, from);
        self.judge_refused(mic, at, stamp, outputs);
    }

    /// Of the last ten seconds.
    pub fn rate(&self, mic: usize) -> Known<Rate> {
        self.sound_of(mic, self.mics[mic].rate.window())
    }

    /// Since the microphone's sender was first heard.
    pub fn rate_since_start(&self, mic: usize) -> Known<Rate> {
        self.sound_of(mic, self.mics[mic].rate.since_start())
    }

    /// Without what a header in front of the samples adds to the count.
    fn sound_of(&self, mic: usize, rate: Known<Rate>) -> Known<Rate> {
        let share = self.mics[mic].header.sound_share();
        let Rate { hz, uncertainty_hz, received_hz, span } = rate?;
        let received_hz = received_hz * share;
        Ok(Rate { hz: hz * share, uncertainty_hz: uncertainty_hz * share, received_hz, span })
    }

    /// How often a microphone's rate was looked at.
    pub fn looks(&self, mic: usize) -> u64 {
        self.mics[mic].rate.looks()
    }

    /// The newest whole second.
    pub fn level(&self, mic: usize) -> Option<Level> {
        self.mics[mic].level.level()
    }

    /// Another microphone with the same signal.
    pub fn twin(&self, mic: usize) -> Option<usize> {
        self.twins.of(mic)
    }

    /// Why no loss and no drift of a microphone can be told: its rate is not the nominal one.
    pub fn disagreement(&self, mic: usize) -> Option<String> {
        self.mics[mic].faults[FaultKind::WrongRate.slot()]?;
        Some(format!("the rate disagrees: {}", self.evidence(mic, FaultKind::WrongRate)))
    }

    /// What is wrong at this time, the worst first.
    pub fn faults(&self, mic: usize, now: MonoTime) -> Vec<Fault> {
        let own = &self.mics[mic];
        let present = own.faults.iter().flatten().filter(|(kind, _)| match kind {
            FaultKind::Refused => own.refusals.most(now).is_some(),
            _ => true,
        });
        present
            .map(|&(kind, since)| Fault {
                kind,
                since,
                evidence: self.evidence(mic, kind),
                next_step: self.next_step(mic, kind),
            })
            .collect()
    }

    fn judge_rate(&mut self, mic: usize, stamp: KernelTime, outputs: &mut VecDeque<Output>) {
        let Ok(rate) = self.rate(mic) else { return };
        let off = (rate.hz - self.nominal_hz).abs() - rate.uncertainty_hz;
        let wrong = off > WRONG_RATE * self.nominal_hz;
        let own = &mut self.mics[mic];
        if wrong {
            own.wrong_hz = if rate.uncertainty_hz < PLAINLY_WRONG * rate.hz { likely(rate.hz) } else { own.wrong_hz };
        }
        let known = own.faults[FaultKind::WrongRate.slot()].is_some();
        // Two looks in a row, either way, but where it is plain.
        own.wrong = if wrong != known { own.wrong + 1 } else { 0 };
        if own.wrong >= 2 || (wrong && off > PLAINLY_WRONG * self.nominal_hz) {
            own.wrong = 0;
            self.set(mic, FaultKind::WrongRate, wrong, stamp, outputs);
        }
    }

    fn judge_level(&mut self, mic: usize, at: MonoTime, stamp: KernelTime, outputs: &mut VecDeque<Output>) {
        let Some(level) = self.mics[mic].level.level() else { return };
        self.set(mic, FaultKind::Dead, level.is_dead(), stamp, outputs);
        self.set(mic, FaultKind::Offset, level.is_offset(), stamp, outputs);
        if let Some(words) = level.words {
            self.set(mic, FaultKind::HalfEmpty, words.half_empty, stamp, outputs);
            self.set(mic, FaultKind::ShiftedWords, words.shifted.is_some(), stamp, outputs);
            self.set(mic, FaultKind::StuckBits, words.stuck.is_some(), stamp, outputs);
        }
        let own = &mut self.mics[mic];
        if level.clipped > 0.0 {
            own.clipped = Some(at);
        }
        let clips = own.clipped.is_some_and(|clipped| at - clipped < CLIPPING_LASTS);
        self.set(mic, FaultKind::Clipping, clips, stamp, outputs);
    }

    fn judge_refused(&mut self, mic: usize, at: MonoTime, stamp: KernelTime, outputs: &mut VecDeque<Output>) {
        let most = self.mics[mic].refusals.most(at).is_some();
        self.set(mic, FaultKind::Refused, most, stamp, outputs);
    }

    /// It is so from now on, or no longer; a change is logged, but for clipping, which comes and goes with the sound.
    fn set(&mut self, mic: usize, kind: FaultKind, is: bool, stamp: KernelTime, outputs: &mut VecDeque<Output>) {
        let slot = &mut self.mics[mic].faults[kind.slot()];
        if slot.map(|(kind, _)| kind) == is.then_some(kind) {
            return;
        }
        *slot = is.then_some((kind, stamp));
        if kind == FaultKind::Clipping {
            return;
        }
        let line = if is { self.line(mic, kind) } else { format!("mic {mic}: {} is over", kind.name()) };
        outputs.push_back(Output::Log(line));
    }

    /// A fault as one line.
    fn line(&self, mic: usize, kind: FaultKind) -> String {
        match kind {
            // In the words that name the option.
            FaultKind::WrongRate => format!("mic {mic} {}: {}", self.evidence(mic, kind), self.next_step(mic, kind)),
            _ => format!("mic {mic}: {}: {}", self.evidence(mic, kind), self.next_step(mic, kind)),
        }
    }

    fn evidence(&self, mic: usize, kind: FaultKind) -> String {
        let own = &self.mics[mic];
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
            FaultKind::Dead => {
                let level = own.level.level();
                match level {
                    Some(level) if level.peak == 0.0 => "all samples are 0".to_owned(),
                    _ => format!("the samples move by {} of 4294967296", level.map_or(0, |level| level.range)),
                }
            }
            FaultKind::SameAs(other) => format!("its samples are those of mic {other}, bit for bit"),
            FaultKind::HalfEmpty => "every second sample is empty".to_owned(),
            FaultKind::ShiftedWords => match self.words(mic).shifted {
                Some(Shifted::Swapped) => "the bytes of its samples stand in the other order".to_owned(),
                _ => "its samples are quieter than any microphone's own noise, and their lowest bits move".to_owned(),
            },
            FaultKind::StuckBits => match self.words(mic).stuck {
                Some(Stuck { mask, at }) => format!("bits that never move: {mask:#010x}, they stand at {at:#010x}"),
                None => String::new(),
            },
            FaultKind::Offset => {
                let percent = own.level.level().map_or(0.0, |level| 100.0 * level.offset);
                format!("its samples swing around {percent:.1} % of full scale, not around 0")
            }
            FaultKind::Clipping => {
                let share = own.level.level().map_or(0.0, |level| 100.0 * level.clipped);
                format!("flat tops: {share:.2} % of the samples of the last second, some within 10 s")
            }
        }
    }

    /// What the words of the newest window show.
    fn words(&self, mic: usize) -> Found {
        self.mics[mic].level.level().and_then(|level| level.words).unwrap_or_default()
    }

    fn next_step(&self, mic: usize, kind: FaultKind) -> String {
        let own = &self.mics[mic];
        match kind {
            FaultKind::WrongRate if own.wrong_hz == 0.0 => "ask the board for its rate, and set --sample-rate".to_owned(),
            FaultKind::WrongRate => format!("--sample-rate {:.0}", own.wrong_hz),
            FaultKind::Refused => "stop the sender that is not the microphone".to_owned(),
            FaultKind::HeaderInAudio => own.header.found().map_or(String::new(), |header| {
                format!(
                    "a header? It is heard as a click in each packet. Send the samples alone; as a format it would be {}, which this version cannot be told",
                    header.format()
                )
            }),
            FaultKind::Dead => "check its wiring, its power, and which slot (L/R) it is set to".to_owned(),
            FaultKind::SameAs(other) => {
                format!("check that the board reads a slot of its own for mic {mic}, and does not send mic {other} twice")
            }
            FaultKind::HalfEmpty => {
                "set the board's I2S driver to mono, or send only the slot (L/R) that the microphone fills".to_owned()
            }
            FaultKind::ShiftedWords => match self.words(mic).shifted {
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
