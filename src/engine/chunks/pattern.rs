//! How a source cuts a chunk into datagrams.

use std::ops::Range;

use crate::engine::packet::SAMPLE_BYTES;

/// Datagrams of a chunk at most: 8192 bytes are six of 1460, and no sender known to us makes more.
pub const MOST_PIECES: usize = 16;

/// The sizes of a chunk's datagrams in bytes, in the order in which they are sent. Two of them at least: a source that sends a
/// chunk as one datagram has no pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    sizes: [u16; MOST_PIECES],
    count: u8,
}

impl Pattern {
    /// `None` unless these are two to sixteen sizes that make whole samples together.
    pub fn new(sizes: &[u16]) -> Option<Pattern> {
        let bytes: usize = sizes.iter().map(|&size| usize::from(size)).sum();
        if !(2..=MOST_PIECES).contains(&sizes.len()) || !bytes.is_multiple_of(SAMPLE_BYTES) {
            return None;
        }
        let mut own = [0; MOST_PIECES];
        own[..sizes.len()].copy_from_slice(sizes);
        Some(Pattern { sizes: own, count: sizes.len() as u8 })
    }

    pub fn sizes(&self) -> &[u16] {
        &self.sizes[..usize::from(self.count)]
    }

    /// Bytes of a chunk.
    pub fn bytes(&self) -> usize {
        self.offset(self.sizes().len())
    }

    /// Samples of a chunk.
    pub fn samples(&self) -> u32 {
        (self.bytes() / SAMPLE_BYTES) as u32
    }

    /// Samples of each piece: whole ones, unless a boundary cuts a sample.
    pub fn piece_samples(&self) -> impl Iterator<Item = f64> {
        self.sizes().iter().map(|&size| f64::from(size) / SAMPLE_BYTES as f64)
    }

    /// Where piece `index` begins in its chunk, in bytes.
    pub fn offset(&self, index: usize) -> usize {
        self.sizes()[..index].iter().map(|&size| usize::from(size)).sum()
    }

    /// The run of pieces around `index` that have one size: which of them is missing cannot be told by it.
    pub fn group(&self, index: usize) -> Range<usize> {
        let sizes = self.sizes();
        let same = |size: &&u16| **size == sizes[index];
        let before = sizes[..index].iter().rev().take_while(same).count();
        let after = sizes[index..].iter().take_while(same).count();
        index - before..index + after
    }

    /// All pieces have one size: only time and order say where a chunk ends.
    pub fn is_even(&self) -> bool {
        self.sizes().iter().all(|&size| size == self.sizes[0])
    }

    /// A boundary between pieces lies inside a sample.
    pub fn cuts_samples(&self) -> bool {
        self.sizes().iter().any(|&size| !usize::from(size).is_multiple_of(SAMPLE_BYTES))
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pattern").field(&self.sizes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_one_size_are_one_part() {
        let p = Pattern::new(&[1460, 1460, 1176]).expect("a pattern");
        assert_eq!((p.samples(), p.group(1), p.group(2)), (1024, 0..2, 2..3));
        assert_eq!((p.offset(0), p.offset(1), p.offset(2)), (0, 1460, 2920));
        let p = Pattern::new(&[2048, 2048]).expect("a pattern");
        assert!(p.is_even() && p.group(0) == (0..2));
        assert!(Pattern::new(&[2048]).is_none() && Pattern::new(&[1460, 587]).is_none());
        assert!(Pattern::new(&[1458, 590]).expect("a boundary may cut a sample").cuts_samples() && !p.cuts_samples());
    }
}
