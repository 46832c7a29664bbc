//! The connections to NATS, and what is asked of the server before anything is promised.
//!
//! What the client and the server do that matters here (async-nats 0.51, nats-server 2.9 to 2.15):
//! - `publish` is done once a message waits in the client; what was being written when a connection ends is gone. Only a
//!   PubAck says that a message is stored.
//! - A connection that is cut without a word is noticed by pings alone: every 60 s by default, here [`PING`].
//! - A subscription's buffer counts messages (65 536 by default), not bytes; a cycle has kilobytes: here [`BUFFERED`].
//! - The server stops reading for up to 100 ms from who publishes to a slow subscriber: PCM has a connection of its own.
//! - The server flushes a stream's file to disk every 2 minutes, unless its `sync_interval` is `always`.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, CreateStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Stream};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, RequestErrorKind, connection::State};
use bytes::Bytes;

use crate::failure::{Exit, Failure};
use crate::names::{Kind, everywhere};
use crate::say;

/// A server that is gone without a word is noticed after two of these.
const PING: Duration = Duration::from_secs(3);
/// How long one try to connect may take.
const CONNECT: Duration = Duration::from_secs(3);
/// Between two tries: short, since everything that is not fetched meanwhile must still be in the history.
const RETRY: Duration = Duration::from_millis(500);
/// Messages that wait in one subscription: 64 of 6 kB are what micring keeps for one of its own clients.
pub const BUFFERED: usize = 256;
/// Longest wait for a PubAck or an answer of JetStream.
pub const ACK: Duration = Duration::from_secs(5);

/// Room for the headers of a message.
const HEADER_ROOM: usize = 1024;

/// Where NATS is and who we are.
#[derive(Clone, Debug, clap::Args)]
pub struct NatsArgs {
    /// NATS servers: nats://HOST:PORT, tls://HOST:PORT; several of one cluster, separated by commas.
    #[arg(long, value_name = "URL", default_value = "nats://127.0.0.1:4222", value_delimiter = ',', env = "NATS_URL")]
    pub nats: Vec<String>,
    /// Credentials file (JWT and seed), as `nsc` writes it.
    #[arg(long, value_name = "FILE")]
    pub creds: Option<PathBuf>,
    /// File whose first line is an NKEY seed.
    #[arg(long, value_name = "FILE")]
    pub nkey_file: Option<PathBuf>,
    /// User name.
    #[arg(long, value_name = "NAME", requires = "nats_password_file")]
    pub nats_user: Option<String>,
    /// File whose first line is the user's password.
    #[arg(long, value_name = "FILE", requires = "nats_user")]
    pub nats_password_file: Option<PathBuf>,
    /// File whose first line is the NATS server's token.
    #[arg(long, value_name = "FILE")]
    pub nats_token_file: Option<PathBuf>,
    /// Certificates (PEM) of who signed the server's, beside the system's.
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Our certificate (PEM), where the server asks for one.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// What all subjects begin with; the streams are named by it.
    #[arg(long, value_name = "WORD", default_value = "micring", value_parser = prefix)]
    pub prefix: String,
    /// How long the first connection is tried before the program gives up.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = micring_duration)]
    pub wait: Duration,
}

fn prefix(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    fits.then(|| text.to_owned()).ok_or_else(|| "letters, digits, - and _ only".into())
}

/// A duration as micring's options have it.
pub fn micring_duration(text: &str) -> Result<Duration, String> {
    let span = micring::cli::parse_span(text)?;
    Ok(Duration::from_nanos(span.as_nanos().try_into().map_err(|_| "is below 0")?))
}

/// The first line of a file that holds a secret.
pub fn first_line(path: &PathBuf) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|e| Failure::new(Exit::Other, format_args!("cannot read {}: {e}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

impl NatsArgs {
    async fn options(&self, name: &str) -> Result<ConnectOptions, Failure> {
        let mut options = ConnectOptions::new()
            .name(name)
            .ping_interval(PING)
            .connection_timeout(CONNECT)
            .request_timeout(Some(ACK))
            .subscription_capacity(BUFFERED)
            .reconnect_delay_callback(|_| RETRY)
            .event_callback({
                let name = name.to_owned();
                move |event| {
                    let name = name.clone();
                    async move { tell(&name, &event) }
                }
            });
        if let Some(path) = &self.creds {
            let given = options.credentials_file(path).await;
            options = given.map_err(|e| {
                Failure::new(
                    Exit::Denied,
                    format_args!("--creds {}: {e}: give the file that nsc wrote", path.display()),
                )
            })?;
        }
        if let Some(path) = &self.nkey_file {
            options = options.nkey(first_line(path)?);
        }
        if let (Some(user), Some(path)) = (&self.nats_user, &self.nats_password_file) {
            options = options.user_and_password(user.clone(), first_line(path)?);
        }
        if let Some(path) = &self.nats_token_file {
            options = options.token(first_line(path)?);
        }
        if let Some(path) = &self.tls_ca {
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
        }
        Ok(options)
    }

    /// A connection that, once made, is made again for ever. The first one is tried for `--wait`.
    pub async fn connect(&self, name: &str) -> Result<Client, Failure> {
        let give_up = tokio::time::Instant::now() + self.wait;
        loop {
            let tried = self.options(name).await?.connect(self.nats.as_slice()).await;
            let error = match tried {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            let servers = self.nats.join(",");
            match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    let text = format!(
                        "{servers} refuses these credentials: give --creds, --nkey-file, --nats-user or \
                         --nats-token-file as the server's configuration has them"
                    );
                    return Err(Failure::new(Exit::Denied, text));
                }
                ConnectErrorKind::ServerParse => {
                    let text = format!("`{servers}` is no address of a NATS server: give nats://HOST:PORT");
                    return Err(Failure::new(Exit::Config, text));
                }
                ConnectErrorKind::Tls => {
                    let text = format!("{servers}: {}: give the certificate's signer by --tls-ca", chain(&error));
                    return Err(Failure::new(Exit::Config, text));
                }
                _ if tokio::time::Instant::now() < give_up => tokio::time::sleep(RETRY).await,
                _ => {
                    let text = format!(
                        "cannot reach {servers}: {}: is nats-server running there? --nats names another one",
                        chain(&error)
                    );
                    return Err(Failure::new(Exit::Unreachable, text));
                }
            }
        }
    }
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

fn tell(name: &str, event: &Event) {
    match event {
        Event::ServerError(error) => say(format_args!("{name}: {error}: what it may do is the NATS server's to say")),
        // Each vain try to connect again is one; that it is down was said, and /healthz says it.
        Event::Closed | Event::Draining | Event::ClientError(_) => {}
        event => say(format_args!("{name}: {event}")),
    }
}

/// Bytes that one message has room for, beside its headers.
pub fn room(client: &Client) -> usize {
    client.max_payload().saturating_sub(HEADER_ROOM)
}

pub fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

/// How much is kept of what is stored.
#[derive(Clone, Debug, clap::Args)]
pub struct KeepArgs {
    /// Copies of the streams in a cluster; when they are made.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub replicas: usize,
    /// How long diagnostics, health and gaps stay; when their stream is made.
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = micring_duration)]
    pub events_age: Duration,
    /// Most bytes of them; beyond, the oldest go.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub events_bytes: i64,
    /// How long audio stays; when its stream is made.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = micring_duration)]
    pub audio_age: Duration,
    /// Most bytes of it; beyond, the oldest go. An array of three has 2.1 GB an hour. The NATS server reserves them.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30)]
    pub audio_bytes: i64,
}

/// The streams. `audio` is there once somebody stores it.
#[derive(Clone, Debug)]
pub struct Store {
    pub context: jetstream::Context,
    pub events: Stream,
    pub audio: Option<Stream>,
}

pub fn events_name(prefix: &str) -> String {
    format!("{prefix}_events")
}

pub fn audio_name(prefix: &str) -> String {
    format!("{prefix}_audio")
}

/// Finds the streams, or makes them; says what stands in the way.
pub async fn open_store(client: &Client, prefix: &str, keep: &KeepArgs, audio: bool) -> Result<Store, Failure> {
    let context = ContextBuilder::new().timeout(ACK).build(client.clone());
    has_jetstream(client).await?;
    let config = |name: String, subjects, max_age, max_bytes| Config {
        name,
        subjects,
        max_age,
        max_bytes,
        discard: DiscardPolicy::Old,
        num_replicas: keep.replicas,
        allow_direct: true,
        ..Config::default()
    };
    let subjects = [Kind::Health, Kind::Diagnostics, Kind::Gaps].map(|kind| everywhere(prefix, kind)).to_vec();
    let events = config(events_name(prefix), subjects, keep.events_age, keep.events_bytes);
    let events = stream(&context, events).await?;
    let audio = match audio {
        true => {
            let subjects = vec![everywhere(prefix, Kind::Audio)];
            Some(stream(&context, config(audio_name(prefix), subjects, keep.audio_age, keep.audio_bytes)).await?)
        }
        false => None,
    };
    Ok(Store { context, events, audio })
}

/// A stream that is there stays as its owner made it.
async fn stream(context: &jetstream::Context, config: Config) -> Result<Stream, Failure> {
    let (name, bytes) = (config.name.clone(), config.max_bytes);
    let found = match context.get_stream(&name).await {
        Ok(stream) => stream,
        Err(_) => context.create_stream(config).await.map_err(|error| {
            let full = matches!(error.kind(), CreateStreamErrorKind::JetStream(error) if is_full(error.error_code()));
            if full {
                let text = format!(
                    "the NATS server has no room for the {bytes} bytes of the stream {name} ({}): ask for less \
                     (--audio-bytes, --events-bytes), or give it more disk (max_file_store)",
                    chain(&error)
                );
                return Failure::new(Exit::Full, text);
            }
            let text =
                format!("cannot make the stream {name}: {}: make it by hand, or let this user do it", chain(&error));
            Failure::new(Exit::Config, text)
        })?,
    };
    let (config, state) = (&found.cached_info().config, &found.cached_info().state);
    let bytes = config.max_bytes > 0 && state.bytes >= config.max_bytes as u64;
    let messages = config.max_messages > 0 && state.messages >= config.max_messages as u64;
    if config.discard == DiscardPolicy::New && (bytes || messages) {
        let text = format!(
            "the stream {name} is full ({} bytes in {} messages) and keeps the old: raise its limits, purge it, or let \
             it discard old messages (nats stream edit {name})",
            state.bytes, state.messages
        );
        return Err(Failure::new(Exit::Full, text));
    }
    Ok(found)
}

/// Asks JetStream's own question for the account, by hand: servers of different ages answer with different keys, and here
/// it matters only whether they answer.
async fn has_jetstream(client: &Client) -> Result<(), Failure> {
    let next = match client.request("$JS.API.INFO", Bytes::new()).await {
        Ok(answer) => {
            let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
            match answer["error"]["description"].as_str() {
                None => return Ok(()),
                Some(why) => format!("stores nothing for this user ({why}): let its account use JetStream"),
            }
        }
        Err(error) if error.kind() == RequestErrorKind::TimedOut => {
            let text = "JetStream does not answer: let this user publish to $JS.API.> and read _INBOX.>";
            return Err(Failure::new(Exit::Denied, text));
        }
        Err(error) => format!(
            "stores nothing ({}): start it with -js, or with `jetstream {{ }}` in its configuration",
            chain(&error)
        ),
    };
    Err(Failure::new(Exit::Config, format_args!("this NATS server {next}")))
}

/// Whether an error of JetStream says that there is no room.
pub fn is_full(code: ErrorCode) -> bool {
    [
        ErrorCode::STREAM_STORE_FAILED,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::MEMORY_RESOURCES_EXCEEDED,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        ErrorCode::INSUFFICIENT_RESOURCES,
    ]
    .contains(&code)
}
