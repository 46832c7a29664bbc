//! Endless PCM: what listeners get in other types, channels and rates, and over a WebSocket.

use micring::conn::ConnId;
use micring::http::{Cors, HttpConfig};
use micring::time::Span;

use crate::support::{ARRAY, Response, World, config, frames, sample};

/// The key of RFC 6455, 1.3, and the answer that it has there.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const UPGRADE: &str = "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n";

fn handshake(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost:5000\r\n{UPGRADE}Sec-WebSocket-Key: {KEY}\r\n{fields}\r\n")
}

/// A WebSocket, its handshake taken off.
fn open(world: &mut World, path: &str) -> ConnId {
    let id = world.connect();
    world.say(id, handshake(path, ""));
    let got = world.take(id);
    let (head, rest) = Response::head(&got).expect("a head");
    assert_eq!((head.status, rest.len()), (101, 0));
    assert_eq!((head.field("Upgrade"), head.field("Connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(head.field("Sec-WebSocket-Accept"), Some(ACCEPT));
    assert_eq!((head.field("Content-Length"), head.field("Transfer-Encoding")), (None, None));
    id
}

/// Frames as RFC 6455, 5.2 draws them, from a server: opcode and payload.
fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!((first & 0xf0, second & 0x80), (0x80, 0), "whole messages, no mask");
        let (length, rest) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => panic!("a piece is shorter"),
            short => (usize::from(short), rest),
        };
        all.push((first & 0xf, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "no half frame");
    all
}

/// A client's frame, masked.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 1, 255, 9];
    let payload: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    [&[0x80 | opcode, 0x80 | payload.len() as u8][..], &mask, &payload].concat()
}

fn shorts(bytes: &[u8]) -> Vec<i16> {
    bytes.as_chunks().0.iter().map(|two| i16::from_le_bytes(*two)).collect()
}

#[test]
fn what_is_asked_for_comes_in_the_type_and_the_channels_asked_for() {
    let mut world = World::plain();
    world.emit(100);
    let whole = world.subscribe("/api/stream.pcm", "");
    let named = world.subscribe("/api/arrays/roof/stream.pcm?format=s24be&channels=2,0", "");
    let float = world.subscribe("/api/stream.pcm?format=f32le&channels=1", "");
    world.emit(3);
    // Five positions were skipped.
    world.emit_after(2, 5);
    let silence = vec![0; 5 * 12];
    assert_eq!(world.take(whole), [frames(100..103), silence, frames(108..110)].concat());
    // Of 32 bits the upper 24, rounded: the last 8 of these are below a half.
    let shifted = |mic: usize, pos: i64| (sample(mic, pos) >> 8).to_be_bytes()[1..].to_vec();
    let place = |pos: i64| [shifted(2, pos), shifted(0, pos)].concat();
    let expected =
        [(100..103).flat_map(place).collect(), vec![0; 5 * 6], (108..110).flat_map(place).collect()].concat();
    assert_eq!(world.take(named), expected);
    // 2^29 of 2^31 is a quarter; the positions are below what a float of that size holds (32).
    let quarter = 0.25_f32.to_le_bytes();
    let near = |pos: i64| ((sample(1, pos) as f64 / 2_147_483_648.0) as f32).to_le_bytes();
    assert_eq!(near(0), quarter);
    assert_eq!(world.take(float)[..12], [near(100), near(101), near(102)].concat());
}

#[test]
fn another_rate_has_its_samples_where_they_belong_however_cycles_fall() {
    let listen = |cycles: &[(u32, i64)]| {
        let mut world = World::plain();
        let id = world.subscribe("/api/stream.pcm?format=s16le&rate=16000&channels=0", "");
        for &(frames, skipped) in cycles {
            world.emit_after(frames, skipped);
        }
        shorts(&world.take(id))
    };
    // 1500 frames, a gap of 3000, and 1500 more: as whole cycles, and in crumbs.
    let whole = listen(&[(1500, 0), (1500, 3000)]);
    let crumbs: Vec<(u32, i64)> = [(1, 0); 1500].into_iter().chain([(1, 3000)]).chain([(1, 0); 1499]).collect();
    assert_eq!(whole, listen(&crumbs));
    // A third of 6000, but for what the filter still waits for: it is some 2 ms long on each side.
    assert!((1960..2000).contains(&whole.len()), "{}", whole.len());
    // The signal stands at 2^28 of 2^31: 4096 of 16 bits.
    let near = |value: i16| (4000..4200).contains(&value);
    assert!(whole[40..460].iter().all(|&value| near(value)), "the first part");
    assert!(whole[540..1460].iter().all(|&value| value == 0), "the gap");
    assert!(whole[1540..1940].iter().all(|&value| near(value)), "the second part");
    // The edges are where the gap begins and ends: a filter of linear phase passes half of a step at its place.
    let edge = |range: std::ops::Range<usize>, up: bool| range.clone().find(|&m| (whole[m] > 2048) == up);
    assert_eq!((edge(480..520, false), edge(1480..1520, true)), (Some(500), Some(1500)));
}

#[test]
fn who_wants_the_same_shares_what_is_made() {
    let mut world = World::plain();
    let path = "/api/stream.pcm?format=s16le&rate=16000&channels=1";
    let plain: Vec<_> = (0..50).map(|_| world.subscribe(path, "")).collect();
    let sockets: Vec<_> = (0..50).map(|_| open(&mut world, path)).collect();
    world.emit(1000);
    world.source.reads.set(0);
    world.emit(300);
    // One for all of HTTP, one for all WebSockets.
    assert_eq!(world.source.reads.get(), 2);
    let heard = world.take(plain[0]);
    assert!(heard.len() > 600);
    plain[1..].iter().for_each(|&id| assert_eq!(world.take(id), heard));
    for id in sockets {
        let all: Vec<u8> = messages(&world.take(id)).into_iter().flat_map(|(_, payload)| payload).collect();
        assert_eq!(all, heard);
    }
}

#[test]
fn who_is_too_slow_hears_silence_for_what_was_lost_and_it_is_counted() {
    let mut world = World::plain();
    let id = open(&mut world, "/api/stream.pcm?format=s16le&rate=16000&channels=0");
    world.emit(480);
    world.peer(id).reads = false;
    let first = messages(&world.take(id)).concat_payloads();
    // Eight seconds, of which the history holds five.
    (0..800).for_each(|_| {
        world.emit(480);
    });
    world.peer(id).reads = true;
    world.run();
    let all: Vec<i16> = shorts(&[first, messages(&world.take(id)).concat_payloads()].concat());
    assert!((128_100..128_160).contains(&all.len()), "8.01 s at 16 kHz: {}", all.len());
    let silent = all.iter().filter(|&&value| value == 0).count();
    assert!((2 * 16_000..=3 * 16_000 + 500).contains(&silent), "{silent}");
    assert!(all[all.len() - 16_000..].iter().all(|value| (4000..4300).contains(value)), "and then it is live");
    let dropped = world.server.figures(ARRAY).events_dropped;
    assert!((200..=305).contains(&dropped), "cycles of 10 ms: {dropped}");
}

trait Payloads {
    fn concat_payloads(self) -> Vec<u8>;
}

impl Payloads for Vec<(u8, Vec<u8>)> {
    fn concat_payloads(self) -> Vec<u8> {
        self.into_iter().flat_map(|(_, payload)| payload).collect()
    }
}

#[test]
fn a_websocket_answers_pings_and_ends_as_the_rfc_says() {
    let mut world = World::plain();
    let id = open(&mut world, "/api/stream.pcm");
    world.emit(2);
    assert_eq!(messages(&world.take(id)), [(2, frames(0..2))]);
    world.say(id, [masked(1, b"hello"), masked(9, b"there?")].concat());
    assert_eq!(messages(&world.take(id)), [(10, b"there?".to_vec())]);
    // Nothing happens for long: a ping, which every proxy lets through.
    world.pass(Span::from_secs(16));
    assert_eq!(messages(&world.take(id)), [(9, vec![])]);
    assert_eq!(world.server.figures(ARRAY).subscribers, 1);
    world.say(id, masked(8, &[0x03, 0xe8]));
    assert_eq!(messages(&world.take(id)), [(8, vec![0x03, 0xe8])]);
    assert!(world.peer(id).fin, "the server closes first");
    world.finish(id);
    assert!(world.peer(id).closed && !world.peer(id).reset);
    assert_eq!(world.server.figures(ARRAY).subscribers, 0);
    // Nobody listens any more.
    world.emit(2);
    assert_eq!(world.take(id), b"");
}

#[test]
fn pings_without_end_cost_a_slow_client_no_memory_of_ours() {
    let mut world = World::plain();
    let id = open(&mut world, "/api/stream.pcm");
    world.peer(id).reads = false;
    world.emit(2);
    (0..1000_u32).for_each(|n| world.say(id, masked(9, &n.to_be_bytes())));
    world.peer(id).reads = true;
    world.run();
    assert_eq!(messages(&world.take(id)), [(2, frames(0..2)), (10, 999_u32.to_be_bytes().to_vec())]);
}

#[test]
fn a_websocket_is_told_when_the_server_or_its_array_goes() {
    for forget in [false, true] {
        let mut world = World::plain();
        let id = open(&mut world, "/api/stream.pcm");
        world.emit(2);
        world.take(id);
        if forget {
            world.server.forget(ARRAY);
        } else {
            world.server.begin_shutdown();
        }
        world.run();
        assert_eq!(messages(&world.take(id)), [(8, 1001_u16.to_be_bytes().to_vec())]);
        assert!(world.peer(id).fin);
        world.finish(id);
        assert!(world.peer(id).closed);
    }
}

#[test]
fn what_is_no_handshake_is_refused_in_words() {
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let ask = |fields: &str, config: HttpConfig| {
        let mut world = World::new(config);
        let (bytes, _) = world.ask(format!("GET /api/stream.pcm HTTP/1.1\r\nHost: localhost:5000\r\n{fields}\r\n"));
        Response::head(&bytes).expect("a head").0
    };
    let old = ask(&format!("{}{key}", UPGRADE.replace("13", "8")), config());
    assert_eq!((old.status, old.field("Sec-WebSocket-Version")), (426, Some("13")));
    assert_eq!(ask(UPGRADE, config()).status, 400, "no key");
    assert_eq!(ask(&format!("{UPGRADE}Sec-WebSocket-Key: c2hvcnQ=\r\n"), config()).status, 400, "a short key");
    // RFC 9110, 7.8: an upgrade that nobody knows is no error.
    assert_eq!(ask("Upgrade: h2c\r\nConnection: Upgrade\r\n", config()).status, 200);
    let mut world = World::plain();
    for (query, word) in [
        ("format=mp3", "s16le"),
        ("rate=44101", "16000"),
        ("rate=fast", "16000"),
        ("rate=0", "16000"),
        ("channels=3", "channels=0,2"),
        ("channels=", "channels=0,2"),
    ] {
        let response = world.get(&format!("/api/stream.pcm?{query}"));
        assert!(response.status == 400 && response.error().contains(word), "{query}: {}", response.error());
    }
}

/// Browsers let any page open a WebSocket to anywhere (RFC 6455, 10.2), whatever CORS forbids.
#[test]
fn pages_that_may_not_read_may_not_listen() {
    let status = |cors: &Cors, origin: &str| {
        let mut world = World::new(HttpConfig { cors: cors.clone(), ..config() });
        let (bytes, _) = world.ask(handshake("/api/stream.pcm", origin));
        Response::head(&bytes).expect("a head").0.status
    };
    let (other, own, program) = ("Origin: https://evil.example\r\n", "Origin: http://localhost:5000\r\n", "");
    let allowed = Cors::Origin("https://evil.example".into());
    for (cors, origin, expected) in [
        (&Cors::Any, other, 101),
        (&Cors::None, other, 403),
        (&Cors::None, own, 101),
        (&Cors::None, program, 101),
        (&Cors::None, "Origin: null\r\n", 403),
        (&Cors::None, "Origin: http://localhost:5001\r\n", 403),
        (&allowed, other, 101),
        (&allowed, "Origin: https://other.example\r\n", 403),
    ] {
        assert_eq!(status(cors, origin), expected, "{cors:?}, {origin:?}");
    }
}

#[test]
fn a_client_that_speaks_before_it_is_answered_is_heard() {
    let mut world = World::plain();
    let id = world.connect();
    world.say(id, [handshake("/api/stream.pcm", "").into_bytes(), masked(9, b"early")].concat());
    let got = world.take(id);
    let rest = Response::head(&got).expect("a head").1;
    assert_eq!(messages(rest), [(10, b"early".to_vec())]);
}
