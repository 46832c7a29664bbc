//! The ring: one io_uring that carries three microphones, HTTP, signals, log lines and a recording; one system call a turn.
//!
//! Idea: everything that may wait is a submission; [`Ring::wait`] is the only place where the program sleeps; [`Ring::reap`]
//! turns completions into plain values. Receives of microphones and the accept are *multishot*: one submission, many
//! completions, until the kernel ends it. Every such end has a cause that is counted ([`End`]), and `arm_*` starts it again.
//!
//! The set-up follows what was measured (README, "What the kernel does"): SINGLE_ISSUER and DEFER_TASKRUN (completions
//! appear only when this thread enters for events, never by interrupting it), R_DISABLED with restrictions (the ring can do
//! nothing but what stands in `OPCODES`, and in `file::OPCODES` where it records, whoever takes over the process).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use bytes::Bytes;
use io_uring::register::Restriction;
use io_uring::types::{Fd, RecvMsgOut};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::cmsg;
use super::file::{self, FileOp, FileSlot};
use super::host::Signals;
use super::pool::{BufferPool, Lease};
use super::tcp;
use super::token::{Handle, Token};
use super::udp::MicSocket;
use crate::MICS;
use crate::time::{KernelTime, Span};

/// Room for the sender's address in front of each datagram: a `sockaddr_in6`.
const NAME_AREA: usize = 28;
/// Room for control messages: SCM_TIMESTAMPNS (32 bytes) and SO_RXQ_OVFL (24). Too little would drop the stamp silently.
const CONTROL_AREA: usize = 64;
/// `struct io_uring_recvmsg_out`, then name and control areas, then the payload.
const DATAGRAM_HEAD: usize = 16 + NAME_AREA + CONTROL_AREA;
/// The buffer group of HTTP requests; groups 0..3 are the microphones'.
const HTTP_GROUP: u16 = MICS as u16;
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
    /// Buffers a microphone, a power of two: the most packets of it that one turn can take; what exceeds them waits in the
    /// socket. Few are faster, since each lies on pages of its own: with 32 the ring takes 1.04 times the packets of recvmmsg in a
    /// flood, with 64 0.985, with 256 0.956 (bench, `ingest`); 32 are a third of a second.
    pub mic_buffers: u16,
    /// Longest payload kept whole, in bytes.
    pub max_datagram: usize,
    /// Whether files may be created and removed, see [`Ring::file`].
    pub files: bool,
}

impl Default for RingOptions {
    fn default() -> RingOptions {
        RingOptions { submissions: 4096, completions: 8192, mic_buffers: 32, max_datagram: 8192, files: false }
    }
}

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
pub struct MicDatagram {
    pub mic: usize,
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
    Datagram(MicDatagram),
    MicEnded {
        mic: usize,
        end: End,
    },
    Accepted {
        handle: Handle,
        peer: SocketAddr,
    },
    AcceptEnded(End),
    Received {
        handle: Handle,
        lease: Lease,
    },
    /// The peer will send no more.
    Finished(Handle),
    /// No buffer was free for this receive; ask again.
    Starved(Handle),
    Failed {
        handle: Handle,
        errno: i32,
    },
    Sent {
        handle: Handle,
        count: usize,
    },
    Signal,
    LogWritten(Result<usize, i32>),
    /// A file operation ended, with a count or an errno.
    FileDone {
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
    /// Completions of a connection that was closed before they came.
    pub stale: u64,
}

struct Mic {
    socket: MicSocket,
    pool: BufferPool,
    header: Box<libc::msghdr>,
    armed: bool,
}

struct Conn {
    fd: OwnedFd,
    /// Cancelled; the descriptor closes when the last completion is in.
    closing: bool,
    receiving: bool,
    /// The bytes that the kernel may read until the completion of their send.
    sending: Option<Bytes>,
}

struct Slot {
    generation: u32,
    conn: Option<Conn>,
}

/// See the module's head. Drop order matters and is the field order: the ring closes before the buffers that the kernel
/// may fill, and the messages that it may send, are freed (compio, `driver/iour/mod.rs`).
pub struct Ring {
    ring: IoUring,
    mics: Vec<Mic>,
    http_pool: BufferPool,
    listener: Option<TcpListener>,
    accept_armed: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    signals: Option<Signals>,
    log: Option<Bytes>,
    file: FileSlot,
    no_iowait: bool,
    counters: RingCounters,
}

impl Drop for Ring {
    /// What a kernel worker may still read, inside a write(2) that hangs, is never freed: closing the ring does not wait for it
    /// (io_uring/io_uring.c, `io_ring_exit_work`). Receives and sends only poll, and are cancelled with the ring.
    fn drop(&mut self) {
        if let Some(bytes) = self.log.take() {
            std::mem::forget(bytes);
        }
        if self.file.is_busy() {
            std::mem::forget(std::mem::take(&mut self.file));
        }
    }
}

impl Ring {
    /// Builds the ring on this thread (which must be pinned already: the ring belongs to it) and enables it, restricted.
    ///
    /// # Errors
    /// EPERM or EACCES where io_uring is forbidden, ENOSYS or EINVAL on kernels before 6.1, ENOMEM where memory may not
    /// be locked.
    pub fn new(options: RingOptions, mics: [MicSocket; MICS]) -> io::Result<Ring> {
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
        let submitter = ring.submitter();
        let buffer = DATAGRAM_HEAD + options.max_datagram;
        let mut ports = Vec::with_capacity(MICS);
        for (group, socket) in mics.into_iter().enumerate() {
            let pool = BufferPool::register(&submitter, group as u16, options.mic_buffers, buffer)?;
            // SAFETY: an all-zero msghdr is a valid, empty one.
            let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
            header.msg_namelen = NAME_AREA as _;
            header.msg_controllen = CONTROL_AREA as _;
            ports.push(Mic { socket, pool, header, armed: false });
        }
        let http_pool = BufferPool::register(&submitter, HTTP_GROUP, HTTP_BUFFERS, HTTP_BUFFER)?;
        let files = if options.files { &file::OPCODES[..] } else { &[] };
        let mut rules: Vec<Restriction> = OPCODES.iter().chain(files).map(|&code| Restriction::sqe_op(code)).collect();
        rules.push(Restriction::sqe_flags_allowed(squeue::Flags::BUFFER_SELECT.bits()));
        submitter.register_restrictions(&mut rules)?;
        submitter.register_enable_rings()?;
        let no_iowait = ring.params().is_feature_no_iowait();
        Ok(Ring {
            ring,
            mics: ports,
            http_pool,
            listener: None,
            accept_armed: false,
            slots: Vec::new(),
            free: Vec::new(),
            signals: None,
            log: None,
            file: FileSlot::default(),
            no_iowait,
            counters: RingCounters::default(),
        })
    }

    pub fn counters(&self) -> RingCounters {
        self.counters
    }

    pub fn mic_socket(&self, mic: usize) -> &MicSocket {
        &self.mics[mic].socket
    }

    // --- Submitting -------------------------------------------------------------------------------------------------

    /// # Safety
    /// All that `entry` points to lives until its last completion.
    unsafe fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.pack());
        loop {
            // SAFETY: the caller's promise, passed on.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: hand it over. Completions stay queued; only the submissions move.
            self.counters.sq_full += 1;
            self.counters.enters += 1;
            if let Err(error) = self.ring.submit()
                && error.raw_os_error() != Some(libc::EINTR)
            {
                panic!("io_uring_enter refuses submissions: {error}");
            }
        }
    }

    /// Arms a microphone's multishot receive, unless it is running.
    pub fn arm_mic(&mut self, index: usize) {
        let mic = &mut self.mics[index];
        if mic.armed {
            return;
        }
        mic.armed = true;
        let fd = Fd(mic.socket.as_raw_fd());
        let entry = opcode::RecvMsgMulti::new(fd, &*mic.header, mic.pool.group()).flags(libc::MSG_TRUNC as u32).build();
        // SAFETY: the header is boxed and lives as long as the ring (field order); the kernel only reads it, and writes
        // into buffers of the registered pool.
        unsafe { self.push(entry, Token::Mic(index)) };
    }

    /// Arms every microphone whose multishot is not running.
    pub fn arm_mics(&mut self) {
        (0..MICS).for_each(|mic| self.arm_mic(mic));
    }

    /// Takes the listener and arms its multishot accept.
    pub fn listen(&mut self, listener: TcpListener) {
        self.listener = Some(listener);
        self.arm_accept();
    }

    /// Arms the accept again after [`Completion::AcceptEnded`].
    pub fn arm_accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        if self.accept_armed {
            return;
        }
        self.accept_armed = true;
        let fd = Fd(listener.as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).build();
        // SAFETY: the entry points to no memory.
        unsafe { self.push(entry, Token::Accept) };
    }

    /// Accepts no more; open connections live on.
    pub fn stop_accepting(&mut self) {
        if self.accept_armed {
            self.cancel(Token::Accept);
        }
        self.listener = None;
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

    /// Asks for bytes of a connection; at most one such request at a time.
    pub fn receive(&mut self, handle: Handle) {
        let Some(conn) = self.conn(handle) else { return };
        if conn.receiving {
            return;
        }
        conn.receiving = true;
        let fd = Fd(conn.fd.as_raw_fd());
        let entry = opcode::Recv::new(fd, std::ptr::null_mut(), HTTP_BUFFER as u32)
            .buf_group(HTTP_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        // SAFETY: the kernel writes only into a buffer of the registered pool.
        unsafe { self.push(entry, Token::Recv(handle)) };
    }

    /// Sends bytes; at most one send of a connection is in flight. It may complete short.
    pub fn send(&mut self, handle: Handle, bytes: Bytes) {
        let Some(conn) = self.conn(handle) else { return };
        assert!(conn.sending.is_none(), "one send in flight a connection");
        let fd = Fd(conn.fd.as_raw_fd());
        let entry = opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32).flags(libc::MSG_NOSIGNAL).build();
        conn.sending = Some(bytes);
        // SAFETY: the bytes stay in `conn.sending` until the send's completion is reaped; `Bytes` does not move its content.
        unsafe { self.push(entry, Token::Send(handle)) };
    }

    /// Writes to standard error; at most one write is in flight.
    pub fn write_log(&mut self, bytes: Bytes) {
        assert!(self.log.is_none(), "one log write in flight");
        let fd = Fd(libc::STDERR_FILENO);
        let entry = opcode::Write::new(fd, bytes.as_ptr(), bytes.len() as u32).offset(u64::MAX).build();
        self.log = Some(bytes);
        // SAFETY: the bytes stay in `self.log` until the write's completion is reaped.
        unsafe { self.push(entry, Token::Log) };
    }

    pub fn log_busy(&self) -> bool {
        self.log.is_some()
    }

    /// Starts an operation on the file; at most one is in flight. Needs [`RingOptions::files`].
    pub fn file(&mut self, op: FileOp) {
        let entry = self.file.submit(op);
        // SAFETY: what the entry points to stays in `self.file` until the operation's completion is reaped, and outlives the
        // ring (field order).
        unsafe { self.push(entry, Token::File) };
    }

    pub fn file_busy(&self) -> bool {
        self.file.is_busy()
    }

    fn cancel(&mut self, token: Token) {
        // SAFETY: the entry points to no memory.
        unsafe { self.push(opcode::AsyncCancel::new(token.pack()).build(), Token::Cancel) };
    }

    // --- Connections ------------------------------------------------------------------------------------------------

    fn conn(&mut self, handle: Handle) -> Option<&mut Conn> {
        let slot = self.slots.get_mut(handle.slot as usize)?;
        if slot.generation == handle.generation { slot.conn.as_mut() } else { None }
    }

    fn adopt(&mut self, fd: OwnedFd) -> Handle {
        let conn = Conn { fd, closing: false, receiving: false, sending: None };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, conn: None });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.conn = Some(conn);
        Handle { slot: index, generation: slot.generation }
    }

    /// Ends our side (FIN) once what was sent is out; receiving goes on, so that the peer gets the last response instead
    /// of a reset.
    pub fn shutdown(&mut self, handle: Handle) {
        if let Some(conn) = self.conn(handle) {
            // Fails only where the peer has reset the connection: the next receive says so.
            let _ = tcp::shutdown_write(&conn.fd);
        }
    }

    /// Gives a connection up at once: cancels what is in flight; the descriptor closes with the last completion.
    pub fn close(&mut self, handle: Handle) {
        let Some(conn) = self.conn(handle) else { return };
        if conn.closing {
            return;
        }
        conn.closing = true;
        let (receiving, sending) = (conn.receiving, conn.sending.is_some());
        if receiving {
            self.cancel(Token::Recv(handle));
        }
        if sending {
            self.cancel(Token::Send(handle));
        }
        self.release(handle);
    }

    /// The same with a reset: the peer learns that what it has is not all.
    pub fn reset(&mut self, handle: Handle) {
        if let Some(conn) = self.conn(handle) {
            // Fails only where the peer is gone already, and knows.
            let _ = tcp::reset_on_close(&conn.fd);
        }
        self.close(handle);
    }

    /// Frees the slot of a closing connection that has nothing in flight.
    fn release(&mut self, handle: Handle) {
        let slot = &mut self.slots[handle.slot as usize];
        if let Some(conn) = &slot.conn
            && conn.closing
            && !conn.receiving
            && conn.sending.is_none()
        {
            slot.conn = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(handle.slot);
        }
    }

    /// Connections whose descriptor is open, those being closed included.
    pub fn open_connections(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    // --- Buffers ----------------------------------------------------------------------------------------------------

    /// The payload of a datagram, as much of it as fitted.
    pub fn payload(&self, datagram: &MicDatagram) -> &[u8] {
        let (start, len) = datagram.payload;
        &self.mics[datagram.mic].pool.bytes(&datagram.lease)[start..start + len]
    }

    pub fn recycle(&mut self, datagram: MicDatagram) {
        self.mics[datagram.mic].pool.recycle(datagram.lease);
    }

    /// The bytes behind [`Completion::Received`].
    pub fn received(&self, lease: &Lease) -> &[u8] {
        self.http_pool.bytes(lease)
    }

    pub fn recycle_received(&mut self, lease: Lease) {
        self.http_pool.recycle(lease);
    }

    // --- Waiting and reaping ----------------------------------------------------------------------------------------

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
        match unsafe { self.ring.submitter().enter(queued, want, flags, Some(&arg)) } {
            Ok(_) => Ok(()),
            // ETIME: the timeout passed. EINTR: a signal that is not ours to handle. EBUSY, EAGAIN: completions wait to be
            // reaped first. The loop goes on in each case.
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Whether receives, sends or accepts are ready that the last enter did not carry out (IORING_SQ_TASKRUN): work that
    /// came while it ran. The next enter does.
    pub fn has_pending_work(&mut self) -> bool {
        self.ring.submission().taskrun()
    }

    /// Moves all completions into `out`, as plain values.
    pub fn reap(&mut self, out: &mut Vec<Completion>) {
        while let Some(entry) = { self.ring.completion().next() } {
            self.counters.completions += 1;
            let (result, flags) = (entry.result(), entry.flags());
            match Token::unpack(entry.user_data()) {
                Some(Token::Mic(mic)) => self.reap_mic(mic, result, flags, out),
                Some(Token::Accept) => self.reap_accept(result, flags, out),
                Some(Token::Recv(handle)) => self.reap_recv(handle, result, flags, out),
                Some(Token::Send(handle)) => self.reap_send(handle, result, out),
                Some(Token::Signal) => {
                    out.push(Completion::Signal);
                    if !cqueue::more(flags)
                        && let Some(signals) = self.signals.take()
                    {
                        self.watch(signals);
                    }
                }
                Some(Token::Log) => {
                    self.log = None;
                    out.push(Completion::LogWritten(usize::try_from(result).map_err(|_| -result)));
                }
                Some(Token::File) => {
                    let (op, result) = self.file.complete(result);
                    out.push(Completion::FileDone { op, result });
                }
                Some(Token::Cancel) => {}
                None => panic!("every submission carries a token: {:#x}", entry.user_data()),
            }
        }
    }

    fn reap_mic(&mut self, index: usize, result: i32, flags: u32, out: &mut Vec<Completion>) {
        let more = cqueue::more(flags);
        let mut empty = false;
        if result >= 0
            && let Some(id) = cqueue::buffer_select(flags)
        {
            let mic = &self.mics[index];
            let lease = Lease { id, len: result as u32 };
            let bytes = mic.pool.bytes(&lease);
            let out_header =
                RecvMsgOut::parse(bytes, &mic.header).expect("a buffer holds the header areas: result >= head");
            let control = cmsg::parse(out_header.control_data());
            let payload = out_header.payload_data();
            let datagram = MicDatagram {
                mic: index,
                stamp: control.stamp,
                sender: cmsg::parse_address(out_header.name_data()),
                len: out_header.incoming_payload_len() as usize,
                dropped: control.dropped,
                control_cut: out_header.is_control_data_truncated()
                    || out_header.flags() & libc::MSG_CTRUNC as u32 != 0,
                payload: (bytes.len() - payload.len(), payload.len()),
                lease,
            };
            empty = datagram.len == 0;
            out.push(Completion::Datagram(datagram));
        }
        if !more {
            self.mics[index].armed = false;
            let end = if empty { End::EmptyDatagram } else { self.end_of(result) };
            self.count_end(end);
            out.push(Completion::MicEnded { mic: index, end });
        }
    }

    fn reap_accept(&mut self, result: i32, flags: u32, out: &mut Vec<Completion>) {
        if result >= 0 {
            // SAFETY: the kernel just made this descriptor for us, and nobody else has it.
            let fd = unsafe { OwnedFd::from_raw_fd(result as RawFd) };
            // A peer that is already gone has no address; its descriptor closes here.
            if let Ok(peer) = tcp::peer(&fd) {
                let handle = self.adopt(fd);
                out.push(Completion::Accepted { handle, peer });
            }
        }
        if !cqueue::more(flags) {
            self.accept_armed = false;
            if self.listener.is_some() {
                let end = self.end_of(result);
                self.count_end(end);
                out.push(Completion::AcceptEnded(end));
            }
        }
    }

    fn reap_recv(&mut self, handle: Handle, result: i32, flags: u32, out: &mut Vec<Completion>) {
        let lease = cqueue::buffer_select(flags).map(|id| Lease { id, len: result.max(0) as u32 });
        let (live, closing) = match self.conn(handle) {
            Some(conn) => {
                conn.receiving = false;
                (!conn.closing, conn.closing)
            }
            None => (false, false),
        };
        match lease {
            Some(lease) if live && result > 0 => return out.push(Completion::Received { handle, lease }),
            Some(lease) => self.recycle_received(lease),
            None => {}
        }
        match -result {
            _ if closing => self.release(handle),
            _ if !live => self.counters.stale += 1,
            0 => out.push(Completion::Finished(handle)),
            libc::ENOBUFS => out.push(Completion::Starved(handle)),
            errno => out.push(Completion::Failed { handle, errno }),
        }
    }

    fn reap_send(&mut self, handle: Handle, result: i32, out: &mut Vec<Completion>) {
        let Some(conn) = self.conn(handle) else {
            self.counters.stale += 1;
            return;
        };
        conn.sending = None;
        if conn.closing {
            return self.release(handle);
        }
        out.push(match usize::try_from(result) {
            Ok(count) => Completion::Sent { handle, count },
            Err(_) => Completion::Failed { handle, errno: -result },
        });
    }

    fn end_of(&self, result: i32) -> End {
        match -result {
            libc::ENOBUFS => End::NoBuffers,
            libc::EMFILE | libc::ENFILE => End::NoDescriptors,
            errno if errno > 0 => End::Error(errno),
            _ => End::CompletionsFull,
        }
    }

    fn count_end(&mut self, end: End) {
        let counters = &mut self.counters;
        *match end {
            End::NoBuffers => &mut counters.ended_no_buffers,
            End::CompletionsFull => &mut counters.ended_completions_full,
            End::EmptyDatagram => &mut counters.ended_empty_datagram,
            End::NoDescriptors => &mut counters.ended_no_descriptors,
            End::Error(_) => &mut counters.ended_error,
        } += 1;
    }
}
