//! `/healthz` judges whether audio is usable, not only whether somebody sends.

use std::thread;
use std::time::Duration;

use crate::rig::{Board, FRAMES, Serve};

/// The status and the reason.
fn health(serve: &Serve) -> (u16, String) {
    let response = serve.get("/healthz");
    let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    (response.status, body["error"].as_str().unwrap_or_default().to_owned())
}

/// Of every `of` cycles one lacks its microphone 1.
fn lossy(board: &mut Board, cycles: usize, of: usize) {
    for n in 0..cycles {
        board.period(|board| {
            for mic in (0..3).filter(|&mic| mic != 1 || n % of != 0) {
                board.send(mic, &board.packet(mic, FRAMES));
            }
        });
    }
}

#[test]
fn audio_with_holes_is_not_healthy_although_every_microphone_is_heard() {
    let serve = Serve::start(&[]);
    let mut board = serve.board();
    board.cycles(20);
    assert_eq!(health(&serve), (200, String::new()));
    lossy(&mut board, 180, 4);
    let (status, reason) = health(&serve);
    assert_eq!(status, 503);
    assert!(reason.contains("complete") && reason.contains("90 %"), "{reason}");
    // Once less than a tenth of the last 10 s has holes: of 45 in 200 cycles, so 250 whole ones more.
    board.cycles(300);
    assert_eq!(health(&serve), (200, String::new()));
}

#[test]
fn whole_cycles_that_were_lost_are_holes_too() {
    let serve = Serve::start(&[]);
    let mut board = serve.board();
    for n in 0..200 {
        board.period(|board| {
            if n < 20 || n % 3 != 0 {
                (0..3).for_each(|mic| board.send(mic, &board.packet(mic, FRAMES)));
            }
        });
    }
    let (status, reason) = health(&serve);
    assert_eq!(status, 503, "{}", serve.diagnostics()["cycles"]);
    assert!(reason.contains("complete"), "{reason}");
}

/// What is wrong with some microphones, from the second second on for four, and the fault's name: each is named, in the diagnostics, in
/// `/metrics` and in one log line; then it is over, and that is said too. The other microphones have no fault.
fn named_and_over(wrong: &[(usize, &str, &str)]) {
    let serve = Serve::start(&[]);
    let options: Vec<String> = wrong.iter().map(|(mic, defect, _)| format!("--defect={mic}={defect}@1s..5s")).collect();
    let of = |mic: usize| serve.diagnostics()["health"][format!("mic{mic}")].clone();
    let mut seen = [const { Vec::new() }; 3];
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let args = ["--signal=speech", "--duration=9s"].into_iter().chain(options.iter().map(String::as_str));
            serve.simulate(&args.collect::<Vec<_>>())
        });
        while !sender.is_finished() {
            for (mic, seen) in seen.iter_mut().enumerate() {
                for fault in of(mic).as_array().into_iter().flatten() {
                    assert!(
                        !fault["evidence"].as_str().unwrap().is_empty()
                            && !fault["next_step"].as_str().unwrap().is_empty()
                    );
                    let name = fault["fault"].as_str().unwrap().to_owned();
                    if !seen.contains(&name) {
                        let metrics = String::from_utf8(serve.get("/metrics").body).unwrap();
                        assert!(
                            metrics.contains(&format!("micring_fault{{mic=\"{mic}\",fault=\"{name}\"}} 1")),
                            "{name}"
                        );
                        seen.push(name);
                    }
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
        sender.join().expect("it was sent");
    });
    let log = serve.stderr();
    for (mic, seen) in seen.iter().enumerate() {
        let named: Vec<&str> = wrong.iter().filter(|(of, ..)| *of == mic).map(|(_, _, fault)| *fault).collect();
        assert_eq!(*seen, named, "mic {mic}");
    }
    for &(mic, _, fault) in wrong {
        // Clipping comes and goes with the sound, and is not logged.
        if fault != "clipping" {
            assert_eq!(of(mic), "ok", "{fault} is over");
            assert_eq!(log.matches(&format!("mic {mic}: {fault} is over")).count(), 1, "{log}");
        }
    }
}

#[test]
fn a_dead_line_a_stuck_bit_and_an_offset_are_named_and_their_end_too() {
    named_and_over(&[(0, "dead", "dead"), (1, "stuck_bits", "stuck_bits"), (2, "offset", "offset")]);
}

#[test]
fn clipping_an_empty_slot_and_shifted_words_are_named_and_their_end_too() {
    let all = ["clipping", "half_empty", "shifted_words"];
    named_and_over(&[(0, all[0], all[0]), (1, all[1], all[1]), (2, all[2], all[2])]);
}

#[test]
fn a_copy_and_a_header_are_named_and_their_end_too() {
    named_and_over(&[(1, "copy", "same_as_mic0"), (2, "header_in_audio", "header_in_audio")]);
}

#[test]
fn swapped_bytes_are_named_and_their_end_too() {
    named_and_over(&[(1, "swapped_bytes", "shifted_words")]);
}
