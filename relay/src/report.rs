//! What an array says about itself, stored: whether its audio is usable, its figures, and what its host's clock is worth.
//!
//! Stamps of two hosts are comparable only as far as both clocks are right. So each health message carries what the
//! kernel knows of its host's clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::Client;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use micring::sys::timex::clock_state;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::array::Array;
use crate::names::{Kind, Place};
use crate::nats::{Store, chain, is_connected};
use crate::say;
use crate::status::ArrayStatus;

/// How often the server is asked.
const LOOK: Duration = Duration::from_secs(2);
/// Health is told when it changes, and as often as this: who hears nothing for three times that knows that it is old.
pub const HEALTH: Duration = Duration::from_secs(10);
/// Reports that wait for the store: an hour of one a minute. Beyond, the oldest go, and are counted.
const WAITING: usize = 60;

/// One array's reports.
#[derive(Debug)]
pub struct Lane {
    pub array: Array,
    pub place: Place,
    pub client: Client,
    pub store: Store,
    pub status: Arc<ArrayStatus>,
    /// Between two messages of diagnostics.
    pub diagnostics_every: Duration,
    /// What is stored of it beside this: said in its health.
    pub audio_stored: bool,
}

/// A message that is not stored yet.
#[derive(Debug)]
struct Waiting {
    kind: Kind,
    id: String,
    body: Bytes,
}

impl Lane {
    /// For ever: nothing here ends the relay.
    pub async fn run(self) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = VecDeque::new();
        let (mut told, mut health_due, mut figures_due) = (None, Instant::now(), Instant::now());
        let mut figures = Value::Null;
        loop {
            ticks.tick().await;
            let now = Instant::now();
            if now >= figures_due || figures.is_null() {
                // A server that does not answer is told in its health.
                if let Ok(body) = self.array.diagnostics().await {
                    figures = serde_json::from_slice(&body).unwrap_or_default();
                    figures_due = now + self.diagnostics_every;
                    self.wait(&mut waiting, Kind::Diagnostics, &figures, body);
                }
            }
            let state = self.state().await;
            if state.0 == "unreachable" {
                // Whoever answers next may be another run.
                figures = Value::Null;
            }
            if told.as_ref() != Some(&state) || now >= health_due {
                let body = self.health(&state, &figures).to_string().into();
                self.wait(&mut waiting, Kind::Health, &figures, body);
                (told, health_due) = (Some(state), now + HEALTH);
            }
            self.send(&mut waiting).await;
        }
    }

    /// `ok`, `unusable` or `unreachable`, and why.
    async fn state(&self) -> (&'static str, Option<String>) {
        match self.array.health().await {
            Ok(Ok(())) => ("ok", None),
            Ok(Err(reason)) => ("unusable", Some(reason)),
            Err(trouble) => ("unreachable", Some(trouble)),
        }
    }

    fn health(&self, (status, reason): &(&'static str, Option<String>), figures: &Value) -> Value {
        json!({
            "host": self.place.host,
            "array": self.place.array,
            "status": status,
            "reason": reason,
            "at_us": now_us(),
            "run": figures["server"]["run"],
            "version": figures["server"]["version"],
            "sample_rate": figures["server"]["sample_rate"],
            "channels": figures["packet_stats"]["packets_received"].as_array().map(Vec::len),
            "audio_stored": self.audio_stored,
            "host_clock": host_clock(),
        })
    }

    fn wait(&self, waiting: &mut VecDeque<Waiting>, kind: Kind, figures: &Value, body: Bytes) {
        if waiting.len() == WAITING {
            waiting.pop_front();
            self.status.reports_dropped.add(1);
        }
        let run = figures["server"]["run"].as_u64().unwrap_or(0);
        waiting.push_back(Waiting { kind, id: self.place.message_id(kind, run, now_us()), body });
    }

    /// As many as the store takes, in order; the rest the next time.
    async fn send(&self, waiting: &mut VecDeque<Waiting>) {
        while let Some(first) = waiting.front() {
            if !is_connected(&self.client) {
                return;
            }
            let message = PublishMessage::build().payload(first.body.clone()).message_id(&first.id);
            let sent = self.store.context.send_publish(self.place.subject(first.kind), message).await;
            let ack = match sent {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            };
            match ack {
                Ok(ack) => {
                    self.status.stored.add(1);
                    self.status.stored_bytes.add(first.body.len() as u64);
                    self.status.duplicates.add(ack.duplicate.into());
                    self.status.well(first.kind.token());
                    waiting.pop_front();
                }
                Err(error) => {
                    let too_large = error.kind() == PublishErrorKind::MaxPayloadExceeded;
                    let next =
                        if too_large { "; raise it (max_payload in the NATS server's configuration)" } else { "" };
                    let text = format!("not stored: {}{next}", chain(&error));
                    let lane = first.kind.token();
                    if self.status.trouble(lane, &text) {
                        say(format_args!("{}/{}: {lane}: {text}", self.place.host, self.place.array));
                    }
                    if !too_large {
                        return;
                    }
                    // Another try would end as this one; what is behind it must not wait.
                    waiting.pop_front();
                    self.status.reports_dropped.add(1);
                }
            }
        }
    }
}

/// What the kernel knows about this host's clock; nulls with the reason where nobody steers it.
pub fn host_clock() -> Value {
    match clock_state() {
        Ok(state) if state.synchronised => json!({
            "synchronised": true,
            "estimated_error_us": state.estimated_error_us,
            "max_error_us": state.max_error_us,
        }),
        Ok(_) => {
            unknown("nobody steers this host's clock (adjtimex says STA_UNSYNC): start chronyd, or ptp4l and phc2sys")
        }
        Err(error) => unknown(&format!("adjtimex: {error}")),
    }
}

fn unknown(reason: &str) -> Value {
    json!({"synchronised": false, "estimated_error_us": null, "max_error_us": null, "reason": reason})
}

#[allow(clippy::disallowed_methods, reason = "the edge: a report is stamped when it is made")]
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_micros() as i64)
}
