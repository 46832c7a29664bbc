//! Two runs of the server are told apart: by their ids, by the key `run`, and by a comment in the stream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::SystemTime;

use crate::rig::{Events, PATIENCE, Serve};

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// The first bytes of a stream's body, as many as `wish` needs.
fn body(address: SocketAddr, target: &str, wish: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let (mut got, mut block) = (Vec::new(), [0; 4096]);
    loop {
        let end = got.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(end) = end.filter(|&end| wish(&got[end..])) {
            return got.split_off(end);
        }
        let count = stream.read(&mut block).expect("the stream begins");
        assert!(count > 0, "the stream goes on: {}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&block[..count]);
    }
}

#[test]
fn a_resume_from_another_run_starts_live_and_shows_its_seam() {
    let mut first = Serve::start(&[]);
    let mut events = first.events("/api/stream_3ch");
    first.board().cycles(60);
    let old: Vec<_> = (0..60).map(|_| events.next().unwrap()).collect();
    assert_eq!(first.stop(), Some(0));
    // A client that has seen the fortieth event, and comes back when another run has sixty of its own.
    let last = old[39].id.unwrap();
    let before = now_ms();
    let second = Serve::start(&[]);
    let after = now_ms();
    let mut board = second.board();
    board.cycles(60);
    let mut back = Events::open(second.http, "/api/stream_3ch", &format!("Last-Event-ID: {last}\r\n"));
    board.cycles(1);
    let live = back.next().unwrap();
    assert!(live.first_frame() >= 60 * 512, "live, not what happens to follow {last}: {:?}", live.id);
    assert_eq!(second.diagnostics()["stream"]["resumed"], 0);
    // The run is its first id: when it began, in milliseconds since 1970.
    let run = live.json["run"].as_u64().expect("a run");
    assert!((before..=after).contains(&run), "{before} <= {run} <= {after}");
    assert_eq!(live.id, Some(run + 60));
    assert_eq!(second.diagnostics()["server"]["run"], run);
    assert!(old.iter().all(|event| event.json["run"] == old[0].json["run"] && event.json["run"] != run));
    // Within a run a client resumes as ever.
    let mut resumed = Events::open(second.http, "/api/stream_3ch", &format!("Last-Event-ID: {}\r\n", run + 9));
    assert_eq!(resumed.next().unwrap().id, Some(run + 10));
}

#[test]
fn a_stream_begins_with_the_name_of_its_run() {
    let serve = Serve::start(&[]);
    let run = serve.diagnostics()["server"]["run"].as_u64().expect("a run");
    for target in ["/api/stream_3ch", "/api/stream"] {
        let text = body(serve.http, target, |body| body.ends_with(b"\n\n"));
        assert_eq!(String::from_utf8_lossy(&text), format!("retry: 1000\n: run {run}\n\n"), "{target}");
    }
    // The binary framing has a record of its own for it, which programs that do not know it skip.
    let record = body(serve.http, "/api/stream_3ch?format=binary", |body| body.len() >= 16);
    assert_eq!(record[..8], [12, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(record[8..], run.to_le_bytes());
}
