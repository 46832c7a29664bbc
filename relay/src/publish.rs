//! `micring-relay publish`: the arrays of the local servers, out to NATS.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Client;
use clap::Args;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::array::Array;
use crate::failure::{Exit, Failure};
use crate::names::Place;
use crate::nats::{KeepArgs, NatsArgs, Store, first_line, micring_duration, open_store};
use crate::source::Server;
use crate::status::{self, Status};
use crate::{ask, home_assistant, live, report, say, store, until_stopped};

/// How often a server is asked which arrays it has.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Args, Clone, Debug)]
pub struct PublishArgs {
    #[command(flatten)]
    pub nats: NatsArgs,
    /// A local server: http://HOST:PORT; may be given several times. With NAME= in front, its arrays are those of a host
    /// of that name.
    #[arg(long = "server", value_name = "[NAME=]URL", default_value = "http://127.0.0.1:5000")]
    pub servers: Vec<String>,
    /// What this host is called in the fleet; by default its host name.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// File whose first line is the local servers' token; MICRING_TOKEN is taken too.
    #[arg(long, value_name = "FILE")]
    pub server_token_file: Option<PathBuf>,
    /// Publish the PCM of this array whether or not somebody listens; `all`: of each. May be given several times.
    #[arg(long, value_name = "ARRAY|all")]
    pub keep: Vec<String>,
    /// Store the audio of this array in JetStream; `all`: of each. May be given several times.
    #[arg(long, value_name = "ARRAY|all")]
    pub store_audio: Vec<String>,
    /// Between two stored messages of an array's diagnostics.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = micring_duration)]
    pub diagnostics_every: Duration,
    /// Tell Home Assistant of every array: its health is a sensor there. For a NATS server that speaks MQTT. TOPIC is the first
    /// level of Home Assistant's discovery topics.
    #[arg(long, value_name = "TOPIC", num_args = 0..=1, default_missing_value = "homeassistant")]
    pub home_assistant: Option<String>,
    #[command(flatten)]
    pub streams: KeepArgs,
    /// Where /healthz and /metrics of the relay are served.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5010")]
    pub http: SocketAddr,
}

/// What every array's tasks share.
#[derive(Clone)]
struct Relay {
    args: Arc<PublishArgs>,
    pcm: Client,
    events: Client,
    store: Store,
    interest: Arc<live::Interest>,
    /// For answers that are being given.
    room: Arc<Semaphore>,
    status: Arc<Status>,
    fatal: mpsc::Sender<Failure>,
    /// Whose tasks run, by host and array: two arrays of one name would mix in one subject.
    running: Arc<Mutex<HashMap<(String, String), Running>>>,
}

struct Running {
    server: String,
    tasks: Vec<AbortHandle>,
}

/// Until SIGTERM or SIGINT, or what cannot be mended by trying again.
pub async fn run(args: PublishArgs) -> Result<(), Failure> {
    let servers = servers(&args)?;
    let events = args.nats.connect("micring-relay events").await?;
    let store = open_store(&events, &args.nats.prefix, &args.streams, !args.store_audio.is_empty()).await?;
    let pcm = args.nats.connect("micring-relay pcm").await?;
    let connections = vec![("events", events.clone()), ("pcm", pcm.clone())];
    let status = Arc::new(Status { arrays: Mutex::default(), servers: Mutex::default(), connections });
    let http = status::serve(status.clone(), args.http).await?;
    let (fatal, mut failures) = mpsc::channel(1);
    let interest = Arc::new(live::Interest::default());
    let relay = Relay {
        args: Arc::new(args),
        pcm: pcm.clone(),
        events,
        store,
        interest: interest.clone(),
        room: Arc::new(Semaphore::new(ask::AT_ONCE)),
        status,
        fatal,
        running: Arc::default(),
    };
    tokio::spawn(async move { interest.run(pcm).await });
    for (host, server) in servers {
        tokio::spawn(relay.clone().watch(host, server));
    }
    println!("{}", serde_json::json!({"ready": true, "http": http}));
    tokio::select! {
        () = until_stopped() => Ok(()),
        failure = failures.recv() => Err(failure.expect("this relay holds a sender")),
    }
}

/// Host name and server, by the options.
fn servers(args: &PublishArgs) -> Result<Vec<(String, Server)>, Failure> {
    let token = match &args.server_token_file {
        Some(path) => Some(first_line(path)?),
        None => std::env::var("MICRING_TOKEN").ok(),
    };
    let ours = match &args.host {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let parse = |text: &String| {
        let (host, url) = match text.split_once('=') {
            Some((host, url)) => (host.to_owned(), url),
            None => (ours.clone(), text.as_str()),
        };
        let server =
            Server::parse(url, token.clone()).map_err(|e| Failure::new(Exit::Other, format_args!("--server {e}")));
        Ok((host, server?))
    };
    args.servers.iter().map(parse).collect()
}

fn host_name() -> Result<String, Failure> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => Err(Failure::new(Exit::Other, "this host has no name: give --host NAME")),
        name => Ok(name.to_owned()),
    }
}

impl Relay {
    /// Starts and ends the tasks of a server's arrays, as they come and go.
    async fn watch(self, host: String, server: Server) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match Array::all(&server).await {
                Ok(arrays) => {
                    if self.status.servers.lock().expect("no holder panics").remove(server.name()).is_some() {
                        say(format_args!("server {}: answers", server.name()));
                    }
                    self.settle(&host, &server, arrays);
                }
                Err(trouble) => {
                    let mut servers = self.status.servers.lock().expect("no holder panics");
                    if servers.insert(server.name().to_owned(), trouble.clone()).is_none() {
                        say(trouble);
                    }
                }
            }
        }
    }

    fn settle(&self, host: &str, server: &Server, arrays: Vec<Array>) {
        let mut running = self.running.lock().expect("no holder panics");
        running.retain(|(of, name), array| {
            let stays = of != host || array.server != server.name() || arrays.iter().any(|array| array.name == *name);
            if !stays {
                array.tasks.iter().for_each(AbortHandle::abort);
                self.status.arrays.lock().expect("no holder panics").remove(&format!("{of}/{name}"));
            }
            stays
        });
        for array in arrays {
            let key = (host.to_owned(), array.name.clone());
            match running.get(&key) {
                Some(other) if other.server != server.name() => {
                    let text = format!(
                        "servers {} and {} both have an array {host}/{}: give one of them a host name of its own \
                         (--server NAME=URL)",
                        other.server,
                        server.name(),
                        array.name
                    );
                    // Whoever is first in ends the program.
                    let _ = self.fatal.try_send(Failure::new(Exit::Other, text));
                }
                Some(_) => {}
                None => {
                    let tasks = self.start(host, array);
                    running.insert(key, Running { server: server.name().to_owned(), tasks });
                }
            }
        }
    }

    fn start(&self, host: &str, array: Array) -> Vec<AbortHandle> {
        let place = Place { prefix: self.args.nats.prefix.clone(), host: host.to_owned(), array: array.name.clone() };
        let status = self.status.array(&format!("{host}/{}", array.name));
        let asked = |names: &[String]| names.iter().any(|name| name == "all" || *name == array.name);
        let mut kept = self.store.clone();
        kept.audio = kept.audio.filter(|_| asked(&self.args.store_audio));
        let report = report::Lane {
            array: array.clone(),
            place: place.clone(),
            client: self.events.clone(),
            store: kept.clone(),
            status: status.clone(),
            diagnostics_every: self.args.diagnostics_every,
            audio_stored: kept.audio.is_some(),
        };
        let live = live::Lane {
            array: array.clone(),
            place: place.clone(),
            client: self.pcm.clone(),
            status: status.clone(),
            interest: self.interest.of(&place),
            always: asked(&self.args.keep),
        };
        let answers =
            ask::Lane { array: array.clone(), place: place.clone(), client: self.pcm.clone(), room: self.room.clone() };
        let sensor = self.args.home_assistant.clone().map(|topics| home_assistant::Lane {
            place: place.clone(),
            client: self.events.clone(),
            topics,
        });
        let store = store::Lane { array, place, client: self.events.clone(), store: kept, status };
        let (live_fatal, store_fatal) = (self.fatal.clone(), self.fatal.clone());
        let mut tasks = vec![
            tokio::spawn(report.run()),
            tokio::spawn(answers.run()),
            tokio::spawn(async move {
                let _ = live_fatal.send(live.run().await).await;
            }),
            tokio::spawn(async move {
                let _ = store_fatal.send(store.run().await).await;
            }),
        ];
        tasks.extend(sensor.map(|sensor| tokio::spawn(sensor.run())));
        tasks.iter().map(|task| task.abort_handle()).collect()
    }
}
