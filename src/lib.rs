//! micring: three microphones over UDP in, one sample-aligned stream and honest diagnostics out.
//!
//! # A packet's way
//!
//! kernel timestamp → multishot recvmsg completion ([`sys`]) → the order of the stamps across three sockets
//! ([`commands::serve`], `merge`) → [`engine`]: whose packet, which cycle, which position; its samples are copied once, into the
//! history → the cycle is complete → [`http`] encodes its event once and shares the bytes among all subscribers → one send in
//! flight a connection. The receive buffer goes back to the kernel in the same turn.
//!
//! # One turn of the loop (`commands/serve/event_loop.rs`)
//!
//! 1. Wait in the ring, or only look while a socket is behind or HTTP has work left.
//! 2. Read the clocks, once a round.
//! 3. Feed datagrams in the order of the kernel's stamps; where an older one may be missing, arm, enter once more.
//! 4. Feed timers: time has passed as far as nothing older can still come.
//! 5. Feed HTTP, a bounded share of what came and of what is to be done.
//! 6. Hand over log lines, recordings and saved audio; the next wait submits everything.
//!
//! # Rooms
//!
//! All decisions are pure: time and bytes are arguments ([`wire`], [`engine`], [`sound`], [`http`], [`report`], [`sim`], [`capture`],
//! [`stats`]).
//! All unsafe and every system call stand in [`sys`]. [`commands`] joins them. Imports point one way; `tests/house.rs` says
//! which, and fails when one turns round.

pub mod array;
pub mod capture;
pub mod cli;
pub mod commands;
pub mod conn;
pub mod cycle;
pub mod dsp;
pub mod engine;
pub mod http;
pub mod out;
pub mod report;
pub mod sim;
pub mod sound;
pub mod stats;
pub mod sys;
pub mod time;
pub mod wire;

/// Microphones in the array; also the channels of every stream.
pub const MICS: usize = 3;
