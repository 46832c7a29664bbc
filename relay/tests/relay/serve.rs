//! The far side for clients that know nothing of NATS: micring's own routes, of every array of the fleet.

use futures_util::StreamExt;

use crate::far::{ARRAY, Cycle, check, connect, cycle};
use crate::rig::{Events, Far, Nats, Relay, Serve, Wire, get, until};

const NAME: &str = "attic.default";

/// Where an answer holds less than two seconds of cycles: what is longer is asked for in several.
const SMALL_MESSAGES: &str = "max_payload: 9000\njetstream: { store_dir: STORE SYNC }";

/// Waits until the far side knows the array.
fn known(far: &Far) {
    until("the array is known", || far.json("/api/fleet")["arrays"].as_array().is_some_and(|all| !all.is_empty()));
}

fn take(events: &mut Events, count: usize) -> Vec<Cycle> {
    (0..count).map(|_| cycle(&events.next())).collect()
}

#[test]
fn an_old_client_gets_the_same_stream_and_goes_on_where_it_was() {
    let nats = Nats::start(SMALL_MESSAGES);
    let serve = Serve::start(&["--history", "30s"]);
    let _microphones = serve.microphones(&[]);
    let _relay = Relay::start(&nats.url(), &serve, &[]);
    let far = Far::start(&nats.url(), &[]);
    known(&far);
    let mut events = Events::open(far.http, "/api/stream_3ch", "");
    let first = events.next();
    for key in ["device_id", "sample_rate", "channels", "bits", "format", "timestamp", "data", "arrival_us"] {
        assert!(!first[key].is_null(), "{key}: old clients rely on it");
    }
    let mut cycles = vec![cycle(&first)];
    cycles.extend(take(&mut events, 50));
    drop(events);
    // It comes back later, with the last id that it has, by the array's own route.
    until("cycles go by", || serve.json("/api/diagnostics_sync")["cycles"]["emitted"].as_u64() > Some(400));
    let last = format!("Last-Event-ID: {}\r\n", cycles.last().unwrap().id);
    let mut events = Events::open(far.http, &format!("/api/arrays/{NAME}/stream"), &last);
    cycles.extend(take(&mut events, 450));
    check(&cycles);
    // An id of nowhere starts live.
    for id in [5, u64::MAX] {
        let mut live = Events::open(far.http, "/api/stream_3ch", &format!("Last-Event-ID: {id}\r\n"));
        assert!(cycle(&live.next()).id > cycles[300].id);
    }
}

#[test]
fn a_listener_misses_nothing_when_the_nats_server_dies() {
    let mut nats = Nats::start(SMALL_MESSAGES);
    let serve = Serve::start(&["--history", "30s"]);
    let _microphones = serve.microphones(&[]);
    let relay = Relay::start(&nats.url(), &serve, &[]);
    let far = Far::start(&nats.url(), &[]);
    known(&far);
    let figure = |name: &str| {
        let (_, text) = get(far.http, "/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse::<u64>().unwrap()
    };
    let mut events = Events::open(far.http, "/api/stream_3ch", "");
    let mut cycles = take(&mut events, 30);
    let states = (figure("micring_fleet_connected"), figure("micring_fleet_listeners{array=\"attic.default\"}"));
    assert_eq!(states, (1, 1));
    nats.kill();
    let emitted = || serve.json("/api/diagnostics_sync")["cycles"]["emitted"].as_u64().unwrap();
    let then = emitted();
    until("cycles go by", || emitted() > then + 400);
    nats.go();
    let goal = cycles[0].run + emitted() + 50;
    while cycles.last().unwrap().id < goal {
        cycles.push(cycle(&events.next()));
    }
    check(&cycles);
    assert!(figure("micring_fleet_filled_cycles_total") >= 400, "what went by meanwhile was asked for");
    assert_eq!(figure("micring_fleet_holes_total"), 0);
    // Health is told, although diagnostics are longer than a message may be here, which is told too.
    until("it is connected again", || !get(relay.http, "/healthz").1.contains("not connected"));
    let wrong = get(relay.http, "/healthz").1;
    assert!(wrong.contains("diagnostics: not stored") && wrong.contains("raise it (max_payload"), "{wrong}");
}

#[tokio::test]
async fn a_listener_whose_question_is_cut_off_too_misses_nothing() {
    let nats = Nats::with_store();
    let wire = Wire::to(nats.address());
    let serve = Serve::start(&["--history", "60s"]);
    let _microphones = serve.microphones(&[]);
    let _relay = Relay::start(&nats.url(), &serve, &[]);
    let far = Far::start(&wire.url(), &[]);
    known(&far);
    let mut events = Events::open(far.http, "/api/stream_3ch", "");
    let mut cycles = take(&mut events, 30);
    let is_cut = || get(far.http, "/healthz").0 == 503;
    wire.cut();
    until("the cut is noticed", is_cut);
    let client = connect(&nats.url()).await;
    let mut questions = client.subscribe(format!("{ARRAY}.ask")).await.unwrap();
    client.flush().await.unwrap();
    wire.mend();
    // It asks for what it missed, and is cut off before it has the answer.
    questions.next().await.expect("it asks");
    wire.cut();
    until("that is noticed", is_cut);
    wire.mend();
    let last = cycles[0].run + serve.json("/api/diagnostics_sync")["cycles"]["emitted"].as_u64().unwrap();
    while cycles.last().unwrap().id < last + 50 {
        cycles.push(cycle(&events.next()));
    }
    check(&cycles);
    let said = far.process.stderr();
    assert!(said.contains("it is asked again"), "the first question failed: {said}");
}

#[test]
fn stored_audio_is_there_from_a_time_on() {
    let nats = Nats::with_store();
    let serve = Serve::start(&["--history", "30s"]);
    let _microphones = serve.microphones(&[]);
    let relay = Relay::start(&nats.url(), &serve, &["--store-audio", "all"]);
    let far = Far::start(&nats.url(), &[]);
    until("it stores", || relay.figure("stored_total") > 8);
    known(&far);
    // Long ago: from the first that is stored; it goes on as more is stored.
    let path = format!("/api/arrays/{NAME}/stream?from=2020-01-01T00:00:00Z");
    let cycles = take(&mut Events::open(far.http, &path, ""), 200);
    assert_eq!(cycles[0].id, cycles[0].run);
    check(&cycles);
    // Who comes back with the same address goes on where it was.
    let last = format!("Last-Event-ID: {}\r\n", cycles[99].id);
    assert_eq!(cycle(&Events::open(far.http, &path, &last).next()).id, cycles[100].id);
    let (status, body) = get(far.http, &format!("/api/arrays/{NAME}/stream?from=yesterday"));
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("2026-11-27T12:00:00Z"), "{body}");
}

#[test]
fn figures_and_downloads_are_the_servers_own() {
    let nats = Nats::with_store();
    let serve = Serve::start(&["--history", "2s"]);
    let mut microphones = serve.microphones(&["--cycles", "100"]);
    let _relay = Relay::start(&nats.url(), &serve, &[]);
    let far = Far::start(&nats.url(), &[]);
    known(&far);
    assert_eq!(microphones.exit_code(), Some(0));
    let (status, near) = get(serve.http, "/api/download_buffer_text");
    assert_eq!(status, 200);
    // More than a message holds, in parts.
    assert!(near.len() > 1 << 20);
    let (status, text) = get(far.http, &format!("/api/arrays/{NAME}/download.csv"));
    assert_eq!(status, 200);
    assert!(text == near, "the same text");
    assert_eq!(far.json("/api/diagnostics_sync")["packet_stats"], serve.json("/api/diagnostics_sync")["packet_stats"]);
    assert_eq!(far.json("/api/latest"), serve.json("/api/latest"));
    // What is wrong there is told as it is told there.
    assert_eq!(get(far.http, "/api/download_buffer?seconds=no"), get(serve.http, "/api/download_buffer?seconds=no"));
    until("the microphones are silent", || get(far.http, &format!("/api/arrays/{NAME}/health")).0 == 503);
    for path in ["/api/arrays/nowhere.default/stream", "/api/arrays/attic.default/nothing", "/api/nothing"] {
        assert_eq!(get(far.http, path).0, 404, "{path}");
    }
}

#[test]
fn the_fleet_has_every_array_of_every_host_and_says_who_is_silent() {
    let nats = Nats::with_store();
    let serve = Serve::start(&[]);
    let _microphones = serve.microphones(&[]);
    let other = Serve::start(&[]);
    let server = format!("--server=10.0.0.5={}", other.url());
    let _relay = Relay::start(&nats.url(), &serve, &[&server]);
    let far = Far::start(&nats.url(), &[]);
    let arrays = || far.json("/api/fleet")["arrays"].as_array().cloned().unwrap_or_default();
    until("both are well or not", || {
        let status = |name: &str| arrays().iter().find(|a| a["name"] == name).map(|a| a["status"].clone());
        status("10=2E0=2E0=2E5.default") == Some("unusable".into()) && status(NAME) == Some("ok".into())
    });
    let all = far.json("/api/fleet");
    assert_eq!(all["arrays"][0]["reason"].as_str().map(|r| r.contains("never heard")), Some(true), "{all}");
    assert_eq!(all["arrays"][0]["host"], "10.0.0.5");
    // One machine under two names: its clock stands for both, and what it allows is said or why not.
    let skew = &all["hosts"]["skew_across_hosts"];
    assert!(skew["max_us"].is_i64() || skew["reason"].is_string(), "{skew}");
    let (status, page) = get(far.http, "/");
    assert!(status == 200 && page.contains("/fleet.js"));
}

#[tokio::test]
async fn what_strangers_publish_ends_nothing() {
    let nats = Nats::with_store();
    let serve = Serve::start(&["--history", "30s"]);
    let _microphones = serve.microphones(&[]);
    let _relay = Relay::start(&nats.url(), &serve, &[]);
    let far = Far::start(&nats.url(), &[]);
    known(&far);
    let mut events = Events::open(far.http, "/api/stream_3ch", "");
    let mut cycles = take(&mut events, 10);
    let client = connect(&nats.url()).await;
    let clock = r#"{"host_clock": {"estimated_error_us": 9223372036854775807, "max_error_us": 9223372036854775807}}"#;
    for (host, health) in ["5", "[]", "no", "{", clock, clock, "{}"].iter().enumerate() {
        client.publish(format!("micring.h{host}.default.health"), (*health).into()).await.unwrap();
    }
    let header = r#"{"run":1,"id":1,"first_frame":-9223372036854775808,"frames":0,"channels":0,"sample_rate":0,
        "mic_samples":[],"arrival_us":[],"emitted_us":0}"#;
    let record = [&(header.len() as u32).to_le_bytes(), header.as_bytes(), &[0; 4]].concat();
    for pcm in [b"nonsense".to_vec(), vec![0xff; 100], record] {
        client.publish(format!("{ARRAY}.pcm"), pcm.into()).await.unwrap();
    }
    let answer = client.request(format!("{ARRAY}.ask"), "nonsense".into()).await.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(said["error"].as_str().unwrap().contains("no question"), "{said}");
    until("its health is there", || far.json("/api/fleet")["arrays"].as_array().unwrap().len() == 4);
    cycles.extend(take(&mut events, 100));
    check(&cycles);
}

#[test]
fn a_token_closes_all_but_the_health() {
    let nats = Nats::with_store();
    let folder = crate::rig::Folder::new();
    let token = folder.file("token", "open sesame\n");
    let far = Far::start(&nats.url(), &["--token-file", &token]);
    assert_eq!(get(far.http, "/healthz").0, 200);
    assert_eq!(get(far.http, "/api/fleet").0, 401);
    assert_eq!(get(far.http, "/api/fleet?token=open").0, 401);
    assert_eq!(get(far.http, "/api/fleet?token=open%20sesame").0, 200);
}
