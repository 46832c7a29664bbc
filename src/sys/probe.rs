//! What this host can do, tried rather than guessed: `micring doctor` asks here.
//!
//! A version number does not say whether a container forbids io_uring, and no flag says whether multishot receive works; so
//! a ring like the server's is built and a datagram sent through it, and the wake-up latency is that of a real sleeper on
//! the core that the loop would take.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::host;
use super::latency::WakeUpRequest;
use super::ring::{Completion, End, Ring, RingOptions};
use super::udp::StampedSocket;
use crate::time::Span;

/// A datagram's way through a ring of our own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Bytes that the kernel granted for SO_RCVBUF, its overhead included.
    pub receive_buffer: usize,
    /// From sending until the kernel's timestamp; `None`: there was no timestamp.
    pub stamped_after: Option<Span>,
}

/// Builds a ring as `serve` does, and receives one datagram of our own on loopback through a multishot receive.
///
/// # Errors
/// What the kernel said to the sockets, the ring or the receive; `TimedOut` when nothing came.
pub fn receive_one(receive_buffer: usize) -> io::Result<Received> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = StampedSocket::bind(any, receive_buffer)?;
    let (to, receive_buffer) = (socket.address(), socket.receive_buffer);
    let mut ring = Ring::new(RingOptions::default(), [socket])?;
    ring.arm_sockets();
    let sender = UdpSocket::bind(any)?;
    ring.poll()?;
    let sent = host::clocks();
    sender.send_to(&[0; 4], to)?;
    let mut completions = Vec::new();
    while host::mono() - sent.mono < Span::from_secs(2) {
        ring.wait(Some(Span::from_millis(100)))?;
        ring.reap(&mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Datagram(datagram) => {
                    let stamped_after = datagram.stamp.map(|stamp| stamp - sent.wall);
                    ring.recycle(datagram);
                    return Ok(Received { receive_buffer, stamped_after });
                }
                Completion::SocketEnded { end: End::Error(errno), .. } => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                _ => {}
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// How late a sleeper on this core wakes, as cyclictest measures it: absolute deadlines a millisecond apart, timer slack
/// as small as it goes. Sorted, one entry a wake. `held`: with the wake-up request of `--low-latency` held meanwhile.
///
/// # Errors
/// The core cannot be had, or the request cannot be held.
pub fn wake_up(core: Option<usize>, wakes: usize, held: bool) -> io::Result<Vec<Span>> {
    let _request = held.then(WakeUpRequest::hold).transpose()?;
    let measure = move || {
        if let Some(core) = core {
            host::pin_to(core)?;
        }
        // SAFETY: this prctl takes a number and changes only the calling thread's timer slack (prctl(2)).
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
        let mut late = Vec::with_capacity(wakes);
        let mut next = monotonic();
        for _ in 0..wakes {
            next += 1_000_000;
            let until = libc::timespec { tv_sec: next / 1_000_000_000, tv_nsec: next % 1_000_000_000 };
            // SAFETY: the kernel reads `until`, which lives through the call; a null remainder is allowed.
            unsafe {
                libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &until, std::ptr::null_mut());
            }
            late.push(Span::from_nanos(monotonic() - next));
        }
        late.sort_unstable();
        Ok(late)
    };
    // On a thread of its own, so that the pinning and the slack end with it.
    std::thread::spawn(measure).join().expect("the measuring thread does not panic")
}

/// CLOCK_MONOTONIC: the clock that clock_nanosleep takes (it has none for the raw one).
fn monotonic() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec into `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// What the kernel's clock discipline says of itself (adjtimex(2)).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ClockState {
    pub synchronised: bool,
    pub leap_pending: bool,
    pub frequency_ppm: f64,
    pub max_error: Span,
}

/// Asks, changes nothing.
pub fn clock_state() -> io::Result<ClockState> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all-zero is a valid timex with modes = 0, which makes the call read-only; the kernel writes into ours.
    let (state, timex) = unsafe {
        let state = libc::adjtimex(timex.as_mut_ptr());
        (state, timex.assume_init())
    };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ClockState {
        synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        leap_pending: timex.status & (libc::STA_INS | libc::STA_DEL) != 0,
        // A 16-bit binary fraction of parts per million.
        frequency_ppm: timex.freq as f64 / 65536.0,
        max_error: Span::from_micros(timex.maxerror),
    })
}

/// A limit of this process, as far as it may raise it itself; `None` is unlimited.
pub fn limit(resource: Limit) -> Option<u64> {
    let resource = match resource {
        Limit::LockedMemory => libc::RLIMIT_MEMLOCK,
        Limit::Descriptors => libc::RLIMIT_NOFILE,
        Limit::RealTimePriority => libc::RLIMIT_RTPRIO,
    };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit into ours.
    let result = unsafe { libc::getrlimit(resource, &mut limit) };
    assert_eq!(result, 0, "these three limits exist on every Linux");
    (limit.rlim_max != libc::RLIM_INFINITY).then_some(limit.rlim_max)
}

#[derive(Clone, Copy, Debug)]
pub enum Limit {
    LockedMemory,
    Descriptors,
    RealTimePriority,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_comes_through_the_ring_with_a_stamp() {
        let received = receive_one(1 << 16).unwrap();
        assert!(received.receive_buffer >= 1 << 16);
        let after = received.stamped_after.expect("this kernel stamps datagrams");
        assert!(after > Span::from_millis(-10), "it is stamped after it was sent: {after:?}");
    }

    #[test]
    fn nobody_wakes_before_the_deadline() {
        let late = wake_up(None, 20, false).unwrap();
        assert_eq!(late.len(), 20);
        assert!(late[0] >= Span::ZERO, "{late:?}");
    }

    #[test]
    fn the_kernels_clock_slews_by_at_most_500_ppm() {
        // MAXFREQ, include/linux/timex.h.
        assert!(clock_state().unwrap().frequency_ppm.abs() <= 500.0);
    }
}
