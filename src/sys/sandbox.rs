//! What the server gives up once it is set up, so that whoever takes it over has gained little.
//!
//! Four layers, each where the kernel has it, and each told apart in the log and by `micring doctor`: no new privileges
//! (prctl), the file system and new TCP connections closed (Landlock; but for the recording folder), all capabilities
//! dropped, and a seccomp filter down to the calls that the loop makes. The filter does not see what a ring carries out:
//! there the ring's own restrictions are the sandbox (`ring`, `OPCODES`).
//!
//! The filter has two voices. A call that no C library makes on its own (execve, ptrace, socket, ...) means that someone
//! else is at the wheel: the process dies. Any other unlisted call fails with EPERM: a C library newer than this list then
//! costs a figure, not the audio. Both crates under it are plain wrappers: seccompiler assembles the BPF (it is the filter
//! of Firecracker), landlock picks what the running kernel's version offers.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// One layer: its name, and how it holds or why it does not.
pub type Layer = (&'static str, Result<String, String>);

/// What the running loop asks of the kernel, found with strace over a busy run (streams, every route, a shutdown), the
/// C library's allocator and the end of a thread included.
const CALLS: [i64; 35] = [
    libc::SYS_io_uring_enter,
    // The clocks go through the vDSO, but for slow clock sources.
    libc::SYS_clock_gettime,
    // Memory; mmap and mprotect below, without PROT_EXEC.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    // Descriptors that are open already.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    // Sockets that are open already.
    libc::SYS_getsockopt,
    libc::SYS_getpeername,
    libc::SYS_shutdown,
    // Figures of /metrics.
    libc::SYS_getrusage,
    // Threads and their end, panics, aborts.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Never asked for by a library behind our back.
const FATAL: [i64; 20] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_setuid,
    libc::SYS_setresuid,
    libc::SYS_mount,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
];

/// What a server that reads its configuration again has to do then: its file, and sockets for ports that are new in it.
const CONFIG_CALLS: [i64; 5] =
    [libc::SYS_openat, libc::SYS_socket, libc::SYS_bind, libc::SYS_getsockname, libc::SYS_io_uring_register];

/// What stays open.
#[derive(Clone, Copy, Default, Debug)]
pub struct Open<'a> {
    /// Files may be written below these folders only, and through the ring only.
    pub write: &'a [&'a Path],
    /// This file is read again, and UDP sockets are bound then.
    pub config: Option<&'a Path>,
}

/// Confines the calling thread for good. What a layer needed is done even where another could not be had.
pub fn confine(open: Open<'_>) -> Vec<Layer> {
    let text = |result: io::Result<&str>| result.map(str::to_owned).map_err(|error| error.to_string());
    vec![
        ("no new privileges", text(no_new_privileges().map(|()| "set"))),
        ("landlock", close_files(open)),
        ("capabilities", text(drop_capabilities())),
        ("seccomp", filter_calls(open.config.is_some())),
    ]
}

/// Whether these layers can be had here: tried, on a thread that ends with it.
pub fn available() -> Vec<Layer> {
    std::thread::spawn(|| confine(Open::default())).join().expect("a confined thread ends like any other")
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn no_new_privileges() -> io::Result<()> {
    // SAFETY: this prctl takes numbers and changes one flag of the calling thread (prctl(2)).
    checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

fn close_files(open: Open<'_>) -> Result<String, String> {
    let abi = ABI::V7;
    let ruleset = || -> Result<_, Box<dyn std::error::Error>> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            // Not signals: seccomp lets no kill(2) through anyway, and the scope would also keep the kernel from ending `demo`'s
            // child with us (PR_SET_PDEATHSIG).
            .scope(Scope::from_all(abi) & Scope::AbstractUnixSocket)?
            .create()?;
        for folder in open.write {
            let write = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
            let folder = PathFd::new(folder)?;
            ruleset = ruleset.add_rule(PathBeneath::new(folder, write | AccessFs::ReadDir))?;
        }
        if let Some(file) = open.config {
            // Its folder: an editor puts a new file in its place.
            let folder = file.canonicalize()?.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
            ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(folder)?, AccessFs::ReadFile))?;
        }
        Ok(ruleset.restrict_self()?)
    };
    let status = ruleset().map_err(|error| error.to_string())?;
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => format!("{effective_abi:?}"),
        LandlockStatus::NotEnabled => return Err("this kernel has Landlock switched off".into()),
        LandlockStatus::NotImplemented => return Err("this kernel has no Landlock".into()),
    };
    let folders: Vec<String> = open.write.iter().map(|folder| folder.display().to_string()).collect();
    let written = if folders.is_empty() { String::new() } else { format!(" but below {}", folders.join(" and ")) };
    let read = open.config.map(|file| format!(", but the configuration {}", file.display())).unwrap_or_default();
    let closed = format!("no file{written}{read}, no new TCP connection");
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(format!("{version}: {closed}")),
        RulesetStatus::PartiallyEnforced => {
            Ok(format!("{version}, in part: {closed}, as far as this kernel knows how"))
        }
        RulesetStatus::NotEnforced => Err("not enforced".into()),
    }
}

/// Empties the effective, permitted, inheritable, ambient and, where that is allowed, bounding set.
fn drop_capabilities() -> io::Result<&'static str> {
    /// `_LINUX_CAPABILITY_VERSION_3`, include/uapi/linux/capability.h.
    const VERSION_3: u32 = 0x2008_0522;
    let mut bounded = true;
    // As many as the kernel has: beyond the last it says EINVAL.
    for capability in 0..64 {
        // SAFETY: this prctl takes numbers.
        match checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) }) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            // Without CAP_SETPCAP; no new privileges then stand in for it.
            Err(_) => {
                bounded = false;
                break;
            }
        }
    }
    // SAFETY: this prctl takes numbers.
    checked(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0, 0, 0) })?;
    let header = [VERSION_3, 0_u32];
    let none = [0_u32; 6];
    // SAFETY: the kernel reads a header of two words (version, pid 0 = this thread) and, in version 3, two times three
    // words of sets; both are ours and live through the call.
    checked(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) } as libc::c_int)?;
    Ok(if bounded { "all dropped, the bounding set too" } else { "all dropped" })
}

fn filter_calls(config: bool) -> Result<String, String> {
    let rules = allowed(config).map_err(|error| error.to_string())?;
    let count = rules.len();
    let fatal: BTreeMap<i64, Vec<SeccompRule>> =
        FATAL.iter().filter(|call| !rules.contains_key(call)).map(|&call| (call, Vec::new())).collect();
    let deadly = fatal.len();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    install(fatal, SeccompAction::Allow, SeccompAction::KillProcess)
        .and_then(|()| install(rules, refuse, SeccompAction::Allow))
        .map_err(|error| error.to_string())?;
    Ok(format!("{count} calls allowed, {deadly} fatal, the others refused"))
}

/// Of several filters the strictest answer counts (seccomp(2)).
fn install(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<(), seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    let program: BpfProgram = SeccompFilter::new(rules, otherwise, matching, arch)?.try_into()?;
    seccompiler::apply_filter(&program)
}

/// Call to conditions, of which one must hold; none: always allowed.
fn allowed(config: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let when = |argument: u8, operator: SeccompCmpOp, value: u64| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)?;
        SeccompRule::new(vec![condition])
    };
    let not_executable = || when(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0);
    let own_pid = std::process::id().into();
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS.map(|call| (call, Vec::new())).into_iter().collect();
    rules.insert(libc::SYS_mmap, vec![not_executable()?]);
    rules.insert(libc::SYS_mprotect, vec![not_executable()?]);
    // Limits may be read, not set.
    rules.insert(libc::SYS_prlimit64, vec![when(2, SeccompCmpOp::Eq, 0)?]);
    // abort(3) signals itself.
    rules.insert(libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Eq, own_pid)?]);
    // A connection that is given up in the middle of an answer is reset.
    let option = |argument: u8, value: libc::c_int| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value as u64)
    };
    let linger = SeccompRule::new(vec![option(1, libc::SOL_SOCKET)?, option(2, libc::SO_LINGER)?])?;
    // With a configuration that is read again, options of new sockets are set too.
    rules.insert(libc::SYS_setsockopt, if config { Vec::new() } else { vec![linger] });
    if config {
        rules.extend(CONFIG_CALLS.map(|call| (call, Vec::new())));
    }
    // sd_notify, on a connected socket: no address.
    rules.insert(libc::SYS_sendto, vec![when(4, SeccompCmpOp::Eq, 0)?]);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpStream, UdpSocket};

    use super::*;

    /// What `act` gives on a thread that is confined.
    fn confined<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        let run = move || {
            let layers = confine(Open::default());
            assert!(layers.iter().all(|(_, held)| held.is_ok()), "this kernel has all four: {layers:?}");
            act()
        };
        std::thread::spawn(run).join().unwrap()
    }

    /// How a process ends that is confined and then acts.
    fn end_of(act: impl FnOnce()) -> libc::c_int {
        let mut status = 0;
        // SAFETY: the child only confines itself, acts and leaves through _exit; glibc makes its allocator usable after
        // fork. The parent waits for that child and for nothing else.
        unsafe {
            match libc::fork() {
                0 => {
                    confine(Open::default());
                    act();
                    libc::_exit(7)
                }
                child => assert_eq!(libc::waitpid(child, &mut status, 0), child),
            }
        }
        status
    }

    #[test]
    fn files_cannot_be_opened_and_privileges_are_gone() {
        let (opened, limit, status) = confined(|| {
            let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
            // SAFETY: the kernel would read `limit`.
            let limited = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
            (fs::File::open("/etc/passwd").map(drop), limited, fs::read_to_string("/proc/thread-self/status").map(drop))
        });
        assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::EPERM), "the filter knows no open");
        assert_eq!(limit, -1, "limits stand");
        assert!(status.is_err());
    }

    #[test]
    fn memory_can_be_had_but_never_run() {
        let map = |protection| {
            // SAFETY: an anonymous mapping of one page, which nothing points into.
            unsafe {
                libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
            }
        };
        let (plain, executable) = confined(move || {
            (map(libc::PROT_READ) != libc::MAP_FAILED, map(libc::PROT_READ | libc::PROT_EXEC) != libc::MAP_FAILED)
        });
        assert!(plain && !executable);
    }

    #[test]
    fn recordings_are_written_below_their_folder_and_nowhere_else() {
        let folder = std::env::temp_dir().join(format!("micring-sandbox-{}", std::process::id()));
        let elsewhere = folder.with_extension("elsewhere");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        fs::write(elsewhere.join("old"), "old").unwrap();
        let second = folder.with_extension("second");
        fs::create_dir_all(&second).unwrap();
        let (inside, beside, outside) = (folder.clone(), second.clone(), elsewhere.clone());
        // Landlock alone: with the filter, only the ring could open a file.
        let act = move || {
            close_files(Open { write: &[&inside, &beside], config: None }).unwrap();
            let read = fs::read(outside.join("old")).map(drop);
            let written = fs::write(inside.join("a"), "a").and_then(|()| fs::write(beside.join("a"), "a"));
            (written, fs::write(outside.join("b"), "b"), read)
        };
        let (written, beside, read) = std::thread::spawn(act).join().unwrap();
        let kept = fs::read(folder.join("a"));
        fs::remove_dir_all(&folder).unwrap();
        fs::remove_dir_all(&elsewhere).unwrap();
        fs::remove_dir_all(&second).unwrap();
        written.unwrap();
        assert_eq!(kept.unwrap(), b"a");
        assert_eq!(beside.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_call_of_someone_elses_kills_the_process() {
        let killed = |status: libc::c_int| libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS;
        assert!(killed(end_of(|| drop(UdpSocket::bind("127.0.0.1:0")))), "socket");
        assert!(killed(end_of(|| drop(TcpStream::connect("127.0.0.1:1")))), "connect");
        let execute = || {
            let (program, none) = (c"/bin/true".as_ptr(), std::ptr::null());
            // SAFETY: the path is a C string and the two empty vectors are null, which Linux takes.
            unsafe { libc::execve(program, none, none) };
        };
        assert!(killed(end_of(execute)), "execve");
        let nothing = end_of(|| ());
        assert!(
            libc::WIFEXITED(nothing) && libc::WEXITSTATUS(nothing) == 7,
            "and what is allowed goes on: {nothing:#x}"
        );
    }

    #[test]
    fn a_panic_still_says_its_words() {
        let caught = confined(|| std::panic::catch_unwind(|| panic!("in words")).is_err());
        assert!(caught);
    }

    #[test]
    fn no_call_is_both_allowed_and_fatal() {
        let rules = allowed(false).unwrap();
        assert!(FATAL.iter().all(|call| !rules.contains_key(call)));
        assert_eq!(rules.len(), CALLS.len() + 6, "each stands once");
    }

    #[test]
    fn of_a_sockets_options_only_how_it_ends_can_be_changed() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (linger, buffer) = confined(move || {
            let socket = socket2::SockRef::from(&socket);
            (socket.set_linger(Some(std::time::Duration::ZERO)), socket.set_recv_buffer_size(4096))
        });
        assert!(linger.is_ok(), "{linger:?}");
        assert_eq!(buffer.unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
}
