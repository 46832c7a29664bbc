//! One step of each growth.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Figures;
use crate::comparisons::arrays::{self as many, Config};
use crate::comparisons::fanout;
use crate::load::cycles::Board;
use crate::os::{self, Spent};
use crate::process::{Process, micring_path};
use crate::rig::{Rig, settle};

const MIB: f64 = 1024.0 * 1024.0;

pub fn subscribers(rig: &Rig, count: usize) -> Result<Figures> {
    let seconds = rig.seconds(2.0);
    let process = Process::micring(rig.under_test, &[])?;
    let trial = fanout::trial(rig, &process, count, Board::usual(seconds))?;
    ensure!(!rig.quick || trial.fared.whole == count, "{count} subscribers: {:?}", trial.fared);
    Ok(vec![
        ("CPU %", trial.cpu_s / seconds * 100.0),
        ("CPU us / event sent", trial.cpu_s * 1e6 / (trial.cycles as f64 * count as f64)),
        ("p50 us", trial.fared.p50_us),
        ("p99 us", trial.fared.p99_us),
        ("resident MiB", process.resident_kib()? / 1024.0),
    ])
}

/// A packet rate as a multiple of the array's own: samples a packet, nominal sample rate.
fn board(times: u32, seconds: f64) -> (Board, u32) {
    // The sample rate has a limit of 768 kHz: beyond 16 times, packets get smaller instead.
    let (rate, samples) = if times <= 16 { (48_000 * times, 512) } else { (768_000, 512 * 16 / times as usize) };
    let period_ns = 10_666_667 / i64::from(times);
    (Board { cycles: (seconds * 1e9) as u64 / period_ns as u64, samples, period_ns }, rate)
}

/// What a board's packets cost a server.
struct Played {
    packets: u64,
    received: u64,
    cpu_s: f64,
    loop_delay: Value,
}

impl Played {
    fn of(rig: &Rig, process: &Process, board: Board, mics: Vec<SocketAddr>) -> Result<Played> {
        rig.isolate(process)?;
        let sources = mics.len() as u64;
        let before = process.cpu_s()?;
        let packets = rig.board(board, mics)? * sources;
        settle();
        let cpu_s = process.cpu_s()? - before;
        let mut figures = process.get("/api/diagnostics_sync")?;
        let counts = figures["packet_stats"]["packets_received"].as_array().context("counts")?;
        let received = counts.iter().filter_map(Value::as_u64).sum();
        ensure!(!rig.quick || received == packets, "{received} of {packets} packets were received");
        Ok(Played { packets, received, cpu_s, loop_delay: figures["loop_delay_us"]["mic2"].take() })
    }

    fn delay(&self, percentile: &str) -> f64 {
        self.loop_delay[percentile].as_f64().unwrap_or(f64::NAN)
    }
}

pub fn packet_rate(rig: &Rig, times: usize) -> Result<Figures> {
    let (board, rate) = board(times as u32, rig.seconds(2.0));
    let process = Process::micring(rig.under_test, &["--sample-rate", &rate.to_string()])?;
    let played = Played::of(rig, &process, board, process.mics.to_vec())?;
    Ok(vec![
        ("CPU us / packet", played.cpu_s * 1e6 / played.received as f64),
        ("loop delay p50 us", played.delay("p50")),
        ("loop delay p99 us", played.delay("p99")),
        ("lost %", 100.0 * (1.0 - played.received as f64 / played.packets as f64)),
    ])
}

pub fn arrays(rig: &Rig, count: usize) -> Result<Figures> {
    let config = Config::new(&many::of_their_own_ports(count))?;
    let serve = Process::configured(rig.under_test, &config.0, &[])?;
    let boards = many::on_loopback(&many::listed(&serve)?);
    let (cpu, sent) = many::load(rig, &serve, boards)?;
    let (received, delays) = many::heard(&serve, count)?;
    let worst = delays.last().copied().unwrap_or(f64::NAN);
    Ok(vec![
        ("CPU %", 100.0 * cpu),
        ("loop delay p99 us, worst", worst),
        ("lost", sent as f64 - received as f64),
        ("resident MiB", serve.resident_kib()? / 1024.0),
    ])
}

pub fn microphones(rig: &Rig, count: usize) -> Result<Figures> {
    let ports = vec!["0"; count].join(", ");
    let config = Config::new(&format!("[[array]]\nname = \"a0\"\nports = [{ports}]\n"))?;
    let serve = Process::configured(rig.under_test, &config.0, &[])?;
    let listed = serve.ready["arrays"][0]["mics"].as_array().context("microphones in the ready line")?;
    let address = |mic: &Value| Ok(mic.as_str().context("an address")?.parse()?);
    let mics = listed.iter().map(address).collect::<Result<Vec<SocketAddr>>>()?;
    let seconds = rig.seconds(4.0);
    let played = Played::of(rig, &serve, Board::usual(seconds), mics)?;
    Ok(vec![
        ("CPU %", 100.0 * played.cpu_s / seconds),
        ("CPU us / packet", played.cpu_s * 1e6 / played.received as f64),
        ("loop delay p99 us", played.delay("p99")),
        ("resident MiB", serve.resident_kib()? / 1024.0),
    ])
}

pub fn history(rig: &Rig, seconds: usize) -> Result<Figures> {
    let process = Process::micring(rig.under_test, &["--history", &format!("{seconds}s")])?;
    let length = rig.seconds(4.0);
    let played = Played::of(rig, &process, Board::usual(length), process.mics.to_vec())?;
    Ok(vec![
        ("resident MiB", process.resident_kib()? / 1024.0),
        ("CPU %", 100.0 * played.cpu_s / length),
        ("ready ms", process.ready_ms),
    ])
}

/// A recording that is made, read by `analyze` and by `extract`, and gone.
pub fn recording(rig: &Rig, seconds: usize) -> Result<Figures> {
    let folder = Folder::new()?;
    let file = folder.0.join("day.pcapng");
    let micring = |args: &[&str]| -> Result<Spent> {
        let mut command = Command::new(micring_path()?);
        os::spend(command.args(args).args([&file]), rig.under_test)
    };
    micring(&["simulate", "--duration", &format!("{seconds}s"), "--loss", "1%", "--delay", "exp1", "--record"])?;
    let audio = folder.0.join("audio");
    let analyze = micring(&["analyze", "--json"])?;
    let extract = micring(&["extract", "--to", audio.to_str().context("a folder's name")?])?;
    let bytes = std::fs::metadata(&file)?.len() as f64;
    Ok(vec![
        ("MiB", bytes / MIB),
        ("analyze: CPU s", analyze.cpu_s),
        ("analyze: most MiB", analyze.most_mib),
        ("extract: CPU s", extract.cpu_s),
        ("extract: most MiB", extract.most_mib),
    ])
}

/// A folder that goes with it.
pub(in crate::comparisons) struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Result<Folder> {
        let folder = Folder(std::env::temp_dir().join(format!("micring-bench-{}-recording", std::process::id())));
        let _ = std::fs::remove_dir_all(&folder.0);
        std::fs::create_dir(&folder.0).with_context(|| format!("{}", folder.0.display()))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
