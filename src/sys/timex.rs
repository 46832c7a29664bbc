//! How far the host's clock can be believed: what the kernel was told by whoever steers it (NTP, PTP), read with
//! adjtimex(2), which changes nothing here.

use std::io;
use std::mem::MaybeUninit;

/// The state of CLOCK_REALTIME against true time, as the clock's steersman told the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockState {
    /// Somebody steers the clock, and said so within the last hours (the kernel takes it back once `max_error` has grown
    /// to 16 s: ntp_update_maxerror).
    pub synchronised: bool,
    /// What the steersman estimates, in microseconds; says nothing unless `synchronised`.
    pub estimated_error_us: i64,
    /// The bound that the steersman gives; the kernel lets it grow by 500 us a second between two words of it.
    pub max_error_us: i64,
}

/// The present state.
pub fn clock_state() -> io::Result<ClockState> {
    // SAFETY: all-zero is a valid timex: `modes` 0 asks the kernel to change nothing.
    let mut timex: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the kernel reads and writes one timex, which is ours and outlives the call.
    let state = unsafe { libc::adjtimex(&mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    // TIME_ERROR is also a pending leap second's neighbour; STA_UNSYNC alone says that nobody steers.
    Ok(ClockState {
        synchronised: timex.status & libc::STA_UNSYNC == 0,
        estimated_error_us: timex.esterror,
        max_error_us: timex.maxerror,
    })
}
