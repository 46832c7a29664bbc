//! The whole program on loopback: real processes, real UDP, real kernel timestamps, a plain TCP client.

#![allow(clippy::disallowed_methods, reason = "what is tested here runs in real time")]

mod abuse;
mod arrays;
mod audio;
mod calibration;
mod clients;
mod costs;
mod drift;
mod faults;
mod health;
mod host;
mod microphones;
mod multicast;
mod pcm;
mod peers;
mod pieces;
mod rig;
mod rtp;
mod runs;
#[path = "../support/skipped.rs"]
mod skipped;
mod storms;
mod tools;
mod web;
