//! What a capture tells of its interfaces.

use crate::time::KernelTime;

/// An interface statistics block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statistics<'a> {
    /// The microphone whose socket it tells of, where the recording is ours.
    pub mic: Option<usize>,
    pub stamp: KernelTime,
    pub received: Option<u64>,
    /// Dropped for want of room, by the interface and by the operating system together.
    pub dropped: Option<u64>,
    pub comment: Option<&'a str>,
}
