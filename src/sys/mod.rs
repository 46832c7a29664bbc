//! Everything unsafe and every system call: the one room where the program touches the kernel.
//!
//! [`ring`] is the io_uring that carries microphones, HTTP, signals, log lines and a recording; [`pool`] the buffers that it
//! fills; [`file`] the file that it writes; [`udp`] and [`tcp`] the sockets; [`cmsg`] what the kernel says beside a datagram;
//! [`host`] the machine: cores, clocks, signals; [`notify`] the service manager; [`latency`] what a host can be asked for;
//! [`probe`] what it can do; [`timex`] how far its clock is right; [`sandbox`] what is given up once all is set up. Nothing here decides anything about audio: it knows `time` and `cycle`, never the engine.

pub mod cmsg;
pub mod file;
pub mod host;
pub mod latency;
pub mod notify;
pub mod pool;
pub mod probe;
pub mod ring;
pub mod sandbox;
pub mod tcp;
pub mod timex;
pub mod token;
pub mod udp;
