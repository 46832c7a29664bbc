//! `/healthz` judges whether audio is usable, not only whether somebody sends.

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
