//! The project's two firmwares, built on this machine against a stand-in for Arduino's libraries: to the byte what the boards send,
//! and a board that loses datagrams on its way.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::folder;
use super::serve::Serve;

const CHUNK: usize = 512;
/// Chunks of 20 seconds.
const TURNS: usize = 1_875;
/// Where the machine stalled the board for some milliseconds, order and time may tell less than they do of a board: then it runs again.
const TRIES: usize = 3;

/// As a microphone of 24 bits sends it, the tags of audiovision's not among them.
fn sample(mic: usize, position: usize) -> i32 {
    (((mic as u32 + 1) << 28) | ((position as u32 & 0xf_ffff) << 8)) as i32
}

/// A firmware, compiled for these ports.
fn compiled(folder: &Path, name: &str, code: &str, ports: &[u16]) -> PathBuf {
    let (source, program) = (folder.join(format!("{name}.cpp")), folder.join(name));
    std::fs::write(&source, code).expect("a file");
    let define = |(nth, port): (usize, &u16)| format!("-DPORT{nth}={port}");
    let ran = Command::new("g++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sender/arduino"))
        .args(ports.iter().enumerate().map(define))
        .args([&source, Path::new("-o"), &program])
        .output()
        .expect("g++ runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    program
}

/// What a run of the firmware says: which of its datagrams were lost, and whether it was kept from sending.
fn sent(program: &Path, lose: &str) -> (BTreeSet<usize>, bool) {
    let ran = Command::new(program)
        .env("LOOPS", TURNS.to_string())
        .env("REAL_TIME", "1")
        .env("LOSE", lose)
        .output()
        .expect("it runs");
    assert!(ran.status.success() && ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8_lossy(&ran.stdout);
    let lost = said.lines().filter_map(|line| line.strip_prefix("lost ")?.parse().ok()).collect();
    (lost, said.contains("stalled"))
}

fn sockets(count: usize) -> (Vec<UdpSocket>, Vec<u16>) {
    let sockets: Vec<UdpSocket> = (0..count).map(|_| UdpSocket::bind(("127.0.0.1", 0)).expect("a port")).collect();
    let ports = sockets.iter().map(|socket| socket.local_addr().expect("bound").port()).collect();
    (sockets, ports)
}

fn datagram(socket: &UdpSocket) -> Vec<u8> {
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut buffer = [0; 4096];
    let len = socket.recv(&mut buffer).expect("a datagram");
    buffer[..len].to_vec()
}

fn run_at_once(program: &Path, turns: usize) {
    let ran = Command::new(program).env("LOOPS", turns.to_string()).output().expect("it runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

const FIRST: &str = include_str!("firmware/first.cpp");
const AUDIOVISION: &str = include_str!("firmware/audiovision.cpp");

#[test]
fn both_firmwares_send_what_the_boards_send_to_the_byte() {
    let folder = folder("bytes");
    let (own, ports) = sockets(3);
    run_at_once(&compiled(&folder, "first", FIRST, &ports), 3);
    for turn in 0..3 {
        for (mic, socket) in own.iter().enumerate() {
            let pieces = [datagram(socket), datagram(socket)];
            assert_eq!(pieces.each_ref().map(Vec::len), [1460, 588], "a buffer, and what is left of 2048");
            let samples = (0..CHUNK).flat_map(|i| sample(mic, turn * CHUNK + i).to_le_bytes());
            assert_eq!(pieces.concat(), samples.collect::<Vec<u8>>(), "mic {mic}, turn {turn}");
        }
    }
    let (own, ports) = sockets(1);
    run_at_once(&compiled(&folder, "audiovision", AUDIOVISION, &ports), 3);
    for turn in 0..3 {
        let pieces: [Vec<u8>; 5] = std::array::from_fn(|_| datagram(&own[0]));
        assert_eq!(pieces.each_ref().map(Vec::len), [1460, 1460, 1460, 1460, 304]);
        let tag = |mic: usize, i: usize| ((mic << 1) | ((i % 8) << 3)) as i32;
        let frame = |i: usize| (0..3).map(move |mic| sample(mic, turn * CHUNK + i) | tag(mic, i));
        let bytes: Vec<u8> = (0..CHUNK).flat_map(frame).flat_map(i32::to_le_bytes).collect();
        assert_eq!(pieces.concat(), bytes, "turn {turn}");
    }
    std::fs::remove_dir_all(&folder).expect("what was made can be removed");
}

/// Positions that a channel lacks, by what its samples say, from the first that is there to the last; all that are there must be right.
fn lacking(frames: &[Vec<i32>], mic: usize) -> Result<(i64, BTreeSet<i64>), String> {
    let (mut base, mut lacks, mut gap) = (None, BTreeSet::new(), Vec::new());
    for (at, frame) in (0_i64..).zip(frames) {
        let word = frame[mic] & !0x3f;
        if word == 0 {
            gap.push(at);
            continue;
        }
        let told = i64::from(word as u32 >> 8 & 0xf_ffff);
        let from = *base.get_or_insert_with(|| {
            gap.clear();
            told - at
        });
        if word != sample(mic, (at + from) as usize) {
            return Err(format!("mic {mic}: frame {at} is {word:#x}, not {:#x}", sample(mic, (at + from) as usize)));
        }
        lacks.extend(gap.drain(..).map(|at| at + from));
    }
    Ok((base.ok_or("nothing came")?, lacks))
}

/// What is to be told of each channel: pieces lost, chunks lost, and which positions it lacks.
struct Truth {
    pieces: u64,
    chunks: u64,
    lacks: BTreeSet<i64>,
}

/// Of a source whose chunks leave as pieces of these bytes; `lost`: (chunk, piece).
fn truth(lost: &BTreeSet<(usize, usize)>, sizes: &[usize], frame_bytes: usize) -> Truth {
    let of = |chunk: usize| lost.range((chunk, 0)..(chunk + 1, 0)).count();
    let chunks: BTreeSet<usize> =
        lost.iter().map(|(chunk, _)| *chunk).filter(|&chunk| of(chunk) == sizes.len()).collect();
    let positions = |&(chunk, piece): &(usize, usize)| {
        let begin: usize = sizes[..piece].iter().sum();
        let end = begin + sizes[piece];
        (begin / frame_bytes..end.div_ceil(frame_bytes)).map(move |frame| (chunk * CHUNK + frame) as i64)
    };
    Truth {
        pieces: lost.iter().filter(|(chunk, _)| !chunks.contains(chunk)).count() as u64,
        chunks: chunks.len() as u64,
        lacks: lost.iter().flat_map(positions).collect(),
    }
}

/// Holds what is told of a source of such channels, and what they have, against the truth.
fn compare(serve: &Serve, channels: std::ops::Range<usize>, truth: &Truth) -> Result<i64, String> {
    let (told, frames) =
        (&serve.json("/api/diagnostics_sync")["loss"][format!("mic{}", channels.start)], serve.history());
    println!("{channels:?}: {} pieces and {} chunks lost; told {told}", truth.pieces, truth.chunks);
    if (&told["lost_pieces"], &told["lost"]) != (&truth.pieces.into(), &truth.chunks.into()) {
        return Err(format!("lost {} pieces and {} chunks, told {told}", truth.pieces, truth.chunks));
    }
    let mut found = Vec::new();
    for mic in channels {
        let (base, lacks) = lacking(&frames, mic)?;
        if lacks != truth.lacks {
            return Err(format!("mic {mic} lacks {} frames, not {}", lacks.len(), truth.lacks.len()));
        }
        found.push(base);
    }
    if frames.len() < (TURNS - 200) * CHUNK || found.iter().any(|base| *base != found[0]) {
        return Err(format!("{} frames, from {found:?}", frames.len()));
    }
    Ok(found[0])
}

/// Runs until all was right; again only where the board was kept from sending.
fn try_it(mut once: impl FnMut() -> (bool, Result<(), String>)) {
    for again in (0..TRIES).rev() {
        match once() {
            (_, Ok(())) => return,
            (true, Err(why)) if again > 0 => println!("the board was stalled by this machine: {why}"),
            (_, Err(why)) => panic!("{why}"),
        }
    }
}

#[test]
fn the_first_firmware_is_put_together_and_each_lost_piece_is_told() {
    let folder = folder("first");
    try_it(|| {
        let serve = Serve::start(&[]);
        let program = compiled(&folder, "first", FIRST, &serve.ports);
        let (lost, stalled) = sent(&program, "1200 10800");
        assert!(lost.len() > 50, "{} lost", lost.len());
        std::thread::sleep(Duration::from_millis(300));
        let result = (0..3).try_fold(None, |base, mic| {
            let own = |number: &usize| (number % 6 / 2 == mic).then_some((number / 6, number % 2));
            let truth = truth(&lost.iter().filter_map(own).collect(), &[1460, 588], 4);
            let here = compare(&serve, mic..mic + 1, &truth)?;
            if base.is_some_and(|base| base != here) { Err("channels stand apart".to_owned()) } else { Ok(Some(here)) }
        });
        (stalled, result.map(|_| ()))
    });
    std::fs::remove_dir_all(&folder).expect("what was made can be removed");
}

#[test]
fn the_later_firmware_is_put_together_and_each_lost_piece_is_told() {
    let folder = folder("later");
    try_it(|| {
        let serve = Serve::start_on("0", &["--format", "audiovision"]);
        let program = compiled(&folder, "audiovision", AUDIOVISION, &serve.ports);
        let (lost, stalled) = sent(&program, "1000 9000");
        assert!(lost.len() > 50, "{} lost", lost.len());
        std::thread::sleep(Duration::from_millis(300));
        let lost = lost.iter().map(|number| (number / 5, number % 5)).collect();
        let truth = truth(&lost, &[1460, 1460, 1460, 1460, 304], 12);
        (stalled, compare(&serve, 0..3, &truth).map(|_| ()))
    });
    std::fs::remove_dir_all(&folder).expect("what was made can be removed");
}
