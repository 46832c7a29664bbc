//! Which number a packet has: late or lost, and what becomes of a decision that proves wrong.

pub(super) mod borders;
pub(super) mod holes;
pub(super) mod inference;
pub(super) mod lag;
pub(super) mod late;
pub(super) mod nominal;
pub(super) mod review;
pub(super) mod silence;
pub(super) mod skips;
mod tuning;
