//! The relay as its users run it: a real nats-server, a real `micring serve` with index-coded microphones, and a far side
//! that knows nothing of the relay but its subjects.

#![allow(clippy::disallowed_methods, reason = "what is tested here runs in real time")]

mod far;
mod faults;
mod home_assistant;
mod limits;
mod rig;
mod serve;

use std::time::Duration;

use far::{ARRAY, audio_until, check, connect, cycles, stored};
use futures_util::StreamExt;
use rig::{Nats, Relay, Serve, get, until};
use serde_json::Value;

#[tokio::test]
async fn every_cycle_arrives_once_and_in_order_live_and_stored() {
    let nats = Nats::with_store();
    let serve = Serve::start(&["--history", "30s"]);
    // The relay finds a run that has begun already.
    let mut microphones = serve.microphones(&[]);
    until("the run has begun", || serve.json("/api/diagnostics_sync")["cycles"]["emitted"].as_u64() > Some(20));
    let client = connect(&nats.url()).await;
    let mut live = client.subscribe(format!("{ARRAY}.pcm")).await.unwrap();
    client.flush().await.unwrap();
    let relay = Relay::start(&nats.url(), &serve, &["--store-audio", "all"]);
    until("some are live", || relay.figure("live_cycles_total") > 100);
    assert_eq!(microphones.terminate(), Some(0));
    let emitted = || serve.json("/api/diagnostics_sync")["cycles"]["emitted"].as_u64().unwrap();
    // Half a segment is sent unfinished when nothing more comes.
    until("all of it is read", || relay.figure("followed_cycles_total") == emitted());
    let stored = audio_until(&client, emitted).await;
    let emitted = emitted();
    assert_eq!(check(&stored), emitted, "stored from the run's first cycle on");

    let mut heard = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(500), live.next()).await {
        heard.extend(cycles(message.payload));
    }
    assert!(check(&heard) > 0, "some were live");
    assert_eq!(heard.len() as u64, relay.figure("live_cycles_total"));
    assert_eq!(heard.last().unwrap().id, heard[0].run + emitted - 1, "until the last one");
}

#[tokio::test]
async fn pcm_leaves_only_while_somebody_listens() {
    let nats = Nats::with_store();
    let serve = Serve::start(&[]);
    let _microphones = serve.microphones(&[]);
    let relay = Relay::start(&nats.url(), &serve, &[]);
    let client = connect(&nats.url()).await;
    until("reports are stored", || relay.figure("stored_total") >= 2);
    assert_eq!((relay.figure("listened"), relay.figure("live_cycles_total")), (0, 0));
    // A wildcard listens too.
    let mut live = client.subscribe("micring.attic.*.pcm").await.unwrap();
    let first = loop {
        let message = live.next().await.unwrap();
        if !message.payload.is_empty() {
            break cycles(message.payload);
        }
    };
    assert_eq!(first.len(), 1);
    assert_eq!(relay.figure("listened"), 1);
    live.unsubscribe().await.unwrap();
    until("nobody listens", || relay.figure("listened") == 0);
    let mut other = relay.process;
    other.kill();
    let kept = Relay::start(&nats.url(), &serve, &["--keep", "default"]);
    until("kept on although nobody listens", || kept.figure("live_cycles_total") > 10);
}

#[tokio::test]
async fn health_diagnostics_and_gaps_are_stored() {
    let nats = Nats::with_store();
    let serve = Serve::start(&["--history", "30s"]);
    // One microphone dies for a second.
    let mut microphones = serve.microphones(&["--cycles", "400", "--mute", "1@1s..2s"]);
    let mut relay = Relay::start(&nats.url(), &serve, &[]);
    let client = connect(&nats.url()).await;
    assert_eq!(microphones.exit_code(), Some(0));
    until("all of it is read", || relay.figure("followed_cycles_total") == 400);
    let (status, body) = get(relay.http, "/healthz");
    assert_eq!((status, body.trim()), (200, r#"{"status":"ok"}"#));
    assert_eq!(relay.process.terminate(), Some(0));

    let json = |message: &async_nats::jetstream::Message| serde_json::from_slice::<Value>(&message.payload).unwrap();
    let health = stored(&client, "micring_events", &format!("{ARRAY}.health")).await;
    let first = json(&health[0]);
    assert_eq!((&first["host"], &first["array"], &first["channels"]), (&"attic".into(), &"default".into(), &3.into()));
    assert!(first["host_clock"]["synchronised"].is_boolean(), "{first}");
    let figures = stored(&client, "micring_events", &format!("{ARRAY}.diagnostics")).await;
    assert!(json(&figures[0])["packet_stats"]["packets_received"].is_array());

    // A second of 48 kHz, and no more than the cycles at its edges, is missing of mic 1.
    let messages = stored(&client, "micring_events", &format!("{ARRAY}.gaps")).await;
    let gaps: Vec<Value> = messages.iter().flat_map(|m| json(m)["gaps"].as_array().unwrap().clone()).collect();
    let missing: i64 = gaps.iter().map(|gap| gap["frames"].as_i64().unwrap() - gap["samples"].as_i64().unwrap()).sum();
    assert!(gaps.iter().all(|gap| gap["kind"] == "missing" && gap["mic"] == 1), "{gaps:?}");
    assert!((48_000 - 1024..=48_000 + 1024).contains(&missing), "{missing} frames");
}

#[tokio::test]
async fn a_relay_that_comes_back_stores_nothing_twice_and_tells_no_gap_twice() {
    let nats = Nats::with_store();
    let serve = Serve::start(&["--history", "60s"]);
    let mut microphones = serve.microphones(&["--cycles", "200", "--mute", "0@500ms..1s"]);
    assert_eq!(microphones.exit_code(), Some(0));
    let client = connect(&nats.url()).await;
    let mut gaps = 0;
    for time in 0..3 {
        // The first one finds all in the history; the others find it all stored.
        let mut relay = Relay::start(&nats.url(), &serve, &["--store-audio", "all"]);
        until("reports are stored", || relay.figure("stored_total") >= 2);
        let all = audio_until(&client, || 200).await;
        relay.process.kill();
        assert_eq!(all.len(), 200);
        assert!(all.iter().zip(&all[1..]).all(|(a, b)| a.id + 1 == b.id));
        let told = stored(&client, "micring_events", &format!("{ARRAY}.gaps")).await.len();
        assert!(told > 0 && (time == 0 || told == gaps), "{told} after {gaps}");
        gaps = told;
    }
}
