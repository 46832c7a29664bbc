//! The fields of a capture file: numbers in its byte order, timestamps, options.

use crate::time::KernelTime;

/// How a timestamp counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    /// `if_tsresol`: the exponent of 10, or of 2 with the top bit set.
    pub resolution: u8,
    /// `if_tsoffset`, seconds.
    pub offset_s: i64,
}

impl Ticks {
    pub fn to_time(self, high: u32, low: u32) -> Option<KernelTime> {
        let ticks = i128::from(u64::from(high) << 32 | u64::from(low));
        let exponent = u32::from(self.resolution & 0x7f);
        let ns = match (self.resolution & 0x80 != 0, exponent) {
            (true, 0..=63) => (ticks * 1_000_000_000) >> exponent,
            (false, 0..=9) => ticks * 10i128.pow(9 - exponent),
            (false, 10..=38) => ticks / 10i128.pow(exponent - 9),
            _ => return None,
        };
        let ns = ns + i128::from(self.offset_s) * 1_000_000_000;
        i64::try_from(ns).ok().map(KernelTime::from_nanos)
    }
}

/// The byte order of a file, or of a section of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub big: bool,
}

impl Order {
    pub fn u16(self, bytes: &[u8]) -> u16 {
        let bytes = [bytes[0], bytes[1]];
        if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }
    pub fn u32(self, bytes: &[u8]) -> u32 {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
    pub fn u64(self, bytes: &[u8]) -> Option<u64> {
        let bytes = bytes.try_into().ok()?;
        Some(if self.big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }
}

/// The options of a block: code and value. Ends at the end-of-options mark, or where a length leaves the block.
pub(super) fn options(order: Order, mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (code, length) = (order.u16(bytes.get(..2)?), usize::from(order.u16(bytes.get(2..4)?)));
        if code == 0 {
            return None;
        }
        let value = bytes.get(4..4 + length)?;
        bytes = bytes.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}
