//! `micring relay ...`: micring-relay, a program of its own, in place of this one.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::Failure;
use crate::cli::RelayArgs;

const NAME: &str = "micring-relay";

/// # Errors
/// It is not there. On success this never returns.
pub fn run(args: &RelayArgs) -> Result<(), Failure> {
    let program = beside_this().unwrap_or_else(|| NAME.into());
    let error = Command::new(&program).arg("publish").args(&args.args).exec();
    Err(Failure::new(format_args!(
        "cannot run {}: {error}. It is a program of its own: install it beside micring (cargo build --release -p {NAME})",
        program.display()
    )))
}

/// Of the same build or package, rather than whatever the path has.
fn beside_this() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name(NAME);
    program.is_file().then_some(program)
}
