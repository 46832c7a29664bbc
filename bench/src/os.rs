//! What the measurements need of the system beyond the library's `sys`: clocks by name, CPU time of another process,
//! scheduling classes, the PM QoS file, and the three batch calls that peers are made of.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use micring::sys::{cmsg, host};

/// Nanoseconds of a clock, by its number in `libc`.
fn read_clock(clock: libc::clockid_t) -> io::Result<i64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec into `time`.
    match unsafe { libc::clock_gettime(clock, &mut time) } {
        0 => Ok(time.tv_sec * 1_000_000_000 + time.tv_nsec),
        _ => Err(io::Error::last_os_error()),
    }
}

/// CLOCK_REALTIME, the clock of the kernel's stamps, in nanoseconds.
pub fn wall_ns() -> i64 {
    read_clock(libc::CLOCK_REALTIME).expect("CLOCK_REALTIME exists")
}

/// CLOCK_MONOTONIC in nanoseconds, for pacing.
pub fn mono_ns() -> i64 {
    read_clock(libc::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC exists")
}

/// CPU seconds of the calling thread.
pub fn thread_cpu_s() -> f64 {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a CPU clock") as f64 / 1e9
}

/// CPU seconds, user and system, of all threads of a process.
pub fn process_cpu_s(pid: u32) -> Result<f64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: writes one clockid_t into `clock`.
    let failed = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) };
    anyhow::ensure!(failed == 0, "process {pid} has no CPU clock: {}", io::Error::from_raw_os_error(failed));
    Ok(read_clock(clock)? as f64 / 1e9)
}

/// What a process took in all.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub wall_s: f64,
    /// User and system.
    pub cpu_s: f64,
    /// The most memory that it had resident, in MiB.
    pub most_mib: f64,
}

/// Runs a command on a core, to its end; what it prints is thrown away.
pub fn spend(command: &mut Command, core: usize) -> Result<Spent> {
    host::die_with_parent(command);
    let start = mono_ns();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().with_context(|| format!("{command:?}"))?;
    pin(child.id(), core)?;
    let mut status = 0;
    // SAFETY: all zeros is a valid rusage: numbers and times.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one int and one rusage, both ours. The child is ours and nobody else waits for it: `child` is only dropped,
    // which does not.
    let ended = unsafe { libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut used) };
    anyhow::ensure!(ended == child.id() as libc::pid_t, "waiting: {}", io::Error::last_os_error());
    anyhow::ensure!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{command:?} failed: status {status}");
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Spent {
        wall_s: (mono_ns() - start) as f64 / 1e9,
        cpu_s: seconds(used.ru_utime) + seconds(used.ru_stime),
        most_mib: used.ru_maxrss as f64 / 1024.0,
    })
}

/// Pins another process to a core.
fn pin(pid: u32, core: usize) -> Result<()> {
    // SAFETY: all zeros is the empty set; CPU_SET stays within it, or panics.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes into `set` only.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the kernel reads `set`, of the size that is told.
    let failed = unsafe { libc::sched_setaffinity(pid as libc::pid_t, size_of_val(&set), &set) };
    anyhow::ensure!(failed == 0, "pinning process {pid}: {}", io::Error::last_os_error());
    Ok(())
}

/// Sleeps until an instant of CLOCK_MONOTONIC, in nanoseconds.
pub fn sleep_until(at_ns: i64) {
    let at = libc::timespec { tv_sec: at_ns / 1_000_000_000, tv_nsec: at_ns % 1_000_000_000 };
    // SAFETY: the kernel reads `at`, and writes no remainder for an absolute sleep. An early end by a signal only
    // shortens one gap between packets.
    unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &at, std::ptr::null_mut()) };
}

/// Puts the calling process's thread (0) or another one into SCHED_FIFO.
pub fn set_fifo(pid: u32, priority: i32) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel reads `param`.
    match unsafe { libc::sched_setscheduler(pid as libc::pid_t, libc::SCHED_FIFO, &param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// More descriptors, as many as are allowed: a subscriber is one on each side.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write the one struct. A refusal leaves the old limit, and connecting says so.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max.min(16_384);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

/// SIGTERM to a process that we started and have not reaped.
pub fn terminate(pid: u32) {
    // SAFETY: kill only asks the kernel to signal.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
}

/// What a read of a socket gave.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    pub len: usize,
    /// SO_TIMESTAMPNS in nanoseconds, 0 where none came.
    pub stamp_ns: i64,
}

const CONTROL: usize = 64;

fn stamp(header: &libc::msghdr, control: &[u8; CONTROL]) -> i64 {
    let parsed = cmsg::parse(&control[..header.msg_controllen.min(CONTROL)]);
    parsed.stamp.map_or(0, |stamp| stamp.as_nanos())
}

/// recvmsg(2) with room for a timestamp.
pub fn recvmsg(fd: RawFd, buffer: &mut [u8], flags: i32) -> io::Result<Read> {
    let mut control = [0_u8; CONTROL];
    let mut io = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is valid and empty; the pointers put into it live through the call, with their lengths,
    // and the kernel writes into nothing else.
    let (count, header) = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &mut io;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
        (libc::recvmsg(fd, &mut header, flags), header)
    };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Read { len: count as usize, stamp_ns: stamp(&header, &control) })
}

/// Many datagrams a call: recvmmsg(2).
pub struct Batch {
    headers: Vec<libc::mmsghdr>,
    ios: Vec<libc::iovec>,
    controls: Vec<[u8; CONTROL]>,
    memory: Vec<u8>,
    size: usize,
}

impl Batch {
    pub fn new(count: usize, size: usize) -> Batch {
        let mut batch = Batch {
            // SAFETY: an all-zero mmsghdr is valid and empty.
            headers: vec![unsafe { std::mem::zeroed() }; count],
            ios: Vec::with_capacity(count),
            controls: vec![[0; CONTROL]; count],
            memory: vec![0; count * size],
            size,
        };
        for slot in batch.memory.chunks_exact_mut(size) {
            batch.ios.push(libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: size });
        }
        for ((header, io), control) in batch.headers.iter_mut().zip(&mut batch.ios).zip(&mut batch.controls) {
            header.msg_hdr.msg_iov = io;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
        }
        batch
    }

    /// Reads without blocking; how many came.
    pub fn recv(&mut self, fd: RawFd) -> usize {
        for header in &mut self.headers {
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        // SAFETY: every header points to a buffer and a control area of ours with their true lengths; the vectors are
        // never resized after `new`, so the pointers hold.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                self.headers.len() as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        count.max(0) as usize
    }

    /// Datagram `index` of the last [`Batch::recv`].
    pub fn get(&self, index: usize) -> (i64, &[u8]) {
        let header = &self.headers[index];
        let start = index * self.size;
        let len = (header.msg_len as usize).min(self.size);
        (stamp(&header.msg_hdr, &self.controls[index]), &self.memory[start..start + len])
    }
}

/// One call, many datagrams: the kernel cuts `bytes` into segments of `segment` bytes (UDP_SEGMENT, udp(7)).
pub fn send_segments(fd: RawFd, to: SocketAddr, bytes: &[u8], segment: u16) -> io::Result<usize> {
    let to = socket2_address(to);
    let mut io = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // u64 for alignment of the cmsghdr.
    let mut control = [0_u64; 3];
    // SAFETY: the control area holds one cmsghdr with two bytes of data (CMSG_SPACE(2) = 24 bytes); all pointers live
    // through the call, and the kernel only reads.
    let sent = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_name = std::ptr::from_ref(&to).cast_mut().cast();
        header.msg_namelen = size_of::<libc::sockaddr_in>() as _;
        header.msg_iov = &mut io;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of::<[u64; 3]>() as _;
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(2) as _;
        libc::CMSG_DATA(message).cast::<u16>().write_unaligned(segment);
        libc::sendmsg(fd, &header, 0)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

fn socket2_address(address: SocketAddr) -> libc::sockaddr_in {
    let SocketAddr::V4(address) = address else { panic!("the benchmark runs on 127.0.0.1") };
    // SAFETY: an all-zero sockaddr_in is valid.
    let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    raw.sin_family = libc::AF_INET as _;
    raw.sin_port = address.port().to_be();
    raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
    raw
}

/// Many datagrams a call: sendmmsg(2), each with its own target.
pub fn send_many(fd: RawFd, messages: &[(SocketAddr, &[u8])]) -> io::Result<usize> {
    let names: Vec<libc::sockaddr_in> = messages.iter().map(|(to, _)| socket2_address(*to)).collect();
    let mut ios: Vec<libc::iovec> = messages
        .iter()
        .map(|(_, bytes)| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() })
        .collect();
    // SAFETY: all-zero headers are valid; the pointers set here live through the call, and the kernel only reads them.
    let sent = unsafe {
        let mut headers: Vec<libc::mmsghdr> = vec![std::mem::zeroed(); messages.len()];
        for ((header, io), name) in headers.iter_mut().zip(&mut ios).zip(&names) {
            header.msg_hdr.msg_name = std::ptr::from_ref(name).cast_mut().cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as _;
            header.msg_hdr.msg_iov = io;
            header.msg_hdr.msg_iovlen = 1;
        }
        libc::sendmmsg(fd, headers.as_mut_ptr(), headers.len() as u32, 0)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Takes SO_TIMESTAMPNS off a socket: while it is set, [`last_stamp`] has nothing to say (net/socket.c).
pub fn stamp_on_request(fd: RawFd) -> io::Result<()> {
    let off = 0_i32;
    // SAFETY: the kernel reads four bytes at `off`.
    let result =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, std::ptr::from_ref(&off).cast(), 4) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The stamp of the datagram last read from a socket without SO_TIMESTAMPNS (SIOCGSTAMPNS, socket(7)): for receivers that
/// cannot read control messages.
pub fn last_stamp(fd: RawFd) -> i64 {
    const SIOCGSTAMPNS: libc::c_ulong = 0x8907;
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the kernel writes one timespec into `time`; all-zero is a valid one.
    let (result, time) = unsafe { (libc::ioctl(fd, SIOCGSTAMPNS, time.as_mut_ptr()), time.assume_init()) };
    if result == 0 { time.tv_sec * 1_000_000_000 + time.tv_nsec } else { 0 }
}

/// epoll(7), level-triggered, by token.
pub struct Epoll(std::os::fd::OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        use std::os::fd::FromRawFd;
        // SAFETY: creates a descriptor or fails.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor for us.
        Ok(Epoll(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }))
    }

    fn control(&self, op: i32, fd: RawFd, token: u64, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: token };
        // SAFETY: the kernel reads `event`.
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub fn add(&self, fd: RawFd, token: u64, events: i32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, events)
    }

    pub fn change(&self, fd: RawFd, token: u64, events: i32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, events)
    }

    /// Waits at most `timeout_ms` (-1: no limit); the tokens and events that are ready are put into `ready`.
    pub fn wait(&self, ready: &mut Vec<(u64, u32)>, timeout_ms: i32) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        // SAFETY: the kernel writes at most 256 events into `events`.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 256, timeout_ms) };
        ready.clear();
        ready.extend(events[..count.max(0) as usize].iter().map(|event| (event.u64, event.events)));
    }
}

/// Reads and throws away (recv with MSG_TRUNC, tcp(7)): how many bytes, 0 at the end.
pub fn discard(fd: RawFd) -> io::Result<usize> {
    // SAFETY: with MSG_TRUNC the kernel writes nothing for a TCP socket, and the pointer is not used.
    let count = unsafe { libc::recv(fd, std::ptr::null_mut(), 1 << 20, libc::MSG_TRUNC | libc::MSG_DONTWAIT) };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
}
