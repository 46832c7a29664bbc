//! Whether audio is usable, and if not, why: `/healthz`. Everything that speaks against it stands here.

use crate::array::Layout;
use crate::engine::figures::CycleCounters;
use crate::time::{MonoTime, Span};

/// A microphone is there when it was heard so short a time ago.
const SILENCE: Span = Span::from_secs(1);
/// Of a hundred cycles of the last 10 s, so many have to be complete.
const COMPLETE: u64 = 90;

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Vitals<'a> {
    pub layout: &'a Layout,
    /// When each source's newest packet was accepted.
    pub last_heard: &'a [Option<MonoTime>],
    /// Of the last 10 s.
    pub cycles: CycleCounters,
    pub now: MonoTime,
}

/// `Err`: the reasons, in words.
pub fn health(vitals: &Vitals<'_>) -> Result<(), String> {
    let reasons: Vec<String> = silent(vitals).chain(incomplete(vitals)).collect();
    if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
}

/// Microphones that are not there.
fn silent(vitals: &Vitals<'_>) -> impl Iterator<Item = String> {
    let silence = |heard: &Option<MonoTime>| heard.map(|heard| vitals.now - heard);
    vitals.last_heard.iter().map(silence).enumerate().filter_map(|(source, silence)| {
        let mic = vitals.layout.name_of(source);
        match silence {
            None => Some(format!("{mic} was never heard")),
            Some(silence) if silence > SILENCE => {
                Some(format!("{mic} has been silent for {:.1} s", silence.as_secs_f64()))
            }
            Some(_) => None,
        }
    })
}

/// Audio with holes. A cycle that was lost as a whole is one too; where there was none at all, that has other reasons.
fn incomplete(vitals: &Vitals<'_>) -> Option<String> {
    let CycleCounters { complete, incomplete, skipped, .. } = vitals.cycles;
    let all = complete + incomplete + skipped;
    (complete * 100 < all * COMPLETE).then(|| {
        format!(
            "only {complete} of the {all} cycles of the last 10 s were complete ({incomplete} had gaps, {skipped} were lost \
             as a whole): {COMPLETE} % have to be"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: MonoTime = MonoTime::from_nanos(100_000_000_000);

    fn ago(ms: i64) -> Option<MonoTime> {
        Some(NOW - Span::from_millis(ms))
    }

    fn judge(last_heard: [Option<MonoTime>; 3], complete: u64, incomplete: u64, skipped: u64) -> Result<(), String> {
        let cycles = CycleCounters { emitted: complete + incomplete, complete, incomplete, skipped };
        health(&Vitals { layout: &Layout::mono(3), last_heard: &last_heard, cycles, now: NOW })
    }

    #[test]
    fn every_microphone_that_is_silent_is_named() {
        assert_eq!(judge([ago(0), ago(999), ago(1_000)], 10, 0, 0), Ok(()));
        assert_eq!(
            judge([ago(0), ago(3_210), None], 10, 0, 0),
            Err("mic 1 has been silent for 3.2 s; mic 2 was never heard".to_owned())
        );
    }

    #[test]
    fn nine_of_ten_cycles_have_to_be_complete() {
        let heard = [ago(0); 3];
        assert_eq!(judge(heard, 0, 0, 0), Ok(()), "the first is on its way");
        for (complete, incomplete, skipped) in [(900, 100, 0), (900, 0, 100), (900, 50, 50), (938, 0, 0)] {
            assert_eq!(judge(heard, complete, incomplete, skipped), Ok(()));
            let reason = judge(heard, complete - 40, incomplete + 20, skipped + 85).expect_err("too few");
            assert!(reason.contains(&format!("{} of the {}", complete - 40, complete + incomplete + skipped + 65)));
        }
        let both = judge([ago(0), ago(2_000), ago(0)], 0, 90, 0).expect_err("none");
        assert!(both.starts_with("mic 1 has been silent for 2.0 s; only 0 of the 90 cycles"), "{both}");
    }
}
