//! The rooms that the tests listen in, and the sounds in them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use micring::sim::room::{Room, Scene, Sound, Source};

use crate::skipped::skipped;

pub const PACKET: usize = 512;
pub const PACKETS_A_SECOND: usize = 94;

/// How long each signal is heard, in seconds.
pub fn seconds(usually: usize) -> usize {
    let asked = std::env::var("MICRING_SOUND_SECONDS").ok();
    asked.map_or(usually, |seconds| seconds.parse().expect("MICRING_SOUND_SECONDS is a whole number"))
}

/// Three microphones ten centimetres apart, one source at two metres.
pub fn array(seed: u64, sound: Option<Sound>, level_db: f64, ambient_dba: f64) -> Scene {
    let shift = (seed % 5) as f64 * 0.2;
    Scene {
        seed,
        room: Room { size: [5.0 + shift, 4.3, 2.7], rt60: 0.4 },
        mics: vec![[2.0, 2.0, 1.0], [2.1, 2.0, 1.0], [2.05, 2.0866, 1.0]],
        sources: sound.map(|sound| Source { at: [3.2 + shift, 3.4, 1.5], sound, level_db }).into_iter().collect(),
        ambient_dba: Some(ambient_dba),
        self_noise: true,
    }
}

/// Two microphones so far apart.
pub fn pair(seed: u64, metres: f64, rt60: f64, sound: Option<Sound>, level_db: f64) -> Scene {
    Scene {
        room: Room { size: [6.3 + 0.3 * (seed % 4) as f64, 5.1, 2.7], rt60 },
        mics: vec![[1.0, 1.0, 1.2], [1.0 + metres, 1.3, 1.2]],
        sources: sound.map(|sound| Source { at: [2.3, 3.6, 1.5], sound, level_db }).into_iter().collect(),
        ..array(seed, None, 0.0, 30.0)
    }
}

/// Whole packets of each microphone.
pub fn packets(scene: &Scene, count: usize) -> Vec<Vec<[i32; PACKET]>> {
    scene.hear(count * PACKET).iter().map(|samples| samples.as_chunks().0.to_vec()).collect()
}

/// Real recordings that Debian packages carry: name, and samples at 48 kHz. None where neither is installed, and then it is said.
pub fn recordings() -> Vec<(&'static str, Sound)> {
    let alsa = "/usr/share/sounds/alsa";
    let desktop = "/usr/share/sounds/freedesktop/stereo";
    let voices = ["Front_Center", "Front_Left", "Rear_Right", "Side_Left"].map(|name| format!("{alsa}/{name}.wav"));
    let sounds = ["phone-incoming-call", "alarm-clock-elapsed", "complete"].map(|name| format!("{desktop}/{name}.oga"));
    let read = "/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb";
    let lines = ["0870", "0880", "0890", "0920", "0930"].map(|line| format!("{read}-{line}.wav"));
    let all = [
        ("reading (pocketsphinx)", decoded(&lines)),
        ("voice (alsa-utils)", decoded(&voices)),
        ("noise (alsa-utils)", decoded(&[format!("{alsa}/Noise.wav")])),
        ("rings (freedesktop)", decoded(&sounds)),
    ];
    let wanted = all.len();
    let found: Vec<_> = all.into_iter().filter(|(_, samples)| !samples.is_empty()).collect();
    if found.len() < wanted {
        let need = "install alsa-utils, sound-theme-freedesktop, pocketsphinx-testdata and ffmpeg";
        skipped("real recordings", &format!("{need}; {} of {wanted} found", found.len()));
    }
    found.into_iter().map(|(name, samples)| (name, Sound::Recording(Arc::from(samples)))).collect()
}

/// Decoded by ffmpeg, one after the other.
fn decoded(files: &[String]) -> Vec<f32> {
    let one = |file: &String| -> Vec<f32> {
        if !Path::new(file).exists() {
            return Vec::new();
        }
        let args = ["-v", "error", "-i", file, "-ac", "1", "-ar", "48000", "-f", "f32le", "-"];
        let Ok(output) = Command::new("ffmpeg").args(args).output() else { return Vec::new() };
        output.stdout.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    files.iter().flat_map(one).collect()
}

/// The sound's levels are of the kind that a living room has.
pub fn signals() -> Vec<(&'static str, Option<Sound>, f64, f64)> {
    let synthetic = [
        ("speech 60 dB", Some(Sound::Speech), 60.0, 30.0),
        ("speech 45 dB", Some(Sound::Speech), 45.0, 30.0),
        ("music 60 dB", Some(Sound::Music), 60.0, 30.0),
        ("fan 45 dB", Some(Sound::Fan), 45.0, 30.0),
        ("claps 60 dB", Some(Sound::Claps), 60.0, 30.0),
        ("hum 50 dB", Some(Sound::Hum), 50.0, 30.0),
        ("tone 1 kHz 60 dB", Some(Sound::Tone(1_000.0)), 60.0, 30.0),
        ("quiet room 30 dBA", None, 0.0, 30.0),
        ("quiet room 40 dBA", None, 0.0, 40.0),
    ];
    let real = recordings().into_iter().map(|(name, sound)| (name, Some(sound), 60.0, 30.0));
    synthetic.into_iter().chain(real).collect()
}
