//! Microphones of one board, on one clock: cycles by the order of arrival.

pub(super) mod align;
pub(super) mod tail;
mod tuning;
