//! Downloads of the history: right to the byte, or cut off.

use micring::time::Span;

use crate::support::{ARRAY, RATE, Response, World, frames, sample};

fn csv(positions: std::ops::Range<i64>) -> String {
    let line = |pos: i64| format!("{pos},{},{},{}\n", sample(0, pos), sample(1, pos), sample(2, pos));
    "frame,mic0,mic1,mic2\n".to_owned() + &positions.map(line).collect::<String>()
}

#[test]
fn the_wav_is_the_history_and_its_sizes_are_true() {
    let mut world = World::plain();
    world.source.keep = i64::from(RATE);
    for _ in 0..200 {
        world.emit(512);
    }
    let end = 200 * 512;
    let whole = world.get("/api/download_buffer");
    let bytes = RATE * 12;
    let header = [
        &b"RIFF"[..],
        &(bytes + 36).to_le_bytes(),
        b"WAVEfmt \x10\0\0\0\x01\0\x03\0\x80\xbb\0\0",
        &576_000u32.to_le_bytes(),
        b"\x0c\0\x20\0data",
        &bytes.to_le_bytes(),
    ];
    assert_eq!(whole.body[..44], header.concat());
    assert_eq!(whole.body[44..], frames(end - i64::from(RATE)..end));
    assert_eq!(whole.field("Content-Disposition"), Some("attachment; filename=\"micring-20261122-110500.wav\""));
    for (seconds, count) in [("0.25", 12_000), ("100", 48_000), ("1e300", 48_000), ("0.000001", 1)] {
        let part = world.get(&format!("/api/download_buffer?seconds={seconds}"));
        assert_eq!(part.body[44..], frames(end - count..end), "{seconds} s");
    }
    for seconds in ["0", "-1", "NaN", "inf", "", "2s"] {
        assert_eq!(world.get(&format!("/api/download_buffer?seconds={seconds}")).status, 400, "{seconds:?}");
    }
}

#[test]
fn the_text_says_the_same_in_chunks_or_until_close() {
    let mut world = World::plain();
    for _ in 0..10 {
        world.emit(300);
    }
    let (bytes, closed) = world.ask("GET /api/download_buffer_text HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let response = Response::one(&bytes);
    assert_eq!((response.field("Transfer-Encoding"), closed), (Some("chunked"), false));
    assert_eq!(String::from_utf8(response.body).expect("text"), csv(0..3000));
    let (bytes, closed) =
        world.ask("GET /api/download_buffer_text?seconds=0.01 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = Response::one(&bytes);
    assert_eq!(
        (response.field("Transfer-Encoding"), response.field("Connection"), closed),
        (None, Some("close"), true)
    );
    assert_eq!(String::from_utf8(response.body).expect("text"), csv(2520..3000));
}

#[test]
fn a_client_that_keeps_up_gets_all_although_the_history_moves() {
    for path in ["/api/download_buffer", "/api/download_buffer_text"] {
        let mut world = World::plain();
        world.source.keep = i64::from(RATE);
        for _ in 0..100 {
            world.emit(512);
        }
        let end = world.source.end;
        let id = world.connect();
        world.peer(id).reads = false;
        world.say(id, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        // The first piece is some ten cycles long, so that the next one is there when the client has taken it.
        for _ in 0..10 {
            world.emit(512);
        }
        world.peer(id).reads = true;
        world.run();
        assert_eq!(world.server.figures(ARRAY).downloads_aborted, 0, "{path}");
        let held = end - i64::from(RATE)..end;
        let body = Response::one(&world.take(id)).body;
        if path.ends_with("text") {
            assert!(body == csv(held).into_bytes());
        } else {
            assert!(body[44..] == frames(held));
        }
    }
}

#[test]
fn a_download_that_the_history_overtakes_is_cut_off() {
    for path in ["/api/download_buffer", "/api/download_buffer_text"] {
        let mut world = World::plain();
        world.source.keep = i64::from(RATE);
        for _ in 0..100 {
            world.emit(512);
        }
        let start = world.source.start;
        let id = world.connect();
        world.peer(id).reads = false;
        world.say(id, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        for _ in 0..100 {
            world.emit(512);
        }
        world.peer(id).reads = true;
        world.run();
        assert!(world.peer(id).reset && !world.peer(id).fin, "{path}");
        let got = world.take(id);
        let body = got.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        if path.ends_with("text") {
            let text = String::from_utf8(got[body..].to_vec()).expect("text");
            assert!(text.contains(&format!("\n{start},{}", sample(0, start))) && !text.ends_with("0\r\n\r\n"));
        } else {
            let (_, data) = got[body..].split_at(44);
            assert!(!data.is_empty() && data.len() < RATE as usize * 12);
            assert_eq!(data, frames(start..start + data.len() as i64 / 12), "what came is true");
        }
        assert_eq!(world.server.figures(ARRAY).downloads_aborted, 1);
    }
}

#[test]
fn a_stalled_download_is_ended_and_a_slow_one_is_not() {
    let mut world = World::plain();
    for _ in 0..400 {
        world.emit(512);
    }
    let (stalled, slow) = (world.connect(), world.connect());
    for id in [stalled, slow] {
        world.peer(id).reads = false;
        world.say(id, "GET /api/download_buffer HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    world.send_limit = 1000;
    for _ in 0..4 {
        world.pass(Span::from_secs(10));
        world.complete_one(slow);
    }
    assert!(world.peer(stalled).reset && !world.peer(slow).closed);
    assert_eq!(world.server.figures(ARRAY).rejected, 1);
}

#[test]
fn parts_of_a_download_are_of_one_recording_although_the_history_moves() {
    let mut world = World::plain();
    world.source.keep = 1000;
    for _ in 0..20 {
        world.emit(100);
    }
    let ask = |world: &mut World, fields: &str| {
        let text = format!("GET /api/download_buffer?wav=extensible HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        Response::one(&world.ask(text).0)
    };
    let whole = ask(&mut world, "");
    let total = whole.body.len() as u64;
    assert_eq!((total, whole.status), (68 + 12_000, 200));
    assert_eq!(whole.body[68..], frames(1000..2000));
    let tag = whole.field("ETag").expect("a tag").to_owned();
    for (range, from, to) in [
        ("bytes=0-1", 0, 2),
        ("bytes=0-", 0, total),
        ("bytes=0-67", 0, 68),
        ("bytes=60-80", 60, 81),
        ("bytes=7-99999", 7, total),
        ("bytes=6000-6000", 6000, 6001),
        ("bytes=-5", total - 5, total),
    ] {
        let part = ask(&mut world, &format!("Range: {range}\r\nIf-Range: {tag}\r\n"));
        assert_eq!((part.status, part.field("ETag")), (206, Some(tag.as_str())), "{range}");
        let said = format!("bytes {from}-{}/{total}", to - 1);
        assert_eq!(part.field("Content-Range"), Some(said.as_str()));
        assert!(part.body == whole.body[from as usize..to as usize], "{range}");
    }
    // The newest recording from its first byte on, without saying which; later bytes only with the tag.
    let first = ask(&mut world, "Range: bytes=0-1\r\n");
    assert_eq!((first.status, first.field("ETag")), (206, Some(tag.as_str())));
    assert_eq!(ask(&mut world, "Range: bytes=2-\r\n").status, 200);
    let beyond = ask(&mut world, &format!("Range: bytes={total}-\r\nIf-Range: {tag}\r\n"));
    assert_eq!((beyond.status, beyond.field("Content-Range")), (416, Some(format!("bytes */{total}").as_str())));
    // The history goes on, and forgets: the rest is of the same recording, or it is another one, as a whole.
    world.emit(100);
    let rest = ask(&mut world, &format!("Range: bytes=6000-\r\nIf-Range: {tag}\r\n"));
    assert!(rest.status == 206 && rest.body == whole.body[6000..]);
    for (range, tag) in [
        ("bytes=0-1", tag.clone()),
        ("bytes=100-", tag.clone()),
        ("bytes=6000-", tag.replace("extensible", "plain")),
        ("bytes=6000-", "\"1-2-3\"".into()),
        ("bytes=6000-", "Sun, 22 Nov 2026 10:05:00 GMT".into()),
    ] {
        let other = ask(&mut world, &format!("Range: {range}\r\nIf-Range: {tag}\r\n"));
        assert_eq!((other.status, other.field("Content-Range")), (200, None), "{range} {tag}");
        assert!(other.body[68..] == frames(1100..2100) && other.field("ETag") != Some(tag.as_str()), "{range} {tag}");
    }
    // RFC 9110 section 14.2: only GET has ranges.
    let (bytes, _) = world.ask("HEAD /api/download_buffer HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\n\r\n");
    assert_eq!(Response::head(&bytes).expect("a head").0.status, 200);
}
