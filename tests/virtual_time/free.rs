//! Free boards over the delay models of the clock study: how far the channels stand apart, how many lost packets leave their
//! gap in the right place and how soon, and gaps where nothing was lost.
//!
//! The table of docs/measured.md comes from one command:
//! `cargo test --release --test virtual_time free:: -- --nocapture --test-threads=1`

use std::collections::BTreeMap;

use micring::MICS;
use micring::sim::{Length, Loss, Network, Scenario, Sim, Withheld};
use micring::time::{MonoTime, Span};

use super::boards::{Captures, LEARNT, free, spreads};
use super::judge::judge;
use super::models::delay;
use super::rig::{Rig, config};

/// An hour, as the issue asks; without optimisation four minutes.
const SECONDS: i64 = if cfg!(debug_assertions) { 240 } else { 3_600 };
const SEED: u64 = 5;

/// When each microphone's packets arrived, and when its `lost` had first reached a count.
#[derive(Default)]
struct Decisions {
    arrivals: [BTreeMap<u64, MonoTime>; MICS],
    reached: [Vec<MonoTime>; MICS],
}

impl Decisions {
    fn note(&mut self, rig: &Rig, packet: &micring::sim::Packet) {
        self.arrivals[packet.mic].insert(packet.cycle, packet.arrival);
        for (mic, lost) in rig.lost().into_iter().enumerate() {
            while (self.reached[mic].len() as u64) < lost {
                self.reached[mic].push(packet.arrival);
            }
        }
    }

    /// From the first packet behind each loss until the loss was counted, sorted.
    fn times(&self, sim: &Sim) -> Vec<Span> {
        let mut times = Vec::new();
        for mic in 0..MICS {
            let withheld = sim.truth().withheld.iter().filter(|w| w.mic == mic);
            for (w, &reached) in withheld.zip(&self.reached[mic]) {
                times.extend(self.arrivals[mic].range(w.cycle..).next().map(|(_, &behind)| reached - behind));
            }
        }
        times.sort_unstable();
        times
    }
}

/// What one run over a delay model showed.
struct Row {
    right: f64,
    /// The same without those that were lost inside a backlog: which of its packets those are, arrivals do not tell.
    right_outside: f64,
    p999: f64,
    /// Of the last minute.
    at_last: f64,
    lost: [u64; MICS],
    truly_lost: [u64; MICS],
    decided_p99: Span,
}

/// A backlog is handed over in less time than it took to capture: the packets around a lost one, captured two periods apart, come within
/// one.
fn is_in_backlog(arrivals: &BTreeMap<u64, MonoTime>, cycle: u64) -> bool {
    let around = arrivals.get(&(cycle - 1)).zip(arrivals.get(&(cycle + 1)));
    around.is_some_and(|(&before, &behind)| behind - before < Span::of_frames(512, 48_000))
}

/// Of the packets that never came, those whose gap is in the right place; and the moves.
fn gaps<'a>(rig: &Rig, sim: &'a Sim) -> (Vec<&'a Withheld>, usize) {
    let mut offsets: [Vec<(i64, i64)>; MICS] = Default::default();
    for seen in &rig.seen {
        for (mic, truth) in seen.truth.iter().enumerate() {
            if let Some(truth) = *truth {
                offsets[mic].push((truth, seen.first.0 - truth));
            }
        }
    }
    let moves = |o: &Vec<(i64, i64)>| o.windows(2).filter(|w| (w[1].1 - w[0].1).abs() > 256).count();
    let right = sim.truth().withheld.iter().filter(|w| {
        let (at, o) = (w.cycle as i64 * 512, &offsets[w.mic]);
        let before = o[..o.partition_point(|&(t, _)| t + 512 <= at)].last();
        let after = o.get(o.partition_point(|&(t, _)| t < at + 512));
        matches!((before, after), (Some(b), Some(a)) if (a.1 - b.1).abs() < 256)
    });
    (right.collect(), offsets.iter().map(moves).sum())
}

fn row(model: &str, loss: Loss, seed: u64, seconds: i64) -> Row {
    // What is lost before the first position exists cannot be held against the positions.
    let network = Network { delay: delay(model), loss, ..Network::default() };
    let scenario = Scenario { clean_cycles: 200, ..free(seed, seconds, network) };
    let (mut captures, mut decisions) = (Captures::default(), Decisions::default());
    let (rig, sim) = Rig::run_with(&scenario, config(), |rig, _, packet| {
        captures.note(packet);
        decisions.note(rig, packet);
    });
    assert!(!rig.engine.is_shared(), "three addresses are three boards");
    let all = spreads(&rig, &captures, LEARNT);
    let at_last = spreads(&rig, &captures, rig.seen.len() - LEARNT);
    let at = |s: &[f64], q: f64| s[((s.len() - 1) as f64 * q) as usize];
    let (right, moves) = gaps(&rig, &sim);
    let withheld = sim.truth().withheld.len();
    let share = |right: usize, of: usize| if of == 0 { 1.0 } else { right as f64 / of as f64 };
    let outside = |w: &&Withheld| !is_in_backlog(&decisions.arrivals[w.mic], w.cycle);
    let (right, right_outside) = (right.len(), right.into_iter().filter(outside).count());
    let withheld_outside = sim.truth().withheld.iter().filter(outside).count();
    let c = rig.engine.counters();
    let times = decisions.times(&sim);
    let row = Row {
        right: share(right, withheld),
        right_outside: share(right_outside, withheld_outside),
        p999: at(&all, 0.999),
        at_last: at(&at_last, 0.999),
        lost: rig.lost(),
        truly_lost: std::array::from_fn(|mic| sim.truth().mics[mic].withheld()),
        decided_p99: times.get(times.len() * 99 / 100).copied().unwrap_or(Span::ZERO),
    };
    println!(
        "| {model} | {} | {} | {} | {} | {:.1} | {:.2} | {:.2} | {:.2} | {} | {} | {} | {:?} | {:?} | {:.1} |",
        match loss {
            Loss::Independent(share) => format!("{} %", 100.0 * share),
            _ => "0".to_owned(),
        },
        if withheld == 0 { "-".to_owned() } else { format!("{:.3} %", 100.0 * row.right) },
        if withheld == 0 { "-".to_owned() } else { format!("{:.3} %", 100.0 * row.right_outside) },
        moves,
        row.decided_p99.as_secs_f64() * 1e3,
        row.p999,
        at(&all, 1.0),
        row.at_last,
        row.lost.iter().sum::<u64>(),
        row.truly_lost.iter().sum::<u64>(),
        rig.missing / 512,
        c.mics.iter().map(|m| m.corrected).sum::<u64>(),
        c.mics.map(|m| m.slips),
        rig.engine.hold().as_secs_f64() * 1e3,
    );
    row
}

fn head() {
    println!(
        "| delay | loss | gaps right | outside backlogs | channel moves | decided p99, ms | apart p99.9, samples | worst | last minute | \
         lost | truly | missing live | taken back | slips | hold, ms |"
    );
    println!("|{}", "---|".repeat(15));
}

#[test]
fn free_boards_stay_within_a_sample_and_their_losses_leave_gaps_in_the_right_place() {
    println!("{SECONDS} s each");
    head();
    let mut rows = Vec::new();
    for model in ["exp1", "exp2", "exp5", "wifi", "ramp", "queue", "mix"] {
        for loss in [Loss::None, Loss::Independent(0.01), Loss::Independent(0.1)] {
            rows.push((model, loss, row(model, loss, SEED, SECONDS)));
        }
    }
    for (model, loss, r) in rows {
        let clean = loss == Loss::None;
        if loss == Loss::Independent(0.1) {
            // Printed only.
            continue;
        }
        // exp5 and mix are printed only: there arrivals cannot tell (clock notes, section 2).
        let (right, apart) = match model {
            "exp1" => (0.9999, 1.0),
            "exp2" | "wifi" => (0.994, 1.0),
            "ramp" => (0.999, 3.0),
            "queue" if clean => (1.0, 1.0),
            _ => continue,
        };
        assert!(r.right >= right, "{model} {}", r.right);
        assert_eq!(r.lost, r.truly_lost, "{model}");
        assert!(r.at_last <= apart, "{model} ends {} apart", r.at_last);
        assert!(r.p999 <= apart, "{model} {}", r.p999);
        assert!(r.decided_p99 <= Span::from_millis(250), "{model} {:?}", r.decided_p99);
    }
}

#[test]
fn a_day_of_wifi_has_no_false_gap() {
    let network = Network { delay: delay("wifi"), ..Network::default() };
    let scenario = free(6, 0, network);
    let length = Length::Time(Span::from_secs(24 * SECONDS));
    let (rig, _) = Rig::run_long(&Scenario { length, ..scenario }, config());
    let m = &rig.engine.counters().mics;
    println!("{} cycles of wifi: lost {:?}, taken back {:?}", rig.cycles, rig.lost(), m.map(|m| m.corrected));
    assert_eq!((rig.lost(), m.map(|m| m.corrected)), ([0; MICS], vec![0; MICS]));
}

/// The floor is not known yet when the first packets are lost: one that lowers it was taken for the level that those behind a loss
/// have to come back to.
#[test]
fn bursts_of_loss_in_the_first_seconds_put_no_board_off() {
    let loss = Loss::GilbertElliott { overall: 0.05, mean_burst: 5.0 };
    for seed in 300..330 {
        let network = Network { delay: delay("exp0.3"), loss, ..Network::default() };
        let judged = judge(&free(seed, 6, network));
        assert_eq!((judged.wrong, judged.moves), (0, 0), "seed {seed}: {judged}");
    }
}
