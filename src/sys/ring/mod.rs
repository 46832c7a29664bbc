//! The ring: one io_uring that carries UDP sockets, HTTP, signals, log lines and a recording; one system call a turn.
//!
//! Idea: everything that may wait is a submission; [`Ring::wait`] is the only place where the program sleeps; [`Ring::reap`]
//! turns completions into plain values. Receives of UDP sockets and the accept are *multishot*: one submission, many
//! completions, until the kernel ends it. Every such end has a cause that is counted ([`End`]), and `arm_*` starts it again.
//!
//! This file builds the ring, queues submissions and enters; [`sockets`] is what concerns UDP, [`connections`] TCP, [`reap`] the
//! way back. Whose a socket is, the ring does not know.
//!
//! The set-up follows what was measured (docs/how.md, "What the kernel does"): SINGLE_ISSUER and DEFER_TASKRUN (completions
//! appear only when this thread enters for events, never by interrupting it), R_DISABLED with restrictions (the ring can do
//! nothing but what stands in `OPCODES`, and in `file::OPCODES` where it records, whoever takes over the process).

mod connections;
mod outlets;
mod reap;
mod sockets;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use bytes::Bytes;
use io_uring::register::Restriction;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};

use self::connections::LinkSlot;
use self::outlets::Outlet;
pub use self::outlets::OutletId;
pub use self::sockets::SocketId;
use self::sockets::{Mark, UdpSlot};
use super::file::{self, FileOp, FileSlot};
use super::host::Signals;
use super::pool::{BufferPool, Lease};
use super::token::Token;
use super::udp::StampedSocket;
use crate::conn::ConnId;
use crate::time::{KernelTime, Span};

/// Room for the sender's address in front of each datagram: a `sockaddr_in6`.
const NAME_AREA: usize = 28;
/// Room for control messages: SCM_TIMESTAMPNS (32 bytes) and SO_RXQ_OVFL (24). Too little would drop the stamp silently.
const CONTROL_AREA: usize = 64;
/// `struct io_uring_recvmsg_out`, then name and control areas, then the payload.
const DATAGRAM_HEAD: usize = 16 + NAME_AREA + CONTROL_AREA;
/// The buffer group of HTTP requests; the sockets' follow.
const HTTP_GROUP: u16 = 0;
const HTTP_BUFFERS: u16 = 64;
const HTTP_BUFFER: usize = 4096;
/// Enter without counting the wait as iowait (io_uring_enter(2), since 6.15); IORING_ENTER_NO_IOWAIT.
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 8;
const ENTER_NO_IOWAIT: u32 = 128;

/// All that this ring may ever be asked for, but for a file to record into.
const OPCODES: [u8; 7] = [
    opcode::RecvMsgMulti::CODE,
    opcode::AcceptMulti::CODE,
    opcode::Recv::CODE,
    opcode::Send::CODE,
    opcode::PollAdd::CODE,
    opcode::Write::CODE,
    opcode::AsyncCancel::CODE,
];

/// Sizes of the ring; the defaults are the measured ones.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    pub submissions: u32,
    pub completions: u32,
    /// Buffers a UDP socket, a power of two: the most packets of it that one turn can take; what exceeds them waits in the
    /// socket. Few are faster, since each lies on pages of its own: with 32 the ring takes 1.04 times the packets of recvmmsg in a
    /// flood, with 64 0.985, with 256 0.956 (bench, `ingest`); 32 are a third of a second.
    pub socket_buffers: u16,
    /// Longest payload kept whole, in bytes.
    pub max_datagram: usize,
    /// Whether files may be created and removed, see [`Ring::file`].
    pub files: bool,
    /// Whether sockets may be [added](Ring::add_socket) once the ring is enabled.
    pub grows: bool,
}

impl Default for RingOptions {
    fn default() -> RingOptions {
        RingOptions {
            submissions: 4096,
            completions: 8192,
            socket_buffers: 32,
            max_datagram: 8192,
            files: false,
            grows: false,
        }
    }
}

/// Which of the files that are written: a place, small numbers first.
pub type FileId = usize;

/// Why a multishot ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// All provided buffers are in use (ENOBUFS); datagrams wait in the socket.
    NoBuffers,
    /// The completion queue was full; nothing is lost, the kernel keeps what did not fit.
    CompletionsFull,
    /// An empty datagram ends a multishot receive (io_uring/net.c, `io_recv_finish`).
    EmptyDatagram,
    /// No descriptor left (EMFILE, ENFILE).
    NoDescriptors,
    Error(i32),
}

/// One datagram in a provided buffer; give it back with [`Ring::recycle`].
#[derive(Debug)]
pub struct UdpDatagram {
    pub socket: SocketId,
    /// `None` is an error of ours, to be counted, never replaced by another clock.
    pub stamp: Option<KernelTime>,
    pub sender: Option<SocketAddr>,
    /// The datagram's true length, also when it was cut.
    pub len: usize,
    /// SO_RXQ_OVFL: drops of this socket so far, modulo 2^32.
    pub dropped: Option<u32>,
    /// MSG_CTRUNC: our control area was too small.
    pub control_cut: bool,
    payload: (usize, usize),
    lease: Lease,
}

/// What came back from the kernel.
#[derive(Debug)]
pub enum Completion {
    Datagram(UdpDatagram),
    SocketEnded {
        socket: SocketId,
        end: End,
    },
    Accepted {
        id: ConnId,
        peer: SocketAddr,
    },
    AcceptEnded(End),
    Received {
        id: ConnId,
        lease: Lease,
    },
    /// The peer will send no more.
    Finished(ConnId),
    /// No buffer was free for this receive; ask again.
    Starved(ConnId),
    Failed {
        id: ConnId,
        errno: i32,
    },
    Sent {
        id: ConnId,
        count: usize,
    },
    Signal,
    LogWritten(Result<usize, i32>),
    /// All that was ready when [`Ring::mark`] was submitted has been carried out.
    Marked,
    /// A packet of an outlet was sent, or not.
    PacketSent {
        outlet: OutletId,
        packet: Vec<u8>,
        result: Result<usize, i32>,
    },
    /// An operation on the file at this place ended, with a count or an errno.
    FileDone {
        file: FileId,
        op: FileOp,
        result: Result<usize, i32>,
    },
}

/// What the ring itself did, since start.
#[derive(Clone, Copy, Default, Debug)]
pub struct RingCounters {
    /// io_uring_enter calls.
    pub enters: u64,
    pub completions: u64,
    /// Ends of multishots by cause; each was armed again.
    pub ended_no_buffers: u64,
    pub ended_completions_full: u64,
    pub ended_empty_datagram: u64,
    pub ended_no_descriptors: u64,
    pub ended_error: u64,
    /// Submissions that had to wait for room in the submission queue.
    pub sq_full: u64,
    /// Enters after which completions waited in the kernel, since they found their queue full (IORING_SQ_CQ_OVERFLOW). None is
    /// lost, and a multishot that ends of it is counted beside (`ended_completions_full`).
    pub cq_overflows: u64,
    /// Completions that came after their connection had been given up: cancelled, or too late.
    pub stale: u64,
}

/// See the module's head.
///
/// # What may be freed, and when
///
/// Closing a ring is asynchronous: close(2) returns, and a kernel worker cancels later what is in flight
/// (io_uring/io_uring.c, `io_ring_exit_work`). So it is not the order of the fields alone that keeps the kernel out of memory
/// that was freed, but three things together:
///
/// 1. DEFER_TASKRUN: a receive or send that had to wait is carried out by this thread and only inside an enter. No worker
///    carries out a multishot (`io_wq_submit_work`).
/// 2. `enter` takes `&mut self`, and who drops a ring owns it: while it is dropped, no enter is under way.
/// 3. What is left once the ring is closed is ended without being carried out (`io_should_terminate_tw`). Therefore the ring is
///    the first field: it closes before any memory goes, also where [`Ring::new`] fails halfway.
///
/// What a worker may be inside of is not covered by these, and is never freed with the ring: see `drop`.
pub struct Ring {
    ring: IoUring,
    /// By buffer group: HTTP's, then one for each place of a socket.
    pools: Vec<BufferPool>,
    sockets: Vec<UdpSlot>,
    outlets: Vec<Outlet>,
    options: RingOptions,
    mark: Mark,
    listener: Option<TcpListener>,
    accept_armed: bool,
    slots: Vec<LinkSlot>,
    free: Vec<u32>,
    signals: Option<Signals>,
    log: Option<Bytes>,
    /// Each with one operation in flight at most.
    files: Vec<FileSlot>,
    /// Submissions that the kernel refused for now, in order. Of each kind a socket or connection has one at most: so bounded.
    waiting: VecDeque<squeue::Entry>,
    no_iowait: bool,
    counters: RingCounters,
}

impl Drop for Ring {
    /// Log and file are written by kernel workers, inside a write(2) that may hang; closing the ring does not wait for them. The same
    /// goes for a connection's receive or send for which the kernel had no memory to poll (`io_queue_async`). Their memory is
    /// left alone for good: a ring is dropped when the program ends.
    fn drop(&mut self) {
        if let Some(bytes) = self.log.take() {
            std::mem::forget(bytes);
        }
        self.files.iter_mut().filter(|file| file.is_busy()).for_each(|file| std::mem::forget(std::mem::take(file)));
        let packets = self.outlets.iter_mut().flat_map(|outlet| &mut outlet.sending);
        packets.filter_map(Option::take).for_each(std::mem::forget);
        let mut receiving = false;
        for conn in self.slots.iter_mut().filter_map(|slot| slot.conn.as_mut()) {
            receiving |= conn.receiving;
            conn.sending.take().into_iter().for_each(std::mem::forget);
        }
        if receiving {
            self.pools.drain(..1.min(self.pools.len())).for_each(std::mem::forget);
        }
    }
}

impl Ring {
    /// Builds the ring on this thread (which must be pinned already: the ring belongs to it) and enables it, restricted.
    ///
    /// # Errors
    /// EPERM or EACCES where io_uring is forbidden, ENOSYS or EINVAL on kernels before 6.1, ENOMEM where memory may not
    /// be locked.
    pub fn new(options: RingOptions, sockets: impl IntoIterator<Item = StampedSocket>) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(options.completions)
            .setup_r_disabled()
            .dontfork()
            .build(options.submissions)?;
        let no_iowait = ring.params().is_feature_no_iowait();
        // Whole from here on, so that an error below drops its parts in the order of the fields.
        let mut ring = Ring {
            ring,
            pools: Vec::new(),
            sockets: Vec::new(),
            outlets: Vec::new(),
            options,
            mark: Mark::new()?,
            listener: None,
            accept_armed: false,
            slots: Vec::new(),
            free: Vec::new(),
            signals: None,
            log: None,
            files: Vec::new(),
            waiting: VecDeque::new(),
            no_iowait,
            counters: RingCounters::default(),
        };
        ring.pools.push(BufferPool::register(&ring.ring.submitter(), HTTP_GROUP, HTTP_BUFFERS, HTTP_BUFFER)?);
        for socket in sockets {
            ring.add_socket(socket)?;
        }
        ring.enable()?;
        Ok(ring)
    }

    /// Gives the kernel the restrictions, and enables the ring.
    fn enable(&mut self) -> io::Result<()> {
        /// include/uapi/linux/io_uring.h
        const IORING_REGISTER_PBUF_RING: u8 = 22;
        let submitter = self.ring.submitter();
        let files = if self.options.files { &file::OPCODES[..] } else { &[] };
        let mut rules: Vec<Restriction> = OPCODES.iter().chain(files).map(|&code| Restriction::sqe_op(code)).collect();
        if self.options.grows {
            rules.push(Restriction::register_op(IORING_REGISTER_PBUF_RING));
        }
        rules.push(Restriction::sqe_flags_allowed(squeue::Flags::BUFFER_SELECT.bits()));
        submitter.register_restrictions(&mut rules)?;
        submitter.register_enable_rings()
    }

    pub fn counters(&self) -> RingCounters {
        self.counters
    }

    // --- Submitting -------------------------------------------------------------------------------------------------

    /// # Safety
    /// All that `entry` points to lives until its last completion.
    unsafe fn push(&mut self, entry: squeue::Entry, token: Token) {
        self.waiting.push_back(entry.user_data(token.pack()));
        self.queue_waiting();
        if !self.waiting.is_empty() {
            self.counters.sq_full += 1;
            self.hand_over();
        }
    }

    /// Moves what waits into the submission queue, as far as that has room.
    fn queue_waiting(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.waiting.front() {
            // SAFETY: the promise of whoever called `push`, passed on: it holds until the last completion, however long an entry waits.
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.waiting.pop_front();
        }
    }

    /// Hands the queue over until nothing waits, or until the kernel refuses (EAGAIN where it is short of memory, EBUSY on older
    /// kernels where completions wait to be reaped, EINTR): then the rest waits for the next enter. An error that lasts is that
    /// enter's to tell.
    fn hand_over(&mut self) {
        while !self.waiting.is_empty() && matches!(self.submit_once(), Ok(1..)) {
            self.queue_waiting();
        }
    }

    /// Submits what is queued and does nothing else; how many the kernel took.
    fn submit_once(&mut self) -> io::Result<usize> {
        let queued = self.ring.submission().len() as u32;
        self.counters.enters += 1;
        // SAFETY: no argument is passed; what the queued entries point to is promised where they were pushed.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, 0, None) }
    }

    pub fn watch(&mut self, signals: Signals) {
        let entry = opcode::PollAdd::new(Fd(signals.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
        self.signals = Some(signals);
        // SAFETY: the entry points to no memory.
        unsafe { self.push(entry, Token::Signal) };
    }

    /// The signal behind [`Completion::Signal`].
    pub fn signal(&self) -> Option<i32> {
        self.signals.as_ref().and_then(Signals::read)
    }

    /// Writes to standard error; at most one write is in flight.
    pub fn write_log(&mut self, bytes: Bytes) {
        assert!(self.log.is_none(), "one log write in flight");
        let fd = Fd(libc::STDERR_FILENO);
        let entry = opcode::Write::new(fd, bytes.as_ptr(), bytes.len() as u32).offset(u64::MAX).build();
        self.log = Some(bytes);
        // SAFETY: the bytes stay in `self.log` until the write's completion is reaped; where the ring is dropped before, they are never
        // freed (`drop`).
        unsafe { self.push(entry, Token::Log) };
    }

    pub fn log_busy(&self) -> bool {
        self.log.is_some()
    }

    /// Starts an operation on the file at a place; of each at most one is in flight. Needs [`RingOptions::files`].
    pub fn file(&mut self, file: FileId, op: FileOp) {
        if self.files.len() <= file {
            self.files.resize_with(file + 1, FileSlot::default);
        }
        let entry = self.files[file].submit(op);
        // SAFETY: what the entry points to stays in the slot until the operation's completion is reaped, on the heap, which moving the slot
        // does not move; where the ring is dropped before, it is never freed (`drop`).
        unsafe { self.push(entry, Token::File(file)) };
    }

    fn cancel(&mut self, token: Token) {
        // SAFETY: the entry points to no memory.
        unsafe { self.push(opcode::AsyncCancel::new(token.pack()).build(), Token::Cancel) };
    }

    // --- Buffers ----------------------------------------------------------------------------------------------------

    /// The bytes behind [`Completion::Received`].
    pub fn received(&self, lease: &Lease) -> &[u8] {
        self.pools[usize::from(HTTP_GROUP)].bytes(lease)
    }

    pub fn recycle_received(&mut self, lease: Lease) {
        self.pools[usize::from(HTTP_GROUP)].recycle(lease);
    }

    /// Buffers that connections can receive into at present.
    pub fn free_to_receive(&self) -> usize {
        self.pools[usize::from(HTTP_GROUP)].free()
    }

    // --- Waiting ----------------------------------------------------------------------------------------

    /// Submits what is queued and sleeps until something completes or `timeout` has passed (`None`: no limit).
    pub fn wait(&mut self, timeout: Option<Span>) -> io::Result<()> {
        self.enter(1, timeout)
    }

    /// Submits what is queued and collects what has completed, without sleeping.
    pub fn poll(&mut self) -> io::Result<()> {
        self.enter(0, None)
    }

    fn enter(&mut self, want: u32, timeout: Option<Span>) -> io::Result<()> {
        /// `struct io_uring_getevents_arg`, include/uapi/linux/io_uring.h.
        #[repr(C)]
        struct GetEventsArg {
            sigmask: u64,
            sigmask_size: u32,
            min_wait_us: u32,
            timespec: u64,
        }
        self.queue_waiting();
        self.hand_over();
        // What the kernel refuses for now is tried again at once, once completions have been reaped.
        let want = if self.waiting.is_empty() { want } else { 0 };
        let time = timeout.map(|span| {
            let ns = span.as_nanos().max(0);
            libc::timespec { tv_sec: ns / 1_000_000_000, tv_nsec: ns % 1_000_000_000 }
        });
        let timespec = time.as_ref().map_or(0, |time| std::ptr::from_ref(time) as u64);
        let arg = GetEventsArg { sigmask: 0, sigmask_size: 0, min_wait_us: 0, timespec };
        let flags = ENTER_GETEVENTS | ENTER_EXT_ARG | if self.no_iowait { ENTER_NO_IOWAIT } else { 0 };
        let queued = self.ring.submission().len() as u32;
        self.counters.enters += 1;
        // SAFETY: the argument has the layout that EXT_ARG asks for, and it and the timespec live through the call; the
        // kernel only reads them. What the queued entries point to is promised where they were pushed.
        let entered = unsafe { self.ring.submitter().enter(queued, want, flags, Some(&arg)) };
        self.counters.cq_overflows += u64::from(self.ring.submission().cq_overflow());
        tolerate(entered.map(drop))
    }

    /// Whether receives, sends or accepts are ready that the last enter did not carry out (IORING_SQ_TASKRUN): work that
    /// came while it ran. The next enter does.
    pub fn has_pending_work(&mut self) -> bool {
        self.ring.submission().taskrun()
    }
}

/// ETIME: the timeout passed. EINTR: a signal that is not ours to handle. EBUSY, EAGAIN: completions wait to be reaped
/// first, or memory is short for the moment. The loop goes on in each case.
fn tolerate(entered: io::Result<()>) -> io::Result<()> {
    match entered {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {
            Ok(())
        }
        other => other,
    }
}
