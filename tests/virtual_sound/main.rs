//! What the sound tells, against known truth: microphones in simulated rooms, synthetic sounds and real recordings.
//!
//! The tables of `docs/sound.md` come from the same code: `MICRING_SOUND_SECONDS=120 cargo test --profile checked --test virtual_sound --
//! --nocapture table` prints them. Without the variable, each signal is heard for a few seconds.

#![allow(clippy::disallowed_methods, reason = "what listening costs is measured; nothing is decided by it")]

mod borders;
mod calibration;
mod claps;
mod faults;
mod gaps;
mod good_signals;
mod placement;
mod rooms;
mod shifts;
#[path = "../support/skipped.rs"]
mod skipped;
mod stage;
