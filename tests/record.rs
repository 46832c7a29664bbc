//! `serve --record` and `replay` as whole programs: what is in the files, what a second reader (tshark) sees in them, and that
//! no disk can hurt audio.

#![allow(clippy::disallowed_methods, reason = "a whole program runs in real time")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use micring::capture::{Datagrams, Fault, Seen};
use rig::{Event, Events, Folder, PATIENCE, Serve, assert_aligned, micring, offset_of, skips, tell};
use serde_json::Value;
use skipped::skipped;

#[path = "serve/rig.rs"]
#[allow(dead_code, reason = "the rig of tests/serve, of which this file needs a part")]
mod rig;
#[path = "support/skipped.rs"]
mod skipped;

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// One datagram, as a recording has it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Kept {
    mic: usize,
    stamp_ns: i64,
    to: u16,
    len: usize,
    bytes: Vec<u8>,
}

/// All datagrams, the newest statistics of each microphone (received, dropped), and whether the file ends with a whole block.
fn read(path: &Path) -> (Vec<Kept>, [(u64, u64); 3], bool) {
    let mut input = Datagrams::new(fs::File::open(path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let (mut kept, mut statistics) = (Vec::new(), [(0, 0); 3]);
    loop {
        match input.next_seen() {
            Ok(Some(Seen::Datagram(seen))) => kept.push(Kept {
                mic: seen.mic.expect("our own recordings say which microphone"),
                stamp_ns: seen.stamp.as_nanos(),
                to: seen.to.port(),
                len: seen.len,
                bytes: seen.bytes.to_vec(),
            }),
            Ok(Some(Seen::Statistics(seen))) => {
                statistics[seen.mic.unwrap()] = (seen.received.unwrap(), seen.dropped.unwrap());
            }
            Ok(Some(Seen::Nothing)) => {}
            Ok(None) => return (kept, statistics, true),
            Err(error) => {
                assert_eq!(error.fault, Fault::Truncated, "{error}");
                return (kept, statistics, false);
            }
        }
    }
}

fn counts(kept: &[Kept]) -> [usize; 3] {
    std::array::from_fn(|mic| kept.iter().filter(|datagram| datagram.mic == mic).count())
}

/// Waits until the diagnostics fulfil a wish.
fn until(serve: &Serve, mut wish: impl FnMut(&Value) -> bool) -> Value {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let diagnostics = serve.diagnostics();
        if wish(&diagnostics) {
            return diagnostics;
        }
        assert!(Instant::now() < give_up, "{}", diagnostics["recording"]);
        std::thread::sleep(Duration::from_millis(60));
    }
}

/// Runs Debian's tshark on a file: one line a packet, these fields of it.
fn tshark(path: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args([
        "-o",
        "udp.check_checksum:TRUE",
        "-o",
        "ip.check_checksum:TRUE",
        "-T",
        "fields",
        "-E",
        "separator=;",
    ]);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output =
        command.arg("-r").arg(path).stderr(Stdio::null()).output().expect("tshark is installed: see scripts/test");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split(';').map(str::to_owned).collect()).collect()
}

/// No cycle of these recordings is closed by its timer, on however busy a machine: a loop that is late itself reads what came after
/// the hold before it looks at its timers, and keeps such a cycle complete; in virtual time the timer is never late.
const HOLD: &str = "500ms";

/// What `analyze` says of a file.
fn analyzed(path: &Path) -> Value {
    let output = micring().args(["analyze", "--json", "--hold", HOLD]).arg(path).output().expect("analyze runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every number of `live` stands in `later` too, to within so many units: a name that ends so, and all below it.
fn assert_same_figures(name: &str, live: &Value, later: &Value, within: f64) {
    match (live, later) {
        (Value::Object(live), Value::Object(_)) => {
            for (key, live) in live {
                assert_same_figures(&format!("{name}.{key}"), live, &later[key], within);
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let apart = (a.as_f64().unwrap() - b.as_f64().unwrap()).abs();
            assert!(apart <= within, "{name}: {a} live, {b} of the recording");
        }
        _ => assert_eq!(live, later, "{name}"),
    }
}

/// The figures of the live run and of its recording: the same engine saw the same packets. Left out is what no recording can tell
/// (what the loop added) and what is another thing (uptime, the last ten seconds).
fn assert_analysis_agrees(live: &Value, later: &Value) {
    for exact in ["packet_stats", "loss", "cycles", "synchronization_status", "clock_steps"] {
        assert_eq!(live[exact], later[exact], "{exact}");
    }
    // A live arrival is carried from CLOCK_REALTIME to the steady clock by an offset that is read each turn, to some 10 ns.
    assert_same_figures("jitter_us", &live["jitter_us"], &later["jitter_us"], 0.2);
    let (skew, later_skew) = (&live["arrival_skew_us"], &later["arrival_skew_us"]);
    for (pair, figures) in skew.as_object().unwrap() {
        for (figure, value) in figures.as_object().unwrap() {
            let within = match figure.as_str() {
                // A quantile is its bucket's, and those are up to 1 % wide.
                "p50" | "p90" | "p99" | "p999" => 0.2 + 0.01 * value.as_f64().unwrap().abs(),
                // Slopes between medians a second apart: nanoseconds become 0.1 us a minute.
                "trend_us_per_min" | "trend_uncertainty_us_per_min" => 2.0,
                _ => 0.2,
            };
            assert_same_figures(&format!("{pair}.{figure}"), value, &later_skew[pair][figure], within);
        }
        assert!(figures["count"].as_u64().unwrap() > 1_000, "{figures}");
    }
    let (drift, later_drift) = (&live["clock_drift_ppm"], &later["clock_drift_ppm"]);
    for (clock, figure) in drift.as_object().unwrap() {
        // How wide it is, and whether it is known at all, is the machine's; that both say the same is not.
        let later = &later_drift[clock];
        let of = |figure: &Value| Some((figure["ppm"].as_f64()?, figure["uncertainty_ppm"].as_f64()?));
        match (of(figure), of(later)) {
            (Some((ppm, uncertainty)), Some((later_ppm, later_uncertainty))) => {
                let within = uncertainty.min(later_uncertainty) / 4.0;
                assert!((ppm - later_ppm).abs() <= within, "{clock}: {figure} live, {later} of the recording");
            }
            (known, later_known) => {
                assert_eq!(known, later_known, "{clock}: known of both or of none");
                assert_eq!(figure["reason"], later["reason"], "{clock}");
            }
        }
    }
}

#[test]
fn sixty_seconds_are_to_tshark_and_to_analyze_what_serve_said_live() {
    let folder = Folder::new("tshark");
    let mut serve = Serve::start(&["--record", folder.path(), "--queue", "4096", "--hold", HOLD]);
    let mut events = serve.events("/api/stream");
    // The kernel's stamps, as the stream of packets tells them until the end.
    let reader = std::thread::spawn(move || {
        let mut arrivals: [Vec<i64>; 3] = Default::default();
        while let Some(event) = events.next() {
            let device = event.json["device_id"].as_str().unwrap();
            let mic: usize = device.strip_prefix("udp-mic").unwrap().parse().unwrap();
            arrivals[mic].push(event.json["arrival_us"].as_i64().unwrap());
        }
        arrivals
    });
    let truth = serve.simulate(&["--duration", "60s", "--loss", "1%", "--jitter", "300us", "--ppm", "25"]);
    let sent = [0, 1, 2].map(|mic: usize| truth["mics"][mic]["sent"].as_u64().unwrap());
    // The last cycles' holds run out, and a rendering may be 50 ms old.
    std::thread::sleep(Duration::from_millis(1_200));
    let live = until(&serve, |d| d["recording"]["recorded"] == serde_json::json!(sent));
    let ports = serve.mics.map(|mic| mic.port());
    assert_eq!(live["recording"]["not_recorded"], serde_json::json!([0, 0, 0]));
    let metrics = String::from_utf8(serve.get("/metrics").body).unwrap();
    let line = format!("micring_recorded_datagrams_total{{mic=\"0\"}} {}", sent[0]);
    assert!(metrics.lines().any(|found| found == line), "{line}");
    assert_eq!(serve.stop(), Some(0));
    let arrivals = reader.join().unwrap();

    let files = recordings(&folder.0);
    assert_eq!(files.len(), 1, "{files:?}");
    let (kept, statistics, whole) = read(&files[0]);
    assert!(whole);
    let counted = counts(&kept).map(|count| count as u64);
    assert_eq!(counted, sent);
    assert_eq!(statistics, sent.map(|sent| (sent, 0)));
    assert_eq!(live["packet_stats"]["packets_received"], serde_json::json!(sent));
    assert_analysis_agrees(&live, &analyzed(&files[0]));
    for (mic, arrivals) in arrivals.iter().enumerate() {
        let stamps: Vec<i64> = kept.iter().filter(|k| k.mic == mic).map(|k| k.stamp_ns / 1_000).collect();
        assert_eq!(*arrivals, stamps, "the stamps are those that clients were told");
        let samples = kept.iter().filter(|k| k.mic == mic).flat_map(|k| k.bytes.chunks_exact(4));
        // The index signal: microphone in the top four bits.
        assert!(
            samples.map(|four| i32::from_le_bytes(four.try_into().unwrap()) >> 28).all(|top| top == mic as i32 + 1)
        );
    }

    let fields = [
        "frame.interface_id",
        "frame.time_epoch",
        "udp.dstport",
        "udp.payload",
        "udp.checksum.status",
        "ip.checksum.status",
    ];
    let seen = tshark(&files[0], &fields);
    assert_eq!(seen.len(), kept.len());
    for (seen, kept) in seen.iter().zip(&kept) {
        let stamp = format!("{}.{:09}", kept.stamp_ns / 1_000_000_000, kept.stamp_ns % 1_000_000_000);
        let payload: String = kept.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(kept.to, ports[kept.mic]);
        // Status 1: the checksum was checked and is right.
        let expected = [kept.mic.to_string(), stamp, kept.to.to_string(), payload, "1".into(), "1".into()];
        assert_eq!(*seen, expected);
    }
}

#[test]
fn everything_that_came_is_recorded_and_a_snap_keeps_its_head() {
    let folder = Folder::new("snap");
    let serve = Serve::start(&["--record", folder.path(), "--record-snap", "64"]);
    let mut board = serve.board();
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    board.cycles(20);
    board.period(|board| {
        board.send(0, &[]);
        board.send(1, b"odd");
        board.send(2, &[7; 9_000]);
    });
    stranger.send_to(&board.packet(0, 512), serve.mics[0]).unwrap();
    until(&serve, |d| d["recording"]["recorded"] == serde_json::json!([22, 21, 21]));
    let (kept, ..) = read(&recordings(&folder.0)[0]);
    assert!(kept.iter().all(|k| k.bytes.len() == k.len.min(64 - 28)));
    let odd: Vec<usize> = kept.iter().filter(|k| k.len != 2_048).map(|k| k.len).collect();
    assert_eq!(odd, [0, 3, 9_000]);
}

#[test]
fn after_sigkill_the_file_is_readable_up_to_its_last_whole_block() {
    let folder = Folder::new("sigkill");
    let mut serve = Serve::start(&["--record", folder.path()]);
    let mut child = serve.simulator(&["--cycles", "2000"]).stdout(Stdio::null()).spawn().unwrap();
    let live = until(&serve, |d| d["recording"]["recorded"][2].as_u64().unwrap() > 100);
    serve.signal(libc::SIGKILL);
    assert_eq!(serve.exit_code(), None);
    child.kill().unwrap();
    child.wait().unwrap();
    let (kept, ..) = read(&recordings(&folder.0)[0]);
    for (mic, count) in counts(&kept).into_iter().enumerate() {
        let recorded = live["recording"]["recorded"][mic].as_u64().unwrap();
        assert!(count as u64 >= recorded, "mic {mic}: {count} in the file, {recorded} were said to be");
    }
}

#[test]
fn files_rotate_and_the_folder_stays_within_its_bound() {
    let folder = Folder::new("rotate");
    let bounds = ["--record", folder.path(), "--record-rotate-bytes", "300kB", "--record-max-bytes", "1MB"];
    let mut serve = Serve::start(&bounds);
    let truth = serve.simulate(&["--cycles", "500"]);
    until(&serve, |d| d["recording"]["recorded"] == serde_json::json!([500, 500, 500]));
    assert_eq!(serve.stop(), Some(0));
    assert_eq!(truth["mics"][0]["sent"], 500);
    let files = recordings(&folder.0);
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= 1_000_000 && bytes > 600_000, "{bytes} bytes in {files:?}");
    let all: Vec<Kept> = files
        .iter()
        .flat_map(|file| {
            let (kept, statistics, whole) = read(file);
            assert!(whole, "{file:?}");
            assert_eq!(statistics.map(|(received, _)| received as usize), counts(&kept));
            kept
        })
        .collect();
    // The last ones, without a gap.
    assert_eq!(all.last().unwrap().bytes[..4], i32::to_le_bytes((3 << 28) | (499 * 512)));
    for mic in 0..3 {
        let first: Vec<i32> =
            all.iter().filter(|k| k.mic == mic).map(|k| i32::from_le_bytes(k.bytes[..4].try_into().unwrap())).collect();
        assert!(first.windows(2).all(|two| two[1] - two[0] == 512));
    }
    // A second run finds them, and counts them.
    let mut serve = Serve::start(&bounds);
    serve.simulate(&["--cycles", "200"]);
    until(&serve, |d| d["recording"]["recorded"] == serde_json::json!([200, 200, 200]));
    assert_eq!(serve.stop(), Some(0));
    let bytes: u64 = recordings(&folder.0).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= 1_000_000, "{bytes} bytes");
    assert!(!files[0].exists());
}

/// Whoever may write into the folder knows the process's next ids.
#[test]
fn nothing_is_written_through_a_link_that_somebody_planted() {
    let (folder, elsewhere) = (Folder::new("links"), Folder::new("victim"));
    let victim = elsewhere.0.join("precious");
    fs::write(&victim, "precious").unwrap();
    let own = std::process::id();
    let planted: Vec<PathBuf> = (own..own + 4_000).map(|pid| folder.0.join(format!(".micring-{pid}"))).collect();
    planted.iter().for_each(|link| std::os::unix::fs::symlink(&victim, link).unwrap());
    let mut serve = Serve::start(&["--record", folder.path()]);
    assert_eq!(serve.stop(), Some(0));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(planted.iter().all(|link| link.is_symlink()), "what is not ours stays");
    assert_eq!(recordings(&folder.0).len(), planted.len() + 1);
}

#[test]
fn two_servers_in_one_folder_leave_each_other_what_they_write() {
    let folder = Folder::new("shared");
    let bound = ["--record", folder.path(), "--record-rotate-bytes", "100kB", "--record-max-bytes", "200kB"];
    let mut first = Serve::start(&["--record", folder.path()]);
    let open = recordings(&folder.0)[0].clone();
    first.simulate(&["--cycles", "50"]);
    until(&first, |d| d["recording"]["recorded"] == serde_json::json!([50, 50, 50]));
    let mut second = Serve::start(&bound);
    second.simulate(&["--cycles", "200"]);
    until(&second, |d| d["recording"]["recorded"] == serde_json::json!([200, 200, 200]));
    assert!(open.exists(), "the first server still writes it");
    first.simulate(&["--cycles", "50"]);
    until(&first, |d| d["recording"]["recorded"] == serde_json::json!([100, 100, 100]));
    assert_eq!(first.stop(), Some(0));
    assert_eq!(second.stop(), Some(0));
    let (kept, statistics, whole) = read(&open);
    assert!(whole && counts(&kept) == [100; 3] && statistics == [(100, 0); 3], "{statistics:?}");
    let own: Vec<PathBuf> = recordings(&folder.0).into_iter().filter(|file| *file != open).collect();
    let bytes: u64 = own.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= 200_000, "{bytes} bytes of its own in {own:?}");
    // One that is alone there has all that was left behind in its care.
    let mut third = Serve::start(&bound);
    third.simulate(&["--cycles", "50"]);
    until(&third, |d| d["recording"]["recorded"] == serde_json::json!([50, 50, 50]));
    assert_eq!(third.stop(), Some(0));
    let bytes: u64 = recordings(&folder.0).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= 200_000 && !open.exists(), "{bytes} bytes");
}

/// Audio must not notice: every cycle complete, aligned, and none missing.
fn assert_audio(events: &mut Events, cycles: usize) {
    let got: Vec<Event> = (0..cycles).map(|_| events.next().expect("the stream goes on")).collect();
    let offset = offset_of(&got[0]);
    for event in &got {
        assert_aligned(event, offset);
        assert!(event.is_complete());
    }
    assert_eq!(skips(&got), Vec::<i64>::new());
}

/// `serve` whose disk is limited by what runs between fork and exec.
fn serve_on(
    folder: &Folder,
    args: &[&str],
    limit: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) -> Serve {
    let mut command = micring();
    command.args(["serve", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0", "--record"]);
    command.arg(folder.path()).args(args);
    // SAFETY: the closures below make plain system calls only.
    unsafe { command.pre_exec(limit) };
    Serve::spawn(command)
}

#[test]
fn a_full_disk_is_counted_and_said_and_harms_no_audio() {
    // A file system of 1 MiB, in a mount namespace of serve's own: it goes with the process.
    let folder = Folder::new("full");
    let target = std::ffi::CString::new(folder.path()).unwrap();
    let mut serve = serve_on(&folder, &[], move || {
        // SAFETY: plain system calls on C strings that live through them.
        let failed = unsafe {
            libc::unshare(libc::CLONE_NEWNS) != 0
                || libc::mount(
                    std::ptr::null(),
                    c"/".as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) != 0
                || libc::mount(c"tmpfs".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, c"size=1m".as_ptr().cast())
                    != 0
        };
        if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    });
    let mut events = serve.events("/api/stream_3ch");
    // The file takes 1 MiB, memory 8 MiB: 27 MB is more than both. Fast, since only the disk matters here; the spacing is even.
    let mut child = serve.simulator(&["--cycles", "1600", "--speed", "1"]).stdout(Stdio::null()).spawn().unwrap();
    assert_audio(&mut events, 1_600);
    child.wait().unwrap();
    let live = until(&serve, |d| d["recording"]["errors"].as_u64().unwrap() > 1);
    let recording = &live["recording"];
    let sum = |key: &str| recording[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>();
    assert!(sum("recorded") > 400, "{recording}");
    assert!(recording["queued_bytes"].as_u64().unwrap() <= 8 << 20, "{recording}");
    assert!(serve.resident_kib() < 40 << 10, "memory is bounded: {} KiB", serve.resident_kib());
    // Seen from outside the namespace, through the process.
    let inside = PathBuf::from(format!("/proc/{}/root{}", serve.pid(), folder.path()));
    let (kept, _, whole) = read(&recordings(&inside)[0]);
    assert!(!whole && kept.len() as u64 >= sum("recorded"));
    let said = serve.stderr();
    assert_eq!(said.matches("No space left on device; trying again every second").count(), 1, "{said}");
    let happened = format!(
        "1600 of 1600 cycles; {} packets recorded, {} counted as not, said once",
        sum("recorded"),
        sum("not_recorded")
    );
    assert_eq!(serve.stop(), Some(0));
    assert!(serve.stderr().contains(" did not reach the disk: No space left on device"), "{}", serve.stderr());
    tell("disk full while recording", "audio goes on; what is not recorded is counted", &happened, 0, None);
}

#[test]
fn a_file_size_limit_begins_another_file_and_harms_no_audio() {
    let folder = Folder::new("fsize");
    let mut serve = serve_on(&folder, &[], || {
        let limit = libc::rlimit { rlim_cur: 500_000, rlim_max: 500_000 };
        // SAFETY: the kernel reads one struct that lives through the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) } == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    });
    let mut events = serve.events("/api/stream_3ch");
    let mut child = serve.simulator(&["--cycles", "300"]).stdout(Stdio::null()).spawn().unwrap();
    assert_audio(&mut events, 300);
    child.wait().unwrap();
    let all = |d: &Value| {
        let sum = |key: &str| d["recording"][key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>();
        (sum("recorded"), sum("not_recorded"))
    };
    let live = until(&serve, |d| all(d).0 + all(d).1 == 900);
    assert_eq!(serve.stop(), Some(0));
    let (recorded, not_recorded) = all(&live);
    assert!(not_recorded > 0 && recorded > 600, "{}", live["recording"]);
    let kept: usize = recordings(&folder.0).iter().map(|file| read(file).0.len()).sum();
    assert!(kept as u64 >= recorded, "{kept} datagrams in the files");
}

#[test]
fn a_folder_that_cannot_be_had_is_said_before_anything_runs() {
    let output =
        micring().args(["serve", "--record", "/proc/no", "--mic-ports", "0,0,0", "--http", "127.0.0.1:0"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("micring: cannot record into /proc/no: "), "{said}");
}

#[test]
fn a_folder_that_is_lost_once_confined_is_said_before_ready() {
    // SAFETY: reads this process's user.
    if unsafe { libc::geteuid() } != 0 {
        return skipped(
            "a folder lost once confined",
            "serve gives up root's right to write into others' folders, so it needs root",
        );
    }
    let folder = Folder::new("other");
    std::os::unix::fs::chown(&folder.0, Some(12_345), Some(12_345)).unwrap();
    let mut command = micring();
    command.args(["serve", "--mic-ports", "0,0,0", "--http", "127.0.0.1:0", "--record", folder.path()]);
    let output = command.output().expect("serve ends by itself");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "never ready");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("cannot record into {}: Permission denied once confined", folder.path())), "{said}");
    assert_eq!(recordings(&folder.0).len(), 0);
    let mut serve = Serve::start(&["--record", folder.path(), "--no-sandbox"]);
    assert_eq!(serve.stop(), Some(0));
    assert_eq!(recordings(&folder.0).len(), 1);
}

#[test]
fn a_replay_gives_the_same_audio_and_the_same_losses() {
    let folder = Folder::new("replay");
    let mut serve = Serve::start(&["--record", folder.path()]);
    let truth = serve.simulate(&["--cycles", "300", "--loss", "3%", "--seed", "7"]);
    let sent = [0, 1, 2].map(|mic: usize| truth["mics"][mic]["sent"].clone());
    until(&serve, |d| d["recording"]["recorded"] == serde_json::json!(sent));
    assert_eq!(serve.stop(), Some(0));
    let recorded = read(&recordings(&folder.0)[0]).0;

    let again = Folder::new("replayed");
    let mut serve = Serve::start(&["--record", again.path()]);
    let mut events = serve.events("/api/stream_3ch");
    let ports = serve.ports();
    let output = micring()
        .args(["replay", "--mic-ports", &ports, recordings(&folder.0)[0].to_str().unwrap()])
        .output()
        .expect("replay runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["sent"], serde_json::json!(sent));
    // Every cycle that is not lost as a whole, each frame at its place or flagged.
    let got = events.until(|event| event.first_frame() + event.frames() >= 299 * 512);
    let offset = offset_of(&got[0]);
    got.iter().for_each(|event| assert_aligned(event, offset));
    let live = until(&serve, |d| d["recording"]["recorded"] == serde_json::json!(sent));
    for mic in 0..3 {
        assert_eq!(live["loss"][format!("mic{mic}")]["lost"], truth["mics"][mic]["withheld"]);
    }
    assert_eq!(serve.stop(), Some(0));
    // Bit for bit, and spaced as it was: to a few milliseconds on a busy machine in the middle.
    let replayed = read(&recordings(&again.0)[0]).0;
    assert_eq!(replayed.len(), recorded.len());
    for mic in 0..3 {
        let of =
            |all: &[Kept]| -> Vec<Vec<u8>> { all.iter().filter(|k| k.mic == mic).map(|k| k.bytes.clone()).collect() };
        assert_eq!(of(&replayed), of(&recorded));
    }
    let spacing = |all: &[Kept]| all.last().unwrap().stamp_ns - all[0].stamp_ns;
    let difference = (spacing(&replayed) - spacing(&recorded)).abs();
    assert!(difference < 50_000_000, "{difference} ns between first and last");
}

#[test]
fn a_replay_loops_until_told_to_stop_and_maps_ports() {
    let folder = Folder::new("loop");
    let mut serve = Serve::start(&["--record", folder.path(), "--record-snap", "100"]);
    serve.simulate(&["--cycles", "20"]);
    until(&serve, |d| d["recording"]["recorded"] == serde_json::json!([20, 20, 20]));
    let was = serve.mics.map(|mic| mic.port().to_string());
    assert_eq!(serve.stop(), Some(0));
    let file = recordings(&folder.0)[0].clone();

    let target = Serve::start(&[]);
    let crossed = [was[1].clone(), was[0].clone(), was[2].clone()].join(",");
    let mut child = micring()
        .args(["replay", "--loop", "--ports", &crossed, "--mic-ports", &target.ports(), file.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until(&target, |d| d["packet_stats"]["packets_received"][2].as_u64().unwrap() > 20);
    // SAFETY: kill only asks the kernel to signal our own, still unreaped child.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    assert!(child.wait().unwrap().success());
    let said: Value = serde_json::from_reader(child.stdout.take().unwrap()).unwrap();
    assert!(said["rounds"].as_u64().unwrap() > 1 && said["interrupted"] == true, "{said}");
    assert_eq!(said["filled_up"], said["sent"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>());
    assert!(micring().args(["replay", "/nowhere.pcapng"]).output().unwrap().status.code() == Some(1));
}
