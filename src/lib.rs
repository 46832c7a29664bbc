//! micring: three microphones over UDP in, one sample-aligned stream and honest diagnostics out.

pub mod cycle;
pub mod engine;
pub mod sim;
pub mod time;

/// Microphones in the array; also the channels of every stream.
pub const MICS: usize = 3;
