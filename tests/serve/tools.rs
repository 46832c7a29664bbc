//! The lines of docs/out.md, run as they stand there.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::rig::{Folder, Serve, python};

/// The lines under "One line each" that have this in them; the server's address put in.
fn line(serve: &Serve, part: &str) -> String {
    let text = include_str!("../../docs/out.md");
    let lines = text.split("## One line each").nth(1).expect("it stands there").lines();
    let found: Vec<&str> = lines.filter(|line| line.contains("127.0.0.1:5000/") && line.contains(part)).collect();
    assert_eq!(found.len(), 1, "{part}: {found:?}");
    found[0].replace("127.0.0.1:5000", &serve.http.to_string())
}

/// Runs it while microphones send, until it ends by itself: what it says on standard output, after standard error was empty.
fn run(serve: &Serve, line: &str) -> String {
    let mut sender = serve.simulator(&["--duration", "120s"]).stdout(Stdio::null()).spawn().unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", line]).env("SDL_AUDIODRIVER", "dummy");
    let output = shell.current_dir(std::env::temp_dir()).stdin(Stdio::null()).output().expect("bash runs");
    sender.kill().unwrap();
    sender.wait().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.trim().is_empty(), "{line}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn ffplay_plays_it() {
    let serve = Serve::start(&[]);
    // Its own clock, which runs while it plays; the stream has no end by itself.
    let told = line(&serve, "ffplay").replace("ffplay", "timeout 8 ffplay -v error -stats");
    let said = run(&serve, &format!("{told} 2>&1 | tr '\\r' '\\n' | tail -n 1 || true"));
    let seconds: f64 = said.split_whitespace().next().and_then(|first| first.parse().ok()).expect("it tells its clock");
    assert!(seconds > 1.0, "{said}");
}

#[test]
fn gstreamer_aplay_and_sox_take_it_from_a_pipe() {
    let serve = Serve::start(&[]);
    // The reader goes after so much; curl is not to blame.
    let cut = |line: String, at: &str, then: &str| format!("{{ {} || true; }}", line.replace(at, then));
    run(
        &serve,
        &cut(line(&serve, "gst-launch"), "autoaudiosink", "fakesink num-buffers=40")
            .replace("gst-launch-1.0", "gst-launch-1.0 -q"),
    );
    run(&serve, &cut(line(&serve, "aplay"), "aplay", "aplay -q -D null -d 2"));
    let sox = line(&serve, "sox").replace("three-channels.wav", "-t raw - trim 0 2s | wc -c");
    let heard: u64 =
        run(&serve, &format!("{{ {}; }}", sox.replace("trim 0 2s", "trim 0 96000s"))).trim().parse().unwrap();
    assert_eq!(heard, 96_000 * 12, "two seconds of three channels");
}

#[test]
fn numpy_reads_frames_of_three() {
    let serve = Serve::start(&[]);
    let said = run(
        &serve,
        &line(&serve, "numpy")
            .replace("python3", &python())
            .replace("print(", "print((")
            .replace("3))\"", "3)).shape)\""),
    );
    assert_eq!(said.trim(), "(48000, 3)");
}

#[test]
fn a_speech_server_behind_a_socket_hears_sixteen_thousand_samples_a_second() {
    let serve = Serve::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 2 * 32_000];
        stream.read_exact(&mut bytes).expect("two seconds come");
        stream.write_all(b"words\n").unwrap();
        // It takes the answer before the line is cut.
        let mut more = vec![0; 32_000];
        stream.read_exact(&mut more).expect("another second comes");
        bytes
    });
    let whisper = line(&serve, "rate=16000").replace("43001", &port);
    // What it answers comes out again; then it is gone, and curl with it.
    assert_eq!(run(&serve, &format!("{{ {whisper} || true; }}")).trim(), "words");
    let heard = heard.join().unwrap();
    assert!(heard.iter().filter(|byte| **byte != 0).count() > heard.len() / 4, "it is no silence");
}

fn tests(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve").join(file).to_string_lossy().into_owned()
}

/// What a command prints, as JSON, after it ended well.
fn told(command: &mut Command) -> Value {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("it runs");
    assert!(output.status.success(), "{command:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// How many frames of `heard` stand in `sent`, and how many in a row are the same to so many bits.
fn heard(heard: &str, sent: &str, bits: u32) -> (u64, u64) {
    let told = told(Command::new(python()).args([&tests("heard.py"), heard, sent, &bits.to_string()]));
    (told["frames"].as_u64().unwrap(), told["same"].as_u64().unwrap())
}

/// A stream of noise that goes on, and a folder.
fn noise(name: &str) -> (Serve, std::process::Child, Folder) {
    let serve = Serve::patient(&[]);
    let sender = serve.simulator(&["--duration", "120s", "--signal", "noise"]).stdout(Stdio::null()).spawn().unwrap();
    (serve, sender, Folder::new(name))
}

#[test]
fn pipewire_plays_every_sample_as_it_came() {
    let (serve, mut sender, folder) = noise("pipewire");
    let (raw, sent, played) = (folder.file("sent.raw"), folder.file("sent.wav"), folder.file("played.wav"));
    let line = line(&serve, "pw-cat").replace("| pw-cat", &format!("| tee {raw} | pw-cat"));
    let status = Command::new(tests("pipewire.sh")).args([&played, &line]).stdin(Stdio::null()).status().unwrap();
    sender.kill().unwrap();
    sender.wait().unwrap();
    assert!(status.success());
    let raw = ["-t", "raw", "-e", "signed", "-b", "32", "-r", "48000", "-c", "3", &raw, &sent];
    assert!(Command::new("sox").args(raw).status().unwrap().success());
    let (frames, same) = heard(&played, &sent, 24);
    // PipeWire's own samples are floats of 24 bits. On a busy machine it stumbles now and then, and goes on elsewhere.
    assert!(frames > 48_000 && same > 12_000, "{frames} frames, {same} in a row are the same");
}

#[test]
fn audacity_opens_what_sox_wrote() {
    let (serve, mut sender, folder) = noise("audacity");
    let (sent, opened) = (folder.file("three-channels.wav"), folder.file("opened.wav"));
    let sox = line(&serve, "sox").replace("three-channels.wav", &format!("{sent} trim 0 96000s"));
    let status = Command::new("bash").args(["-c", &sox]).stderr(Stdio::null()).status().unwrap();
    sender.kill().unwrap();
    sender.wait().unwrap();
    assert!(status.success());
    let tracks = told(Command::new(python()).args([&tests("audacity.py"), &sent, &opened]));
    assert_eq!(tracks.as_array().unwrap().len(), 3, "{tracks}");
    // It writes 16 bits, with dither: some ten steps at the most.
    assert_eq!(heard(&opened, &sent, 12), (96_000, 96_000));
}
