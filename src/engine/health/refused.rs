//! A port most of whose valid input is refused.
//!
//! While the sender that is followed lives, all others are foreign. If they are the most, the one that is followed is hardly the
//! microphone: a stray packet now and then keeps the board itself out for ever. Nobody can decide for the user which of two that both
//! live is right; but it can be said.

use crate::engine::health::tuning::refused::{FEWEST, SLICE, SLICES};
use std::net::SocketAddr;

use crate::time::MonoTime;

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    second: i64,
    taken: u64,
    refused: u64,
}

/// What was refused in the last ten seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    pub refused: u64,
    pub valid: u64,
    /// The newest that was refused.
    pub from: Option<SocketAddr>,
}

/// One microphone.
#[derive(Debug, Default)]
pub struct RefusalMeter {
    /// Of the newest packet's second: what stands in its place below is older.
    present: Slice,
    newest: Option<MonoTime>,
    rest: Box<Rest>,
}

/// What no packet touches that is taken.
#[derive(Debug, Default)]
struct Rest {
    slices: [Slice; SLICES],
    from: Option<SocketAddr>,
}

impl RefusalMeter {
    /// A packet of the sender that is followed.
    pub fn taken(&mut self, at: MonoTime) {
        self.slice(at).taken += 1;
    }

    /// A valid packet of another.
    pub fn refused(&mut self, at: MonoTime, from: SocketAddr) {
        self.slice(at).refused += 1;
        (self.rest.from, self.newest) = (Some(from), Some(at));
    }

    fn slice(&mut self, at: MonoTime) -> &mut Slice {
        let second = at.as_nanos().div_euclid(SLICE.as_nanos());
        if self.present.second != second {
            self.rest.slices[place(self.present.second)] = self.present;
            let before = self.rest.slices[place(second)];
            self.present = if before.second == second { before } else { Slice { second, ..Slice::default() } };
        }
        &mut self.present
    }

    /// Whether any was ever refused.
    pub fn is_any(&self) -> bool {
        self.newest.is_some()
    }

    /// If it was most of what came.
    pub fn most(&self, at: MonoTime) -> Option<Refused> {
        let of = self.of(at);
        (of.refused >= FEWEST && of.refused > of.valid - of.refused).then_some(of)
    }

    /// As of the newest that was refused.
    pub fn newest(&self) -> Option<Refused> {
        self.newest.map(|at| self.of(at))
    }

    fn of(&self, at: MonoTime) -> Refused {
        let second = at.as_nanos().div_euclid(SLICE.as_nanos());
        let older = self.rest.slices.iter().enumerate().filter(|&(i, _)| i != place(self.present.second));
        let all = older.map(|(_, slice)| slice).chain([&self.present]);
        let recent = all.filter(|slice| second - slice.second < SLICES as i64);
        let (taken, refused) = recent.fold((0, 0), |(taken, refused), s| (taken + s.taken, refused + s.refused));
        Refused { refused, valid: taken + refused, from: self.rest.from }
    }
}

/// Where a second's slice stands.
fn place(second: i64) -> usize {
    second.rem_euclid(SLICES as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_most_of_the_last_ten_seconds_and_ends_with_them() {
        let from = SocketAddr::from(([10, 0, 0, 2], 9));
        let mut meter = RefusalMeter::default();
        let ms = |ms: i64| MonoTime::from_nanos(ms * 1_000_000);
        for t in 0..300 {
            meter.refused(ms(t * 10), from);
            if t % 40 == 0 {
                meter.taken(ms(t * 10));
            }
        }
        assert_eq!(meter.most(ms(3_000)), Some(Refused { refused: 300, valid: 308, from: Some(from) }));
        assert_eq!(meter.most(ms(13_500)), None, "they are too old");
        for t in 300..700 {
            meter.taken(ms(t * 10));
        }
        assert_eq!(meter.most(ms(7_000)), None, "no longer the most");
    }
}
