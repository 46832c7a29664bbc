//! One line of the doctor's: what was looked at, how it is, and the command that mends it.

use serde::Serialize;

/// How much it matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// micring runs, but later or less surely than it could.
    Warn,
    /// `micring serve` cannot work here.
    Fail,
}

/// See the module's head.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    pub found: String,
    /// A command where one mends it; null where nothing is to be mended.
    pub mend: Option<String>,
}

impl Check {
    pub fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, state: State::Ok, found: found.into(), mend: None }
    }

    pub fn warn(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
        Check { name, state: State::Warn, found: found.into(), mend: Some(mend.into()) }
    }

    pub fn fail(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
        Check { name, state: State::Fail, found: found.into(), mend: Some(mend.into()) }
    }

    /// `ok` where it holds, else a warning.
    pub fn ok_if(holds: bool, name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
        if holds { Check::ok(name, found) } else { Check::warn(name, found, mend) }
    }
}
