//! One board, of which one microphone alone is held up for a while; then all that waited comes, one packet close behind the other.

use micring::MICS;
use micring::sim::{Loss, Network, Packet, START, Scenario};
use micring::time::Span;

use super::judge::{Judged, judge_altered};
use super::models::delay;
use super::rig::config;

/// How often it is held up.
const STALLS: u64 = 9;
/// A stall begins anywhere in a period.
const EVERY: Span = Span::from_micros(3_001_300);

/// What `mic` sends waits from `from` on, for so long, and then comes at this spacing until nothing waits any more.
fn hold_up(packets: &mut [Packet], mic: usize, from: Span, long: Span, spacing: Span) {
    let end = START + from + long;
    let mut before = None;
    for packet in packets.iter_mut().filter(|packet| packet.mic == mic && packet.arrival >= START + from) {
        let due = before.map_or(end, |before| before + spacing);
        if packet.arrival >= due {
            return;
        }
        packet.arrival = due;
        before = Some(due);
    }
}

fn held_up(seed: u64, mic: usize, long: Span, spacing: Span, loss: Loss) -> Judged {
    let network = Network { loss, delay: delay("exp0.3"), ..Network::default() };
    let scenario = Scenario { seed, network, ..Scenario::one_board(Span::from_secs(30)) };
    judge_altered(&scenario, config(), 96_000, |packets| {
        for k in 0..STALLS as i64 {
            hold_up(packets, mic, Span::from_secs(2) + EVERY.mul_ratio(k, 1), long, spacing);
        }
    })
}

#[test]
fn a_microphone_that_is_held_up_alone_shifts_nothing() {
    println!("{}", Judged::head(&["loss", "mic", "held up", "spacing"], &[]));
    let (longs, spacings): (&[i64], &[i64]) =
        if cfg!(debug_assertions) { (&[50, 400], &[1_000]) } else { (&[50, 100, 200, 400], &[100, 1_000, 3_000]) };
    let cases = longs.iter().flat_map(|&long| spacings.iter().map(move |&spacing| (long, spacing)));
    for (long, spacing) in cases.map(|(long, spacing)| (Span::from_millis(long), Span::from_micros(spacing))) {
        for mic in 0..MICS {
            for loss in [Loss::None, Loss::Independent(0.01)] {
                let judged = held_up(5, mic, long, spacing, loss);
                println!("| {loss:?} | {mic} | {long:?} | {spacing:?} | {judged} |");
                let truly = judged.sim.truth().mics.map(|mic| mic.withheld());
                assert_eq!(judged.rig.lost().to_vec(), truly.to_vec(), "mic {mic}, {long:?}, {spacing:?}, {loss:?}");
                assert_eq!((judged.nowhere, judged.strange), (0, 0));
                assert_eq!(judged.rig.engine.counters().cycles.skipped, 0, "the others were there all along");
                // The first packet of a backlog may come as if it were the newest, and no cycle waits for the second.
                assert!(judged.misaligned <= STALLS * 512, "{} frames", judged.misaligned);
                // Which one of a backlog is missing nothing tells; what is behind it is in its place again.
                let most = if loss == Loss::None { 0 } else { STALLS };
                assert!(judged.moves <= most && judged.wrong <= most, "{} moves, {}", judged.moves, judged.wrong);
            }
        }
    }
}
