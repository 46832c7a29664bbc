//! How long the network takes: delay is only ever added, and a path hands packets over in the order it got them.
//!
//! The models bear the names of the clock study (`exp1`, `exp2`, `exp5`, `wifi`, `ramp`, `queue`, `mix`), so that figures
//! found here can be laid beside its tables. Each is a sum of parts: a fixed floor, jitter of each packet, stalls (nothing
//! passes, then the backlog does, in a burst), load ramps, and standing queues. Where the study leaves a number open, the
//! constant below says what was chosen.

use std::str::FromStr;

use super::rng::{Purpose, Rng};
use crate::time::Span;

/// A delay model. `Wifi`, `Ramp`, `Queue` and `Mix` have exponential jitter of 0.3 ms mean beside what they are named after.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// The floor alone.
    None,
    /// Exponential with this mean: `exp1`, `exp2`, `exp5` are 1, 2 and 5 ms.
    Exp(Span),
    /// The sum of four exponential delays, with this mean: `gamma4` is 1 ms. Hardly any packet comes near the floor.
    Gamma4(Span),
    /// Lomax with this mean and this shape (above 1), a heavy tail, cut at 250 ms.
    Pareto { mean: Span, shape: f64 },
    /// Four stalls a minute of 20 to 150 ms, their backlog handed over at 50 to 300 us; 30 % begin inside a cycle.
    Wifi,
    /// The floor climbs by 15 ms within 30 s and comes down again.
    Ramp,
    /// The floor jumps up by 10 to 40 ms for 5 to 20 s, 70 times an hour.
    Queue,
    /// Stalls, ramps and queues together.
    Mix,
    /// Modem sleep: what was sent waits for the next beacon, one every so often (for all boards alike), and then leaves in one
    /// regular burst. `sleep` is the usual 102.4 ms.
    Sleep(Span),
}

impl FromStr for Delay {
    type Err = String;

    /// `none`, `expN` (mean in whole or fractional milliseconds), `gamma4`, `pareto`, `wifi`, `ramp`, `queue`, `mix`, `sleep` or `sleepN`.
    fn from_str(name: &str) -> Result<Delay, String> {
        match name {
            "none" => Ok(Delay::None),
            "gamma4" => Ok(Delay::Gamma4(Span::from_millis(1))),
            "pareto" => Ok(Delay::Pareto { mean: Span::from_millis(1), shape: 2.5 }),
            "wifi" => Ok(Delay::Wifi),
            "ramp" => Ok(Delay::Ramp),
            "queue" => Ok(Delay::Queue),
            "mix" => Ok(Delay::Mix),
            "sleep" => Ok(Delay::Sleep(BEACONS)),
            _ => {
                let (kind, number) = name.split_at(name.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(name.len()));
                let number = number.parse::<f64>().ok().filter(|ms| (1e-3..=1e4).contains(ms));
                match (kind, number.map(|ms| Span::from_secs_f64(ms * 1e-3))) {
                    ("exp", Some(mean)) => Ok(Delay::Exp(mean)),
                    ("sleep", Some(every)) => Ok(Delay::Sleep(every)),
                    _ => Err("not one of none, exp1, exp2, exp5, gamma4, pareto, wifi, ramp, queue, mix, sleep".into()),
                }
            }
        }
    }
}

/// Everything is held back for `hold`, once every `every`, then handed over in a burst; the first time one `every` after the
/// start. Cycles are held back whole, by the time of their capture: what stalls inside a cycle is `Delay::Wifi`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HoldBack {
    pub hold: Span,
    pub every: Span,
}

/// Usual time between the beacons of an access point: 100 units of 1024 us.
const BEACONS: Span = Span::from_micros(102_400);
/// Jitter under `wifi`, `ramp`, `queue` and `mix`: exponential, 0.3 ms (the study names it for `wifi`).
const SMALL_JITTER: f64 = 300e3;
/// As long as any buffer on a local network holds a packet; the distribution itself would hold one for seconds in a day.
const PARETO_MOST: f64 = 250e6;
/// Between two packets that one FIFO hands over back to back: 2048 bytes and their headers at 1 Gbit/s.
const BACK_TO_BACK: i64 = 17_000;
/// Between two packets of a stall's backlog, in nanoseconds.
const DRAIN: (f64, f64) = (50e3, 300e3);
/// Mean time from one stall's beginning to the next's: four a minute.
const STALL_EVERY: f64 = 15e9;
const STALL: (f64, f64) = (20e6, 150e6);
const STALL_INSIDE_CYCLE: f64 = 0.3;
const RAMP_HEIGHT: f64 = 15e6;
const RAMP_CLIMB: f64 = 30e9;
/// Mean pause between ramps, exponential: the study does not give it.
const RAMP_PAUSE: f64 = 120e9;
const QUEUE_HEIGHT: (f64, f64) = (10e6, 40e6);
const QUEUE_LASTS: (f64, f64) = (5e9, 20e9);
/// Mean pause between standing queues, exponential: with a mean of 12.5 s each this makes 70 an hour.
const QUEUE_PAUSE: f64 = 3600e9 / 70.0 - 12.5e9;

/// A path through the network: first in, first out. All times are nanoseconds since the start of the run.
#[derive(Clone, Debug)]
pub(super) struct Path {
    floor: i64,
    jitter: Jitter,
    jitter_rng: Rng,
    stalls: Option<Stalls>,
    ramps: Option<Ramps>,
    queues: Option<Queues>,
    beacons: Option<i64>,
    hold_back: Option<HoldBack>,
    /// When the newest packet was handed over.
    last: i64,
    /// A backlog is being handed over.
    draining: bool,
    drain_rng: Rng,
}

#[derive(Clone, Copy, Debug)]
enum Jitter {
    None,
    Exp { mean: f64 },
    Gamma4 { mean: f64 },
    Pareto { mean: f64, shape: f64 },
}

impl Path {
    /// A path that carries up to `parts` datagrams of each read of one board, from time `from` on. The floor is what no packet
    /// undercuts.
    pub(super) fn new(
        model: Delay,
        floor: Span,
        hold_back: Option<HoldBack>,
        parts: usize,
        from: i64,
        seed: u64,
        board: usize,
    ) -> Path {
        let jitter = match model {
            Delay::None | Delay::Sleep(_) => Jitter::None,
            Delay::Exp(mean) => Jitter::Exp { mean: mean.as_nanos() as f64 },
            Delay::Gamma4(mean) => Jitter::Gamma4 { mean: mean.as_nanos() as f64 },
            Delay::Pareto { mean, shape } => Jitter::Pareto { mean: mean.as_nanos() as f64, shape },
            Delay::Wifi | Delay::Ramp | Delay::Queue | Delay::Mix => Jitter::Exp { mean: SMALL_JITTER },
        };
        let rng = |purpose| Rng::stream(seed, purpose, board);
        Path {
            floor: floor.as_nanos(),
            jitter,
            jitter_rng: rng(Purpose::Jitter),
            stalls: matches!(model, Delay::Wifi | Delay::Mix).then(|| Stalls::new(rng(Purpose::Stalls), parts, from)),
            ramps: matches!(model, Delay::Ramp | Delay::Mix).then(|| Ramps::new(rng(Purpose::Ramps), from)),
            queues: matches!(model, Delay::Queue | Delay::Mix).then(|| Queues::new(rng(Purpose::Queues), from)),
            beacons: if let Delay::Sleep(every) = model { Some(every.as_nanos().max(1)) } else { None },
            hold_back,
            last: i64::MIN,
            draining: false,
            drain_rng: rng(Purpose::Drain),
        }
    }

    /// Takes over from a path that was there before: what that one still holds goes first.
    pub(super) fn after(mut self, before: &Path) -> Path {
        self.last = before.last;
        self.draining = before.draining;
        self
    }

    /// When a packet sent at `sent` would come out if nothing were before it. Called for each packet sent, the lost ones
    /// too (so that losing one does not change another's delay), in order; `turn` is its place among the
    /// `of` packets of the cycle that was captured at `captured`.
    pub(super) fn transit(&mut self, captured: i64, sent: i64, turn: usize, of: usize) -> Transit {
        let jitter = match self.jitter {
            Jitter::None => 0.0,
            Jitter::Exp { mean } => self.jitter_rng.exp(mean),
            Jitter::Gamma4 { mean } => (0..4).map(|_| self.jitter_rng.exp(mean / 4.0)).sum(),
            Jitter::Pareto { mean, shape } => self.jitter_rng.pareto(mean, shape).min(PARETO_MOST),
        };
        let ramp = self.ramps.as_mut().map_or(0.0, |ramps| ramps.height(sent));
        let queue = self.queues.as_mut().map_or(0.0, |queues| queues.height(sent));
        let free = sent + self.floor + (jitter + ramp + queue).round() as i64;
        let least = sent + self.floor + (ramp + queue) as i64;
        let stalled = self.stalls.as_mut().map_or(i64::MIN, |stalls| stalls.until(sent, turn, of));
        let asleep = self.beacons.map_or(i64::MIN, |every| (sent.div_euclid(every) + 1) * every);
        let held = self.hold_back.map_or(i64::MIN, |hold_back| held_until(hold_back, captured));
        let gate = stalled.max(held).max(asleep);
        Transit { due: free.max(gate), gated: gate > free, least, gate }
    }

    /// Hands a packet over, after all before it.
    pub(super) fn hand_over(&mut self, transit: Transit) -> i64 {
        let backlog = transit.gated || self.draining;
        let gap = if self.last < transit.due && !backlog {
            0
        } else if backlog {
            self.drain_rng.between(DRAIN.0, DRAIN.1) as i64
        } else {
            BACK_TO_BACK
        };
        let after_last = self.last.saturating_add(gap);
        self.draining = transit.gated || (self.draining && after_last > transit.due);
        self.last = transit.due.max(after_last);
        self.last
    }
}

/// What [`Path::transit`] found for one packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transit {
    pub(super) due: i64,
    /// A stall or hold-back keeps it, not its own delay.
    gated: bool,
    /// When it would be due without jitter and stalls: the floor of the path.
    pub(super) least: i64,
    /// What stands still until then holds it back; long past when nothing does.
    pub(super) gate: i64,
}

impl Transit {
    /// That of a datagram in fragments: whole when the last of them is there.
    pub(super) fn latest(self, other: Transit) -> Transit {
        if other.due > self.due { other } else { self }
    }
}

/// The end of the hold-back that a cycle captured at `captured` falls into; long past when it falls into none.
fn held_until(hold_back: HoldBack, captured: i64) -> i64 {
    let every = hold_back.every.as_nanos().max(1);
    let begin = captured.div_euclid(every) * every;
    let end = begin + hold_back.hold.as_nanos();
    if begin >= every && captured < end { end } else { i64::MIN }
}

/// Moments at which nothing passes for a while. One begins with the packet that is sent first after its time and has the
/// drawn place in its cycle, so that a known share of stalls begins inside a cycle.
#[derive(Clone, Debug)]
struct Stalls {
    rng: Rng,
    parts: usize,
    next: i64,
    begins_at_turn: usize,
    ends: i64,
}

impl Stalls {
    fn new(rng: Rng, parts: usize, from: i64) -> Stalls {
        let mut stalls = Stalls { rng, parts, next: from, begins_at_turn: 0, ends: i64::MIN };
        stalls.schedule(from);
        stalls
    }

    fn schedule(&mut self, from: i64) {
        self.next = from + self.rng.exp(STALL_EVERY) as i64;
        let inside = self.rng.chance(STALL_INSIDE_CYCLE) && self.parts > 1;
        self.begins_at_turn = if inside { 1 + (self.rng.uniform() * (self.parts - 1) as f64) as usize } else { 0 };
    }

    fn until(&mut self, sent: i64, turn: usize, of: usize) -> i64 {
        // Where chunks are of unequal sizes a read may have fewer packets than the largest.
        if sent >= self.next && sent >= self.ends && turn == self.begins_at_turn.min(of - 1) {
            self.ends = sent + self.rng.between(STALL.0, STALL.1) as i64;
            self.schedule(sent);
        }
        if sent < self.ends { self.ends } else { i64::MIN }
    }
}

#[derive(Clone, Debug)]
struct Ramps {
    rng: Rng,
    begin: i64,
}

impl Ramps {
    fn new(mut rng: Rng, from: i64) -> Ramps {
        let begin = from + rng.exp(RAMP_PAUSE) as i64;
        Ramps { rng, begin }
    }

    fn height(&mut self, at: i64) -> f64 {
        let end = self.begin + 2 * RAMP_CLIMB as i64;
        if at >= end {
            self.begin = end.max(at) + self.rng.exp(RAMP_PAUSE) as i64;
        }
        let along = (at - self.begin) as f64;
        if along < 0.0 {
            return 0.0;
        }
        RAMP_HEIGHT * (along.min(2.0 * RAMP_CLIMB - along) / RAMP_CLIMB).max(0.0)
    }
}

#[derive(Clone, Debug)]
struct Queues {
    rng: Rng,
    begin: i64,
    end: i64,
    height: f64,
}

impl Queues {
    fn new(rng: Rng, from: i64) -> Queues {
        let mut queues = Queues { rng, begin: from, end: from, height: 0.0 };
        queues.schedule(from);
        queues
    }

    fn schedule(&mut self, from: i64) {
        self.begin = from + self.rng.exp(QUEUE_PAUSE) as i64;
        self.end = self.begin + self.rng.between(QUEUE_LASTS.0, QUEUE_LASTS.1) as i64;
        self.height = self.rng.between(QUEUE_HEIGHT.0, QUEUE_HEIGHT.1);
    }

    fn height(&mut self, at: i64) -> f64 {
        if at >= self.end {
            self.schedule(at);
        }
        if at >= self.begin { self.height } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const S: i64 = 1_000 * MS;
    const PERIOD: i64 = 10_666_667;
    const FLOOR: i64 = 200_000;
    const SEED: u64 = 17;

    fn path(model: Delay) -> Path {
        Path::new(model, Span::from_nanos(FLOOR), None, 3, 0, SEED, 0)
    }

    /// Cycles of three packets, 100 us apart: (sent, turn).
    fn sends(cycles: i64) -> impl Iterator<Item = (i64, usize)> {
        (1..=cycles).flat_map(|cycle| (0..3).map(move |turn| (cycle * PERIOD + 100_000 * turn as i64, turn)))
    }

    fn captured(sent: i64, turn: usize) -> i64 {
        sent - 100_000 * turn as i64
    }

    /// Within five standard errors of a mean over `n` draws, or of a Poisson count.
    fn near(found: f64, wanted: f64, deviation: f64, n: f64, what: &str) {
        println!("seed {SEED}, {what}: {found} for {wanted}");
        assert!((found - wanted).abs() < 5.0 * deviation / n.sqrt(), "{what}");
    }

    #[test]
    fn names_are_those_of_the_study() {
        assert_eq!("exp2".parse(), Ok(Delay::Exp(Span::from_millis(2))));
        assert_eq!("exp0.3".parse(), Ok(Delay::Exp(Span::from_micros(300))));
        assert_eq!("mix".parse(), Ok(Delay::Mix));
        assert_eq!("sleep".parse(), Ok(Delay::Sleep(Span::from_micros(102_400))));
        assert_eq!("sleep50".parse(), Ok(Delay::Sleep(Span::from_millis(50))));
        for wrong in ["exp", "exp-1", "expinf", "sleep0", "wifi3", "Wifi", ""] {
            assert!(wrong.parse::<Delay>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn delay_is_only_added_and_has_its_mean() {
        for (model, mean) in [(Delay::Exp(Span::from_millis(1)), 1e6), (Delay::Exp(Span::from_millis(5)), 5e6)] {
            let mut path = path(model);
            let extra: Vec<i64> = sends(50_000)
                .map(|(sent, turn)| path.transit(captured(sent, turn), sent, turn, 3).due - sent - FLOOR)
                .collect();
            assert!(extra.iter().all(|extra| *extra >= 0));
            let n = extra.len() as f64;
            near(extra.iter().sum::<i64>() as f64 / n, mean, mean, n, "mean delay in ns");
        }
    }

    #[test]
    fn packets_leave_in_the_order_they_came() {
        for name in ["none", "exp1", "exp5", "pareto", "wifi", "ramp", "queue", "mix"] {
            let mut path = path(name.parse().expect("a model's name"));
            let mut before = i64::MIN;
            for (sent, turn) in sends(100_000) {
                let transit = path.transit(captured(sent, turn), sent, turn, 3);
                let arrival = path.hand_over(transit);
                assert!(arrival > before && arrival >= sent + FLOOR, "{name}");
                before = arrival;
            }
        }
    }

    #[test]
    fn wifi_stalls_four_times_a_minute_and_three_of_ten_begin_inside_a_cycle() {
        let mut path = path(Delay::Wifi);
        let cycles = 3600 * 10 * S / PERIOD;
        let (mut stalls, mut inside, mut lengths) = (0.0, 0.0, 0.0);
        let mut end_before = i64::MIN;
        for (sent, turn) in sends(cycles) {
            path.transit(captured(sent, turn), sent, turn, 3);
            let end = path.stalls.as_ref().expect("wifi stalls").ends;
            if end != end_before {
                stalls += 1.0;
                inside += f64::from(u8::from(turn > 0));
                lengths += (end - sent) as f64;
                assert!((20 * MS..=150 * MS).contains(&(end - sent)));
                end_before = end;
            }
        }
        // Half a cycle passes on average until the packet comes with which a stall can begin: 5 ms in 15 s.
        near(stalls, 2400.0, 2400f64.sqrt(), 1.0, "stalls in 10 h");
        near(inside / stalls, 0.3, (0.3f64 * 0.7).sqrt(), stalls, "share of stalls inside a cycle");
        near(lengths / stalls, 85e6, 130e6 / 12f64.sqrt(), stalls, "mean stall in ns");
    }

    #[test]
    fn a_backlog_comes_at_50_to_300_us() {
        let hold_back = HoldBack { hold: Span::from_millis(80), every: Span::from_secs(1) };
        let mut path = Path::new(Delay::None, Span::from_nanos(FLOOR), Some(hold_back), 3, 0, SEED, 0);
        let mut held = 0;
        let mut before = 0;
        for (sent, turn) in sends(10 * S / PERIOD) {
            let transit = path.transit(captured(sent, turn), sent, turn, 3);
            let arrival = path.hand_over(transit);
            let captured = captured(sent, turn);
            if captured >= S && captured % S < 80 * MS {
                held += 1;
                let end = captured / S * S + 80 * MS;
                assert!(arrival >= end);
                let first = before < end;
                assert!(first || (50_000..=300_000).contains(&(arrival - before)), "{}", arrival - before);
            } else if sent % S > 110 * MS {
                assert_eq!(arrival, sent + FLOOR, "what comes long after a backlog is not touched");
            }
            before = arrival;
        }
        // 80 ms of each second but the first: 7 or 8 cycles of three, nine times.
        assert!((9 * 7 * 3..=9 * 8 * 3).contains(&held), "{held}");
    }

    #[test]
    fn ramps_climb_15_ms_in_30_s() {
        let mut ramps = Ramps::new(Rng::stream(SEED, Purpose::Ramps, 0), 0);
        let heights: Vec<f64> = (0..3600 * 100).map(|tenth| ramps.height(tenth * S / 10)).collect();
        let highest = heights.iter().fold(0.0f64, |a, b| a.max(*b));
        assert!(highest > 14.9e6 && highest <= 15e6);
        // 500 us a second, up or down.
        let steepest = heights.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max);
        assert!((steepest - 50e3).abs() < 1.0, "{steepest}");
        // About 200 ramps, each after a pause of mean 120 s: the share of time in ramps is a third.
        let share = heights.iter().filter(|height| **height > 0.0).count() as f64 / heights.len() as f64;
        near(share, 1.0 / 3.0, 2.0 / 9.0, 200.0, "share of time in ramps");
    }

    #[test]
    fn a_modem_that_sleeps_sends_one_regular_burst_a_beacon() {
        // Unlike 100 ms, of which 800 would always be a whole number of periods.
        let every = 99_970_000;
        let mut path = path(Delay::Sleep(Span::from_nanos(every)));
        let mut bursts = Vec::new();
        let mut before = 0;
        for (sent, turn) in sends(10_000) {
            let transit = path.transit(captured(sent, turn), sent, turn, 3);
            let beacon = (sent / every + 1) * every;
            let arrival = path.hand_over(transit);
            assert!((beacon..beacon + 10 * MS).contains(&arrival) && arrival > before, "{arrival} of {sent}");
            before = arrival;
            if bursts.last().is_none_or(|&(last, _)| last != beacon) {
                bursts.push((beacon, 0));
            }
            bursts.last_mut().expect("pushed").1 += 1;
        }
        // 9.375 cycles of three packets, and the edge may lie inside a cycle.
        assert!(bursts[..bursts.len() - 1].iter().all(|(_, packets)| (27..=30).contains(packets)));
        assert!(bursts.iter().any(|(_, packets)| packets % 3 != 0), "some begin inside a cycle");
    }

    #[test]
    fn queues_stand_70_times_an_hour() {
        let hours = 50;
        let mut queues = Queues::new(Rng::stream(SEED, Purpose::Queues, 0), 0);
        let mut starts = Vec::new();
        let mut standing = 0.0;
        let mut before = 0.0;
        for tenth in 0..hours * 36_000 {
            let height = queues.height(tenth * S / 10);
            if height > 0.0 {
                standing += 0.1;
                assert!((10e6..=40e6).contains(&height));
                if before == 0.0 {
                    starts.push(height);
                }
            }
            before = height;
        }
        let n = starts.len() as f64;
        // Each takes an exponential pause of 38.9 s and 12.5 s: less spread than a Poisson count.
        near(n, 70.0 * hours as f64, (70.0 * hours as f64).sqrt(), 1.0, "queues");
        near(starts.iter().sum::<f64>() / n, 25e6, 30e6 / 12f64.sqrt(), n, "mean height in ns");
        near(standing / n, 12.5, 15.0 / 12f64.sqrt(), n, "mean time in s");
    }
}
