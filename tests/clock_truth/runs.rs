//! Seeded runs, and what they found, laid beside the truth.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use micring::MICS;
use micring::engine::clock::{ClockModel, RateEstimate, Unknown};
use micring::sim::{Delay, Loss, Network, Rate, START, Scenario, Sim};
use micring::time::{Ppm, Span};

/// What the sample clocks do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clocks {
    Constant,
    /// The harsh random walk of the clock study.
    Wander,
    /// One step of 5 ppm, up or down, at a time between 150 s and 450 s.
    Step,
    /// A constant one, of a single board with three microphones, whose packets share one path.
    Shared,
}

/// How many of how many.
#[derive(Clone, Copy)]
pub struct Share {
    count: usize,
    of: usize,
}

impl Share {
    pub fn all(self) -> bool {
        self.count == self.of
    }
    pub fn at_least(self, share: f64) -> bool {
        self.count as f64 >= share * self.of as f64
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            0 => f.write_str("-"),
            of => write!(f, "{:.1} %", 100.0 * self.count as f64 / of as f64),
        }
    }
}

/// A figure in ppm, or none where nothing was known.
#[derive(Clone, Copy)]
pub struct Figure(Option<f64>);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ppm) => write!(f, "{ppm:.*}", f.precision().unwrap_or(3)),
            None => f.write_str("-"),
        }
    }
}

/// What was asked at some moments of all runs.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    asked: usize,
    /// Error and claimed uncertainty of each answer that was not "unknown".
    known: Vec<(f64, f64)>,
}

impl Answers {
    fn add(&mut self, answer: Result<RateEstimate, Unknown>, truth: impl FnOnce(&RateEstimate) -> Ppm) {
        self.asked += 1;
        if let Ok(rate) = answer {
            self.known.push(((rate.ppm.0 - truth(&rate).0).abs(), rate.uncertainty_95.0));
        }
    }
    fn extend(&mut self, other: Answers) {
        self.asked += other.asked;
        self.known.extend(other.known);
    }
    fn share(&self, pass: impl Fn(&&(f64, f64)) -> bool) -> Share {
        Share { count: self.known.iter().filter(pass).count(), of: self.known.len() }
    }
    pub fn known(&self) -> Share {
        Share { count: self.known.len(), of: self.asked }
    }
    pub fn within(&self, ppm: f64) -> Share {
        self.share(|(error, _)| *error <= ppm)
    }
    /// Where an uncertainty below `ppm` was claimed: the error was, too.
    pub fn claims_right(&self, ppm: f64) -> Share {
        let claims = self.share(|(_, uncertainty)| *uncertainty < ppm).count;
        Share { of: claims, ..self.share(|(error, uncertainty)| *uncertainty < ppm && *error < ppm) }
    }
    pub fn covered(&self) -> Share {
        self.share(|(error, uncertainty)| error <= uncertainty)
    }
    pub fn rmse(&self) -> Figure {
        self.figure((self.known.iter().map(|(error, _)| error * error).sum::<f64>() / self.known.len() as f64).sqrt())
    }
    pub fn worst(&self) -> Figure {
        self.figure(self.known.iter().fold(0.0, |worst, (error, _)| worst.max(*error)))
    }
    pub fn median_uncertainty(&self) -> Figure {
        let mut all: Vec<f64> = self.known.iter().map(|(_, uncertainty)| *uncertainty).collect();
        all.sort_unstable_by(f64::total_cmp);
        self.figure(all.get(all.len() / 2).copied().unwrap_or_default())
    }
    fn figure(&self, ppm: f64) -> Figure {
        Figure((!self.known.is_empty()).then_some(ppm))
    }
}

/// When is asked within the first minute, in seconds.
pub const EARLY: [i64; 8] = [5, 6, 8, 10, 15, 20, 30, 45];

/// The answers of all runs of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Asked at each of [`EARLY`].
    pub early: [Answers; EARLY.len()],
    pub early_pair: [Answers; EARLY.len()],
    /// How often "the floor moves" was the reason why no rate was known, within the first minute.
    pub told_to_move: usize,
    pub after_60_s: Answers,
    pub after_600_s: Answers,
    /// Asked at 60 s, every 7 s from then on, and at 600 s.
    pub mean: Answers,
    pub now: Answers,
    /// Microphone 0 against 1 and 2, and 1 against 2.
    pub pair_after_60_s: Answers,
    pub pair_after_600_s: Answers,
    pub pair: Answers,
}

impl Report {
    fn extend(&mut self, other: Report) {
        self.early.iter_mut().zip(other.early).for_each(|(all, more)| all.extend(more));
        self.told_to_move += other.told_to_move;
        self.early_pair.iter_mut().zip(other.early_pair).for_each(|(all, more)| all.extend(more));
        self.after_60_s.extend(other.after_60_s);
        self.after_600_s.extend(other.after_600_s);
        self.mean.extend(other.mean);
        self.now.extend(other.now);
        self.pair_after_60_s.extend(other.pair_after_60_s);
        self.pair_after_600_s.extend(other.pair_after_600_s);
        self.pair.extend(other.pair);
    }
}

/// The answers of several moments.
pub fn joined(answers: &[Answers]) -> Answers {
    let mut all = Answers::default();
    answers.iter().for_each(|answers| all.extend(answers.clone()));
    all
}

/// Runs ten minutes of seeds 0..`seeds`, on as many threads as there are processors.
pub fn measure(model: &str, clocks: Clocks, seeds: u64) -> Report {
    measure_for(model, clocks, seeds, 601)
}

/// The same of so many seconds.
pub fn measure_for(model: &str, clocks: Clocks, seeds: u64, seconds: i64) -> Report {
    let delay: Delay = model.parse().expect("a delay model");
    let next = AtomicU64::new(0);
    let work = || {
        let mut report = Report::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return report;
            }
            run(&scenario(delay, clocks, seed, seconds), &mut report);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut report = Report::default();
        for worker in workers {
            report.extend(worker.join().expect("a run failed"));
        }
        report
    })
}

fn scenario(delay: Delay, clocks: Clocks, seed: u64, seconds: i64) -> Scenario {
    // Rates between -50 and 50 ppm, spread over seeds and boards by the golden ratio.
    let around = |board: u64| 100.0 * ((seed * 3 + board) as f64 * 0.618_033_988_749_894_9).fract() - 50.0;
    let rate = |board: u64| match clocks {
        Clocks::Constant | Clocks::Shared => Rate::Constant(around(board)),
        Clocks::Wander => Rate::wander(around(board)),
        Clocks::Step => {
            let first = around(board);
            let by = if (seed + board).is_multiple_of(2) { 5.0 } else { -5.0 };
            let at = 150.0 + 300.0 * (seed as f64 * 0.618_033_988_749_894_9).fract();
            Rate::Steps { first, then: vec![(Span::from_secs_f64(at), first + by)] }
        }
    };
    let length = Span::from_secs(seconds);
    Scenario {
        seed,
        rates: vec![rate(0), rate(1), rate(2)],
        network: Network { delay, loss: Loss::Independent(0.02), ..Network::default() },
        ..if clocks == Clocks::Shared { Scenario::one_board(length) } else { Scenario::three_boards(length) }
    }
}

fn run(scenario: &Scenario, report: &mut Report) {
    let mut sim = Sim::new(scenario);
    let mut models: [ClockModel; MICS] = std::array::from_fn(|_| ClockModel::new(scenario.sample_rate));
    let mut moments = EARLY.into_iter().chain((60..600).step_by(7)).chain([600]);
    let mut ask = moments.next();
    while let Some(packet) = sim.next() {
        if let Some(second) = ask.filter(|second| packet.arrival - START > Span::from_secs(*second)) {
            answer(&sim, &models, second, report);
            ask = moments.next();
        }
        models[packet.mic].observe(packet.position + i64::from(scenario.samples), packet.arrival);
    }
}

fn answer(sim: &Sim, models: &[ClockModel; MICS], second: i64, report: &mut Report) {
    let truth = sim.truth();
    let at = START + Span::from_secs(second);
    // The first cycles of boards end within two periods.
    let begin = START + Span::from_millis(25);
    for (mic, model) in models.iter().enumerate() {
        let mean = |rate: &RateEstimate| {
            let from = (rate.until - rate.span).max(begin);
            truth.mean_ppm(mic, from, rate.until).expect("the span lies within the run")
        };
        let now = |_: &RateEstimate| truth.ppm_at(mic, at).expect("now lies within the run");
        let rate = model.rate().map(|rate| rate.at(at));
        if let Some(i) = EARLY.iter().position(|&moment| moment == second) {
            report.told_to_move += usize::from(rate == Err(Unknown::FloorMoves));
            report.early[i].add(rate, mean);
            continue;
        }
        report.mean.add(rate, mean);
        report.now.add(model.rate_now(), now);
        match second {
            60 => report.after_60_s.add(rate, mean),
            600 => report.after_600_s.add(rate, mean),
            _ => {}
        }
    }
    for (first, second_mic) in [(0, 1), (0, 2), (1, 2)] {
        let truth = |rate: &RateEstimate| {
            let from = (rate.until - rate.span).max(begin);
            let of = |mic| truth.mean_ppm(mic, from, rate.until).expect("within the run").0;
            Ppm(of(first) - of(second_mic))
        };
        let rate = models[first].rate_against(&models[second_mic]).map(|rate| rate.at(at));
        if let Some(i) = EARLY.iter().position(|&moment| moment == second) {
            report.early_pair[i].add(rate, truth);
            continue;
        }
        report.pair.add(rate, truth);
        match second {
            60 => report.pair_after_60_s.add(rate, truth),
            600 => report.pair_after_600_s.add(rate, truth),
            _ => {}
        }
    }
}
