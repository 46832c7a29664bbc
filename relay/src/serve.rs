//! `micring-relay serve`: every array of the fleet over HTTP, on any machine, as the server beside it serves its own.
//!
//! Live streams come from the arrays' PCM subjects, one subscription for all who listen here ([`crate::feed`]); figures and
//! downloads are asked of the array's own server ([`crate::ask`]); `?from=TIME` reads what JetStream stores.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, push::OrderedConfig};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use bytes::Bytes;
use clap::Args;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

use crate::ask::{self, Question, What};
use crate::event::{Event, MAX_NUMBER};
use crate::failure::{Exit, Failure};
use crate::feed::{Batch, Feeds};
use crate::fleet::Fleet;
use crate::names::{Kind, Place};
use crate::nats::{NatsArgs, audio_name, chain, first_line, is_connected};
use crate::out::{Form, Wav};
use crate::status::{METRICS_TYPE, family};
use crate::{say, until_stopped};

/// As micring: a sign of life on an idle stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Where HTTP is served.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5020")]
    pub http: SocketAddr,
    /// The array that the old routes are of (/api/stream_3ch, ...), as HOST.ARRAY; by default the first by name.
    #[arg(long, value_name = "HOST.ARRAY")]
    pub first: Option<String>,
    /// File whose first line is a token that every route but /healthz asks for; MICRING_TOKEN is taken too.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Which web pages may read /api/*: any, none, or one origin.
    #[arg(long, value_name = "*|none|ORIGIN", default_value = "*")]
    pub cors: String,
}

struct Server {
    client: Client,
    args: ServeArgs,
    token: Option<String>,
    fleet: Arc<Fleet>,
    feeds: Arc<Feeds>,
}

type Shared = State<Arc<Server>>;
type Parameters = Query<std::collections::HashMap<String, String>>;

/// Until SIGTERM or SIGINT.
pub async fn run(args: ServeArgs) -> Result<(), Failure> {
    let token = match &args.token_file {
        Some(path) => Some(first_line(path)?),
        None => std::env::var("MICRING_TOKEN").ok(),
    };
    let client = args.nats.connect("micring-relay serve").await?;
    let fleet = Arc::new(Fleet::new(&args.nats.prefix));
    let feeds = Arc::new(Feeds::new(client.clone()));
    let cannot =
        |e| Failure::new(Exit::Other, format_args!("cannot bind HTTP {}: {e}: --http names another one", args.http));
    let listener = tokio::net::TcpListener::bind(args.http).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    tokio::spawn({
        let (fleet, client) = (fleet.clone(), client.clone());
        async move { fleet.run(client).await }
    });
    // A cycle leaves whole, at once: the end of one would wait for the client's acknowledgement of its beginning.
    let listener = listener.tap_io(|tcp| {
        let _ = tcp.set_nodelay(true);
    });
    let server = Arc::new(Server { client, args, token, fleet, feeds });
    tokio::spawn(async move { axum::serve(listener, router(server)).await });
    println!("{}", serde_json::json!({"ready": true, "http": bound}));
    until_stopped().await;
    Ok(())
}

fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/fleet.js", get(script))
        .route("/fleet.css", get(style))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/api/fleet", get(fleet))
        .route("/api/arrays", get(fleet))
        .route("/api/arrays/{name}/{route}", get(array_route))
        .route("/api/{route}", get(old_route))
        .layer(middleware::from_fn_with_state(server.clone(), turned_away))
        .with_state(server)
}

/// Asks for the token, and says who may read.
async fn turned_away(State(server): Shared, request: Request<Body>, next: Next) -> Response {
    if let Some(token) = &server.token
        && request.uri().path() != "/healthz"
        && request.method() != Method::OPTIONS
    {
        let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let query = Parameters::try_from_uri(request.uri()).unwrap_or_default();
        let given = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let given = given.or_else(|| query.get("token").map(String::as_str));
        if !given.is_some_and(|given| same(given, token)) {
            let text = "a token is needed: send Authorization: Bearer TOKEN, or ?token=TOKEN";
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], error_body(text))
                .into_response();
        }
    }
    let api = request.uri().path().starts_with("/api/");
    let mut response = match *request.method() {
        Method::OPTIONS => preflight(),
        _ => next.run(request).await,
    };
    if api
        && server.args.cors != "none"
        && let Ok(origin) = server.args.cors.parse()
    {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn preflight() -> Response {
    let fields = [
        (header::ALLOW, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Cache-Control, Last-Event-ID"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, fields).into_response()
}

/// In a time that does not tell where they differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn error_body(text: &str) -> String {
    format!("{}\n", serde_json::json!({ "error": text }))
}

fn error(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], error_body(text)).into_response()
}

async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self'; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let fields = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)];
    (fields, include_str!("page/fleet.html"))
}

async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page/fleet.js"))
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page/fleet.css"))
}

async fn healthz(State(server): Shared) -> Response {
    match is_connected(&server.client) {
        true => ([(header::CONTENT_TYPE, "application/json")], "{\"status\": \"ok\"}\n").into_response(),
        false => error(StatusCode::SERVICE_UNAVAILABLE, "not connected to NATS"),
    }
}

/// How the fleet is, and how its streams go on.
async fn metrics(State(server): Shared) -> impl IntoResponse {
    let (mut out, feeds) = (String::new(), &server.feeds);
    let one = |out: &mut String, name: &str, kind, help, value: u64| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    let up = is_connected(&server.client).into();
    one(&mut out, "micring_fleet_connected", "gauge", "whether the connection to NATS is up", up);
    let arrays = server.fleet.states();
    let states = arrays.iter().map(|(status, n)| (status.as_str(), *n));
    family(&mut out, "micring_fleet_arrays", ("gauge", "arrays by what their health says"), "status", states);
    let listeners = feeds.listeners();
    let names: Vec<String> = listeners.iter().map(|(place, _)| place.name()).collect();
    let listeners = names.iter().zip(&listeners).map(|(name, (_, n))| (name.as_str(), *n as u64));
    family(&mut out, "micring_fleet_listeners", ("gauge", "who listens here to an array"), "array", listeners);
    let counts = &feeds.counts;
    for (name, help, count) in [
        ("cycles", "live cycles that came", &counts.cycles),
        ("filled_cycles", "cycles that had not come and were asked for", &counts.filled),
        ("holes", "holes that stayed", &counts.holes),
        ("too_slow", "batches of cycles that a slow listener lost", &counts.too_slow),
    ] {
        one(&mut out, &format!("micring_fleet_{name}_total"), "counter", help, count.get());
    }
    ([(header::CONTENT_TYPE, METRICS_TYPE)], out)
}

async fn fleet(State(server): Shared) -> Response {
    let body = format!("{}\n", server.fleet.json());
    let fields = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (fields, body).into_response()
}

async fn array_route(
    State(server): Shared,
    Path((name, route)): Path<(String, String)>,
    query: Parameters,
    headers: HeaderMap,
) -> Response {
    match server.fleet.place(Some(&name)) {
        Some(place) => answer(&server, place, &route, &query.0, &headers).await,
        None => error(StatusCode::NOT_FOUND, &format!("no array {name} is known; /api/arrays lists them")),
    }
}

/// The routes of a server with one array.
async fn old_route(
    State(server): Shared,
    Path(route): Path<String>,
    query: Parameters,
    headers: HeaderMap,
) -> Response {
    let known = server.fleet.place(server.args.first.as_deref());
    let Some(place) = known else {
        let text = "no array is known yet; /api/arrays lists them";
        let again = [(header::RETRY_AFTER, "2"), (header::CONTENT_TYPE, "application/json")];
        return (StatusCode::SERVICE_UNAVAILABLE, again, error_body(text)).into_response();
    };
    let route = match route.as_str() {
        "stream_3ch" if query.get("format").is_some_and(|format| format == "binary") => {
            let text = "the old binary format is not passed on: /api/arrays/NAME/stream.bin has the new one";
            return error(StatusCode::BAD_REQUEST, text);
        }
        "stream_3ch" => "stream",
        "stream_3ch.wav" => "stream.wav",
        "stream" => "packets",
        "diagnostics_sync" => "diagnostics",
        "diagnostics" => "summary",
        "latest" => "latest",
        "download_buffer" => "download",
        "download_buffer_text" => "download.csv",
        _ => "",
    };
    answer(&server, place, route, &query.0, &headers).await
}

async fn answer(
    server: &Server,
    place: Place,
    route: &str,
    query: &std::collections::HashMap<String, String>,
    headers: &HeaderMap,
) -> Response {
    let value = |name: &str| query.get(name).map(String::as_str);
    let (what, kind) = match route {
        "stream" => return live(server, place, Form::Events, query, headers),
        "stream.bin" => return live(server, place, Form::Records, query, headers),
        "packets" => return live(server, place, Form::Packets, query, headers),
        "stream.wav" => match Wav::parse(value("channels"), value("bits"), value("wav")) {
            Ok(wav) => return live(server, place, Form::Wav(wav), query, headers),
            Err(text) => return error(StatusCode::BAD_REQUEST, &text),
        },
        "diagnostics" => (What::Diagnostics, "application/json"),
        "summary" => (What::Summary, "application/json"),
        "latest" => (What::Latest, "application/json"),
        "health" => (What::Health, "application/json"),
        "download" => (What::Download, "audio/wav"),
        "download.csv" => (What::DownloadText, "text/csv; charset=utf-8; header=present"),
        _ => return error(StatusCode::NOT_FOUND, "no such route; / lists them"),
    };
    let passed: Vec<String> =
        ["seconds", "wav"].iter().filter_map(|name| Some(format!("{name}={}", value(name)?))).collect();
    match ask::ask(&server.client, &place, &Question::route(what, &passed.join("&"))).await {
        Ok((status, body)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            let kind = if status.is_success() { kind } else { "application/json" };
            (status, [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], body).into_response()
        }
        Err(text) => error(StatusCode::BAD_GATEWAY, &text),
    }
}

/// An endless answer: live, behind the client's last id, or from a time on.
fn live(
    server: &Server,
    place: Place,
    form: Form,
    query: &std::collections::HashMap<String, String>,
    headers: &HeaderMap,
) -> Response {
    let content_type = form.content_type();
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let last = last.or_else(|| query.get("last_event_id").cloned());
    let from = query.get("from").cloned();
    // `from` is an id on micring's own streams, and here a time too.
    let (last, from) = match from {
        Some(from) if from.bytes().all(|b| b.is_ascii_digit()) => (Some(from), None),
        from => (last, from),
    };
    let last = last.and_then(|id| id.parse().ok()).filter(|id: &u64| *id < MAX_NUMBER);
    let run = server.fleet.run_of(&place);
    let body = match from {
        Some(from) => match from.parse::<jetstream_time::Time>() {
            Ok(time) => {
                let (client, prefix) = (server.client.clone(), server.args.nats.prefix.clone());
                Body::from_stream(written(form, run, spawn(move |to| stored(client, prefix, place, (time, last), to))))
            }
            Err(text) => return error(StatusCode::BAD_REQUEST, &text),
        },
        None => {
            let receiver = server.feeds.listen(&place);
            // An id of another run starts live.
            let last = last.filter(|id| run.is_none_or(|run| *id + 1 >= run));
            let feeds = server.feeds.clone();
            Body::from_stream(written(form, run, spawn(move |to| caught_up(feeds, place, last, receiver, to))))
        }
    };
    let fields = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (fields, body).into_response()
}

/// Cycles of a task that ends when nobody takes them any more.
fn spawn<F, T>(task: F) -> mpsc::Receiver<Event>
where
    F: FnOnce(mpsc::Sender<Event>) -> T,
    T: Future<Output = Result<(), String>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(1);
    let task = task(sender);
    tokio::spawn(async move {
        if let Err(trouble) = task.await {
            say(trouble);
        }
    });
    receiver
}

/// Cycles in a client's form, with a sign of life while there are none.
fn written(form: Form, run: Option<u64>, cycles: mpsc::Receiver<Event>) -> impl Stream<Item = Result<Bytes, String>> {
    let preamble = form.preamble(run);
    let rest = stream::unfold((form, cycles), |(mut form, mut cycles)| async move {
        let bytes = match timeout(HEARTBEAT, cycles.recv()).await {
            Ok(Some(event)) => form.write(&event),
            Ok(None) => return None,
            Err(_) => form.heartbeat(),
        };
        Some((Ok(bytes), (form, cycles)))
    });
    stream::once(async move { Ok(preamble) }).chain(rest)
}

/// What the client missed, then what comes.
async fn caught_up(
    feeds: Arc<Feeds>,
    place: Place,
    last: Option<u64>,
    mut live: broadcast::Receiver<Batch>,
    to: mpsc::Sender<Event>,
) -> Result<(), String> {
    // The last cycle that this client was given; until live cycles follow it without a hole, it is asked for what is between.
    let client = &feeds.client;
    let mut reached = None;
    let mut behind = last.is_some();
    if let Some(after) = last {
        reached = fetch(client, &place, after, None, &to).await;
    }
    loop {
        let event = tokio::select! {
            batch = live.recv() => batch,
            () = to.closed() => return Ok(()),
        };
        let batch = match event {
            Ok(batch) => batch,
            // Too slow: the oldest are gone, which its ids show.
            Err(broadcast::error::RecvError::Lagged(batches)) => {
                feeds.counts.too_slow.add(batches);
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        };
        for event in batch.iter() {
            let id = event.header.id;
            if behind {
                if reached.is_some_and(|reached| id <= reached) {
                    continue;
                }
                match reached.or(last).filter(|after| *after + 1 < id && *after + 1 >= event.header.run) {
                    Some(after) => drop(fetch(client, &place, after, Some(id - 1), &to).await),
                    None => behind = false,
                }
            }
            reached = Some(id);
            if to.send(event.clone()).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Hands on what is behind `after`; the last id that there was.
async fn fetch(
    client: &Client,
    place: &Place,
    after: u64,
    until: Option<u64>,
    to: &mpsc::Sender<Event>,
) -> Option<u64> {
    let mut reached = None;
    loop {
        let events = match ask::cycles_again(client, place, reached.unwrap_or(after), until).await {
            Ok(events) => events,
            Err(trouble) => {
                say(format_args!("{}/{}: what a client missed stays missing: {trouble}", place.host, place.array));
                return reached;
            }
        };
        let last = events.last().map(|event| event.header.id);
        for event in events {
            to.send(event).await.ok()?;
        }
        reached = last.or(reached);
        // An answer has room for so much; another one while it brings more and the end is known.
        if last.is_none_or(|last| until.is_none_or(|until| last >= until)) {
            return reached;
        }
    }
}

/// Stored audio from a time on, or behind the last cycle of a client that comes back; and on for ever as it is stored: half a
/// second behind live.
async fn stored(
    client: Client,
    prefix: String,
    place: Place,
    (from, last): (jetstream_time::Time, Option<u64>),
    to: mpsc::Sender<Event>,
) -> Result<(), String> {
    let stream = jetstream::new(client.clone()).get_stream(audio_name(&prefix)).await;
    let stream = stream.map_err(|e| format!("no audio is stored: {}", chain(&e)))?;
    let config = OrderedConfig {
        deliver_subject: client.new_inbox(),
        filter_subject: place.subject(Kind::Audio),
        deliver_policy: DeliverPolicy::ByStartTime { start_time: from.0 },
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|e| chain(&e))?;
    let mut messages = consumer.messages().await.map_err(|e| chain(&e))?;
    let mut at = last;
    while let Some(message) = messages.next().await {
        let message = message.map_err(|e| chain(&e))?;
        for event in Event::all(message.payload.clone())? {
            // Stored once; but a consumer that begins anew may give a message again. Ids rise over runs too: a run's begin with
            // the milliseconds of its start, and a cycle takes longer than one.
            let id = Some(event.header.id);
            if at < id {
                at = id;
                if to.send(event).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// A time as the query has it.
mod jetstream_time {
    use std::str::FromStr;

    pub struct Time(pub async_nats::datetime::DateTime);

    impl FromStr for Time {
        type Err = String;
        fn from_str(text: &str) -> Result<Time, String> {
            let parsed = async_nats::datetime::parse_rfc3339(text);
            parsed.map(Time).map_err(|_| format!("from={text}: give a time as 2026-11-27T12:00:00Z, or an id"))
        }
    }
}
