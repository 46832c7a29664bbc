//! Several files are one recording: whatever the order, one after the other or side by side.

use std::process::Command;

use micring::capture::{Writer, clock_offset_comment, clock_step_comment};
use micring::time::{KernelTime, Span};
use serde_json::Value;

use crate::frames::{START, Stamped, pcap, session};
use crate::support::{Scratch, analyze, json, sockets};

/// What is found, without the names of the files.
fn found(files: &[String]) -> Value {
    let args: Vec<&str> = ["--json"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let mut seen = json(&analyze(&args));
    seen.as_object_mut().unwrap().remove("recording");
    seen
}

fn port_of((_, packet): &Stamped) -> u8 {
    packet[23] - 0x31
}

#[test]
fn a_file_a_port_is_one_recording_in_any_order() {
    let scratch = Scratch::new("a-file-a-port");
    let all = session(2_400);
    let whole = found(&[scratch.file("all.pcap", &pcap(101, &all))]);
    assert_eq!((&whole["cycles"]["complete"], &whole["clock_steps"]), (&2_400.into(), &0.into()));
    let one = |mic: u8| all.iter().filter(|frame| port_of(frame) == mic).cloned().collect::<Vec<_>>();
    let files = [0, 1, 2].map(|mic| scratch.file(&format!("mic{mic}.pcap"), &pcap(101, &one(mic))));
    assert_eq!(found(&files), whole);
    let [a, b, c] = files;
    assert_eq!(found(&[c, a, b]), whole);
}

/// tcpdump -C names its files day.pcap, day.pcap1, ... day.pcap11, and a shell's day.pcap* puts 10 before 2. With more of them than a process may
/// have open.
#[test]
fn a_set_of_files_is_put_in_order_and_never_opened_all_at_once() {
    let scratch = Scratch::new("set");
    let all = session(2_400);
    let whole = found(&[scratch.file("all.pcap", &pcap(101, &all))]);
    let mut names: Vec<String> =
        (0..).zip(all.chunks(90)).map(|(i, part)| scratch.file(&format!("day.pcap{i}"), &pcap(101, part))).collect();
    assert_eq!(names.len(), 80);
    names.sort_unstable();
    assert_eq!(found(&names), whole);
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 20; exec \"$0\" analyze --json \"$@\"", env!("CARGO_BIN_EXE_micring")])
        .args(&names)
        .output()
        .expect("sh starts");
    assert_eq!(json(&output)["cycles"], whole["cycles"]);
}

/// Three files, one a port, each cut in two at another moment, and two seconds of nothing in all of them.
#[test]
fn files_that_overlap_and_a_pause_at_their_edge_are_no_steps_of_the_clock() {
    let scratch = Scratch::new("overlap");
    let mut all = session(2_400);
    for (ns, _) in &mut all[3_600..] {
        *ns += 2_000_000_000;
    }
    let whole = found(&[scratch.file("all.pcap", &pcap(101, &all))]);
    let mut files = Vec::new();
    for mic in 0..3u8 {
        let one: Vec<Stamped> = all.iter().filter(|frame| port_of(frame) == mic).cloned().collect();
        let (first, second) = one.split_at(1_200 - 100 * usize::from(mic));
        files.push(scratch.file(&format!("b{mic}.pcap"), &pcap(101, second)));
        files.push(scratch.file(&format!("a{mic}.pcap"), &pcap(101, first)));
    }
    let seen = found(&files);
    assert_eq!(seen["clock_steps"], 0);
    assert_eq!(seen, whole);
}

/// The host's clock was set back by three seconds, and each of the three captures shows it.
#[test]
fn a_step_that_all_files_show_is_one_step() {
    let scratch = Scratch::new("all-step");
    let mut all = session(2_400);
    for (ns, _) in &mut all[3_600..] {
        *ns -= 3_000_000_000;
    }
    let whole = found(&[scratch.file("all.pcap", &pcap(101, &all))]);
    let files = [0, 1, 2].map(|mic| {
        let one: Vec<Stamped> = all.iter().filter(|frame| port_of(frame) == mic).cloned().collect();
        scratch.file(&format!("mic{mic}.pcap"), &pcap(101, &one))
    });
    let seen = found(&files);
    assert_eq!((&seen["clock_steps"], &whole["clock_steps"]), (&1.into(), &1.into()));
    assert_eq!(seen["cycles"], whole["cycles"]);
}

/// Recordings of `serve`, between two of which the clock was set back by an hour: they tell how far it is ahead of the one that does not step.
#[test]
fn recordings_of_ours_are_in_order_whatever_the_clock_did() {
    let scratch = Scratch::new("ours");
    let hour = Span::from_secs(3_600);
    let mut files = Vec::new();
    for (part, packets) in session(1_800).chunks(1_800).enumerate() {
        let ahead = if part == 0 { Span::ZERO } else { -hour };
        let writer = Writer::new(None);
        let mut file = Vec::new();
        writer.begin(&mut file, sockets(), "micring", "a test");
        let at = |ns: i64| KernelTime::from_nanos(ns) + ahead;
        let offset = clock_offset_comment(START - 1_000_000_000_000_000 + ahead.as_nanos());
        writer.statistics(&mut file, 0, at(packets[0].0), 0, 7, Some(&offset));
        for (ns, packet) in packets {
            let mic = usize::from(packet[23] - 0x31);
            let from = ([192, 168, 1, 50], 40_000 + mic as u16).into();
            writer.datagram(&mut file, mic, at(*ns), from, sockets()[mic], &packet[28..], packet.len() - 28);
        }
        if part == 0 {
            // It was stepped before the next file was begun.
            let seen = at(packets[packets.len() - 1].0) + Span::from_micros(50) - hour;
            writer.statistics(&mut file, 0, seen, 0, 7, Some(&clock_step_comment(-hour)));
        }
        files.insert(0, scratch.file(&format!("{part}.pcapng"), &file));
    }
    let seen = json(&analyze(&["--json", &files[0], &files[1], &files[2]][..]));
    assert_eq!((&seen["cycles"]["complete"], &seen["cycles"]["skipped"]), (&1_800.into(), &0.into()));
    assert_eq!(seen["clock_steps"], 1, "the one that was told");
    let order: Vec<&str> =
        seen["recording"]["files"].as_array().unwrap().iter().map(|f| f["file"].as_str().unwrap()).collect();
    assert!(order[0].ends_with("0.pcapng") && order[2].ends_with("2.pcapng"), "{order:?}");
    // Each socket's count begins anew with a file; so it does with a section of one, as `cat` makes of them.
    assert_eq!(seen["loss"]["mic0"]["kernel_dropped"], 21);
    let both: Vec<u8> = files.iter().rev().flat_map(|file| std::fs::read(file).unwrap()).collect();
    let seen = json(&analyze(&["--json", &scratch.file("all.pcapng", &both)]));
    assert_eq!(seen["cycles"]["complete"], 1_800);
}

/// Drop counts that fall, as a hand-made or joined file has them: counted anew from there.
#[test]
fn a_drop_count_that_falls_began_anew() {
    let scratch = Scratch::new("falls");
    let writer = Writer::new(None);
    let mut file = Vec::new();
    writer.begin(&mut file, sockets(), "micring", "a test");
    for (i, (ns, packet)) in session(2_400).iter().enumerate() {
        let dropped = [(900, 100), (4_800, 7)].iter().find(|(at, _)| *at == i);
        if let Some((_, dropped)) = dropped {
            writer.statistics(&mut file, 0, KernelTime::from_nanos(*ns), 0, *dropped, None);
        }
        let mic = usize::from(packet[23] - 0x31);
        let from = ([192, 168, 1, 50], 40_000).into();
        writer.datagram(
            &mut file,
            mic,
            KernelTime::from_nanos(*ns),
            from,
            sockets()[mic],
            &packet[28..],
            packet.len() - 28,
        );
    }
    let seen = json(&analyze(&["--json", &scratch.file("a.pcapng", &file)]));
    assert_eq!(seen["loss"]["mic0"]["kernel_dropped"], 107);
    assert_eq!(seen["window"]["loss"]["mic0"]["kernel_dropped"], 7);
}
