//! Pieces whose samples say where they belong: those of `audiovision`.
//!
//! Problem: of pieces of one size that follow each other nothing tells which one is missing. Idea: the tag of a sample is its number
//! modulo 24, of all channels, and a chunk is a multiple of that. The piece whose size no other has says at which tag chunks begin; from
//! then on each piece says which it is.

use super::pattern::Pattern;
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::wire::audiovision::{TURN, tag};

/// What is known of a source's tags.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tags {
    /// Its samples carry some.
    there: bool,
    /// Of a chunk's first sample.
    begins: Option<u64>,
}

impl Tags {
    pub fn set(&mut self, there: bool) {
        if self.there != there {
            *self = Tags { there, begins: None };
        }
    }

    /// Those of another pattern.
    pub fn anew(self) -> Tags {
        Tags { begins: None, ..self }
    }

    /// Which piece of the pattern begins with this sample; `None` where nothing says so.
    pub fn piece(&mut self, pattern: &Pattern, bytes: &[u8]) -> Option<usize> {
        let cuts_samples = pattern.sizes().iter().any(|size| !usize::from(*size).is_multiple_of(SAMPLE_BYTES));
        let repeat = ((pattern.bytes() / SAMPLE_BYTES) as u64).is_multiple_of(TURN);
        if !self.there || cuts_samples || !repeat {
            return None;
        }
        let tag = tag(*bytes.first_chunk()?)?;
        let begin = |index: usize| (pattern.offset(index) / SAMPLE_BYTES) as u64 % TURN;
        let mut like = (0..pattern.sizes().len()).filter(|&index| usize::from(pattern.sizes()[index]) == bytes.len());
        let only = like.next().filter(|_| like.next().is_none());
        if let Some(only) = only {
            self.begins = Some((tag + TURN - begin(only)) % TURN);
            return Some(only);
        }
        let begins = self.begins?;
        let mut told = (0..pattern.sizes().len()).filter(|&index| {
            usize::from(pattern.sizes()[index]) == bytes.len() && (begins + begin(index)) % TURN == tag
        });
        told.next().filter(|_| told.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece of so many bytes whose first sample is this one of the stream.
    fn piece(sample: u64, bytes: usize) -> Vec<u8> {
        let mut piece = vec![0; bytes];
        piece[0] = ((sample / 3 % 8) << 3 | (sample % 3) << 1) as u8;
        piece
    }

    /// 1460 bytes are 365 samples: the pieces begin at samples 0, 365, 730, 1095 and 1460 of the chunk.
    #[test]
    fn once_the_rest_of_a_chunk_came_each_piece_is_told() {
        let pattern = Pattern::new(&[1460, 1460, 1460, 1460, 304], 12).expect("512 frames");
        // A board that began to count at another frame.
        for shift in [0, 9] {
            let mut tags = Tags::default();
            assert_eq!(tags.piece(&pattern, &piece(1_460 + shift, 304)), None, "it is not known to have tags");
            tags.set(true);
            assert_eq!(tags.piece(&pattern, &piece(365 + shift, 1_460)), None, "where its chunks begin is not known");
            assert_eq!(tags.piece(&pattern, &piece(1_460 + shift, 304)), Some(4));
            for (index, sample) in [(2, 730), (0, 0), (3, 1_095), (1, 365)] {
                assert_eq!(tags.piece(&pattern, &piece(sample + shift, 1_460)), Some(index));
            }
            assert_eq!(tags.piece(&pattern, &piece(1_461 + shift, 1_460)), None, "none begins there");
        }
    }

    #[test]
    fn chunks_that_begin_at_other_tags_each_time_are_told_by_their_sizes_alone() {
        // 500 frames: 1500 samples are 12 more than a multiple of 24.
        let pattern = Pattern::new(&[1460, 1460, 1460, 1460, 160], 12).expect("500 frames");
        let mut tags = Tags::default();
        tags.set(true);
        assert_eq!(tags.piece(&pattern, &piece(1_460, 160)), None);
    }
}
