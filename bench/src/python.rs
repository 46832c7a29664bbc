//! The Python peer: its interpreter, with flask where that can be had.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process::Process;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/old_server.py");

/// A Python that runs the old design.
pub struct Python {
    interpreter: PathBuf,
    /// `flask`, or `http.server` where flask cannot be had.
    pub framework: &'static str,
}

fn runs(interpreter: &Path, text: &str) -> bool {
    let mut command = Command::new(interpreter);
    command.args(["-c", text]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn has_flask(interpreter: &Path) -> bool {
    runs(interpreter, "import flask")
}

impl Python {
    /// Finds python3, and installs flask into a virtual environment under the build directory when it is not there yet.
    ///
    /// # Errors
    /// There is no python3 that runs.
    pub fn find() -> Result<Python> {
        let target = env::current_exe()?.parent().and_then(Path::parent).context("a build directory")?.join("bench");
        Python::find_as(Path::new("python3"), &target)
    }

    fn find_as(python3: &Path, target: &Path) -> Result<Python> {
        let venv = target.join("venv");
        let own = venv.join("bin/python3");
        if !has_flask(&own) {
            let quiet = |command: &mut Command| {
                command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
            };
            let made = quiet(Command::new(python3).args(["-m", "venv"]).arg(&venv));
            if made {
                quiet(Command::new(&own).args(["-m", "pip", "install", "--quiet", "--timeout", "10", "flask"]));
            }
        }
        // A virtual environment may outlive the interpreter that made it.
        let interpreter = if runs(&own, "") { own } else { python3.to_owned() };
        ensure!(runs(&interpreter, ""), "{} does not run here", interpreter.display());
        let framework = if has_flask(&interpreter) { "flask" } else { "http.server" };
        Ok(Python { interpreter, framework })
    }

    /// `receive` or `serve`.
    pub fn start(&self, mode: &str, core: usize, flags: &[&str]) -> Result<Process> {
        let mut command = Command::new(&self.interpreter);
        command.args([SCRIPT, mode, "--core", &core.to_string()]).args(flags);
        Process::start(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_interpreter_runs_there_is_no_peer() {
        let nowhere = env::temp_dir().join(format!("bench-no-python-{}", std::process::id()));
        let found = Python::find_as(&nowhere.join("python3"), &nowhere);
        assert!(found.is_err_and(|error| error.to_string().ends_with("python3 does not run here")));
    }
}
