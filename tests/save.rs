//! `serve --save` as a whole program: what is in the files, what other readers of sound files see in them, and that no disk can hurt audio.

#![allow(clippy::disallowed_methods, reason = "a whole program runs in real time")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rig::{Folder, PATIENCE, Serve, index, micring, python};
use serde_json::Value;
use skipped::skipped;

#[path = "serve/rig.rs"]
#[allow(dead_code, reason = "the rig of tests/serve, of which this file needs a part")]
mod rig;
#[path = "support/skipped.rs"]
mod skipped;

/// A saved file: where it begins in the run, what is in it, and what is said of it.
struct Saved {
    path: PathBuf,
    position: i64,
    /// Frames of three.
    samples: Vec<i32>,
    lines: Vec<Value>,
}

impl Saved {
    fn frames(&self) -> i64 {
        self.samples.len() as i64 / 3
    }

    /// Its gaps: position, frames, microphone.
    fn gaps(&self) -> Vec<(i64, i64, Option<usize>)> {
        let of = |line: &Value| {
            let number = |key: &str| line[key].as_i64().unwrap();
            assert_eq!(number("position") - number("frame"), self.position);
            (number("position"), number("frames"), line["mic"].as_u64().map(|mic| mic as usize))
        };
        self.lines.iter().filter(|line| line["kind"] == "gap").map(of).collect()
    }
}

/// Audio files, in the order of the run.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "wav"));
    found.sort();
    found
}

/// As the layout of WAV has it (RIFF, `fmt `, `data`), by hand.
fn read(path: &Path) -> Saved {
    let bytes = fs::read(path).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((&bytes[..4], &bytes[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    let mut at = 12;
    let data = loop {
        let (id, size) = (&bytes[at..at + 4], u32_at(at + 4));
        match id {
            b"data" => break &bytes[at + 8..at + 8 + size],
            b"fmt " => assert_eq!(bytes[at + 8..at + 12], [1, 0, 3, 0], "PCM of three channels"),
            _ => {}
        }
        at += 8 + size;
    };
    let samples = data.chunks_exact(4).map(|four| i32::from_le_bytes(four.try_into().unwrap())).collect();
    let text = fs::read_to_string(path.with_extension("jsonl")).unwrap();
    // A killed server's last line may be cut.
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(lines[0]["kind"], "begin", "{path:?}");
    let position = lines[0]["position"].as_i64().unwrap();
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    assert_eq!(name.rsplit_once('-').unwrap().1.parse(), Ok(position), "{name}");
    Saved { path: path.into(), position, samples, lines }
}

/// Files put behind each other are the index signal at every frame, or silence that their sidecars tell. The silent samples of each
/// microphone. `mic 0, frame 0` of the run stands at the sender's position `offset`.
fn assert_true(saved: &[Saved]) -> [i64; 3] {
    let mut silent = [0; 3];
    let mut offset = None;
    for (file, behind) in saved.iter().zip(saved.iter().skip(1).map(Some).chain([None])) {
        if let Some(behind) = behind {
            assert_eq!(file.position + file.frames(), behind.position, "no seam");
        }
        let mut told = vec![[false; 3]; file.frames() as usize];
        for (position, frames, mic) in file.gaps() {
            for frame in position - file.position..position - file.position + frames {
                (0..3)
                    .filter(|other| mic.is_none_or(|mic| mic == *other))
                    .for_each(|mic| told[frame as usize][mic] = true);
            }
        }
        for (frame, (three, told)) in file.samples.chunks_exact(3).zip(&told).enumerate() {
            let position = file.position + frame as i64;
            for mic in 0..3 {
                assert_eq!(three[mic] == 0, told[mic], "{position} of mic {mic}: silence is a gap that is told");
                silent[mic] += i64::from(told[mic]);
                if three[mic] != 0 {
                    let offset = *offset.get_or_insert(i64::from(three[mic] & 0x0fff_ffff) - position);
                    assert_eq!(three[mic], index(mic, position + offset), "{position} of mic {mic}");
                }
            }
        }
    }
    silent
}

/// What libsndfile, sox and ffmpeg make of the files is what stands in them. `whole`: nor has any of them anything to say.
fn assert_others_read(saved: &[Saved], whole: bool) {
    const SOUNDFILE: &str = "import soundfile, sys\n\
        for name in sys.argv[1:]:\n    sys.stdout.buffer.write(soundfile.read(name, dtype='int32')[0].tobytes())";
    let paths: Vec<&str> = saved.iter().map(|file| file.path.to_str().unwrap()).collect();
    let bytes: Vec<u8> = saved.iter().flat_map(|file| &file.samples).flat_map(|sample| sample.to_le_bytes()).collect();
    let run = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().expect("it is installed: see scripts/test");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        (output.stdout, said)
    };
    assert!(run(Command::new(python()).args(["-c", SOUNDFILE]).args(&paths)).0 == bytes, "soundfile");
    // sox puts files behind each other by itself.
    let (heard, said) = run(Command::new("sox").args(&paths).args(["-t", "raw", "-"]));
    assert!(heard == bytes && (said.is_empty() || !whole), "sox: {said}");
    let mut heard = Vec::new();
    for path in &paths {
        let (bytes, said) = run(Command::new("ffmpeg").args(["-v", "error", "-i", path, "-f", "s32le", "-"]));
        assert!(said.is_empty() || !whole, "ffmpeg: {said}");
        heard.extend(bytes);
    }
    assert!(heard == bytes, "ffmpeg");
}

#[test]
fn files_are_the_audio_frame_by_frame_and_their_sidecars_say_what_is_missing() {
    let folder = Folder::new("truth");
    let mut serve = Serve::start(&["--save", folder.path(), "--save-rotate-age", "2s"]);
    let truth = serve.simulate(&["--cycles", "900", "--loss", "3%", "--seed", "5", "--drop-cycles", "7@3s"]);
    assert_eq!(serve.stop(), Some(0));
    let saved: Vec<Saved> = files(&folder.0).iter().map(|path| read(path)).collect();
    let silent = assert_true(&saved);
    let withheld = [0, 1, 2].map(|mic: usize| truth["mics"][mic]["withheld"].as_i64().unwrap());
    // Lost at the edges of the run there is nothing that a file could hold.
    let frames: i64 = saved.iter().map(Saved::frames).sum();
    let edges = 900 * 512 - frames;
    assert!((0..=2 * 512).contains(&edges), "{edges}");
    assert_eq!(silent, withheld.map(|count| count * 512 - edges));
    let whole = |gap: &(i64, i64, Option<usize>)| if gap.2.is_none() { gap.1 } else { 0 };
    assert_eq!(
        saved.iter().flat_map(Saved::gaps).map(|gap| whole(&gap)).sum::<i64>(),
        7 * 512,
        "cycles that were lost whole"
    );
    // 9.6 s are four files of two seconds, to the frame, and a rest.
    assert_eq!(saved[..4].iter().map(Saved::frames).collect::<Vec<_>>(), [96_000; 4]);
    for file in &saved {
        assert_eq!(file.lines.last().unwrap()["frames"], file.frames(), "closed with its length");
        let begin = &file.lines[0];
        assert_eq!(
            (&begin["array"], &begin["rate"], &begin["channels"]),
            (&"default".into(), &48_000.into(), &3.into())
        );
    }
    let at = |file: &Saved| file.lines[0]["at_us"].as_i64().unwrap();
    for two in saved.windows(2) {
        let apart = at(&two[1]) - at(&two[0]) - 2_000_000;
        assert!(apart.abs() < 500_000, "{apart} us beside two seconds");
    }
    assert!(saved[0].lines.iter().any(|line| line["kind"] == "clock" && line["clock"] == "shared"));
    assert!(saved[0].lines.iter().any(|line| line["kind"] == "alignment" && line["pair"] == "mic0_vs_mic1"));
    assert_others_read(&saved, true);
}

#[test]
fn after_sigkill_every_reader_has_the_audio_up_to_a_moment_before() {
    let folder = Folder::new("killed");
    let mut serve = Serve::start(&["--save", folder.path(), "--save-rotate-age", "4s"]);
    let mut child = serve.simulator(&["--cycles", "3000", "--loss", "1%"]).stdout(Stdio::null()).spawn().unwrap();
    // In the middle of the second file.
    let saving = until(&serve, |saving| saving["frames"].as_u64().unwrap() > 192_000 + 60_000);
    serve.signal(libc::SIGKILL);
    serve.exit_code();
    child.kill().unwrap();
    child.wait().unwrap();
    let saved: Vec<Saved> = files(&folder.0).iter().map(|path| read(path)).collect();
    assert_true(&saved[..1]);
    let frames: i64 = saved.iter().map(Saved::frames).sum();
    assert!(frames + 48_000 * 3 / 2 > saving["frames"].as_i64().unwrap(), "{frames} of {saving}");
    // The sidecar of the second is a second behind as well: its gaps may be untold.
    for (frame, three) in saved[1].samples.chunks_exact(3).enumerate() {
        let position = saved[1].position + frame as i64;
        (0..3).for_each(|mic| assert!(three[mic] == 0 || three[mic] & 0xfff == index(mic, position) & 0xfff));
    }
    assert_others_read(&saved, false);
}

/// Waits until the figures fulfil a wish.
fn until(serve: &Serve, mut wish: impl FnMut(&Value) -> bool) -> Value {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let saving = serve.diagnostics()["saving"].clone();
        if wish(&saving) {
            return saving;
        }
        assert!(Instant::now() < give_up, "{saving}");
        thread::sleep(Duration::from_millis(60));
    }
}

#[test]
fn a_full_disk_is_said_and_counted_and_harms_no_audio() {
    // SAFETY: reads this process's user.
    if unsafe { libc::geteuid() } != 0 {
        return skipped("a full disk", "a small file system needs root, to be mounted");
    }
    let folder = Folder::new("full");
    let target = std::ffi::CString::new(folder.path()).unwrap();
    let mut command = micring();
    command.args(["serve", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0"]);
    command.args(["--save", folder.path()]);
    // SAFETY: between fork and exec the child makes system calls only; the strings live on.
    unsafe {
        command.pre_exec(move || {
            if libc::unshare(libc::CLONE_NEWNS) != 0
                || libc::mount(
                    std::ptr::null(),
                    c"/".as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) != 0
                || libc::mount(c"tmpfs".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, c"size=1m".as_ptr().cast())
                    != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut serve = Serve::spawn(command);
    let mut events = serve.events("/api/stream_3ch");
    let mut child = serve.simulator(&["--cycles", "1500"]).stdout(Stdio::null()).spawn().unwrap();
    let got = events.until(|event| event.first_frame() + event.frames() >= 1_490 * 512);
    let offset = rig::offset_of(&got[0]);
    got.iter().for_each(|event| rig::assert_aligned(event, offset));
    child.wait().unwrap();
    // 16 s of audio are 9 MB: the disk takes 1, memory 4.6.
    let saving = until(&serve, |saving| saving["not_saved_frames"].as_u64().unwrap() > 100_000);
    assert!(saving["errors"].as_u64().unwrap() > 1 && saving["queued_bytes"].as_u64().unwrap() < 4_700_000, "{saving}");
    let metrics = String::from_utf8(serve.get("/metrics").body).unwrap();
    assert!(metrics.lines().any(|line| line.starts_with("micring_not_saved_frames_total ")), "the same in /metrics");
    let inside = PathBuf::from(format!("/proc/{}/root{}", serve.pid(), folder.path()));
    let saved = read(&files(&inside)[0]);
    assert!(saved.frames() > 20_000, "{}", saved.frames());
    assert_true(&[saved]);
    let said = serve.stderr();
    assert_eq!(said.matches("No space left on device; trying again every second").count(), 1, "{said}");
    assert_eq!(said.matches("pauses: No space left on device; what is not saved is counted").count(), 1, "{said}");
    assert_eq!(serve.stop(), Some(0));
    assert!(serve.stderr().contains(" did not reach the disk: No space left on device"), "{}", serve.stderr());
}

#[test]
fn each_array_has_its_own_files_and_the_oldest_go() {
    let folder = Folder::new("arrays");
    let config = folder.0.join("arrays.toml");
    fs::write(&config, "[[array]]\nname = \"hall\"\nports = [0, 0, 0]\n[[array]]\nname = \"192.0.2.7\"\nport = 0\n")
        .unwrap();
    let audio = folder.0.join("audio");
    let mut command = micring();
    command.args(["serve", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0", "--config", config.to_str().unwrap()]);
    command.args(["--save", audio.to_str().unwrap(), "--save-rotate-age", "1s", "--save-max-bytes", "4MB"]);
    let mut serve = Serve::spawn(command);
    let hall = serve.ready["arrays"][0]["mics"].clone();
    let port = |n: usize| hall[n].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let ports = format!("{},{},{}", port(0), port(1), port(2));
    let output = micring().args(["simulate", "--mic-ports", &ports, "--cycles", "800"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = serve.ready["arrays"][1]["mics"][0].as_str().unwrap().to_owned();
    for n in 0..60 {
        let bytes: Vec<u8> = (n * 512..n * 512 + 512).flat_map(|at| index(0, at).to_le_bytes()).collect();
        socket.send_to(&bytes, &other).unwrap();
        thread::sleep(Duration::from_micros(10_667));
    }
    assert_eq!(serve.stop(), Some(0));
    let names: Vec<String> =
        files(&audio).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let of = |array: &str| names.iter().filter(|name| name.starts_with(array)).count();
    assert_eq!(of("192.0.2.7-"), 1, "{names:?}");
    // Of 8.5 s of 576 kB each, what fits.
    assert!((5..=7).contains(&of("hall-")), "{names:?}");
    let bytes: u64 = fs::read_dir(&audio).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 4_000_000, "{bytes}");
    let sidecars =
        fs::read_dir(&audio).unwrap().filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "jsonl");
    assert_eq!(sidecars.count(), names.len(), "a sidecar goes with its file");
    let hall: Vec<Saved> =
        files(&audio).iter().filter(|path| path.to_str().unwrap().contains("hall-")).map(|path| read(path)).collect();
    assert_eq!(assert_true(&hall), [0; 3]);
}

#[test]
fn a_folder_that_cannot_be_had_is_said_before_anything_runs() {
    let said = |folder: &str| {
        let output =
            micring().args(["serve", "--save", folder, "--mic-ports", "0,0,0", "--http", "127.0.0.1:0"]).output();
        let output = output.expect("serve ends by itself");
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true), "never ready");
        String::from_utf8(output.stderr).unwrap()
    };
    let what = said("/proc/no");
    assert!(what.starts_with("micring: cannot save into /proc/no: "), "{what}");
    // SAFETY: reads this process's user.
    if unsafe { libc::geteuid() } != 0 {
        return skipped(
            "a folder lost once confined",
            "serve gives up root's right to write into others' folders, so it needs root",
        );
    }
    let folder = Folder::new("other");
    std::os::unix::fs::chown(&folder.0, Some(12_345), Some(12_345)).unwrap();
    let what = said(folder.path());
    assert!(what.contains(": Permission denied once confined"), "{what}");
}
