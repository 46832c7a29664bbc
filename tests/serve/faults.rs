//! Bad input, dead microphones, clients that never read, a full pipe: nothing is lost or shifted by it, all of it is counted.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use crate::rig::{Event, Events, FRAMES, PATIENCE, Serve, assert_aligned, micring, offset_of, skips, tell};

/// The next `count` events, checked against the signal.
fn aligned(events: &mut Events, count: usize) -> Vec<Event> {
    let got: Vec<Event> = (0..count).map(|_| events.next().expect("the stream goes on")).collect();
    let offset = offset_of(&got[0]);
    got.iter().for_each(|event| assert_aligned(event, offset));
    got
}

#[test]
fn an_empty_datagram_inside_a_cycle_costs_nothing() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    board.cycles(20);
    for _ in 0..20 {
        board.period(|board| {
            board.send(0, &board.packet(0, FRAMES));
            (0..3).for_each(|mic| board.send(mic, &[]));
            board.send(1, &board.packet(1, FRAMES));
            board.send(2, &board.packet(2, FRAMES));
        });
    }
    board.cycles(5);
    let got = aligned(&mut events, 45);
    assert!(got.iter().all(Event::is_complete));
    assert_eq!(skips(&got), Vec::<i64>::new());
    let diagnostics = serve.diagnostics();
    for mic in 0..3 {
        assert_eq!(diagnostics["loss"][format!("mic{mic}")]["malformed"], 20);
        assert_eq!(diagnostics["packet_stats"]["packet_errors"][mic], 20);
    }
}

#[test]
fn bad_input_beside_good_is_counted_by_its_reason_and_changes_nothing() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut board = serve.board();
    board.cycles(10);
    for _ in 0..30 {
        board.period(|board| {
            for mic in 0..3 {
                board.send(mic, b"odd");
                board.send(mic, &board.packet(mic, FRAMES));
                stranger.send_to(&board.packet(mic, FRAMES), serve.mics[mic]).unwrap();
                board.send(mic, &[7; 65_507]);
                stranger.send_to(&[], serve.mics[mic]).unwrap();
            }
        });
    }
    board.cycles(5);
    let got = aligned(&mut events, 45);
    assert!(got.iter().all(Event::is_complete));
    assert_eq!(skips(&got), Vec::<i64>::new());
    let diagnostics = serve.diagnostics();
    for mic in 0..3 {
        let loss = &diagnostics["loss"][format!("mic{mic}")];
        assert_eq!(
            (&loss["malformed"], &loss["truncated"], &loss["foreign"]),
            (&30.into(), &30.into(), &60.into()),
            "{loss}"
        );
        assert_eq!(
            (&loss["lost"], &loss["duplicate"], &loss["kernel_dropped"]),
            (&0.into(), &0.into(), &0.into()),
            "{loss}"
        );
        assert_eq!(diagnostics["packet_stats"]["packet_errors"][mic], 60);
        assert_eq!(diagnostics["packet_stats"]["packets_received"][mic], 45);
    }
}

#[test]
fn repeated_packets_are_counted_and_ignored_but_silence_is_not_a_repetition() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    board.cycles(10);
    for _ in 0..10 {
        board.period(|board| {
            (0..3).for_each(|mic| board.send(mic, &board.packet(mic, FRAMES)));
            board.send(1, &board.packet(1, FRAMES));
        });
    }
    let got = aligned(&mut events, 20);
    assert!(got.iter().all(Event::is_complete));
    for _ in 0..10 {
        board.period(|board| (0..3).for_each(|mic| board.send(mic, &[0; 2048])));
    }
    let silent: Vec<Event> = (0..10).map(|_| events.next().unwrap()).collect();
    assert!(silent.iter().all(|event| event.is_complete() && event.samples().iter().all(|&sample| sample == 0)));
    let diagnostics = serve.diagnostics();
    assert_eq!(diagnostics["loss"]["mic1"]["duplicate"], 10);
    assert_eq!(diagnostics["packet_stats"]["packets_received"], serde_json::json!([30, 30, 30]));
}

#[test]
fn packets_of_unequal_sizes_end_early_and_the_old_console_line_says_so() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    board.cycles(10);
    board.period(|board| {
        [(0, 512), (1, 510), (2, 511)]
            .into_iter()
            .for_each(|(mic, frames)| board.send(mic, &board.packet(mic, frames)));
    });
    board.cycles(10);
    let got = aligned(&mut events, 21);
    assert_eq!((got[10].frames(), got[10].mic_samples()), (512, [512, 510, 511]));
    assert_eq!(skips(&got), Vec::<i64>::new());
    let line = "[DESYNC WARNING] Sample count mismatch: MIC0=512, MIC1=510 (diff 2), MIC2=511 (diff 1)\n";
    for _ in 0..100 {
        if serve.stderr().contains(line) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it says so on standard error: {:?}", serve.stderr());
}

#[test]
fn a_microphone_that_is_dead_dies_or_returns_leaves_the_others_running() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    // Dead from the start: after a second the stream starts with those that are there.
    for _ in 0..150 {
        board.period(|board| [0, 2].into_iter().for_each(|mic| board.send(mic, &board.packet(mic, FRAMES))));
    }
    let first = events.next().unwrap();
    assert_eq!((first.number(), first.first_frame(), first.mic_samples()), (0, 0, [512, 0, 512]));
    let health = serve.get("/healthz");
    assert_eq!(health.status, 503);
    assert!(String::from_utf8_lossy(&health.body).contains("mic 1"), "it says which");
    // It comes up, and is aligned from its first packet on.
    board.cycles(50);
    let offset = offset_of(&first);
    let got = events.until(|event| event.mic_samples() == [512; 3]);
    got.iter().for_each(|event| assert_aligned(event, offset));
    assert_eq!(serve.get("/healthz").status, 503, "half of the audio so far has a hole");
    board.cycles(700);
    events.until(|event| event.first_frame() + FRAMES == board.position - offset);
    assert_eq!(serve.get("/healthz").status, 200);
    // It dies; the others go on.
    for _ in 0..150 {
        board.period(|board| [0, 2].into_iter().for_each(|mic| board.send(mic, &board.packet(mic, FRAMES))));
    }
    let got = events.until(|event| event.mic_samples() == [512, 0, 512]);
    got.iter().for_each(|event| assert_aligned(event, offset));
    assert_eq!(serve.get("/healthz").status, 503);
    // And returns.
    board.cycles(20);
    let last = board.position - FRAMES - offset;
    let got = events.until(|event| event.first_frame() == last);
    got.iter().for_each(|event| assert_aligned(event, offset));
    assert_eq!(got.last().unwrap().mic_samples(), [512; 3]);
    assert_eq!(skips(&got), Vec::<i64>::new());
}

#[test]
fn another_sender_is_adopted_after_500_ms_of_silence() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut old = serve.board();
    old.cycles(30);
    let before = aligned(&mut events, 30);
    std::thread::sleep(Duration::from_millis(700));
    let mut new = serve.board();
    new.position = 1_000_000;
    new.cycles(30);
    let after = aligned(&mut events, 30);
    let end = before.last().unwrap().first_frame() + 512;
    assert!(after[0].first_frame() >= end, "positions are never used twice");
    assert_eq!(serve.diagnostics()["loss"]["mic0"]["sender_changes"], 1);
}

#[test]
fn fifty_clients_that_never_read_delay_nobody() {
    let serve = Serve::patient(&[]);
    let mut stuck = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(serve.http).unwrap();
        write!(stream, "GET /api/stream_3ch HTTP/1.1\r\nHost: {}\r\n\r\n", serve.http).unwrap();
        stuck.push(stream);
    }
    let mut events = serve.events("/api/stream_3ch");
    let mut child = serve.simulator(&["--cycles", "2000"]).stdout(Stdio::null()).spawn().unwrap();
    let mut got = vec![events.next().unwrap()];
    let offset = offset_of(&got[0]);
    let mut half = 0;
    while got.len() < 2000 {
        let event = events.next().unwrap();
        assert_aligned(&event, offset);
        assert!(event.is_complete());
        got.push(event);
        if got.len() == 1300 {
            half = serve.resident_kib();
        }
    }
    child.wait().unwrap();
    assert_eq!(skips(&got), Vec::<i64>::new());
    assert!(got.windows(2).all(|two| two[1].id == two[0].id.map(|id| id + 1)), "the reader lost nothing");
    let stream = &serve.diagnostics()["stream"];
    assert!(stream["events_dropped"].as_u64().unwrap() > 50, "what the others missed is counted: {stream}");
    assert_eq!(stream["subscribers"], 51);
    let end = serve.resident_kib();
    assert!(end < half + 512, "memory is bounded: {half} KiB at 1300 events, {end} KiB at 2000");
    drop(stuck);
}

#[test]
fn a_full_pipe_on_standard_error_stalls_nothing() {
    let mut command = micring();
    command.args(["serve", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0"]);
    let mut serve = Serve::spawn_mute(command);
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    board.cycles(10);
    let offset = offset_of(&events.next().unwrap());
    // Mismatched sample counts write a line a second.
    for round in 0..200 {
        let short = |mic: usize| if round % 2 == 0 { 0 } else { mic as i64 };
        board.period(|board| (0..3).for_each(|mic| board.send(mic, &board.packet(mic, FRAMES - short(mic)))));
    }
    let got = events.until(|event| event.number() == 209);
    got.iter().for_each(|event| assert_aligned(event, offset));
    assert_eq!(serve.stop(), Some(0));
    tell("full pipe on standard error", "the log waits, nothing else", "210 of 210 cycles, exit code 0", 0, None);
}

#[test]
fn sigterm_under_load_ends_streams_properly_and_soon() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut serve = Serve::start(&[]);
        let mut events = serve.events("/api/stream_3ch");
        let mut child = serve.simulator(&["--duration", "10s"]).stdout(Stdio::null()).spawn().unwrap();
        (0..50).for_each(|_| drop(events.next().unwrap()));
        let mut stuck = TcpStream::connect(serve.http).unwrap();
        write!(stuck, "GET /api/stream_3ch HTTP/1.1\r\nHost: {}\r\n\r\n", serve.http).unwrap();
        serve.signal(signal);
        while events.next().is_some() {}
        assert_eq!(serve.exit_code(), Some(0));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_taken_port_is_said_in_one_line_with_exit_code_1() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = micring()
        .args([
            "serve",
            "--udp-bind",
            "127.0.0.1",
            "--mic-ports",
            &format!("{},0,0", address.port()),
            "--http",
            "127.0.0.1:0",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, format!("micring: cannot bind UDP {address} (mic 0): Address already in use\n"));
    assert!(output.stdout.is_empty());
    tell("UDP port taken at start", "one line that says which, exit code 1", said.trim_end(), 0, None);
}

/// The kernel frees the ports of a killed server a moment after its process: its ring holds them.
#[test]
fn a_server_that_was_killed_is_replaced_at_once() {
    let mut serve = Serve::start(&[]);
    for _ in 0..10 {
        let (ports, http) = (serve.ports(), serve.http.to_string());
        serve.signal(libc::SIGKILL);
        assert_eq!(serve.exit_code(), None, "killed");
        let mut command = micring();
        command.args(["serve", "--mic-ports", &ports, "--udp-bind", "127.0.0.1", "--http", &http]);
        serve = Serve::spawn(command);
    }
}

#[test]
fn wrong_usage_has_exit_code_2() {
    for args in
        [&["serve", "--mic-ports", "1,x"][..], &["serve", "--hold", "5"], &["serve", "--core", "x"], &["sing"], &[]]
    {
        let output = micring().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn a_subscriber_reading_a_byte_a_second_hurts_only_itself() {
    let serve = Serve::start(&["--queue", "4"]);
    let mut slow = TcpStream::connect(serve.http).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(slow, "GET /api/stream_3ch HTTP/1.1\r\nHost: {}\r\n\r\n", serve.http).unwrap();
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    for _ in 0..3 {
        board.cycles(90);
        let mut byte = [0];
        slow.read_exact(&mut byte).unwrap();
    }
    let got = aligned(&mut events, 270);
    assert!(got.windows(2).all(|two| two[1].id == two[0].id.map(|id| id + 1)));
    let dropped = serve.diagnostics()["stream"]["events_dropped"].as_u64().unwrap();
    let happened = format!("270 of 270 events for the other; {dropped} dropped for it");
    tell("a subscriber reads a byte a second", "its queue is bounded; the others notice nothing", &happened, 0, None);
}

#[test]
fn the_demos_microphones_send_what_was_asked_for_from_another_core() {
    let mut command = micring();
    command.args(["demo", "--mic-ports", "0,0,0", "--http", "127.0.0.1:0", "--sample-rate", "16000"]);
    command.args(["--max-datagram", "1024"]);
    let demo = Serve::spawn(command);
    let mut events = demo.events("/api/stream_3ch");
    let got = events.until(|event| event.number() == 50);
    let frames = got.iter().filter(|event| event.is_complete()).map(|event| event.frames()).max();
    assert_eq!(frames, Some(256), "as many as a datagram may have");
    // By the stamps: between 16 and 48 kHz lies more than any machine's hesitation.
    let at = |event: &Event| event.json["arrival_us"][0].as_f64().expect("complete");
    let complete: Vec<&Event> = got.iter().filter(|event| event.is_complete()).collect();
    let (first, last) = (complete[0], complete[complete.len() - 1]);
    let rate = (last.first_frame() - first.first_frame()) as f64 / (at(last) - at(first)) * 1e6;
    assert!((12_000.0..24_000.0).contains(&rate), "{rate} frames a second");
    let pid = demo.pid();
    let child = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let cores = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
    };
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        assert_ne!(cores(child.trim()), cores(&pid.to_string()));
    }
}

#[test]
fn the_demos_microphones_end_with_it_however_it_ends() {
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let mut command = micring();
        command.args(["demo", "--mic-ports", "0,0,0", "--http", "127.0.0.1:0"]);
        let mut demo = Serve::spawn(command);
        let pid = demo.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let child: u32 = children.trim().parse().expect("one child: the simulator");
        demo.signal(signal);
        demo.exit_code();
        // Gone, or dead and not yet collected by whoever inherited it.
        let dead = || match std::fs::read_to_string(format!("/proc/{child}/stat")) {
            Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
            Err(_) => true,
        };
        for _ in 0..100 {
            if dead() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(dead(), "the simulator outlived the demo after signal {signal}");
    }
}
