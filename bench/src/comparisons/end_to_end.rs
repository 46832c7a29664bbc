//! From the kernel's stamp of the packet that completes a cycle until a client on loopback holds the whole event.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use micring::sys::latency::WakeUpRequest;

use super::{Outcome, delay};
use crate::client::{one, subscribe};
use crate::load::cycles::Board;
use crate::process::Process;
use crate::rig::{CLIENT, Rig};
use crate::stats::{Claim, Sheet, distribution};

pub const SERVERS: [&str; 5] = ["micring serve", "bare loop", "epoll", "axum", "python"];

/// Starts a server; `None` where it cannot be had here.
pub fn start(rig: &Rig, name: &str, low_latency: bool) -> Result<Option<(Process, Option<WakeUpRequest>)>> {
    let core = rig.under_test;
    if name == "micring serve" {
        return delay::micring(core, low_latency, false);
    }
    let flags: &[&str] = if low_latency { &["--fifo"] } else { &[] };
    let process = match (name, &rig.python) {
        ("python", None) => None,
        ("python", Some(python)) => rig.had(name, python.start("serve", core, flags)),
        ("bare loop", _) => Some(Process::peer("serve", "ring", core, flags)?),
        _ => rig.had(name, Process::peer("serve", name, core, flags)),
    };
    let Some(process) = process else { return Ok(None) };
    let awake = if low_latency { Some(WakeUpRequest::hold()?) } else { None };
    Ok(Some((process, awake)))
}

pub fn run(rig: &Rig) -> Result<Outcome> {
    let titles = ["default", "low-latency (cores kept awake, SCHED_FIFO)"];
    let mut sheets: Vec<(String, Sheet)> = titles.iter().map(|&title| (title.into(), Sheet::default())).collect();
    for round in 0..rig.rounds {
        for (low_latency, (title, sheet)) in [false, true].into_iter().zip(&mut sheets) {
            for index in rig.order(round, SERVERS.len()) {
                let name = SERVERS[index];
                let Some((process, _awake)) = start(rig, name, low_latency)? else { continue };
                let mut stream = subscribe(process.http.context("an HTTP server")?)?;
                stream.set_read_timeout(Some(Duration::from_millis(400)))?;
                let check = rig.quick;
                let reader = rig.on_load(Some(CLIENT), move || one::read(&mut stream, check));
                let cycles = rig.board(Board::usual(rig.seconds(6.0)), process.mics)?;
                let seen = reader.join().expect("the client")?;
                ensure!(seen.events == cycles, "{name}: {} events of {cycles} cycles", seen.events);
                if check {
                    ensure!(seen.frames == cycles * 512 && seen.misaligned == 0, "{name}: wrong samples: {seen:?}");
                }
                let figures = distribution(seen.delays_us);
                rig.progress(format_args!("end-to-end {round} {title} {name}: {figures}"));
                sheet.put_distribution(round, name, "us", &figures);
            }
        }
    }
    let (usual, tuned) = (&sheets[0].1, &sheets[1].1);
    let mut claims = Vec::new();
    for p in ["us p50", "us p99"] {
        let ratio = usual.ratio(("micring serve", p), ("bare loop", p));
        claims.push(Claim::at_most(&format!("serve / bare loop, {p}"), ratio, 1.25));
    }
    for (p, bound) in [("us p50", 1.0 / 25.0), ("us p99", 1.0 / 12.0)] {
        let ratio = usual.ratio(("micring serve", p), ("python", p));
        claims.push(Claim::at_most(&format!("serve / python, {p}"), ratio, bound));
    }
    for p in ["us p50", "us p99"] {
        let ratios: Vec<f64> = tuned
            .get("micring serve", p)
            .zip(usual.get("python", p))
            .map(|(own, theirs)| own.median / theirs.median)
            .into_iter()
            .collect();
        let ratio = crate::stats::Spread::of(&ratios);
        claims.push(Claim::at_most(&format!("serve low-latency / python as it is, {p}"), ratio, 1.0 / 60.0));
    }
    let ratio = usual.ratio(("micring serve", "us p99"), ("axum", "us p99"));
    claims.push(Claim::at_most("serve / axum, us p99", ratio, 1.0));
    let about = format!(
        "Kernel timestamp of the packet that completes a cycle until the client holds the whole event, in microseconds; one \
         subscriber, on the load's core. The Python design runs on {}. axum sends shared bytes, which is kinder than its Sse.",
        rig.python.as_ref().map_or("nothing: there is no python3", |python| python.framework)
    );
    Ok(Outcome { name: "end-to-end", about, sheets, claims })
}
