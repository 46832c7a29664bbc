//! micring-relay: the arrays of many hosts, over NATS.
//!
//! `publish` stands beside micring's servers ([`array`], [`source`]: one server over HTTP) and hands on what
//! they have: live cycles while somebody listens ([`live`]), audio and gaps ([`segment`], [`store`]) and reports
//! ([`report`]) to stay, of which Home Assistant is told ([`home_assistant`]); and answer what is asked from afar ([`mod@ask`]).
//!
//! `serve` ([`mod@serve`]) is the other end: which arrays there are ([`fleet`]), their live cycles ([`feed`]), and both as
//! micring's clients know them ([`out`]).
//!
//! [`event`] is a cycle on its way, [`names`] what NATS calls things, [`nats`] the connections.
//!
//! Nothing here can delay a microphone: the relay is one more HTTP client, which the server drops when it is slow. Nothing
//! is buffered here that the server's history holds.

mod array;
mod ask;
mod event;
mod failure;
mod feed;
mod fleet;
mod home_assistant;
mod live;
mod names;
mod nats;
mod out;
mod publish;
mod report;
mod segment;
mod serve;
mod source;
mod status;
mod store;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Arrays of many hosts over NATS.
#[derive(Parser, Debug)]
#[command(name = "micring-relay", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Hand the arrays of local servers on to NATS.
    #[command(alias = "relay")]
    Publish(Box<publish::PublishArgs>),
    /// Serve the arrays of all hosts over HTTP, fed from NATS.
    #[command(aliases = ["play", "fleet"])]
    Serve(Box<serve::ServeArgs>),
    /// Write man pages and shell completions.
    #[cfg(feature = "manual")]
    #[command(hide = true)]
    Manual(micring::cli::manual::ManualArgs),
}

/// One line for people.
pub fn say(text: impl Display) {
    eprintln!("micring-relay: {text}");
}

/// SIGTERM or SIGINT.
pub async fn until_stopped() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Publish(args) => publish::run(*args).await,
            Command::Serve(args) => serve::run(*args).await,
            #[cfg(feature = "manual")]
            Command::Manual(args) => {
                let written = micring::cli::manual::write(<Cli as clap::CommandFactory>::command(), &args.folder);
                written.map_err(|error| {
                    let trouble = format_args!("cannot write {}: {error}", args.folder.display());
                    failure::Failure::new(failure::Exit::Other, trouble)
                })
            }
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}
