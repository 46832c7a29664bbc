//! How many subscribers one core serves at 93.75 events a second, and what a megabyte costs.
//!
//! Served means: every subscriber has every event, and 99 % of all deliveries took less than a period. The number is searched
//! for by halving, each trial with a new server. A number that is not served is tried once more: a machine that rests for 20 ms, as
//! shared ones do, fails a trial of a second by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};

use super::{Outcome, end_to_end};
use crate::client::many::{Fared, Many};
use crate::load::cycles::Board;
use crate::process::Process;
use crate::rig::{CLIENT, Rig, settle};
use crate::stats::{Claim, Sheet};

const SERVERS: [&str; 4] = ["micring serve", "bare loop", "epoll", "axum"];
const PERIOD_US: f64 = 10_666.7;
/// No trial beyond: the load's core has its limit too.
const MOST: usize = 1900;

/// One trial's outcome.
pub struct Trial {
    pub fared: Fared,
    pub cpu_s: f64,
    pub cycles: u64,
}

impl Trial {
    pub fn served(&self) -> bool {
        self.fared.whole == self.fared.subscribers
            && self.fared.events as u64 == self.cycles
            && self.fared.p99_us < PERIOD_US
    }

    pub fn cpu_ms_per_mb(&self) -> f64 {
        self.cpu_s * 1e3 / (self.fared.bytes as f64 / 1e6)
    }
}

/// `subscribers` of a running server for so many seconds of cycles.
pub fn trial(rig: &Rig, process: &Process, subscribers: usize, board: Board) -> Result<Trial> {
    let address = process.http.context("an HTTP server")?;
    rig.isolate(process)?;
    let done = Arc::new(AtomicBool::new(false));
    let many = Many::connect(address, subscribers)?;
    let flag = done.clone();
    let limit = board.cycles as f64 * board.period_ns as f64 / 1e9 + 3.0;
    let reader = rig.on_load(Some(CLIENT), move || many.read(limit, &flag));
    let before = process.cpu_s()?;
    let sent = rig.board(board, process.mics);
    done.store(true, Ordering::Relaxed);
    let fared = reader.join().expect("the client")?;
    Ok(Trial { fared, cpu_s: process.cpu_s()? - before, cycles: sent? })
}

fn fresh(rig: &Rig, name: &str, subscribers: usize, seconds: f64) -> Result<Option<Trial>> {
    let Some((process, _)) = end_to_end::start(rig, name, false)? else { return Ok(None) };
    let trial = trial(rig, &process, subscribers, Board::usual(seconds))?;
    rig.progress(format_args!(
        "fanout {name}: {subscribers}: {} whole, p99 {:.0} us, last p99 {:.0} us, client {:.0} %",
        trial.fared.whole,
        trial.fared.p99_us,
        trial.fared.last_p99_us,
        trial.fared.client_load * 100.0
    ));
    Ok(Some(trial))
}

/// The largest number that is served, to within 25, and the trial at it.
fn largest(rig: &Rig, name: &str, seconds: f64) -> Result<(usize, Option<Trial>)> {
    let (mut good, mut bad, mut best) = (0, MOST + 25, None);
    let mut next = 800;
    while bad - good > 25 {
        let again = || fresh(rig, name, next, seconds)?.context("a server that was there is gone");
        let mut trial = again()?;
        if !trial.served() {
            trial = again()?;
        }
        if trial.served() {
            (good, best) = (next, Some(trial));
        } else {
            bad = next;
        }
        next = (good + bad) / 2;
    }
    Ok((good, best))
}

/// The packets' loop delay p99 beside so many subscribers, from the server's own figures.
fn loop_delay(rig: &Rig, subscribers: usize, seconds: f64) -> Result<f64> {
    let (process, _) = end_to_end::start(rig, "micring serve", false)?.context("micring")?;
    trial(rig, &process, subscribers, Board::usual(seconds))?;
    settle();
    let figures = process.get("/api/diagnostics_sync")?;
    let p99 = |mic| figures["loop_delay_us"][mic]["p99"].as_f64();
    ["mic0", "mic1", "mic2"]
        .into_iter()
        .map(p99)
        .collect::<Option<Vec<_>>>()
        .map_or_else(|| anyhow::bail!("no loop delay in {figures}"), |all| Ok(all.into_iter().fold(0.0, f64::max)))
}

pub fn run(rig: &Rig) -> Result<Outcome> {
    let mut sheet = Sheet::default();
    let mut quiet = Sheet::default();
    let seconds = rig.seconds(2.0);
    for round in 0..rig.rounds {
        for index in rig.order(round, SERVERS.len()) {
            let name = SERVERS[index];
            let Some(hundred) = fresh(rig, name, if rig.quick { 10 } else { 100 }, seconds)? else { continue };
            if rig.quick {
                let fared = &hundred.fared;
                ensure!(fared.whole == 10 && fared.events as u64 == hundred.cycles, "{name}: {fared:?}");
            }
            sheet.put(round, name, "100: last p50 us", hundred.fared.last_p50_us);
            sheet.put(round, name, "100: last p99 us", hundred.fared.last_p99_us);
            sheet.put(round, name, "100: CPU ms / MB", hundred.cpu_ms_per_mb());
            if rig.quick {
                continue;
            }
            let Some(eight) = fresh(rig, name, 600, seconds)? else { continue };
            sheet.put(round, name, "600: CPU ms / MB", eight.cpu_ms_per_mb());
            sheet.put(round, name, "600: p99 us", eight.fared.p99_us);
            let (most, _) = largest(rig, name, seconds)?;
            sheet.put(round, name, "subscribers served", most as f64);
        }
        for subscribers in if rig.quick { [0, 10] } else { [0, 900] } {
            let row = format!("micring serve, {subscribers} subscribers");
            quiet.put(round, &row, "loop delay p99 us", loop_delay(rig, subscribers, seconds)?);
        }
    }
    let most = "subscribers served";
    let row = |n| format!("micring serve, {n} subscribers");
    let claims = vec![
        Claim::at_least(
            "subscribers, serve / plain write loop",
            sheet.ratio(("micring serve", most), ("epoll", most)),
            0.95,
        ),
        Claim::at_most(
            "the last of 100 has its event, serve / plain write loop (p50)",
            sheet.ratio(("micring serve", "100: last p50 us"), ("epoll", "100: last p50 us")),
            1.0,
        ),
        Claim::at_most(
            "loop delay p99 with 900 subscribers minus quiet, us",
            quiet.difference((&row(900), "loop delay p99 us"), (&row(0), "loop delay p99 us")),
            300.0,
        ),
    ];
    let about = format!(
        "Events of 8.6 KB at 93.75 a second. Served: every subscriber has every event, 99 % of deliveries within a period; at \
         most {MOST} are tried. The client counts bytes (recv with MSG_TRUNC) on the load's core, and copies none."
    );
    let sheets = vec![("servers".into(), sheet), ("the microphones beside subscribers".into(), quiet)];
    Ok(Outcome { name: "fanout", about, sheets, claims })
}
