//! The loop: one thread, one ring, and the six steps of a turn.
//!
//! 1. wait in the ring (or only look: while a socket is behind, HTTP has work left, or always with `--busy-poll`);
//! 2. read the clocks once;
//! 3. feed datagrams in the order of the kernel's stamps; where an older one may be missing, arm, enter once more (`merge`);
//! 4. feed timers: for each array time has passed as far as nothing older can still come to it;
//! 5. feed HTTP, at most a share of it (`web`), so that no load of it delays audio, and listen, a few slices at most (`ears`);
//! 6. hand over log lines, what is recorded and what is saved; all that was queued is submitted by the next turn's wait.
//!
//! The work of a turn is in proportion to what came: arrays that nothing happened to are not looked at. What they wait for
//! stands in one ordered set of timers.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Display;
use std::io;

use super::configured::{Configured, Whose};
use super::ears::Ears;
use super::inlet::InletId;
use super::log::Log;
use super::order::Order;
use super::plant::Plant;
use super::recording::Recording;
use super::rtp::RtpOut;
use super::saving::Saves;
use super::web::Web;
use crate::array::ArrayId;
use crate::commands::Failure;
use crate::cycle::Clocks;
use crate::engine::hostclock::HostClock;
use crate::engine::intake::packet;
use crate::engine::{Datagram, Output, Verdict};
use crate::http::{PacketEvent, Server};
use crate::out::rtp::RtpSpec;
use crate::sys::host;
use crate::sys::notify::Notify;
use crate::sys::ring::{Completion, End, Ring, SocketId, UdpDatagram};
use crate::sys::udp::OutSocket;
use crate::time::{KernelTime, MonoTime, Span};

/// Rounds of arm, enter and reap a turn, at most; what is still uncertain then waits for the next turn.
const ROUNDS: usize = 32;
/// A receive that ended with an error is armed again at once; one that fails again and again only this often.
const ERROR_PAUSE: Span = Span::from_millis(10);
/// From SIGTERM until streams that do not drain are cut.
const SHUTDOWN: Span = Span::from_millis(800);
/// How much longer what waits for the disk may take; the service manager gives five seconds (scripts/micring.service).
const RECORDING_SHUTDOWN: Span = Span::from_millis(3200);
/// For the line that says what a disk did not take.
const LAST_WORDS: Span = Span::from_millis(100);
/// Arrays whose notes are measured at the end of a turn, at most: some ten microseconds each.
const MEASURED: usize = 8;
/// A disk that takes longer to create the first file is waited for no more.
const FIRST_FILE: Span = Span::from_secs(2);

/// What is due at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// An array wants to be looked after.
    Array(ArrayId),
    /// A socket whose receive failed is armed again.
    Socket(SocketId),
    /// An array that an address is may have been silent for long.
    Forget(ArrayId),
}

pub(super) struct Loop {
    pub(super) ring: Ring,
    pub(super) host: HostClock,
    order: Order,
    pub(super) plant: Plant,
    /// Whose a socket is: the inlet, and which of its ports.
    pub(super) owner: Vec<Option<(InletId, usize)>>,
    /// Inlets to be settled in this round: something came, or they are behind.
    pub(super) listed: Vec<InletId>,
    /// Arrays that something came to, or that were due, in this turn.
    touched: Vec<ArrayId>,
    /// Arrays of which much is noted that is to be measured: they take turns.
    noted: VecDeque<ArrayId>,
    /// Room for the samples of a datagram that has to be decoded.
    decoded: Vec<u8>,
    pub(super) timers: BTreeSet<(MonoTime, Timer)>,
    /// Sockets whose receive has ended.
    unarmed: Vec<SocketId>,
    pub(super) server: Server,
    web: Web,
    pub(super) ears: Ears,
    pub(super) log: Log,
    pub(super) recording: Option<Recording>,
    pub(super) saves: Option<Saves>,
    /// The configuration's entries, and how it is read again.
    pub(super) configured: Configured,
    completions: Vec<Completion>,
    /// The program's own completions of this turn: signals, log, recording. A few.
    own: Vec<Completion>,
    stop_at: Option<MonoTime>,
    notify: Notify,
    /// Never sleep (`--busy-poll`).
    spin: bool,
}

impl Loop {
    pub fn new(ring: Ring, server: Server, core: Option<usize>, notify: Notify, spin: bool) -> Loop {
        Loop {
            ring,
            host: HostClock::new(),
            order: Order::default(),
            plant: Plant::new(core, host::clocks()),
            owner: Vec::new(),
            listed: Vec::new(),
            touched: Vec::new(),
            noted: VecDeque::new(),
            decoded: Vec::new(),
            timers: BTreeSet::new(),
            unarmed: Vec::new(),
            server,
            web: Web::default(),
            ears: Ears::default(),
            log: Log::default(),
            recording: None,
            saves: None,
            configured: Configured::default(),
            completions: Vec::with_capacity(8192),
            own: Vec::with_capacity(8),
            stop_at: None,
            notify,
            spin,
        }
    }

    /// Enters once, so that a kernel which cannot receive multishot says so before anyone is told that we are ready.
    pub fn probe(&mut self) -> io::Result<()> {
        self.ring.poll()?;
        self.ring.reap(&mut self.completions);
        for completion in &self.completions {
            if let Completion::SocketEnded { end: End::Error(errno), .. } = completion {
                return Err(io::Error::from_raw_os_error(*errno));
            }
        }
        Ok(())
    }

    pub fn record(&mut self, recording: Recording) {
        self.recording = Some(recording);
    }

    /// Arrays with this destination are sent there.
    pub fn send_to(&mut self, spec: RtpSpec, socket: OutSocket) {
        let outlet = self.ring.add_outlet(socket);
        self.plant.rtp.push(RtpOut::new(spec, outlet));
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
        while let Some(recording) = &mut self.recording
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

    /// Turns until it is known that audio can be saved, for the same reason.
    ///
    /// # Errors
    /// It cannot, or the ring failed.
    pub fn open_saves(&mut self) -> Result<(), Failure> {
        let give_up = host::mono() + FIRST_FILE;
        // The first turn would wait for nothing.
        if let Some(saves) = &mut self.saves {
            saves.submit(&mut self.plant.arrays, &mut self.ring, &mut self.log, host::mono());
        }
        while let Some(saves) = &self.saves
            && host::mono() < give_up
        {
            match saves.tried() {
                None => drop(self.turn().map_err(|error| Failure::new(format_args!("the ring failed: {error}")))?),
                Some(tried) => return tried.map_err(|errno| saves.failure(errno)),
            }
        }
        Ok(())
    }

    pub fn run(&mut self) -> io::Result<()> {
        while self.turn()? {}
        // The kernel closes what is open with the process, and would end a half answer like a whole one.
        for id in self.server.unfinished() {
            self.web.reset(id, &mut self.ring);
        }
        let recorded = self.recording.as_ref().and_then(Recording::unwritten);
        let unwritten: Vec<String> = self.saves.iter().flat_map(Saves::unwritten).chain(recorded).collect();
        if !unwritten.is_empty() {
            unwritten.iter().for_each(|line| self.log.line(line));
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
        if self.spin || self.is_behind() || self.web.is_handing() || self.has_work() {
            self.ring.poll()?;
        } else {
            let now = host::mono();
            self.ring.wait(self.deadline().map(|deadline| deadline - now))?;
        }
        self.plant.shared.turns += 1;

        // 2. and 3. Clocks and datagrams; in rounds, while an older datagram may be missing beside a newer one.
        let mut clocks = self.round();
        self.web.handed(&mut self.plant.arrays, clocks);
        for _ in 1..ROUNDS {
            if !self.is_behind() || self.configured.is_waiting(self.plant.shared.turns) {
                break;
            }
            self.ring.poll()?;
            clocks = self.round();
        }

        // 4. Timers: for an engine time has passed only as far as all that arrived before is in.
        self.plant.shared.observe(clocks, self.log.dropped());
        self.feed_timers(clocks);
        self.notify.feed(clocks.mono);

        // 5. Signals, what the disk and standard error took, and HTTP.
        self.feed_own(clocks);
        self.web.feed(&mut self.server, &mut self.ring, &mut self.plant, &mut self.log, clocks);

        // What the sound tells, a little at a time.
        if let Some(id) = self.ears.listen(&mut self.plant.arrays, clocks.mono) {
            self.drain(id, clocks);
        }

        // 6. What is sent as RTP, what is recorded and saved, and log lines; the next wait submits.
        for out in &mut self.plant.rtp {
            out.submit(&mut self.ring);
            out.take_line().into_iter().for_each(|line| self.log.line(&line));
        }
        if let Some(recording) = &mut self.recording {
            recording.submit(&mut self.ring, &mut self.log, clocks.mono);
            self.plant.shared.recording.get_or_insert_default().copy(recording.figures());
        }
        if let Some(saves) = &mut self.saves {
            saves.submit(&mut self.plant.arrays, &mut self.ring, &mut self.log, clocks.mono);
        }
        if !self.ring.log_busy()
            && let Some(bytes) = self.log.next()
        {
            self.ring.write_log(bytes);
        }
        self.measure_notes();
        Ok(!self.finished(clocks.mono))
    }

    /// What was noted of some arrays is measured. Where an event waits for the next enter, of one: it comes at once then.
    fn measure_notes(&mut self) {
        let most = if self.web.is_handing() { 1 } else { MEASURED };
        for _ in 0..most.min(self.noted.len()) {
            // One that an address was may have been forgotten.
            let array = self.noted.pop_front().and_then(|id| self.plant.arrays.get_mut(id));
            if let Some(array) = array {
                array.noted = false;
                array.engine.meter().measure();
            }
        }
    }

    /// Whether HTTP or the sound has something to do that needs nothing to come first.
    fn has_work(&self) -> bool {
        self.web.has_work(&self.server) || self.ears.has_work()
    }

    /// Whether an older datagram may be missing somewhere.
    fn is_behind(&self) -> bool {
        !self.listed.is_empty()
    }

    /// Reaps, and feeds the engines all datagrams whose order is certain.
    fn round(&mut self) -> Clocks {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.reap(&mut completions);
        let quiet = !self.ring.has_pending_work();
        let (clocks, bracket) = host::clocks_within();
        let steps = self.host.steps();
        self.host.turn(clocks, bracket);
        if self.host.steps() > steps {
            self.log.line("the host's realtime clock stepped; audio is not affected");
        }
        if let Some(recording) = &mut self.recording {
            recording.observe(&self.host, &self.plant.inlets, clocks);
        }
        let mut marked = false;
        for completion in completions.drain(..) {
            match completion {
                Completion::Datagram(datagram) => self.received(datagram),
                Completion::SocketEnded { socket, end } => self.socket_ended(socket, end, clocks.mono),
                Completion::Marked => marked = true,
                Completion::Signal | Completion::LogWritten(_) | Completion::FileDone { .. } => {
                    self.own.push(completion)
                }
                Completion::PacketSent { outlet, packet, result } => {
                    self.plant.rtp[outlet].sent(packet, result, clocks.mono);
                }
                _ => self.web.push(completion),
            }
        }
        self.completions = completions;
        self.order.entered(quiet, marked);
        let mut listed = std::mem::take(&mut self.listed);
        listed.retain(|&inlet| self.settle(inlet, clocks));
        if !quiet && !listed.is_empty() && self.order.wants_mark() && self.order.set_mark() {
            self.ring.mark();
        }
        self.listed = listed;
        self.arm();
        clocks
    }

    fn received(&mut self, datagram: UdpDatagram) {
        let Some((id, port)) = self.owner[datagram.socket] else { return self.ring.recycle(datagram) };
        self.plant.shared.control_cut += u64::from(datagram.control_cut);
        let inlet = self.plant.inlet_mut(id);
        if let Some(dropped) = datagram.dropped {
            inlet.ports[port].drops.observe(dropped);
        }
        match datagram.stamp {
            Some(stamp) => {
                // The round that this enter's completions are of is only about to end.
                inlet.push(port, self.order.round() + 1, stamp, datagram);
                self.list(id);
            }
            None => self.unstamped(id, port, datagram),
        }
    }

    /// It cannot be placed.
    fn unstamped(&mut self, inlet: InletId, port: usize, datagram: UdpDatagram) {
        if let Some(recording) = &mut self.recording {
            recording.unstamped(datagram.socket);
        }
        let whose = datagram.sender.and_then(|sender| self.plant.inlet(inlet).array_of(sender));
        self.ring.recycle(datagram);
        let Some(id) = whose else { return };
        let array = self.plant.arrays.of_mut(id);
        array.engine.note_unstamped(port);
        if !std::mem::replace(&mut array.warned_unstamped, true) {
            let whose = self.plant.arrays.prefix(id);
            let line =
                format!("{whose}mic {port}: a datagram came without a kernel timestamp; it was not placed (counted)");
            self.log.line(&line);
        }
    }

    fn socket_ended(&mut self, socket: SocketId, end: End, now: MonoTime) {
        let Some((id, port)) = self.owner[socket] else { return };
        let inlet = self.plant.inlet_mut(id);
        let error = matches!(end, End::Error(_));
        let again = error && inlet.ports[port].failing;
        inlet.ports[port].failing |= error;
        if again {
            self.timers.insert((now + ERROR_PAUSE, Timer::Socket(socket)));
            return;
        }
        self.unarmed.push(socket);
        inlet.ended(port);
        self.list(id);
    }

    /// It is settled in this round.
    fn list(&mut self, id: InletId) {
        if !std::mem::replace(&mut self.plant.inlet_mut(id).listed, true) {
            self.listed.push(id);
        }
    }

    /// Feeds what may leave an inlet; whether it is behind.
    fn settle(&mut self, id: InletId, clocks: Clocks) -> bool {
        self.plant.inlet_mut(id).settle(&self.order);
        while let Some(sender) = self.plant.inlet(id).next_sender() {
            let array = match self.whose(id, sender, clocks.mono) {
                Whose::Array(array) => Some(array),
                Whose::Nobodys => None,
                // It waits, and all that is newer with it.
                Whose::NextTurn => break,
            };
            let Some((port, stamp, datagram)) = self.plant.inlet_mut(id).next() else { break };
            let accepted = array.is_some_and(|array| self.feed(array, port, stamp, &datagram, clocks));
            match array.filter(|_| accepted) {
                Some(array) => self.keep(id, port, array, datagram),
                None => self.ring.recycle(datagram),
            }
        }
        for port in 0..self.plant.inlet(id).ports.len() {
            let newest = self.plant.inlet_mut(id).ports[port].newest.take();
            self.note_level(port, newest);
        }
        let inlet = self.plant.inlet_mut(id);
        inlet.listed = inlet.is_behind();
        let idle = |ring: &Ring| inlet.ports.iter().all(|port| ring.all_free(port.socket));
        debug_assert!(inlet.listed || idle(&self.ring), "a buffer that nobody holds does not go back by itself");
        inlet.listed
    }

    /// Of each source the newest packet of a round is kept, for its level; the buffers of the others go back.
    fn keep(&mut self, inlet: InletId, port: usize, array: ArrayId, datagram: UdpDatagram) {
        match self.plant.inlet_mut(inlet).ports[port].newest.replace((array, datagram)) {
            Some((same, older)) if same == array => self.ring.recycle(older),
            other => self.note_level(port, other),
        }
    }

    /// The level of a packet that is the newest of its source.
    fn note_level(&mut self, source: usize, newest: Option<(ArrayId, UdpDatagram)>) {
        if let Some((array, datagram)) = newest {
            let array = self.plant.arrays.of_mut(array);
            let samples = array.engine.samples_of(source, self.ring.payload(&datagram), &mut self.decoded);
            if !samples.is_empty() {
                array.rms[source] = packet::rms(samples);
            }
            self.ring.recycle(datagram);
        }
    }

    /// True when it was a packet of that source.
    fn feed(&mut self, id: ArrayId, source: usize, stamp: KernelTime, datagram: &UdpDatagram, clocks: Clocks) -> bool {
        let Some(sender) = datagram.sender else { return false };
        let bytes = self.ring.payload(datagram);
        if let Some(recording) = &mut self.recording {
            recording.datagram(datagram, stamp, sender, bytes, clocks);
        }
        let array = self.plant.arrays.of_mut(id);
        array.begin(self.order.round(), &self.host);
        let verdict = array.engine.handle_datagram(&Datagram { mic: source, stamp, sender, bytes, len: datagram.len });
        let accepted = matches!(verdict, Verdict::Accepted(_));
        if accepted && self.server.wants_packets(id) {
            let samples = array.engine.samples_of(source, bytes, &mut self.decoded);
            let of = array.engine.layout().channels_of(source);
            let (mic, channels) = (of.start, of.len());
            let event = PacketEvent { mic, channels, samples, rms: packet::rms(samples), arrival: stamp };
            let mut view = self.plant.view(&self.ring, clocks);
            self.server.publish_packet(id, &event, clocks, view.at(id));
        }
        self.touch(id);
        self.drain(id, clocks);
        accepted
    }

    /// It is looked after at the end of the turn.
    fn touch(&mut self, id: ArrayId) {
        let array = self.plant.arrays.of_mut(id);
        if !std::mem::replace(&mut array.touched, true) {
            self.touched.push(id);
        }
    }

    /// Cycles and log lines that an engine has ready.
    fn drain(&mut self, id: ArrayId, clocks: Clocks) {
        while let Some(output) = self.plant.arrays.of_mut(id).engine.poll_output() {
            match output {
                Output::Cycle(cycle) => {
                    let mut view = self.plant.view(&self.ring, clocks);
                    self.server.publish_cycle(id, &cycle, clocks, view.at(id));
                    if self.server.wants_cycles(id) {
                        self.web.emitted(id, &cycle);
                    }
                    let Plant { arrays, rtp, .. } = &mut self.plant;
                    let array = arrays.of(id);
                    if let Some(place) = array.rtp {
                        rtp[place].cycle(&cycle, array.engine.history(), clocks.mono);
                    }
                    if let (Some(saves), Some(place)) = (&mut self.saves, array.save) {
                        saves.cycle(place, &array.engine, clocks.mono);
                    }
                }
                Output::Log(line) => {
                    let whose = self.plant.arrays.prefix(id);
                    // The old console line, which people grep for, goes out as it is.
                    match line.starts_with('[') {
                        true if whose.is_empty() => self.log.verbatim(line),
                        true => self.log.verbatim(format!("{line} ({})", self.plant.arrays.of(id).name)),
                        false => self.log.line(&format!("{whose}{line}")),
                    }
                }
            }
        }
    }

    /// What is due, and what datagrams have left to do.
    fn feed_timers(&mut self, clocks: Clocks) {
        let fed = self.touched.len();
        while let Some(&(due, timer)) = self.timers.first().filter(|(due, _)| *due <= clocks.mono) {
            self.timers.remove(&(due, timer));
            match timer {
                Timer::Array(id) => {
                    self.plant.arrays.of_mut(id).timer = None;
                    self.touch(id);
                }
                Timer::Socket(socket) => self.unarmed.push(socket),
                Timer::Forget(id) => self.forget_silent(id, clocks.mono),
            }
        }
        self.arm();
        let mut touched = std::mem::take(&mut self.touched);
        for (place, &id) in touched.iter().enumerate() {
            self.look_after(id, place < fed, clocks);
        }
        touched.clear();
        self.touched = touched;
    }

    fn look_after(&mut self, id: ArrayId, fed: bool, clocks: Clocks) {
        // One that an address was may just have been forgotten.
        let Some(array) = self.plant.arrays.get_mut(id) else { return };
        array.touched = false;
        array.begin(self.order.round(), &self.host);
        let inlet = self.plant.inlets[array.inlet].as_ref().expect("an array's inlet lives as long as it");
        if !inlet.listed {
            array.engine.handle_timeout();
        } else if let Some(stamp) = inlet.complete_until() {
            array.engine.handle_timeout_as_of(stamp);
        }
        self.drain(id, clocks);
        self.ears.add(id, &mut self.plant.arrays);
        let array = self.plant.arrays.of_mut(id);
        if array.engine.meter().should_measure() && !std::mem::replace(&mut array.noted, true) {
            self.noted.push_back(id);
        }
        let inlet = self.plant.inlets[array.inlet].as_ref().expect("an array's inlet lives as long as it");
        let (shared, ring, server) = (&self.plant.shared, &self.ring, &self.server);
        let saving = array.saving;
        array.observe(clocks.mono, fed, |copy, engine, sound| {
            shared.copy_totals(copy, engine, inlet, ring.counters(), &server.figures(id), sound);
            copy.saving = saving;
        });
        let due = array.next_timeout();
        if array.timer != due {
            let before = std::mem::replace(&mut array.timer, due);
            if let Some(before) = before {
                self.timers.remove(&(before, Timer::Array(id)));
            }
            if let Some(due) = due {
                self.timers.insert((due, Timer::Array(id)));
            }
        }
    }

    /// Receives that ended begin again.
    fn arm(&mut self) {
        for socket in self.unarmed.drain(..) {
            self.ring.arm_socket(socket);
        }
    }

    fn feed_own(&mut self, clocks: Clocks) {
        let mut own = std::mem::take(&mut self.own);
        for completion in own.drain(..) {
            match completion {
                Completion::Signal => self.signalled(clocks),
                Completion::LogWritten(result) => self.log.written(result),
                Completion::FileDone { file, op, result } if Saves::has(file) => {
                    if let Some(saves) = &mut self.saves {
                        saves.done(file, op, result, clocks.mono);
                    }
                }
                Completion::FileDone { op, result, .. } => {
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
        if signal == libc::SIGHUP {
            return self.read_again();
        }
        let name = if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" };
        self.log.line(&format!("{name}: ending streams"));
        self.notify.say("STOPPING=1");
        self.ring.stop_accepting();
        self.server.begin_shutdown();
        self.stop_at = Some(clocks.mono + SHUTDOWN);
        if let Some(recording) = &mut self.recording {
            recording.finish(clocks);
        }
        if let Some(saves) = &mut self.saves {
            saves.finish(&self.plant.arrays, clocks.mono);
        }
    }

    /// When the next turn must begin, if nothing completes before.
    fn deadline(&self) -> Option<MonoTime> {
        let timers = [
            self.timers.first().map(|&(due, _)| due),
            self.server.next_timeout(),
            self.web.next_timeout(),
            self.ears.next_timeout(),
            self.cut_at(),
            self.notify.next_feed(),
            self.recording.as_ref().and_then(Recording::next_timeout),
            self.saves.as_ref().and_then(Saves::next_timeout),
        ];
        timers.into_iter().flatten().min()
    }

    /// When the program ends, whatever has not drained by then.
    fn cut_at(&self) -> Option<MonoTime> {
        Some(self.stop_at? + if self.is_written() { Span::ZERO } else { RECORDING_SHUTDOWN })
    }

    /// Whether the disk has all that is recorded and saved.
    fn is_written(&self) -> bool {
        self.recording.as_ref().is_none_or(Recording::is_drained) && self.saves.as_ref().is_none_or(Saves::is_drained)
    }

    fn finished(&self, now: MonoTime) -> bool {
        let Some(cut_at) = self.cut_at() else { return false };
        let drained =
            self.is_written() && self.server.is_drained() && self.ring.open_connections() == 0 && self.log.is_empty();
        drained || now >= cut_at
    }
}

#[cfg(test)]
mod tests;
