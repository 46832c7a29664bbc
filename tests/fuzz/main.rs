//! Whatever comes in from outside, mutated without end: packets, HTTP, query strings, captures. Each target says what must
//! hold for any input; a panic or a broken promise is shrunk to a small case and kept in `regressions.txt`.
//!
//! A run is bounded by PROPTEST_CASES and begun anew by PROPTEST_RNG_SEED: `scripts/fuzz` runs for long.

mod engine;
mod mutate;
mod parsers;
#[allow(dead_code, reason = "the whole of the other tests' world; a fuzz target needs a part of it")]
#[path = "../http/support.rs"]
mod support;
mod web;
mod wire;
