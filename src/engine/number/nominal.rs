//! How long a normal chunk is, where chunks may be of any length.
//!
//! A loss is told in normal chunks, and so is every wait. Of a source whose sizes truly vary the mean says how many; where they are
//! equal, each is normal, and a single odd one changes nothing.

use crate::engine::number::tuning::nominal::{ALIKE, OVER};

/// The normal length of a chunk, in frames.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Nominal {
    frames: u32,
    mean: f64,
    newest: u32,
    alike: u32,
}

impl Nominal {
    /// 0 before the first.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Another chunk. True when the normal length is another now.
    pub fn note(&mut self, frames: u32) -> bool {
        self.alike = if frames == self.newest { self.alike.saturating_add(1) } else { 1 };
        self.newest = frames;
        if frames == self.frames && self.alike >= ALIKE {
            return false;
        }
        let settled = self.frames == 0 || self.alike >= ALIKE;
        self.mean = if settled { frames.into() } else { self.mean + (f64::from(frames) - self.mean) / OVER };
        let before = std::mem::replace(&mut self.frames, (self.mean + 0.5) as u32);
        self.frames != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lengths_are_normal_at_once_and_an_odd_one_changes_nothing() {
        let mut nominal = Nominal::default();
        assert!(nominal.note(512) && !nominal.note(512));
        (0..20).for_each(|_| assert!(!nominal.note(512)));
        nominal.note(510);
        assert_eq!(nominal.frames(), 512);
        (0..8).for_each(|_| _ = nominal.note(480));
        assert_eq!(nominal.frames(), 480, "eight in a row are the new normal");
    }

    #[test]
    fn of_lengths_that_vary_the_mean_is_normal_and_never_the_newest() {
        let mut nominal = Nominal::default();
        for k in 0..1_000 {
            nominal.note(if k % 2 == 0 { 512 } else { 32 });
        }
        assert!((264..=280).contains(&nominal.frames()), "{}", nominal.frames());
    }
}
