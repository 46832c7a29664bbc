//! What arrivals can tell at all: a decoder that knows more than any rule could.
//!
//! Problem: packets carry no number, and some losses cannot be placed from arrivals. How far are the rules of the engine from what can be
//! told?
//!
//! Idea: the simulator's law is known, so which number each arrival has is decoded exactly, with forward and backward sums over all numbers
//! that it may have (a hidden Markov chain). The decoder knows the clock, the share of losses, the law of the jitter, and for each moment
//! the floor of the path, ramps and queues included, and every stall: no live rule knows these. It is given all of the future, or only so
//! many milliseconds behind the first packet that follows a loss.

use std::collections::BTreeMap;

use micring::MICS;
use micring::sim::{Loss, Network, Packet, START, Scenario, Sim};
use micring::time::{MonoTime, Span};

use super::boards::free;
use super::judge::judge;
use super::models::delay;

/// Numbers that an arrival may have: stalls of 150 ms and queues of 40 ms are 18 packets, 15 ms of a ramp are two, and of exponential
/// delays of 5 ms one in e^40 lasts for 20.
const NUMBERS: usize = 48;
/// Of `src/sim/delay.rs`, in nanoseconds: between two packets of a queue, and of the backlog of a stall.
const BACK_TO_BACK: i64 = 17_000;
const DRAIN: (f64, f64) = (50e3, 300e3);

/// What is known of a packet before it arrives, in nanoseconds since the start.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: i64,
    /// At the earliest, but for stalls.
    least: i64,
    held_until: i64,
}

/// How many packets are lost before the next one: the first with one probability, each further one with another.
#[derive(Clone, Copy, Debug)]
struct Losses {
    first: f64,
    further: f64,
}

impl Losses {
    fn of(loss: Loss) -> Losses {
        match loss {
            Loss::None => Losses { first: 0.0, further: 0.0 },
            Loss::Independent(share) => Losses { first: share, further: share },
            Loss::GilbertElliott { overall, mean_burst } => {
                Losses { first: overall / (1.0 - overall) / mean_burst, further: 1.0 - 1.0 / mean_burst }
            }
        }
    }

    /// The probability that a packet's number is `step` more than that of the one before.
    fn of_step(self, step: usize) -> f64 {
        match step {
            0 => 0.0,
            1 => 1.0 - self.first,
            _ => self.first * self.further.powi(step as i32 - 2) * (1.0 - self.further),
        }
    }
}

/// For each number that a packet may have, by whether a backlog is being handed over behind it.
type Weights = [[f64; 2]; NUMBERS];
const NOTHING: Weights = [[0.0; 2]; NUMBERS];

/// Decodes the arrivals of one board.
struct Decoder<'a> {
    sent: &'a [Sent],
    /// In nanoseconds since the start.
    arrivals: &'a [i64],
    losses: Losses,
    /// Of the exponential jitter, in nanoseconds.
    jitter: f64,
    /// The first of the `NUMBERS` of each arrival.
    from: Vec<usize>,
    /// Of each arrival: how likely it is just then if it has each of the numbers, by `backlog` before and behind.
    laws: Vec<[[[f64; 2]; 2]; NUMBERS]>,
    /// Of each arrival, given all up to it.
    forward: Vec<Weights>,
}

impl<'a> Decoder<'a> {
    fn new(sent: &'a [Sent], arrivals: &'a [i64], losses: Losses, jitter: Span) -> Decoder<'a> {
        let newest = arrivals.iter().map(|&at| sent.partition_point(|sent| sent.at < at));
        let from: Vec<usize> = newest.map(|newest| newest.saturating_sub(NUMBERS)).collect();
        let jitter = jitter.as_nanos() as f64;
        let (laws, forward) = (Vec::with_capacity(arrivals.len()), Vec::with_capacity(arrivals.len()));
        let mut decoder = Decoder { sent, arrivals, losses, jitter, from, laws, forward };
        decoder.laws.push([[[0.0; 2]; 2]; NUMBERS]);
        for j in 1..arrivals.len() {
            let law = |i| [false, true].map(|backlog| decoder.law(j, decoder.from[j] + i, backlog));
            decoder.laws.push(std::array::from_fn(law));
        }
        // Nothing is lost before the first.
        let mut first = NOTHING;
        first[0][0] = 1.0;
        decoder.forward.push(first);
        for j in 1..arrivals.len() {
            let next = decoder.step_forward(j);
            decoder.forward.push(next);
        }
        decoder
    }

    /// The probability of the arrival `j`, at just this nanosecond, if it has this number: as the path behaves if a backlog was being handed
    /// over before (`backlog`), and by whether one is behind it.
    fn law(&self, j: usize, number: usize, backlog: bool) -> [f64; 2] {
        let Some(sent) = self.sent.get(number) else { return [0.0; 2] };
        let (at, last) = (self.arrivals[j], self.arrivals[j - 1]);
        let after = (at - last) as f64;
        let within = |delay: i64| if delay < 0 { 0.0 } else { 1.0 - (-(delay as f64) / self.jitter).exp() };
        let density = |delay: i64| if delay < 0 { 0.0 } else { (-(delay as f64) / self.jitter).exp() / self.jitter };
        let drain = if after >= DRAIN.0 - 1.0 && after <= DRAIN.1 { 1.0 / (DRAIN.1 - DRAIN.0) } else { 0.0 };
        let drained = ((after - DRAIN.0) / (DRAIN.1 - DRAIN.0)).clamp(0.0, 1.0);
        let held = within(sent.held_until - sent.least);
        // A stall holds it: to its end, or behind the one before.
        let behind = if at == sent.held_until { held * drained } else if at > sent.held_until { held * drain } else { 0.0 };
        // Its own delay is longer.
        let own = if at > sent.held_until { density(at - sent.least) } else { 0.0 };
        let shorter = (within(at - sent.least) - held).max(0.0);
        match backlog {
            true => [own * drained, behind + drain * shorter],
            false => {
                let pushed = if at == last + BACK_TO_BACK { (within(last - sent.least) - held).max(0.0) } else { 0.0 };
                [own + pushed, behind]
            }
        }
    }

    /// How likely each number of `j` is beside what came before it.
    fn predicted(&self, j: usize) -> Weights {
        let (before, losses) = (&self.forward[j - 1], self.losses);
        let mut predicted = NOTHING;
        for state in 0..2 {
            let weight = |number: usize| number.checked_sub(self.from[j - 1]).and_then(|i| before.get(i)).map_or(0.0, |w| w[state]);
            let first = self.from[j - 1];
            let mut behind_loss = 0.0;
            for number in first + 1..self.from[j] + NUMBERS {
                if number >= first + 2 {
                    behind_loss = losses.further * behind_loss + losses.first * (1.0 - losses.further) * weight(number - 2);
                }
                if let Some(i) = number.checked_sub(self.from[j]) {
                    predicted[i][state] = behind_loss + (1.0 - losses.first) * weight(number - 1);
                }
            }
        }
        predicted
    }

    fn step_forward(&self, j: usize) -> Weights {
        let predicted = self.predicted(j);
        let mut weights = NOTHING;
        for (i, weight) in weights.iter_mut().enumerate() {
            for (state, &before) in predicted[i].iter().enumerate().filter(|(_, before)| **before > 0.0) {
                let law = self.laws[j][i][state];
                weight[0] += before * law[0];
                weight[1] += before * law[1];
            }
        }
        normalise(&mut weights);
        weights
    }

    /// What speaks for each number of the arrival before `j`, where `behind` is what speaks for those of `j`.
    fn step_backward(&self, j: usize, behind: &Weights) -> Weights {
        let (first, losses) = (self.from[j - 1], self.losses);
        let mut weights = NOTHING;
        for state in 0..2 {
            let spoken = |number: usize| {
                let Some(i) = number.checked_sub(self.from[j]).filter(|&i| i < NUMBERS) else { return 0.0 };
                let (w, law) = (behind[i], self.laws[j][i][state]);
                law[0] * w[0] + law[1] * w[1]
            };
            let mut behind_loss = 0.0;
            let mut next = 0.0;
            for number in (first..self.from[j] + NUMBERS - 1).rev() {
                // Of numbers `number + 2` and beyond, then of the next one.
                behind_loss = losses.further * behind_loss + losses.first * (1.0 - losses.further) * next;
                next = spoken(number + 1);
                if let Some(weight) = weights.get_mut(number - first) {
                    weight[state] = behind_loss + (1.0 - losses.first) * next;
                }
            }
        }
        normalise(&mut weights);
        weights
    }

    /// By how much the number of `j` is more than that of the arrival before, most likely, where `behind` is what speaks for those of `j`.
    fn likeliest_step(&self, j: usize, behind: &Weights) -> usize {
        let mut steps = [0.0; NUMBERS];
        for (i, weight) in self.forward[j - 1].iter().enumerate() {
            for state in (0..2).filter(|&state| weight[state] > 1e-12) {
                for (step, sum) in steps.iter_mut().enumerate().skip(1) {
                    let number = self.from[j - 1] + i + step;
                    let Some(i) = number.checked_sub(self.from[j]).filter(|&i| i < NUMBERS) else { continue };
                    let (w, law) = (behind[i], self.laws[j][i][state]);
                    *sum += weight[state] * self.losses.of_step(step) * (law[0] * w[0] + law[1] * w[1]);
                }
            }
        }
        (1..NUMBERS).max_by(|&a, &b| steps[a].total_cmp(&steps[b])).expect("there are steps")
    }

    /// The most likely step before each arrival, decided when what comes within `future` of it has been heard.
    fn steps(&self, future: Option<Span>) -> Vec<usize> {
        let all = [[1.0; 2]; NUMBERS];
        let n = self.arrivals.len();
        let mut steps = vec![1; n];
        match future {
            None => {
                let mut behind = all;
                for j in (1..n).rev() {
                    steps[j] = self.likeliest_step(j, &behind);
                    behind = self.step_backward(j, &behind);
                }
            }
            Some(future) => {
                for (j, step) in steps.iter_mut().enumerate().skip(1) {
                    let heard = self.arrivals.partition_point(|&at| at <= self.arrivals[j] + future.as_nanos());
                    let mut behind = all;
                    for later in (j + 1..heard).rev() {
                        behind = self.step_backward(later, &behind);
                    }
                    *step = self.likeliest_step(j, &behind);
                }
            }
        }
        steps
    }
}

/// # Panics
/// When nothing explains the arrivals: the law is not that of the simulator.
fn normalise(weights: &mut Weights) {
    let sum: f64 = weights.iter().flatten().sum();
    assert!(sum > 0.0, "the law explains what the simulator does");
    weights.iter_mut().flatten().for_each(|weight| *weight /= sum);
}

/// The arrivals of one board, and what each was.
#[derive(Default)]
struct Heard {
    sent: Vec<Sent>,
    arrivals: Vec<i64>,
    numbers: Vec<u64>,
}

fn since_start(at: MonoTime) -> i64 {
    (at - START).as_nanos()
}

/// What each microphone's board sends, and what arrives of it. The same seed delays lost packets as well.
fn hear(scenario: &Scenario) -> [Heard; MICS] {
    let mut heard: [Heard; MICS] = Default::default();
    let lossless = Scenario { network: Network { loss: Loss::None, ..scenario.network }, ..scenario.clone() };
    let note = |heard: &mut Heard, packet: &Packet| {
        assert_eq!(packet.cycle as usize, heard.sent.len(), "nothing is lost or overtaken");
        let held_until = packet.held_until.map_or(i64::MIN / 2, since_start);
        heard.sent.push(Sent { at: since_start(packet.sent), least: since_start(packet.least), held_until });
    };
    Sim::new(&lossless).for_each(|packet| note(&mut heard[packet.mic], &packet));
    for packet in Sim::new(scenario) {
        heard[packet.mic].arrivals.push(since_start(packet.arrival));
        heard[packet.mic].numbers.push(packet.cycle);
    }
    heard
}

const SECONDS: i64 = 240;
const SEED: u64 = 5;

fn jitter_of(model: &str) -> Span {
    match model {
        "exp1" => Span::from_millis(1),
        "exp2" => Span::from_millis(2),
        "exp5" => Span::from_millis(5),
        _ => Span::from_micros(300),
    }
}

#[test]
fn what_arrivals_can_tell() {
    let ms = Span::from_millis;
    let futures = [Some(ms(50)), Some(ms(150)), None];
    for model in ["exp1", "exp2", "exp5", "wifi", "ramp", "queue", "mix"] {
        for loss in [Loss::Independent(0.01), Loss::Independent(0.1), Loss::BURSTS] {
            if let Ok(only) = std::env::var("ONLY") {
                if !format!("{model} {loss:?}").contains(&only) { continue; }
            }
            let network = Network { delay: delay(model), loss, ..Network::default() };
            let scenario = Scenario { clean_cycles: 200, ..free(SEED, SECONDS, network) };
            let judged = judge(&scenario);
            let heard = hear(&scenario);
            let mut right = [[0u64; 5]; 2];
            let mut invented = [0u64; 4];
            for (mic, heard) in heard.iter().enumerate() {
                let decoder = Decoder::new(&heard.sent, &heard.arrivals, Losses::of(loss), jitter_of(model));
                let told = futures.map(|future| decoder.steps(future));
                let at: BTreeMap<u64, i64> = heard.numbers.iter().copied().zip(heard.arrivals.iter().copied()).collect();
                for j in 1..heard.numbers.len() {
                    let (before, behind) = (heard.numbers[j - 1], heard.numbers[j]);
                    let step = (behind - before) as usize;
                    let moved = |number: u64| judged.moved_by(mic, number as i64 * 512 + 256);
                    let live = moved(before).zip(moved(behind)).map(|(a, b)| (b - a).abs() < 256);
                    let these = [live.unwrap_or(false), told[0][j] == step, told[1][j] == step, told[2][j] == step];
                    for lost in before + 1..behind {
                        let inside = at.get(&(lost - 1)).zip(at.get(&(lost + 1))).is_some_and(|(a, b)| b - a < 10_666_667);
                        for class in [Some(0), (!inside).then_some(1)].into_iter().flatten() {
                            right[class][4] += 1;
                            for (i, &good) in these.iter().enumerate() {
                                right[class][i] += u64::from(good);
                            }
                        }
                        if !inside && these[2] != these[0] && std::env::var("VERBOSE").is_ok() {
                            let t = |i: usize| heard.sent[i];
                            for x in j.saturating_sub(4)..(j + 8).min(heard.numbers.len()) {
                                let nr = heard.numbers[x];
                                println!("      {:>8.3} nr {nr} placed {:?} delay {:.2} floor {:.2}", heard.arrivals[x] as f64 * 1e-6, moved(nr).map(|m| m as f64 / 512.0), (heard.arrivals[x] - t(nr as usize).at) as f64 * 1e-6, (t(nr as usize).least - t(nr as usize).at) as f64 * 1e-6);
                            }
                            println!("  mic {mic} lost {lost} at {:.3}: {these:?} {step} {:?}", heard.arrivals[j] as f64 * 1e-9, told.each_ref().map(|t| t[j]));
                        }
                    }
                    if step == 1 && !these[0] && these[2] && heard.arrivals[j] > 2_000_000_000 && std::env::var("VERBOSE").is_ok() {
                        let t = |i: usize| heard.sent[i];
                        println!("  mic {mic} INVENTED at {:.3}", heard.arrivals[j] as f64 * 1e-9);
                        for x in j.saturating_sub(4)..(j + 8).min(heard.numbers.len()) {
                            let nr = heard.numbers[x];
                            println!("      {:>8.3} nr {nr} placed {:?} delay {:.2} floor {:.2}", heard.arrivals[x] as f64 * 1e-6, moved(nr).map(|m| m as f64 / 512.0), (heard.arrivals[x] - t(nr as usize).at) as f64 * 1e-6, (t(nr as usize).least - t(nr as usize).at) as f64 * 1e-6);
                        }
                    }
                    if step == 1 {
                        for (i, &good) in these.iter().enumerate() {
                            invented[i] += u64::from(!good);
                        }
                    }
                }
            }
            let share = |class: usize, i: usize| 100.0 * right[class][i] as f64 / right[class][4].max(1) as f64;
            println!(
                "| {model} | {loss:?} | {} | {} | {} | {invented:?} |",
                right[0][4],
                [0, 1, 2, 3].map(|i| format!("{:.2}", share(0, i))).join(" | "),
                [0, 1, 2, 3].map(|i| format!("{:.2}", share(1, i))).join(" | "),
            );
        }
    }
}
