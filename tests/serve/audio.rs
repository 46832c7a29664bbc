//! Audio through the whole program: aligned to the sample, whatever the network does.

use crate::rig::{Serve, assert_aligned, offset_of, skips};
use std::process::Stdio;

/// Runs `simulate` beside a subscriber, and gives the events of the whole run and what was sent.
fn run(serve: &Serve, args: &[&str], cycles: u64) -> (Vec<crate::rig::Event>, serde_json::Value) {
    let mut events = serve.events("/api/stream_3ch");
    let child = serve.simulator(args).args(["--cycles", &cycles.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
    // The simulator's last cycles are clean, so the one with the last position is emitted.
    let last = cycles as i64 * 512;
    let mut offset = None;
    let got = events.until(|event| {
        let offset = *offset.get_or_insert_with(|| offset_of(event));
        event.first_frame() + event.frames() + offset >= last
    });
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    (got, serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_minute_is_aligned_to_the_sample_and_memory_stays_flat() {
    let serve = Serve::patient(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut child = serve.simulator(&["--duration", "60s"]).stdout(Stdio::null()).spawn().unwrap();
    let first = events.next().unwrap();
    let offset = offset_of(&first);
    let mut end = first.first_frame();
    let mut early = 0;
    for n in 0..5600_u64 {
        let event = events.next().unwrap();
        assert_aligned(&event, offset);
        assert!(event.is_complete(), "nothing is incomplete: event {:?}", event.id);
        assert_eq!(event.first_frame(), end + 512, "positions touch");
        end = event.first_frame();
        if n == 1000 {
            early = serve.resident_kib();
        }
    }
    let late = serve.resident_kib();
    println!("resident: {early} KiB after 10 s, {late} KiB after a minute");
    assert!(late < 24 * 1024, "resident memory stays under 24 MiB: {late} KiB");
    assert!(late < early + 256, "resident memory is flat: {early} KiB after 10 s, {late} KiB at the end");
    child.wait().unwrap();
    let diagnostics = serve.diagnostics();
    assert_eq!(diagnostics["cycles"]["incomplete"], 0);
    assert_eq!(diagnostics["cycles"]["skipped"], 0);
}

#[test]
fn with_three_per_cent_lost_nothing_is_shifted_and_every_loss_is_known() {
    let serve = Serve::start(&["--history", "30s"]);
    let (events, sent) = run(&serve, &["--loss", "0.03", "--seed", "7"], 1900);
    let offset = offset_of(&events[0]);
    events.iter().for_each(|event| assert_aligned(event, offset));
    let diagnostics = serve.diagnostics();
    let mut withheld = 0;
    for mic in 0..3 {
        let told = &sent["mics"][mic]["withheld"];
        assert!(told.as_u64().unwrap() > 20, "the simulator withheld some: {sent}");
        assert_eq!(&diagnostics["loss"][format!("mic{mic}")]["lost"], told, "mic {mic}: {}", diagnostics["loss"]);
        withheld += told.as_u64().unwrap();
    }
    // The history says the same: each microphone's zeros are the withheld packets, all else is the signal.
    let wav = serve.get("/api/download_buffer").body;
    let frames: Vec<&[u8]> = wav[44..].chunks_exact(12).collect();
    let mut zeros = 0;
    // The lead-in is clean, so mic 0 is there in the first frame and says where it stands.
    let first = i64::from(i32::from_le_bytes(frames[0][..4].try_into().unwrap()) & 0x0fff_ffff);
    for (n, frame) in frames.iter().enumerate() {
        for mic in 0..3 {
            let sample = i32::from_le_bytes(frame[4 * mic..4 * mic + 4].try_into().unwrap());
            if sample == 0 {
                zeros += 1;
            } else {
                assert_eq!(sample, crate::rig::index(mic, first + n as i64), "frame {n}, mic {mic}");
            }
        }
    }
    assert_eq!(zeros, withheld * 512, "the WAV has as many zeros as samples were withheld");
}

#[test]
fn packets_held_back_and_sent_in_a_burst_leave_no_gap() {
    let serve = Serve::start(&["--history", "20s"]);
    let (events, _) = run(&serve, &["--hold-back", "80ms/1s"], 900);
    let offset = offset_of(&events[0]);
    events.iter().for_each(|event| assert_aligned(event, offset));
    assert_eq!(skips(&events), Vec::<i64>::new());
    // A stall that began inside a cycle outlasts the 40 ms hold: that cycle leaves flagged, and its late packets fill the history.
    let incomplete = events.iter().filter(|event| !event.is_complete()).count();
    let diagnostics = serve.diagnostics();
    assert!(incomplete <= 9, "at most one a stall: {incomplete}");
    assert_eq!(diagnostics["cycles"]["skipped"], 0);
    let wav = serve.get("/api/download_buffer").body;
    let frames: Vec<&[u8]> = wav[44..].chunks_exact(12).collect();
    assert_eq!(frames.len(), 900 * 512);
    for mic in 0..3 {
        assert_eq!(diagnostics["loss"][format!("mic{mic}")]["lost"], 0, "{}", diagnostics["loss"]);
        for (n, frame) in frames.iter().enumerate() {
            let sample = i32::from_le_bytes(frame[4 * mic..4 * mic + 4].try_into().unwrap());
            assert_eq!(sample, crate::rig::index(mic, n as i64 + offset), "history, frame {n}, mic {mic}");
        }
    }
}

#[test]
fn whole_cycles_lost_skip_exactly_as_many_positions() {
    let serve = Serve::start(&[]);
    let (events, sent) = run(&serve, &["--drop-cycles", "5@3s", "--drop-cycles", "1@5s", "--drop-cycles", "2@7s"], 900);
    let offset = offset_of(&events[0]);
    events.iter().for_each(|event| assert_aligned(event, offset));
    assert_eq!(skips(&events), [5 * 512, 512, 2 * 512]);
    let diagnostics = serve.diagnostics();
    assert_eq!(diagnostics["cycles"]["skipped"], 8);
    for mic in 0..3 {
        assert_eq!(diagnostics["loss"][format!("mic{mic}")]["lost"], sent["mics"][mic]["withheld"]);
        assert_eq!(diagnostics["loss"][format!("mic{mic}")]["lost"], 8);
    }
}

#[test]
fn the_stream_outlives_ten_thousand_cycles() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut child = serve.simulator(&["--samples", "256", "--cycles", "10400"]).stdout(Stdio::null()).spawn().unwrap();
    let first = events.next().unwrap();
    let offset = offset_of(&first);
    let got = events.until(|event| event.number() >= 10_100);
    got.iter().for_each(|event| assert_aligned(event, offset));
    assert_eq!(skips(&got), Vec::<i64>::new());
    child.wait().unwrap();
}
