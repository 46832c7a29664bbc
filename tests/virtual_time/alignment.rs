//! What is said of how far free boards' channels are apart, against the truth, over the delay models.
//!
//! The tables in `docs/measured.md` come from one command:
//! `cargo test --release --test virtual_time alignment:: -- --nocapture`

use micring::MICS;
use micring::engine::{Config, Datagram, Output};
use micring::sim::{Network, Rate, Scenario, Signal, Sim};
use micring::time::{MonoTime, Span};

use super::boards::{Captures, free};
use super::models::delay;
use super::resampled::{TONE_HZ, phase, resampled};
use super::rig::{Rig, config};

const MODELS: [&str; 9] = ["exp1", "exp2", "exp5", "gamma4", "pareto", "wifi", "ramp", "queue", "mix"];
const SECONDS: i64 = if cfg!(debug_assertions) { 200 } else { 900 };
const SEEDS: std::ops::Range<u64> = if cfg!(debug_assertions) { 301..307 } else { 301..317 };
/// Between two questions.
const EVERY: Span = Span::from_secs(7);

const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

/// What was said of each pair, in samples: offset and half-width.
type Said = [Option<(f64, f64)>; PAIRS.len()];

#[derive(Default)]
struct Answers {
    asked: usize,
    /// Error and claim of each.
    known: Vec<(f64, f64)>,
}

impl Answers {
    fn add(&mut self, said: Option<(f64, f64)>, truth: f64) {
        self.asked += 1;
        self.known.extend(said.map(|(offset, uncertainty)| ((offset - truth).abs(), uncertainty)));
    }

    fn held(&self) -> usize {
        self.known.iter().filter(|(error, claim)| error <= claim).count()
    }

    /// At this share of all answers; `of` picks what.
    fn quantile(&self, share: f64, of: impl Fn(&(f64, f64)) -> f64) -> f64 {
        let mut all: Vec<f64> = self.known.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[((all.len() - 1) as f64 * share) as usize]
    }
}

fn said(rig: &Rig, now: MonoTime) -> Said {
    let samples = |span: Span| span.as_secs_f64() * 48_000.0;
    let said = rig.engine.alignment(now);
    std::array::from_fn(|pair| said[pair].ok().map(|a| (samples(a.offset), samples(a.uncertainty))))
}

fn scenario(model: &str, seed: u64) -> Scenario {
    let spread = (seed as f64 * 0.618).fract() * 40.0;
    let rates = [20.0 - spread, spread - 15.0, 3.0].map(Rate::Constant).to_vec();
    Scenario { rates, ..free(seed, SECONDS, Network { delay: delay(model), ..Network::default() }) }
}

/// An answer, and the cycle that left after it.
struct Asked {
    seen: usize,
    slips: [u64; MICS],
    said: Said,
}

/// Boards whose samples slip: asked every few seconds from half a minute on.
fn ask(answers: &mut Answers, scenario: &Scenario, config: Config) {
    let mut captures = Captures::default();
    let mut asked: Vec<Asked> = Vec::new();
    let mut due: Option<MonoTime> = None;
    let (rig, _) = Rig::run_with(scenario, config, |rig, _, packet| {
        captures.note(packet);
        let slips = std::array::from_fn(|mic| rig.engine.counters().mics[mic].slips);
        // Whose channel has slipped within a quarter of a second of the answer has two answers.
        if let Some(last) = asked.last()
            && rig.seen.len() < last.seen + 25
            && slips != last.slips
        {
            asked.pop();
        }
        if *due.get_or_insert(packet.arrival + Span::from_secs(30)) <= packet.arrival && packet.mic == 0 {
            due = Some(packet.arrival + EVERY);
            asked.push(Asked { seen: rig.seen.len(), slips, said: said(rig, packet.arrival) });
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
            // At one position stand what was taken at `one` and at `other`: what was taken at once stands so far apart.
            answers.add(said, other - one);
        }
    }
}

/// Boards that are resampled: what is heard at once is a tone, and its phase shows where each channel stands.
fn ask_resampled(answers: &mut Answers, scenario: &Scenario, config: Config) {
    let scenario = Scenario { signal: Signal::Tone, ..scenario.clone() };
    let (mut rig, mut sim, mut payload) = (Rig::new(config), Sim::new(&scenario), Vec::new());
    let mut due: Option<MonoTime> = None;
    let mut asked: Option<(Said, u64)> = None;
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        let (sender, len) = (sim.sender(&packet), payload.len());
        let d = Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len };
        rig.engine.begin_turn(sim.clocks(packet.arrival));
        rig.engine.handle_datagram(&d);
        rig.engine.handle_timeout();
        while let Some(output) = rig.engine.poll_output() {
            let Output::Cycle(cycle) = output else { continue };
            let whole = cycle.mic_samples.iter().all(|&n| n == cycle.frames);
            let Some((said, _)) = asked.take_if(|(_, id)| whole || cycle.id > *id + 40).filter(|_| whole) else {
                continue;
            };
            let phases: [f64; MICS] =
                std::array::from_fn(|mic| phase(&rig.channel(mic, cycle.first_frame, cycle.frames as usize)));
            let turn = 48_000.0 / TONE_HZ;
            for ((first, second), said) in PAIRS.into_iter().zip(said) {
                // A channel that is ahead in the tone has its samples sooner.
                let apart = phases[second] - phases[first];
                answers.add(said, (apart + 1.5 * turn).rem_euclid(turn) - turn / 2.0);
            }
        }
        if *due.get_or_insert(packet.arrival + Span::from_secs(30)) <= packet.arrival && packet.mic == 0 {
            due = Some(packet.arrival + EVERY);
            asked = Some((said(&rig, packet.arrival), rig.engine.history().ids().end));
        }
    }
}

fn holds(what: &str, config: fn() -> Config, ask: fn(&mut Answers, &Scenario, Config)) {
    let measure = |model: &str| {
        let mut answers = Answers::default();
        SEEDS.for_each(|seed| ask(&mut answers, &scenario(model, seed), config()));
        answers
    };
    let rows = std::thread::scope(|scope| {
        MODELS.map(|model| (model, scope.spawn(move || measure(model)))).map(|(m, t)| (m, t.join().expect("a run")))
    });
    println!("{what}, {SECONDS} s of seeds {SEEDS:?}, in samples");
    println!(
        "| delay | known | interval holds | median claim | 95 % of errors | worst error | error over claim, 95 % |"
    );
    println!("|{}", "---|".repeat(7));
    for (model, answers) in &rows {
        println!(
            "| {model} | {:.1} % | {:.1} % | {:.2} | {:.2} | {:.2} | {:.2} |",
            100.0 * answers.known.len() as f64 / answers.asked as f64,
            100.0 * answers.held() as f64 / answers.known.len() as f64,
            answers.quantile(0.5, |(_, claim)| *claim),
            answers.quantile(0.95, |(error, _)| *error),
            answers.quantile(1.0, |(error, _)| *error),
            answers.quantile(0.95, |(error, claim)| error / claim),
        );
    }
    for (model, answers) in &rows {
        assert!(answers.known.len() * 2 > answers.asked, "{model}");
        let (held, known) = (answers.held(), answers.known.len());
        assert!(held * 100 >= known * 95, "{model}: {held} of {known}");
    }
}

#[test]
fn what_is_said_of_the_offset_between_channels_holds() {
    holds("Slips of whole samples", config, ask);
}

#[test]
fn what_is_said_of_the_offset_between_resampled_channels_holds() {
    holds("Resampled", resampled, ask_resampled);
}
