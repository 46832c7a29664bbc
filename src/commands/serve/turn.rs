//! The loop: one thread, one ring, and the six steps of a turn.
//!
//! 1. wait in the ring (or only look: while a socket is behind, HTTP has work left, or always with `--busy-poll`);
//! 2. read the clocks once;
//! 3. feed datagrams in the order of the kernel's stamps; where an older one may be missing, arm, enter once more (`merge`);
//! 4. feed timers: time has passed as far as nothing older can still come;
//! 5. feed HTTP, at most [`TAKEN_SHARE`] completions, [`HTTP_SHARE`] actions and [`HTTP_BYTES`], so that no load of it delays audio;
//! 6. hand over log lines and what is recorded; all that was queued is submitted by the next turn's wait.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;

use super::log::Log;
use super::merge::{Merge, Noted};
use super::record::Recording;
use super::shortage::Shortage;
use super::view::{Drops, Shared, View};
use crate::MICS;
use crate::cycle::Clocks;
use crate::engine::window::Past;
use crate::engine::{Datagram, Engine, Output, Verdict, packet};
use crate::http::{Action, ConnId, PacketEvent, Server};
use crate::report::Totals;
use crate::sys::host;
use crate::sys::notify::Notify;
use crate::sys::ring::{Completion, End, MicDatagram, Ring, RingOptions};
use crate::sys::token::Handle;
use crate::time::{KernelTime, MonoTime, Span};

/// HTTP actions a turn. A send runs inline in the submit, some 5 us each: beside 900 subscribers the packets' loop delay is what it is
/// beside none with 16 and with 48 of them (p99), where 900 in one batch cost 8 ms; and 48 serve a tenth more subscribers (bench,
/// `fanout`).
const HTTP_SHARE: usize = 48;
/// HTTP completions taken in a turn: of what a turn asks for at most, and as much again of new connections and requests, so that no
/// backlog grows. Each costs about a microsecond.
const TAKEN_SHARE: usize = 2 * HTTP_SHARE;
/// Bytes that these may send: a piece of a download costs as much as eight events.
const HTTP_BYTES: usize = 512 << 10;
/// Rounds of arm, enter and reap a turn, at most; what is still uncertain then waits for the next turn.
const ROUNDS: usize = 32;
/// An enter carries out at least this much of what is ready; when it did no more, all is done (io_uring/io_uring.c,
/// `IO_LOCAL_TW_DEFAULT_MAX`, since 6.13).
const ENTER_SHARE: usize = 20;
/// A receive that ended with an error is armed again at once; one that fails again and again only this often.
const ERROR_PAUSE: Span = Span::from_millis(10);
/// How long the accept rests when there is no descriptor left.
const ACCEPT_PAUSE: Span = Span::from_millis(100);
/// From SIGTERM until streams that do not drain are cut.
const SHUTDOWN: Span = Span::from_millis(800);
/// How much longer what waits for the disk may take; the service manager gives five seconds (scripts/micring.service).
const RECORDING_SHUTDOWN: Span = Span::from_millis(3200);
/// For the line that says what a disk did not take.
const LAST_WORDS: Span = Span::from_millis(100);
/// A disk that takes longer to create the first file is waited for no more.
const FIRST_FILE: Span = Span::from_secs(2);

/// The program as HTTP sees it; a macro, since it borrows fields one by one beside the server.
macro_rules! view {
    ($loop:ident, $clocks:expr) => {
        View {
            engine: &mut $loop.engine,
            shared: &mut $loop.shared,
            ring: &$loop.ring,
            past: &$loop.past,
            clocks: $clocks,
        }
    };
}

pub(super) struct Loop {
    ring: Ring,
    engine: Engine,
    server: Server,
    shared: Shared,
    past: Past<Totals>,
    log: Log,
    recording: Option<Recording>,
    merge: Merge<MicDatagram>,
    completions: Vec<Completion>,
    /// The program's own completions of this turn: signals, log, recording. A few.
    own: Vec<Completion>,
    /// HTTP's completions, fed after the microphones, a share of them a turn.
    web: VecDeque<Completion>,
    /// Which connection of the server a connection of the ring is, and back; by slot.
    conn_of: Vec<ConnId>,
    handle_of: Vec<Handle>,
    /// Connections that found no buffer to receive into.
    starved: VecDeque<Handle>,
    /// A listener's event is in the submission queue.
    handing: bool,
    rearm_at: [Option<MonoTime>; MICS],
    failing: [bool; MICS],
    accept_at: Option<MonoTime>,
    shortage: Shortage,
    behind: bool,
    stop_at: Option<MonoTime>,
    warned_unstamped: bool,
    notify: Notify,
    /// Never sleep (`--busy-poll`).
    spin: bool,
}

impl Loop {
    pub fn new(ring: Ring, engine: Engine, server: Server, core: Option<usize>, notify: Notify, spin: bool) -> Loop {
        Loop {
            ring,
            engine,
            server,
            shared: Shared::new(core, host::clocks()),
            past: Past::new(),
            log: Log::default(),
            recording: None,
            merge: Merge::new(usize::from(RingOptions::default().mic_buffers)),
            completions: Vec::with_capacity(8192),
            own: Vec::with_capacity(8),
            web: VecDeque::with_capacity(1024),
            conn_of: Vec::new(),
            handle_of: Vec::new(),
            starved: VecDeque::new(),
            handing: false,
            rearm_at: [None; MICS],
            failing: [false; MICS],
            accept_at: None,
            shortage: Shortage::default(),
            behind: false,
            stop_at: None,
            warned_unstamped: false,
            notify,
            spin,
        }
    }

    /// Enters once, so that a kernel which cannot receive multishot says so before anyone is told that we are ready.
    pub fn probe(&mut self) -> io::Result<()> {
        self.ring.poll()?;
        self.ring.reap(&mut self.completions);
        for completion in &self.completions {
            if let Completion::MicEnded { end: End::Error(errno), .. } = completion {
                return Err(io::Error::from_raw_os_error(*errno));
            }
        }
        Ok(())
    }

    pub fn record(&mut self, recording: Recording) {
        self.recording = Some(recording);
    }

    pub fn say(&mut self, text: impl Display) {
        self.log.line(&text.to_string());
    }

    /// Tells the service manager (sd_notify).
    pub fn notify(&self, state: &str) {
        self.notify.say(state);
    }

    /// Turns until the recording's first file is there, so that nobody is told to be ready who cannot record.
    ///
    /// # Errors
    /// The errno of its creation, or of the ring.
    pub fn open_recording(&mut self) -> Result<(), i32> {
        let give_up = host::mono() + FIRST_FILE;
        while let Some(recording) = &self.recording
            && recording.figures().files == 0
            && host::mono() < give_up
        {
            if let Some(errno) = recording.trouble() {
                return Err(errno);
            }
            self.turn().map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
        }
        Ok(())
    }

    pub fn run(&mut self) -> io::Result<()> {
        while self.turn()? {}
        // The kernel closes what is open with the process, and would end a half answer like a whole one.
        for id in self.server.unfinished() {
            self.ring.reset(self.handle_of[id.slot as usize]);
        }
        if let Some(line) = self.recording.as_ref().and_then(Recording::unwritten) {
            self.log.line(&line);
            let until = host::mono() + LAST_WORDS;
            while !self.log.is_empty() && host::mono() < until {
                if !self.ring.log_busy()
                    && let Some(bytes) = self.log.next()
                {
                    self.ring.write_log(bytes);
                }
                self.ring.wait(Some(until - host::mono()))?;
                self.ring.reap(&mut self.completions);
                for completion in self.completions.drain(..) {
                    if let Completion::LogWritten(result) = completion {
                        self.log.written(result);
                    }
                }
            }
        }
        Ok(())
    }

    /// One turn; `false` when it was the last.
    fn turn(&mut self) -> io::Result<bool> {
        // 1. Wait. Not with an event among what is submitted: when the kernel has it is to be known.
        if self.spin || self.behind || self.handing || self.has_web_work() {
            self.ring.poll()?;
        } else {
            let now = host::mono();
            self.ring.wait(self.deadline().map(|deadline| deadline - now))?;
        }
        self.shared.turns += 1;

        // 2. and 3. Clocks and datagrams; in rounds, while an older datagram may be missing beside a newer one.
        let mut clocks = self.round();
        if std::mem::take(&mut self.handing) {
            self.shared.handed(&mut self.engine, clocks);
        }
        for _ in 1..ROUNDS {
            if !self.behind {
                break;
            }
            self.ring.poll()?;
            clocks = self.round();
        }

        // 4. Timers: for the engine time has passed only as far as all that arrived before is in.
        if !self.behind {
            self.engine.handle_timeout();
        } else if let Some(stamp) = self.merge.complete_until() {
            self.engine.handle_timeout_as_of(stamp);
        }
        self.drain_engine(clocks);
        self.rearm(clocks.mono);
        self.notify.feed(clocks.mono);
        self.shared.observe(clocks, self.log.dropped());
        self.past.observe(clocks.mono, || {
            self.shared.refresh(&self.server, clocks.mono);
            self.shared.totals(&self.engine, &self.ring)
        });

        // 5. Signals, what the disk and standard error took, and HTTP.
        self.feed_own(clocks);
        self.feed_http(clocks);

        // 6. What is recorded, and log lines; the next wait submits.
        if let Some(recording) = &mut self.recording {
            recording.submit(&mut self.ring, &mut self.log, clocks.mono);
            self.shared.recording = Some(recording.figures());
        }
        if !self.ring.log_busy()
            && let Some(bytes) = self.log.next()
        {
            self.ring.write_log(bytes);
        }
        Ok(!self.finished(clocks.mono))
    }

    /// Reaps, and feeds the engine all datagrams whose order is certain.
    fn round(&mut self) -> Clocks {
        self.ring.reap(&mut self.completions);
        let pending = self.ring.has_pending_work();
        let (clocks, bracket) = host::clocks_within();
        let mut heard = [false; MICS];
        let mut others = 0;
        self.engine.begin_turn_read_within(clocks, bracket);
        if let Some(recording) = &mut self.recording {
            recording.observe(&self.engine, self.shared.drops.map(Drops::total), clocks);
        }
        for completion in self.completions.drain(..) {
            match completion {
                Completion::Datagram(datagram) => {
                    heard[datagram.mic] = true;
                    self.failing[datagram.mic] = false;
                    if let Some(dropped) = datagram.dropped {
                        self.shared.drops[datagram.mic].observe(dropped);
                    }
                    self.shared.control_cut += u64::from(datagram.control_cut);
                    match datagram.stamp {
                        Some(stamp) => self.merge.push(datagram.mic, stamp, datagram),
                        None => {
                            self.engine.note_unstamped(datagram.mic);
                            self.shared.unstamped = Some(datagram.mic);
                            if let Some(recording) = &mut self.recording {
                                recording.unstamped(datagram.mic);
                            }
                            self.ring.recycle(datagram);
                        }
                    }
                }
                Completion::MicEnded { mic, end } => {
                    let error = matches!(end, End::Error(_));
                    if error && self.failing[mic] {
                        self.rearm_at[mic] = Some(clocks.mono + ERROR_PAUSE);
                    } else {
                        self.merge.ended(mic);
                    }
                    self.failing[mic] |= error;
                }
                Completion::Signal | Completion::LogWritten(_) | Completion::FileDone { .. } => {
                    others += 1;
                    self.own.push(completion);
                }
                _ => {
                    others += 1;
                    self.web.push_back(completion);
                }
            }
        }
        if let Some(mic) = self.shared.unstamped.take()
            && !self.warned_unstamped
        {
            self.warned_unstamped = true;
            self.log
                .line(&format!("mic {mic}: a datagram came without a kernel timestamp; it was not placed (counted)"));
        }
        let carried_out = others + heard.into_iter().filter(|&heard| heard).count();
        let noted = match (pending, carried_out < ENTER_SHARE) {
            (false, true) => Noted::Nothing,
            (true, true) => Noted::Since,
            (_, false) => Noted::Before,
        };
        self.merge.settle(noted);
        // Of a burst, only the last packet's level is ever asked for.
        let mut newest = [const { None }; MICS];
        while let Some((mic, stamp, datagram)) = self.merge.next() {
            let accepted = self.feed(mic, stamp, &datagram, clocks);
            let done = if accepted { newest[mic].replace(datagram) } else { Some(datagram) };
            done.into_iter().for_each(|datagram| self.ring.recycle(datagram));
        }
        for datagram in newest.into_iter().flatten() {
            self.shared.rms[datagram.mic] = packet::rms(self.ring.payload(&datagram));
            self.ring.recycle(datagram);
        }
        self.behind = self.merge.is_behind();
        self.rearm(clocks.mono);
        clocks
    }

    /// True when it was a packet of the microphone.
    fn feed(&mut self, mic: usize, stamp: KernelTime, datagram: &MicDatagram, clocks: Clocks) -> bool {
        let Some(sender) = datagram.sender else { return false };
        let bytes = self.ring.payload(datagram);
        if let Some(recording) = &mut self.recording {
            recording.datagram(datagram, stamp, sender, bytes, clocks);
        }
        let verdict = self.engine.handle_datagram(&Datagram { mic, stamp, sender, bytes, len: datagram.len });
        let accepted = matches!(verdict, Verdict::Accepted(_));
        if accepted && self.server.wants_packets() {
            let event = PacketEvent { mic, samples: bytes, rms: packet::rms(bytes), arrival: stamp };
            let view = view!(self, clocks);
            self.server.publish_packet(&event, clocks, &view);
        }
        self.drain_engine(clocks);
        accepted
    }

    /// Cycles and log lines that the engine has ready.
    fn drain_engine(&mut self, clocks: Clocks) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Cycle(cycle) => {
                    let view = view!(self, clocks);
                    self.server.publish_cycle(&cycle, clocks, &view);
                    if self.server.wants_cycles() {
                        self.shared.emitted(&cycle);
                    }
                }
                Output::Log(line) if line.starts_with('[') => self.log.verbatim(line),
                Output::Log(line) => self.log.line(&line),
            }
        }
    }

    fn rearm(&mut self, now: MonoTime) {
        for mic in 0..MICS {
            match self.rearm_at[mic] {
                Some(at) if at > now => {}
                _ => {
                    self.rearm_at[mic] = None;
                    self.ring.arm_mic(mic);
                }
            }
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.ring.arm_accept();
        }
        if let Some(line) = self.shortage.over(now) {
            self.log.line(&line);
        }
    }

    fn feed_own(&mut self, clocks: Clocks) {
        let mut own = std::mem::take(&mut self.own);
        for completion in own.drain(..) {
            match completion {
                Completion::Signal => self.signalled(clocks),
                Completion::LogWritten(result) => self.log.written(result),
                Completion::FileDone { op, result } => {
                    if let Some(recording) = &mut self.recording {
                        recording.done(op, result, clocks.mono);
                    }
                }
                other => unreachable!("no other completion is the program's own: {other:?}"),
            }
        }
        self.own = own;
    }

    fn signalled(&mut self, clocks: Clocks) {
        let Some(signal) = self.ring.signal().filter(|_| self.stop_at.is_none()) else { return };
        let name = if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" };
        self.log.line(&format!("{name}: ending streams"));
        self.notify.say("STOPPING=1");
        self.ring.stop_accepting();
        self.server.begin_shutdown();
        self.stop_at = Some(clocks.mono + SHUTDOWN);
        if let Some(recording) = &mut self.recording {
            recording.finish(clocks);
        }
    }

    /// Whether HTTP has something to do before anything completes.
    fn has_web_work(&self) -> bool {
        self.server.has_work() || !self.web.is_empty() || !self.starved.is_empty()
    }

    fn feed_http(&mut self, clocks: Clocks) {
        for _ in 0..TAKEN_SHARE {
            let Some(completion) = self.web.pop_front() else { break };
            self.feed_web(completion, clocks);
        }
        if !self.server.wants_cycles() {
            self.shared.nobody_listens();
        }
        // Where all buffers are out, what fills them waits in `web`.
        for _ in 0..self.ring.free_to_receive().min(HTTP_SHARE) {
            let Some(handle) = self.starved.pop_front() else { break };
            self.ring.receive(handle);
        }
        self.server.handle_timeout(clocks);
        if self.server.has_work() {
            self.shared.refresh(&self.server, clocks.mono);
        }
        let mut bytes = 0;
        for _ in 0..HTTP_SHARE {
            if bytes >= HTTP_BYTES {
                break;
            }
            let mut view = view!(self, clocks);
            let Some(action) = self.server.poll_action(&mut view) else { break };
            match action {
                Action::Recv(id) => self.ring.receive(self.handle_of[id.slot as usize]),
                Action::Send(id, piece) => {
                    bytes += piece.len();
                    self.handing |= self.server.streams_cycles(id);
                    self.ring.send(self.handle_of[id.slot as usize], piece);
                }
                Action::Shutdown(id) => self.ring.shutdown(self.handle_of[id.slot as usize]),
                Action::Close(id) => self.ring.close(self.handle_of[id.slot as usize]),
                Action::Reset(id) => self.ring.reset(self.handle_of[id.slot as usize]),
            }
        }
    }

    fn feed_web(&mut self, completion: Completion, clocks: Clocks) {
        match completion {
            Completion::Accepted { handle, peer } => match self.server.accept(peer, clocks) {
                Some(id) => self.pair(id, handle),
                None => self.ring.close(handle),
            },
            Completion::AcceptEnded(end) => {
                if end == End::NoDescriptors
                    && let Some(line) = self.shortage.met(clocks.mono)
                {
                    self.log.line(&line);
                }
                self.accept_at = Some(clocks.mono + ACCEPT_PAUSE);
            }
            Completion::Received { handle, lease } => {
                self.server.receive(self.conn_of[handle.slot as usize], self.ring.received(&lease), clocks);
                self.ring.recycle_received(lease);
            }
            Completion::Finished(handle) => self.server.receive(self.conn_of[handle.slot as usize], &[], clocks),
            Completion::Starved(handle) => self.starved.push_back(handle),
            Completion::Failed { handle, .. } => {
                self.server.failed(self.conn_of[handle.slot as usize]);
                self.ring.close(handle);
            }
            Completion::Sent { handle, count } => self.server.sent(self.conn_of[handle.slot as usize], count, clocks),
            other => unreachable!("what is not HTTP's was fed before it: {other:?}"),
        }
    }

    fn pair(&mut self, id: ConnId, handle: Handle) {
        let grown = (id.slot.max(handle.slot) + 1) as usize;
        if self.conn_of.len() < grown {
            self.conn_of.resize(grown, id);
            self.handle_of.resize(grown, handle);
        }
        self.conn_of[handle.slot as usize] = id;
        self.handle_of[id.slot as usize] = handle;
    }

    /// When the next turn must begin, if nothing completes before.
    fn deadline(&self) -> Option<MonoTime> {
        let rearm = self.rearm_at.iter().flatten().copied();
        let timers = [
            self.engine.next_timeout(),
            self.server.next_timeout(),
            self.accept_at,
            self.shortage.next_timeout(),
            self.cut_at(),
            self.notify.next_feed(),
            self.recording.as_ref().and_then(Recording::next_timeout),
        ];
        timers.into_iter().flatten().chain(rearm).min()
    }

    /// When the program ends, whatever has not drained by then.
    fn cut_at(&self) -> Option<MonoTime> {
        let recorded = self.recording.as_ref().is_none_or(Recording::is_drained);
        Some(self.stop_at? + if recorded { Span::ZERO } else { RECORDING_SHUTDOWN })
    }

    fn finished(&self, now: MonoTime) -> bool {
        let Some(cut_at) = self.cut_at() else { return false };
        let recorded = self.recording.as_ref().is_none_or(Recording::is_drained);
        let drained = recorded && self.server.is_drained() && self.ring.open_connections() == 0 && self.log.is_empty();
        drained || now >= cut_at
    }
}

#[cfg(test)]
mod tests;
