//! Which arrays there are on all hosts, from the health that their relays store.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, push::OrderedConfig};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::names::{Kind, Place, everywhere};
use crate::nats::{chain, events_name};
use crate::report::{HEALTH, now_us};
use crate::say;

const AGAIN: Duration = Duration::from_secs(1);
/// An array whose relay was not heard for so long is said to be silent; it goes from the list when the store forgets it.
const SILENT_US: i64 = 3 * HEALTH.as_micros() as i64;

/// All arrays, by the name that they have here: `HOST.ARRAY`, each as a token of a subject.
#[derive(Debug)]
pub struct Fleet {
    prefix: String,
    arrays: Mutex<BTreeMap<String, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    place: Place,
    health: Value,
    /// When the store took its newest word, us since the Unix epoch.
    stored_us: i64,
}

impl Fleet {
    pub fn new(prefix: &str) -> Fleet {
        Fleet { prefix: prefix.to_owned(), arrays: Mutex::default() }
    }

    /// Follows what the relays say, for ever.
    pub async fn run(&self, client: Client) {
        let mut said = String::new();
        loop {
            if let Err(trouble) = self.follow(&client).await
                && trouble != said
            {
                say(format_args!("the fleet's health: {trouble}"));
                said = trouble;
            }
            sleep(AGAIN).await;
        }
    }

    async fn follow(&self, client: &Client) -> Result<(), String> {
        let stream = jetstream::new(client.clone()).get_stream(events_name(&self.prefix)).await;
        let stream = stream.map_err(|e| format!("{}; no relay has published yet?", chain(&e)))?;
        let config = OrderedConfig {
            deliver_subject: client.new_inbox(),
            filter_subject: everywhere(&self.prefix, Kind::Health),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|e| chain(&e))?;
        let mut messages = consumer.messages().await.map_err(|e| chain(&e))?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|e| chain(&e))?;
            let Some(place) = Place::of(&self.prefix, &message.subject) else { continue };
            // Whoever may publish may publish anything: what is no object says nothing.
            let Ok(Value::Object(health)) = serde_json::from_slice(&message.payload) else { continue };
            let stored = message.info().map_err(|e| e.to_string())?.published;
            let stored_us = (stored.unix_timestamp_nanos() / 1000) as i64;
            let name = place.name();
            self.arrays
                .lock()
                .expect("no holder panics")
                .insert(name, Known { place, health: health.into(), stored_us });
        }
        Err("the stream of messages ended".into())
    }

    /// The array of a name; of none, the first.
    pub fn place(&self, name: Option<&str>) -> Option<Place> {
        let arrays = self.arrays.lock().expect("no holder panics");
        match name {
            Some(name) => arrays.get(name).map(|known| known.place.clone()),
            None => arrays.values().next().map(|known| known.place.clone()),
        }
    }

    /// The run that an array's health spoke of last.
    pub fn run_of(&self, place: &Place) -> Option<u64> {
        let arrays = self.arrays.lock().expect("no holder panics");
        arrays.values().find(|known| known.place == *place)?.health["run"].as_u64()
    }

    /// How many arrays are of each state, as `/api/fleet` has it.
    pub fn states(&self) -> BTreeMap<String, u64> {
        let mut states = BTreeMap::new();
        for array in self.json()["arrays"].as_array().into_iter().flatten() {
            *states.entry(array["status"].as_str().unwrap_or("unknown").to_owned()).or_default() += 1;
        }
        states
    }

    /// Body of `/api/fleet`: each array with its health and how old that is, and how far hosts' stamps are comparable.
    pub fn json(&self) -> Value {
        let now = now_us();
        let arrays = self.arrays.lock().expect("no holder panics");
        let list: Vec<Value> = arrays
            .iter()
            .map(|(name, known)| {
                let mut entry = known.health.clone();
                let age = now - known.stored_us;
                entry["name"] = json!(name);
                // As micring's own list has it.
                entry["health"] = json!({"ok": known.health["status"] == "ok", "reason": known.health["reason"]});
                entry["age_s"] = json!(age as f64 / 1e6);
                if age > SILENT_US {
                    entry["status"] = json!("silent");
                    entry["reason"] = json!(format!("its relay has not been heard for {} s", age / 1_000_000));
                }
                entry
            })
            .collect();
        json!({ "arrays": list, "hosts": hosts(&arrays) })
    }
}

/// Each host's clock. What stamps of two hosts differ by is known to within the sum of both errors, never better.
fn hosts(arrays: &BTreeMap<String, Known>) -> Value {
    let mut hosts = BTreeMap::new();
    for known in arrays.values() {
        hosts.insert(known.place.host.clone(), known.health["host_clock"].clone());
    }
    let known = |clock: &Value| Some((clock["estimated_error_us"].as_i64()?, clock["max_error_us"].as_i64()?));
    let across = hosts.values().map(known).collect::<Option<Vec<_>>>();
    // The two worst clocks are the worst pair.
    let worst_two = |mut errors: Vec<i64>| {
        errors.sort_unstable_by(|a, b| b.cmp(a));
        errors.iter().take(2).fold(0_i64, |sum, error| sum.saturating_add(*error))
    };
    let skew = match across {
        _ if hosts.len() < 2 => json!({"estimated_us": null, "max_us": null, "reason": "one host only"}),
        None => json!({"estimated_us": null, "max_us": null,
            "reason": "a host's clock is not synchronised: its stamps say nothing beside another host's"}),
        Some(errors) => json!({
            "estimated_us": worst_two(errors.iter().map(|e| e.0).collect()),
            "max_us": worst_two(errors.iter().map(|e| e.1).collect()),
        }),
    };
    json!({ "clocks": hosts, "skew_across_hosts": skew })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(clocks: &[(&str, Value)]) -> Fleet {
        let fleet = Fleet::new("micring");
        for (host, clock) in clocks {
            let place = Place { prefix: "micring".into(), host: (*host).into(), array: "default".into() };
            let health = json!({"host": host, "host_clock": clock, "status": "ok", "run": 5});
            let known = Known { place, health, stored_us: now_us() };
            fleet.arrays.lock().unwrap().insert(format!("{host}.default"), known);
        }
        fleet
    }

    fn good(estimated: i64, max: i64) -> Value {
        json!({"synchronised": true, "estimated_error_us": estimated, "max_error_us": max})
    }

    #[test]
    fn stamps_of_two_hosts_are_as_good_as_both_clocks_together() {
        let three = fleet(&[("a", good(10, 1000)), ("b", good(200, 5000)), ("c", good(30, 400))]);
        // The worst pair: 200 + 30, 5000 + 1000.
        let skew = &three.json()["hosts"]["skew_across_hosts"];
        assert_eq!((&skew["estimated_us"], &skew["max_us"]), (&230.into(), &6000.into()));
    }

    #[test]
    fn an_unsteered_clock_makes_it_unknown_with_the_reason() {
        let bad = json!({"synchronised": false, "estimated_error_us": null, "max_error_us": null});
        let skew = &fleet(&[("a", good(10, 1000)), ("b", bad)]).json()["hosts"]["skew_across_hosts"];
        assert!(skew["estimated_us"].is_null() && skew["reason"].as_str().unwrap().contains("not synchronised"));
        let skew = &fleet(&[("a", good(10, 1000))]).json()["hosts"]["skew_across_hosts"];
        assert_eq!(skew["reason"], "one host only");
    }

    #[test]
    fn an_array_that_was_not_heard_for_long_is_silent() {
        let fleet = fleet(&[("a", good(1, 1))]);
        assert_eq!(fleet.json()["arrays"][0]["status"], "ok");
        fleet.arrays.lock().unwrap().get_mut("a.default").unwrap().stored_us -= 60_000_000;
        let entry = &fleet.json()["arrays"][0];
        assert_eq!(entry["status"], "silent");
        assert!(entry["reason"].as_str().unwrap().contains("60 s"), "{entry}");
        assert_eq!(fleet.place(None), fleet.place(Some("a.default")));
        assert_eq!(fleet.place(Some("b.default")), None);
    }
}
