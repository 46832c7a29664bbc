//! What the relay knows about itself: counters, what is wrong at present, and both as HTTP.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use async_nats::Client;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::failure::{Exit, Failure};
use crate::nats::is_connected;

/// A count that only rises, or a state of 0 and 1.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Of one array.
#[derive(Debug, Default)]
pub struct ArrayStatus {
    /// Somebody listens to its PCM, or it is to be published always.
    pub listened: Count,
    /// Cycles handed to the PCM connection, and their bytes.
    pub live_cycles: Count,
    pub live_bytes: Count,
    /// Cycles that were not published since the connection was down or had no room.
    pub live_dropped: Count,
    /// Cycles that went through the lane to the store.
    pub followed_cycles: Count,
    /// Messages with a PubAck, and their bytes.
    pub stored: Count,
    pub stored_bytes: Count,
    /// PubAcks that said the message had been there.
    pub duplicates: Count,
    /// Times that the lane to the store began anew, after an error on either side.
    pub restarts: Count,
    /// Reports (health, diagnostics) dropped from a full queue.
    pub reports_dropped: Count,
    /// The lane that it concerns, and what is wrong with it now.
    troubles: Mutex<BTreeMap<&'static str, String>>,
}

impl ArrayStatus {
    /// What is wrong with a lane; true when that is news.
    pub fn trouble(&self, lane: &'static str, what: &str) -> bool {
        let before = self.troubles.lock().expect("no holder panics").insert(lane, what.to_owned());
        before.as_deref() != Some(what)
    }
    /// The lane works; true when that is news.
    pub fn well(&self, lane: &'static str) -> bool {
        self.troubles.lock().expect("no holder panics").remove(lane).is_some()
    }
}

/// Of the program.
#[derive(Debug)]
pub struct Status {
    pub arrays: Mutex<BTreeMap<String, Arc<ArrayStatus>>>,
    /// Local servers that do not answer, and why.
    pub servers: Mutex<BTreeMap<String, String>>,
    /// Name and connection.
    pub connections: Vec<(&'static str, Client)>,
}

impl Status {
    pub fn array(&self, name: &str) -> Arc<ArrayStatus> {
        self.arrays.lock().expect("no holder panics").entry(name.to_owned()).or_default().clone()
    }

    /// Everything that is wrong now.
    pub fn troubles(&self) -> Vec<String> {
        let down = self.connections.iter().filter(|(_, client)| !is_connected(client));
        let mut all: Vec<String> = down.map(|(name, _)| format!("{name}: not connected to NATS")).collect();
        all.extend(self.servers.lock().expect("no holder panics").values().cloned());
        for (array, status) in self.arrays.lock().expect("no holder panics").iter() {
            let troubles = status.troubles.lock().expect("no holder panics");
            all.extend(troubles.iter().map(|(lane, what)| format!("{array}: {lane}: {what}")));
        }
        all
    }

    /// Prometheus text 0.0.4.
    pub fn metrics(&self) -> String {
        type Get = fn(&ArrayStatus) -> &Count;
        const SERIES: &[(&str, &str, &str, Get)] = &[
            ("listened", "gauge", "whether the array's PCM is published", |s| &s.listened),
            ("live_cycles_total", "counter", "cycles handed to the PCM connection", |s| &s.live_cycles),
            ("live_bytes_total", "counter", "their bytes", |s| &s.live_bytes),
            ("live_dropped_total", "counter", "cycles not published: no connection, or no room", |s| &s.live_dropped),
            ("followed_cycles_total", "counter", "cycles read for the store", |s| &s.followed_cycles),
            ("stored_total", "counter", "messages that the store acknowledged", |s| &s.stored),
            ("stored_bytes_total", "counter", "their bytes", |s| &s.stored_bytes),
            ("duplicates_total", "counter", "messages that the store had already", |s| &s.duplicates),
            ("restarts_total", "counter", "times that the lane to the store began anew", |s| &s.restarts),
            ("reports_dropped_total", "counter", "reports dropped from a full queue", |s| &s.reports_dropped),
        ];
        let arrays = self.arrays.lock().expect("no holder panics");
        let mut out = String::new();
        for (name, kind, help, get) in SERIES {
            let name = format!("micring_relay_{name}");
            let of = arrays.iter().map(|(array, status)| (array.as_str(), get(status).get()));
            family(&mut out, &name, (kind, help), "array", of);
        }
        let up = self.connections.iter().map(|(name, client)| (*name, u64::from(is_connected(client))));
        family(
            &mut out,
            "micring_relay_connected",
            ("gauge", "whether the connection to NATS is up"),
            "connection",
            up,
        );
        out
    }
}

/// One family of Prometheus' text: its kind and help, and a line for each value of a label.
pub fn family<'a>(
    out: &mut String,
    name: &str,
    (kind, help): (&str, &str),
    label: &str,
    values: impl Iterator<Item = (&'a str, u64)>,
) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (of, value) in values {
        let of = of.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(out, "{name}{{{label}=\"{of}\"}} {value}");
    }
}

/// What Prometheus' text is called.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/healthz` and `/metrics`, from now on. The address that it is bound to.
pub async fn serve(status: Arc<Status>, address: SocketAddr) -> Result<SocketAddr, Failure> {
    let cannot =
        |e| Failure::new(Exit::Other, format_args!("cannot bind HTTP {address}: {e}: --http names another one"));
    let listener = tokio::net::TcpListener::bind(address).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    let router = Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics)).with_state(status);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(bound)
}

async fn healthz(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let troubles = status.troubles();
    let (code, body) = match troubles.is_empty() {
        true => (StatusCode::OK, serde_json::json!({"status": "ok"})),
        false => (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({"error": troubles.join("; ")})),
    };
    (code, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n"))
}

async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], status.metrics())
}
