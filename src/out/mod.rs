//! Aligned audio as other tools want it: RTP packets, WAV files that grow, other sample types and rates.
//!
//! All of it is pure: positions and samples go in, bytes come out. A gap keeps its place in every one of them, since each is made
//! from positions and never from a count of what came.

pub mod pcm;
pub mod rates;
pub mod rtp;
pub mod sdp;
pub mod sidecar;
pub mod track;
pub mod wave;

pub use pcm::Sample;
