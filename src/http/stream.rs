//! Live events: encoded once, shared by all, bounded for each.
//!
//! Problem: a hundred subscribers want the same event, one of them never reads, another comes back after two seconds
//! and wants what it missed; none may cost the others anything.
//!
//! Idea: a topic keeps one log, the newest `queue` events as shared `Bytes`. A subscriber is a cursor into it and one
//! send in flight, no queue of its own: whoever falls behind the log's start has lost the difference, which is counted
//! and shows in `id`. A subscriber that resumes reads cycles older than the log from the history, encoded one at a time
//! as its socket drains, until it has caught up.
//!
//! Ids go on from the first one of this run of the program, which is its name: an id of another run names nothing here.
//!
//! The streams are not chunked: an endless response ends with its connection, and events stay free of framing that
//! would differ between subscribers.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::body::Body;
use super::event::{self, PacketEvent};
use super::pcm::Pieces;
use super::{Source, StreamFigures};
use crate::array::ArrayId;
use crate::cycle::Cycle;
use crate::time::KernelTime;

/// What a live connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// `/api/stream_3ch`
    Cycles,
    /// `/api/stream_3ch?format=binary`
    BinaryCycles,
    /// `/api/arrays/NAME/stream.bin`
    Records,
    /// `/api/stream`
    Packets,
    /// `/api/stream_3ch.wav`, `/api/stream.pcm`: read the history by position, and need but to be woken.
    Pcm,
}

impl Topic {
    pub const ALL: [Topic; 5] = [Topic::Cycles, Topic::BinaryCycles, Topic::Records, Topic::Packets, Topic::Pcm];
    /// Those whose events are cycles, numbered by their ids.
    const NUMBERED: [Topic; 3] = [Topic::Cycles, Topic::BinaryCycles, Topic::Records];
    /// All but the packets.
    pub const OF_CYCLES: [Topic; 4] = [Topic::Cycles, Topic::BinaryCycles, Topic::Records, Topic::Pcm];
}

/// One subscriber's place in a topic.
#[derive(Debug)]
pub struct Subscription {
    pub topic: Topic,
    /// Number of the next event to send; a cycle's is its id.
    cursor: u64,
    /// Still behind what it missed: exempt from the queue's bound.
    resuming: bool,
}

/// Events that go out in one piece to whoever is behind: catching up takes fewer sends.
const JOINED: usize = 4;

#[derive(Debug, Default)]
struct EventLog {
    /// Number of the oldest event kept; with none kept, of the next one.
    first: u64,
    /// `None`: overwritten in the history before it could be encoded (a skip longer than the history).
    events: VecDeque<Option<Bytes>>,
    /// The last piece made of several events: the numbers in it. Who falls behind together shares it.
    joined: (Range<u64>, Bytes),
    /// Slots of the connections that listen.
    listeners: Vec<u32>,
}

impl EventLog {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Nothing is kept of what came before this one.
    fn begin_at(&mut self, next: u64) {
        self.first = next;
        self.events.clear();
    }

    /// Takes the next event in, made by `encode` only where somebody listens.
    fn push(&mut self, queue: usize, encode: impl FnOnce() -> Option<Bytes>) {
        if self.listeners.is_empty() {
            return self.begin_at(self.next() + 1);
        }
        if self.events.len() == queue {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(encode());
    }

    /// What the log has from event `number` on, in one piece: the bytes and how many events they are. `None`: nothing yet;
    /// no events: the one there could not be encoded.
    fn piece(&mut self, number: u64) -> Option<(Bytes, u64)> {
        let kept = self.events.range((number - self.first) as usize..);
        let run = || kept.clone().map_while(Option::as_ref).take(JOINED);
        let count = run().count() as u64;
        if count < 2 {
            let event = kept.clone().next()?.clone();
            return Some((event.unwrap_or_default(), count));
        }
        let numbers = number..number + count;
        if self.joined.0 != numbers {
            self.joined = (numbers, run().map(Bytes::as_ref).collect::<Vec<_>>().concat().into());
        }
        Some((self.joined.1.clone(), count))
    }
}

/// All live topics of one array.
#[derive(Debug)]
pub struct Hub {
    /// All that is touched where nobody listens.
    live: Live,
    queue: usize,
    /// The id of the first cycle of all.
    run: u64,
    logs: [EventLog; Topic::ALL.len()],
    /// Of the endless WAV and PCM.
    pub pieces: Pieces,
    /// Room for the samples of the event that is being made.
    samples: Vec<[u8; 4]>,
    /// What is counted for each array: of its streams and downloads.
    pub figures: StreamFigures,
}

/// Who listens at all, and to what next.
#[derive(Debug, Default)]
struct Live {
    /// The id of the next cycle.
    next: u64,
    listeners: usize,
}

/// Every array's hub, at its place; and what is counted for all of them.
#[derive(Debug, Default)]
pub struct Hubs {
    all: Vec<Option<Hub>>,
    pub figures: StreamFigures,
}

impl Hubs {
    pub fn add(&mut self, array: ArrayId, hub: Hub) {
        let place = array.0 as usize;
        if self.all.len() <= place {
            self.all.resize_with(place + 1, || None);
        }
        self.all[place] = Some(hub);
    }

    pub fn remove(&mut self, array: ArrayId) {
        self.all[array.0 as usize] = None;
    }

    pub fn get(&self, array: ArrayId) -> Option<&Hub> {
        self.all.get(array.0 as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, array: ArrayId) -> Option<&mut Hub> {
        self.all.get_mut(array.0 as usize)?.as_mut()
    }

    /// # Panics
    /// If there is none: who asks knows of an array that is there.
    pub fn of(&mut self, array: ArrayId) -> &mut Hub {
        self.all[array.0 as usize].as_mut().expect("an array that there is has a hub")
    }

    /// What an array's clients did, and all connections.
    pub fn figures_of(&self, array: ArrayId) -> StreamFigures {
        let own = self.get(array).map(Hub::figures).unwrap_or_default();
        let StreamFigures { connections_open, bytes_sent, connections, requests, rejected, .. } = self.figures;
        StreamFigures { connections_open, bytes_sent, connections, requests, rejected, ..own }
    }

    /// The connection in `slot` is done with its body.
    pub fn leave(&mut self, array: ArrayId, body: &Body, slot: u32) {
        if let Some(topic) = body.topic() {
            self.of(array).leave(topic, slot);
        }
    }
}

impl Hub {
    /// `queue`: events kept for a subscriber that is behind, at least one.
    pub fn new(queue: usize) -> Hub {
        Hub {
            live: Live::default(),
            queue: queue.max(1),
            run: 0,
            logs: Default::default(),
            pieces: Pieces::default(),
            samples: Vec::new(),
            figures: StreamFigures::default(),
        }
    }

    /// The first cycle will have this id; before anybody subscribes.
    pub fn number_from(&mut self, run: u64) {
        self.run = run;
        self.live.next = run;
    }

    /// The id of the first cycle of all, which names the run.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// What a stream begins with.
    pub fn preamble(&self, topic: Topic, source: &dyn Source) -> Vec<u8> {
        match topic {
            Topic::Cycles | Topic::Packets => event::sse_preamble(self.run),
            Topic::BinaryCycles => event::binary_preamble(self.run),
            Topic::Records => event::record_preamble(self.run, source),
            Topic::Pcm => Vec::new(),
        }
    }

    /// Whether anybody listens to anything.
    pub fn is_heard(&self) -> bool {
        self.live.listeners > 0
    }

    /// Slots that listen to a topic.
    pub fn listeners(&self, topic: Topic) -> &[u32] {
        &self.logs[topic as usize].listeners
    }

    /// A place in `topic`: live, or after the event `last`. An id of an earlier run, one from the future or no number at all
    /// starts live; an old one of this run, and the one before its first, with the oldest cycle still held.
    pub fn subscribe(&self, topic: Topic, last: Option<&str>, source: &dyn Source) -> Subscription {
        let numbered = Topic::NUMBERED.contains(&topic);
        let next = if numbered { self.live.next } else { self.logs[topic as usize].next() };
        let known = self.run.saturating_sub(1)..next;
        let last = last.and_then(|id| id.parse::<u64>().ok()).filter(|id| numbered && known.contains(id));
        let cursor = last.map_or(next, |id| (id + 1).max(source.cycle_ids().start).min(next));
        Subscription { topic, cursor, resuming: last.is_some() }
    }

    /// From now on the body's events are encoded and the connection in `slot` is woken for them.
    pub fn join(&mut self, body: &Body, slot: u32) {
        if let Body::Events(subscription) = body {
            self.figures.resumed += u64::from(subscription.resuming);
        }
        if let Some(topic) = body.topic() {
            if self.live.listeners == 0 {
                // The logs were left alone since the last one went.
                for log in Topic::NUMBERED.map(|topic| topic as usize) {
                    self.logs[log].begin_at(self.live.next);
                }
            }
            self.logs[topic as usize].listeners.push(slot);
            self.live.listeners += 1;
        }
    }

    fn leave(&mut self, topic: Topic, slot: u32) {
        let listeners = &mut self.logs[topic as usize].listeners;
        let before = listeners.len();
        listeners.retain(|&s| s != slot);
        self.live.listeners -= before - listeners.len();
        if topic == Topic::Pcm && listeners.is_empty() {
            self.pieces.clear();
        }
    }

    /// This array's part of the figures.
    pub fn figures(&self) -> StreamFigures {
        let listeners = Topic::ALL.iter().map(|&topic| self.listeners(topic).len() as u64);
        StreamFigures { subscribers: listeners.sum(), ..self.figures }
    }

    /// Every emitted cycle, in order.
    pub fn publish_cycle(&mut self, cycle: &Cycle, source: &dyn Source) {
        assert_eq!(self.live.next, cycle.id, "ids rise by one from the run's first, and every cycle is published");
        self.live.next += 1;
        if !self.is_heard() {
            return;
        }
        let [json, binary, records, ..] = &mut self.logs;
        json.push(self.queue, || event::cycle_json(cycle, self.run, source, &mut self.samples));
        binary.push(self.queue, || event::cycle_binary(cycle, source));
        records.push(self.queue, || event::cycle_record(cycle, self.run, source));
    }

    pub fn publish_packet(&mut self, packet: &PacketEvent<'_>, now: KernelTime, source: &dyn Source) {
        self.logs[Topic::Packets as usize].push(self.queue, || Some(event::packet_json(packet, now, source)));
    }

    /// The next events of a subscriber that is settled, in one piece, and how many; `None` when it has them all.
    pub fn next(&mut self, subscription: &mut Subscription, source: &dyn Source) -> Option<(Bytes, u64)> {
        let log = &mut self.logs[subscription.topic as usize];
        loop {
            if subscription.resuming {
                // What was overwritten while the client was busy with older ones.
                let held = source.cycle_ids().start.min(log.first).max(subscription.cursor);
                self.figures.events_dropped += held - subscription.cursor;
                subscription.cursor = held;
            }
            let (events, count) = if subscription.cursor < log.first {
                let cycle = source.cycle(subscription.cursor);
                let event = cycle.and_then(|cycle| match subscription.topic {
                    Topic::BinaryCycles => event::cycle_binary(&cycle, source),
                    Topic::Records => event::cycle_record(&cycle, self.run, source),
                    _ => event::cycle_json(&cycle, self.run, source, &mut self.samples),
                });
                let count = u64::from(event.is_some());
                (event.unwrap_or_default(), count)
            } else if let Some(piece) = log.piece(subscription.cursor) {
                piece
            } else {
                subscription.resuming = false;
                return None;
            };
            subscription.cursor += count.max(1);
            if count > 0 {
                return Some((events, count));
            }
            self.figures.events_dropped += 1;
        }
    }

    /// Moves a subscriber past the events that its topic has dropped since, and counts them.
    pub fn settle(&mut self, subscription: &mut Subscription) {
        let first = self.logs[subscription.topic as usize].first;
        if !subscription.resuming && subscription.cursor < first {
            self.figures.events_dropped += first - subscription.cursor;
            subscription.cursor = first;
        }
    }
}
