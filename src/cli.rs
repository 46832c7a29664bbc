//! The command line: every option with its unit and default. Names are the contract's.

pub mod config;
mod engine;
mod extract;
mod host;
mod http;
#[cfg(feature = "manual")]
pub mod manual;
mod record;
mod rtp;
mod save;
mod simulate;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use self::config::{ArraySpec, Senders};
pub use self::engine::EngineArgs;
pub use self::extract::ExtractArgs;
pub use self::host::{DoctorArgs, HostArgs, LowLatency};
pub use self::http::{HttpArgs, parse_token};
pub use self::record::RecordArgs;
pub use self::rtp::RtpArgs;
pub use self::save::SaveArgs;
pub use self::simulate::{Pieces, SimulateArgs};
use crate::array::ArrayName;
use crate::time::Span;

/// Three microphones over UDP in, one sample-aligned stream and honest diagnostics out.
#[derive(Parser, Debug)]
#[command(name = "micring", version, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Receive three microphones, serve the aligned stream and live diagnostics over HTTP.
    Serve(ServeArgs),
    /// Serve, with three virtual microphones: works on any machine at once.
    Demo(DemoArgs),
    /// Send what virtual microphones would, impaired as you choose, and say what was sent and withheld.
    Simulate(Box<SimulateArgs>),
    /// Send a recording's datagrams again, at their recorded spacing.
    Replay(ReplayArgs),
    /// Say what a recording (pcapng or pcap, of micring or of tcpdump) shows about skew, drift, loss and stability.
    Analyze(AnalyzeArgs),
    /// Write a recording's aligned audio as WAV or FLAC, with what is known of it (gaps, clocks) as JSON Lines.
    Extract(ExtractArgs),
    /// Measure the constant offset between free boards by claps, at a server that runs.
    Calibrate(CalibrateArgs),
    /// Explain a configuration file, or say what is wrong with it, and where.
    CheckConfig(CheckConfigArgs),
    /// Look at this host: what it needs for low latency, and the commands that mend it. Exit code 1 when micring cannot run.
    Doctor(DoctorArgs),
    /// Hand the arrays of local servers on to NATS: the same as `micring-relay publish`, whose options it takes.
    #[command(disable_help_flag = true)]
    Relay(RelayArgs),
    /// Write man pages and shell completions.
    #[cfg(feature = "manual")]
    #[command(hide = true)]
    Manual(manual::ManualArgs),
}

#[derive(Args, Clone, Debug)]
pub struct RelayArgs {
    /// Options of `micring-relay publish`: --help shows them.
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<std::ffi::OsString>,
}

#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// A recording (pcapng or pcap, of micring or of tcpdump, also gzipped); several files are taken for one. `-` is standard input.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Host that the datagrams are sent to.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub to: String,
    /// UDP ports of mic 0, 1, 2 at that host.
    #[arg(long, value_name = "A,B,C", default_value = "30001,30002,30003", value_parser = simulate::parse_targets)]
    pub mic_ports: PortList,
    /// UDP ports of mic 0, 1, 2 in the recording; by default as micring recorded them, or else 30001, 30002, 30003.
    #[arg(long, value_name = "A,B,C", value_parser = parse_port_list)]
    pub ports: Option<PortList>,
    #[command(flatten)]
    pub one: OneArgs,
    /// So many times faster than recorded.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = simulate::parse_factor)]
    pub speed: f64,
    /// Begin again, a second after the end, until SIGINT or SIGTERM.
    #[arg(long = "loop")]
    pub repeat: bool,
    /// Core that the sender is pinned to: auto (the first one allowed), a number, or none.
    #[arg(long, value_name = "auto|N|none", default_value = "auto", value_parser = parse_core)]
    pub core: Core,
}

/// Which array of a recording that holds many.
#[derive(Args, Clone, Debug)]
pub struct OneArgs {
    /// The array of this name in a recording of `serve --config`; by default the first.
    #[arg(long, value_name = "NAME")]
    pub array: Option<String>,
    /// Only what this address sent: of an array of each-host, one board.
    #[arg(long, value_name = "ADDR")]
    pub from: Option<IpAddr>,
}

/// Recordings that are fed to an engine.
#[derive(Args, Clone, Debug)]
pub struct FeedArgs {
    /// Recordings, also gzipped; several are taken for one, in the order of their stamps. `-` is standard input.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// UDP ports of mic 0, 1, 2; by default as micring recorded them, or else 30001, 30002, 30003.
    #[arg(long = "ports", visible_alias = "mic-ports", value_name = "A,B,C", value_parser = parse_port_list)]
    pub mic_ports: Option<PortList>,
    #[command(flatten)]
    pub one: OneArgs,
    /// Channels in all, where a port carries more than one (interleaved); by default as the recording says, or else one a port.
    #[arg(long, value_name = "N")]
    pub channels: Option<usize>,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Args, Clone, Debug)]
pub struct AnalyzeArgs {
    #[command(flatten)]
    pub feed: FeedArgs,
    /// Print one object of JSON: the keys of /api/diagnostics_sync, and more.
    #[arg(long)]
    pub json: bool,
    /// Write a page with plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Take numbered packets as if they had no numbers: what would be inferred of them.
    #[arg(long)]
    pub forget_numbers: bool,
}

#[derive(Args, Clone, Debug)]
pub struct CalibrateArgs {
    /// Where the server is.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5000")]
    pub http: SocketAddr,
    /// The array of this name; by default the first.
    #[arg(long, value_name = "NAME")]
    pub array: Option<String>,
    /// How far the claps are from each microphone, in metres; by default equally far.
    #[arg(long, value_name = "METRES,...")]
    pub distances: Option<String>,
    /// Keep what was told in this file, for `serve --calibration FILE`.
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
    /// The server's token.
    #[arg(long, value_name = "TOKEN", env = "MICRING_TOKEN", hide_env_values = true, value_parser = parse_token)]
    pub token: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct CheckConfigArgs {
    /// The file that `serve --config` would be given.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// UDP ports of mic 0, 1, 2, as many as there are; 0 lets the kernel choose.
    #[arg(long, value_name = "A,B,C", default_value = "30001,30002,30003", value_parser = parse_port_list)]
    pub mic_ports: PortList,
    /// Channels in all, where a port carries more than one (interleaved); by default one a port.
    #[arg(long, value_name = "N")]
    pub channels: Option<usize>,
    /// Arrays and their ports, as TOML: docs/config.md. The options of alignment are what holds where the file says nothing. SIGHUP reads it
    /// again; arrays that have not changed go on untouched.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mic_ports", "channels"])]
    pub config: Option<PathBuf>,
    /// Address that the microphones' sockets bind; `::` takes IPv4 and IPv6. A multicast group (239.1.2.3, ff15::7) is joined, and
    /// only what is sent to it is taken.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0")]
    pub udp_bind: IpAddr,
    /// Interface on which the group of --udp-bind is joined; by default the one that the route to the group names.
    #[arg(long, value_name = "NAME")]
    pub udp_interface: Option<String>,
    /// Core that the loop is pinned to: auto (the last one allowed), a number, or none.
    #[arg(long, value_name = "auto|N|none", default_value = "auto", value_parser = parse_core)]
    pub core: Core,
    /// What `micring calibrate --keep FILE` kept: it is applied to boards that have not begun anew since.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub host: HostArgs,
    #[command(flatten)]
    pub web: HttpArgs,
    #[command(flatten)]
    pub record: RecordArgs,
    #[command(flatten)]
    pub rtp: RtpArgs,
    #[command(flatten)]
    pub save: SaveArgs,
}

#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Bytes of a datagram that a virtual microphone's chunk of 2048 bytes is cut into, as Arduino's WiFiUDP does it; none is
    /// one datagram a chunk.
    #[arg(long, value_name = "none|BYTES", default_value = "1460", value_parser = simulate::parse_pieces)]
    pub pieces: Pieces,
    #[command(flatten)]
    pub serve: ServeArgs,
}

impl ServeArgs {
    /// What the options say together.
    ///
    /// # Errors
    /// Options that contradict one another: wrong usage.
    pub fn check(&self) -> Result<(), clap::Error> {
        if self.udp_interface.is_some() && !self.udp_bind.is_multicast() {
            let why = "--udp-interface is for a multicast group in --udp-bind; for one interface's address, bind that address";
            return Err(Cli::command().error(ErrorKind::ArgumentConflict, why));
        }
        self.array().map_err(|why| Cli::command().error(ErrorKind::ValueValidation, why))?;
        Ok(())
    }

    /// The array that there is without a configuration file.
    ///
    /// # Errors
    /// So many channels cannot come from so many ports.
    pub fn array(&self) -> Result<ArraySpec, String> {
        let ports = self.mic_ports.0.clone();
        let engine = self.engine.clone();
        let (layout, engine) = match self.channels {
            None => (engine.layout(ports.len())?, engine),
            Some(channels) => {
                let layout = config::layout(ports.len(), channels)?;
                (layout, engine.of_layout(&layout))
            }
        };
        if !engine.fits(&layout) {
            return Err("--channels are others than --format says".into());
        }
        Ok(ArraySpec { name: ArrayName::default(), ports, layout, engine, senders: Senders::One, rtp: self.rtp.spec() })
    }
}

/// UDP ports, one a source, of any number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortList(pub Vec<u16>);

/// Which core the loop runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Core {
    /// The last CPU of the allowed set: the first ones serve interrupts on most machines.
    Auto,
    Number(usize),
    None,
}

fn parse_port_list(text: &str) -> Result<PortList, String> {
    let ports: Vec<u16> = text
        .split(',')
        .map(|port| port.trim().parse::<u16>().map_err(|_| format!("`{port}` is not a port (0 to 65535)")))
        .collect::<Result<_, _>>()?;
    if ports.iter().enumerate().any(|(mic, port)| *port != 0 && ports[..mic].contains(port)) {
        return Err("each microphone needs a port of its own".into());
    }
    Ok(PortList(ports))
}

fn parse_core(text: &str) -> Result<Core, String> {
    match text {
        "auto" => Ok(Core::Auto),
        "none" => Ok(Core::None),
        number => number.parse().map(Core::Number).map_err(|_| "is neither auto, none nor a core's number".into()),
    }
}

/// A duration with its unit: `250us`, `5ms`, `1.5s`, `2m`, `24h`.
pub fn parse_span(text: &str) -> Result<Span, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or("needs a unit: us, ms, s, m or h")?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().map_err(|_| format!("`{number}` is not a number"))?;
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is not a unit: us, ms, s, m or h")),
    };
    let total = number * seconds;
    if !(0.0..=1e8).contains(&total) {
        return Err("is not a duration of 0 to 1e8 seconds".into());
    }
    Ok(Span::from_secs_f64(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_span("5ms"), Ok(Span::from_millis(5)));
        assert_eq!(parse_span("1.5s"), Ok(Span::from_millis(1500)));
        assert_eq!(parse_span("250us"), Ok(Span::from_micros(250)));
        assert_eq!(parse_span("24h"), Ok(Span::from_secs(86_400)));
        for wrong in ["5", "ms", "-1s", "5 days", "1e99h", ""] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn any_number_of_different_ports_or_zeros() {
        assert_eq!(parse_port_list("1,2,3"), Ok(PortList(vec![1, 2, 3])));
        assert_eq!(parse_port_list("7"), Ok(PortList(vec![7])));
        assert_eq!(parse_port_list("0,0,0"), Ok(PortList(vec![0; 3])));
        for wrong in ["", "1,,2", "1,1,2", "1,2,70000", "a,b,c"] {
            assert!(parse_port_list(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
