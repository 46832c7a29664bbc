//! What comes in: whose datagrams are followed, what their bytes are, and which of them make one chunk.

pub mod chunks;
mod follow;
pub(super) mod formats;
mod hopping;
pub mod packet;
mod tuning;
pub(super) mod undecided;

pub use follow::*;
