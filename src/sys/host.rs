//! The machine under us: cores, clocks, signals, the local time zone.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::cycle::Clocks;
use crate::time::{KernelTime, MonoTime, Span};

/// The CPUs that this thread may run on, ascending.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the kernel writes at most the given size into `set`; pid 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: CPU_ISSET reads the set; every index lies below CPU_SETSIZE.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Keeps the calling thread on one CPU.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an all-zero cpu_set_t is the empty set, and `cpu` lies below CPU_SETSIZE.
    let set = unsafe {
        let mut set: libc::cpu_set_t = MaybeUninit::zeroed().assume_init();
        libc::CPU_SET(cpu, &mut set);
        set
    };
    // SAFETY: the kernel reads the given size from `set`; pid 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn read_clock(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel (or the vDSO) writes one timespec into `time`.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(result, 0, "CLOCK_REALTIME and CLOCK_MONOTONIC_RAW exist on every Linux that has io_uring");
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// CLOCK_MONOTONIC_RAW.
pub fn mono() -> MonoTime {
    MonoTime::from_nanos(read_clock(libc::CLOCK_MONOTONIC_RAW))
}

/// Nothing but the reads themselves takes so little.
const TIGHT_NS: i64 = 150;

/// Both clocks at one moment, and how far apart the reads around it were: the first tight RAW, REALTIME, RAW bracket, or the
/// narrowest of three, so that being preempted between two reads does not pass for a step of the host's clock.
pub fn clocks_within() -> (Clocks, Span) {
    let mut best = (i64::MAX, 0, 0);
    for _ in 0..3 {
        let before = read_clock(libc::CLOCK_MONOTONIC_RAW);
        let wall = read_clock(libc::CLOCK_REALTIME);
        let after = read_clock(libc::CLOCK_MONOTONIC_RAW);
        if after - before < best.0 {
            best = (after - before, before + (after - before) / 2, wall);
        }
        if best.0 <= TIGHT_NS {
            break;
        }
    }
    let clocks = Clocks { mono: MonoTime::from_nanos(best.1), wall: KernelTime::from_nanos(best.2) };
    (clocks, Span::from_nanos(best.0))
}

/// Both clocks at one moment.
pub fn clocks() -> Clocks {
    clocks_within().0
}

/// `2026-11-22 11:05:00` in the server's time zone. glibc reads the zone's file once, at the first call.
pub fn local_time(wall: KernelTime) -> [u8; 19] {
    let seconds: libc::time_t = wall.as_nanos().div_euclid(1_000_000_000);
    let mut tm = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: localtime_r writes one tm into `tm`; all-zero is a valid tm when it fails (a year beyond its range).
    let tm = unsafe {
        libc::localtime_r(&seconds, tm.as_mut_ptr());
        tm.assume_init()
    };
    let mut text = *b"0000-00-00 00:00:00";
    let fields = [
        (0, 4, tm.tm_year + 1900),
        (5, 2, tm.tm_mon + 1),
        (8, 2, tm.tm_mday),
        (11, 2, tm.tm_hour),
        (14, 2, tm.tm_min),
        (17, 2, tm.tm_sec),
    ];
    for (start, width, value) in fields {
        let mut rest = value;
        for digit in text[start..start + width].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    text
}

/// The running kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    let mut name = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: uname writes NUL-terminated strings into `name`; all-zero is a valid, empty one.
    let name = unsafe {
        libc::uname(name.as_mut_ptr());
        name.assume_init()
    };
    name.release.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte as u8)).collect()
}

/// Raises the limit of open descriptors to the most that this process may have: each HTTP connection is one.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes one struct into ours, setrlimit reads it.
    let result = unsafe {
        match libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) {
            0 => {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
            }
            failed => failed,
        }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(limit.rlim_cur) }
}

/// What the operating system knows about this process; `None` where it could not be read.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ProcessUse {
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
}

/// This process's own files, opened while files may still be opened: `/metrics` reads them under the sandbox.
#[derive(Debug)]
pub struct ProcessFiles {
    statm: Option<File>,
    descriptors: Option<File>,
}

impl ProcessFiles {
    /// Where procfs is not mounted, the figures stay unknown.
    pub fn open() -> ProcessFiles {
        ProcessFiles { statm: File::open("/proc/self/statm").ok(), descriptors: File::open("/proc/self/fd").ok() }
    }

    /// Reads what this process uses; a few system calls on procfs, which is memory: for `/metrics`, not for every packet.
    pub fn read(&self) -> ProcessUse {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: getrusage and getrlimit write one struct each into ours; all-zero is a valid rusage.
        let (used, usage, limited) = unsafe {
            let used = libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            (used, usage.assume_init(), libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        ProcessUse {
            cpu_seconds: (used == 0).then(|| seconds(usage.ru_utime) + seconds(usage.ru_stime)),
            resident_bytes: self.resident_pages().map(|pages| pages * page_size()),
            // Since 6.2 the folder's size is the number of its entries (fs/proc/fd.c, proc_readfd_count); before, it is 0.
            open_fds: self
                .descriptors
                .as_ref()
                .and_then(|folder| folder.metadata().ok())
                .map(|data| data.len())
                .filter(|&len| len > 0),
            max_fds: (limited == 0).then_some(limit.rlim_cur),
        }
    }

    /// The second number of statm (proc(5)).
    fn resident_pages(&self) -> Option<u64> {
        let mut text = [0; 128];
        let len = self.statm.as_ref()?.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..len]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
    }
}

fn page_size() -> u64 {
    // SAFETY: sysconf reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// The command's process is killed when this thread ends, also when it is killed itself (prctl(2), PR_SET_PDEATHSIG).
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; prctl and sigprocmask are plain system calls,
    // and sigemptyset writes the local set. The signals that we block for ourselves are unblocked for the child.
    unsafe {
        command.pre_exec(|| {
            let mut none = MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
            match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

/// A write beyond RLIMIT_FSIZE fails with EFBIG, instead of ending the process by SIGXFSZ (setrlimit(2)).
pub fn survive_file_size_limit() {
    // SAFETY: ignoring a signal installs no handler of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// SIGINT and SIGTERM (and SIGHUP) as a descriptor to poll, blocked as signals; non-blocking, so that no kernel worker reads it.
pub struct Signals(OwnedFd);

impl Signals {
    pub fn block() -> io::Result<Signals> {
        Signals::of(&[libc::SIGINT, libc::SIGTERM])
    }

    /// The same and SIGHUP, which else ends the program.
    pub fn block_hangup_too() -> io::Result<Signals> {
        Signals::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP])
    }

    fn of(signals: &[libc::c_int]) -> io::Result<Signals> {
        // SAFETY: sigemptyset and sigaddset write the set that they are given; pthread_sigmask reads it; signalfd reads it
        // and returns a new descriptor or -1.
        let fd = unsafe {
            let mut set = MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            for &signal in signals {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            let failed = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            if failed != 0 {
                return Err(io::Error::from_raw_os_error(failed));
            }
            libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd just returned this descriptor and nobody else has it.
        Ok(Signals(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Which signal came, if one did; never blocks.
    pub fn read(&self) -> Option<i32> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the kernel writes at most `size` bytes into `info`; all-zero is a valid one.
        let (read, info) = unsafe {
            let read = libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size);
            (read, info.assume_init())
        };
        (read == size as isize).then_some(info.ssi_signo as i32)
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_advance_together() {
        let (first, second) = (clocks(), clocks());
        assert!(second.mono >= first.mono);
        let drift = (second.wall - first.wall) - (second.mono - first.mono);
        assert!(drift.abs() < Span::from_millis(100), "the brackets tie the two clocks together: {drift:?}");
    }

    #[test]
    fn local_time_is_what_date_prints() {
        let wall = clocks().wall;
        let seconds = wall.as_nanos() / 1_000_000_000;
        let date =
            std::process::Command::new("date").args(["-d", &format!("@{seconds}"), "+%Y-%m-%d %H:%M:%S"]).output();
        assert_eq!(local_time(wall).as_slice(), date.expect("date runs").stdout.trim_ascii());
    }

    #[test]
    fn what_a_process_uses_is_what_its_own_folder_says() {
        let files = ProcessFiles::open();
        let used = files.read();
        let listed = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        // Other tests open descriptors meanwhile, so not to the last one.
        assert!(used.open_fds.unwrap().abs_diff(listed) < 100, "{used:?}, {listed} listed");
        assert!(used.resident_bytes.unwrap() > 1 << 20 && used.cpu_seconds.unwrap() >= 0.0);
        assert!(used.max_fds.unwrap() >= used.open_fds.unwrap());
    }

    #[test]
    fn the_kernel_names_itself() {
        let uname = std::process::Command::new("uname").arg("-r").output().expect("uname runs");
        assert_eq!(kernel_release().as_bytes(), uname.stdout.trim_ascii());
    }
}
