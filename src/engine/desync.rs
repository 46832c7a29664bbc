//! The old console line for cycles whose sample counts differ: at most one a second, the number suppressed with the next.

use crate::MICS;
use crate::cycle::Cycle;
use crate::time::{MonoTime, Span};

const EVERY: Span = Span::from_secs(1);

/// When the last line was said, and how many were not.
#[derive(Debug, Default)]
pub(super) struct DesyncLog {
    last: Option<MonoTime>,
    suppressed: u64,
}

impl DesyncLog {
    /// The line for this cycle, if it deserves one now.
    pub fn line(&mut self, cycle: &Cycle, now: MonoTime) -> Option<String> {
        let [a, b, c]: [u32; MICS] = cycle.mic_samples;
        if a == b && b == c {
            return None;
        }
        if self.last.is_some_and(|last| now - last < EVERY) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        let suppressed = std::mem::take(&mut self.suppressed);
        let (ab, ac) = (a.abs_diff(b), a.abs_diff(c));
        let mut line =
            format!("[DESYNC WARNING] Sample count mismatch: MIC0={a}, MIC1={b} (diff {ab}), MIC2={c} (diff {ac})");
        if suppressed > 0 {
            line.push_str(&format!(" ({suppressed} more suppressed)"));
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{FramePos, KernelTime};

    fn cycle(mic_samples: [u32; MICS]) -> Cycle {
        let emitted = KernelTime::from_nanos(0);
        Cycle {
            id: 0,
            first_frame: FramePos(0),
            frames: 512,
            mic_samples,
            complete: false,
            arrival: [None; MICS],
            emitted,
        }
    }

    #[test]
    fn the_old_line_once_a_second_with_the_number_suppressed() {
        let mut log = DesyncLog::default();
        let at = |ms: i64| MonoTime::from_nanos(ms * 1_000_000);
        assert_eq!(log.line(&cycle([512; 3]), at(0)), None);
        assert_eq!(
            log.line(&cycle([512, 510, 511]), at(0)).as_deref(),
            Some("[DESYNC WARNING] Sample count mismatch: MIC0=512, MIC1=510 (diff 2), MIC2=511 (diff 1)")
        );
        assert_eq!(log.line(&cycle([512, 510, 511]), at(500)), None);
        assert_eq!(log.line(&cycle([512, 510, 511]), at(900)), None);
        assert_eq!(
            log.line(&cycle([512, 0, 512]), at(1_000)).as_deref(),
            Some(
                "[DESYNC WARNING] Sample count mismatch: MIC0=512, MIC1=0 (diff 512), MIC2=512 (diff 0) (2 more suppressed)"
            )
        );
    }
}
