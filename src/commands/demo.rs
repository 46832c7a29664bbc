//! `micring demo`: serve, with three virtual microphones beside it. The microphones are this same program in a process of
//! its own (`micring simulate`) on another core, so that what is measured is what a real board would meet.

use super::Failure;
use super::serve::{self, Addresses};
use crate::cli::ServeArgs;

/// Serves until SIGINT or SIGTERM; the virtual microphones end with it.
///
/// # Errors
/// What `serve` could not set up, or that the simulator cannot be started.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    serve::run(args, |_: &Addresses| Ok(()))
}
