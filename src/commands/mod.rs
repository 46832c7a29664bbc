//! The commands: where the pure rooms and the kernel meet.

pub mod serve;
