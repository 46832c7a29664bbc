//! What more subscribers and more packets cost `micring serve`: CPU should grow linearly, latency stay flat until the limit.

use anyhow::{Result, ensure};

use super::{Outcome, fanout};
use crate::load::cycles::Board;
use crate::plot::{Line, Plot};
use crate::process::Process;
use crate::rig::{Rig, settle};
use crate::stats::Sheet;

/// A packet rate as a multiple of the array's own: samples a packet, nominal sample rate.
fn board(times: u32, seconds: f64) -> (Board, u32) {
    // The sample rate has a limit of 768 kHz: beyond 16 times, packets get smaller instead.
    let (rate, samples) = if times <= 16 { (48_000 * times, 512) } else { (768_000, 512 * 16 / times as usize) };
    let period_ns = 10_666_667 / i64::from(times);
    (Board { cycles: (seconds * 1e9) as u64 / period_ns as u64, samples, period_ns }, rate)
}

/// CPU milliseconds a second, and loop delay, at a multiple of the usual packet rate.
fn packet_rate(rig: &Rig, times: u32) -> Result<(f64, f64, f64, f64)> {
    let (board, rate) = board(times, rig.seconds(2.0));
    let process = Process::micring(rig.under_test, &["--sample-rate", &rate.to_string()])?;
    rig.isolate(&process)?;
    let before = process.cpu_s()?;
    let cycles = rig.board(board, process.mics)?;
    settle();
    let cpu_s = process.cpu_s()? - before;
    let figures = process.get("/api/diagnostics_sync")?;
    let received: u64 =
        figures["packet_stats"]["packets_received"].as_array().map_or(0, |a| a.iter().filter_map(|n| n.as_u64()).sum());
    if rig.quick {
        ensure!(received == cycles * 3, "{times}x: {received} packets of {cycles} cycles");
    }
    let of = |p: &str| figures["loop_delay_us"]["mic2"][p].as_f64().unwrap_or(f64::NAN);
    let lost = 1.0 - received as f64 / (cycles * 3) as f64;
    Ok((cpu_s * 1e6 / received as f64, of("p50"), of("p99"), lost * 100.0))
}

pub fn run(rig: &Rig) -> Result<Outcome> {
    let (mut subscribers, mut rates) = (Sheet::default(), Sheet::default());
    let counts: &[usize] =
        if rig.quick { &[1, 10] } else { &[1, 25, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100] };
    let times: &[u32] = if rig.quick { &[1, 4] } else { &[1, 2, 4, 8, 16, 32, 64, 128, 256] };
    let seconds = rig.seconds(2.0);
    for round in 0..rig.rounds {
        for &count in counts {
            let process = Process::micring(rig.under_test, &[])?;
            let trial = fanout::trial(rig, &process, count, Board::usual(seconds))?;
            if rig.quick {
                ensure!(trial.fared.whole == count, "{count} subscribers: {:?}", trial.fared);
            }
            let row = count.to_string();
            subscribers.put(round, &row, "CPU %", trial.cpu_s / seconds * 100.0);
            subscribers.put(
                round,
                &row,
                "CPU us / event sent",
                trial.cpu_s * 1e6 / (trial.cycles as f64 * count as f64),
            );
            subscribers.put(round, &row, "p50 us", trial.fared.p50_us);
            subscribers.put(round, &row, "p99 us", trial.fared.p99_us);
            subscribers.put(round, &row, "resident MiB", process.resident_kib()? / 1024.0);
            rig.progress(format_args!("growth {round} {count} subscribers: p99 {:.0} us", trial.fared.p99_us));
        }
        for &times in times {
            let (cpu_us, p50, p99, lost) = packet_rate(rig, times)?;
            let row = format!("{times}");
            rates.put(round, &row, "CPU us / packet", cpu_us);
            rates.put(round, &row, "loop delay p50 us", p50);
            rates.put(round, &row, "loop delay p99 us", p99);
            rates.put(round, &row, "lost %", lost);
            rig.progress(format_args!("growth {round} {times}x: {cpu_us:.2} us a packet, p99 {p99:.0} us"));
        }
    }
    let line = |sheet: &Sheet, rows: Vec<String>, metric: &str| Line {
        name: metric.to_owned(),
        points: rows.iter().filter_map(|row| Some((row.parse().ok()?, sheet.get(row, metric)?.median))).collect(),
    };
    let (by_count, by_rate): (Vec<String>, Vec<String>) =
        (counts.iter().map(usize::to_string).collect(), times.iter().map(u32::to_string).collect());
    let of = |sheet: &Sheet, rows: &[String], metrics: &[&str]| -> Vec<Line> {
        metrics.iter().map(|metric| line(sheet, rows.to_vec(), metric)).collect()
    };
    let plots = [
        (
            "growth-cpu",
            "CPU against subscribers",
            "subscribers",
            "% of a core",
            false,
            of(&subscribers, &by_count, &["CPU %"]),
        ),
        (
            "growth-latency",
            "Delivery against subscribers",
            "subscribers",
            "microseconds (log)",
            true,
            of(&subscribers, &by_count, &["p50 us", "p99 us"]),
        ),
        (
            "growth-memory",
            "Memory against subscribers",
            "subscribers",
            "MiB",
            false,
            of(&subscribers, &by_count, &["resident MiB"]),
        ),
        (
            "growth-packet-cpu",
            "CPU a packet against packet rate",
            "times 281 packets a second (log)",
            "us",
            false,
            of(&rates, &by_rate, &["CPU us / packet"]),
        ),
        (
            "growth-packet-delay",
            "Loop delay against packet rate",
            "times 281 packets a second (log)",
            "microseconds (log)",
            true,
            of(&rates, &by_rate, &["loop delay p50 us", "loop delay p99 us"]),
        ),
    ];
    for (file, title, x, y, log_y, lines) in plots {
        let plot = Plot { title, x, y, log_x: file.contains("packet"), log_y, lines };
        std::fs::write(rig.out.join(format!("{file}.svg")), plot.svg())?;
    }
    let about = "micring serve alone. Packet rates beyond 16 times have smaller packets (the sample rate's limit), so that CPU a \
                 packet falls there for two reasons. Plots: growth-*.svg beside the JSON."
        .into();
    let sheets = vec![
        ("against subscribers".into(), subscribers),
        ("against the packet rate (times 281 a second)".into(), rates),
    ];
    Ok(Outcome { name: "growth", about, sheets, claims: Vec::new() })
}
