//! The commands: where the pure rooms and the kernel meet.

pub mod analyze;
pub mod calibrate;
pub mod check_config;
pub mod demo;
pub mod doctor;
pub mod extract;
mod feed;
mod progress;
mod recording;
pub mod relay;
pub mod replay;
mod saved;
pub mod serve;
pub mod simulate;
mod steady;

use std::fmt::{self, Display};

/// Why a command ends with exit code 1: one line that says what, where, why, and what to do next.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(message: impl Display) -> Failure {
        Failure(message.to_string())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
