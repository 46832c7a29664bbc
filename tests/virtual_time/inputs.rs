//! What comes in beside good packets, or does not come: written out packet by packet.

use std::net::SocketAddr;

use micring::engine::{Datagram, Reason, Verdict};
use micring::sim::{HostClock, START, Scenario, Sim, index_sample};
use micring::time::{FramePos, MonoTime, Span};

use super::rig::{Rig, config};

const FRAMES: i64 = 512;

/// A board whose packets the test sends one by one.
struct Desk {
    rig: Rig,
    sim: Sim,
    sender: SocketAddr,
}

impl Desk {
    fn new() -> Desk {
        let scenario = Scenario { host: HostClock::default(), ..Scenario::one_board(Span::from_secs(1)) };
        Desk {
            rig: Rig::new(config()),
            sim: Sim::new(&scenario),
            sender: "192.168.4.10:50000".parse().expect("an address"),
        }
    }

    /// When cycle `k`'s packet of `mic` arrives on a quiet network.
    fn due(k: i64, mic: usize) -> MonoTime {
        START + Span::of_frames(k * FRAMES, 48_000) + Span::from_micros(100 * mic as i64)
    }

    fn raw(&mut self, mic: usize, at: MonoTime, sender: SocketAddr, bytes: &[u8], len: usize) -> Verdict {
        self.rig.wait_until(at, &self.sim);
        let stamp = self.sim.clocks(at).wall;
        self.rig.feed(&Datagram { mic, stamp, sender, bytes, len }, at, &self.sim)
    }

    fn sized(&mut self, k: i64, mic: usize, samples: i64, at: MonoTime) -> Verdict {
        let bytes: Vec<u8> = (0..samples).flat_map(|i| index_sample(mic, k * FRAMES + i).to_le_bytes()).collect();
        self.raw(mic, at, self.sender, &bytes, bytes.len())
    }

    fn packet(&mut self, k: i64, mic: usize) -> Verdict {
        self.sized(k, mic, FRAMES, Desk::due(k, mic))
    }

    fn cycles(&mut self, range: std::ops::Range<i64>) {
        for k in range {
            for mic in 0..3 {
                assert!(matches!(self.packet(k, mic), Verdict::Accepted(_)));
            }
        }
    }

    fn finish(mut self) -> Rig {
        let end = Desk::due(100_000, 0);
        self.rig.wait_until(end, &self.sim);
        self.rig
    }
}

#[test]
fn bad_input_beside_good_changes_nothing_and_is_counted_by_its_reason() {
    let mut desk = Desk::new();
    let (good, other) = (desk.sender, "192.168.4.99:4000".parse().expect("an address"));
    desk.cycles(0..10);
    desk.packet(10, 0);
    let at = Desk::due(10, 0) + Span::from_micros(10);
    assert_eq!(desk.raw(1, at, good, &[], 0), Verdict::Rejected(Reason::Malformed));
    assert_eq!(desk.raw(1, at, good, &[1, 2, 3], 3), Verdict::Rejected(Reason::Malformed));
    assert_eq!(desk.raw(1, at, good, &[9; 8192], 65_507), Verdict::Rejected(Reason::Truncated));
    assert_eq!(desk.raw(1, at, other, &[9; 2048], 2048), Verdict::Rejected(Reason::Foreign));
    assert_eq!(desk.raw(1, at, other, &[], 0), Verdict::Rejected(Reason::Foreign));
    desk.packet(10, 1);
    desk.packet(10, 2);
    desk.cycles(11..20);
    let rig = desk.finish();
    let c = rig.engine.counters();
    assert_eq!((rig.cycles, rig.misaligned, c.cycles.incomplete, rig.offsets.len()), (20, 0, 0, 1));
    let m = c.mics[1];
    assert_eq!((m.malformed, m.truncated, m.foreign, m.received, m.lost), (2, 1, 2, 20, 0));
    rig.assert_books_balance();
}

/// The first packets of a board that sends each from another port are the board's too, late as they are: the third port tells.
#[test]
fn nothing_is_lost_or_shifted_of_a_board_that_sends_each_packet_from_another_port() {
    let mut desk = Desk::new();
    for k in 0..20 {
        let late = if k < 2 { Span::from_millis(20) } else { Span::ZERO };
        for mic in 0..3 {
            desk.sender.set_port(50_000 + 3 * k as u16 + mic as u16);
            desk.sized(k, mic, FRAMES, Desk::due(k, mic) + late);
        }
    }
    let rig = desk.finish();
    let c = rig.engine.counters();
    assert_eq!((rig.cycles, rig.misaligned, c.cycles.incomplete, rig.offsets.len()), (20, 0, 0, 1));
    assert_eq!((c.mics.map(|m| m.foreign), rig.lost()), (vec![0; 3], [0; 3]));
    assert_eq!(c.mics.map(|m| m.received), [20; 3]);
    assert_eq!(rig.logs.iter().filter(|l| l.contains("another port")).count(), 3);
}

#[test]
fn a_stranger_behind_the_first_packet_waits_and_is_foreign() {
    let mut desk = Desk::new();
    let good = desk.sender;
    desk.cycles(0..1);
    desk.sender.set_port(4_000);
    assert_eq!(desk.packet(1, 1), Verdict::Rejected(Reason::Undecided));
    desk.sender = good;
    for mic in 0..3 {
        let at = Desk::due(1, mic) + Span::from_millis(1);
        desk.sized(1, mic, FRAMES, at);
    }
    desk.cycles(2..20);
    let rig = desk.finish();
    let c = rig.engine.counters();
    assert_eq!((rig.cycles, rig.misaligned, c.cycles.incomplete, rig.offsets.len()), (20, 0, 0, 1));
    assert_eq!((c.mics.map(|m| m.foreign), rig.lost()), (vec![0, 1, 0], [0; 3]));
}

#[test]
fn a_microphone_dead_from_the_start_has_lost_nothing_until_it_is_heard() {
    let mut desk = Desk::new();
    for k in 0..200 {
        desk.packet(k, 0);
        desk.packet(k, 2);
    }
    assert_eq!(desk.rig.engine.counters().mics.map(|m| m.lost), [0; 3]);
    // The first second waits for a complete cycle; then the stream starts without mic 1.
    let emitted = desk.rig.cycles;
    assert!((105..=107).contains(&emitted), "{emitted}");
    desk.cycles(200..210);
    desk.packet(210, 0);
    desk.packet(210, 2);
    desk.cycles(211..215);
    let rig = desk.finish();
    assert_eq!((rig.misaligned, rig.offsets.len()), (0, 1));
    assert_eq!(rig.lost(), [0, 1, 0]);
    assert!(
        rig.logs.iter().any(|l| l.starts_with("[DESYNC WARNING]") && l.contains("MIC1=0 (diff 512)")),
        "{:?}",
        rig.logs
    );
}

#[test]
fn a_microphone_that_dies_and_returns_costs_the_others_nothing() {
    for mic in 0..3 {
        let mut desk = Desk::new();
        desk.cycles(0..20);
        for k in 20..60 {
            for other in (0..3).filter(|&m| m != mic) {
                desk.packet(k, other);
            }
        }
        desk.cycles(60..80);
        let rig = desk.finish();
        assert_eq!((rig.cycles, rig.misaligned, rig.offsets.len()), (80, 0, 1), "mic {mic}");
        assert_eq!(rig.lost()[mic], 40);
        // An incomplete cycle leaves with the first packet of the next.
        assert!(rig.slowest < Span::from_millis(12), "{:?}", rig.slowest);
        rig.assert_books_balance();
    }
}

#[test]
fn a_start_with_losses_counts_what_was_there_to_be_missed() {
    let mut desk = Desk::new();
    desk.packet(0, 1);
    desk.packet(0, 2);
    desk.packet(1, 0);
    desk.packet(1, 1);
    desk.cycles(2..10);
    let rig = desk.finish();
    assert_eq!((rig.cycles, rig.misaligned), (8, 0));
    assert_eq!(rig.offsets, [(0, -2 * FRAMES)]);
    assert_eq!(rig.lost(), [1, 0, 1]);
}

#[test]
fn unequal_sizes_make_a_cycle_of_the_longest_and_say_so() {
    let mut desk = Desk::new();
    desk.cycles(0..5);
    for (mic, samples) in [512, 510, 511].into_iter().enumerate() {
        desk.sized(5, mic, samples, Desk::due(5, mic));
    }
    desk.cycles(6..10);
    let rig = desk.finish();
    assert_eq!((rig.cycles, rig.misaligned, rig.offsets.len()), (10, 0, 1));
    let cycle = rig.engine.history().cycle(5).expect("held");
    assert_eq!((cycle.frames, cycle.mic_samples), (512, [512, 510, 511].into()));
    let line = "[DESYNC WARNING] Sample count mismatch: MIC0=512, MIC1=510 (diff 2), MIC2=511 (diff 1)";
    assert_eq!(rig.logs, [line]);
}

#[test]
fn a_late_packet_is_counted_late_and_fills_the_history_at_its_place() {
    for (held_up_us, name) in
        [(5_000, "within its period"), (14_000, "after the next cycle"), (26_000, "two cycles later")]
    {
        let mut desk = Desk::new();
        desk.cycles(0..20);
        desk.packet(20, 0);
        desk.packet(20, 2);
        let at = Desk::due(20, 1) + Span::from_micros(held_up_us);
        let mut k = 21;
        while Desk::due(k, 0) < at {
            desk.cycles(k..k + 1);
            k += 1;
        }
        let verdict = desk.sized(20, 1, FRAMES, at);
        assert!(matches!(verdict, Verdict::Accepted(_)), "{name}");
        desk.cycles(k..k + 20);
        let rig = desk.finish();
        let late = u64::from(held_up_us > 10_000);
        let m = rig.engine.counters().mics[1];
        assert_eq!((m.late, m.lost, rig.misaligned, rig.offsets.len()), (late, 0, 0, 1), "{name}");
        assert_eq!(rig.channel(1, FramePos(20 * FRAMES), 1), [index_sample(1, 20 * FRAMES)], "{name}");
        assert_eq!(rig.engine.history().cycle(20).expect("held").mic_samples, [512; 3], "{name}");
        rig.assert_books_balance();
    }
}

#[test]
fn stamps_swapped_inside_a_cycle_stay_one_cycle() {
    let mut desk = Desk::new();
    desk.cycles(0..10);
    for k in 10..20 {
        for (place, mic) in [2, 0, 1].into_iter().enumerate() {
            desk.sized(k, mic, FRAMES, Desk::due(k, place));
        }
    }
    desk.cycles(20..30);
    let rig = desk.finish();
    let c = rig.engine.counters().cycles;
    assert_eq!((rig.cycles, rig.misaligned, c.incomplete, rig.offsets.len()), (30, 0, 0, 1));
}

#[test]
fn duplicates_are_dropped_and_silence_is_never_one() {
    let mut desk = Desk::new();
    desk.cycles(0..10);
    for mic in 0..3 {
        desk.packet(10, mic);
        let again = desk.sized(10, mic, FRAMES, Desk::due(10, mic) + Span::from_micros(30));
        assert_eq!(again, Verdict::Rejected(Reason::Duplicate));
    }
    let again = desk.sized(10, 0, FRAMES, Desk::due(10, 2) + Span::from_millis(4));
    assert_eq!(again, Verdict::Rejected(Reason::Duplicate));
    desk.cycles(11..20);
    let rig = desk.finish();
    assert_eq!((rig.cycles, rig.misaligned, rig.offsets.len()), (20, 0, 1));
    assert_eq!(rig.engine.counters().mics.map(|m| (m.duplicate, m.received)), [(2, 20), (1, 20), (1, 20)]);

    let mut desk = Desk::new();
    for k in 0..50 {
        for mic in 0..3 {
            // Silence, the second half of it in a backlog that ends within a period.
            let at = if k < 25 {
                Desk::due(k, mic)
            } else {
                Desk::due(49, 0) + Span::from_micros((k - 25) * 330 + 100 * mic as i64)
            };
            let sender = desk.sender;
            while let Some(due) = desk.rig.engine.next_timeout().filter(|&due| due < at) {
                desk.rig.engine.begin_turn(desk.sim.clocks(due));
                desk.rig.engine.handle_timeout();
                while desk.rig.engine.poll_output().is_some() {}
            }
            let d = Datagram { mic, stamp: desk.sim.clocks(at).wall, sender, bytes: &[0; 2048], len: 2048 };
            desk.rig.engine.begin_turn(desk.sim.clocks(at));
            assert!(matches!(desk.rig.engine.handle_datagram(&d), Verdict::Accepted(_)), "cycle {k} mic {mic}");
            while desk.rig.engine.poll_output().is_some() {}
        }
    }
    assert_eq!(desk.rig.engine.counters().cycles.complete, 50);
}

#[test]
fn a_board_on_a_new_port_is_adopted_after_half_a_second_and_locks_anew() {
    let mut desk = Desk::new();
    desk.cycles(0..100);
    desk.sender = "192.168.4.10:50001".parse().expect("an address");
    // 0.3 s later: the old one may still be alive.
    assert_eq!(desk.packet(128, 0), Verdict::Rejected(Reason::Foreign));
    desk.cycles(150..250);
    let rig = desk.finish();
    let c = rig.engine.counters();
    assert_eq!((rig.misaligned, c.cycles.emitted), (0, 200));
    assert_eq!(c.mics.map(|m| m.sender_changes), [1; 3]);
    assert_eq!(c.cycles.skipped, 50, "time stays true through the pause, to a period");
    assert_eq!(rig.lost(), [0; 3], "a board that was off has sent nothing that could be lost");
    assert_eq!(rig.logs.iter().filter(|l| l.contains("now follows")).count(), 3);
}

#[test]
fn the_history_holds_what_was_emitted_bit_for_bit() {
    let mut desk = Desk::new();
    desk.cycles(0..1_000);
    let rig = desk.finish();
    let span = rig.engine.history().span();
    assert_eq!(span.end, FramePos(1_000 * FRAMES));
    assert_eq!(span.end - span.start, 240_000, "five seconds");
    for mic in 0..3 {
        let samples = rig.channel(mic, span.start, 240_000);
        assert!(samples.iter().zip(span.start.0..).all(|(&s, p)| s == index_sample(mic, p)));
    }
    let mut frames = [0; 10 * 12];
    rig.engine.history().read(span.start, &mut frames).expect("held");
    assert_eq!(frames[4..8], rig.channel(1, span.start, 1)[0].to_le_bytes());
}

#[test]
fn after_seconds_of_nothing_and_a_burst_of_the_newest_packets_lost_is_what_was_lost() {
    // An interface that was down: the kernel keeps the newest few packets until it has resolved the address again.
    for silent in [60, 100, 187, 300] {
        for kept in 1..=9 {
            let mut desk = Desk::new();
            desk.cycles(0..400);
            let back = 400 + silent;
            let at = Desk::due(back, 0) - Span::from_millis(3);
            for k in (0..kept).rev() {
                let packet = 3 * back - 1 - k;
                let (cycle, mic) = (packet / 3, (packet % 3) as usize);
                desk.sized(cycle, mic, FRAMES, at + Span::from_micros(20 * (kept - k)));
            }
            desk.cycles(back..back + 400);
            let rig = desk.finish();
            let c = rig.engine.counters();
            let arrived = |mic: i64| (0..kept).filter(|k| (3 * back - 1 - k) % 3 == mic).count() as u64;
            let truly = [0, 1, 2].map(|mic| silent as u64 - arrived(mic));
            assert_eq!(
                (rig.lost(), c.mics.map(|m| m.corrected)),
                (truly, vec![0; 3]),
                "{silent} cycles, {kept} packets kept"
            );
            assert_eq!((rig.misaligned, rig.offsets), (0, vec![(0, 0)]));
        }
    }
}

#[test]
fn a_link_on_which_the_packets_of_a_cycle_queue_behind_one_another_loses_nothing() {
    // 6 Mbit/s for a while: 2.1 kB take 2.9 ms each, 8.7 of the 10.7 ms. Then some are really lost.
    for each_us in [2_100, 2_900] {
        let mut desk = Desk::new();
        desk.cycles(0..300);
        let mut lost = [0; 3];
        for k in 300..1_500 {
            for (mic, lost) in lost.iter_mut().enumerate() {
                let turn = mic as i64 + 1;
                if k > 600 && (3 * k + turn) % 97 == 0 {
                    *lost += 1;
                    continue;
                }
                desk.sized(k, mic, FRAMES, Desk::due(k, 0) + Span::from_micros(each_us * turn));
            }
        }
        desk.cycles(1_500..1_800);
        let rig = desk.finish();
        let c = rig.engine.counters();
        assert_eq!((rig.lost(), c.mics.map(|m| m.late), c.cycles.skipped), (lost, vec![0; 3], 0), "{each_us} us");
        assert_eq!((rig.misaligned, rig.offsets), (0, vec![(0, 0)]), "{each_us} us");
    }
}

#[test]
fn a_flood_is_no_more_audio_than_can_have_been_waiting() {
    let mut desk = Desk::new();
    // Half a million packets a second, a burst of each microphone in turn, from the first moment on.
    let (bursts, burst) = (200, 30);
    for n in 0..bursts {
        for mic in 0..3 {
            for k in n * burst..(n + 1) * burst {
                let at = START + Span::from_micros(180 * n + 60 * mic as i64 + 2 * (k % burst));
                desk.sized(k, mic, FRAMES, at);
            }
        }
    }
    let end = desk.rig.engine.history().span().end;
    assert!(end <= FramePos(5 * 48_000 + 2_000), "five seconds may have been held back: {end:?}");
    let refused: u64 = desk.rig.engine.counters().mics.iter().map(|mic| mic.late).sum();
    assert!(refused > 3 * (bursts * burst) as u64 - 3 * 470 - 100, "counted late: {refused}");
    // And what the board sends then is its array again, a second after the flood at the latest.
    let from = bursts * burst;
    desk.cycles(from..from + 94);
    let flooded = desk.rig.misaligned;
    desk.cycles(from + 94..from + 1_000);
    let rig = desk.finish();
    assert_eq!(rig.misaligned, flooded);
    let [a, b, c] = [0, 1, 2].map(|mic| rig.channel(mic, rig.last.expect("cycles left").first_frame, 512));
    assert!(a.iter().zip(&b).zip(&c).all(|((a, b), c)| a << 4 == b << 4 && b << 4 == c << 4));
}
