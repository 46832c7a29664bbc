//! The old console line for cycles whose sample counts differ: at most one a second, the number suppressed with the next.

use crate::engine::figures::tuning::desync::EVERY;
use crate::time::MonoTime;

/// When the last line was said, and how many were not.
#[derive(Debug, Default)]
pub(in crate::engine) struct DesyncLog {
    last: Option<MonoTime>,
    suppressed: u64,
}

impl DesyncLog {
    /// The line for a cycle with so many samples of each channel, if it deserves one now.
    pub fn line(&mut self, samples: impl Iterator<Item = u32> + Clone, now: MonoTime) -> Option<String> {
        let first = samples.clone().next()?;
        if samples.clone().all(|n| n == first) {
            return None;
        }
        if self.last.is_some_and(|last| now - last < EVERY) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        let suppressed = std::mem::take(&mut self.suppressed);
        let mut line = format!("[DESYNC WARNING] Sample count mismatch: MIC0={first}");
        for (mic, n) in samples.enumerate().skip(1) {
            line.push_str(&format!(", MIC{mic}={n} (diff {})", first.abs_diff(n)));
        }
        if suppressed > 0 {
            line.push_str(&format!(" ({suppressed} more suppressed)"));
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_old_line_once_a_second_with_the_number_suppressed() {
        let mut log = DesyncLog::default();
        let at = |ms: i64| MonoTime::from_nanos(ms * 1_000_000);
        assert_eq!(log.line([512; 3].into_iter(), at(0)), None);
        assert_eq!(
            log.line([512, 510, 511].into_iter(), at(0)).as_deref(),
            Some("[DESYNC WARNING] Sample count mismatch: MIC0=512, MIC1=510 (diff 2), MIC2=511 (diff 1)")
        );
        assert_eq!(log.line([512, 510, 511].into_iter(), at(500)), None);
        assert_eq!(log.line([512, 510, 511].into_iter(), at(900)), None);
        assert_eq!(
            log.line([512, 0, 512].into_iter(), at(1_000)).as_deref(),
            Some(
                "[DESYNC WARNING] Sample count mismatch: MIC0=512, MIC1=0 (diff 512), MIC2=512 (diff 0) (2 more suppressed)"
            )
        );
    }
}
