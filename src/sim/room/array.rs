//! The rooms that virtual microphones stand in, where `simulate` is asked for a room's sound.

use std::str::FromStr;
use std::sync::Arc;

use super::{Room, Scene, Sound, Source};

/// What is heard in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sounds {
    Speech,
    Music,
    Fan,
    Claps,
    Hum,
    /// Nothing but the room itself, at 40 dB(A).
    Quiet,
}

/// It repeats after some three seconds: a prime, so that it never does at a packet's edge alone.
const REPEATS: usize = 131_071;
/// Microphones of one board stand a decimetre apart, boards two metres.
const SIDES: [f64; 2] = [0.1, 2.0];

impl FromStr for Sounds {
    type Err = ();

    fn from_str(name: &str) -> Result<Sounds, ()> {
        Ok(match name {
            "speech" => Sounds::Speech,
            "music" => Sounds::Music,
            "fan" => Sounds::Fan,
            "claps" => Sounds::Claps,
            "hum" => Sounds::Hum,
            "quiet" => Sounds::Quiet,
            _ => return Err(()),
        })
    }
}

/// What the microphones of an array hear, for as long as one likes.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Heard(Arc<Vec<Vec<i32>>>);

impl Heard {
    /// One board's microphones, or boards apart; three of them at the corners of a triangle.
    pub fn new(sounds: Sounds, seed: u64, channels: usize, apart: bool) -> Heard {
        let source = |sound, level_db| vec![Source { at: [4.3, 3.9, 1.5], sound, level_db }];
        let (sources, ambient) = match sounds {
            Sounds::Speech => (source(Sound::Speech, 60.0), 30.0),
            Sounds::Music => (source(Sound::Music, 60.0), 30.0),
            Sounds::Fan => (source(Sound::Fan, 50.0), 30.0),
            Sounds::Claps => (source(Sound::Claps, 60.0), 30.0),
            Sounds::Hum => (source(Sound::Hum, 55.0), 30.0),
            Sounds::Quiet => (Vec::new(), 40.0),
        };
        let side = SIDES[usize::from(apart)];
        let corner = |mic: usize| {
            let angle = std::f64::consts::TAU * mic as f64 / channels as f64;
            let radius = side / libm::sqrt(3.0);
            [2.2 + radius * libm::cos(angle), 2.1 + radius * libm::sin(angle), 1.0]
        };
        let scene = Scene {
            seed,
            room: Room { size: [6.3, 5.1, 2.7], rt60: 0.5 },
            mics: (0..channels).map(corner).collect(),
            sources,
            ambient_dba: Some(ambient),
            self_noise: true,
        };
        Heard(Arc::new(scene.hear(REPEATS)))
    }

    /// A sample at a time in samples since the start.
    pub fn at(&self, mic: usize, time: f64) -> i32 {
        between(&self.0[mic], time) & !0xff
    }
}

/// A sample at a time in samples, of sound that repeats: between two of them by a Catmull-Rom spline.
pub fn between(samples: &[i32], time: f64) -> i32 {
    let whole = time.floor();
    let p = [-1, 0, 1, 2].map(|k| f64::from(samples[(whole as i64 + k).rem_euclid(samples.len() as i64) as usize]));
    let t = time - whole;
    let slope = [(p[2] - p[0]) / 2.0, (p[3] - p[1]) / 2.0];
    let (t2, t3) = (t * t, t * t * t);
    let value = p[1] * (2.0 * t3 - 3.0 * t2 + 1.0)
        + slope[0] * (t3 - 2.0 * t2 + t)
        + p[2] * (3.0 * t2 - 2.0 * t3)
        + slope[1] * (t3 - t2);
    value as i32
}
