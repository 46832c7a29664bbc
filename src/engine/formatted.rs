//! Datagrams of other formats than plain samples: decoded, told apart, and placed by their numbers where they have any.

use super::clock::Again;
use super::free::boards::Boards;
use super::free::stream::Numbered;
use super::intake::chunks::{Chunk, Heard};
use super::intake::formats::Wire;
use super::intake::packet::{BadPayload, Packet, SAMPLE_BYTES};
use super::intake::undecided::Held;
use super::intake::{Admitted, Whose};
use super::shared::align::{Arrival, Placed};
use super::shared::tail::Sink;
use super::{Accepted, Aligner, Datagram, Engine, Latest, Reason, Verdict, health, resampling};
use crate::time::{FramePos, MonoTime, Span};
use crate::wire::detect::Seen;
use crate::wire::known::{self, Place};
use crate::wire::{Bad, Counts, Format, Parsed, Unit};

impl Engine {
    /// What the sources send, as declared; before anything is fed. Those that are left out declare nothing.
    #[must_use]
    pub fn declared(mut self, formats: &[Format]) -> Engine {
        for (mic, format) in self.mics.iter_mut().zip(formats) {
            mic.wire = Wire::new(format.clone());
        }
        self
    }

    /// Numbers are not looked at: what would be told of the same packets without them.
    #[must_use]
    pub fn forgetting_numbers(mut self, forget: bool) -> Engine {
        self.forgets_numbers = forget;
        self
    }

    /// What a source is read as at present.
    pub fn format(&self, source: usize) -> &Format {
        self.mics[source].wire.format()
    }

    /// Datagrams of a source that wait until its format is known; they are counted then.
    pub fn undecided(&self, source: usize) -> usize {
        self.undecided.of(source)
    }

    /// The samples of a datagram of this source, s32le, as they are placed; none where it does not fit its format. `buffer` is used
    /// where they have to be decoded.
    pub fn samples_of<'a>(&self, source: usize, datagram: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
        match crate::wire::parse(self.format(source), datagram) {
            Ok(Parsed::Unit(unit)) => unit.samples.s32le(buffer),
            _ => &[],
        }
    }

    /// Whose a datagram is, and what a source that declared nothing sends, as far as this one tells. False where it waits: for the next one
    /// of its source, or behind one that does.
    pub(super) fn decide_or_hold(&mut self, d: &Datagram<'_>, at: MonoTime) -> bool {
        let channels = self.config.layout.channels_of(d.mic).len();
        let mic = &mut self.mics[d.mic];
        let valid = mic.follow.sender() == Some(d.sender)
            || !mic.wire.is_plain()
            || Packet::parse(d.bytes, d.len, self.config.max_datagram, channels).is_ok();
        let whose = mic.follow.whose(d.sender, valid, at);
        if matches!(whose, Whose::Followed | Whose::Replaces) {
            self.look_at_format(d, whose == Whose::Replaces);
        }
        self.place_undecided();
        if whose == Whose::Foreign || self.undecided.is_empty() && !self.mics[d.mic].is_open() {
            return true;
        }
        self.undecided.hold(Held { mic: d.mic, sender: d.sender, stamp: d.stamp, at, bytes: d.bytes.to_vec() });
        if self.undecided.is_full() {
            self.end_looking();
        }
        false
    }

    fn look_at_format(&mut self, d: &Datagram<'_>, replaces: bool) {
        let mic = &mut self.mics[d.mic];
        if mic.wire.looks_elsewhere(d.sender, replaces) {
            // Too few came of the sender before to know what it sent.
            self.counters.mics[d.mic].foreign += self.undecided.drop_of(d.mic) as u64;
            mic.wire.on_new_sender();
        }
        mic.wire.look_at(d.sender);
        if let Seen::Is(format) = mic.wire.look(d.bytes) {
            let name = self.config.layout.name_of(d.mic);
            self.say(format!("{name}: {} sends {format}", d.sender));
        }
    }

    /// What is still open is raw, and nobody's but the followed sender's.
    pub(super) fn end_looking(&mut self) {
        for mic in &mut self.mics {
            mic.wire.end_looking();
            mic.follow.end_doubt();
        }
        self.place_undecided();
    }

    /// What need not wait any longer.
    fn place_undecided(&mut self) {
        while let Some(held) = self.undecided.next(|mic| self.mics[mic].is_open()) {
            let Held { mic, sender, stamp, bytes, .. } = &held;
            self.handle_known_format(&Datagram { mic: *mic, stamp: *stamp, sender: *sender, bytes, len: bytes.len() });
        }
    }

    /// A datagram of a format that is no plain samples.
    pub(super) fn handle_formatted(&mut self, d: &Datagram<'_>) -> Verdict {
        let channels = self.config.layout.channels_of(d.mic).len();
        let rate = self.config.sample_rate;
        match self.mics[d.mic].wire.parse(d.bytes, channels, rate) {
            Ok(Parsed::Control) => {
                self.counters.mics[d.mic].control += 1;
                Verdict::Rejected(Reason::Control)
            }
            Ok(Parsed::Unit(unit)) => {
                let mut buffer = std::mem::take(&mut self.mics[d.mic].decoded);
                let verdict = self.handle_unit(d, &unit, unit.samples.s32le(&mut buffer));
                self.mics[d.mic].decoded = buffer;
                verdict
            }
            Err(bad) => self.refuse(d, &bad),
        }
    }

    /// What does not fit the format is malformed; a line a second says what was expected, and what came.
    fn refuse(&mut self, d: &Datagram<'_>, bad: &Bad) -> Verdict {
        let verdict = self.handle_packet(d, Err(BadPayload::Malformed));
        let at = self.host.to_mono(d.stamp);
        if verdict == Verdict::Rejected(Reason::Malformed) && self.mics[d.mic].wire.may_say(at) {
            let name = self.config.layout.name_of(d.mic);
            let format = self.format(d.mic);
            let advice = match bad {
                Bad::Rate { got, .. } => format!(" (--sample-rate {got})"),
                // It was found out, and the array was made for fewer.
                Bad::Channels { got, .. } if format.channels().map(u16::from) == Some(*got) => {
                    format!(" (declare it: --format {}={format})", d.mic)
                }
                _ => String::new(),
            };
            let line = format!("{name}: not {format}: {bad}{advice}");
            self.say(line);
        }
        verdict
    }

    fn handle_unit(&mut self, d: &Datagram<'_>, unit: &Unit<'_>, samples: &[u8]) -> Verdict {
        let (at, max) = (self.host.to_mono(d.stamp), usize::MAX);
        if let Some(numbered) = known::Numbered::of(unit).filter(|_| !self.forgets_numbers) {
            return match Packet::decoded(samples, usize::from(unit.channels)) {
                Ok(packet) => self.handle_numbered(d, packet, &numbered),
                Err(bad) => self.handle_packet(d, Err(bad)),
            };
        }
        let (len, channels) = (samples.len(), usize::from(unit.channels));
        self.chunks.set_tagged(d.mic, unit.number.is_some_and(|number| number.counts == Counts::Samples));
        // A sample that is cut cannot be decoded: only plain ones are put together.
        let cut = !unit.samples.bytes.len().is_multiple_of(unit.samples.coding.bytes()) && len % SAMPLE_BYTES == 0;
        let parsed = match self.chunks.may_be_cut(d.mic, len, at) {
            _ if cut => Err(BadPayload::Malformed),
            true => Packet::parse_piece(samples, len, max, channels),
            false => Packet::parse(samples, len, max, channels),
        };
        self.handle_packet(d, parsed)
    }

    /// A packet whose number says where it stands.
    fn handle_numbered(&mut self, d: &Datagram<'_>, packet: Packet<'_>, unit: &known::Numbered) -> Verdict {
        let at = self.host.to_mono(d.stamp);
        let admitted = match self.admit(d, Ok(packet), at) {
            Ok(admitted) => admitted,
            Err(reason) => return Verdict::Rejected(reason),
        };
        let (packet, again) = (admitted.packet, admitted.again(d.sender));
        self.choose_clock(d, at);
        self.follow_rates(at);
        self.free_numbered(d, at);
        let rate = self.config.sample_rate;
        let counters = &mut self.counters.mics[d.mic];
        counters.known = true;
        let silent = self.mics[d.mic].latest.map_or(Span::ZERO, |latest| at - latest.arrival);
        let numbers = self.mics[d.mic].wire.numbers_mut(rate);
        if again != Again::TheSame || silent > Span::of_frames(numbers.known.reach(), rate) {
            numbers.known.forget();
        }
        let (position, lost, begins, skipped) = match numbers.known.place(unit) {
            Place::Next(next) => {
                (next.position, u64::from(next.missing), false, Some(next.missing_frames + next.silence))
            }
            Place::Filled { position } => {
                counters.found(1);
                (position, 0, false, None)
            }
            Place::Anew => (0, 0, true, Some(0)),
            refused => return self.refuse_number(d, at, refused),
        };
        counters.lost += lost;
        let heard = Heard { at, stamp: d.stamp, delay: self.clocks.map_or(Span::ZERO, |c| c.wall - d.stamp) };
        let arrival = self.arrival(d.mic, heard, packet, again);
        let (counters, numbers) = (&mut self.counters.mics[d.mic], self.mics[d.mic].wire.numbers_mut(rate));
        if begins {
            numbers.begin();
        }
        numbers.beside.hear(&arrival, position, lost, &mut counters.inference);
        let delays = numbers.sent(unit, FramePos(position + i64::from(unit.frames)), at, rate);
        self.meter.on_sent(d.mic, delays, at);
        let mut sink = Sink {
            history: &mut self.history,
            counters: &mut self.counters,
            outputs: &mut self.outputs,
            meter: &mut self.meter,
            wall: self.clocks.map_or(d.stamp, |c| c.wall),
        };
        let Aligner::Independent(boards) = &mut self.aligner else {
            unreachable!("numbered sources were set free above")
        };
        let placed = boards.offer_numbered(&arrival, &Numbered { position, begins }, &mut sink);
        let frames = self.count_accepted(d.mic, packet.bytes().len());
        let heard = health::Heard { source: d.mic, at, stamp: d.stamp, payload: packet.bytes() };
        let passed = skipped.map_or(0, |skipped| frames.saturating_add(u32::try_from(skipped).unwrap_or(0)));
        self.health.accepted(&heard, frames, Some(passed), d.sender, &mut self.outputs);
        if let Some(clocks) = self.clocks {
            self.meter.on_read(d.mic, d.stamp, clocks);
        }
        self.mics[d.mic].latest = Some(Latest { stamp: d.stamp, arrival: at, byte_count: d.len, sender: d.sender });
        let late = placed == Placed::Late;
        Verdict::Accepted(Accepted { mic: d.mic, samples: packet.samples(), arrival: at, late })
    }

    /// A copy, one that jumped, or one that is too old: counted, named, and nothing is shifted by it.
    fn refuse_number(&mut self, d: &Datagram<'_>, at: MonoTime, place: Place) -> Verdict {
        let counters = &mut self.counters.mics[d.mic];
        let reason = match place {
            Place::Copy => {
                counters.duplicate += 1;
                return Verdict::Rejected(Reason::Duplicate);
            }
            Place::Jump => {
                counters.jumps += 1;
                "its number or its stream is another than expected: the next packet tells whether it began anew"
            }
            _ => {
                counters.late += 1;
                "its number is too old: its place is taken"
            }
        };
        if self.mics[d.mic].wire.may_say(at) {
            let name = self.config.layout.name_of(d.mic);
            self.say(format!("{name}: a packet of {} was not placed: {reason}", d.sender));
        }
        Verdict::Rejected(Reason::Number)
    }

    /// A whole packet on its way.
    fn arrival<'a>(&self, mic: usize, heard: Heard, packet: Packet<'a>, again: Again) -> Arrival<'a> {
        Arrival {
            mic,
            at: heard.at,
            stamp: heard.stamp,
            delay: heard.delay,
            newest_at: heard.at,
            newest_stamp: heard.stamp,
            chunk: Chunk { serial: self.counters.mics[mic].received, samples: packet.samples() },
            offset: 0,
            samples: packet.bytes(),
            frame_bytes: self.history.frame_bytes(mic),
            again,
            recut: false,
            split: false,
        }
    }

    /// Numbers tell what the order of arrival tells otherwise: each source has its own axis.
    fn free_numbered(&mut self, d: &Datagram<'_>, at: MonoTime) {
        if matches!(self.aligner, Aligner::Shared(_)) {
            self.set_free(d, at, true);
        }
    }

    /// Whose packet it is, and what it means that it is that one's.
    pub(super) fn admit<'a>(
        &mut self,
        d: &Datagram<'_>,
        parsed: Result<Packet<'a>, BadPayload>,
        at: MonoTime,
    ) -> Result<Admitted<'a>, Reason> {
        let counters = &mut self.counters.mics[d.mic];
        let admitted = match self.mics[d.mic].follow.admit(d.sender, parsed, at, counters) {
            Ok(admitted) => admitted,
            Err(reason) => {
                if reason == Reason::Foreign && parsed.is_ok() {
                    self.health.refused(d.mic, at, d.stamp, d.sender, &mut self.outputs);
                }
                return Err(reason);
            }
        };
        if self.mics[d.mic].follow.begins_to_hop() {
            let (mic, ip) = (self.config.layout.name_of(d.mic), d.sender.ip());
            self.say(format!("{mic}: {ip} sends each packet from another port: its address is followed"));
        }
        if let Some(old) = admitted.replaced {
            let mic = self.config.layout.name_of(d.mic);
            self.say(format!("{mic}: now follows {} (was {old}, silent for 500 ms)", d.sender));
            self.meter.on_restart(d.mic);
            let lacking = self.chunks.on_new_sender(d.mic);
            self.note_lacking(d.mic, lacking);
            self.health.restart(d.mic);
        }
        Ok(admitted)
    }

    /// Each source gets an axis of its own; what has begun to go out goes out.
    pub(super) fn set_free(&mut self, d: &Datagram<'_>, at: MonoTime, one_clock: bool) {
        if let Aligner::Shared(shared) = &mut self.aligner {
            let mut sink = Sink {
                history: &mut self.history,
                counters: &mut self.counters,
                outputs: &mut self.outputs,
                meter: &mut self.meter,
                wall: self.clocks.map_or(d.stamp, |c| c.wall),
            };
            shared.finish(at, &mut sink);
        }
        let borders = self.borders();
        let (layout, rate) = (&self.config.layout, self.config.sample_rate);
        let resampling = resampling(self.kernel.as_ref(), layout, rate);
        let mut boards = Boards::new(layout.sources(), rate, self.fixed_hold, self.max_open, resampling);
        boards.set_one_clock(one_clock);
        if let Some(credit) = &self.hears_sound {
            boards.hear_sound(credit);
            boards.count_borders(borders);
        }
        self.aligner = Aligner::Independent(Box::new(boards));
        // Each counts its positions from 0 again.
        (0..self.mics.len()).for_each(|mic| self.meter.on_restart(mic));
    }
}
