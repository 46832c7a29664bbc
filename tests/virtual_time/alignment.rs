//! What is said of how far free boards' channels are apart, against the truth, over the delay models.
//!
//! The README's table comes from one command:
//! `cargo test --release --test virtual_time alignment:: -- --nocapture`

use micring::MICS;
use micring::engine::figures::PAIRS;
use micring::sim::{Network, Rate, Scenario};
use micring::time::{MonoTime, Span};

use super::boards::{Captures, free};
use super::models::delay;
use super::rig::{Rig, config};

const SECONDS: i64 = if cfg!(debug_assertions) { 200 } else { 900 };
const SEEDS: std::ops::Range<u64> = if cfg!(debug_assertions) { 301..304 } else { 301..309 };
/// Between two questions.
const EVERY: Span = Span::from_secs(7);

/// An answer, and the cycle that left after it.
struct Asked {
    seen: usize,
    slips: [u64; MICS],
    said: [Option<(f64, f64)>; PAIRS.len()],
}

#[derive(Default)]
struct Answers {
    asked: usize,
    known: usize,
    held: usize,
    claims: Vec<f64>,
    worst: f64,
}

/// Asks every few seconds from half a minute on.
fn ask(answers: &mut Answers, scenario: &Scenario) {
    let mut captures = Captures::default();
    let mut asked: Vec<Asked> = Vec::new();
    let mut due: Option<MonoTime> = None;
    let (rig, _) = Rig::run_with(scenario, config(), |rig, _, packet| {
        captures.note(packet);
        let slips = rig.engine.counters().mics.map(|m| m.slips);
        // Whose channel has slipped within a quarter of a second of the answer has two answers.
        if let Some(last) = asked.last()
            && rig.seen.len() < last.seen + 25
            && slips != last.slips
        {
            asked.pop();
        }
        if *due.get_or_insert(packet.arrival + Span::from_secs(30)) <= packet.arrival && packet.mic == 0 {
            due = Some(packet.arrival + EVERY);
            let samples = |span: Span| span.as_secs_f64() * 48_000.0;
            let said = rig
                .engine
                .alignment(packet.arrival)
                .map(|a| a.ok().map(|a| (samples(a.offset), samples(a.uncertainty))));
            asked.push(Asked { seen: rig.seen.len(), slips, said });
        }
    });
    for a in asked {
        // The first whole cycle after it.
        let Some(seen) = rig.seen[a.seen..].iter().take(40).find(|seen| seen.truth.iter().all(Option::is_some)) else {
            continue;
        };
        let times: [Option<f64>; MICS] = std::array::from_fn(|mic| captures.when(mic, seen.truth[mic]?));
        for ((first, second), said) in PAIRS.into_iter().zip(a.said) {
            let (Some(one), Some(other)) = (times[first], times[second]) else { continue };
            answers.asked += 1;
            let Some((offset, uncertainty)) = said else { continue };
            answers.known += 1;
            // At one position stand what was taken at `one` and at `other`: what was taken at once stands so far apart.
            let error = (offset - (other - one)).abs();
            answers.held += usize::from(error <= uncertainty);
            answers.claims.push(uncertainty);
            answers.worst = answers.worst.max(error);
        }
    }
}

#[test]
fn what_is_said_of_the_offset_between_channels_holds() {
    println!("| delay | known | interval holds | median claim, samples | worst error |");
    println!("|{}", "---|".repeat(5));
    let mut rows = Vec::new();
    for model in ["exp1", "exp2", "exp5", "wifi", "ramp", "queue", "mix"] {
        let mut answers = Answers::default();
        for seed in SEEDS {
            let network = Network { delay: delay(model), ..Network::default() };
            let spread = (seed as f64 * 0.618).fract() * 40.0;
            let rates = [20.0 - spread, spread - 15.0, 3.0].map(Rate::Constant);
            ask(&mut answers, &Scenario { rates, ..free(seed, SECONDS, network) });
        }
        answers.claims.sort_by(f64::total_cmp);
        println!(
            "| {model} | {:.1} % | {:.1} % | {:.2} | {:.2} |",
            100.0 * answers.known as f64 / answers.asked as f64,
            100.0 * answers.held as f64 / answers.known as f64,
            answers.claims[answers.claims.len() / 2],
            answers.worst,
        );
        rows.push((model, answers));
    }
    for (model, answers) in rows {
        assert!(answers.known * 2 > answers.asked, "{model}");
        // 95 %, give or take what some hundred answers that hang together leave open.
        assert!(answers.held * 100 >= answers.known * 93, "{model}: {} of {}", answers.held, answers.known);
    }
}
