//! Three boards, each with its own clock.

use std::collections::BTreeMap;

use micring::MICS;
use micring::sim::{Loss, Network, Packet, Rate, Scenario, Sim};
use micring::time::{MonoTime, Span};

use super::models::delay;
use super::rig::{Rig, config};

/// When each microphone's samples were captured: true time by packet.
#[derive(Default)]
pub struct Captures {
    by_cycle: [BTreeMap<u64, (MonoTime, f64)>; MICS],
}

impl Captures {
    pub fn note(&mut self, packet: &Packet) {
        self.by_cycle[packet.mic].insert(packet.cycle, (packet.captured, packet.ppm));
    }

    /// True time at which a board captured its frame `position`, in samples of 1/48000 s.
    pub fn when(&self, mic: usize, position: i64) -> Option<f64> {
        let cycle = position.div_euclid(512);
        let &(end, ppm) = self.by_cycle[mic].get(&(cycle as u64))?;
        let to_end = ((cycle + 1) * 512 - position) as f64 / (1.0 + ppm * 1e-6);
        Some((end.as_nanos() - 1_000_000_000_000) as f64 * 48e-6 - to_end)
    }
}

const MODELS: &str = "none,exp1,exp2,exp5,wifi,ramp,queue,mix";

pub const RATES: [f64; MICS] = [20.0, -15.0, 3.0];

pub fn free(seed: u64, seconds: i64, network: Network) -> Scenario {
    println!("seed {seed}");
    Scenario { seed, network, rates: RATES.map(Rate::Constant), ..Scenario::three_boards(Span::from_secs(seconds)) }
}

pub fn run(scenario: &Scenario) -> (Rig, Sim, Captures) {
    let mut captures = Captures::default();
    let (rig, sim) = Rig::run_with(scenario, config(), |_, _, packet| captures.note(packet));
    (rig, sim, captures)
}

/// Distance between the earliest and the latest channel of each cycle, in samples, from cycle `from` on.
pub fn spreads(rig: &Rig, captures: &Captures, from: usize) -> Vec<f64> {
    let mut spreads = Vec::new();
    for seen in rig.seen.iter().skip(from) {
        let times: Vec<f64> = (0..MICS).filter_map(|mic| captures.when(mic, seen.truth[mic]?)).collect();
        if times.len() > 1 {
            let (low, high) = times.iter().fold((f64::MAX, f64::MIN), |(l, h), &t| (l.min(t), h.max(t)));
            spreads.push(high - low);
        }
    }
    spreads.sort_by(f64::total_cmp);
    spreads
}

/// Of the packets that never came: how many there were, and how many left their gap in the right place; and the moves of a
/// channel by a packet or more against its own board, right or wrong.
pub fn gaps(rig: &Rig, sim: &Sim) -> (usize, usize, usize) {
    let mut offsets: [Vec<(i64, i64)>; MICS] = Default::default();
    for seen in &rig.seen {
        for (mic, truth) in seen.truth.iter().enumerate() {
            if let Some(truth) = *truth {
                offsets[mic].push((truth, seen.first.0 - truth));
            }
        }
    }
    let moves = |o: &Vec<(i64, i64)>| o.windows(2).filter(|w| (w[1].1 - w[0].1).abs() > 256).count();
    let withheld = &sim.truth().withheld;
    let right = withheld.iter().filter(|w| {
        let (at, o) = (w.cycle as i64 * 512, &offsets[w.mic]);
        let before = o[..o.partition_point(|&(t, _)| t + 512 <= at)].last();
        let after = o.get(o.partition_point(|&(t, _)| t < at + 512));
        matches!((before, after), (Some(b), Some(a)) if (a.1 - b.1).abs() < 256)
    });
    (withheld.len(), right.count(), offsets.iter().map(moves).sum())
}

#[test]
fn table_of_free_boards() {
    for model in std::env::var("MODEL").unwrap_or(MODELS.into()).split(',') {
        for (name, loss) in [("0", Loss::None), ("1 %", Loss::Independent(0.01))] {
            let scenario = free(5, 600, Network { delay: delay(model), loss, ..Network::default() });
            let (rig, sim, captures) = run(&scenario);
            assert!(!rig.engine.is_shared());
            let spreads = spreads(&rig, &captures, 94 * 120);
            let at = |q: f64| spreads[((spreads.len() - 1) as f64 * q) as usize];
            let c = rig.engine.counters();
            let (withheld, right, moves) = gaps(&rig, &sim);
            println!(
                "{model:>6} {name:>4} right {:.3} % moves {moves} spread p50 {:.2} p99 {:.2} p99.9 {:.2} max {:.2}  cycles {} incomplete {} slips {:?} lost {:?} of {:?} corrected {:?} late {:?} hold {:?}",
                100.0 * right as f64 / withheld.max(1) as f64,
                at(0.5),
                at(0.99),
                at(0.999),
                at(1.0),
                c.cycles.emitted,
                c.cycles.incomplete,
                c.mics.map(|m| m.slips),
                rig.lost(),
                sim.truth().mics.map(|m| m.withheld()),
                c.mics.map(|m| m.corrected),
                c.mics.map(|m| m.late),
                rig.engine.hold()
            );
        }
    }
}
