//! Senders of the world, as they are installed: ffmpeg, GStreamer, a VBAN sender and Arduino's cut. Each sends known samples through a
//! path that loses some of its datagrams; every sample is right, and every loss is told.

mod serve;
mod timed;

use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serve::Serve;

/// What each sender has to send.
const SECONDS: usize = 4;
const RATE: usize = 48_000;

/// A route from a sender to the server: it loses every 41st datagram, but not the first ten.
struct Route {
    port: u16,
    done: Arc<AtomicBool>,
    thread: JoinHandle<Carried>,
}

/// What a path carried.
#[derive(Debug, Default)]
struct Carried {
    passed: u64,
    /// Lost ones that something came behind.
    lost: u64,
    /// Datagrams of RTCP.
    control: u64,
}

impl Route {
    fn to(port: u16) -> Route {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let (own, done) = (socket.local_addr().expect("bound").port(), Arc::new(AtomicBool::new(false)));
        let stop = done.clone();
        let thread = std::thread::spawn(move || {
            let (mut carried, mut seen, mut pending) = (Carried::default(), 0_u64, 0);
            let mut buffer = [0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                let Ok(len) = socket.recv(&mut buffer) else { continue };
                let bytes = &buffer[..len];
                // RFC 5761: the second byte of RTCP.
                if len > 1 && bytes[0] >> 6 == 2 && (192..=223).contains(&bytes[1]) {
                    carried.control += 1;
                    socket.send_to(bytes, ("127.0.0.1", port)).expect("sent");
                    continue;
                }
                seen += 1;
                if seen > 10 && seen.is_multiple_of(41) {
                    pending += 1;
                    continue;
                }
                socket.send_to(bytes, ("127.0.0.1", port)).expect("sent");
                carried.passed += 1;
                carried.lost += std::mem::take(&mut pending);
            }
            carried
        });
        Route { port: own, done, thread }
    }

    fn end(self) -> Carried {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("the path ends")
    }
}

/// Frames of so many channels: each sample says its channel and its position.
fn file(folder: &Path, name: &str, channels: usize, bytes: usize) -> PathBuf {
    let mut data = Vec::with_capacity(SECONDS * RATE * channels * bytes);
    for position in 0..SECONDS * RATE {
        for channel in 0..channels {
            let sample = sample(channel, position, bytes);
            data.extend(&sample.to_be_bytes()[..bytes]);
        }
    }
    let path = folder.join(name);
    std::fs::write(&path, data).expect("a file");
    path
}

/// Left-justified, as it arrives; never 0.
fn sample(channel: usize, position: usize, bytes: usize) -> i32 {
    let bits = 8 * bytes as u32 - 2;
    ((channel as u32 + 1) << 30 | ((position as u32) & ((1 << bits) - 1)) << (30 - bits)) as i32
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn finish(what: &str, child: Child) {
    let ended = child.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{what}: {}", String::from_utf8_lossy(&ended.stderr));
}

fn ffmpeg(input: &Path, coding: &str, port: u16) -> Child {
    let url = format!("rtp://127.0.0.1:{port}?rtcpport={port}");
    let raw = coding.strip_prefix("pcm_").expect("PCM");
    start(
        Command::new("ffmpeg")
            .args(["-v", "error", "-re", "-f", raw, "-ar", "48000", "-ac", "2", "-i"])
            .arg(input)
            .args(["-c:a", coding, "-f", "rtp", &url]),
    )
}

fn gstreamer(input: &Path, format: &str, channels: usize, pay: &str, port: u16) -> Child {
    let line = format!(
        "filesrc location={} ! rawaudioparse format=pcm pcm-format={format} sample-rate=48000 num-channels={channels} ! {pay} ! \
         udpsink host=127.0.0.1 port={port} sync=true",
        input.display()
    );
    start(Command::new("gst-launch-1.0").arg("-q").args(line.split_whitespace()))
}

/// Every sample that is there says its channel and its place; what is missing of a source is missing of all its channels. Returns
/// how many frames are there.
fn check(what: &str, frames: &[Vec<i32>], channels: std::ops::Range<usize>, bytes: usize) -> usize {
    let (first, mut there, mut base) = (channels.start, 0, None);
    let period = 1_usize << (8 * bytes - 2);
    for (at, frame) in frames.iter().enumerate() {
        let own = &frame[channels.clone()];
        if own.iter().all(|sample| *sample == 0) {
            continue;
        }
        there += 1;
        let position = (own[0] as u32 as usize & 0x3fff_ffff) >> (32 - 8 * bytes);
        let base = *base.get_or_insert((position + period * 1_000 - at) % period);
        for (channel, got) in own.iter().enumerate() {
            assert_eq!(*got, sample(channel, at + base, bytes), "{what}: frame {at}, channel {}", first + channel);
        }
    }
    there
}

#[test]
fn every_sample_is_right_and_every_loss_is_told() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("senders-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let two_16 = file(&folder, "two16", 2, 2);
    let two_24 = file(&folder, "two24", 2, 3);
    let three_24 = file(&folder, "three24", 3, 3);
    let one_16 = file(&folder, "one16", 1, 2);
    let vban = folder.join("vban.py");
    std::fs::File::create(&vban).and_then(|mut file| file.write_all(include_bytes!("vban.py"))).expect("a file");

    let first = Serve::start(&["--format", "0=rtp:L16/48000/2", "--format", "1=rtp:L24/48000/3"]);
    let second = Serve::start(&["--format", "0=rtp:L24/48000/2,pt=97", "--format", "1=rtp:L16/48000/1"]);
    let paths = [&first, &second].map(|serve| [0, 1, 2].map(|mic| Route::to(serve.ports[mic])));
    let port = |serve: usize, mic: usize| paths[serve][mic].port;
    let senders = [
        ("ffmpeg L16", ffmpeg(&two_16, "pcm_s16be", port(0, 0))),
        ("GStreamer L24", gstreamer(&three_24, "s24be", 3, "rtpL24pay", port(0, 1))),
        ("VBAN", start(Command::new("python3").arg(&vban).args([port(0, 2).to_string(), SECONDS.to_string()]))),
        ("ffmpeg L24", ffmpeg(&two_24, "pcm_s24be", port(1, 0))),
        ("GStreamer L16", gstreamer(&one_16, "s16be", 1, "rtpL16pay", port(1, 1))),
        ("VBAN", start(Command::new("python3").arg(&vban).args([port(1, 2).to_string(), SECONDS.to_string()]))),
    ];
    for (what, sender) in senders {
        finish(what, sender);
    }
    std::thread::sleep(Duration::from_millis(300));
    let carried = paths.map(|paths| paths.map(Route::end));
    for (serve, (serving, what)) in [
        (&first, [("ffmpeg L16", 0..2, 2), ("GStreamer L24", 2..5, 3), ("VBAN", 5..6, 2)]),
        (&second, [("ffmpeg L24", 0..2, 3), ("GStreamer L16", 2..3, 2), ("VBAN", 3..4, 2)]),
    ]
    .into_iter()
    .enumerate()
    {
        let figures = serving.json("/api/diagnostics_sync");
        let frames = serving.history();
        for (mic, (name, channels, bytes)) in what.into_iter().enumerate() {
            let told = &figures["loss"][format!("mic{}", channels.start)];
            let carried = &carried[serve][mic];
            println!("{name}: {carried:?}, {told}");
            assert!(carried.passed > 100 && carried.lost > 2, "{name}: it sent");
            assert_eq!(told["known"], true, "{name}");
            assert_eq!(told["lost"], carried.lost, "{name}: {told}");
            assert_eq!(told["control"], carried.control, "{name}: {told}");
            for key in ["malformed", "truncated", "duplicate", "number_jumps", "corrected", "slips"] {
                assert_eq!(told[key], 0, "{name}: {key}: {told}");
            }
            let there = check(name, &frames, channels, bytes);
            // The first second goes by until the sources stand on one axis.
            assert!(there > RATE, "{name}: {there} frames");
        }
    }
    std::fs::remove_dir_all(&folder).expect("what was made can be removed");
}

#[test]
fn a_recording_of_numbered_sources_is_analysed_without_an_option_and_with_its_numbers_forgotten() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("recorded-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("numbered.pcapng");
    let micring = |args: &[&str]| {
        let ran = Command::new(env!("CARGO_BIN_EXE_micring")).args(args).output().expect("it runs");
        assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice::<serde_json::Value>(&ran.stdout).expect("JSON")
    };
    let name = file.to_str().expect("a plain name");
    let format = "raw:s24be,skip=8,seq=u32be@0,time=u32le@4:us";
    let sent = micring(&["simulate", "--record", name, "--duration", "60s", "--loss", "2%", "--format", format]);
    let told = micring(&["analyze", "--json", name]);
    for mic in 0..3 {
        let (loss, truth) = (&told["loss"][format!("mic{mic}")], &sent["mics"][mic]);
        assert_eq!((&loss["known"], &loss["lost"]), (&true.into(), &truth["lost"]), "mic {mic}: {loss}");
        assert_eq!(told["server"]["format"][format!("mic{mic}")], format);
    }
    let forgotten = micring(&["analyze", "--json", "--forget-numbers", name]);
    for mic in 0..3 {
        let loss = &forgotten["loss"][format!("mic{mic}")];
        assert_eq!((&loss["known"], &loss["malformed"]), (&false.into(), &0.into()), "mic {mic}: {loss}");
        assert!(forgotten["inference"][format!("mic{mic}")]["agree"].is_null());
    }
    std::fs::remove_dir_all(&folder).expect("what was made can be removed");
}
