//! HTTP under attack, beside audio that must not notice: not a packet lost, not a frame misaligned, nothing grown.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{Events, PATIENCE, Serve, assert_aligned, offset_of, skips};

/// Plays the index signal for a while, lets `abuse` at the server, and checks what a reading subscriber saw meanwhile.
fn audio_does_not_notice(args: &[&str], abuse: impl FnOnce(SocketAddr)) -> Serve {
    let serve = Serve::patient(args);
    let mut microphones = Microphones(serve.simulator(&["--signal", "index"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut stream = serve.events("/api/stream_3ch");
    let watcher = thread::spawn(move || {
        let mut events = Vec::new();
        while let Some(event) = stream.next() {
            events.push(event);
        }
        events
    });
    thread::sleep(Duration::from_millis(300));
    abuse(serve.http);
    thread::sleep(Duration::from_millis(300));
    let sent = microphones.end();
    thread::sleep(Duration::from_millis(100));
    let diagnostics = serve.diagnostics();
    serve.signal(libc::SIGTERM);
    let events = watcher.join().unwrap();
    let (first, last) = (&events[0], &events[events.len() - 1]);
    // The simulator ends where it stands: its last cycle may be cut short.
    let offset = offset_of(first);
    for event in &events[..events.len() - 1] {
        assert!(event.is_complete(), "event {:?} is complete", event.id);
        assert_aligned(event, offset);
    }
    assert_eq!(skips(&events), [0i64; 0]);
    assert_eq!(last.id.unwrap() - first.id.unwrap() + 1, events.len() as u64, "the subscriber has every event");
    let most = *sent.iter().max().unwrap();
    for (mic, &sent) in sent.iter().enumerate() {
        assert_eq!(
            diagnostics["packet_stats"]["packets_received"][mic], sent,
            "every packet of mic {mic} was received"
        );
        let loss = &diagnostics["loss"][format!("mic{mic}")];
        assert!(loss["lost"].as_u64().unwrap() <= most - sent, "mic {mic}: {loss}");
        for reason in ["late", "duplicate", "kernel_dropped", "malformed"] {
            assert_eq!(loss[reason], 0, "mic {mic} {reason}");
        }
    }
    serve
}

/// A simulator that ends with the test, however that ends.
struct Microphones(Child);

impl Microphones {
    /// What each microphone sent.
    fn end(&mut self) -> [u64; 3] {
        // SAFETY: kill only asks the kernel to signal our own, still unreaped child.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) }, 0);
        let truth: Value =
            serde_json::from_reader(self.0.stdout.take().expect("piped")).expect("simulate says what it did");
        let _ = self.0.wait();
        std::array::from_fn(|mic| truth["mics"][mic]["sent"].as_u64().expect("a count"))
    }
}

impl Drop for Microphones {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says something and reads until the server closes, or nothing comes for a while.
fn answer(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may have answered and closed before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    String::from_utf8_lossy(&got).into_owned()
}

#[test]
fn malformed_requests_get_their_status() {
    let long = "a".repeat(30_000);
    let host = "Host: localhost\r\n";
    let cases = [
        ("400", format!("GET / HTTP/1.1\n{host}\n")),
        ("400", format!("GET /\0 HTTP/1.1\r\n{host}\r\n")),
        ("400", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".to_owned()),
        ("400", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("400", format!("GET / HTTP/1.1\r\n{host}{host}\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("400", format!("GET * HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host} folded: x\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}no colon\r\n\r\n")),
        ("404", format!("GET http://localhost/none HTTP/1.1\r\n{host}\r\n")),
        ("405", format!("POST /api/latest HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\nabc")),
        ("413", format!("GET /api/latest HTTP/1.1\r\n{host}Content-Length: 30000\r\n\r\n{long}")),
        ("414", format!("GET /{long} HTTP/1.1\r\n{host}\r\n")),
        ("421", "GET / HTTP/1.1\r\nHost: rebound.example\r\n\r\n".to_owned()),
        ("431", format!("GET / HTTP/1.1\r\n{host}X: {long}\r\n\r\n")),
        ("431", format!("GET / HTTP/1.1\r\n{host}{}\r\n", "A: b\r\n".repeat(100))),
        ("501", format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("501", format!("BREW / HTTP/1.1\r\n{host}\r\n")),
        ("505", format!("GET / HTTP/2.0\r\n{host}\r\n")),
    ];
    audio_does_not_notice(&[], |address| {
        for round in 0..10 {
            for (status, request) in &cases {
                // In every second round behind a good request on the same connection.
                let good = format!("GET /api/latest HTTP/1.1\r\n{host}\r\n");
                let got = answer(address, &[good.repeat(round % 2).as_bytes(), request.as_bytes()].concat());
                let starts = got.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]);
                let answers: Vec<&str> = starts.filter(|status| status.parse::<u16>().is_ok()).collect();
                let expected: Vec<&str> = std::iter::repeat_n("200", round % 2).chain([*status]).collect();
                assert_eq!(answers, expected, "{:.80?}", request);
                assert!(got.contains("{\"error\": \""), "{got}");
            }
        }
    });
}

#[test]
fn requests_split_at_every_byte_are_answered_as_one_is() {
    let request = "GET /api/latest HTTP/1.1\r\nHost: localhost\r\nX-Padding: abc\r\n\r\n";
    audio_does_not_notice(&[], |address| {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = vec![0; 1 << 16];
        for split in 1..request.len() {
            stream.write_all(&request.as_bytes()[..split]).unwrap();
            // Long enough that the server reads the first piece by itself.
            thread::sleep(Duration::from_millis(2));
            stream.write_all(&request.as_bytes()[split..]).unwrap();
            let got = stream.read(&mut buffer).expect("an answer");
            assert!(
                buffer[..got].starts_with(b"HTTP/1.1 200 "),
                "split at {split}: {:?}",
                buffer[..got].escape_ascii().to_string()
            );
        }
        // And each byte by itself.
        for byte in request.as_bytes() {
            stream.write_all(&[*byte]).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        let got = stream.read(&mut buffer).expect("an answer");
        assert!(buffer[..got].starts_with(b"HTTP/1.1 200 "), "byte by byte");
    });
}

#[test]
fn five_thousand_connections_opened_and_dropped_leave_nothing() {
    let serve = audio_does_not_notice(&[], |address| {
        for n in 0..5000 {
            let mut stream = TcpStream::connect(address).expect("connect");
            let said: &[&str] = &["", "GET /api/la", "GET /api/stream_3ch HTTP/1.1\r\nHost: localhost\r\n\r\n"];
            stream.write_all(said[n % said.len()].as_bytes()).unwrap();
        }
    });
    assert!(serve.stderr().lines().count() < 20, "and not a line for each: {}", serve.stderr());
}

#[test]
fn a_hundred_pollers_are_served_and_cost_no_packet() {
    let request = b"GET /api/diagnostics_sync HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut answers = 0;
    audio_does_not_notice(&[], |address| {
        let connect = |_| {
            let stream = TcpStream::connect(address).expect("connect");
            stream.set_nonblocking(true).unwrap();
            (stream, 0usize)
        };
        let mut pollers: Vec<(TcpStream, usize)> = (0..100).map(connect).collect();
        let mut buffer = vec![0; 1 << 16];
        for (stream, _) in &mut pollers {
            stream.write_all(request).unwrap();
        }
        // Three seconds at least; as long as it takes where others are busy too.
        let (end, give_up) = (Instant::now() + Duration::from_secs(3), Instant::now() + PATIENCE);
        while Instant::now() < end || answers <= 1_000 {
            assert!(Instant::now() < give_up, "each of a hundred is served again and again: {answers} answers");
            for (stream, left) in &mut pollers {
                let Ok(n) = stream.read(&mut buffer) else { continue };
                assert!(n > 0, "kept alive");
                if *left == 0 {
                    let head = std::str::from_utf8(&buffer[..n]).expect("a head and a body");
                    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split('\r').next());
                    let body = head.find("\r\n\r\n").expect("the head in one piece") + 4;
                    *left = body + length.unwrap().parse::<usize>().unwrap();
                }
                *left -= n;
                if *left == 0 {
                    answers += 1;
                    stream.write_all(request).unwrap();
                }
            }
        }
    });
}

#[test]
fn the_token_is_asked_for_and_a_full_house_says_so() {
    let serve = Serve::start(&["--token", "s3cret", "--max-connections", "2", "--head-timeout", "300ms"]);
    assert_eq!(serve.get("/api/latest").status, 401);
    assert_eq!(serve.get("/api/latest?token=s3cret").status, 200);
    assert_eq!(serve.get("/healthz").status, 503, "no microphone sends, and no token is asked for that");
    let bearer = "Authorization: Bearer s3cret\r\n";
    let streams = [0, 1].map(|_| Events::open(serve.http, "/api/stream_3ch", bearer));
    let refused = serve.get("/api/latest?token=s3cret");
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("Retry-After: 1\r\n"), "{}", refused.head);
    drop(streams);
    let late = answer_late(serve.http);
    assert!(late.starts_with("HTTP/1.1 408 "), "{late}");
}

/// Half a head, and what comes of it once a place is free.
fn answer_late(address: SocketAddr) -> String {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /api/la").unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        if !got.starts_with("HTTP/1.1 503 ") || Instant::now() > give_up {
            return got;
        }
    }
}
