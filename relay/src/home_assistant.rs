//! An array as a device of Home Assistant, over MQTT that the NATS server speaks beside its own protocol.
//!
//! A topic `a/b` is the subject `a.b`. So the health that is stored is what Home Assistant reads; here it is only told that
//! there is something to read (MQTT discovery). A message from NATS is never retained, so it is told again each minute, and at once
//! when Home Assistant says that it has started.

use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::names::{Kind, Place, token};
use crate::report::HEALTH;
use crate::say;

/// Who starts between two of these, and says nothing, waits so long.
const AGAIN: Duration = Duration::from_secs(60);

/// One array, told for ever.
#[derive(Debug)]
pub struct Lane {
    pub place: Place,
    pub client: Client,
    /// First level of Home Assistant's topics: `homeassistant`.
    pub topics: String,
}

impl Lane {
    pub async fn run(self) {
        let (subject, body) = (self.subject(), self.config().to_string());
        // "online" when Home Assistant has started.
        let mut born = match self.client.subscribe(format!("{}.status", self.topics)).await {
            Ok(born) => born,
            Err(error) => return say(format_args!("{}: {error}", self.topics)),
        };
        let mut ticks = interval(AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                message = born.next() => match message {
                    Some(message) if &message.payload[..] == b"online" => {}
                    Some(_) => continue,
                    None => return,
                },
            }
            // What cannot be sent now is sent again.
            let _ = self.client.publish(subject.clone(), body.clone().into()).await;
        }
    }

    /// Where it is told: Home Assistant takes letters, digits, `-` and `_`.
    fn subject(&self) -> String {
        let name = |name: &str| token(name).replace('=', "_");
        format!("{}.binary_sensor.{}.{}.config", self.topics, name(&self.place.host), name(&self.place.array))
    }

    /// A sensor that is on while the array's audio is not usable; what else its health says are its attributes.
    fn config(&self) -> Value {
        let health = self.place.subject(Kind::Health).replace('.', "/");
        let name = format!("{}/{}", self.place.host, self.place.array);
        json!({
            "name": "Audio",
            "unique_id": self.place.subject(Kind::Health),
            "device_class": "problem",
            "state_topic": health,
            "value_template": "{{ 'OFF' if value_json.status == 'ok' else 'ON' }}",
            "json_attributes_topic": health,
            // Nothing heard for three of its reports: unavailable.
            "expire_after": 3 * HEALTH.as_secs(),
            "device": {
                "identifiers": [self.place.subject(Kind::Health)],
                "name": format!("Microphones {name}"),
                "manufacturer": "micring",
            },
            "origin": { "name": "micring-relay", "sw_version": env!("CARGO_PKG_VERSION") },
        })
    }
}
