//! Samples that say their channel and their position, and what a stream shows of them.

use std::path::{Path, PathBuf};

pub const RATE: usize = 48_000;
/// What each sender has to send.
pub const SECONDS: usize = 20;

/// Left-justified, as it arrives; never 0.
pub fn sample(channel: usize, position: usize, bytes: usize) -> i32 {
    let bits = 8 * bytes as u32 - 2;
    ((channel as u32 + 1) << 30 | ((position as u32) & ((1 << bits) - 1)) << (30 - bits)) as i32
}

/// Frames of so many channels, big-endian, in a file.
pub fn file(folder: &Path, name: &str, channels: usize, bytes: usize) -> PathBuf {
    let mut data = Vec::with_capacity(SECONDS * RATE * channels * bytes);
    for position in 0..SECONDS * RATE {
        for channel in 0..channels {
            data.extend(&sample(channel, position, bytes).to_be_bytes()[..bytes]);
        }
    }
    let path = folder.join(name);
    std::fs::write(&path, data).expect("a file");
    path
}

/// What a stream has of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Frames that are there, and those that are missing between the first and the last of them.
    pub there: usize,
    pub missing: usize,
}

/// Every sample that is there says its channel and its place; what is missing of a source is missing of all its channels.
pub fn check(what: &str, frames: &[Vec<i32>], channels: std::ops::Range<usize>, bytes: usize) -> Found {
    let first = channels.start;
    let (mut there, mut missing, mut silent, mut base) = (0, 0, 0, None);
    let period = 1_usize << (8 * bytes - 2);
    for (at, frame) in frames.iter().enumerate() {
        let own = &frame[channels.clone()];
        if own.iter().all(|sample| *sample == 0) {
            silent += 1;
            continue;
        }
        if there > 0 {
            missing += silent;
        }
        (there, silent) = (there + 1, 0);
        let position = (own[0] as u32 as usize & 0x3fff_ffff) >> (32 - 8 * bytes);
        let base = *base.get_or_insert((position + period * 1_000 - at) % period);
        for (channel, got) in own.iter().enumerate() {
            assert_eq!(*got, sample(channel, at + base, bytes), "{what}: frame {at}, channel {}", first + channel);
        }
    }
    Found { there, missing }
}
