//! How long a packet waits between the kernel's stamp and the receiver, and what skew the receiver adds to a cycle, at the
//! array's own rate: quiet, beside a hog on each core, spinning, and with what a low-latency deployment sets.

use anyhow::{Result, ensure};
use micring::sys::latency::WakeUpRequest;

use super::Outcome;
use crate::load::cycles::Board;
use crate::load::hogs::Hogs;
use crate::os;
use crate::process::Process;
use crate::rig::{Rig, settle};
use crate::stats::{Claim, Sheet};

const RECEIVERS: [&str; 7] =
    ["micring serve", "micring ring, bare", "recvmmsg", "threads", "tokio", "tokio-uring", "python"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Quiet,
    Hogs,
    BusyPoll,
    LowLatency,
    LowLatencyHogs,
}

impl Condition {
    const ALL: [Condition; 5] =
        [Condition::Quiet, Condition::Hogs, Condition::BusyPoll, Condition::LowLatency, Condition::LowLatencyHogs];

    fn title(self) -> &'static str {
        match self {
            Condition::Quiet => "quiet",
            Condition::Hogs => "a CPU hog on each core",
            Condition::BusyPoll => "busy-poll",
            Condition::LowLatency => "low-latency (cores kept awake, SCHED_FIFO)",
            Condition::LowLatencyHogs => "low-latency, a CPU hog on each core",
        }
    }

    fn low_latency(self) -> bool {
        matches!(self, Condition::LowLatency | Condition::LowLatencyHogs)
    }

    fn hogs(self) -> bool {
        matches!(self, Condition::Hogs | Condition::LowLatencyHogs)
    }

    /// Spinning is nothing for the designs that block or have a runtime.
    fn fits(self, name: &str) -> bool {
        self != Condition::BusyPoll || matches!(name, "micring serve" | "micring ring, bare" | "recvmmsg")
    }
}

/// micring's own option where this build has it; `None` where it does not.
pub fn own_option(name: &'static str) -> Result<Option<&'static str>> {
    let help = std::process::Command::new(crate::process::micring_path()?).args(["serve", "--help"]).output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains(name).then_some(name))
}

/// `micring serve` as a low-latency deployment runs it: by its own option, else from outside. The cores are kept awake for
/// as long as the second value lives.
pub fn micring(core: usize, low_latency: bool, spin: bool) -> Result<Option<(Process, Option<WakeUpRequest>)>> {
    let mut flags = Vec::new();
    if spin {
        match own_option("--busy-poll")? {
            Some(option) => flags.push(option),
            None => return Ok(None),
        }
    }
    let own = if low_latency { own_option("--low-latency")? } else { None };
    flags.extend(own);
    let process = Process::micring(core, &flags)?;
    if low_latency && own.is_none() {
        os::set_fifo(process.pid(), 50)?;
        return Ok(Some((process, Some(WakeUpRequest::hold()?))));
    }
    Ok(Some((process, None)))
}

fn measure(rig: &Rig, name: &str, condition: Condition) -> Result<Option<serde_json::Value>> {
    let core = rig.under_test;
    let board = Board::usual(rig.seconds(6.0));
    let spin = condition == Condition::BusyPoll;
    if name == "micring serve" {
        let Some((process, _awake)) = micring(core, condition.low_latency(), spin)? else { return Ok(None) };
        let _hogs = condition.hogs().then(|| Hogs::on(&[rig.load, core]));
        let cycles = rig.board(board, process.mics)?;
        settle();
        let figures = process.get("/api/diagnostics_sync")?;
        let count = figures["loop_skew_us"]["count"].as_u64().unwrap_or(0);
        ensure!(count == cycles, "{name}: {count} whole cycles of {cycles}: {figures}");
        // The slowest of the microphones, percentile by percentile; the peers' are over all packets.
        let delay = |p: &str| {
            let mics = ["mic0", "mic1", "mic2"].map(|mic| figures["loop_delay_us"][mic][p].as_f64().unwrap_or(0.0));
            if p == "p50" { mics.iter().sum::<f64>() / 3.0 } else { mics.into_iter().fold(0.0, f64::max) }
        };
        return Ok(Some(serde_json::json!({
            "delay_us": {"p50": delay("p50"), "p99": delay("p99"), "p999": delay("p999"), "max": delay("max")},
            "skew_us": figures["loop_skew_us"],
        })));
    }
    let mut flags = vec!["--delays"];
    flags.extend(condition.low_latency().then_some("--fifo"));
    flags.extend(spin.then_some("--spin"));
    let process = match (name, &rig.python) {
        ("python", None) => None,
        ("python", Some(python)) => rig.had(name, python.start("receive", core, &flags)),
        ("micring ring, bare", _) => Some(Process::peer("receive", "ring", core, &flags)?),
        _ => rig.had(name, Process::peer("receive", name, core, &flags)),
    };
    let Some(process) = process else { return Ok(None) };
    let _awake = if condition.low_latency() { Some(WakeUpRequest::hold()?) } else { None };
    let _hogs = condition.hogs().then(|| Hogs::on(&[rig.load, core]));
    let cycles = rig.board(board, process.mics)?;
    settle();
    let figures = process.finish()?;
    ensure!(figures["received"] == cycles * 3 && figures["wrong"] == 0, "{name}: {figures}, {cycles} cycles sent");
    ensure!(figures["skew_us"]["count"] == cycles, "{name}: {figures}, {cycles} cycles sent");
    Ok(Some(figures))
}

pub fn run(rig: &Rig) -> Result<Outcome> {
    let mut sheets: Vec<(String, Sheet)> =
        Condition::ALL.iter().map(|condition| (condition.title().into(), Sheet::default())).collect();
    for round in 0..rig.rounds {
        for (condition, (title, sheet)) in Condition::ALL.into_iter().zip(&mut sheets) {
            for index in rig.order(round, RECEIVERS.len()) {
                let name = RECEIVERS[index];
                if !condition.fits(name) {
                    continue;
                }
                let Some(figures) = measure(rig, name, condition)? else { continue };
                rig.progress(format_args!("delay {round} {title} {name}: skew {}", figures["skew_us"]));
                sheet.put_distribution(round, name, "delay us", &figures["delay_us"]);
                sheet.put_distribution(round, name, "skew us", &figures["skew_us"]);
            }
        }
    }
    let hogs = &sheets[1].1;
    let mut claims = vec![Claim::at_most(
        "skew p99 with hogs, serve / three threads",
        hogs.ratio(("micring serve", "skew us p99"), ("threads", "skew us p99")),
        0.1,
    )];
    // Across sheets: the option's figure against what the others are without it, both under hogs.
    let tuned = sheets[4].1.get("micring serve", "skew us p999");
    for peer in ["threads", "python"] {
        let theirs = hogs.get(peer, "skew us p999");
        let ratio = tuned.zip(theirs).and_then(|(own, theirs)| crate::stats::Spread::of(&[own.median / theirs.median]));
        claims.push(Claim::at_most(&format!("skew p99.9 with hogs, serve low-latency / {peer} as it is"), ratio, 0.02));
    }
    let about = format!(
        "93.75 cycles a second. Delay: kernel timestamp until read. Skew: what the receiver adds inside a cycle, its longest \
         delay minus its shortest. micring's are its own figures from /api/diagnostics_sync. Busy-poll of serve: {}. \
         Low-latency of serve: {}; of the others, set from outside.",
        if own_option("--busy-poll")?.is_some() { "its option" } else { "this build has no such option" },
        if own_option("--low-latency")?.is_some() { "its option" } else { "set from outside, like the others'" },
    );
    Ok(Outcome { name: "delay", about, sheets, claims })
}
