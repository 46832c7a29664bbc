//! Questions from afar, answered by the server itself: what an array's history holds, and whole answers of its routes.
//!
//! Live cycles have no second try: who was cut off, or comes back with the last id that it has, asks for what is missing.
//! An array's relay answers from the server's history, in messages of a bounded size and number; whoever wants more asks
//! again behind what came.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::array::Array;
use crate::event::Event;
use crate::names::{Kind, Place};
use crate::nats::{BUFFERED, room};
use crate::report::now_us;
use crate::say;

/// Bytes of one message of an answer; four of them fit the default `max_payload`.
const PART: usize = 256 * 1024;
/// Bytes of one answer: 27 s of an array of three. Whoever wants more cycles asks again behind the last one.
const MOST: usize = 16 << 20;
/// Parts of one answer at most: they all have room in the asker's subscription.
const PARTS: usize = BUFFERED / 2;
/// Answers being given at a time, of all arrays of a relay: each is one more client of a local server.
pub const AT_ONCE: usize = 8;
/// No cycle for so long: the array is silent, and the answer ends. Where the asker knows that there is more, longer: a busy
/// server is not a silent array.
const SILENCE: Duration = Duration::from_millis(300);
const BUSY: Duration = Duration::from_secs(3);
/// Longest wait for the next part.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);
/// How long a question that fails is asked again: a relay is back within that, or it is down.
const TRIED: Duration = Duration::from_secs(30);

const STATUS: &str = "Micring-Status";
const PART_NUMBER: &str = "Micring-Part";
const END: &str = "Micring-End";

/// What can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Cycles behind `after`, up to `until` or now.
    Cycles,
    Diagnostics,
    Summary,
    Latest,
    /// The history as WAV.
    Download,
    /// The history as text.
    DownloadText,
    Health,
}

/// A question, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    pub what: What,
    /// The route's query, without the `?`.
    #[serde(default)]
    pub query: String,
    #[serde(default)]
    pub after: Option<u64>,
    #[serde(default)]
    pub until: Option<u64>,
}

impl Question {
    pub fn cycles(after: u64, until: Option<u64>) -> Question {
        Question { what: What::Cycles, query: String::new(), after: Some(after), until }
    }

    pub fn route(what: What, query: &str) -> Question {
        Question { what, query: query.to_owned(), after: None, until: None }
    }
}

/// Answers one array's questions.
#[derive(Clone, Debug)]
pub struct Lane {
    pub array: Array,
    pub place: Place,
    pub client: Client,
    pub room: Arc<Semaphore>,
}

impl Lane {
    /// For ever.
    pub async fn run(self) {
        loop {
            match self.client.subscribe(self.place.subject(Kind::Ask)).await {
                Ok(mut questions) => {
                    while let Some(message) = questions.next().await {
                        let lane = self.clone();
                        // Beyond the bound a question is not answered: the asker asks again.
                        if let Ok(room) = self.room.clone().try_acquire_owned() {
                            tokio::spawn(async move {
                                lane.answer(message).await;
                                drop(room);
                            });
                        }
                    }
                }
                Err(error) => say(format_args!("{}/{}: questions: {error}", self.place.host, self.place.array)),
            }
            sleep(AGAIN).await;
        }
    }

    async fn answer(&self, message: Message) {
        let Some(inbox) = message.reply else { return };
        let size = room(&self.client).clamp(1, PART);
        let inbox = inbox.to_string();
        let mut parts = Parts { client: &self.client, inbox, size, number: 0, bytes: BytesMut::new() };
        let given = match serde_json::from_slice::<Question>(&message.payload) {
            Err(error) => Err((400, format!("no question: {error}"))),
            Ok(question) => self.fill(&question, &mut parts).await.map_err(|trouble| (502, trouble)),
        };
        let status = given.unwrap_or_else(|(status, text)| {
            parts.bytes.clear();
            parts.bytes.extend_from_slice(format!("{}\n", serde_json::json!({ "error": text })).as_bytes());
            status
        });
        parts.send(status, true).await;
    }

    /// Sends all parts but the last; the status.
    async fn fill(&self, question: &Question, parts: &mut Parts<'_>) -> Result<u16, String> {
        if question.what != What::Cycles {
            let (status, body) = self.array.route(question.what, &question.query).await?;
            if body.len() > parts.most() {
                let (bytes, most) = (body.len(), parts.most());
                return Err(format!("{bytes} bytes are more than a relay passes on at once ({most}): ask for less"));
            }
            for part in body.chunks(parts.size) {
                parts.add(status, part).await;
            }
            return Ok(status);
        }
        let asked_us = now_us();
        let mut cycles = self.array.follow(question.after).await?;
        let mut total = 0;
        // A live cycle that left after the question says that the history is read.
        let patience = if question.until.is_some() { BUSY } else { SILENCE };
        while let Ok(event) = timeout(patience, cycles.cycle()).await {
            let event = event?;
            total += event.frame.len();
            if total > parts.most() || question.until.is_some_and(|until| event.header.id > until) {
                break;
            }
            parts.add(200, &event.frame).await;
            if event.header.emitted_us >= asked_us || question.until == Some(event.header.id) {
                break;
            }
        }
        Ok(200)
    }
}

/// An answer on its way.
struct Parts<'a> {
    client: &'a Client,
    inbox: String,
    /// Bytes of one at most.
    size: usize,
    number: usize,
    bytes: BytesMut,
}

impl Parts<'_> {
    /// Bytes of the whole answer at most.
    fn most(&self) -> usize {
        MOST.min(PARTS * self.size)
    }

    async fn add(&mut self, status: u16, bytes: &[u8]) {
        if !self.bytes.is_empty() && self.bytes.len() + bytes.len() > self.size {
            self.send(status, false).await;
        }
        self.bytes.extend_from_slice(bytes);
    }

    async fn send(&mut self, status: u16, last: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(STATUS, status.to_string());
        headers.insert(PART_NUMBER, self.number.to_string());
        if last {
            headers.insert(END, "1");
        }
        self.number += 1;
        // Where the connection is gone, the asker misses a part and asks again.
        let _ = self.client.publish_with_headers(self.inbox.clone(), headers, self.bytes.split().freeze()).await;
    }
}

/// Asks, and waits for the whole answer: the route's status, and its body.
pub async fn ask(client: &Client, place: &Place, question: &Question) -> Result<(u16, Bytes), String> {
    let inbox = client.new_inbox();
    let mut answer = client.subscribe(inbox.clone()).await.map_err(|e| e.to_string())?;
    let body = serde_json::to_vec(question).expect("a question is JSON").into();
    let subject = place.subject(Kind::Ask);
    client.publish_with_reply(subject, inbox, body).await.map_err(|e| e.to_string())?;
    let mut whole = BytesMut::new();
    for number in 0.. {
        let part = timeout(PATIENCE, answer.next()).await;
        let part = part.ok().flatten().ok_or_else(|| format!("{}: its relay does not answer", place.host))?;
        if part.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(format!("{}: no relay is there for {}", place.host, place.array));
        }
        let header = |name| part.headers.as_ref()?.get(name)?.as_str().parse::<usize>().ok();
        if header(PART_NUMBER) != Some(number) {
            return Err(format!("{}: a part of the answer is missing", place.host));
        }
        whole.extend_from_slice(&part.payload);
        if header(END).is_some() {
            return Ok((header(STATUS).unwrap_or(502) as u16, whole.freeze()));
        }
    }
    unreachable!("numbers do not end")
}

/// The cycles behind `after`, up to `until` or now, as far as one answer goes: more are behind the last one that it has.
pub async fn cycles(client: &Client, place: &Place, after: u64, until: Option<u64>) -> Result<Vec<Event>, String> {
    match ask(client, place, &Question::cycles(after, until)).await? {
        (200, body) => Event::all(body),
        (_, body) => Err(String::from_utf8_lossy(&body).trim().to_owned()),
    }
}

/// As [`cycles`]; what fails is tried again for a while: a relay that is connected anew, or has many to answer, does so seconds later.
pub async fn cycles_again(
    client: &Client,
    place: &Place,
    after: u64,
    until: Option<u64>,
) -> Result<Vec<Event>, String> {
    let start = Instant::now();
    loop {
        match cycles(client, place, after, until).await {
            Err(trouble) if start.elapsed() < TRIED => {
                say(format_args!("{}/{}: {trouble}; it is asked again", place.host, place.array));
                sleep(AGAIN).await;
            }
            answer => return answer,
        }
    }
}
