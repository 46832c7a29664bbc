//! Senders of the world, as they are installed: ffmpeg, GStreamer, PipeWire, a VBAN sender and Arduino's firmwares. Each sends known
//! samples for 20 seconds, all side by side, through routes that lose some, bring some twice and let some be overtaken. Every sample is
//! right, and every loss is told.
#![allow(clippy::disallowed_methods, reason = "what is tested here runs in real time")]

mod audio;
mod doctor;
mod firmware;
mod pipewire;
mod route;
mod serve;
mod timed;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use audio::{RATE, SECONDS, check, file};
use route::{Carried, Route};
use serve::Serve;

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn finish(what: &str, child: Child) {
    let ended = child.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{what}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// An empty folder of this test.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
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

/// A source: its sender, its channels, the bytes of a sample, and of the header in front.
struct Source {
    name: &'static str,
    channels: std::ops::Range<usize>,
    bytes: usize,
    header: usize,
}

impl Source {
    fn new(name: &'static str, channels: std::ops::Range<usize>, bytes: usize) -> Source {
        let header = if name == "VBAN" { 28 } else { 12 };
        Source { name, channels, bytes, header }
    }

    /// Holds what the server tells and streams against what the route carried.
    fn check(&self, carried: &Carried, figures: &serde_json::Value, frames: &[Vec<i32>]) {
        let (name, told) = (self.name, &figures["loss"][format!("mic{}", self.channels.start)]);
        let frame = self.bytes * self.channels.len();
        let lost_frames: usize = carried.lost_bytes.iter().map(|bytes| (bytes - self.header) / frame).sum();
        println!(
            "{name}: {} passed, {} lost, {} twice, {} overtaken, {} RTCP; told {told}",
            carried.passed, carried.lost, carried.duplicated, carried.overtaken, carried.control
        );
        assert!(carried.passed > 1_000 && carried.lost > 10 && carried.overtaken > 10, "{name}: it sent {carried:?}");
        assert_eq!(told["known"], true, "{name}");
        assert_eq!(told["lost"], carried.lost, "{name}: {told}");
        assert_eq!(told["duplicate"], carried.duplicated, "{name}: {told}");
        assert_eq!(told["control"], carried.control, "{name}: {told}");
        for key in ["malformed", "truncated", "number_jumps", "corrected", "slips"] {
            assert_eq!(told[key], 0, "{name}: {key}: {told}");
        }
        let found = check(name, frames, self.channels.clone(), self.bytes);
        assert_eq!(found.missing, lost_frames, "{name}: what is missing is what was lost: {found:?}");
        // The first second goes by until the sources stand on one axis.
        assert!(found.there + found.missing > (SECONDS - 4) * RATE, "{name}: {found:?}");
    }
}

#[test]
fn every_sample_is_right_and_every_loss_is_told() {
    let folder = folder("senders");
    let two_16 = file(&folder, "two16", 2, 2);
    let two_24 = file(&folder, "two24", 2, 3);
    let three_24 = file(&folder, "three24", 3, 3);
    let one_16 = file(&folder, "one16", 1, 2);
    let vban = folder.join("vban.py");
    std::fs::File::create(&vban).and_then(|mut file| file.write_all(include_bytes!("vban.py"))).expect("a file");

    let first = Serve::start(&["--format", "0=rtp:L16/48000/2", "--format", "1=rtp:L24/48000/3"]);
    let second = Serve::start(&["--format", "0=rtp:L24/48000/2,pt=97", "--format", "1=rtp:L16/48000/1"]);
    let routes = [&first, &second].map(|serve| [0, 1, 2].map(|mic| Route::to(serve.ports[mic], mic as u64)));
    let port = |serve: usize, mic: usize| routes[serve][mic].port;
    let seconds = SECONDS.to_string();
    let senders = [
        ("ffmpeg L16", ffmpeg(&two_16, "pcm_s16be", port(0, 0))),
        ("GStreamer L24", gstreamer(&three_24, "s24be", 3, "rtpL24pay", port(0, 1))),
        ("VBAN", start(Command::new("python3").arg(&vban).args([&port(0, 2).to_string(), &seconds]))),
        ("ffmpeg L24", ffmpeg(&two_24, "pcm_s24be", port(1, 0))),
        ("GStreamer L16", gstreamer(&one_16, "s16be", 1, "rtpL16pay", port(1, 1))),
        ("VBAN", start(Command::new("python3").arg(&vban).args([&port(1, 2).to_string(), &seconds]))),
    ];
    for (what, sender) in senders {
        finish(what, sender);
    }
    std::thread::sleep(Duration::from_millis(300));
    let sources = [
        [Source::new("ffmpeg L16", 0..2, 2), Source::new("GStreamer L24", 2..5, 3), Source::new("VBAN", 5..6, 2)],
        [Source::new("ffmpeg L24", 0..2, 3), Source::new("GStreamer L16", 2..3, 2), Source::new("VBAN", 3..4, 2)],
    ];
    for ((serve, routes), sources) in [&first, &second].into_iter().zip(routes).zip(&sources) {
        let carried = routes.map(Route::end);
        let (figures, frames) = (serve.json("/api/diagnostics_sync"), serve.history());
        for (source, carried) in sources.iter().zip(&carried) {
            source.check(carried, &figures, &frames);
        }
    }
    std::fs::remove_dir_all(&folder).expect("what was made can be removed");
}

#[test]
fn a_recording_of_numbered_sources_is_analysed_without_an_option_and_with_its_numbers_forgotten() {
    let folder = folder("recorded");
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
