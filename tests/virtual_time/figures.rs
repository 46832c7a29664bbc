//! The figures against what truly happened to the packets.

use micring::MICS;
use micring::engine::{Datagram, Hold};
use micring::sim::{Loss, Mute, Network, Packet, Rate, Scenario, Sim, index_sample};
use micring::time::{MonoTime, Span};

use super::boards::free;
use super::models::delay;
use super::rig::{Rig, config};

/// RFC 3550 6.4.1 over the arrivals of one microphone, in their order, in nanoseconds.
#[derive(Default)]
struct Jitter {
    previous: Option<(MonoTime, i64)>,
    ns: f64,
}

impl Jitter {
    fn arrival(&mut self, at: MonoTime, cycle: i64) {
        if let Some((before, k)) = self.previous.replace((at, cycle)) {
            let d = (at - before).as_nanos() as f64 - (cycle - k) as f64 * 512e9 / 48e3;
            self.ns += (d.abs() - self.ns) / 16.0;
        }
    }
}

/// What the engine makes of a minute or so of one board, and the true jitter of each microphone.
struct Minute {
    rig: Rig,
    jitter_ns: [f64; MICS],
    /// When the last packet came.
    now: MonoTime,
}

/// `when`: a packet's arrival, from all packets, its index and the arrival of the one before it.
fn minute(when: impl Fn(&[Packet], usize, MonoTime) -> MonoTime) -> Minute {
    run(&Scenario::one_board(Span::from_secs(60)), when)
}

fn run(scenario: &Scenario, when: impl Fn(&[Packet], usize, MonoTime) -> MonoTime) -> Minute {
    let packets: Vec<Packet> = Sim::new(scenario).collect();
    let mut arrivals: Vec<(MonoTime, Packet)> = Vec::new();
    for i in 0..packets.len() {
        let last = arrivals.last().map_or(packets[0].arrival, |(at, _)| *at);
        arrivals.push((when(&packets, i, last), packets[i]));
    }
    arrivals.sort_by_key(|(at, p)| (*at, p.mic));
    let (sim, mut rig) = (Sim::new(scenario), Rig::new(config()));
    let mut truth: [Jitter; MICS] = Default::default();
    let now = arrivals.last().expect("packets were sent").0;
    for (at, p) in arrivals {
        rig.wait_until(at, &sim);
        let samples = (0..512).map(|i| index_sample(p.mic, p.cycle as i64 * 512 + i));
        let bytes: Vec<u8> = samples.flat_map(i32::to_le_bytes).collect();
        let d = Datagram {
            mic: p.mic,
            stamp: sim.clocks(at).wall,
            sender: sim.sender(&p),
            bytes: &bytes,
            len: bytes.len(),
        };
        rig.feed(&d, at, &sim);
        truth[p.mic].arrival(at, p.cycle as i64);
    }
    assert_eq!((rig.misaligned, rig.lost()), (0, [0; MICS]));
    Minute { rig, jitter_ns: truth.map(|jitter| jitter.ns), now }
}

impl Minute {
    fn assert_jitter_is_true_and_each_packet_counts(&mut self) {
        let (seen, counters) = (self.rig.engine.meter().since_start(), &self.rig.engine.counters().mics);
        for (mic, truth) in self.jitter_ns.into_iter().enumerate() {
            let jitter = seen.jitter[mic].expect("thousands of packets");
            assert!((jitter.as_nanos() as f64 - truth).abs() <= 1_000.0, "mic {mic}: {jitter:?}, truly {truth} ns");
            let pdv = seen.delay_variation[mic].expect("thousands of packets");
            assert_eq!(pdv.count, counters[mic].received, "mic {mic}");
        }
    }
}

#[test]
fn packets_that_come_after_their_cycle_has_left_count_in_jitter_and_delay_variation() {
    let by = Span::from_millis(14);
    let late = |p: &Packet| p.mic == 1 && p.cycle > 100 && p.cycle.is_multiple_of(10);
    let mut run = minute(|packets, i, _| packets[i].arrival + if late(&packets[i]) { by } else { Span::ZERO });
    assert!(run.rig.engine.counters().mics[1].late > 500);
    run.assert_jitter_is_true_and_each_packet_counts();
    let pdv = run.rig.engine.meter().since_start().delay_variation;
    assert_eq!(pdv.map(|d| d.expect("thousands of packets").max), [Span::ZERO, by, Span::ZERO]);
}

/// A stall every 400 cycles, each behind mic 0 of a cycle, which leaves after 40 ms with what it has; until the first packet of
/// cycle `of` behind it is on time.
fn stalls(of: u64) -> Minute {
    minute(|packets, i, last| {
        let p = &packets[i];
        let held = |p: &Packet| p.cycle > 300 && ((p.cycle % 400 == 399 && p.mic > 0) || p.cycle % 400 < of);
        if !held(p) {
            return p.arrival;
        }
        let freed = packets[i..].iter().find(|p| !held(p)).map_or(p.arrival, |p| p.arrival - Span::from_millis(6));
        freed.max(last + Span::from_micros(20))
    })
}

#[test]
fn a_packet_that_was_set_aside_in_a_stall_is_measured_once_and_in_its_order() {
    let mut run = stalls(8);
    let late = run.rig.engine.counters().mics.map(|m| m.late);
    assert!(late[0] == 0 && late[1] > 5 && late[2] > 5, "{late:?}");
    run.assert_jitter_is_true_and_each_packet_counts();
}

#[test]
fn behind_a_silence_after_which_a_clock_is_learnt_anew_nothing_is_measured_against_what_was_before() {
    // 0.6 s. The packet that was set aside is the first of what comes next, as it is where the stall begins with a cycle.
    let mut run = stalls(60);
    let late = run.rig.engine.counters().mics.map(|m| m.late);
    assert!(late[0] == 0 && late[1] > 5 && late[2] > 5, "{late:?}");
    let pdv = run.rig.engine.meter().since_start().delay_variation.map(|d| d.expect("thousands of packets").max);
    assert!(pdv.iter().all(|&max| max < Span::from_millis(1)), "{pdv:?}");
}

/// A path that is longer by so many periods for 21 s is taken for lost cycles, until it is over and packets come earlier than they can. What the
/// last ten seconds say eight seconds later: for two of them the path was longer, for eight it was not.
#[test]
fn a_skip_that_was_taken_back_leaves_no_delay_behind_in_the_window() {
    for (boards, periods) in [(1, 1), (1, 3), (3, 1), (3, 3)] {
        let longer = Span::of_frames(512 * periods, 48_000);
        let duration = Span::of_frames(5_000 * 512, 48_000) + Span::from_secs(8);
        let scenario = if boards == 1 { Scenario::one_board(duration) } else { equal_boards(duration) };
        let run = run(&scenario, |packets, i, last| {
            let packet = &packets[i];
            let is_longer = (3_000..5_000).contains(&packet.cycle);
            // A path overtakes nothing.
            (packet.arrival + if is_longer { longer } else { Span::ZERO }).max(last + Span::from_micros(20))
        });
        let mut engine = run.rig.engine;
        let corrected = engine.counters().mics.map(|mic| mic.corrected);
        assert_eq!(corrected, [periods as u64; MICS], "the skip was made and taken back");
        let window = engine.meter().window(run.now).delay_variation;
        for seen in window.map(|seen| seen.expect("packets of eight seconds")) {
            let what = format!("{boards} boards, {periods} periods: {seen:?}");
            assert!(seen.p50 < Span::from_millis(1), "{what}");
            assert!((seen.p90 - longer).abs() < Span::from_millis(1), "{what}");
            assert!((seen.max - longer).abs() < Span::from_millis(1), "{what}");
            assert!((seen.mean - longer.mul_ratio(2, 10)).abs() < longer.mul_ratio(1, 20), "{what}");
        }
    }
}

/// Three boards at one rate.
fn equal_boards(duration: Span) -> Scenario {
    Scenario { rates: vec![Rate::Constant(0.0)], ..Scenario::three_boards(duration) }
}

#[test]
fn the_wait_of_a_doubt_is_none_of_the_loops() {
    // The loop reads each packet 60 us after its stamp: it adds no skew, however long free boards' packets wait to be placed.
    for hold in [Hold::Auto, Hold::Fixed(Span::from_millis(200))] {
        let network = Network { delay: delay("exp2"), loss: Loss::Independent(0.01), ..Network::default() };
        let scenario = Scenario { clean_cycles: 200, ..free(3, 60, network) };
        let mut config = config();
        config.hold = hold;
        let (mut rig, _) = Rig::run(&scenario, config);
        let skew = rig.engine.meter().since_start().loop_skew.expect("thousands of cycles");
        assert!(rig.lost().iter().all(|&lost| lost > 20));
        assert!(skew.max <= Span::from_micros(1), "{hold:?}: {skew:?}");
    }
}

#[test]
fn a_dead_microphone_leaves_the_skew_of_the_other_two_known() {
    let mutes = vec![Mute { mic: 2, from: Span::ZERO, to: Span::from_secs(600) }];
    let (mut rig, _) = Rig::run(&Scenario { mutes, ..Scenario::one_board(Span::from_secs(30)) }, config());
    let cycles = rig.engine.counters().cycles;
    let meter = rig.engine.meter();
    let seen = meter.since_start();
    let skew = seen.arrival_skew[0].expect("both are there in every cycle");
    assert_eq!((skew.count, skew.min, skew.max), (cycles.emitted, Span::from_micros(100), Span::from_micros(100)));
    assert!(seen.arrival_trend[0].is_ok());
    assert!(seen.arrival_skew[1].is_err() && seen.arrival_skew[2].is_err());
    assert!(cycles.complete == 0 && meter.latest_offsets().is_none() && seen.loop_skew.is_err());
}

#[test]
fn the_skew_of_free_boards_is_taken_where_both_channels_are_full() {
    // Equal rates: packets stay where they are in their cycles, and so does their skew. A channel that lacks the packet
    // which ends in the cycle would show the one before it, a period sooner.
    let network = Network { loss: Loss::Independent(0.02), ..Network::default() };
    let scenario = Scenario { clean_cycles: 200, rates: vec![Rate::Constant(0.0)], ..free(4, 60, network) };
    let (mut rig, _) = Rig::run(&scenario, config());
    let (seen, cycles) = (rig.engine.meter().since_start(), rig.engine.counters().cycles);
    for skew in seen.arrival_skew.map(|skew| skew.expect("thousands of cycles")) {
        assert!(skew.max - skew.min < Span::from_micros(100), "{skew:?}");
        assert!(skew.count > cycles.complete && skew.count < cycles.emitted, "{skew:?}, {cycles:?}");
    }
}

#[test]
fn a_cycle_of_free_boards_that_left_full_in_part_is_not_complete() {
    let network = Network { loss: Loss::Independent(0.02), ..Network::default() };
    let (rig, _) = Rig::run(&Scenario { clean_cycles: 200, ..free(4, 60, network) }, config());
    let history = rig.engine.history();
    let held = || history.ids().filter_map(|id| history.cycle(id));
    let partial = |id: u64| rig.partial.contains(&(id as usize));
    assert!(held().any(|cycle| partial(cycle.id) && cycle.arrival.iter().all(Option::is_some)));
    assert!(held().all(|cycle| !(partial(cycle.id) && cycle.complete)));
    assert!(held().any(|cycle| cycle.complete) && held().filter(|c| c.complete).all(|c| c.mic_samples == [512; MICS]));
}
