//! What is wrong with the microphones themselves is named: in the log, in `/healthz`, in the diagnostics and in `/metrics`. The audio is
//! never changed.

use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{Event, FRAMES, PATIENCE, Serve, assert_aligned, index, offset_of, skips};

/// Virtual microphones that send until the test is over.
struct Senders(Child);

impl Senders {
    fn start(serve: &Serve, args: &[&str]) -> Senders {
        Senders(serve.simulator(args).stdout(Stdio::null()).spawn().expect("simulate starts"))
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until it is so. While the test waits, `meanwhile` sends.
fn until(what: &str, mut meanwhile: impl FnMut(), mut so: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        meanwhile();
        if so() {
            return;
        }
        assert!(Instant::now() < give_up, "{what}, within {PATIENCE:?}");
    }
}

fn pause() {
    thread::sleep(Duration::from_millis(100));
}

/// 200, or the reason of a 503.
fn health(serve: &Serve) -> Result<(), String> {
    let response = serve.get("/healthz");
    if response.status == 200 {
        return Ok(());
    }
    assert_eq!(response.status, 503);
    let body: Value = serde_json::from_slice(&response.body).expect("the reason is JSON");
    Err(body["error"].as_str().expect("a reason").to_owned())
}

/// The names of a microphone's faults.
fn faults(diagnostics: &Value, mic: usize) -> Vec<String> {
    let health = &diagnostics["health"][format!("mic{mic}")];
    if health == "ok" {
        return Vec::new();
    }
    let list = health.as_array().unwrap_or_else(|| panic!("ok, or a list of faults: {health}"));
    list.iter()
        .map(|fault| {
            for key in ["evidence", "next_step"] {
                assert!(fault[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {fault}");
            }
            assert!(fault["since"].as_i64().is_some_and(|since| since > 1_700_000_000_000_000), "{fault}");
            fault["fault"].as_str().expect("a name").to_owned()
        })
        .collect()
}

fn metric(serve: &Serve, series: &str) -> Option<f64> {
    let body = String::from_utf8(serve.get("/metrics").body).expect("text");
    body.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// Packets of the samples that a function of the position gives.
fn packet(position: i64, frames: i64, of: impl Fn(i64) -> i32) -> Vec<u8> {
    (position..position + frames).flat_map(|position| of(position).to_le_bytes()).collect()
}

/// Noise at an eighth of full scale: one value for each key.
fn noise(key: i64) -> i32 {
    let mut x = (key as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x >> 32) as i32 / 8
}

#[test]
fn a_wrong_nominal_rate_is_told_and_no_figure_is_made_from_it() {
    let serve = Serve::start(&[]);
    let _senders = Senders::start(&serve, &["--sample-rate", "44100", "--cycles", "3000"]);
    until("the rate is named", pause, || health(&serve).is_err_and(|why| why.contains("--sample-rate 44100")));
    until("it is logged", pause, || serve.stderr().contains("--sample-rate 44100"));
    let lines = serve.stderr().lines().filter(|line| line.contains("mic 0") && line.contains("--sample-rate")).count();
    assert_eq!(lines, 1, "said once: {}", serve.stderr());
    until("all three are found", pause, || {
        let diagnostics = serve.diagnostics();
        (0..3).all(|mic| faults(&diagnostics, mic).contains(&"wrong_rate".to_owned()))
    });
    let diagnostics = serve.diagnostics();
    for sheet in [&diagnostics, &diagnostics["window"]] {
        for mic in ["mic0", "mic1", "mic2"] {
            let rate = &sheet["rate_hz"][mic];
            let (hz, spread) = (rate["hz"].as_f64().unwrap(), rate["uncertainty_hz"].as_f64().unwrap());
            assert!((hz - 44_100.0).abs() <= 3.0 * spread && spread < 500.0, "{rate}");
            let (drift, loss) = (&sheet["clock_drift_ppm"][mic], &sheet["loss"][mic]);
            assert!(drift["ppm"].is_null() && drift["reason"].is_string(), "{drift}");
            assert!(loss["lost"].is_null() && loss["reason"].is_string(), "{loss}");
        }
        let pair = &sheet["clock_drift_ppm"]["mic0_vs_mic1"];
        assert!(pair["ppm"].is_null() && pair["reason"].is_string(), "{pair}");
    }
    let exported = metric(&serve, "micring_mic_rate_hertz{mic=\"0\"}").expect("in /metrics");
    assert!((exported - 44_100.0).abs() < 1_000.0, "{exported}");
}

#[test]
fn a_right_rate_with_losses_is_no_fault() {
    let serve = Serve::start(&[]);
    let _senders = Senders::start(&serve, &["--cycles", "3000", "--loss", "10%", "--seed", "5"]);
    until("the rate is known", pause, || serve.diagnostics()["window"]["rate_hz"]["mic2"]["hz"].is_f64());
    let diagnostics = serve.diagnostics();
    let rate = &diagnostics["window"]["rate_hz"]["mic2"];
    let (hz, received) = (rate["hz"].as_f64().unwrap(), rate["received_hz"].as_f64().unwrap());
    assert!((hz - 48_000.0).abs() <= 3.0 * rate["uncertainty_hz"].as_f64().unwrap(), "{rate}");
    assert!(received < 0.96 * hz, "a tenth did not come: {rate}");
    assert_eq!(faults(&diagnostics, 2), Vec::<String>::new());
    assert!(!serve.stderr().contains("--sample-rate"));
}

#[test]
fn a_header_in_front_of_the_samples_is_named() {
    let serve = Serve::start(&[]);
    let mut board = serve.board();
    let mut count = 0_u32;
    let mut send = || {
        for _ in 0..20 {
            board.period(|board| {
                for mic in 0..3 {
                    // Mic 0 none; mic 1 a counter, little-endian; mic 2 an RTP header.
                    let mut bytes = match mic {
                        0 => Vec::new(),
                        1 => count.to_le_bytes().to_vec(),
                        _ => [0x8060_0000 | (count & 0xffff), count * 512, 0x1234_5678].map(u32::to_be_bytes).concat(),
                    };
                    bytes.extend(packet(board.position, FRAMES, |position| noise(4 * position + mic as i64)));
                    board.send(mic, &bytes);
                }
            });
            count += 1;
        }
    };
    until("both headers are found", &mut send, || {
        let diagnostics = serve.diagnostics();
        (1..3).all(|mic| faults(&diagnostics, mic).contains(&"header_in_audio".to_owned()))
    });
    let diagnostics = serve.diagnostics();
    assert_eq!(faults(&diagnostics, 0), Vec::<String>::new());
    let text = diagnostics["health"]["mic1"].to_string();
    assert!(text.contains("4 bytes") && text.contains("seq=u32le@0"), "{text}");
    let text = diagnostics["health"]["mic2"].to_string();
    assert!(text.contains("12 bytes") && text.contains("RTP"), "{text}");
    until("it is logged", pause, || serve.stderr().contains("mic 1: the first 4 bytes"));
    // A word more in each packet, a 512th, is no faster clock than that of the microphone beside it.
    let rate = |mic: &str| serve.diagnostics()["window"]["rate_hz"][mic]["hz"].as_f64();
    until("the rates are known", &mut send, || rate("mic0").is_some() && rate("mic1").is_some());
    let (without, with) = (rate("mic0").unwrap(), rate("mic1").unwrap());
    assert!((with / without - 1.0).abs() < 1e-3, "{with} {without}");
}

#[test]
fn dead_doubled_and_clipped_microphones_show_and_their_samples_pass_as_they_are() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    let clipped = |position: i64| noise(position).saturating_mul(16).clamp(-0x7fff_ff00, 0x7fff_ff00);
    let mut send = || {
        for _ in 0..20 {
            board.period(|board| {
                board.send(0, &packet(board.position, FRAMES, clipped));
                board.send(1, &[0; 2048]);
                board.send(2, &packet(board.position, FRAMES, clipped));
            });
        }
    };
    until("all are found", &mut send, || {
        let diagnostics = serve.diagnostics();
        let has = |mic, fault: &str| faults(&diagnostics, mic).contains(&fault.to_owned());
        has(0, "clipping") && has(1, "dead") && has(2, "same_as_mic0")
    });
    let diagnostics = serve.diagnostics();
    let level = |mic: &str, key: &str| diagnostics["level"][mic][key].clone();
    assert!(level("mic1", "rms_dbfs").is_null() && level("mic1", "reason").is_string(), "silence has no decibels");
    assert_eq!(level("mic1", "peak"), 0.0);
    // Noise of -1/8 to 1/8 of full scale, 16 times as loud: a quarter of the samples is cut off above, a quarter below. Of those
    // of one side, 1 - (3/4)^2 x (1 + 2/4) = 15.6 % stand in a row of three or more: 7.8 % of all.
    let clipped = level("mic0", "clipped_share").as_f64().unwrap();
    assert!((0.06..0.10).contains(&clipped), "{clipped}");
    assert!((level("mic0", "peak_dbfs").as_f64().unwrap()).abs() < 0.01);
    assert_eq!(level("mic2", "equal_to"), serde_json::json!([0]));
    assert!(metric(&serve, "micring_level_rms_dbfs{mic=\"0\"}").is_some_and(|db| (-6.0..0.0).contains(&db)));
    let event = events.next().unwrap();
    let samples = event.samples();
    assert!(samples.chunks_exact(3).all(|frame| frame[1] == 0 && frame[0] == frame[2]));
}

#[test]
fn a_port_most_of_whose_input_is_refused_is_a_fault() {
    let serve = Serve::start(&[]);
    let stray = UdpSocket::bind("127.0.0.2:0").unwrap();
    let mut board = serve.board();
    stray.send_to(&packet(0, FRAMES, |position| index(0, position)), serve.mics[0]).unwrap();
    // Often enough to count as live.
    let mut send = || {
        for _ in 0..20 {
            board.cycles(1);
        }
        stray.send_to(&packet(board.position, FRAMES, |position| index(0, position)), serve.mics[0]).unwrap();
    };
    until("it is found", &mut send, || {
        health(&serve).is_err_and(|why| why.contains("mic 0") && why.contains("refused") && why.contains("127.0.0.1"))
    });
    assert!(faults(&serve.diagnostics(), 0).contains(&"refused".to_owned()));
    assert!(!faults(&serve.diagnostics(), 1).contains(&"refused".to_owned()));
    until("it is logged", pause, || serve.stderr().contains("mic 0: most of its packets are refused"));
    drop(stray);
    until("it ends with the stray", || board.cycles(40), || health(&serve).is_ok());
    assert_eq!(faults(&serve.diagnostics(), 0), Vec::<String>::new());
}

#[test]
fn a_board_that_sends_each_packet_from_another_port_is_followed() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    for _ in 0..150 {
        board.period(|board| {
            for mic in 0..3 {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.send_to(&board.packet(mic, FRAMES), serve.mics[mic]).unwrap();
            }
        });
    }
    let got: Vec<Event> = (0..140).map(|_| events.next().expect("the stream goes on")).collect();
    let offset = offset_of(&got[0]);
    got.iter().for_each(|event| assert_aligned(event, offset));
    assert!(got[10..].iter().all(Event::is_complete));
    assert_eq!(skips(&got), Vec::<i64>::new());
    let loss = &serve.diagnostics()["loss"]["mic1"];
    let of = |key: &str| loss[key].as_u64().expect("counted");
    assert_eq!(
        (of("foreign"), of("lost"), of("sender_changes")),
        (0, 0, 0),
        "nothing from the first packet on: {loss}"
    );
    until("it is logged", pause, || serve.stderr().contains("another port"));
    // While it speaks, another address is foreign still.
    let stranger = UdpSocket::bind("127.0.0.3:0").unwrap();
    let before = loss["foreign"].as_u64().unwrap();
    for _ in 0..20 {
        board.period(|board| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            (0..3).for_each(|mic| drop(socket.send_to(&board.packet(mic, FRAMES), serve.mics[mic])));
            stranger.send_to(&board.packet(1, FRAMES), serve.mics[1]).unwrap();
        });
    }
    until("they are counted", pause, || serve.diagnostics()["loss"]["mic1"]["foreign"] == before + 20);
}
