//! Limits, in virtual time.
