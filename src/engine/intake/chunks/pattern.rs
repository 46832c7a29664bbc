//! How a source cuts a chunk into datagrams.

use crate::engine::intake::tuning::pattern::{MOST, MOST_PIECES};
use std::ops::Range;

use crate::engine::intake::packet::SAMPLE_BYTES;

/// Datagrams of a chunk at most, of a source with frames of so many bytes.
pub fn most_pieces(frame_bytes: usize) -> usize {
    (frame_bytes / SAMPLE_BYTES * MOST_PIECES).min(MOST)
}

/// The sizes of a chunk's datagrams in bytes, in the order in which they are sent. Two of them at least: a source that sends a
/// chunk as one datagram has no pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    sizes: [u16; MOST],
    count: u8,
    frame_bytes: u16,
}

impl Pattern {
    /// `None` unless these are two to [`most_pieces`] sizes that make whole frames together.
    pub fn new(sizes: &[u16], frame_bytes: usize) -> Option<Pattern> {
        let bytes: usize = sizes.iter().map(|&size| usize::from(size)).sum();
        if !(2..=most_pieces(frame_bytes)).contains(&sizes.len()) || !bytes.is_multiple_of(frame_bytes) {
            return None;
        }
        let mut own = [0; MOST];
        own[..sizes.len()].copy_from_slice(sizes);
        Some(Pattern { sizes: own, count: sizes.len() as u8, frame_bytes: frame_bytes as u16 })
    }

    pub fn sizes(&self) -> &[u16] {
        &self.sizes[..usize::from(self.count)]
    }

    /// Bytes of a chunk.
    pub fn bytes(&self) -> usize {
        self.offset(self.sizes().len())
    }

    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes.into()
    }

    /// Samples of each channel in a chunk.
    pub fn samples(&self) -> u32 {
        (self.bytes() / self.frame_bytes()) as u32
    }

    /// The same of each piece: whole ones, unless a boundary cuts a frame.
    pub fn piece_samples(&self) -> impl Iterator<Item = f64> {
        self.sizes().iter().map(|&size| f64::from(size) / f64::from(self.frame_bytes))
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

    /// A boundary between pieces lies inside a frame.
    pub fn cuts_frames(&self) -> bool {
        self.sizes().iter().any(|&size| !size.is_multiple_of(self.frame_bytes))
    }

    /// The pieces that a frame has a part of.
    pub fn pieces_of(&self, frame: usize) -> Range<usize> {
        let (from, to) = (frame * self.frame_bytes(), (frame + 1) * self.frame_bytes());
        let mut end = 0;
        let ends = self.sizes().iter().map(|&size| {
            end += usize::from(size);
            end
        });
        let (mut first, mut last) = (0, 0);
        for end in ends {
            first += usize::from(end <= from);
            last += usize::from(end < to);
        }
        first..(last + 1).min(self.sizes().len())
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
        let p = Pattern::new(&[1460, 1460, 1176], 4).expect("a pattern");
        assert_eq!((p.samples(), p.group(1), p.group(2)), (1024, 0..2, 2..3));
        assert_eq!((p.offset(0), p.offset(1), p.offset(2)), (0, 1460, 2920));
        let p = Pattern::new(&[2048, 2048], 4).expect("a pattern");
        assert!(p.is_even() && p.group(0) == (0..2));
        assert!(Pattern::new(&[2048], 4).is_none() && Pattern::new(&[1460, 587], 4).is_none());
        assert!(Pattern::new(&[1458, 590], 4).expect("a boundary may cut a sample").cuts_frames() && !p.cuts_frames());
    }

    #[test]
    fn a_frame_may_lie_in_several_pieces() {
        // The seed's later firmware: three channels, 6144 bytes as four of 1460 and a rest.
        let p = Pattern::new(&[1460, 1460, 1460, 1460, 304], 12).expect("512 frames");
        assert_eq!((p.samples(), p.cuts_frames()), (512, true));
        // 121 frames and 8 bytes are in the first piece; the frame of bytes 1452 to 1464 is in two.
        assert_eq!([0, 120, 121, 122, 511].map(|frame| p.pieces_of(frame)), [0..1, 0..1, 0..2, 1..2, 4..5]);
        // Eight channels and pieces smaller than a frame.
        let p = Pattern::new(&[40, 10, 14], 32).expect("two frames");
        assert_eq!([0, 1].map(|frame| p.pieces_of(frame)), [0..1, 0..3]);
        assert!(Pattern::new(&[1460; 17], 4).is_none() && Pattern::new(&[1460; 16], 4).is_some());
        assert!(Pattern::new(&[1460; 32], 64).is_some());
    }
}
