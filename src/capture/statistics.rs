//! What a capture tells of its interfaces.

use super::fields::{Order, options};
use crate::time::KernelTime;

const OPT_COMMENT: u16 = 1;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_OSDROP: u16 = 7;

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

impl<'a> Statistics<'a> {
    /// Out of the options of such a block.
    pub(super) fn of(order: Order, mic: Option<usize>, stamp: KernelTime, bytes: &'a [u8]) -> Statistics<'a> {
        let mut statistics = Statistics { mic, stamp, received: None, dropped: None, comment: None };
        for (code, value) in options(order, bytes) {
            match code {
                ISB_IFRECV => statistics.received = order.u64(value),
                ISB_IFDROP | ISB_OSDROP => {
                    let dropped = order.u64(value).map(|new| statistics.dropped.unwrap_or(0).saturating_add(new));
                    statistics.dropped = dropped.or(statistics.dropped);
                }
                OPT_COMMENT => statistics.comment = std::str::from_utf8(value).ok(),
                _ => {}
            }
        }
        statistics
    }
}
