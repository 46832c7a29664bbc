//! Listening in the loop: in slices, between two waits, and never more than a share of its time.
//!
//! What there is to hear of an array, its engine does in slices of some ten microseconds. Arrays to which something came wait here in
//! a row; each gets a slice at a time, while there is credit. Credit grows with time, and is spent by what slices took, and by decisions that
//! had to listen at once. Audio and HTTP come first in each turn; a turn in which something is left to hear does not sleep, but looks only.

use std::collections::VecDeque;

use super::array::Arrays;
use crate::array::ArrayId;
use crate::engine::Credit;
use crate::sys::host;
use crate::time::{MonoTime, Span};

/// A turn begins no further slice after so long: with one more it stays below 50 us.
const A_TURN: Span = Span::from_micros(25);
/// The share of time that listening may take, of all arrays together: one in so many.
const SHARE: i64 = 40;
/// Credit that is saved up at most: a second's worth for one array that decides.
const MOST: Span = Span::from_millis(20);

/// See the top of the file.
pub(super) struct Ears {
    row: VecDeque<ArrayId>,
    credit: Credit,
    counted: Option<MonoTime>,
}

impl Default for Ears {
    fn default() -> Ears {
        Ears { row: VecDeque::new(), credit: Credit::new(MOST, host::mono), counted: None }
    }
}

impl Ears {
    /// What an array's engine may take when it has to listen at once.
    pub fn credit(&self) -> Credit {
        self.credit.clone()
    }

    /// There may be something to hear of it.
    pub fn add(&mut self, id: ArrayId, arrays: &mut Arrays) {
        let array = arrays.of_mut(id);
        if array.engine.listens() && !std::mem::replace(&mut array.to_be_heard, true) {
            self.row.push_back(id);
        }
    }

    /// Whether there is something to hear now.
    pub fn has_work(&self) -> bool {
        !self.row.is_empty() && self.credit.left() > Span::ZERO
    }

    /// When there is credit again for what is left to hear.
    pub fn next_timeout(&self) -> Option<MonoTime> {
        let counted = self.counted.filter(|_| !self.row.is_empty())?;
        Some(counted + (Span::from_micros(1) - self.credit.left()).max(Span::ZERO).mul_ratio(SHARE, 1))
    }

    /// Some slices. `told` is called with each array of which one was heard.
    pub fn listen(&mut self, arrays: &mut Arrays, now: MonoTime) -> Option<ArrayId> {
        let since = now - self.counted.replace(now).unwrap_or(now);
        self.credit.save(since.mul_ratio(1, SHARE), MOST);
        if !self.has_work() {
            return None;
        }
        let id = self.row.pop_front()?;
        // One that an address was may have been forgotten.
        let array = arrays.get_mut(id)?;
        let begun = host::mono();
        let mut took = Span::ZERO;
        array.to_be_heard = true;
        while took < A_TURN && array.to_be_heard {
            array.to_be_heard = array.engine.listen();
            took = host::mono() - begun;
            array.listened.1 += u64::from(array.to_be_heard);
        }
        array.listened.0 += took;
        self.credit.spend(took);
        if array.to_be_heard {
            self.row.push_back(id);
        }
        Some(id)
    }
}
