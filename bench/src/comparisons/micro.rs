//! The pieces of a packet's way (criterion, in this process), and what a packet allocates.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use criterion::Criterion;
use serde_json::Value;

use super::Outcome;
use crate::allocations;
use crate::pieces::{Fed, Web};
use crate::rig::Rig;
use crate::stats::Sheet;

/// Cycles after which every buffer has its final size.
const WARM: usize = 600;
const COUNTED: usize = 1_000;

/// Allocations of a cycle: engine and, with a subscriber, its event.
fn allocations_a_cycle(subscribers: usize) -> Result<f64> {
    let mut fed = Fed::new();
    let mut web = Web::new(subscribers, &mut fed);
    let mut left = 0;
    let mut cycles = |count: usize| {
        for _ in 0..count {
            if let Some(cycle) = fed.cycle() {
                left += 1;
                web.publish(&cycle, &mut fed);
            }
        }
    };
    cycles(WARM);
    let count = allocations::during(|| cycles(COUNTED));
    ensure!(left > COUNTED, "cycles leave the engine: {left}");
    Ok(count as f64 / COUNTED as f64)
}

/// Criterion's medians of one benchmark folder, in nanoseconds.
fn median(folder: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(folder.join("new/estimates.json")).context("criterion's estimates")?;
    let estimates: Value = serde_json::from_str(&text)?;
    estimates["median"]["point_estimate"].as_f64().context("a median")
}

/// Criterion itself, in a process of its own: it prints as it likes.
pub fn sample(folder: &Path, milliseconds: u64) {
    let time = Duration::from_millis(milliseconds);
    let mut criterion = Criterion::default()
        .without_plots()
        .output_directory(folder)
        .sample_size(10)
        .warm_up_time(time / 2)
        .measurement_time(time);
    crate::micro::all(&mut criterion);
}

pub fn run(rig: &Rig) -> Result<Outcome> {
    let folder = rig.out.join("criterion");
    let mut sheet = Sheet::default();
    for round in 0..rig.rounds {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["peer", "sample", if rig.quick { "10" } else { "600" }]).arg(&folder);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "criterion failed: {status}");
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.path().join("new/estimates.json").exists() {
                let title = std::fs::read_to_string(entry.path().join("new/benchmark.json"))?;
                let title: Value = serde_json::from_str(&title)?;
                sheet.put(round, title["title"].as_str().unwrap_or("?"), "ns", median(&entry.path())?);
            }
        }
    }
    let mut counts = Sheet::default();
    for subscribers in [0, 1, 10] {
        counts.put(0, &format!("{subscribers} subscribers"), "allocations a cycle", allocations_a_cycle(subscribers)?);
    }
    let about = "criterion's medians in nanoseconds (a turn of the thread for each, few samples; `cargo bench -p bench` samples \
                 in full). Allocations: engine and HTTP over 1000 cycles of three packets, after 600 to warm up."
        .into();
    let sheets = vec![("pieces".into(), sheet), ("allocations".into(), counts)];
    Ok(Outcome { name: "micro", about, sheets, claims: Vec::new() })
}
