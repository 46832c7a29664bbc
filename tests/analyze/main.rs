//! `micring analyze` on recordings whose truth is known: made by the simulator, written by the recorder's own writer or as tcpdump
//! would have seen them.

mod files;
mod formats;
mod frames;
#[path = "../support/skipped.rs"]
mod skipped;
mod stability;
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use micring::capture::{Writer, clock_offset_comment, clock_step_comment};
use micring::sim::{DropCycles, HostClock, Loss, MicTruth, Network, Packet, Rate, Scenario, Sending, Sim, Truth};
use micring::time::Span;
use serde_json::Value;
use support::{Scratch, altered, analyze, assert_counts, json, recording, scenario, sockets, tcpdump};

#[test]
fn losses_positions_and_rate_are_those_of_the_simulator() {
    let scratch = Scratch::new("truth");
    let scenario = scenario(90);
    let (file, truth) = recording(&scenario, None);
    let seen = json(&analyze(&["--json", &scratch.file("a.pcapng", &file)]));
    assert_counts(&seen, &truth);

    // Each gap, at its place: runs of neighbouring cycles are one.
    let mut expected: BTreeMap<(usize, i64), i64> = BTreeMap::new();
    let mut withheld: Vec<(usize, i64)> = truth.withheld.iter().map(|w| (w.mic, w.cycle as i64 * 512)).collect();
    withheld.sort_unstable();
    for (mic, first) in withheld {
        match expected.range_mut(..(mic, first)).next_back() {
            Some(((m, start), frames)) if *m == mic && start + *frames == first => *frames += 512,
            _ => {
                expected.insert((mic, first), 512);
            }
        }
    }
    let gaps: BTreeMap<(usize, i64), i64> = seen["gaps"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gap| {
            let number = |key: &str| gap[key].as_i64().unwrap_or_else(|| panic!("{key} of {gap}"));
            ((number("mic") as usize, number("first_frame")), number("frames"))
        })
        .collect();
    assert_eq!(gaps, expected);

    for mic in ["mic0", "mic1", "mic2"] {
        let drift = &seen["clock_drift_ppm"][mic];
        let (ppm, uncertainty) = (drift["ppm"].as_f64().unwrap(), drift["uncertainty_ppm"].as_f64().unwrap());
        assert!((ppm - 20.0).abs() <= uncertainty, "{mic}: {drift}");
        // White phase noise: the Allan deviation falls tenfold a decade.
        let points = seen["stability"][mic].as_array().unwrap();
        let at = |i: usize| (points[i]["tau_s"].as_f64().unwrap(), points[i]["adev"].as_f64().unwrap());
        let ((t0, a0), (t1, a1)) = (at(0), at(6));
        let slope = (a1 / a0).log10() / (t1 / t0).log10();
        assert!((slope + 1.0).abs() < 0.1, "{mic}: {slope}");
    }
    assert!(seen["loop_skew_us"]["p50"].is_null() && seen["loop_skew_us"]["reason"].is_string());
    assert!(seen["window"]["packet_stats"]["packets_received"][0].as_u64().unwrap() > 850, "nearly ten seconds");
}

#[test]
fn the_head_of_each_packet_says_the_same_as_all_of_it() {
    let scratch = Scratch::new("snap");
    let scenario = scenario(40);
    let whole = json(&analyze(&["--json", &scratch.file("a.pcapng", &recording(&scenario, None).0)]));
    let (heads, truth) = recording(&scenario, Some(64));
    assert_counts(&whole, &truth);
    let mut heads = json(&analyze(&["--json", &scratch.file("b.pcapng", &heads)]));
    heads["recording"] = whole["recording"].clone();
    // How loud it was, only whole packets tell.
    let level = |of: &Value| of["level"]["mic0"]["rms_dbfs"].clone();
    assert!(level(&heads).is_null() && level(&whole).is_number());
    for sheet in [heads.clone(), heads["window"].clone()] {
        assert!(sheet["level"]["mic0"]["reason"].is_string(), "{}", sheet["level"]);
    }
    heads["level"] = whole["level"].clone();
    heads["window"]["level"] = whole["window"]["level"].clone();
    for (key, value) in whole.as_object().unwrap() {
        assert_eq!(&heads[key], value, "{key}");
    }
}

#[test]
fn of_a_board_that_cuts_its_chunks_lost_pieces_are_told_from_heads_of_packets_too() {
    let scratch = Scratch::new("pieces");
    let scenario = Scenario { sending: Sending::in_pieces(1_460), clean_cycles: 100, ..scenario(40) };
    for snap in [None, Some(64)] {
        let (file, truth) = recording(&scenario, snap);
        let seen = json(&analyze(&["--json", &scratch.file("a.pcapng", &file)]));
        for (mic, truth) in truth.mics.iter().enumerate() {
            let loss = &seen["loss"][format!("mic{mic}")];
            assert!(truth.lost_pieces > 100);
            assert_eq!(loss["lost_pieces"].as_u64(), Some(truth.lost_pieces), "snap {snap:?}, mic {mic}");
            assert_eq!(loss["lost"].as_u64(), Some(truth.lost_chunks), "snap {snap:?}, mic {mic}");
        }
        assert_eq!(seen["server"]["chunk"]["mic0"]["pieces"], serde_json::json!([365, 147]));
    }
}

#[test]
fn a_capture_of_fragments_agrees_with_the_recording() {
    let scratch = Scratch::new("tcpdump");
    let scenario = scenario(40);
    let ours = json(&analyze(&["--json", &scratch.file("a.pcapng", &recording(&scenario, None).0)]));
    let mut theirs = json(&analyze(&["--json", &scratch.file("b.pcap", &tcpdump(&scenario))]));
    theirs["recording"] = ours["recording"].clone();
    assert_eq!(theirs, ours);
}

#[test]
fn a_packet_of_a_free_board_that_is_lost_is_one_gap_across_two_cycles() {
    let scratch = Scratch::new("across");
    // Equal rates: nothing slips, and gaps are as far apart as the packets.
    let scenario = Scenario {
        network: Network::default(),
        rates: vec![Rate::Constant(0.0)],
        ..Scenario::three_boards(Span::from_secs(40))
    };
    let lost = [(0, 900), (1, 1_000), (1, 1_050), (2, 1_200), (2, 1_201), (0, 2_000), (1, 2_500), (2, 2_501)];
    let is_lost = |packet: &Packet| lost.contains(&(packet.mic, packet.cycle));
    let file = altered(&scenario, |packet| (!is_lost(packet)).then_some(Span::ZERO));
    // Long enough for what follows a loss to be understood before its cycle leaves.
    let seen = json(&analyze(&["--json", "--hold", "200ms", &scratch.file("a.pcapng", &file)]));
    assert_eq!(seen["server"]["clock"], "independent");
    // Of the last cycle some have not been heard when the recording ends.
    let last = seen["recording"]["last_ns"].as_i64().unwrap();
    let mut gaps = seen["gaps"]["list"].as_array().unwrap().clone();
    gaps.retain(|gap| gap["emitted_ns"].as_i64().unwrap() <= last);
    let of = |mic: usize, key: &str| -> Vec<i64> {
        gaps.iter().filter(|gap| gap["mic"] == mic).map(|gap| gap[key].as_i64().unwrap()).collect()
    };
    for (mic, frames, apart) in [
        (0, vec![512; 2], vec![1_100 * 512]),
        (1, vec![512; 3], vec![50 * 512, 1_450 * 512]),
        (2, vec![1024, 512], vec![1_301 * 512]),
    ] {
        assert_eq!(of(mic, "frames"), frames, "mic {mic}: {gaps:?}");
        let first = of(mic, "first_frame");
        // A slip, while the floors are learnt, moves them by a sample.
        let off = first.windows(2).zip(&apart).map(|(pair, apart)| pair[1] - pair[0] - apart);
        assert!(off.clone().all(|off| off.abs() <= 1) && off.len() + 1 == frames.len(), "mic {mic}: {gaps:?}");
    }
    assert!(gaps.iter().any(|gap| gap["first_frame"].as_i64().unwrap() % 512 != 0), "some lie across an edge");
}

#[test]
fn whole_cycles_that_are_missing_are_one_gap() {
    let scratch = Scratch::new("cycles");
    let scenario = Scenario {
        network: Network::default(),
        drop_cycles: vec![DropCycles { at: Span::from_secs(5), cycles: 5 }],
        ..scenario(10)
    };
    let (file, truth) = recording(&scenario, None);
    let first = truth.withheld.iter().map(|w| w.cycle).min().unwrap();
    let seen = json(&analyze(&["--json", &scratch.file("a.pcapng", &file)]));
    assert_eq!(seen["cycles"]["skipped"], 5);
    let gaps = seen["gaps"]["list"].as_array().unwrap();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0]["mic"].is_null());
    assert_eq!((&gaps[0]["first_frame"], &gaps[0]["frames"]), (&Value::from(first * 512), &Value::from(5 * 512)));
}

#[test]
fn drops_and_clock_steps_of_the_recorder_are_taken_over() {
    let scratch = Scratch::new("statistics");
    let writer = Writer::new(Some(64));
    let mut file = Vec::new();
    writer.begin(&mut file, sockets(), "micring", "a test");
    let mut sim = Sim::new(&Scenario { network: Network::default(), ..scenario(20) });
    let mut payload = Vec::new();
    let step = Span::from_secs(1);
    let mut stepped = false;
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        if packet.cycle == 900 && !stepped {
            stepped = true;
            let comment = clock_step_comment(step);
            writer.statistics(&mut file, 0, packet.stamp + step, 900, 7, Some(&comment));
        }
        let stamp = packet.stamp + if stepped { step } else { Span::ZERO };
        let to = sockets()[packet.mic];
        writer.datagram(&mut file, packet.mic, stamp, sim.sender(&packet), to, &payload, payload.len());
    }
    let seen = json(&analyze(&["--json", &scratch.file("a.pcapng", &file)]));
    assert_eq!(seen["loss"]["mic0"]["kernel_dropped"], 7);
    assert_eq!(seen["loss"]["mic1"]["kernel_dropped"], 0);
    assert_eq!(seen["clock_steps"], 1);
    assert_eq!(seen["gaps"]["list"], Value::Array(Vec::new()), "a step of the clock is no loss");
    assert_eq!(seen["cycles"]["incomplete"], 0);
}

/// Twenty seconds whose clock steps at the tenth. `late`: so many packets were stamped before the step and read, and so written,
/// after it.
fn stepped(step: Span, late: usize) -> (Vec<u8>, Truth) {
    let writer = Writer::new(Some(64));
    let mut file = Vec::new();
    writer.begin(&mut file, sockets(), "micring", "a test");
    let mut sim = Sim::new(&Scenario { network: Network::default(), ..scenario(20) });
    let packets: Vec<Packet> = sim.by_ref().collect();
    let first = packets.iter().position(|packet| packet.cycle == 900).unwrap();
    for (i, packet) in packets.iter().enumerate() {
        if i + late == first {
            // The turn that reads them begins behind the newest of them.
            let seen = packets[first - 1].stamp + Span::from_micros(50) + step;
            writer.statistics(&mut file, 0, seen, 900, 0, Some(&clock_step_comment(step)));
        }
        let stamp = packet.stamp + if i < first { Span::ZERO } else { step };
        let mut payload = Vec::new();
        sim.payload(packet, &mut payload);
        let to = sockets()[packet.mic];
        writer.datagram(&mut file, packet.mic, stamp, sim.sender(packet), to, &payload, payload.len());
    }
    (file, sim.truth().clone())
}

#[test]
fn a_step_of_the_clock_adds_nothing_to_the_time_that_was_recorded() {
    let scratch = Scratch::new("stepped");
    let file = |step: Span, late: usize| scratch.file("a.pcapng", &stepped(step, late).0);
    let duration = |seen: &Value| seen["recording"]["duration_s"].as_f64().unwrap();
    let truth = duration(&json(&analyze(&["--json", &file(Span::ZERO, 0)])));
    assert!((19.9..20.0).contains(&truth), "{truth}");
    for step in [Span::from_secs(-3), Span::from_secs(3)] {
        let seen = json(&analyze(&["--json", &file(step, 0)]));
        let uptime = seen["server"]["uptime_s"].as_f64().unwrap();
        assert!((duration(&seen) - truth).abs() < 1e-6 && (uptime - truth).abs() <= 1e-3, "{step:?}: {uptime}");
        let ns = |key: &str| seen["recording"][key].as_i64().unwrap();
        let stamps_s = (ns("last_ns") - ns("first_ns")) as f64 / 1e9;
        assert!((stamps_s - truth - step.as_secs_f64()).abs() < 1e-6, "stamps are told as they stand: {stamps_s}");
    }
}

#[test]
fn packets_stamped_before_a_step_and_written_after_it_stay_where_they_were() {
    let scratch = Scratch::new("behind");
    for (step_ms, late) in [(-3_000, 1), (-3_000, 7), (-300, 4), (3_000, 4), (300, 7)] {
        let (file, truth) = stepped(Span::from_millis(step_ms), late);
        let seen = json(&analyze(&["--json", &scratch.file("a.pcapng", &file)]));
        assert_counts(&seen, &truth);
        let what = format!("{step_ms} ms, {late} packets");
        assert_eq!((&seen["clock_steps"], &seen["cycles"]["incomplete"]), (&1.into(), &0.into()), "{what}");
        let duration = seen["recording"]["duration_s"].as_f64().unwrap();
        assert!((19.9..20.0).contains(&duration), "{what}: {duration}");
        assert_eq!(seen["cycles"]["skipped"], 0, "{what}");
        for mic in ["mic0", "mic1", "mic2"] {
            let pdv = seen["pdv_us"][mic]["max"].as_f64().unwrap();
            assert!(pdv < 1_000.0, "{what}: {mic} {pdv}");
        }
    }
}

#[test]
fn a_recording_that_was_killed_is_read_up_to_its_end_and_a_broken_one_is_an_error() {
    let scratch = Scratch::new("broken");
    let (file, _) = recording(&Scenario { network: Network::default(), ..scenario(5) }, None);
    let cut = scratch.file("cut.pcapng", &file[..file.len() / 2]);
    let output = analyze(&["--json", &cut]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("ends inside the record that begins at byte"), "{errors}");
    assert!(json(&output)["packet_stats"]["packets_received"][0].as_u64().unwrap() > 200);

    let mut corrupt = file.clone();
    let middle = file.len() / 2;
    corrupt[middle..middle + 4_000].fill(0xff);
    for (name, bytes, says) in [
        ("corrupt.pcapng", &corrupt[..], "corrupt at byte"),
        ("sound.wav", &b"RIFF\0\0\0\0WAVEfmt "[..], "neither a pcapng nor a pcap file"),
        ("empty.pcap", &b""[..], "neither a pcapng nor a pcap file"),
    ] {
        let output = analyze(&[&scratch.file(name, bytes)]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(errors.starts_with("micring: cannot read ") && errors.contains(says), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    assert_eq!(analyze(&[scratch.0.join("missing").to_str().unwrap()]).status.code(), Some(1));
    assert_eq!(analyze(&[]).status.code(), Some(2));
}

/// The recording of a host whose CLOCK_REALTIME runs 40 ppm fast; with its offset each second, as the recorder tells it, or without.
fn steered(told: bool) -> Vec<u8> {
    let host = HostClock { ppm: 40.0, events: Vec::new() };
    // The third packet of a cycle waits for two others and seldom meets its floor: its rate takes more than a minute to know.
    let scenario = Scenario { host, ..scenario(120) };
    let writer = Writer::new(Some(64));
    let mut file = Vec::new();
    writer.begin(&mut file, sockets(), "micring", "a test");
    let (mut sim, mut payload, mut next) = (Sim::new(&scenario), Vec::new(), None);
    while let Some(packet) = sim.next() {
        let clocks = sim.clocks(packet.arrival);
        if told && next.is_none_or(|next| clocks.mono >= next) {
            next = Some(clocks.mono + Span::from_secs(1));
            let comment = clock_offset_comment(clocks.wall.as_nanos() - clocks.mono.as_nanos());
            writer.statistics(&mut file, 0, clocks.wall, 0, 0, Some(&comment));
        }
        sim.payload(&packet, &mut payload);
        let to = sockets()[packet.mic];
        writer.datagram(&mut file, packet.mic, packet.stamp, sim.sender(&packet), to, &payload, payload.len());
    }
    file
}

#[test]
fn drift_is_told_against_the_hosts_crystal_also_where_ntp_steers_its_clock() {
    let scratch = Scratch::new("steered");
    // The board is 20 ppm fast; against a clock that is 40 ppm fast it is slow.
    for (told, truth) in [(true, 20.0), (false, -20.0)] {
        let seen = json(&analyze(&["--json", &scratch.file("a.pcapng", &steered(told))]));
        for mic in ["mic0", "mic1", "mic2"] {
            let figure = &seen["clock_drift_ppm"][mic];
            let of = |key: &str| figure[key].as_f64().unwrap_or_else(|| panic!("{mic} is known: {figure}"));
            // 20 ppm of 40 are 0.0008 ppm.
            let error = (of("ppm") - truth).abs();
            assert!(error <= of("uncertainty_ppm") + 0.001, "{mic}, told {told}: {figure}, truly {truth}");
        }
    }
}

#[test]
fn other_ports_are_named_when_the_microphones_are_not_there() {
    let scratch = Scratch::new("ports");
    let scenario = Scenario { network: Network::default(), ..scenario(5) };
    let file = scratch.file("a.pcap", &tcpdump(&scenario));
    let output = analyze(&["--ports", "1,2,3", &file]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("30001 (") && errors.contains("--ports A,B,C"), "{errors}");
    // Mic 0 and 1 the other way round: the second sends first.
    let seen = json(&analyze(&["--json", "--ports", "30002,30001,30003", &file]));
    assert_eq!(seen["arrival_skew_us"]["mic0_vs_mic1"]["p50"], -100.0);
}

#[test]
fn packets_that_come_late_count_in_stability_in_their_place() {
    let scratch = Scratch::new("late");
    let scenario = Scenario { network: Network::default(), rates: vec![Rate::Constant(0.0)], ..scenario(60) };
    let is_late = |cycle: u64| cycle > 100 && cycle.is_multiple_of(10);
    let late = |packet: &Packet| packet.mic == 1 && is_late(packet.cycle);
    let file = altered(&scenario, |packet| Some(if late(packet) { Span::from_millis(14) } else { Span::ZERO }));
    let seen = json(&analyze(&["--json", &scratch.file("a.pcapng", &file)]));
    let cycles = seen["packet_stats"]["packets_received"][1].as_u64().unwrap();
    assert_eq!(seen["loss"]["mic1"]["late"], (0..cycles).filter(|k| is_late(*k)).count());
    // x(i + 2) - 2 x(i + 1) + x(i), NIST SP 1065, 5.2.4; of its own arrivals, which wait for nothing.
    let x = |k: u64| if is_late(k) { 14e-3f64 } else { 0.0 };
    let squares: f64 = (0..cycles - 2).map(|k| (x(k + 2) - 2.0 * x(k + 1) + x(k)).powi(2)).sum();
    let adev = (squares / (2.0 * (cycles - 2) as f64)).sqrt() / (512.0 / 48_000.0);
    let point = &seen["stability"]["mic1"][0];
    assert_eq!(point["terms"], cycles - 2, "each packet is there: {point}");
    let error = point["adev"].as_f64().unwrap() / adev - 1.0;
    assert!(error.abs() < 1e-3, "{point}, truly {adev}");
}

#[test]
fn several_files_are_one_recording_and_a_pipe_is_a_file() {
    let scratch = Scratch::new("several");
    let scenario = Scenario { network: Network::default(), ..scenario(10) };
    let (file, truth) = recording(&scenario, None);
    // As a rotation would have cut it: each file with its own header, at the end of a block.
    let head = {
        let mut head = Vec::new();
        Writer::new(None).begin(&mut head, sockets(), "micring", "a test");
        head.len()
    };
    let block = file.len() - head;
    let packets = truth.mics.iter().map(|mic| mic.delivered()).sum::<u64>() as usize;
    let middle = head + block / packets * (packets / 2);
    let first = scratch.file("1.pcapng", &file[..middle]);
    let second = scratch.file("2.pcapng", &[&file[..head], &file[middle..]].concat());
    let seen = json(&analyze(&["--json", &first, &second]));
    assert_counts(&seen, &truth);
    assert_eq!(seen["gaps"]["list"], Value::Array(Vec::new()));

    let mut child = Command::new(env!("CARGO_BIN_EXE_micring"))
        .args(["analyze", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("micring starts");
    child.stdin.take().unwrap().write_all(&file).expect("it reads all");
    assert_counts(&json(&child.wait_with_output().unwrap()), &truth);
}

#[test]
fn the_page_stands_alone_and_the_table_is_for_people() {
    let scratch = Scratch::new("page");
    let file = scratch.file("a.pcapng", &recording(&scenario(20), None).0);
    let page = scratch.0.join("report.html");
    let output = analyze(&["--html", page.to_str().unwrap(), &file]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("lost pieces") && table.contains("arrival skew"), "{table}");
    let page = std::fs::read_to_string(page).unwrap();
    // Three residuals, skew, delay variation, ADEV, TDEV, MTIE, three loss strips.
    assert_eq!(page.matches("<svg ").count(), 11);
    assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
    for outside in ["http:", "https:", "<script", "<link", "url(", "NaN", "Minf", "Linf", " inf"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
}

/// Where clocks decide how the channels stand, the page shows it, with its interval; of one board there is nothing to show.
#[test]
fn the_page_shows_how_free_boards_are_aligned() {
    let scratch = Scratch::new("alignment");
    let scenario = Scenario { seed: 9, ..Scenario::three_boards(Span::from_secs(60)) };
    let file = scratch.file("a.pcapng", &recording(&scenario, None).0);
    let report = scratch.0.join("report.html");
    analyze(&["--html", report.to_str().unwrap(), &file]);
    let page = std::fs::read_to_string(report).unwrap();
    assert_eq!(page.matches("<svg ").count(), 12);
    let (_, section) = page.split_once("Alignment of the channels</h2>").expect("the section is there");
    let (section, _) = section.split_once("<h2>").expect("others follow");
    // Three bands and three lines, with something in them.
    for kind in ["band", "line"] {
        let paths: Vec<&str> = section.split(&format!("<path class=\"{kind} ")).skip(1).collect();
        assert_eq!(paths.len(), 3);
        assert!(paths.iter().all(|path| path.contains("d=\"M")), "{kind}: {paths:?}");
    }
    assert!(!section.contains("NaN") && page.contains("aligned within"));
}

/// The cells of a row of the table.
fn cells(table: &str, name: &str) -> Vec<String> {
    let row = table.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {table}"));
    row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

/// Arduino's library makes two datagrams of a chunk, 365 and 147 samples.
#[test]
fn the_table_and_the_page_tell_lost_pieces_beside_lost_chunks() {
    let scratch = Scratch::new("pieces");
    let scenario = Scenario {
        sending: Sending { pieces: Some(1460), ..Sending::default() },
        network: Network { loss: Loss::Independent(0.05), ..Network::default() },
        ..scenario(20)
    };
    let (file, truth) = recording(&scenario, None);
    let file = scratch.file("a.pcapng", &file);
    let report = scratch.0.join("report.html");
    let table = String::from_utf8(analyze(&["--html", report.to_str().unwrap(), &file]).stdout).unwrap();
    let of = |count: fn(&MicTruth) -> u64| truth.mics.map(|mic| count(&mic).to_string());
    assert_eq!(cells(&table, "lost"), of(|mic| mic.lost_chunks));
    assert_eq!(cells(&table, "  told by"), ["arrivals"; 3]);
    assert_eq!(cells(&table, "lost pieces"), of(|mic| mic.lost_pieces));
    assert_eq!(cells(&table, "a chunk, in samples as sent"), ["365+147", "365+147", "365+147"]);
    assert!(truth.mics.iter().any(|mic| mic.lost_chunks > 0));
    let share = |mic: MicTruth| format!("{:.4} %", 100.0 * mic.lost_chunks as f64 / mic.chunks as f64);
    assert_eq!(cells(&table, "  of all"), truth.mics.map(share));
    let page = std::fs::read_to_string(report).unwrap();
    let (lost, pieces) =
        truth.mics.iter().fold((0, 0), |(lost, pieces), mic| (lost + mic.lost_chunks, pieces + mic.lost_pieces));
    assert!(page.contains(&format!("{lost} of ")) && page.contains(&format!("{pieces} pieces of others")), "{page}");
}

#[test]
fn a_simulated_recording_comes_through_a_pipe() {
    let simulate = |args: &[&str]| {
        let common = ["simulate", "--cycles", "3000", "--loss", "3%", "--ppm", "-7", "--seed", "5", "--record"];
        Command::new(env!("CARGO_BIN_EXE_micring"))
            .args(common)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("micring starts")
    };
    let mut sender = simulate(&["-", "--record-snap", "64"]);
    let output = Command::new(env!("CARGO_BIN_EXE_micring"))
        .args(["analyze", "--json", "-"])
        .stdin(sender.stdout.take().unwrap())
        .output()
        .expect("micring starts");
    let seen = json(&output);
    let sent = sender.wait_with_output().unwrap();
    let truth: Value = serde_json::from_slice(&sent.stderr).expect("the result, beside the recording");
    for mic in 0..3 {
        assert_eq!(seen["packet_stats"]["packets_received"][mic], truth["mics"][mic]["sent"]);
        assert_eq!(seen["loss"][format!("mic{mic}")]["lost"], truth["mics"][mic]["withheld"]);
        assert!(truth["mics"][mic]["withheld"].as_u64().unwrap() > 50);
    }
    let scratch = Scratch::new("simulated");
    let file = scratch.0.join("a.pcapng");
    let sent = simulate(&[file.to_str().unwrap()]).wait_with_output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&sent.stdout).unwrap()["mics"], truth["mics"]);
    // Whole packets of 2048 bytes and their headers.
    assert!(std::fs::metadata(file).unwrap().len() > 8_000 * 2_100);
}
