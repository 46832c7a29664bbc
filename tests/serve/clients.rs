//! What clients rely on: the old keys and number types, downloads that other programs open, streams that resume.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Events, Serve, assert_aligned, index, offset_of, request, skips};

/// A server that has heard two seconds of audio and then no more.
fn heard() -> Serve {
    let serve = Serve::start(&[]);
    serve.simulate(&["--cycles", "200"]);
    serve
}

#[test]
fn the_old_keys_have_their_old_number_types() {
    let serve = heard();
    let json = serve.diagnostics();
    let status = &json["synchronization_status"];
    for mic in ["mic0", "mic1", "mic2"] {
        assert_eq!(status["buffer_packets"][mic], 200);
    }
    for pair in ["mic0_vs_mic1", "mic0_vs_mic2", "mic1_vs_mic2"] {
        assert_eq!(status["buffer_packet_diffs"][pair], 0);
    }
    let offset = &status["thread_scheduling_offset"];
    for mic in ["mic01", "mic02"] {
        let us = offset[format!("{mic}_offset_us")].as_i64().expect("an integer");
        let samples = offset[format!("{mic}_offset_samples")].as_i64().expect("an integer");
        assert!(offset[format!("{mic}_offset_ms")].is_f64());
        assert_eq!(samples, us * 48_000 / 1_000_000, "truncated toward zero");
        assert_eq!(offset[format!("{mic}_offset_ms")].as_f64().unwrap(), us as f64 / 1000.0);
    }
    assert_eq!(json["packet_stats"]["packets_received"], serde_json::json!([200, 200, 200]));
    assert_eq!(json["packet_stats"]["packet_errors"], serde_json::json!([0, 0, 0]));
    assert_eq!(json["packet_stats"]["total_samples"], serde_json::json!([102_400, 102_400, 102_400]));
    for key in json.as_object().unwrap().keys().filter(|key| *key != "window") {
        assert!(json["window"].get(key).is_some(), "the window holds the same keys: {key}");
    }
    for (object, keys) in [
        ("server", "version uptime_s core clock hold_us sample_rate kernel"),
        ("loop_skew_us", "p50 p99 p999 max count"),
        ("emit_delay_us", "p50 p99 p999 max count"),
        ("cycles", "emitted complete incomplete skipped"),
        ("stream", "subscribers events_sent events_dropped bytes_sent resumed"),
    ] {
        keys.split(' ').for_each(|key| assert!(json[object].get(key).is_some(), "{object}.{key}"));
    }
    for pair in ["mic0_vs_mic1", "mic0_vs_mic2", "mic1_vs_mic2"] {
        for key in "last min p50 p90 p99 p999 max mean count trend_us_per_min".split(' ') {
            assert!(json["arrival_skew_us"][pair].get(key).is_some(), "{pair}.{key}");
        }
    }
    assert_eq!(json["arrival_skew_us"]["mic0_vs_mic1"]["count"], 200);
    assert_eq!(json["cycles"], serde_json::json!({"emitted": 200, "complete": 200, "incomplete": 0, "skipped": 0}));
}

#[test]
fn completions_that_come_after_their_connection_are_reported() {
    let serve = Serve::start(&["--idle-timeout", "100ms"]);
    let mut idle = std::net::TcpStream::connect(serve.http).unwrap();
    idle.set_read_timeout(Some(crate::rig::PATIENCE)).unwrap();
    write!(idle, "GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", serve.http).unwrap();
    // The answer, and then the end: the server gives the connection up while it waits for another request.
    std::io::Read::read_to_end(&mut idle, &mut Vec::new()).unwrap();
    let ring = &serve.diagnostics()["ring"];
    assert!(ring["stale"].as_u64().is_some_and(|stale| stale > 0), "{ring}");
    let metrics = String::from_utf8(serve.get("/metrics").body).unwrap();
    assert!(metrics.lines().any(|line| line.starts_with("micring_ring_stale_completions_total ")), "{metrics}");
}

#[test]
fn the_old_summaries_are_as_they_were() {
    let serve = Serve::start(&[]);
    let before = serve.json("/api/latest");
    for mic in ["mic0", "mic1", "mic2"] {
        assert_eq!((&before[mic]["timestamp"], &before[mic]["byte_count"]), (&Value::Null, &0.into()), "{before}");
    }
    serve.simulate(&["--cycles", "100"]);
    let latest = serve.json("/api/latest");
    for (n, mic) in ["mic0", "mic1", "mic2"].into_iter().enumerate() {
        let mic = &latest[mic];
        assert_eq!(mic["device_id"], format!("udp-mic{n}"));
        assert_eq!((&mic["sample_rate"], &mic["channels"], &mic["bits"]), (&48_000.into(), &1.into(), &32.into()));
        assert_eq!(mic["byte_count"], 2048);
        // The RMS of (n + 1) << 28 | position over the last packet, by arithmetic.
        let sum: f64 = (99 * 512..100 * 512).map(|position| f64::from(index(n, position)).powi(2)).sum();
        let want = (sum / 512.0).sqrt();
        assert!((mic["rms"].as_f64().unwrap() - want).abs() < want * 1e-6, "{mic} is not {want}");
    }
    let summary = serve.json("/api/diagnostics");
    assert_eq!(summary["packet_counters"], serde_json::json!({"mic0": 100, "mic1": 100, "mic2": 100, "total": 300}));
    assert_eq!(summary["packet_errors"], serde_json::json!({"mic0": 0, "mic1": 0, "mic2": 0, "total": 0}));
    assert_eq!(summary["latest_packets"]["mic0"]["size"], 2048);
    for key in ["timestamp", "latest_packets", "buffer_size", "subscribers"] {
        assert!(summary.get(key).is_some(), "{key}");
    }
}

#[test]
fn python_opens_the_download_and_finds_every_sample() {
    let serve = Serve::start(&[]);
    assert_eq!(serve.get("/api/download_buffer").status, 404);
    assert_eq!(serve.get("/api/download_buffer_text").status, 404);
    serve.simulate(&["--cycles", "200"]);
    let wav = serve.get("/api/download_buffer");
    assert!(wav.head.to_ascii_lowercase().contains("content-disposition: attachment"), "{}", wav.head);
    let script = "
import struct, sys, wave, io
w = wave.open(io.BytesIO(sys.stdin.buffer.read()))
assert w.getparams()[:4] == (3, 4, 48000, 200 * 512), w.getparams()
frames = struct.unpack('<%di' % (3 * 200 * 512), w.readframes(200 * 512))
for n in range(200 * 512):
    for mic in range(3):
        assert frames[3 * n + mic] == (mic + 1) << 28 | n, (n, mic)
";
    let mut python = Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).spawn().expect("python3 runs");
    python.stdin.take().unwrap().write_all(&wav.body).unwrap();
    assert!(python.wait().unwrap().success());

    let text = String::from_utf8(serve.get("/api/download_buffer_text").body).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("frame,mic0,mic1,mic2"));
    for n in 0..200 * 512 {
        let want = format!("{n},{},{},{}", index(0, n), index(1, n), index(2, n));
        assert_eq!(lines.next(), Some(want.as_str()));
    }
    assert_eq!(lines.next(), None);

    let second = serve.get("/api/download_buffer?seconds=1");
    assert_eq!((second.body.len() - 44) / 12, 48_000);
}

#[test]
fn curl_shows_events_as_they_come() {
    let serve = Serve::start(&[]);
    let mut child = serve.simulator(&["--duration", "4s"]).stdout(Stdio::null()).spawn().unwrap();
    let url = format!("http://{}/api/stream_3ch", serve.http);
    let output = Command::new("curl").args(["-sN", "--max-time", "2", &url]).output().expect("curl runs");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("retry: 1000\n"), "{}", &text[..40.min(text.len())]);
    assert!(text.matches("\nid: ").count() > 100, "events flow");
    assert!(
        text.matches(
            "\ndata: {\"device_id\": \"3ch-assembled\", \"sample_rate\": 48000, \"channels\": 3, \"bits\": 32,"
        )
        .count()
            > 100
    );
    child.wait().unwrap();
}

#[test]
fn a_client_that_comes_back_loses_nothing_that_is_still_held() {
    let serve = Serve::start(&[]);
    let mut child = serve.simulator(&["--duration", "8s"]).stdout(Stdio::null()).spawn().unwrap();
    let mut events = serve.events("/api/stream_3ch");
    let mut got: Vec<_> = (0..100).map(|_| events.next().unwrap()).collect();
    let last = events.last_id.unwrap();
    drop(events);
    std::thread::sleep(Duration::from_millis(1500));
    let mut back = Events::open(serve.http, "/api/stream_3ch", &format!("Last-Event-ID: {last}\r\n"));
    got.extend((0..400).map(|_| back.next().unwrap()));
    assert!(got.windows(2).all(|two| two[1].id == two[0].id.map(|id| id + 1)), "no event is missing");
    assert_eq!(skips(&got), Vec::<i64>::new());
    let offset = offset_of(&got[0]);
    got.iter().for_each(|event| assert_aligned(event, offset));
    assert_eq!(serve.diagnostics()["stream"]["resumed"], 1);
    // An id that never was starts live.
    let mut live = Events::open(serve.http, "/api/stream_3ch", "Last-Event-ID: 99999999999999\r\n");
    assert!(live.next().unwrap().id.unwrap() > last + 300);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn each_packet_is_an_event_of_the_old_stream() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream");
    serve.simulate(&["--cycles", "20"]);
    for n in 0..60_i64 {
        let event = events.next().unwrap();
        let (cycle, mic) = (n / 3, (n % 3) as usize);
        assert_eq!(event.json["device_id"], format!("udp-mic{mic}"));
        assert_eq!(
            (&event.json["channels"], &event.json["bits"], &event.json["format"]),
            (&1.into(), &32.into(), &"s32le".into())
        );
        assert!(event.json["arrival_us"].as_i64().unwrap() > 1_700_000_000_000_000);
        assert!(event.json["rms"].is_f64());
        let want: Vec<i32> = (cycle * 512..(cycle + 1) * 512).map(|position| index(mic, position)).collect();
        assert_eq!(event.samples(), want);
    }
}

#[test]
fn the_statuses_of_the_contract() {
    let serve = heard();
    let host = serve.http;
    for (text, status) in [
        (format!("GET /nowhere HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), 404),
        (format!("POST /api/latest HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), 405),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_string(), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(9000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "x".repeat(9000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"), 413),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_string(), 503),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), 200),
        (format!("HEAD /api/diagnostics_sync HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), 200),
        (format!("OPTIONS /api/latest HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), 204),
    ] {
        if status == 503 {
            std::thread::sleep(Duration::from_millis(1100)); // silent for more than a second
        }
        let response = request(serve.http, &text);
        let line = text.lines().next().unwrap();
        assert_eq!(response.status, status, "{}", &line[..line.len().min(80)]);
        if status >= 400 && status != 503 {
            let body: Value = serde_json::from_slice(&response.body).expect("an error is JSON");
            assert!(body["error"].is_string(), "{body}");
        }
        if text.contains("/api/") {
            assert!(response.head.contains("Access-Control-Allow-Origin: *"), "{}", response.head);
        }
        if status == 405 {
            assert!(response.head.contains("Allow: "), "{}", response.head);
        }
    }
}
