//! The whole program on loopback: real processes, real UDP, real kernel timestamps, a plain TCP client.

mod audio;
mod clients;
mod faults;
mod host;
mod rig;
