//! What browsers, players and other people's pages meet: hosts, ranges, cut downloads, guarding fields.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::rig::{PATIENCE, Response, Serve, index, micring, request};
use crate::skipped::skipped;

/// With 200 cycles in its history and silent since.
fn heard(args: &[&str]) -> Serve {
    let serve = Serve::start(args);
    serve.simulate(&["--cycles", "200"]);
    serve
}

fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn ask(serve: &Serve, target: &str, fields: &str) -> Response {
    let host = serve.http;
    request(host, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"))
}

#[test]
fn another_sites_name_is_refused_on_every_bind_once_not_everybody_may_read() {
    let on_the_lan = |more: &[&str]| {
        let mut command = micring();
        command.args(["serve", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--http", "0.0.0.0:0"]).args(more);
        Serve::spawn(command)
    };
    let status = |serve: &Serve, host: &str| {
        request(serve.http, &format!("GET /api/latest HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).status
    };
    for more in [
        &["--cors", "none", "--allow-host", "studio.lan"][..],
        &["--cors", "https://a.example", "--allow-host", "studio.lan"],
        &["--allow-host", "studio.lan"],
    ] {
        let serve = on_the_lan(more);
        assert_eq!(status(&serve, "evil.example"), 421, "{more:?}");
        for host in ["studio.lan", "STUDIO.lan:5000", "localhost:5000", "192.168.4.1", "[fe80::1]:5000"] {
            assert_eq!(status(&serve, host), 200, "{more:?}: {host}");
        }
    }
    assert_eq!(status(&on_the_lan(&["--cors", "none"]), "evil.example"), 421);
    // Whatever its name, a page may read it anyway.
    assert_eq!(status(&on_the_lan(&[]), "evil.example"), 200);
}

/// A client of HTTP/1.0 that asks for the text and takes its time; it reads through a narrow window.
fn slow(address: SocketAddr) -> TcpStream {
    let stream = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    stream.set_recv_buffer_size(4096).unwrap();
    stream.connect(&address.into()).unwrap();
    let mut stream: TcpStream = stream.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /api/download_buffer_text HTTP/1.0\r\n\r\n").unwrap();
    stream
}

/// What came, and how it ended.
fn rest(mut stream: TcpStream) -> (usize, Option<ErrorKind>) {
    let (mut total, mut block) = (0, vec![0; 1 << 16]);
    loop {
        match stream.read(&mut block) {
            Ok(0) => return (total, None),
            Ok(count) => total += count,
            Err(error) => return (total, Some(error.kind())),
        }
    }
}

#[test]
fn a_download_that_is_cut_does_not_end_like_a_whole_one() {
    // Half a megabyte of text fits the socket's buffer; a second and a half are three times that.
    let overtaken = Serve::start(&["--history", "1500ms"]);
    overtaken.simulate(&["--cycles", "160"]);
    let stream = slow(overtaken.http);
    overtaken.board().cycles(200);
    let (read, end) = rest(stream);
    assert_eq!(end, Some(ErrorKind::ConnectionReset), "overtaken by the history, after {read} bytes");
    // Figures may be 50 ms old.
    while overtaken.diagnostics()["http"]["downloads_aborted"] != 1 {
        thread::sleep(Duration::from_millis(20));
    }

    let stalled = heard(&["--stall-timeout", "100ms"]);
    let stream = slow(stalled.http);
    while stalled.diagnostics()["http"]["rejected"] == 0 {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(rest(stream).1, Some(ErrorKind::ConnectionReset), "given up");

    let mut stopped = heard(&[]);
    let stream = slow(stopped.http);
    while stopped.diagnostics()["http"]["connections_open"] != 2 {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(stopped.stop(), Some(0));
    assert_eq!(rest(stream).1, Some(ErrorKind::ConnectionReset), "stopped");

    // A whole one ends as it should.
    let (read, end) = rest(slow(stalled.http));
    assert_eq!(end, None);
    assert!(read > 200 * 512 * 10, "{read} bytes");
}

#[test]
fn answers_are_guarded_against_other_sites() {
    let routes = [
        "/",
        "/app.js",
        "/api/diagnostics_sync",
        "/api/diagnostics",
        "/api/latest",
        "/api/download_buffer",
        "/metrics",
        "/api/download_buffer_text",
        "/healthz",
        "/nope",
    ];
    let open = heard(&[]);
    for route in routes {
        let response = ask(&open, route, "");
        assert_eq!(field(&response, "X-Content-Type-Options"), Some("nosniff"), "{route}");
        assert_eq!(field(&response, "Cross-Origin-Resource-Policy"), None, "{route}: any page may read it");
    }
    for cors in ["none", "https://a.example"] {
        let closed = heard(&["--cors", cors]);
        for route in routes {
            let response = ask(&closed, route, "");
            assert_eq!(field(&response, "Cross-Origin-Resource-Policy"), Some("same-origin"), "{route}");
        }
    }
    // The page names its modules with the token.
    let secret = heard(&["--token", "s3cret"]);
    for route in ["/", "/app.js", "/style.css", "/api/latest"] {
        let response = ask(&secret, &format!("{route}?token=s3cret"), "");
        assert_eq!((response.status, field(&response, "Cache-Control")), (200, Some("no-store")), "{route}");
    }
}

#[test]
fn players_that_probe_with_a_range_are_answered_with_it() {
    let serve = Serve::start(&[]);
    let mut board = serve.board();
    let until_emitted = |count: u64| {
        let give_up = Instant::now() + PATIENCE;
        while serve.diagnostics()["cycles"]["emitted"] != count {
            assert!(Instant::now() < give_up, "{count} cycles: {}", serve.diagnostics()["cycles"]);
            thread::sleep(Duration::from_millis(20));
        }
    };
    board.cycles(200);
    until_emitted(200);
    let whole = ask(&serve, "/api/download_buffer", "");
    let total = whole.body.len();
    assert_eq!(field(&whole, "Accept-Ranges"), Some("bytes"));
    let tag = field(&whole, "ETag").expect("a tag").to_owned();
    let probe = ask(&serve, "/api/download_buffer", "Range: bytes=0-1\r\n");
    assert_eq!((probe.status, &probe.body[..]), (206, &b"RI"[..]));
    let range = format!("bytes 0-1/{total}");
    assert_eq!(field(&probe, "Content-Range"), Some(range.as_str()));
    // What follows is of the same recording, although there is a newer one by now.
    board.cycles(10);
    until_emitted(210);
    let middle = ask(&serve, "/api/download_buffer", &format!("Range: bytes=1000-99999\r\nIf-Range: {tag}\r\n"));
    assert_eq!((middle.status, middle.body.len()), (206, 99_000));
    assert!(middle.body == whole.body[1000..100_000]);
    let unbound = ask(&serve, "/api/download_buffer", "Range: bytes=1000-\r\n");
    assert_eq!((unbound.status, unbound.body.len()), (200, total + 10 * 512 * 12), "of which one, nobody said");

    let live = ask(&serve, "/api/stream_3ch.wav", "Range: bytes=0-1\r\n");
    assert_eq!((live.status, &live.body[..]), (206, &b"RI"[..]));
    assert_eq!((field(&live, "Content-Range"), field(&live, "Content-Length")), (Some("bytes 0-1/*"), Some("2")));
    assert_eq!(field(&ask(&serve, "/api/download_buffer_text", ""), "Accept-Ranges"), Some("none"));
}

fn is_there(tool: &str) -> bool {
    let found = Command::new(tool).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skipped(tool, "it is not installed");
    }
    found
}

/// The loudest sample of each of the output's channels, when a tool mixes a WAV.
fn peaks(tool: &[&str], wav: &[u8], channels: usize) -> Vec<i32> {
    let mut child = Command::new(tool[0])
        .args(&tool[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tool starts");
    let (mut input, wav) = (child.stdin.take().unwrap(), wav.to_vec());
    let writer = thread::spawn(move || input.write_all(&wav));
    let out = child.wait_with_output().unwrap().stdout;
    let _ = writer.join();
    let mut peaks = vec![0; channels];
    for (n, four) in out.chunks_exact(4).enumerate() {
        let sample = i32::from_le_bytes(four.try_into().unwrap()).saturating_abs();
        peaks[n % channels] = sample.max(peaks[n % channels]);
    }
    peaks
}

/// 100 cycles of the endless WAV in which only one microphone is not silent.
fn alone(mic: usize, target: &str) -> Vec<u8> {
    let serve = Serve::start(&[]);
    let mut stream = TcpStream::connect(serve.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {target} HTTP/1.0\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let mut board = serve.board();
    for n in 0..100_i64 {
        board.period(|board| {
            for other in 0..3 {
                // Not constant: a repeated packet would be a copy.
                let loud = if other == mic { index(mic, n * 7919) / 2 } else { 0 };
                let packet: Vec<u8> = (0..512).flat_map(|i| (loud + i).to_le_bytes()).collect();
                board.send(other, if other == mic { &packet } else { &[0; 2048] });
            }
        });
    }
    let mut wav = vec![0; 44 + 80 * 512 * 12];
    stream.read_exact(&mut wav).unwrap();
    wav
}

#[test]
fn every_channel_is_heard_through_a_players_own_mix() {
    if !is_there("ffmpeg") || !is_there("sox") {
        return;
    }
    for mic in 0..3 {
        let wav = alone(mic, "/api/stream_3ch.wav");
        for (channels, count) in [("1", 1), ("2", 2)] {
            let ffmpeg = ["ffmpeg", "-v", "quiet", "-i", "-", "-ac", channels, "-f", "s32le", "-"];
            let sox = ["sox", "-V1", "--ignore-length", "-t", "wav", "-", "-c", channels, "-t", "s32", "-"];
            for tool in [&ffmpeg[..], &sox] {
                let heard = peaks(tool, &wav, count);
                // A tenth of what went in, at least, somewhere.
                assert!(
                    heard.iter().any(|&peak| peak > ((mic as i32 + 1) << 27) / 10),
                    "mic {mic} through {} into {channels}: {heard:?}",
                    tool[0]
                );
            }
        }
    }
}
