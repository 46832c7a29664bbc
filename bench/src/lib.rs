//! micring beside its peers, on the same work, in one run.
//!
//! [`rig`] is the plan (cores, rounds, lengths); [`load`] what is sent and [`client`] who listens, on one core;
//! [`receivers`], [`servers`] and [`python`] the peers, and [`process`] the processes they and `micring serve` run in, on the
//! other core; [`comparisons`] what is measured, with what is asked for; [`stats`] medians, spreads and ratios of one round.

pub mod allocations;
pub mod client;
pub mod comparisons;
pub mod load;
pub mod micro;
pub mod os;
pub mod pieces;
pub mod plot;
pub mod process;
pub mod python;
pub mod receivers;
pub mod rig;
pub mod servers;
pub mod stats;
