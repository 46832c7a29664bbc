//! Bytes on an HTTP connection, and query strings.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::mutate::mutated;
use crate::support::{Response, World};

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b" ",
    b":",
    b"?seconds=",
    b"%",
    b"%00",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HEAD ",
    b"OPTIONS ",
    b"Content-Length: 3\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Host: localhost\r\n",
    b"Last-Event-ID: 99999999999999999999\r\n",
    b"Range: bytes=-18446744073709551615\r\n",
    b"If-Range: \"0-0-9223372036854775807-plain\"\r\n",
    b"bytes=0-18446744073709551615",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Origin: http://localhost\r\n",
    b"\xff",
    b"\0",
];

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "http"));
    files.sort();
    assert!(files.len() > 10, "the corpus is there");
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// What a fresh server with a little history answers, when a receive gives so many bytes.
fn answers(bytes: &[u8], receive: usize) -> (Vec<u8>, bool) {
    let mut world = World::plain();
    world.recv_limit = receive;
    (0..3).for_each(|_| {
        world.emit(16);
    });
    world.ask(bytes)
}

/// Statuses of what was answered, wherever a status line stands: how long an answer is depends on the question (HEAD).
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let status = |rest: &str| rest.split_once(' ').and_then(|(status, _)| status.parse().ok());
    text.split("HTTP/1.1 ").skip(1).filter_map(status).collect()
}

/// The answer without a WebSocket's pongs: of pings that are read at once only the newest has to be answered (RFC 6455 5.5.3), and
/// none before a close (5.5.2), so that they hang on how the bytes are cut.
fn without_pongs(answer: &[u8]) -> Vec<u8> {
    let switched = b"HTTP/1.1 101 ";
    let Some(at) = answer.windows(switched.len()).position(|part| part == switched) else { return answer.to_vec() };
    let Some(head) = answer[at..].windows(4).position(|end| end == b"\r\n\r\n") else { return answer.to_vec() };
    let (mut kept, mut frames) = (answer[..at + head + 4].to_vec(), &answer[at + head + 4..]);
    // A control frame of a server: its opcode, at most 125 bytes.
    while let [0x8a, len, rest @ ..] = frames {
        frames = &rest[usize::from(*len).min(rest.len())..];
    }
    kept.extend(frames);
    kept
}

/// The contract's, and those of HTTP itself that it implies.
const KNOWN: [u16; 20] =
    [101, 200, 204, 206, 304, 400, 401, 403, 404, 405, 408, 413, 414, 416, 417, 421, 426, 431, 501, 505];

proptest! {
    #![proptest_config(crate::mutate::config())]

    /// However the bytes are cut into receives, the answer is the same; every answer has a status of the contract.
    #[test]
    fn http(bytes in mutated(corpus(), WORDS), receive in 1..64_usize) {
        let (whole, closed) = answers(&bytes, 4096);
        let (pieces, closed_too) = answers(&bytes, receive);
        let told = |answer: &[u8]| without_pongs(answer).escape_ascii().to_string();
        prop_assert_eq!(told(&whole), told(&pieces));
        prop_assert_eq!(closed, closed_too);
        let found = statuses(&whole);
        prop_assert!(found.iter().all(|status| KNOWN.contains(status)), "{:?}", found);
    }

    /// Any query string gets one answer; and a number of seconds never asks for more than there is.
    #[test]
    fn query(
        route in prop::sample::select(vec!["/api/download_buffer", "/api/download_buffer_text", "/api/latest", "/"]),
        query in prop_oneof![
            3 => "[!-~]{0,40}",
            3 => "(seconds|token)=[-+0-9.eE%nainfN]{0,24}(&(seconds|token)=[0-9.]{0,4}){0,2}",
            1 => vec(any::<u8>(), 0..30).prop_map(|bytes| bytes.iter().map(|byte| format!("%{byte:02X}")).collect()),
        ],
    ) {
        let (got, _) = answers(format!("GET {route}?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(), 4096);
        let response = Response::one(&got);
        prop_assert!(KNOWN.contains(&response.status), "{}", response.status);
        if response.status == 200 && route == "/api/download_buffer" {
            // 48 frames of three samples of four bytes, behind a header of 44.
            prop_assert!(response.body.len() <= 44 + 48 * 12, "{} bytes", response.body.len());
        }
    }
}
