//! What a host can be asked for so that a packet is read sooner: `--low-latency`, in three parts that each may be refused; and what the
//! allocator is always asked for.
//!
//! An idle core sleeps, and waking it costs (100 us of a packet's delay on the machine of docs/measured.md): the kernel's PM QoS
//! interface keeps it out of the deep states while a descriptor is open. Another program on the same core costs more
//! (milliseconds): SCHED_FIFO goes before it. A page that was evicted costs a disk read: mlockall keeps all of them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

/// `/dev/cpu_dma_latency` with 0 written to it: no core sleeps deeply while this lives
/// (Documentation/power/pm_qos_interface.rst).
#[derive(Debug)]
pub struct WakeUpRequest(#[expect(dead_code, reason = "held open, never used: closing it ends the request")] File);

impl WakeUpRequest {
    /// # Errors
    /// The device is not there, or not ours to write (root, or a udev rule).
    pub fn hold() -> io::Result<WakeUpRequest> {
        let mut device = OpenOptions::new().write(true).open("/dev/cpu_dma_latency")?;
        device.write_all(&0_i32.to_ne_bytes())?;
        Ok(WakeUpRequest(device))
    }
}

/// SCHED_FIFO for the calling thread, at a priority below that of threaded interrupts (50): a busy loop must not lock the
/// network out. Children start as normal programs (SCHED_RESET_ON_FORK).
///
/// # Errors
/// EPERM without CAP_SYS_NICE and RLIMIT_RTPRIO.
pub fn real_time() -> io::Result<()> {
    const PRIORITY: i32 = 40;
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the kernel reads `parameter`; pid 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameter) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Locks all memory, also what is still to come.
///
/// Once CAP_IPC_LOCK is dropped the limit counts, and an allocation beyond it would fail: so the limit is raised first,
/// and where it may not be, only what is there now is locked, if that fits.
///
/// # Errors
/// EPERM or ENOMEM: the limit of locked memory is too low.
pub fn lock_memory() -> io::Result<Locked> {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    let mut limit = unlimited;
    // SAFETY: the kernel reads, or writes, one rlimit of ours.
    let raised = unsafe {
        let raised = libc::setrlimit(libc::RLIMIT_MEMLOCK, &unlimited) == 0;
        if !raised && libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            // As far as it goes: mlockall says whether that is enough.
            libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit);
        }
        raised
    };
    let (flags, locked) =
        if raised { (libc::MCL_CURRENT | libc::MCL_FUTURE, Locked::All) } else { (libc::MCL_CURRENT, Locked::Present) };
    // SAFETY: mlockall takes flags and moves nothing.
    if unsafe { libc::mlockall(flags) } < 0 { Err(io::Error::last_os_error()) } else { Ok(locked) }
}

/// Freed memory stays with the process, up to some MiB: a body's is asked for again soon, and each time that the heap's end moves costs the
/// loop a system call, and page faults behind it. Without glibc there is nothing to ask.
pub fn keep_freed_memory() {
    /// Above what a burst of bodies takes, below what anybody would miss.
    #[cfg(target_env = "gnu")]
    const KEPT: libc::c_int = 8 << 20;
    /// As glibc would choose itself after the first download of a history (mallopt(3), M_MMAP_THRESHOLD): a given trim threshold turns
    /// that choice off.
    #[cfg(target_env = "gnu")]
    const MAPPED: libc::c_int = 4 << 20;
    // SAFETY: mallopt takes two numbers and changes nothing that was handed out; a number that it does not know is refused.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
    }
}

/// What [`lock_memory`] could lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locked {
    All,
    /// The limit stands: later allocations are not locked.
    Present,
}

/// How long real-time threads may run in each second, in microseconds; `None` without a bound. A spinning SCHED_FIFO
/// thread is stopped for the rest (43 to 53 ms a second, measured).
pub fn real_time_bound() -> Option<u64> {
    /// The kernel's default, where its file is hidden from us (systemd's ProcSubset=pid).
    const DEFAULT_US: i64 = 950_000;
    let text = std::fs::read_to_string("/proc/sys/kernel/sched_rt_runtime_us").unwrap_or_default();
    u64::try_from(text.trim().parse().unwrap_or(DEFAULT_US)).ok()
}
