//! The whole program on loopback: real processes, real UDP, real kernel timestamps, a plain TCP client.

mod abuse;
mod audio;
mod clients;
mod costs;
mod drift;
mod faults;
mod host;
mod peers;
mod rig;
