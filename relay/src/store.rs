//! What must not be lost, into JetStream: an array's audio in segments, and what was missing in it.
//!
//! One message of an array is on its way at a time; the next one leaves when the store has acknowledged it, and names the
//! sequence number that it follows (`Nats-Expected-Last-Subject-Sequence`). So a message that the network delivers late,
//! or that a relay sent that was killed since, is refused however old it is, and order holds. The message id does the same
//! within the stream's window of two minutes.
//!
//! Nothing is kept here for another try: after any trouble the lane asks the store what it has, and reads on behind that
//! from the server's history.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::{Client, HeaderMap, jetstream};
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use crate::array::Array;
use crate::event::MAX_NUMBER;
use crate::failure::{Exit, Failure};
use crate::names::{Kind, Place};
use crate::nats::{Store, chain, is_connected, is_full, room};
use crate::say;
use crate::segment::{Position, Segment, Segmenter};
use crate::source::Cycles;
use crate::status::ArrayStatus;

/// Cycles of a segment: half a second of 512 samples at 48 kHz, 288 kB of three channels.
const SEGMENT_CYCLES: u64 = 47;
/// Longest segment in bytes, where the server takes more: what stop and wait needs, and no burst on a thin line.
const SEGMENT_BYTES: usize = 512 * 1024;
/// A segment that nothing is added to is sent unfinished after this.
const IDLE: Duration = Duration::from_secs(2);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

const RUN: &str = "Micring-Run";
const LAST_ID: &str = "Micring-Last-Id";
const NEXT_FRAME: &str = "Micring-Next-Frame";

/// One array's way into the store.
#[derive(Debug)]
pub struct Lane {
    pub array: Array,
    pub place: Place,
    pub client: Client,
    pub store: Store,
    pub status: Arc<ArrayStatus>,
}

/// Why a try ended.
enum Trouble {
    Again(String),
    Fatal(Failure),
}

impl From<String> for Trouble {
    fn from(text: String) -> Trouble {
        Trouble::Again(text)
    }
}

/// The newest message of a subject.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    /// 0: there is none.
    sequence: u64,
    position: Option<Position>,
}

impl Lane {
    /// Until something cannot be mended by trying again.
    pub async fn run(self) -> Failure {
        let mut reached = None;
        loop {
            let text = match self.attempt(&mut reached).await {
                Trouble::Fatal(failure) => return failure,
                Trouble::Again(text) => text,
            };
            self.status.restarts.add(1);
            if self.status.trouble("store", &text) {
                say(format_args!("{}/{}: store: {text}", self.place.host, self.place.array));
            }
            sleep(AGAIN).await;
        }
    }

    /// Reads and stores until something fails. `reached`: what is stored, or needs no storing.
    async fn attempt(&self, reached: &mut Option<Position>) -> Trouble {
        match self.pass_on(reached).await {
            Ok(never) => match never {},
            Err(trouble) => trouble,
        }
    }

    async fn pass_on(&self, reached: &mut Option<Position>) -> Result<std::convert::Infallible, Trouble> {
        if !is_connected(&self.client) {
            return Err(Trouble::Again("not connected to NATS".into()));
        }
        let mut gaps = self.tail(&self.store.events, Kind::Gaps).await?;
        let mut audio = match &self.store.audio {
            Some(stream) => self.tail(stream, Kind::Audio).await?,
            None => Tail::default(),
        };
        // Where audio is stored, that says how far it went; gaps are told before it.
        let stored = if self.store.audio.is_some() { audio.position } else { gaps.position };
        *reached = newer(*reached, stored);
        let mut cycles = self.open(*reached).await?;
        let most = room(&self.client).min(SEGMENT_BYTES);
        let mut segmenter = Segmenter::new(SEGMENT_CYCLES, most, *reached);
        let mut read = *reached;
        let mut hole_tried = None;
        loop {
            let segments: Vec<Segment> = match timeout(IDLE, cycles.cycle()).await {
                Err(_) => segmenter.flush().into_iter().collect(),
                Ok(event) => {
                    let event = event?;
                    if let Some(before) = read
                        && before.run == event.header.run
                        && !before.precedes(&event)
                    {
                        if event.header.id <= before.id {
                            continue;
                        }
                        // We were too slow for the live queue: the history may have it. Only once for each place.
                        if hole_tried != Some(before) {
                            hole_tried = Some(before);
                            cycles = self.open(read).await?;
                            continue;
                        }
                    }
                    if event.frame.len() > most {
                        return Err(Trouble::Fatal(self.too_large(event.frame.len())));
                    }
                    self.status.followed_cycles.add(1);
                    read = Some(Position::behind(&event));
                    segmenter.push(event).collect()
                }
            };
            for segment in segments {
                self.keep(&segment, &mut gaps, &mut audio).await?;
                *reached = Some(segment.end);
                if self.status.well("store") {
                    say(format_args!("{}/{}: store: goes on", self.place.host, self.place.array));
                }
            }
        }
    }

    /// The stream behind `reached`; of another run, from the oldest cycle that the history holds.
    async fn open(&self, reached: Option<Position>) -> Result<Cycles, String> {
        let mut cycles = self.array.follow(reached.map(|position| position.id)).await?;
        let run = cycles.run().await?;
        if reached.is_none_or(|position| position.run != run) {
            // Behind the cycle before the run's first.
            cycles = self.array.follow(Some(run - 1)).await?;
            cycles.run().await?;
        }
        Ok(cycles)
    }

    async fn tail(&self, stream: &Stream, kind: Kind) -> Result<Tail, String> {
        let message = match stream.get_last_raw_message_by_subject(&self.place.subject(kind)).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(Tail::default()),
            Err(error) => return Err(format!("cannot ask what is stored: {}", chain(&error))),
        };
        let sound = |n: &i64| n.unsigned_abs() < MAX_NUMBER;
        let number = |name| message.headers.get(name)?.as_str().parse().ok().filter(sound);
        let position = (|| {
            let (run, id) = (number(RUN)?.try_into().ok()?, number(LAST_ID)?.try_into().ok()?);
            Some(Position { run, id, next_frame: number(NEXT_FRAME)? })
        })();
        Ok(Tail { sequence: message.sequence, position })
    }

    async fn keep(&self, segment: &Segment, gaps: &mut Tail, audio: &mut Tail) -> Result<(), Trouble> {
        let told = gaps.position.is_some_and(|told| told.run == segment.run && told.id >= segment.end.id);
        if !segment.gaps.is_empty() && !told {
            let body = serde_json::json!({
                "host": self.place.host, "array": self.place.array, "run": segment.run, "first_id": segment.first_id,
                "last_id": segment.end.id, "first_frame": segment.first_frame, "sample_rate": segment.sample_rate,
                "gaps": segment.gaps,
            });
            *gaps = self.publish(Kind::Gaps, segment, body.to_string().into(), gaps.sequence).await?;
        }
        if self.store.audio.is_some() {
            *audio = self.publish(Kind::Audio, segment, segment.frames.clone(), audio.sequence).await?;
        }
        Ok(())
    }

    /// Sends one message and waits until it is stored.
    async fn publish(&self, kind: Kind, segment: &Segment, payload: Bytes, after: u64) -> Result<Tail, Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert(RUN, segment.run.to_string());
        headers.insert(LAST_ID, segment.end.id.to_string());
        headers.insert(NEXT_FRAME, segment.end.next_frame.to_string());
        let bytes = payload.len();
        let message = PublishMessage::build()
            .payload(payload)
            .headers(headers)
            .message_id(self.place.message_id(kind, segment.run, segment.first_frame))
            .expected_last_subject_sequence(after);
        let sent = self.store.context.send_publish(self.place.subject(kind), message).await;
        let ack = match sent {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        let ack = ack.map_err(|error| {
            let code = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<jetstream::Error>());
            match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Trouble::Fatal(self.too_large(bytes)),
                PublishErrorKind::WrongLastSequence => {
                    Trouble::Again("somebody else stored this array meanwhile; only one relay may".into())
                }
                _ if code.is_some_and(|error| is_full(error.error_code())) => Trouble::Again(format!(
                    "the store is full ({}): raise the stream's limits, or make room on the server's disk",
                    chain(&error)
                )),
                _ => Trouble::Again(format!("not stored: {}", chain(&error))),
            }
        })?;
        self.status.stored.add(1);
        self.status.stored_bytes.add(bytes as u64);
        self.status.duplicates.add(ack.duplicate.into());
        Ok(Tail { sequence: ack.sequence, position: Some(segment.end) })
    }

    fn too_large(&self, bytes: usize) -> Failure {
        let text = format!(
            "{}/{}: a cycle of {bytes} bytes is more than the NATS server takes: raise max_payload (now {}) in its \
             configuration",
            self.place.host,
            self.place.array,
            self.client.max_payload()
        );
        Failure::new(Exit::Config, text)
    }
}

/// The later one; of two runs, the later run's.
fn newer(a: Option<Position>, b: Option<Position>) -> Option<Position> {
    a.into_iter().chain(b).max_by_key(|position| (position.run, position.id))
}
