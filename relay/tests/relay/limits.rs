//! What the NATS server cannot do: one line with the next step, and an exit code.

use crate::far::connect;
use crate::rig::{Folder, Nats, Relay, Serve, micring, relay, until};

/// The last line, the code; no stack, no second line.
fn refused(nats: &str, args: &[&str]) -> (i32, String) {
    let (code, said) = Relay::refused(nats, args);
    let last = said.lines().last().expect("it says why").to_owned();
    assert!(last.starts_with("micring-relay: "), "{said}");
    (code.expect("it ends by itself"), last)
}

#[test]
fn nobody_there() {
    let (code, line) = refused("nats://127.0.0.1:1", &["--wait", "100ms"]);
    assert_eq!(code, 69, "{line}");
    assert!(line.contains("127.0.0.1:1") && line.contains("Connection refused") && line.contains("--nats"), "{line}");
}

#[test]
fn no_jetstream() {
    let nats = Nats::start("");
    let (code, line) = refused(&nats.url(), &[]);
    assert_eq!(code, 78, "{line}");
    assert!(line.contains("-js"), "{line}");
}

#[test]
fn wrong_credentials() {
    let nats = Nats::start("authorization: { user: u, password: right }\njetstream: { store_dir: STORE }");
    let (code, line) = refused(&nats.url(), &[]);
    assert_eq!(code, 77, "{line}");
    let folder = Folder::new();
    let wrong = folder.file("password", "wrong\n");
    let (code, line) = refused(&nats.url(), &["--nats-user", "u", "--nats-password-file", &wrong]);
    assert_eq!(code, 77, "{line}");
    assert!(line.contains("refuses these credentials") && line.contains("--creds"), "{line}");
    // The right ones do.
    let serve = Serve::start(&[]);
    let right = folder.file("right", "right\n");
    let relay = Relay::start(&nats.url(), &serve, &["--nats-user", "u", "--nats-password-file", &right]);
    until("reports are stored", || relay.figure("stored_total") >= 2);
}

#[tokio::test]
async fn a_full_stream() {
    use async_nats::jetstream::{self, stream::Config, stream::DiscardPolicy};
    let nats = Nats::with_store();
    let client = connect(&nats.url()).await;
    let config = Config {
        name: "micring_audio".into(),
        subjects: vec!["micring.*.*.audio".into()],
        max_bytes: 1_000_000,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    let mut stream = jetstream::new(client).create_stream(config).await.unwrap();
    let serve = Serve::start(&["--history", "30s"]);
    let _microphones = serve.microphones(&[]);
    // While it runs it says so, and goes on once there is room.
    let relay = Relay::start(&nats.url(), &serve, &["--store-audio", "all"]);
    until("the stream is full", || relay.process.stderr().contains("the store is full"));
    until("it is told", || crate::rig::get(relay.http, "/healthz").1.contains("raise the stream's limits"));
    let held = stream.info().await.unwrap().state.messages;
    stream.purge().await.unwrap();
    until("it goes on", || relay.process.stderr().contains("store: goes on"));
    drop(relay);
    assert!(held > 0);
    // A relay that begins with a full one ends.
    let config = Config {
        max_messages: stream.info().await.unwrap().state.messages as i64,
        ..stream.cached_info().config.clone()
    };
    jetstream::new(connect(&nats.url()).await).update_stream(config).await.unwrap();
    let (code, line) = refused(&nats.url(), &["--store-audio", "all"]);
    assert_eq!(code, 75, "{line}");
    assert!(line.contains("micring_audio is full") && line.contains("purge"), "{line}");
}

#[test]
fn no_room_for_the_streams() {
    let nats = Nats::start("jetstream: { store_dir: STORE, max_file_store: 30MB }");
    let (code, line) = refused(&nats.url(), &["--store-audio", "all"]);
    assert_eq!(code, 75, "{line}");
    assert!(line.contains("micring_audio") && line.contains("--audio-bytes"), "{line}");
}

#[test]
fn a_cycle_longer_than_a_message() {
    // A cycle of three channels of 512 samples has 6144 bytes.
    let nats = Nats::start("max_payload: 4096\njetstream: { store_dir: STORE }");
    let serve = Serve::start(&[]);
    let _microphones = serve.microphones(&[]);
    let server = format!("--server={}", serve.url());
    let (code, line) = refused(&nats.url(), &[&server, "--store-audio", "all"]);
    assert_eq!(code, 78, "{line}");
    assert!(line.contains("attic/default") && line.contains("raise max_payload (now 4096)"), "{line}");
}

#[test]
fn wrong_usage() {
    for args in [&["--wait", "soon"][..], &["--prefix", "a.b"], &["--nats-user", "u"], &["--nonsense"]] {
        let mut command = relay("nats://127.0.0.1:1", args);
        assert_eq!(command.output().unwrap().status.code(), Some(2), "{args:?}");
    }
}

/// As the contract has it: `micring relay --nats URL`.
#[test]
fn micring_relay_is_the_relay_beside_micring() {
    let output = micring().args(["relay", "--nats", "nats://127.0.0.1:1", "--wait", "100ms"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.starts_with("micring-relay: ") && said.contains("127.0.0.1:1"), "{said}");
    let folder = Folder::new();
    // Without it: which program that is, and how to get it.
    let alone = folder.0.join("micring");
    std::fs::copy(micring().get_program(), &alone).unwrap();
    let output = std::process::Command::new(alone).arg("relay").env("PATH", "/nonexistent").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("cannot run micring-relay: No such file"), "{said}");
}
