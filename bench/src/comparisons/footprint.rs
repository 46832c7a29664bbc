//! Start-up, memory and size of the real program.

use anyhow::Result;

use super::Outcome;
use crate::load::cycles::Board;
use crate::process::{Process, micring_path};
use crate::rig::Rig;
use crate::stats::{Claim, Sheet};

pub fn run(rig: &Rig) -> Result<Outcome> {
    let mut sheet = Sheet::default();
    let row = "micring serve";
    for round in 0..rig.rounds {
        let process = Process::micring(rig.under_test, &[])?;
        sheet.put(round, row, "ready ms", process.ready_ms);
        rig.board(Board::usual(rig.seconds(6.0)), process.mics)?;
        sheet.put(round, row, "resident MiB, history full", process.resident_kib()? / 1024.0);
        sheet.put(round, row, "binary MiB", std::fs::metadata(micring_path()?)?.len() as f64 / (1 << 20) as f64);
    }
    let claims = [("ready ms", 20.0), ("resident MiB, history full", 12.0), ("binary MiB", 6.0)]
        .map(|(metric, bound)| Claim::at_most(metric, sheet.get(row, metric), bound));
    let about =
        "From fork until the ready line; resident memory without a subscriber after the history is full.".into();
    Ok(Outcome { name: "footprint", about, sheets: vec![("serve".into(), sheet)], claims: claims.into() })
}
