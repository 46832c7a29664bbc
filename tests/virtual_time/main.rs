//! The engine against simulated truth, in virtual time. Every seed is printed.

mod alignment;
mod arrays;
mod boards;
mod bound;
mod copies;
mod day;
mod figures;
mod free;
mod held;
mod inputs;
mod judge;
mod kept;
mod lags;
mod memory;
mod models;
mod pieces;
mod rates;
mod resampled;
mod rig;
mod shared;
mod short;
mod silences;
mod steep;
