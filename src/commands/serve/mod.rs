//! `micring serve`: binds everything, then runs the loop until a signal ends it.
//!
//! [`event_loop`] is the loop, [`web`] HTTP's part of it. An [`array`] is an engine and what stands around it; an [`inlet`] the
//! sockets that feed one, [`merge`]d into one order as far as the [`order`] is certain. [`view`] is what HTTP sees of the program;
//! [`rtp`] packets to elsewhere; [`log`] the way to standard error, [`recording`] and [`saving`] that to the disk; [`privileges`] what is asked of the
//! host and given up to it; [`no_descriptors`] what is said where none is left; [`configured`] how arrays come and go. This file is what happens before the first turn: the order matters (pin, then ring), and what
//! fails here says what, where, why, and what to do next.

mod array;
mod bodies;
mod calibration;
mod configured;
mod ears;
mod event_loop;
mod figures;
mod inlet;
mod log;
mod merge;
mod no_descriptors;
mod order;
mod plant;
mod privileges;
pub(super) mod recording;
mod rtp;
mod saving;
mod view;
mod web;

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::Failure;
use crate::array::ArrayName;
use crate::cli::config::ArraySpec;
use crate::cli::{Core, HttpArgs, ServeArgs, parse_token};
use crate::engine::ClockChoice;
use crate::http::Server;
use crate::sys::host::{self, Signals};
use crate::sys::latency;
use crate::sys::notify::Notify;
use crate::sys::ring::{Ring, RingOptions};
use crate::sys::tcp;
use crate::sys::udp::{self, OutSocket, StampedSocket};
pub use configured::read as read_config;
use event_loop::Loop;
use recording::Recording;
use saving::Saves;

/// Asked for each microphone: the kernel makes it 4 MiB (socket(7)), which hold some 10 s of 2048-byte datagrams with its
/// overhead.
pub(super) const RECEIVE_BUFFER: usize = 2 << 20;

/// An array and the addresses of its sources.
type Named = (ArrayName, Vec<SocketAddr>);

/// Where a running server can be reached; ports are those that the kernel chose.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub http: SocketAddr,
    pub arrays: Vec<Named>,
    pub core: Option<usize>,
}

/// Serves until SIGINT or SIGTERM. `ready` is called once everything is bound, while this process may still do anything.
///
/// # Errors
/// What could not be set up, with its cause and what to do; or the ring's own failure later.
pub fn run(args: &ServeArgs, ready: impl FnOnce(&Addresses) -> Result<(), Failure>) -> Result<(), Failure> {
    latency::keep_freed_memory();
    let token = token(&args.web)?;
    let core = pinned(args.core)?;
    let specs = match &args.config {
        Some(path) => configured::read(path, &args.engine).map_err(Failure::new)?,
        None => vec![args.array().map_err(Failure::new)?],
    };
    let kept = args.calibration.as_deref().map(calibration::read).transpose().map_err(Failure::new)?;
    let descriptors = host::raise_descriptor_limit().unwrap_or(0);
    let signals = if args.config.is_some() { Signals::block_hangup_too() } else { Signals::block() };
    let signals = signals.map_err(|error| Failure::new(format_args!("cannot watch signals: {}", plain(&error))))?;
    let bind = binder(args)?;
    let (sockets, arrays) = bound(&specs, args.config.is_some(), &bind)?;
    let all: Vec<SocketAddr> = arrays.iter().flat_map(|(_, mics)| mics.iter().copied()).collect();
    let granted = sockets.iter().map(|socket| socket.receive_buffer).min().unwrap_or(0);
    let (listener, http) = listening(args.web.http)?;

    let named = args.config.is_some();
    let sources = specs.iter().zip(&arrays).flat_map(|(spec, (_, mics))| configured::interfaces(spec, named, mics));
    let recording = Recording::begin(&args.record, sources.collect())?;
    let saves = Saves::begin(&args.save)?;
    let socket_buffers = buffers(&specs);
    let options = RingOptions {
        max_datagram: args.engine.max_datagram,
        files: recording.is_some() || saves.is_some(),
        socket_buffers,
        grows: args.config.is_some(),
        ..RingOptions::default()
    };
    let mut ring = Ring::new(options, sockets).map_err(|error| ring_failure(&error))?;
    ring.listen(listener);
    ring.watch(signals);

    let server = Server::new(args.web.config(http, token));
    let addresses = Addresses { http, arrays, core };
    let notify = Notify::from_environment(host::mono());
    let mut run = Loop::new(ring, server, core, notify, args.host.busy_poll);
    run.configured.buffers = usize::from(socket_buffers);
    run.configured.kept = kept.unwrap_or_default();
    if let Some(saves) = saves {
        run.say(saves.describe());
        run.saves = Some(saves);
    }
    for spec in specs.iter().filter_map(|spec| spec.rtp) {
        let socket = OutSocket::connect(spec.to, spec.ttl)
            .map_err(|error| Failure::new(format_args!("cannot send RTP to {}: {}", spec.to, plain(&error))))?;
        run.send_to(spec, socket);
    }
    let mut first = 0;
    for spec in specs {
        let ports = first..first + spec.ports.len();
        first = ports.end;
        run.add(spec, ports.collect());
    }
    if let Some(path) = &args.config {
        let again = move |port| bind(port, "read again");
        run.configured.file = Some((path.clone(), args.engine.clone(), Box::new(again)));
    }
    run.probe().map_err(|error| ring_failure(&error))?;
    if let Some(recording) = recording {
        run.say(recording_into(args, recording.alone));
        run.record(recording);
    }
    say_what_limits(args, &mut run, granted, descriptors, all.len());
    ready(&addresses)?;
    let folders: Vec<&Path> =
        [&args.record.record, &args.save.save].into_iter().flatten().map(PathBuf::as_path).collect();
    let _asked = privileges::take(&args.host, &folders, args.config.as_deref(), &mut run);
    run.open_recording().map_err(|errno| cannot_record(args, errno))?;
    run.open_saves()?;
    announce(&addresses, named);
    run.notify("READY=1");
    run.run().map_err(|error| Failure::new(format_args!("the ring failed: {}", plain(&error))))
}

/// The core that this process now runs on alone, where there is one.
fn pinned(asked: Core) -> Result<Option<usize>, Failure> {
    let core = choose_core(asked)?;
    if let Some(core) = core {
        host::pin_to(core)
            .map_err(|error| Failure::new(format_args!("cannot pin to core {core}: {}", plain(&error))))?;
    }
    Ok(core)
}

/// All sockets, array by array and microphone by microphone, and the addresses that they have.
fn bound(
    specs: &[ArraySpec],
    named: bool,
    bind: &impl Fn(u16, &str) -> Result<StampedSocket, String>,
) -> Result<(Vec<StampedSocket>, Vec<Named>), Failure> {
    let (mut sockets, mut arrays) = (Vec::new(), Vec::new());
    for spec in specs {
        let first = sockets.len();
        for (mic, &port) in spec.ports.iter().enumerate() {
            let whose = if named { format!("{}, mic {mic}", spec.name) } else { format!("mic {mic}") };
            sockets.push(bind(port, &whose).map_err(Failure::new)?);
        }
        arrays.push((spec.name.clone(), sockets[first..].iter().map(StampedSocket::address).collect()));
    }
    Ok((sockets, arrays))
}

fn listening(asked: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = once_free(|| tcp::listen(asked))
        .map_err(|error| Failure::new(format_args!("cannot listen on TCP {asked} (http): {}", plain(&error))))?;
    let http = listener.local_addr().map_err(|error| Failure::new(plain(&error)))?;
    Ok((listener, http))
}

fn recording_into(args: &ServeArgs, alone: bool) -> String {
    let folder = args.record.record.as_deref().unwrap_or(Path::new("")).display();
    let megabytes = args.record.record_max_bytes as f64 / 1e6;
    let whose = if alone { "" } else { " of its own (what else is there may be another server's)" };
    format!("recording into {folder}, {megabytes} MB{whose} at most, the oldest go first")
}

fn cannot_record(args: &ServeArgs, errno: i32) -> Failure {
    let folder = args.record.record.as_deref().unwrap_or(Path::new("")).display();
    let next = match errno {
        libc::EACCES | libc::EPERM => {
            " once confined, where root may write no more than any other user: give the folder to this user, or --no-sandbox"
        }
        _ => "",
    };
    Failure::new(format_args!("cannot record into {folder}: {}{next}", words(errno)))
}

/// What of the command line does nothing, and what the kernel grants less of than is wanted.
fn say_what_limits(args: &ServeArgs, run: &mut Loop, granted: usize, descriptors: u64, sockets: usize) {
    if args.udp_bind.is_multicast() {
        let on = args.udp_interface.as_deref().unwrap_or("the interface that its route names");
        run.say(format_args!("joined the group {} on {on}", args.udp_bind));
    }
    if args.engine.resample && args.engine.clock == ClockChoice::Shared {
        run.say("--resample does nothing beside --clock shared: there all channels have one clock");
    }
    if granted < 2 * RECEIVE_BUFFER {
        run.say(format_args!(
            "the kernel grants {} KiB of receive buffer a microphone, not {}: raise it with sysctl -w net.core.rmem_max={}",
            granted >> 11,
            RECEIVE_BUFFER >> 10,
            RECEIVE_BUFFER
        ));
    }
    // Beside connections: the ring, sockets, listener, signals, standard streams.
    let wanted = args.web.max_connections as u64 + sockets as u64 + 32;
    if descriptors < wanted {
        run.say(format_args!("{descriptors} descriptors are allowed, {wanted} may be needed: raise ulimit -n"));
    }
}

/// The token that HTTP asks for: from its file, else as given.
fn token(args: &HttpArgs) -> Result<Option<String>, Failure> {
    let Some(path) = &args.token_file else { return Ok(args.token.clone()) };
    let failure = |what: &str| Failure::new(format_args!("cannot take the token from {}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| failure(&plain(&error)))?;
    let line = text.lines().next().unwrap_or_default().trim();
    parse_token(line).map(Some).map_err(|why| failure(&format!("its first line {why}")))
}

pub(super) fn choose_core(core: Core) -> Result<Option<usize>, Failure> {
    let allowed = host::allowed_cpus()
        .map_err(|error| Failure::new(format_args!("cannot read the CPU affinity: {}", plain(&error))))?;
    match core {
        Core::None => Ok(None),
        Core::Auto => Ok(allowed.last().copied()),
        Core::Number(core) if allowed.contains(&core) => Ok(Some(core)),
        Core::Number(core) => {
            Err(Failure::new(format_args!("cannot pin to core {core}: this process may run on {allowed:?} only")))
        }
    }
}

/// Binds, and tries for half a second where the address is in use: the kernel takes a ring down after its process has gone
/// (io_uring/io_uring.c, `io_ring_exit_work`), and until then the ports of a server that was killed are taken.
fn once_free<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..50 {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(Duration::from_millis(10)),
            done => return done,
        }
    }
    bind()
}

/// Buffers of a socket: what a flood needs while there are few, and less memory where there are many.
fn buffers(specs: &[ArraySpec]) -> u16 {
    /// Sockets for which each has its full share of buffers.
    const FEW: usize = 64;
    /// Beyond; an enter that finds more arms the receive again.
    const OF_MANY: u16 = 8;
    let sockets: usize = specs.iter().map(|spec| spec.ports.len()).sum();
    if sockets <= FEW { RingOptions::default().socket_buffers } else { OF_MANY }
}

/// How ports are bound: what is returned takes the port and whose it is, for the message.
fn binder(args: &ServeArgs) -> Result<impl Fn(u16, &str) -> Result<StampedSocket, String> + use<>, Failure> {
    let interface = match &args.udp_interface {
        Some(name) => Some(udp::interface_index(name).map_err(|error| {
            Failure::new(format_args!("cannot listen on {name} (--udp-interface): {}: see `ip link`", plain(&error)))
        })?),
        None => None,
    };
    let bind = args.udp_bind;
    Ok(move |port: u16, whose: &str| {
        let address = match bind {
            IpAddr::V6(group) if group.is_multicast() => {
                SocketAddrV6::new(group, port, 0, interface.unwrap_or(0)).into()
            }
            other => SocketAddr::new(other, port),
        };
        let socket = once_free(|| StampedSocket::bind(address, RECEIVE_BUFFER)).map_err(|error| {
            let next = bind_advice(address, interface, &error);
            format!("cannot bind UDP {address} ({whose}): {}{next}", plain(&error))
        })?;
        if address.ip().is_multicast() {
            socket.join(interface).map_err(|error| {
                let next = bind_advice(address, interface, &error);
                format!("cannot join the group {} ({whose}): {}{next}", address.ip(), plain(&error))
            })?;
        }
        Ok(socket)
    })
}

/// What to do about a group that cannot be had.
fn bind_advice(address: SocketAddr, interface: Option<u32>, error: &io::Error) -> &'static str {
    match (error.raw_os_error(), interface) {
        (Some(libc::ENODEV), None) => {
            ": no route leads to it: name the interface that the microphones are on, --udp-interface"
        }
        // RFC 4291 2.7: the scope of an IPv6 group may be a single link.
        (Some(libc::EINVAL), None) if address.is_ipv6() && address.ip().is_multicast() => {
            ": is it a group of one link? Name the interface, --udp-interface"
        }
        _ => "",
    }
}

/// The machine-readable line on standard output.
fn announce(addresses: &Addresses, named: bool) {
    let text = |mics: &[SocketAddr]| mics.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
    let all: Vec<SocketAddr> = addresses.arrays.iter().flat_map(|(_, mics)| mics.iter().copied()).collect();
    let mut line = serde_json::json!({
        "ready": true,
        "http": addresses.http.to_string(),
        "mics": text(&all),
        "core": addresses.core,
    });
    if named {
        let array = |(name, mics): &(ArrayName, Vec<SocketAddr>)| serde_json::json!({"name": name.as_str(), "mics": text(mics)});
        line["arrays"] = addresses.arrays.iter().map(array).collect();
    }
    // A reader that has gone is no reason to stop serving.
    let _ = writeln!(io::stdout(), "{line}");
}

/// An error as people read it: without `(os error 98)`.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// An errno as people read it.
pub(super) fn words(errno: i32) -> String {
    plain(&io::Error::from_raw_os_error(errno))
}

/// What to do about a ring that the kernel refuses.
pub(super) fn ring_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here: check `sysctl kernel.io_uring_disabled` (0 allows it), or the container's seccomp profile"
        }
        Some(libc::ENOSYS) => {
            "this kernel has no io_uring, or a seccomp profile hides it; micring needs Linux 6.1 or newer"
        }
        Some(libc::EINVAL) => "micring needs Linux 6.1 or newer (multishot receive, deferred task work)",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (ulimit -n)",
        Some(libc::ENOMEM) => "raise the locked-memory limit (ulimit -l) or free memory",
        _ => "see `uname -r`; micring needs Linux 6.1 or newer",
    }
}

fn ring_failure(error: &io::Error) -> Failure {
    let (kernel, next) = (host::kernel_release(), ring_advice(error));
    Failure::new(format_args!("cannot set up io_uring on Linux {kernel}: {}: {next}", plain(error)))
}
