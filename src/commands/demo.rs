//! `micring demo`: serve, with three virtual microphones beside it. The microphones are this same program in a process of
//! its own (`micring simulate`), on another core where there is one, so that what is measured is what a real board would
//! meet: real UDP, real kernel timestamps.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use super::Failure;
use super::serve::{self, Addresses};
use crate::cli::DemoArgs;
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::sys::host;

/// Serves until SIGINT or SIGTERM; the virtual microphones end with it.
///
/// # Errors
/// What `serve` could not set up, or that the simulator cannot be started.
pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    // Before the loop's thread is pinned.
    let allowed = host::allowed_cpus().unwrap_or_default();
    serve::run(&args.serve, |addresses| {
        let elsewhere = allowed.iter().find(|&&core| Some(core) != addresses.core);
        start(args, addresses, elsewhere.copied())?;
        explain(addresses);
        Ok(())
    })
}

/// Starts the simulator. The kernel ends its process with ours, however we end; by then we may signal nobody.
fn start(args: &DemoArgs, addresses: &Addresses, core: Option<usize>) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(format_args!("cannot find this program's own file for the microphones: {error}"))
    })?;
    let mics: Vec<SocketAddr> = addresses.arrays.iter().flat_map(|(_, mics)| mics.iter().copied()).collect();
    let ports = mics.iter().map(|mic| mic.port().to_string()).collect::<Vec<_>>().join(",");
    let to = reachable(mics[0]).ip().to_string();
    let mut command = Command::new(program);
    command.args(["simulate", "--signal", "source", "--jitter", "100us", "--to", &to, "--mic-ports", &ports]);
    command.args(["--core", &core.map_or("none".to_owned(), |core| core.to_string())]);
    let engine = &args.serve.engine;
    let samples = (engine.max_datagram / SAMPLE_BYTES).min(512);
    command.args(["--sample-rate", &engine.sample_rate.to_string(), "--samples", &samples.to_string()]);
    command.args(["--pieces", &args.pieces.0.map_or("none".to_owned(), |bytes| bytes.to_string())]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    host::die_with_parent(&mut command);
    command
        .spawn()
        .map(drop)
        .map_err(|error| Failure::new(format_args!("cannot start the virtual microphones: {error}")))
}

/// Where this machine reaches a wildcard address of its own.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        // A dual-stack socket takes IPv4 too.
        return SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port());
    }
    address
}

fn explain(addresses: &Addresses) {
    let http = reachable(addresses.http);
    let text = format!(
        "\nThree virtual microphones are playing a moving sound source. Open\n\n    http://{http}/\n\nor, in another terminal:\n\n    \
         curl -N http://{http}/api/stream_3ch            # one event a cycle\n    \
         curl http://{http}/api/diagnostics_sync         # skew, delays, drift, losses\n    \
         curl -OJ http://{http}/api/download_buffer      # the last 5 s as a 3-channel WAV\n\nCtrl-C ends it.\n\n"
    );
    // A reader that has gone is no reason to stop serving.
    let _ = io::stderr().write_all(text.as_bytes());
}
