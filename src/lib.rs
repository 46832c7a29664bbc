//! micring: three microphones over UDP in, one sample-aligned stream and honest diagnostics out.

pub mod capture;
pub mod cycle;
pub mod engine;
pub mod report;
pub mod stats;
pub mod time;

/// Microphones in the array; also the channels of every stream.
pub const MICS: usize = 3;
