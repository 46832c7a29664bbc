//! What the samples themselves tell, where the times of their arrival cannot.
//!
//! Pure functions and accumulators: samples in, evidence out. Evidence is a likelihood ratio, a margin, or a fault that is
//! shown; where the sound tells nothing they say so (`None`, or a ratio of 1), and decide nothing. Nothing here changes a sample.
//!
//! - [`continuity`]: does this packet follow that one of the same microphone?
//! - [`fingerprint`]: by how many whole packets are two microphones apart from where they were?
//! - [`words`]: faults of the words that samples came in: bits that never move, shifted words, empty slots.
//! - [`onset`]: when did a clap arrive first?

pub mod continuity;
pub mod fingerprint;
pub mod onset;
pub mod words;

mod predict;
mod whiten;
