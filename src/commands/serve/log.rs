//! Lines for people, on their way to standard error through the ring.
//!
//! A terminal may be stopped and a pipe full; neither may stall audio. So lines wait in a bounded queue, one write is in
//! flight, and what does not fit is dropped and counted, and said once there is room again.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

const LINES: usize = 256;

/// See the module's head.
#[derive(Default)]
pub struct Log {
    lines: VecDeque<Bytes>,
    /// What the kernel has yet to take of the line in flight.
    writing: Bytes,
    dropped: u64,
    unsaid: u64,
    closed: bool,
}

impl Log {
    /// Queues one line; its end is added.
    pub fn line(&mut self, text: &str) {
        if self.closed || self.lines.len() >= LINES {
            self.dropped += 1;
            self.unsaid += 1;
            return;
        }
        self.lines.push_back(Bytes::from(format!("micring: {text}\n")));
    }

    /// A line that goes out as it is: the old console line, which people grep for.
    pub fn verbatim(&mut self, text: String) {
        if self.closed || self.lines.len() >= LINES {
            self.dropped += 1;
            self.unsaid += 1;
            return;
        }
        self.lines.push_back(Bytes::from(text + "\n"));
    }

    /// What to write next, once the write before has completed.
    pub fn next(&mut self) -> Option<Bytes> {
        if self.writing.is_empty() {
            if self.lines.is_empty() && self.unsaid > 0 && !self.closed {
                let text =
                    format!("micring: {} log lines were dropped: standard error took none for a while\n", self.unsaid);
                self.unsaid = 0;
                self.lines.push_back(Bytes::from(text));
            }
            self.writing = self.lines.pop_front()?;
        }
        Some(self.writing.clone())
    }

    /// The write completed with a count, or failed: then nobody reads, and logging ends.
    pub fn written(&mut self, result: Result<usize, i32>) {
        match result {
            Ok(count) => self.writing.advance(count.min(self.writing.len())),
            Err(libc::EAGAIN | libc::EINTR) => {}
            Err(_) => {
                self.closed = true;
                self.dropped += self.lines.len() as u64 + 1;
                self.lines.clear();
                self.writing = Bytes::new();
            }
        }
    }

    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.writing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_leave_in_order_also_when_a_write_is_short() {
        let mut log = Log::default();
        log.line("one");
        log.verbatim("two".into());
        assert_eq!(log.next().unwrap(), "micring: one\n");
        log.written(Ok(9));
        assert_eq!(log.next().unwrap(), "one\n");
        log.written(Ok(4));
        assert_eq!(log.next().unwrap(), "two\n");
        log.written(Ok(4));
        assert_eq!(log.next(), None);
    }

    #[test]
    fn a_full_pipe_costs_lines_which_are_counted_and_said() {
        let mut log = Log::default();
        (0..LINES + 7).for_each(|n| log.line(&n.to_string()));
        assert_eq!(log.dropped(), 7);
        for _ in 0..LINES {
            let len = log.next().unwrap().len();
            log.written(Ok(len));
        }
        assert_eq!(log.next().unwrap(), "micring: 7 log lines were dropped: standard error took none for a while\n");
    }

    #[test]
    fn a_closed_standard_error_ends_logging_not_the_program() {
        let mut log = Log::default();
        log.line("one");
        log.line("two");
        log.next();
        log.written(Err(libc::EPIPE));
        log.line("three");
        assert_eq!((log.next(), log.dropped(), log.is_empty()), (None, 3, true));
    }
}
