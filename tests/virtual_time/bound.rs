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
        let behind = if at == sent.held_until {
            held * drained
        } else if at > sent.held_until {
            held * drain
        } else {
            0.0
        };
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
            let weight = |number: usize| {
                number.checked_sub(self.from[j - 1]).and_then(|i| before.get(i)).map_or(0.0, |w| w[state])
            };
            let first = self.from[j - 1];
            let mut behind_loss = 0.0;
            for number in first + 1..self.from[j] + NUMBERS {
                if number >= first + 2 {
                    behind_loss =
                        losses.further * behind_loss + losses.first * (1.0 - losses.further) * weight(number - 2);
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

/// An hour a row; without optimisation four minutes of the rows that are held against what must be.
const SECONDS: i64 = if cfg!(debug_assertions) { 240 } else { 3_600 };
const SEED: u64 = 5;
const PERIOD: Span = Span::from_nanos(10_666_667);

fn jitter_of(model: &str) -> Span {
    match model {
        "exp1" => Span::from_millis(1),
        "exp2" => Span::from_millis(2),
        "exp5" => Span::from_millis(5),
        _ => Span::from_micros(300),
    }
}

/// Who tells the gaps: the engine, and the decoder with 50 ms, 150 ms and all of the future.
const TELLERS: usize = 4;

/// Lost packets, and how many of them each teller has in the right place.
#[derive(Clone, Copy, Default)]
struct Right {
    lost: u64,
    by: [u64; TELLERS],
}

impl Right {
    fn note(&mut self, by: [bool; TELLERS]) {
        self.lost += 1;
        self.by.iter_mut().zip(by).for_each(|(sum, right)| *sum += u64::from(right));
    }

    fn share(&self, teller: usize) -> f64 {
        self.by[teller] as f64 / self.lost.max(1) as f64
    }

    fn line(&self) -> String {
        (0..TELLERS).map(|teller| format!("{:.2}", 100.0 * self.share(teller))).collect::<Vec<_>>().join(" | ")
    }
}

/// Of one run: all gaps, and those outside backlogs.
fn tell(model: &str, loss: Loss) -> [Right; 2] {
    let network = Network { delay: delay(model), loss, ..Network::default() };
    let scenario = Scenario { clean_cycles: 200, ..free(SEED, SECONDS, network) };
    let judged = judge(&scenario);
    let mut right = [Right::default(); 2];
    for (mic, heard) in hear(&scenario).iter().enumerate() {
        let decoder = Decoder::new(&heard.sent, &heard.arrivals, Losses::of(loss), jitter_of(model));
        let futures = [Some(Span::from_millis(50)), Some(Span::from_millis(150)), None];
        let told = futures.map(|future| decoder.steps(future));
        let at: BTreeMap<u64, i64> = heard.numbers.iter().copied().zip(heard.arrivals.iter().copied()).collect();
        let moved = |number: u64| judged.moved_by(mic, number as i64 * 512 + 256);
        for (j, pair) in heard.numbers.windows(2).enumerate() {
            let (before, behind) = (pair[0], pair[1]);
            let stays = moved(before).zip(moved(behind)).is_some_and(|(a, b)| (b - a).abs() < 256);
            let is_right = |told: &Vec<usize>| told[j + 1] as u64 == behind - before;
            let by = [stays, is_right(&told[0]), is_right(&told[1]), is_right(&told[2])];
            for lost in before + 1..behind {
                // As in `free`: captured two periods apart, they come within one.
                let around = at.get(&(lost - 1)).zip(at.get(&(lost + 1)));
                let in_backlog = around.is_some_and(|(before, behind)| behind - before < PERIOD.as_nanos());
                right[0].note(by);
                if !in_backlog {
                    right[1].note(by);
                }
            }
        }
    }
    right
}

/// The table of docs/measured.md: `cargo test --profile checked --test virtual_time bound:: -- --nocapture`
#[test]
fn what_arrivals_can_tell_and_what_the_engine_does() {
    println!(
        "{SECONDS} s each; the engine, then the decoder with 50 ms, 150 ms, all of the future; then the same outside backlogs"
    );
    for model in ["exp1", "exp2", "exp5", "wifi", "ramp", "queue", "mix"] {
        for (name, loss) in
            [("1 %", Loss::Independent(0.01)), ("10 %", Loss::Independent(0.1)), ("bursts", Loss::BURSTS)]
        {
            // What is only printed is for the table.
            if cfg!(debug_assertions)
                && !(name == "1 %" && matches!(model, "exp5" | "mix"))
                && std::env::var_os("MICRING_TABLES").is_none()
            {
                continue;
            }
            let [all, outside] = tell(model, loss);
            println!("| {model} | {name} | {} | {} | {} |", all.lost, all.line(), outside.line());
            // A future never makes it worse by more than chance: three deviations of as many gaps as are told wrongly.
            let (short, long) = (all.share(1), all.share(3));
            let chance = 3.0 * ((1.0 - long) / all.lost as f64).sqrt() + 3.0 / all.lost as f64;
            assert!(short <= long + chance, "{model} {name}: {short} with 50 ms, {long} with all");
            if name == "1 %" {
                // No rule tells more than the decoder, and the engine's rules as much.
                assert!((all.share(0) - long).abs() <= chance, "{model}: {} for {long}", all.share(0));
            }
        }
    }
}

/// A loss looks like one a packet earlier where the packet before it comes a whole period late, itself or behind another that is later
/// still: of a path that is first in, first out, with exponential delays of mean m this is so in 1 - prod (1 - e^(-iP/m)) of cases.
#[test]
fn the_decoder_tells_as_many_losses_as_chance_allows() {
    let network = Network { delay: delay("exp5"), loss: Loss::Independent(0.01), ..Network::default() };
    let heard = hear(&Scenario { clean_cycles: 200, ..free(SEED, 1_200, network) });
    let (mut lost, mut right) = (0u32, 0u32);
    for heard in &heard {
        let decoder = Decoder::new(&heard.sent, &heard.arrivals, Losses::of(network.loss), Span::from_millis(5));
        let steps = decoder.steps(None);
        for (j, pair) in heard.numbers.windows(2).enumerate() {
            // Of one that was lost by itself.
            if pair[1] - pair[0] == 2 {
                lost += 1;
                right += u32::from(steps[j + 1] == 2);
            }
        }
    }
    let q = (-PERIOD.as_secs_f64() / 5e-3).exp();
    let expected: f64 = (1..20).map(|i| 1.0 - q.powi(i)).product();
    let found = f64::from(right) / f64::from(lost);
    println!("{found} of {lost} for {expected}");
    // Two more losses nearby, one in fifty cases each, may spoil it.
    let deviation = (expected * (1.0 - expected) / f64::from(lost)).sqrt();
    assert!((found - expected).abs() < 0.02 + 3.0 * deviation, "{found} for {expected}");
}
