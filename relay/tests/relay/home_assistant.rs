//! Health as Home Assistant gets it: by MQTT that nats-server speaks, read by mosquitto's own client.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::rig::{Nats, Process, Relay, Serve, free_port, until};

/// `mosquitto_sub` or `mosquitto_pub` at that port.
fn mosquitto(program: &str, port: u16, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(args);
    command
}

/// The next message of a topic, while `meanwhile` is done again and again.
fn message(port: u16, topic: &str, mut meanwhile: impl FnMut()) -> Value {
    let reader = mosquitto("mosquitto_sub", port, &["-t", topic, "-C", "1"]).stdout(Stdio::piped()).spawn();
    let mut reader: Child = reader.expect("mosquitto_sub: install Debian's mosquitto-clients");
    until(topic, || {
        meanwhile();
        reader.try_wait().unwrap().is_some()
    });
    serde_json::from_slice(&reader.wait_with_output().unwrap().stdout).expect("JSON")
}

fn start() -> (Nats, u16, Serve, Process, Relay) {
    let port = free_port();
    let mqtt = format!("server_name: hub\nmqtt: {{ host: \"127.0.0.1\", port: {port} }}");
    let nats = Nats::start(&format!("{mqtt}\njetstream: {{ store_dir: STORE SYNC }}"));
    let serve = Serve::start(&[]);
    let microphones = serve.microphones(&[]);
    let relay = Relay::start(&nats.url(), &serve, &["--home-assistant"]);
    (nats, port, serve, microphones, relay)
}

#[test]
fn home_assistant_is_told_of_every_array_when_it_starts_and_reads_its_health() {
    let (_nats, port, _serve, mut microphones, _relay) = start();
    let config = message(port, "homeassistant/binary_sensor/attic/default/config", || {
        // As Home Assistant does when it has started.
        let status = mosquitto("mosquitto_pub", port, &["-t", "homeassistant/status", "-m", "online"]).status();
        assert!(status.expect("mosquitto_pub: install Debian's mosquitto-clients").success());
    });
    assert_eq!(config["device_class"], "problem");
    assert_eq!(config["value_template"], "{{ 'OFF' if value_json.status == 'ok' else 'ON' }}");
    assert_eq!(config["json_attributes_topic"], config["state_topic"]);
    let health = config["state_topic"].as_str().unwrap();
    let is = |wanted: &str| {
        let mut last = Value::Null;
        for _ in 0..10 {
            last = message(port, health, || {});
            if last["status"] == wanted {
                return;
            }
        }
        panic!("{wanted}: {last}");
    };
    is("ok");
    microphones.kill();
    is("unusable");
}
