//! Arrays of three on one core, from one to five hundred: what they cost beside a bare recvmmsg loop that reads the same packets.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Outcome;
use crate::load::Mics;
use crate::load::arrays::{self, Board};
use crate::process::Process;
use crate::rig::Rig;
use crate::stats::{Claim, Sheet, percentile};

/// Arrays are made, and chunks learned, before anything is measured.
pub(super) const WARM_UP_S: f64 = 4.0;
/// The window of the diagnostics.
pub(super) const MEASURED_S: f64 = 11.0;
/// Of the loop delay's p99 in microseconds, and of the CPU beside a bare loop (issue 15).
const DELAY_US: f64 = 2000.0;
const RATIO: f64 = 1.5;

/// How arrays come about.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Each has ports of its own.
    Ports,
    /// All on the same three ports, each an address.
    Hosts,
}

impl Kind {
    fn word(self) -> &'static str {
        if self == Kind::Ports { "own ports" } else { "each-host" }
    }

    fn config(self, count: usize) -> String {
        match self {
            Kind::Ports => of_their_own_ports(count),
            Kind::Hosts => format!("{}senders = \"each-host\"\nmax_arrays = {count}\n", of_their_own_ports(1)),
        }
    }

    /// Who sends where, of `count` boards.
    fn boards(self, count: usize, mics: &[Mics]) -> Vec<Board> {
        let from = |nth: usize| Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + nth as u32);
        match self {
            Kind::Ports => on_loopback(mics),
            Kind::Hosts => (0..count).map(|nth| (from(nth), mics[0])).collect(),
        }
    }
}

/// The configuration of arrays `a0` and on, each of three microphones.
pub(super) fn of_their_own_ports(count: usize) -> String {
    let entry = |nth| format!("[[array]]\nname = \"a{nth}\"\nports = [0, 0, 0]\nhistory = \"2s\"\n");
    (0..count).map(entry).collect()
}

/// Boards that all send from 127.0.0.1.
pub(super) fn on_loopback(mics: &[Mics]) -> Vec<Board> {
    mics.iter().map(|&mics| (Ipv4Addr::LOCALHOST, mics)).collect()
}

/// The microphones of all arrays of a server, in the order of its configuration.
pub(super) fn listed(serve: &Process) -> Result<Vec<Mics>> {
    let listed = serve.ready["arrays"].as_array().context("arrays in the ready line")?;
    listed.iter().map(|array| mics_of(&array["mics"])).collect()
}

/// Packets that the first `count` arrays received, and the p99 of each microphone's loop delay, sorted.
pub(super) fn heard(serve: &Process, count: usize) -> Result<(u64, Vec<f64>)> {
    let told = serve.get("/api/arrays")?;
    let (mut received, mut delays) = (0, Vec::new());
    // In the order of the configuration.
    for array in told["arrays"].as_array().context("a list")?.iter().take(count) {
        let name = array["name"].as_str().context("a name")?;
        let figures = serve.get(&format!("/api/arrays/{name}/diagnostics"))?;
        let packets = figures["packet_stats"]["packets_received"].as_array().context("counts")?;
        received += packets.iter().filter_map(Value::as_u64).sum::<u64>();
        delays.extend((0..3).filter_map(|mic| figures["window"]["loop_delay_us"][format!("mic{mic}")]["p99"].as_f64()));
    }
    delays.sort_by(f64::total_cmp);
    Ok((received, delays))
}

pub fn run(rig: &Rig) -> Result<Outcome> {
    let counts: &[usize] = if rig.quick { &[3] } else { &rig.counts };
    let mut sheet = Sheet::default();
    for round in 0..rig.rounds {
        for kind in [Kind::Ports, Kind::Hosts] {
            for &count in counts {
                rig.progress(format_args!("arrays: {count} of {}", kind.word()));
                measure(rig, &mut sheet, round, kind, count)?;
            }
        }
    }
    let claims = [Kind::Ports, Kind::Hosts].into_iter().flat_map(|kind| {
        let row = row(kind, counts[counts.len() - 1]);
        let at_most = |metric: &str, bound| Claim::at_most(&format!("{row}: {metric}"), sheet.get(&row, metric), bound);
        [at_most("lost", 0.0), at_most("loop delay p99 us", DELAY_US), at_most("CPU / bare", RATIO)]
    });
    let claims = claims.collect();
    let about = "Arrays of three microphones, 281 packets a second each, spread over the period. The bare loop (epoll, recvmmsg) has the same \
                 sockets and packets. Loop delay: p99 of the last 10 s, of the worst array. Memory with a history of 2 s (1.2 MB)."
        .into();
    Ok(Outcome { name: "arrays", about, sheets: vec![("one core".into(), sheet)], claims })
}

fn row(kind: Kind, count: usize) -> String {
    format!("{count} arrays, {}", kind.word())
}

fn measure(rig: &Rig, sheet: &mut Sheet, round: usize, kind: Kind, count: usize) -> Result<()> {
    let row = row(kind, count);
    let config = Config::new(&kind.config(count))?;
    let serve = Process::configured(rig.under_test, &config.0, &[])?;
    let mics = listed(&serve)?;
    let (cpu, sent) = load(rig, &serve, kind.boards(count, &mics))?;
    let (received, delays) = heard(&serve, count)?;
    ensure!(!rig.quick || received == sent, "{row}: {received} of {sent} packets were received");
    sheet.put(round, &row, "packets a second", sent as f64 / (rig.seconds(WARM_UP_S) + rig.seconds(MEASURED_S)));
    sheet.put(round, &row, "lost", sent as f64 - received as f64);
    if let Some(&worst) = delays.last() {
        sheet.put(round, &row, "loop delay p99 us", worst);
        sheet.put(round, &row, "of the middle array", percentile(&delays, 50.0));
    }
    sheet.put(round, &row, "CPU %", 100.0 * cpu);
    sheet.put(round, &row, "MiB an array", serve.resident_kib()? / 1024.0 / count as f64);
    drop(serve);

    let sockets = if kind == Kind::Ports { 3 * count } else { 3 };
    let bare = Process::peer("receive", "many", rig.under_test, &["--sockets", &sockets.to_string()])?;
    let all = bare.ready["mics"].as_array().context("sockets")?;
    let mics = all.chunks(3).map(|mics| mics_of(&Value::from(mics.to_vec()))).collect::<Result<Vec<Mics>>>()?;
    let (least, sent) = load(rig, &bare, kind.boards(count, &mics))?;
    let read = bare.finish()?["packets"].as_u64().context("a count")?;
    sheet.put(round, &row, "bare: CPU %", 100.0 * least);
    sheet.put(round, &row, "bare: lost", sent as f64 - read as f64);
    sheet.put(round, &row, "CPU / bare", cpu / least);
    Ok(())
}

/// CPU seconds a second that a process takes while the boards send, and packets sent.
pub(super) fn load(rig: &Rig, process: &Process, boards: Vec<Board>) -> Result<(f64, u64)> {
    let (warm_up, measured) = (rig.seconds(WARM_UP_S), rig.seconds(MEASURED_S));
    let sending = rig.on_load(Some(50), move || arrays::run(&boards, warm_up + measured));
    sleep(Duration::from_secs_f64(warm_up));
    let before = process.cpu_s()?;
    sleep(Duration::from_secs_f64(measured - 0.2));
    let cpu = (process.cpu_s()? - before) / (measured - 0.2);
    let sent = sending.join().expect("boards do not panic")?;
    sleep(Duration::from_millis(100));
    Ok((cpu, sent))
}

fn mics_of(list: &Value) -> Result<Mics> {
    let address = |mic: usize| -> Result<SocketAddr> { Ok(list[mic].as_str().context("an address")?.parse()?) };
    Ok([address(0)?, address(1)?, address(2)?])
}

/// A file that goes with it.
pub(super) struct Config(pub PathBuf);

impl Config {
    pub fn new(text: &str) -> Result<Config> {
        let config = Config(std::env::temp_dir().join(format!("micring-bench-{}.toml", std::process::id())));
        std::fs::write(&config.0, text)?;
        Ok(config)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
