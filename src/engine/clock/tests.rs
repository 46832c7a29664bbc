use super::*;

const RATE: u32 = 48_000;
const FRAMES: i64 = 512;

/// A microphone that is fast by `ppm`, over a path with exponential delay of mean `mean_us` above a floor of 2 ms.
struct Mic {
    ppm: f64,
    mean_us: f64,
    packet: i64,
    last: f64,
    seed: u64,
}

impl Mic {
    fn new(ppm: f64, mean_us: f64, seed: u64) -> Mic {
        println!("seed {seed}");
        Mic { ppm, mean_us, packet: 0, last: 0.0, seed }
    }
    /// Uniform in (0, 1]: Marsaglia, "Xorshift RNGs".
    fn uniform(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        ((self.seed >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
    fn floor(&self, pos: FramePos) -> f64 {
        100.0 + pos.0 as f64 / f64::from(RATE) / (1.0 + self.ppm * 1e-6) + 2e-3
    }
    fn next(&mut self) -> (FramePos, MonoTime) {
        self.packet += 1;
        let pos = FramePos(self.packet * FRAMES);
        let delayed = self.floor(pos) - self.mean_us * 1e-6 * self.uniform().ln();
        self.last = self.last.max(delayed);
        (pos, MonoTime::from_nanos((self.last * 1e9) as i64))
    }
    fn run(&mut self, model: &mut ClockModel, seconds: f64) {
        for _ in 0..(seconds * 93.75) as i64 {
            let (pos, at) = self.next();
            model.observe(pos, at);
        }
    }
    fn floor_error_us(&self, model: &ClockModel) -> f64 {
        let pos = FramePos(self.packet * FRAMES);
        model.floor_at(pos).unwrap().as_nanos() as f64 * 1e-3 - self.floor(pos) * 1e6
    }
}

#[test]
fn the_rate_of_a_fast_and_of_a_slow_clock_is_found_within_a_minute() {
    for (seed, ppm) in [(1, 20.0), (2, -15.0), (3, 0.0), (4, 140.0), (5, -140.0)] {
        let (mut mic, mut model) = (Mic::new(ppm, 1_000.0, seed), ClockModel::new(RATE));
        mic.run(&mut model, 61.0);
        let rate = model.rate().expect("a minute of exp1 is enough");
        assert!((rate.ppm.0 - ppm).abs() < 0.5, "{rate:?} for {ppm}");
        assert!((rate.ppm.0 - ppm).abs() < rate.uncertainty_95.0, "{rate:?} for {ppm}");
        assert!(mic.floor_error_us(&model).abs() < 60.0, "{}", mic.floor_error_us(&model));
    }
}

#[test]
fn before_there_is_enough_the_rate_is_unknown_and_says_why_and_then_it_is_told_however_wide() {
    let (mut mic, mut model) = (Mic::new(20.0, 1_000.0, 7), ClockModel::new(RATE));
    assert_eq!(model.floor_at(FramePos(0)), None);
    mic.run(&mut model, 2.9);
    assert_eq!(model.rate(), Err(Unknown::TooShort));
    mic.run(&mut model, 2.1);
    let rate = model.rate().expect("five seconds are enough");
    assert!((rate.ppm.0 - 20.0).abs() <= rate.uncertainty_95.0, "{rate:?}");
    assert!(model.sharp_rate().is_none(), "nothing follows it");
    assert!(mic.floor_error_us(&model).abs() < 300.0);
}

#[test]
fn a_rate_is_kept_and_told_older_while_the_floor_moves() {
    let (mut mic, mut model) = (Mic::new(20.0, 300.0, 53), ClockModel::new(RATE));
    mic.run(&mut model, 120.0);
    let before = model.rate().unwrap();
    let mut asked = Vec::new();
    // Half an hour in which the floor is somewhere else every five seconds.
    for k in 0..(93.75 * 1_800.0) as i64 {
        let (pos, at) = mic.next();
        model.observe(pos, at + Span::from_millis(5 + (k / 470) * 13 % 40));
        if k % 20_000 == 19_999 {
            let rate = model.rate().expect("it was known");
            asked.push((rate.at(at), rate.age(at)));
        }
    }
    println!("{before:?} {asked:?}");
    for (rate, age) in &asked {
        assert!((rate.ppm.0 - 20.0).abs() < rate.uncertainty_95.0, "{rate:?}");
        assert!(*age > Span::from_secs(60) && rate.uncertainty_95.0 > before.uncertainty_95.0, "{rate:?} {age:?}");
    }
    assert!(asked.windows(2).all(|w| w[1].1 > w[0].1 && w[1].0.uncertainty_95.0 > w[0].0.uncertainty_95.0));
}

#[test]
fn another_board_is_learnt_anew_and_the_same_one_keeps_its_rate() {
    for again in [Again::AnotherBoard, Again::AnotherPort, Again::TheSame] {
        let (mut mic, mut model) = (Mic::new(40.0, 500.0, 59), ClockModel::new(RATE));
        mic.run(&mut model, 180.0);
        model.restart(again);
        assert_eq!(model.rate().is_ok(), again != Again::AnotherBoard);
        let mut other = Mic::new(-40.0, 500.0, 61);
        for _ in 0..938 {
            let (pos, at) = other.next();
            model.observe(pos, at + Span::from_secs(400));
        }
        let rate = model.rate().unwrap();
        // From another port it was another crystal, and shows itself.
        let truth = if again == Again::TheSame { 40.0 } else { -40.0 };
        assert!((rate.ppm.0 - truth).abs() <= rate.uncertainty_95.0, "{rate:?}");
    }
}

#[test]
fn no_packet_is_ever_earlier_than_the_floor_after_it_was_observed() {
    let (mut mic, mut model) = (Mic::new(-40.0, 2_000.0, 11), ClockModel::new(RATE));
    for _ in 0..20_000 {
        let (pos, at) = mic.next();
        model.observe(pos, at);
        assert!(model.residual(pos, at).unwrap() >= Span::from_nanos(-1));
    }
}

#[test]
fn a_late_insertion_and_one_taken_back_leave_rate_and_floor_as_they_were() {
    for frames in [FRAMES, -FRAMES] {
        let (mut mic, mut model) = (Mic::new(20.0, 1_000.0, 13), ClockModel::new(RATE));
        mic.run(&mut model, 90.0);
        let since = mic.next();
        // For ten seconds the packets are numbered wrongly by a packet.
        for _ in 0..938 {
            let (pos, at) = mic.next();
            model.observe(pos + -frames, at);
        }
        model.renumber(since.1, frames);
        mic.run(&mut model, 2.0);
        assert!(mic.floor_error_us(&model).abs() < 100.0, "{frames}: {} us", mic.floor_error_us(&model));
        mic.run(&mut model, 60.0);
        let rate = model.rate().unwrap();
        assert!((rate.ppm.0 - 20.0).abs() < 0.3, "{rate:?}");
    }
}

#[test]
fn a_restart_takes_the_offset_anew_and_keeps_the_rate() {
    let (mut mic, mut model) = (Mic::new(20.0, 500.0, 17), ClockModel::new(RATE));
    mic.run(&mut model, 120.0);
    model.restart(Again::TheSame);
    assert_eq!(model.floor_at(FramePos(0)), None);
    let rate = model.rate().unwrap();
    assert!((rate.ppm.0 - 20.0).abs() < 0.3);
    // The microphone counts from zero again, at another phase.
    let mut rebooted = Mic::new(20.0, 500.0, 19);
    let ahead = |(pos, at): (FramePos, MonoTime)| (pos, at + Span::from_secs(400));
    for _ in 0..188 {
        let (pos, at) = ahead(rebooted.next());
        model.observe(pos, at);
    }
    let off = rebooted.floor_error_us(&model) - 400e6;
    assert!(off.abs() < 100.0, "{off} us after two seconds");
}

#[test]
fn the_alignment_line_never_steps_and_never_turns_faster_than_it_may() {
    let (mut mic, mut model) = (Mic::new(30.0, 1_000.0, 23), ClockModel::new(RATE));
    let mut before: Option<MonoTime> = None;
    for k in 0..30_000 {
        let (pos, at) = mic.next();
        // The path becomes 0.3 ms shorter after 160 s.
        let shorter = if k > 15_000 { Span::from_micros(300) } else { Span::ZERO };
        model.observe(pos, at - shorter);
        let Some(phase) = model.phase_at(pos) else { continue };
        if let Some(before) = before
            && k > 3_000
        {
            // A period at 30 ppm fast, and at most 50 ppm and a nanosecond of rounding off that.
            let turned = (phase - before - Span::from_nanos(10_666_667 - 320)).abs();
            assert!(turned <= Span::from_nanos(533 + 20), "packet {k}: {turned:?}");
        }
        before = Some(phase);
    }
    let phase = model.phase_at(FramePos(mic.packet * FRAMES)).unwrap();
    let off = phase.as_nanos() as f64 * 1e-3 - (mic.floor(FramePos(mic.packet * FRAMES)) * 1e6 - 300.0);
    assert!(off.abs() < 60.0, "{off} us from the shorter path's floor");
}

#[test]
fn losses_that_were_missed_before_anything_was_known_show_in_the_first_lines() {
    let (mut mic, mut model) = (Mic::new(20.0, 500.0, 47), ClockModel::new(RATE));
    mic.run(&mut model, 4.0);
    let mut rise = None;
    while rise.is_none() {
        let (pos, at) = mic.next();
        assert!(pos.0 < 120 * i64::from(RATE), "a minute of a straight floor is enough");
        model.observe(pos + -2 * FRAMES, at);
        rise = model.take_rise();
    }
    let rise = rise.unwrap();
    // Two packets of 512 samples.
    assert!((rise.by - Span::from_nanos(21_333_333)).abs() < rise.blur, "{rise:?}");
    assert!(rise.blur < Span::from_millis(1), "{rise:?}");
    model.renumber_risen(2 * FRAMES);
    mic.run(&mut model, 60.0);
    assert!(mic.floor_error_us(&model).abs() < 100.0, "{} us", mic.floor_error_us(&model));
    assert!((model.rate().unwrap().ppm.0 - 20.0).abs() < 0.3 && model.take_rise().is_none());
}

#[test]
fn packets_that_were_numbered_too_high_for_a_while_leave_no_trace() {
    let (mut mic, mut model) = (Mic::new(20.0, 500.0, 43), ClockModel::new(RATE));
    mic.run(&mut model, 120.0);
    // A load ramp comes down under a false insertion: 5 ms early within 10 s, and right again.
    for k in 0..938 {
        let (pos, at) = mic.next();
        model.observe(pos, at - Span::from_nanos(k * 5_330));
    }
    assert!(mic.floor_error_us(&model) < -4_000.0, "nothing can arrive before the floor");
    mic.run(&mut model, 22.0);
    assert!(mic.floor_error_us(&model).abs() < 100.0, "{}", mic.floor_error_us(&model));
    let pos = FramePos(mic.packet * FRAMES);
    let phase = model.phase_at(pos).unwrap().as_nanos() as f64 * 1e-3 - mic.floor(pos) * 1e6;
    assert!(phase.abs() < 50.0, "{phase} us");
}

#[test]
fn a_path_that_becomes_longer_for_good_is_adopted_after_five_minutes_and_changes_no_rate() {
    let (mut mic, mut model) = (Mic::new(20.0, 500.0, 29), ClockModel::new(RATE));
    let longer = Span::from_millis(16);
    let mut floor_error = Vec::new();
    for k in 0..(93.75 * 700.0) as i64 {
        let (pos, at) = mic.next();
        model.observe(pos, if k > 93 * 120 { at + longer } else { at });
        if k % 938 == 0 && k > 93 * 130 {
            floor_error.push(mic.floor_error_us(&model));
            let rate = model.rate().expect("known before, and after").ppm.0;
            assert!((rate - 20.0).abs() < 0.3, "{rate}");
        }
    }
    let steps: Vec<_> = floor_error.windows(2).filter(|w| (w[1] - w[0]).abs() > 1_000.0).collect();
    assert_eq!(steps.len(), 1, "{floor_error:?}");
    assert!((floor_error[floor_error.len() - 1] - 16_000.0).abs() < 60.0, "{floor_error:?}");
}

#[test]
fn while_the_floor_moves_the_rate_now_is_unknown_and_the_mean_says_until_when() {
    let (mut mic, mut model) = (Mic::new(20.0, 300.0, 31), ClockModel::new(RATE));
    mic.run(&mut model, 120.0);
    let before = model.rate().unwrap();
    assert!((model.rate_now().unwrap().ppm.0 - 20.0).abs() < 0.3);
    // The floor climbs by 15 ms in 30 s.
    for k in 0..2_812 {
        let (pos, at) = mic.next();
        model.observe(pos, at + Span::from_micros(k * 5));
    }
    assert_eq!(model.rate_now(), Err(Unknown::FloorMoves));
    let after = model.rate().unwrap();
    assert!((after.ppm.0 - 20.0).abs() < 0.1);
    assert!(after.until - before.until < Span::from_secs(10), "{after:?}");
}

#[test]
fn the_rate_of_a_pair_is_that_of_the_first_less_that_of_the_second() {
    let (mut fast, mut slow) = (Mic::new(20.0, 1_000.0, 37), Mic::new(-15.0, 1_000.0, 41));
    let (mut first, mut second) = (ClockModel::new(RATE), ClockModel::new(RATE));
    assert_eq!(first.rate_against(&second), Err(Unknown::TooShort));
    fast.run(&mut first, 120.0);
    slow.run(&mut second, 120.0);
    let rate = first.rate_against(&second).unwrap();
    assert!((rate.ppm.0 - 35.0).abs() <= rate.uncertainty_95.0 && rate.uncertainty_95.0 < 0.5, "{rate:?}");
    assert_eq!(second.rate_against(&first).unwrap().ppm.0, -rate.ppm.0);
}

#[test]
fn the_interval_holds_for_delays_that_seldom_come_near_their_floor() {
    // Normal delays of 20 us deviation: the sum of twelve uniform numbers (Irwin and Hall).
    let (mut asked, mut held) = (0, 0);
    for seed in 100..130 {
        let (mut mic, mut model) = (Mic::new(20.0, 0.0, seed), ClockModel::new(RATE));
        for k in 1..=(93.75 * 300.0) as i64 {
            let (pos, at) = mic.next();
            let delay: f64 = (0..12).map(|_| mic.uniform()).sum();
            model.observe(pos, at + Span::from_nanos((20_000.0 * delay) as i64));
            if k % 2_000 == 0
                && let Ok(rate) = model.rate()
            {
                asked += 1;
                held += u32::from((rate.ppm.0 - 20.0).abs() <= rate.uncertainty_95.0);
            }
        }
    }
    println!("{held} of {asked}");
    assert!(asked > 300 && held * 100 >= asked * 95, "{held} of {asked}");
}

/// A rate of long ago that is 5 ppm off is 18 ms off in an hour.
#[test]
fn a_floor_that_was_given_up_stays_under_what_arrives() {
    for (seed, change) in [(67, -5.0), (71, 5.0)] {
        let (mut mic, mut model) = (Mic::new(20.0, 300.0, seed), ClockModel::new(RATE));
        mic.run(&mut model, 120.0);
        let mut turned = Mic::new(20.0 + change, 300.0, seed + 1);
        let (pos, at) = mic.next();
        let mut worst = 0.0f64;
        for k in 0..(93.75 * 3_600.0) as i64 {
            let (own, then) = turned.next();
            // The floor is somewhere else every five seconds, and on the ground once in 200 s.
            let path = Span::from_millis((k / 470) * 13 % 40);
            let (pos, at) = (pos + own.0, at + (then - MonoTime::from_nanos(100_000_000_000)) + path);
            model.observe(pos, at);
            if k > 93 * 600 && k % 469 == 0 {
                let floor = model.floor_at(pos).unwrap() - (at - path);
                worst = worst.max(floor.abs().as_secs_f64() * 1e3);
            }
        }
        println!("{change}: floor off by {worst:.2} ms at most");
        // What is kept is 480 s long, in which 5 ppm are 2.4 ms; the jitter is that of one packet.
        assert!(worst < 5.0, "{worst} ms");
    }
}
