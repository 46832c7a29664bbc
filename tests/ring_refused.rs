//! A ring that the kernel refuses something: submissions for a while, or to be built to its end.
//! Alone in its file: seccomp filters play the kernel, and one of the tests counts on the number of the next descriptor.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use bytes::Bytes;
use micring::sys::ring::{Completion, Ring, RingOptions};
use micring::sys::tcp;
use micring::sys::udp::StampedSocket;
use micring::time::Span;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

static ALONE: Mutex<()> = Mutex::new(());

/// From now on this thread's `call`s whose argument is this one end so.
fn answer(call: i64, argument: u8, value: u64, with: SeccompAction) {
    let condition =
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value).expect("a condition");
    let rules = BTreeMap::from([(call, vec![SeccompRule::new(vec![condition]).expect("a rule")])]);
    let arch = std::env::consts::ARCH.try_into().expect("an architecture");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, with, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter(&program).expect("seccomp is allowed here");
}

fn sockets() -> [StampedSocket; 3] {
    [0; 3].map(|_| StampedSocket::bind("127.0.0.1:0".parse().unwrap(), 65_536).unwrap())
}

/// io_uring_enter says EAGAIN where the kernel is short of memory, and on older kernels EBUSY where completions wait.
#[test]
fn submissions_that_are_refused_for_now_wait_and_none_is_lost() {
    let _alone = ALONE.lock().unwrap();
    for errno in [libc::EAGAIN, libc::EBUSY] {
        let work = move || {
            let mut ring =
                Ring::new(RingOptions { submissions: 4, completions: 64, ..RingOptions::default() }, sockets())
                    .expect("a ring");
            let listener = tcp::listen("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            ring.listen(listener);
            let mut clients: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
            let (mut handles, mut batch) = (Vec::new(), Vec::new());
            while handles.len() < clients.len() {
                ring.wait(Some(Span::from_millis(50))).unwrap();
                ring.reap(&mut batch);
                handles.extend(batch.drain(..).filter_map(|completion| match completion {
                    Completion::Accepted { id, .. } => Some(id),
                    _ => None,
                }));
            }
            // An enter that only submits has no flags.
            answer(libc::SYS_io_uring_enter, 3, 0, SeccompAction::Errno(errno as u32));
            handles.iter().for_each(|&handle| ring.send(handle, Bytes::from_static(b"hello")));
            let mut sent = 0;
            for _ in 0..200 {
                ring.wait(Some(Span::from_millis(50))).unwrap();
                ring.reap(&mut batch);
                sent += batch.drain(..).filter(|c| matches!(c, Completion::Sent { count: 5, .. })).count();
                if sent == clients.len() {
                    break;
                }
            }
            assert_eq!(sent, clients.len());
            for client in &mut clients {
                let mut five = [0; 5];
                client.read_exact(&mut five).unwrap();
                assert_eq!(&five, b"hello");
            }
        };
        std::thread::spawn(work).join().expect("nothing panics");
    }
}

static RING: AtomicI32 = AtomicI32::new(-1);
static FREED: AtomicU32 = AtomicU32::new(0);
static FREED_TOO_EARLY: AtomicU32 = AtomicU32::new(0);

/// In place of munmap: is the ring still open?
extern "C" fn on_munmap(_: libc::c_int) {
    FREED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: asks for a flag of a descriptor, open or not.
    if unsafe { libc::fcntl(RING.load(Ordering::Relaxed), libc::F_GETFD) } >= 0 {
        FREED_TOO_EARLY.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_ring_that_cannot_be_built_closes_before_its_buffers_are_freed() {
    let _alone = ALONE.lock().unwrap();
    let options = RingOptions::default();
    // As the pool lays them out: name and control areas in front, each buffer at a multiple of 64 bytes.
    let memory = (16 + 28 + 64 + options.max_datagram).next_multiple_of(64) * usize::from(options.socket_buffers);
    let mics = sockets();
    // SAFETY: a handler that only asks for a flag and counts, both of which are allowed in one.
    unsafe { libc::signal(libc::SIGSYS, on_munmap as *const () as libc::sighandler_t) };
    let work = move || {
        let next = std::fs::File::open("/dev/null").unwrap();
        RING.store(next.as_raw_fd(), Ordering::Relaxed);
        drop(next);
        answer(libc::SYS_munmap, 1, memory as u64, SeccompAction::Trap);
        const IORING_REGISTER_RESTRICTIONS: u64 = 11;
        answer(libc::SYS_io_uring_register, 1, IORING_REGISTER_RESTRICTIONS, SeccompAction::Errno(libc::EINVAL as u32));
        Ring::new(options, mics).err().and_then(|error| error.raw_os_error())
    };
    assert_eq!(std::thread::spawn(work).join().unwrap(), Some(libc::EINVAL));
    assert_eq!(FREED.load(Ordering::Relaxed), 3, "the pools of three microphones");
    assert_eq!(FREED_TOO_EARLY.load(Ordering::Relaxed), 0);
}
