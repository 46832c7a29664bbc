//! `micring extract` on recordings with known truth: every frame, every gap, every format, as other programs read them.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;

use clap::Parser;
use micring::capture::Writer;
use micring::cli::{Cli, Command};
use micring::cycle::Clocks;
use micring::engine::{Datagram, Engine, Output};
use micring::sim::{Delay, Loss, Network, Packet, Scenario, Sim};
use micring::time::{KernelTime, MonoTime, Span};
use serde_json::Value;
use support::{Scratch, recording, scenario, sockets, tcpdump};

#[path = "analyze/support.rs"]
#[allow(dead_code, reason = "the rig of tests/analyze, of which this file needs a part")]
mod support;

const FRAMES: i64 = 512;

/// What was extracted: where the audio begins, each channel's samples, and the sidecar.
struct Extracted {
    position: i64,
    channels: Vec<Vec<i32>>,
    lines: Vec<Value>,
    said: Value,
}

fn extract(scratch: &Scratch, name: &str, file: &str, options: &[&str]) -> (PathBuf, Value) {
    let to = scratch.0.join(format!("{name}.audio"));
    let _ = fs::remove_dir_all(&to);
    let output = process::Command::new(env!("CARGO_BIN_EXE_micring"))
        .args(["extract", file, "--to", to.to_str().unwrap()])
        .args(options)
        .output()
        .expect("extract runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (to, serde_json::from_slice(&output.stdout).expect("one object of JSON"))
}

fn with_ending(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|own| own == ending));
    found.sort();
    found
}

/// Interleaved samples, by a program that is not ours.
fn decoded(path: &Path, by: &str) -> Vec<i32> {
    let path = path.to_str().unwrap();
    let mut command = process::Command::new(by);
    match by {
        "ffmpeg" => command.args(["-v", "error", "-i", path, "-f", "s32le", "-"]),
        "flac" => command.args(["-d", "-s", "-c", "--force-raw-format", "--endian=little", "--sign=signed", path]),
        _ => command.args([path, "-t", "raw", "-"]),
    };
    let output = command.output().expect("it is installed: see scripts/test");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{by}: {said}");
    output.stdout.chunks_exact(4).map(|four| i32::from_le_bytes(four.try_into().unwrap())).collect()
}

/// One file of all three channels, as ffmpeg reads it.
fn one_file(scratch: &Scratch, name: &str, file: &[u8], options: &[&str]) -> Extracted {
    let (folder, said) = extract(scratch, name, &scratch.file(name, file), options);
    let audio = with_ending(&folder, "wav");
    let sidecars = with_ending(&folder, "jsonl");
    assert_eq!((audio.len(), sidecars.len()), (1, 1), "{audio:?}");
    let samples = decoded(&audio[0], "ffmpeg");
    let text = fs::read_to_string(&sidecars[0]).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let channels = (0..3).map(|mic| samples.iter().skip(mic).step_by(3).copied().collect()).collect();
    Extracted { position: lines[0]["position"].as_i64().unwrap(), channels, lines, said }
}

impl Extracted {
    /// Every sample is the index signal's, at one offset for the whole run, or a silence that the sidecar tells. Silent samples by channel.
    fn assert_true(&self) -> [i64; 3] {
        let mut told = vec![[false; 3]; self.channels[0].len()];
        for gap in self.lines.iter().filter(|line| line["kind"] == "gap") {
            let (frame, frames) = (gap["frame"].as_u64().unwrap() as usize, gap["frames"].as_u64().unwrap() as usize);
            for told in &mut told[frame..frame + frames] {
                (0..3).filter(|mic| gap["mic"].is_null() || gap["mic"] == *mic).for_each(|mic| told[mic] = true);
            }
        }
        let (mut silent, mut offset) = ([0; 3], None);
        for (frame, told) in told.iter().enumerate() {
            for (mic, channel) in self.channels.iter().enumerate() {
                let sample = channel[frame];
                assert_eq!(sample == 0, told[mic], "frame {frame} of mic {mic}: silence is a gap that is told");
                silent[mic] += i64::from(told[mic]);
                if sample != 0 {
                    assert_eq!(sample >> 28, mic as i32 + 1, "frame {frame}");
                    let here = i64::from(sample & 0x0fff_ffff) - self.position - frame as i64;
                    assert_eq!(*offset.get_or_insert(here), here, "frame {frame} of mic {mic}");
                }
            }
        }
        silent
    }
}

#[test]
fn every_frame_is_the_truth_and_every_gap_is_told() {
    let scratch = Scratch::new("extract-truth");
    let scenario = scenario(60);
    let (file, truth) = recording(&scenario, None);
    for (name, file) in [("a.pcapng", &file), ("b.pcap", &tcpdump(&scenario))] {
        let found = one_file(&scratch, name, file, &["--clock", "shared"]);
        let silent = found.assert_true();
        let frames = found.channels[0].len() as i64;
        for (mic, silent) in silent.into_iter().enumerate() {
            let lost = truth.mics[mic].withheld() as i64 * FRAMES;
            // At the very edges a cycle of which nothing came is not there.
            assert!((lost - 2 * FRAMES..=lost).contains(&silent), "{name}, mic {mic}: {silent} of {lost}");
        }
        assert_eq!(found.said["frames"], frames);
        assert!(found.lines.iter().any(|line| line["kind"] == "drift" && line["of"] == "mic0"), "rates are told");
        assert_eq!(found.lines.last().unwrap()["frames"], frames);
    }
}

/// A recording whose samples use all 32 bits, and are hard to predict.
fn noisy(scenario: &Scenario) -> Vec<u8> {
    let (writer, mut file) = (Writer::new(None), Vec::new());
    writer.begin(&mut file, sockets(), "micring", "a test");
    let mut sim = Sim::new(scenario);
    while let Some(packet) = sim.next() {
        let sample = |frame: i64| {
            // Vigna's splitmix64.
            let mut z = (packet.position.0 + frame) as u64 * 3 + packet.mic as u64;
            z = z.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z >> 32) as i32
        };
        let bytes: Vec<u8> = (0..FRAMES).flat_map(|frame| sample(frame).to_le_bytes()).collect();
        let to = sockets()[packet.mic];
        writer.datagram(&mut file, packet.mic, packet.stamp, sim.sender(&packet), to, &bytes, bytes.len());
    }
    file
}

fn ffmpeg_reads_flac_of_32_bits() -> bool {
    let said = process::Command::new("ffmpeg").arg("-version").output().expect("ffmpeg is installed").stdout;
    let said = String::from_utf8(said).unwrap();
    let major = said.split_whitespace().nth(2).and_then(|version| version.split('.').next()?.parse().ok());
    major.is_some_and(|major: u32| major >= 6)
}

#[test]
fn flac_and_wav_split_and_whole_hold_the_same_bits() {
    let scratch = Scratch::new("extract-formats");
    let file = noisy(&scenario(20));
    let file = scratch.file("a.pcapng", &file);
    let (folder, _) = extract(&scratch, "whole", &file, &["--clock", "shared"]);
    let whole = decoded(&with_ending(&folder, "wav")[0], "ffmpeg");
    let ones: Vec<i32> = (0..32).map(|bit| whole.iter().map(|sample| sample >> bit & 1).sum()).collect();
    assert!(ones.iter().all(|count| *count as usize > whole.len() / 3), "all 32 bits are used: {ones:?}");
    assert!(decoded(&with_ending(&folder, "wav")[0], "sox") == whole, "sox reads the same");
    let (folder, said) = extract(&scratch, "flac", &file, &["--clock", "shared", "--flac", "--rotate-age", "7s"]);
    let files = with_ending(&folder, "flac");
    assert_eq!((files.len(), &said["files"]), (3, &3.into()));
    for by in ["flac", "sox", "ffmpeg"] {
        if by == "ffmpeg" && !ffmpeg_reads_flac_of_32_bits() {
            println!("this ffmpeg reads no FLAC of 32 bits, as it does from version 6 on");
            continue;
        }
        assert!(files.iter().flat_map(|file| decoded(file, by)).eq(whole.iter().copied()), "{by}");
    }
    let first = decoded(&files[0], "flac");
    assert_eq!(first.len(), 7 * 48_000 * 3, "a file ends at its frame");
    for options in [&["--split"][..], &["--split", "--flac"]] {
        let (folder, _) = extract(&scratch, "split", &file, &[&["--clock", "shared"], options].concat());
        let files = with_ending(&folder, if options.len() == 2 { "flac" } else { "wav" });
        assert_eq!((files.len(), with_ending(&folder, "jsonl").len()), (3, 1));
        for (mic, file) in files.iter().enumerate() {
            let by = if options.len() == 2 { "flac" } else { "ffmpeg" };
            assert!(decoded(file, by).iter().eq(whole.iter().skip(mic).step_by(3)), "mic {mic}, {options:?}");
        }
    }
}

/// A packet as it arrives: stamp, microphone, sender, bytes.
type Arrival = (KernelTime, usize, SocketAddr, Vec<u8>);

/// What a network did, held up as told, in the order of arrival; each packet with its number in front.
fn arrivals(scenario: &Scenario, held_up: impl Fn(&Packet) -> Span) -> Vec<Arrival> {
    let (mut sim, mut payload, mut all) = (Sim::new(scenario), Vec::new(), Vec::new());
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        let bytes = [&(packet.cycle as u32).to_le_bytes()[..], &payload].concat();
        all.push((packet.stamp + held_up(&packet), packet.mic, sim.sender(&packet), bytes));
    }
    all.sort_by_key(|(stamp, mic, ..)| (*stamp, *mic));
    all
}

/// What a listener of the live stream heard: of each channel and position the sample, when its cycle left.
fn live(arrivals: &[Arrival], options: [&'static str; 4]) -> [BTreeMap<i64, i32>; 3] {
    let args = Cli::parse_from(["micring", "serve"].iter().chain(&options));
    let Command::Serve(args) = args.command else { unreachable!("it says serve") };
    let spec = args.array().unwrap();
    let mut engine = Engine::new(spec.engine.config(spec.layout)).declared(&spec.engine.formats(3));
    let mut heard: [BTreeMap<i64, i32>; 3] = Default::default();
    let mut drain = |engine: &mut Engine| {
        while let Some(output) = engine.poll_output() {
            let Output::Cycle(cycle) = output else { continue };
            let mut bytes = vec![0; cycle.frames as usize * 12];
            engine.history().read(cycle.first_frame, &mut bytes).expect("it has just left");
            for (at, four) in bytes.chunks_exact(4).enumerate() {
                heard[at % 3].insert(cycle.first_frame.0 + at as i64 / 3, i32::from_le_bytes(four.try_into().unwrap()));
            }
        }
    };
    for (stamp, mic, sender, bytes) in arrivals {
        let now = MonoTime::from_nanos(stamp.as_nanos());
        let mut served = None;
        while let Some(due) = engine.next_timeout().filter(|due| *due <= now && served != Some(*due)) {
            served = Some(due);
            engine.begin_turn(Clocks { mono: due, wall: KernelTime::from_nanos(due.as_nanos()) });
            engine.handle_timeout();
            drain(&mut engine);
        }
        engine.begin_turn(Clocks { mono: now, wall: *stamp });
        engine.handle_datagram(&Datagram { mic: *mic, stamp: *stamp, sender: *sender, bytes, len: bytes.len() });
        engine.handle_timeout();
        drain(&mut engine);
    }
    heard
}

/// Samples at the place that most have: those that are there, and that one microphone's beside another's are right.
fn right(channels: &[BTreeMap<i64, i32>; 3]) -> usize {
    let mut offsets: BTreeMap<i64, usize> = BTreeMap::new();
    for (position, sample) in channels.iter().flatten().filter(|(_, sample)| **sample != 0) {
        *offsets.entry(i64::from(sample & 0x0fff_ffff) - position).or_default() += 1;
    }
    offsets.into_values().max().unwrap_or(0)
}

#[test]
fn what_comes_late_is_in_the_file_and_no_more_is_wrong_than_a_listener_heard() {
    let scratch = Scratch::new("extract-late");
    const NUMBERED: [&str; 4] = ["--clock", "shared", "--format", "raw:s32le,skip=4,seq=u32le@0"];
    const WITHOUT: [&str; 4] = ["--clock", "shared", "--format", "raw:s32le,skip=4"];
    // Eight seconds of mic 1 are held up, and come then: more than a live history holds.
    let held = |packet: &Packet| {
        let behind = 1_750 - packet.cycle as i64;
        let is_held = packet.mic == 1 && (1..=750).contains(&behind);
        if is_held { Span::from_nanos(behind * 10_656_667) } else { Span::ZERO }
    };
    let none = |_: &Packet| Span::ZERO;
    let bursts = Loss::GilbertElliott { overall: 0.05, mean_burst: 3.0 };
    let network = |delay, loss| Network { delay, loss, ..Network::default() };
    let of = |seed, network| Scenario { seed, network, ..scenario(60) };
    let calm = of(2, network(Delay::Exp(Span::from_micros(200)), Loss::None));
    let cases = [
        ("held up", arrivals(&calm, held), NUMBERED, 740 * 512),
        ("bursts", arrivals(&of(3, network(Delay::Exp(Span::from_millis(1)), bursts)), none), WITHOUT, 0),
        ("jitter", arrivals(&of(4, network(Delay::Exp(Span::from_millis(6)), bursts)), none), WITHOUT, 0),
        ("numbers", arrivals(&of(4, network(Delay::Exp(Span::from_millis(60)), bursts)), none), NUMBERED, 1),
    ];
    for (name, arrivals, options, better) in cases {
        let heard = right(&live(&arrivals, options));
        let (writer, mut file) = (Writer::new(None), Vec::new());
        writer.begin(&mut file, sockets(), "micring", "a test");
        for (stamp, mic, from, bytes) in &arrivals {
            writer.datagram(&mut file, *mic, *stamp, *from, sockets()[*mic], bytes, bytes.len());
        }
        let found = one_file(&scratch, "a.pcapng", &file, &options);
        let channel = |mic: usize| (found.position..).zip(found.channels[mic].iter().copied()).collect();
        let extracted = right(&[0, 1, 2].map(channel));
        println!("{name}: {extracted} samples right, {heard} live");
        assert!(extracted >= heard + better, "{name}: {extracted} samples right, {heard} live");
    }
}

#[test]
fn a_folder_or_a_disk_that_takes_nothing_is_said() {
    let scratch = Scratch::new("extract-fails");
    let file = scratch.file("a.pcapng", &recording(&scenario(5), None).0);
    let fails = |to: &str, options: &[&str]| {
        let output = process::Command::new(env!("CARGO_BIN_EXE_micring"))
            .args(["extract", &file, "--to", to])
            .args(options)
            .output()
            .expect("extract runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = fails("/proc/no", &[]);
    assert!(said.starts_with("micring: cannot write into /proc/no: "), "{said}");
    let (folder, _) = extract(&scratch, "twice", &file, &[]);
    let said = fails(folder.to_str().unwrap(), &[]);
    assert!(
        said.starts_with("micring: cannot write ") && said.contains("File exists"),
        "nothing is overwritten: {said}"
    );
}
