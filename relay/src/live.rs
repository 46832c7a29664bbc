//! Live cycles on core subjects, while somebody listens.
//!
//! Whether somebody does, the NATS server says: a message that asks for an answer where nobody subscribes comes back as
//! "no responders". So each second an empty message goes to every array's subject, with an inbox to answer to, and one more
//! to the inbox itself: the server handles one connection's messages in order, so when the last one is back, whoever got no
//! refusal before it is listened to. Listeners ignore empty messages; any client of NATS may be one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::array::Array;
use crate::event::Event;
use crate::failure::{Exit, Failure};
use crate::names::{Kind, Place};
use crate::nats::is_connected;
use crate::say;
use crate::status::ArrayStatus;

/// How often the server is asked who listens: as long may a new listener wait for its first cycle.
const PROBE: Duration = Duration::from_secs(1);
/// Arrays asked for at once: their refusals have room in one subscription's buffer (`nats::BUFFERED`).
const ROUND: usize = 200;
/// A cycle that the client cannot take in this time is dropped: it is live.
const ROOM: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_millis(500);

/// Who is listened to: by subject.
#[derive(Debug, Default)]
pub struct Interest {
    arrays: Mutex<HashMap<String, watch::Sender<bool>>>,
}

impl Interest {
    /// Of an array from now on; `false` until the server said otherwise.
    pub fn of(&self, place: &Place) -> watch::Receiver<bool> {
        let mut arrays = self.arrays.lock().expect("no holder panics");
        arrays.entry(place.subject(Kind::Pcm)).or_insert_with(|| watch::Sender::new(false)).subscribe()
    }

    /// Asks for ever.
    pub async fn run(&self, client: Client) {
        let mut ticks = interval(PROBE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let subjects: Vec<String> = self.arrays.lock().expect("no holder panics").keys().cloned().collect();
            for some in subjects.chunks(ROUND) {
                if is_connected(&client) {
                    // A round that does not come back was cut off with the connection.
                    let _ = timeout(5 * PROBE, self.round(&client, some)).await;
                }
            }
        }
    }

    async fn round(&self, client: &Client, subjects: &[String]) -> Option<()> {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(format!("{inbox}.*")).await.ok()?;
        for (n, subject) in subjects.iter().enumerate() {
            client.publish_with_reply(subject.clone(), format!("{inbox}.{n}"), Bytes::new()).await.ok()?;
        }
        client.publish(format!("{inbox}.end"), Bytes::new()).await.ok()?;
        let mut listened = vec![true; subjects.len()];
        loop {
            let answer = answers.next().await?;
            let token = &answer.subject[inbox.len() + 1..];
            if token == "end" {
                break;
            }
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                *listened.get_mut(token.parse::<usize>().ok()?)? = false;
            }
        }
        let arrays = self.arrays.lock().expect("no holder panics");
        for (subject, listened) in subjects.iter().zip(listened) {
            if let Some(sender) = arrays.get(subject) {
                sender.send_if_modified(|before| std::mem::replace(before, listened) != listened);
            }
        }
        Some(())
    }
}

/// One array's live cycles.
#[derive(Debug)]
pub struct Lane {
    pub array: Array,
    pub place: Place,
    pub client: Client,
    pub status: Arc<ArrayStatus>,
    pub interest: watch::Receiver<bool>,
    /// Publishes whether or not somebody listens.
    pub always: bool,
}

impl Lane {
    /// Until something cannot be mended by trying again.
    pub async fn run(mut self) -> Failure {
        let mut last = None;
        loop {
            while !self.wanted() {
                self.status.listened.set(0);
                last = None;
                // The sender lives as long as the program.
                let _ = self.interest.changed().await;
            }
            self.status.listened.set(1);
            match self.pass_on(&mut last).await {
                Ok(()) => {}
                Err(Ok(failure)) => return failure,
                Err(Err(text)) => {
                    if self.status.trouble("live", &text) {
                        say(format_args!("{}/{}: live: {text}", self.place.host, self.place.array));
                    }
                    sleep(AGAIN).await;
                }
            }
        }
    }

    fn wanted(&self) -> bool {
        self.always || *self.interest.borrow()
    }

    /// While somebody listens; goes on behind the cycle `last` where the server's run still is the same.
    async fn pass_on(&mut self, last: &mut Option<u64>) -> Result<(), Result<Failure, String>> {
        let mut cycles = self.array.follow(*last).await.map_err(Err)?;
        let subject = self.place.subject(Kind::Pcm);
        while self.wanted() {
            let event = tokio::select! {
                event = cycles.cycle() => event.map_err(Err)?,
                _ = self.interest.changed(), if !self.always => continue,
            };
            *last = Some(event.header.id);
            self.status.well("live");
            self.publish(&subject, event).await.map_err(Ok)?;
        }
        Ok(())
    }

    async fn publish(&self, subject: &str, event: Event) -> Result<(), Failure> {
        let bytes = event.frame.len();
        if bytes > self.client.max_payload() {
            let text = format!(
                "{}/{}: a cycle of {bytes} bytes is more than the NATS server takes: raise max_payload (now {}) in its \
                 configuration",
                self.place.host,
                self.place.array,
                self.client.max_payload()
            );
            return Err(Failure::new(Exit::Config, text));
        }
        let sent = is_connected(&self.client)
            && matches!(timeout(ROOM, self.client.publish(subject.to_owned(), event.frame)).await, Ok(Ok(())));
        match sent {
            true => {
                self.status.live_cycles.add(1);
                self.status.live_bytes.add(bytes as u64);
            }
            false => self.status.live_dropped.add(1),
        }
        Ok(())
    }
}
