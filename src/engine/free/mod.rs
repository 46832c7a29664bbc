//! Boards with a clock each: a stream of positions for each, put on one axis.

pub(super) mod boards;
pub(super) mod grid;
pub(super) mod resample;
pub(super) mod sinc;
pub(super) mod spread;
pub(super) mod stream;
mod tuning;
