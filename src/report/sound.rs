//! What the sound tells of the placement of boards, and what listening costs.

use serde::Serialize;

use super::metrics::Exposition;
use crate::engine::{Borders, Shifts};
use crate::time::Span;

/// Counts since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SoundFigures {
    /// `None` where one clock drives all, or numbers tell: nothing is in doubt that a shift could show.
    pub shifts: Option<Shifts>,
    pub borders: Borders,
    /// Time spent listening, that at once (`borders.busy`) included, and how many slices there were.
    pub busy: Span,
    pub slices: u64,
}

impl SoundFigures {
    pub fn since(&self, earlier: Option<SoundFigures>) -> SoundFigures {
        let earlier = earlier.unwrap_or_default();
        let then = earlier.shifts.unwrap_or_default();
        SoundFigures {
            // Boards that were taken for one have begun to be listened to anew.
            shifts: self.shifts.map(|now| Shifts {
                checked: now.checked.saturating_sub(then.checked),
                corrected: now.corrected.saturating_sub(then.corrected),
                unknown: now.unknown.saturating_sub(then.unknown),
                skipped: now.skipped.saturating_sub(then.skipped),
            }),
            borders: Borders {
                judged: self.borders.judged - earlier.borders.judged,
                broke: self.borders.broke - earlier.borders.broke,
                decided: self.borders.decided - earlier.borders.decided,
                unheard: self.borders.unheard - earlier.borders.unheard,
                busy: self.borders.busy - earlier.borders.busy,
            },
            busy: self.busy - earlier.busy,
            slices: self.slices - earlier.slices,
        }
    }
}

/// `sound` of `/api/diagnostics_sync`.
#[derive(Serialize)]
pub(super) struct SoundOf {
    borders: BordersOf,
    shifts: ShiftsOf,
    busy_us_per_s: Option<f64>,
    slices: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct BordersOf {
    judged: Option<u64>,
    broke: Option<u64>,
    decided: Option<u64>,
    unheard: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

const DEAF: &str = "the sound is not listened to";

#[derive(Serialize)]
struct ShiftsOf {
    checked: Option<u64>,
    corrected: Option<u64>,
    unknown: Option<u64>,
    skipped_blocks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl SoundOf {
    pub fn new(sound: Option<SoundFigures>, span: Span) -> SoundOf {
        let shifts = sound.and_then(|sound| sound.shifts);
        let busy = |sound: SoundFigures| sound.busy.as_micros_f64() / span.as_secs_f64();
        let borders = sound.map(|sound| sound.borders);
        SoundOf {
            borders: BordersOf {
                judged: borders.map(|borders| borders.judged),
                broke: borders.map(|borders| borders.broke),
                decided: borders.map(|borders| borders.decided),
                unheard: borders.map(|borders| borders.unheard),
                reason: sound.is_none().then_some(DEAF),
            },
            shifts: ShiftsOf {
                checked: shifts.map(|shifts| shifts.checked),
                corrected: shifts.map(|shifts| shifts.corrected),
                unknown: shifts.map(|shifts| shifts.unknown),
                skipped_blocks: shifts.map(|shifts| shifts.skipped),
                reason: shifts
                    .is_none()
                    .then_some("only boards with clocks of their own and a rate of 32 kHz or more can shift"),
            },
            busy_us_per_s: sound.map(busy).filter(|busy| busy.is_finite()).map(|busy| (busy * 10.0).round() / 10.0),
            slices: sound.map(|sound| sound.slices),
            reason: sound.is_none().then_some(DEAF),
        }
    }
}

pub(super) fn metrics(text: &mut Exposition, sound: Option<SoundFigures>) {
    let Some(sound) = sound else { return };
    text.counter("micring_sound_busy_seconds_total", "Time spent listening.", sound.busy.as_secs_f64());
    let Borders { judged, broke, decided, unheard, .. } = sound.borders;
    text.counter(
        "micring_sound_borders_judged_total",
        "Borders between packets that the sound said something of.",
        judged,
    );
    text.counter("micring_sound_borders_broke_total", "Of those, the ones that it showed to be broken.", broke);
    text.counter("micring_sound_borders_decided_total", "Losses that it has placed.", decided);
    text.counter("micring_sound_borders_unheard_total", "Losses for which there was no time to listen.", unheard);
    if let Some(shifts) = sound.shifts {
        text.counter("micring_sound_shifts_checked_total", "Placements that the sound has decided on.", shifts.checked);
        text.counter("micring_sound_shifts_corrected_total", "Placements that it has put right.", shifts.corrected);
        text.counter(
            "micring_sound_shifts_unknown_total",
            "Placements in doubt that it says nothing of.",
            shifts.unknown,
        );
    }
}
