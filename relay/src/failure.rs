//! Why the program ends: one line that says what, where, why and what to do next; and an exit code that a service manager
//! can tell apart (the numbers are those of sysexits.h).

use std::fmt::{self, Display};

/// Exit codes beside 0 and 2 (wrong usage).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Anything without a number of its own.
    Other = 1,
    /// EX_UNAVAILABLE: nobody answers. Trying again may help.
    Unreachable = 69,
    /// EX_TEMPFAIL: a stream is full.
    Full = 75,
    /// EX_NOPERM: wrong credentials, or none.
    Denied = 77,
    /// EX_CONFIG: the NATS server cannot do what is asked of it.
    Config = 78,
}

/// See the module's head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub exit: Exit,
    text: String,
}

impl Failure {
    pub fn new(exit: Exit, text: impl Display) -> Failure {
        Failure { exit, text: text.to_string() }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
