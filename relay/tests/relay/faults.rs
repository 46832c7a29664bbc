//! What the promise is about: the NATS server killed, the relay killed, the network cut.

use crate::far::{ARRAY, audio_until, check, connect, stored};
use crate::rig::{Nats, Process, Relay, Serve, Wire, get, until};

/// Lets the microphones send on until the loop has let `more` cycles go.
fn let_pass(serve: &Serve, more: u64) {
    let emitted = || serve.json("/api/diagnostics_sync")["cycles"]["emitted"].as_u64().unwrap();
    let goal = emitted() + more;
    until("cycles go by", || emitted() >= goal);
}

/// Ends the microphones, waits for the rest to be stored; what is stored is every cycle once, and nothing was lost before.
async fn all_is_stored(nats: &Nats, serve: &Serve, mut microphones: Process) {
    assert_eq!(microphones.terminate(), Some(0));
    let client = connect(&nats.url()).await;
    let emitted = || serve.json("/api/diagnostics_sync")["cycles"]["emitted"].as_u64().unwrap();
    let cycles = audio_until(&client, emitted).await;
    let figures = serve.json("/api/diagnostics_sync");
    for mic in ["mic0", "mic1", "mic2"] {
        assert_eq!((&figures["loss"][mic]["lost"], &figures["loss"][mic]["kernel_dropped"]), (&0.into(), &0.into()));
    }
    assert_eq!(check(&cycles), emitted());
    for message in stored(&client, "micring_events", &format!("{ARRAY}.gaps")).await {
        let told = String::from_utf8_lossy(&message.payload);
        assert!(!told.contains("not_relayed") && !told.contains("skipped"), "{told}");
    }
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_lacks_nothing() {
    let mut nats = Nats::with_store();
    let serve = Serve::start(&["--history", "30s"]);
    let microphones = serve.microphones(&[]);
    let relay = Relay::start(&nats.url(), &serve, &["--store-audio", "all", "--keep", "all"]);
    for _ in 0..2 {
        until("it stores", || relay.figure("stored_total") > 4);
        let_pass(&serve, 100);
        nats.kill();
        let_pass(&serve, 150);
        let (status, body) = get(relay.http, "/healthz");
        assert_eq!(status, 503);
        assert!(body.contains("not connected to NATS"), "{body}");
        nats.go();
        until("it is well again", || get(relay.http, "/healthz").0 == 200);
        let_pass(&serve, 50);
    }
    all_is_stored(&nats, &serve, microphones).await;
}

#[tokio::test]
async fn a_relay_that_is_killed_and_comes_back_lacks_nothing() {
    let nats = Nats::with_store();
    let serve = Serve::start(&["--history", "30s"]);
    let microphones = serve.microphones(&[]);
    let mut relay = Relay::start(&nats.url(), &serve, &["--store-audio", "all"]);
    for _ in 0..2 {
        until("it stores", || relay.figure("stored_total") > 4);
        let_pass(&serve, 70);
        relay.process.kill();
        let_pass(&serve, 150);
        relay = Relay::start(&nats.url(), &serve, &["--store-audio", "all"]);
    }
    all_is_stored(&nats, &serve, microphones).await;
}

#[tokio::test]
async fn a_network_that_is_cut_without_a_word_costs_nothing() {
    let nats = Nats::with_store();
    let wire = Wire::to(nats.address());
    let serve = Serve::start(&["--history", "60s"]);
    let microphones = serve.microphones(&[]);
    let relay = Relay::start(&wire.url(), &serve, &["--store-audio", "all", "--keep", "all"]);
    until("it stores", || relay.figure("stored_total") > 4);
    wire.cut();
    // Longer than the pings need to notice.
    until("the cut is noticed", || get(relay.http, "/healthz").0 == 503);
    let_pass(&serve, 100);
    wire.mend();
    until("it is well again", || get(relay.http, "/healthz").0 == 200);
    let_pass(&serve, 50);
    all_is_stored(&nats, &serve, microphones).await;
}

#[tokio::test]
async fn what_the_history_lost_is_told_as_a_gap() {
    let nats = Nats::with_store();
    let serve = Serve::start(&["--history", "1s"]);
    let mut microphones = serve.microphones(&[]);
    let mut relay = Relay::start(&nats.url(), &serve, &["--store-audio", "all"]);
    until("it stores", || relay.figure("stored_total") > 4);
    relay.process.kill();
    let_pass(&serve, 250);
    let relay = Relay::start(&nats.url(), &serve, &["--store-audio", "all"]);
    until("it stores", || relay.figure("stored_total") > 4);
    assert_eq!(microphones.terminate(), Some(0));
    let client = connect(&nats.url()).await;
    let emitted = || serve.json("/api/diagnostics_sync")["cycles"]["emitted"].as_u64().unwrap();
    let cycles = audio_until(&client, emitted).await;
    // One at least; more where this machine was too slow to read what is overwritten next.
    let holes: Vec<_> = cycles.iter().zip(&cycles[1..]).filter(|(a, b)| a.id + 1 != b.id).collect();
    let ids: Vec<_> = holes.iter().map(|(before, after)| (before.id - before.run, after.id - before.run)).collect();
    assert!(!ids.is_empty() && ids.iter().all(|(before, after)| before < after), "{ids:?} of {}", cycles.len());
    let expected: Vec<_> = holes
        .iter()
        .map(|(before, after)| {
            let end = before.first_frame + before.frames;
            let frames = after.first_frame - end;
            serde_json::json!({"kind": "not_relayed", "mic": null, "first_frame": end, "frames": frames, "samples": 0})
        })
        .collect();
    let messages = stored(&client, "micring_events", &format!("{ARRAY}.gaps")).await;
    let json = |payload: &[u8]| serde_json::from_slice::<serde_json::Value>(payload).unwrap();
    let told: Vec<_> = messages.iter().flat_map(|m| json(&m.payload)["gaps"].as_array().unwrap().clone()).collect();
    assert_eq!(told, expected);
}
