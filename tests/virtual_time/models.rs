//! The delay models of the clock study over one board: how often a cycle is put together wrongly, and how many lost
//! packets leave their gap in the right place.

use std::collections::BTreeMap;

use micring::MICS;
use micring::sim::{Delay, Loss, Network, Scenario, Why};
use micring::time::Span;

use super::rig::{Rig, config};

const SEED: u64 = 77;

pub fn delay(name: &str) -> Delay {
    name.parse().expect("a delay model")
}

/// What one run showed.
#[derive(Default, Debug, Clone, Copy)]
struct Result {
    cycles: u64,
    misaligned: u64,
    withheld: u64,
    right: u64,
    shifts: u64,
    lost: u64,
    corrected: u64,
}

fn run(seed: u64, delay: Delay, loss: Loss, cycle_loss: Loss, minutes: i64) -> Result {
    let network = Network { delay, loss, cycle_loss, ..Network::default() };
    let scenario = Scenario { seed, network, ..Scenario::one_board(Span::from_secs(60 * minutes)) };
    let (rig, sim) = Rig::run(&scenario, config());
    let frames = i64::from(scenario.samples);
    // Of each true cycle: the position it went out at, and whether it was put together rightly.
    let mut placed = BTreeMap::new();
    for seen in &rig.seen {
        let truth = seen.truth.iter().flatten();
        let Some(&cycle) = truth.clone().max_by_key(|&&t| truth.clone().filter(|&&o| o == t).count()) else { continue };
        let whole = truth.clone().all(|&t| t == cycle);
        placed.insert(cycle / frames, (seen.first.0 - cycle, whole));
    }
    let right = |w: &&micring::sim::Withheld| {
        let cycle = w.cycle as i64;
        match placed.get(&cycle) {
            Some(&(_, whole)) => whole,
            None => {
                let before = placed.range(..cycle).next_back().map(|(_, &(offset, _))| offset);
                let after = placed.range(cycle..).next().map(|(_, &(offset, _))| offset);
                before == after
            }
        }
    };
    let truth = sim.truth();
    let withheld = truth.withheld.iter().filter(|w| w.why != Why::Muted);
    let c = rig.engine.counters();
    Result {
        cycles: rig.cycles,
        misaligned: placed.values().filter(|(_, whole)| !whole).count() as u64,
        withheld: withheld.clone().count() as u64,
        right: withheld.filter(right).count() as u64,
        shifts: rig.offsets.len() as u64 - 1,
        lost: c.mics.iter().map(|m| m.lost).sum(),
        corrected: c.mics.iter().map(|m| m.corrected).sum(),
    }
}

#[test]
fn table_of_one_board() {
    println!("seed {SEED}");
    println!(
        "{:>6} {:>8} {:>9} {:>10} {:>9} {:>7} {:>8} {:>9}",
        "model", "loss", "misal/1e6", "right %", "withheld", "lost", "shifts", "corrected"
    );
    let losses = [
        ("0", Loss::None, Loss::None),
        ("1 %", Loss::Independent(0.01), Loss::None),
        ("3 %", Loss::Independent(0.03), Loss::None),
        ("10 %", Loss::Independent(0.1), Loss::None),
        ("GE", Loss::BURSTS, Loss::None),
        ("whole", Loss::None, Loss::Independent(0.01)),
    ];
    for model in ["exp1", "exp2", "exp5", "wifi", "ramp", "queue", "mix"] {
        for (name, loss, whole) in losses {
            let light = matches!(name, "0" | "1 %" | "3 %");
            // What is only printed is for the table, which is made without debug assertions.
            let minutes = match (cfg!(debug_assertions), light && model != "exp5") {
                (true, true) => 2,
                (true, false) => 1,
                (false, _) => 10,
            };
            let r = run(SEED, delay(model), loss, whole, minutes);
            println!(
                "{model:>6} {name:>8} {:>9.1} {:>10.4} {:>9} {:>7} {:>8} {:>9}",
                r.misaligned as f64 / (r.cycles * MICS as u64) as f64 * 1e6,
                100.0 * r.right as f64 / r.withheld.max(1) as f64,
                r.withheld,
                r.lost,
                r.shifts,
                r.corrected,
            );
            // Where floors move a position may be wrong for a while, but no frame is.
            if light && model != "exp5" {
                assert_eq!(r.misaligned, 0, "{model} {name}");
            }
            // What issue 3 asks for at 1 and 3 %. In 10 minutes 99.99 % of some 5000 packets allow none wrong either.
            if light && matches!(model, "exp1" | "exp2" | "wifi" | "ramp") {
                assert_eq!((r.misaligned, r.right, r.shifts), (0, r.withheld, 0), "{model} {name}");
                assert_eq!(r.lost, r.withheld, "{model} {name}");
            }
        }
    }
}
