//! micring: three microphones over UDP in, one sample-aligned stream and honest diagnostics out.

pub mod capture;
pub mod cli;
pub mod commands;
pub mod cycle;
pub mod engine;
pub mod http;
pub mod report;
pub mod sim;
pub mod stats;
pub mod sys;
pub mod time;

/// Microphones in the array; also the channels of every stream.
pub const MICS: usize = 3;
