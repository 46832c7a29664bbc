//! The engine against simulated truth, in virtual time. Every seed is printed.

mod boards;
mod inputs;
mod models;
mod rig;
mod shared;
