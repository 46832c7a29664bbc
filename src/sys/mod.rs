//! Everything unsafe and every system call: the one room where the program touches the kernel.
//!
//! [`ring`] is the io_uring that carries microphones, HTTP, signals and log lines; [`pool`] the buffers that it fills;
//! [`udp`] and [`tcp`] the sockets; [`cmsg`] what the kernel says beside a datagram; [`host`] the machine: cores, clocks,
//! signals. Nothing here decides anything about audio: it knows `time` and `cycle`, never the engine.

pub mod cmsg;
pub mod host;
pub mod pool;
pub mod ring;
pub mod tcp;
pub mod token;
pub mod udp;
