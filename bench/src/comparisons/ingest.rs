//! How many packets one core takes in, and at what CPU a packet.
//!
//! Each receiver gets the same floods. Where it loses packets, the highest rate without a loss is searched for by halving.

use anyhow::{Result, ensure};

use super::Outcome;
use crate::load::flood::{Flood, Sender};
use crate::process::Process;
use crate::rig::{Rig, settle};
use crate::stats::{Claim, Sheet};

const RECEIVERS: [&str; 8] = [
    "micring ring, bare",
    "micring ring + engine",
    "micring serve",
    "recvmmsg",
    "threads",
    "tokio",
    "tokio-uring",
    "python",
];

/// What came of a flood.
struct Taken {
    sent: f64,
    received: f64,
    seconds: f64,
    cpu_s: f64,
}

fn start(rig: &Rig, name: &str) -> Result<Option<Process>> {
    let core = rig.under_test;
    Ok(match name {
        "micring ring, bare" => Some(Process::peer("receive", "ring", core, &[])?),
        "micring ring + engine" => Some(Process::peer("receive", "engine", core, &[])?),
        "micring serve" => Some(Process::micring(core, &[])?),
        "python" => match &rig.python {
            Some(python) => rig.had(name, python.start("receive", core, &[])),
            None => None,
        },
        peer => rig.had(peer, Process::peer("receive", peer, core, &[])),
    })
}

fn trial(rig: &Rig, name: &str, flood: Flood) -> Result<Option<Taken>> {
    let Some(process) = start(rig, name)? else { return Ok(None) };
    rig.isolate(&process)?;
    let before = process.cpu_s()?;
    let sent = rig.flood(flood, process.mics)?;
    settle();
    let mut cpu_s = process.cpu_s()?;
    if name == "python" {
        // It works off what its sockets hold; a second of it is enough.
        loop {
            settle();
            let now = process.cpu_s()?;
            if now - cpu_s < 0.002 {
                break;
            }
            cpu_s = now;
        }
    }
    let cpu_s = cpu_s - before;
    let received = if name == "micring serve" {
        let figures = process.get("/api/diagnostics_sync")?;
        let sum = |value: &serde_json::Value| value.as_array().map_or(0, |a| a.iter().filter_map(|n| n.as_u64()).sum());
        let mut count: u64 = sum(&figures["packet_stats"]["packets_received"]);
        for mic in ["mic0", "mic1", "mic2"] {
            count += figures["loss"][mic]["duplicate"].as_u64().unwrap_or(0);
        }
        count
    } else {
        let figures = process.finish()?;
        ensure!(figures["wrong"] == 0, "{name}: packets of the wrong microphone: {figures}");
        figures["received"].as_u64().unwrap_or(0)
    };
    Ok(Some(Taken { sent: sent.packets as f64, received: received as f64, seconds: sent.seconds, cpu_s }))
}

/// The highest rate, packets a second, that is taken without a loss, within a sixteenth.
fn lossless(rig: &Rig, name: &str, flood: Flood, ceiling: f64) -> Result<f64> {
    let (mut good, mut bad) = (0.0, ceiling);
    for _ in 0..5 {
        let rate = (good + bad) / 2.0;
        let Some(taken) = trial(rig, name, Flood { rate: Some(rate), seconds: flood.seconds * 0.5, ..flood })? else {
            break;
        };
        if taken.received >= taken.sent { good = taken.sent / taken.seconds } else { bad = rate }
    }
    Ok(good)
}

pub fn run(rig: &Rig) -> Result<Outcome> {
    let kinds = [
        ("segmentation offload, 2048 bytes", Sender::Segments, 2048),
        ("segmentation offload, 256 bytes", Sender::Segments, 256),
        ("plain senders, 2048 bytes", Sender::Plain, 2048),
    ];
    let mut sheets: Vec<(String, Sheet)> = kinds.iter().map(|kind| (kind.0.into(), Sheet::default())).collect();
    for round in 0..rig.rounds {
        for ((_, sender, size), (title, sheet)) in kinds.into_iter().zip(&mut sheets) {
            for index in rig.order(round, RECEIVERS.len()) {
                let name = RECEIVERS[index];
                let rate = rig.quick.then_some(3_000.0);
                let flood = Flood { sender, size, seconds: rig.seconds(1.0), rate };
                let Some(taken) = trial(rig, name, flood)? else { continue };
                if rig.quick {
                    ensure!(taken.received == taken.sent, "{name}, {title}: {} of {}", taken.received, taken.sent);
                }
                let lost = (taken.sent - taken.received).max(0.0);
                rig.progress(format_args!("ingest {round} {title} {name}: {:.0} of {:.0}", taken.received, taken.sent));
                sheet.put(round, name, "packets/s taken", taken.received / taken.seconds);
                sheet.put(round, name, "lost %", lost / taken.sent * 100.0);
                sheet.put(round, name, "CPU s / million", taken.cpu_s / taken.received * 1e6);
                let full = taken.received / taken.seconds;
                let clean = if lost == 0.0 || rig.quick { full } else { lossless(rig, name, flood, full * 1.1)? };
                sheet.put(round, name, "packets/s without a loss", clean);
            }
        }
    }
    let flood = &sheets[0].1;
    let (taken, cpu) = ("packets/s taken", "CPU s / million");
    let mut claims = vec![
        Claim::at_least(
            "bare receive / recvmmsg, packets/s (2048, offload)",
            flood.ratio(("micring ring, bare", taken), ("recvmmsg", taken)),
            1.0,
        ),
        Claim::at_least(
            "ring + engine / bare receive, packets/s (2048, offload)",
            flood.ratio(("micring ring + engine", taken), ("micring ring, bare", taken)),
            0.8,
        ),
        Claim::at_least(
            "serve, the whole program / bare receive, packets/s (2048, offload)",
            flood.ratio(("micring serve", taken), ("micring ring, bare", taken)),
            0.8,
        ),
        Claim::at_most(
            "bare receive's loss minus recvmmsg's, % (2048, offload)",
            flood.difference(("micring ring, bare", "lost %"), ("recvmmsg", "lost %")),
            0.0,
        ),
    ];
    for peer in ["recvmmsg", "threads", "tokio", "tokio-uring", "python"] {
        let ratio = flood.ratio(("micring ring, bare", cpu), (peer, cpu));
        claims.push(Claim::at_most(&format!("bare receive / {peer}, CPU a packet (2048, offload)"), ratio, 1.0));
    }
    let about = "Packets a second on one core and CPU a packet (user and system, of the process). Floods from the other core, as \
                 fast as it sends; the highest rate without a loss is searched for where the flood itself lost packets."
        .into();
    Ok(Outcome { name: "ingest", about, sheets, claims })
}
