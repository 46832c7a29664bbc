//! Statistics of clocks and of networks, over recordings of any length, in memory that does not grow.

pub mod stability;
