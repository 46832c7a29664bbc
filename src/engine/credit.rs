//! What listening may take: time that was saved up, shared by all that listen in one loop.
//!
//! Problem: the sound of hundreds of arrays may be in doubt in the same second, and audio comes first.
//!
//! Idea: the loop saves up a share of its time. Slices begin only while some of it is left. What has to listen at once, since what is
//! decided leaves then, takes from the same: where nothing is left it does not listen, arrivals decide alone, and that is counted.

use std::cell::Cell;
use std::rc::Rc;

use crate::time::{MonoTime, Span};

/// Clones share what was saved up. The default has no end, and nothing is timed.
#[derive(Clone, Debug, Default)]
pub struct Credit {
    clock: Option<fn() -> MonoTime>,
    left: Rc<Cell<Span>>,
}

impl Credit {
    /// `begin`: what there is at first. What is done is timed by `clock`.
    pub fn new(begin: Span, clock: fn() -> MonoTime) -> Credit {
        Credit { clock: Some(clock), left: Rc::new(Cell::new(begin)) }
    }

    /// What is left; below zero, what was taken too much.
    pub fn left(&self) -> Span {
        self.left.get()
    }

    /// More is saved up, `most` at most.
    pub fn save(&self, more: Span, most: Span) {
        self.left.set((self.left() + more).min(most));
    }

    pub fn spend(&self, took: Span) {
        self.left.set(self.left() - took);
    }

    /// Does some work, and tells what it took; `None`, and nothing done, where nothing is left.
    pub fn take<T>(&self, work: impl FnOnce() -> T) -> Option<(T, Span)> {
        let Some(clock) = self.clock else { return Some((work(), Span::ZERO)) };
        if self.left() <= Span::ZERO {
            return None;
        }
        let begun = clock();
        let done = work();
        let took = clock() - begun;
        self.spend(took);
        Some((done, took))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local!(static NOW: Cell<i64> = const { Cell::new(0) });

    fn now() -> MonoTime {
        MonoTime::from_nanos(NOW.get())
    }

    /// Work of so many microseconds.
    fn work(micros: i64) -> impl FnOnce() {
        move || NOW.set(NOW.get() + micros * 1_000)
    }

    #[test]
    fn all_share_what_was_saved_up_and_nothing_is_begun_when_it_is_gone() {
        let one = Credit::new(Span::from_micros(60), now);
        let other = one.clone();
        assert_eq!(one.take(work(50)), Some(((), Span::from_micros(50))));
        assert_eq!(other.take(work(50)), Some(((), Span::from_micros(50))), "what was begun is done");
        assert_eq!((one.left(), one.take(work(50))), (Span::from_micros(-40), None));
        other.save(Span::from_micros(100), Span::from_micros(50));
        assert_eq!(one.left(), Span::from_micros(50));
        one.spend(Span::from_micros(50));
        assert_eq!(other.take(work(1)), None);
        assert_eq!(Credit::default().take(|| 7), Some((7, Span::ZERO)));
    }
}
