//! What is said while no descriptor is left: when it begins, at most once a second while it lasts, and when it is over.
//!
//! An accept that finds none rests for 100 ms and is tried again: ten lines a second would bury everything else. It
//! is over when no accept has failed for a second, since one descriptor that comes back is soon gone again.

use crate::time::{MonoTime, Span};

const EVERY: Span = Span::from_secs(1);

/// A shortage of descriptors, while there is one.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    now: Option<Going>,
}

#[derive(Clone, Copy, Debug)]
struct Going {
    begun: MonoTime,
    /// When the newest accept failed, and how many have.
    newest: MonoTime,
    failed: u64,
    /// When the last line was said, and how many failures have not been since.
    said: MonoTime,
    suppressed: u64,
}

impl Shortage {
    /// An accept failed for want of a descriptor; the line to say, if it is time for one.
    pub fn met(&mut self, now: MonoTime) -> Option<String> {
        let text = "no descriptor is left: new connections wait; raise the limit with ulimit -n";
        let Some(going) = &mut self.now else {
            self.now = Some(Going { begun: now, newest: now, failed: 1, said: now, suppressed: 0 });
            return Some(text.to_owned());
        };
        going.newest = now;
        going.failed += 1;
        if now - going.said < EVERY {
            going.suppressed += 1;
            return None;
        }
        going.said = now;
        let suppressed = std::mem::take(&mut going.suppressed);
        Some(if suppressed > 0 { format!("{text} ({suppressed} more suppressed)") } else { text.to_owned() })
    }

    /// Once a turn; the line to say when it is over.
    pub fn over(&mut self, now: MonoTime) -> Option<String> {
        let going = self.now.filter(|going| now - going.newest >= EVERY)?;
        self.now = None;
        let lasted = (going.newest - going.begun).as_secs_f64();
        Some(format!(
            "no connection waits for a descriptor any more: accept failed {} times in {lasted:.1} s",
            going.failed
        ))
    }

    /// When [`over`](Shortage::over) may have something to say.
    pub fn next_timeout(&self) -> Option<MonoTime> {
        self.now.map(|going| going.newest + EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> MonoTime {
        MonoTime::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn its_beginning_is_said_then_a_line_a_second_then_its_end() {
        let mut shortage = Shortage::default();
        assert_eq!((shortage.over(at(0)), shortage.next_timeout()), (None, None));
        let said: Vec<(i64, String)> = (0..=20)
            .filter_map(|tenth| {
                assert_eq!(shortage.over(at(100 * tenth)), None, "it goes on");
                Some((tenth, shortage.met(at(100 * tenth))?))
            })
            .collect();
        assert_eq!(said.iter().map(|(tenth, _)| *tenth).collect::<Vec<_>>(), [0, 10, 20]);
        assert!(said[0].1.ends_with("ulimit -n"));
        assert!(said[1].1.ends_with("(9 more suppressed)") && said[2].1.ends_with("(9 more suppressed)"));
        assert_eq!(shortage.over(at(2_999)), None);
        assert_eq!(shortage.next_timeout(), Some(at(3_000)));
        let end = shortage.over(at(3_000)).expect("a second has passed");
        assert!(end.ends_with("accept failed 21 times in 2.0 s"), "{end}");
        assert_eq!((shortage.over(at(9_000)), shortage.next_timeout()), (None, None));
        assert!(shortage.met(at(9_500)).is_some(), "the next one is said at once");
    }
}
