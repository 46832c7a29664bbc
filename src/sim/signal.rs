//! What the virtual microphones hear, as s32le payloads, any packet on its own: experiments about timing never make one.

use std::str::FromStr;

use super::rng::split_mix;
use super::{Packet, START};
use crate::MICS;

/// A signal. The synthetic sounds are 24 bits, left-justified, as I2S microphones deliver them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Signal {
    /// Sample = (mic + 1) << 28 | position mod 2^28: any misalignment shows by itself.
    Index,
    /// 440 Hz at a quarter of full scale, heard by all microphones at once.
    Tone,
    /// White noise at a quarter of full scale, each microphone its own, and a function of the position.
    Noise,
    /// A source of band-limited noise that circles the array (2 m away, once in 20 s), heard by each microphone with the
    /// delay of its own distance. The microphones are the corners of a triangle of 10 cm sides.
    Source,
}

impl FromStr for Signal {
    type Err = String;

    fn from_str(name: &str) -> Result<Signal, String> {
        match name {
            "index" => Ok(Signal::Index),
            "tone" => Ok(Signal::Tone),
            "noise" => Ok(Signal::Noise),
            "source" => Ok(Signal::Source),
            _ => Err("not one of index, tone, noise, source".into()),
        }
    }
}

const TONE_HZ: f64 = 440.0;
const AMPLITUDE: f64 = 0.25;
const SOUND_METRES_PER_SECOND: f64 = 343.0;
const SOURCE_RADIUS: f64 = 2.0;
const SOURCE_TURN_SECONDS: f64 = 20.0;
const ARRAY_SIDE: f64 = 0.1;
/// The source's sound is random values this many a second, joined smoothly.
const SOURCE_VALUES_PER_SECOND: f64 = 8_000.0;

/// The `index` signal's sample.
pub fn index_sample(mic: usize, position: i64) -> i32 {
    ((mic as i32 + 1) << 28) | position.rem_euclid(1 << 28) as i32
}

/// Seconds that sound takes from the source to microphone `mic` at `seconds` since the start of the run.
pub fn source_delay(mic: usize, seconds: f64) -> f64 {
    let corner = |turn: f64, radius: f64| {
        let angle = std::f64::consts::TAU * turn;
        (radius * libm::cos(angle), radius * libm::sin(angle))
    };
    let (x, y) = corner(mic as f64 / MICS as f64, ARRAY_SIDE / 3.0f64.sqrt());
    let (source_x, source_y) = corner(seconds / SOURCE_TURN_SECONDS, SOURCE_RADIUS);
    libm::sqrt((source_x - x).powi(2) + (source_y - y).powi(2)) / SOUND_METRES_PER_SECOND
}

/// Writes a packet's `samples` into `payload`, replacing what it held: 4 bytes a sample, little-endian.
pub(super) fn fill(signal: Signal, seed: u64, packet: &Packet, samples: u32, rate_hz: u32, payload: &mut Vec<u8>) {
    payload.clear();
    let mic = packet.mic;
    // The true time of the packet's first sample, and of one sample, in seconds.
    let step = 1.0 / (f64::from(rate_hz) * (1.0 + packet.ppm * 1e-6));
    let first = (packet.captured - START).as_secs_f64() - f64::from(samples) * step;
    let mut write = |sample: &mut dyn FnMut(u32) -> i32| {
        for i in 0..samples {
            payload.extend_from_slice(&sample(i).to_le_bytes());
        }
    };
    match signal {
        Signal::Index => write(&mut |i| index_sample(mic, packet.position.0 + i64::from(i))),
        Signal::Tone => write(&mut |i| {
            let cycles = TONE_HZ * (first + f64::from(i) * step);
            quantise(AMPLITUDE * libm::sin(std::f64::consts::TAU * (cycles - cycles.floor())))
        }),
        Signal::Noise => {
            let own = split_mix(seed ^ split_mix(mic as u64 + 1));
            write(&mut |i| quantise(AMPLITUDE * hashed(own, packet.position.0 + i64::from(i))))
        }
        Signal::Source => {
            // Within 10 ms the source moves millimetres, along a line as good as straight.
            let last = first + f64::from(samples) * step;
            let (delay, delay_then) = (source_delay(mic, first), source_delay(mic, last));
            let own = split_mix(seed);
            write(&mut |i| {
                let along = f64::from(i) / f64::from(samples);
                let left_source = first + f64::from(i) * step - (delay + (delay_then - delay) * along);
                quantise(AMPLITUDE * smooth(own, left_source * SOURCE_VALUES_PER_SECOND))
            })
        }
    }
}

/// A value in [-1, 1] to 24 bits, left-justified in 32.
fn quantise(value: f64) -> i32 {
    ((value * 8_388_607.0).round() as i32) << 8
}

/// A random value in [-1, 1) for each index.
fn hashed(own: u64, index: i64) -> f64 {
    split_mix(own.wrapping_add(index as u64)) as i64 as f64 / (1u64 << 63) as f64
}

/// The random values joined by a Catmull-Rom spline, which may overshoot them by a quarter: kept within [-1, 1].
fn smooth(own: u64, at: f64) -> f64 {
    let index = at.floor();
    let t = at - index;
    let p = [-1, 0, 1, 2].map(|i| 0.8 * hashed(own, index as i64 + i));
    let slope = [(p[2] - p[0]) / 2.0, (p[3] - p[1]) / 2.0];
    let (t2, t3) = (t * t, t * t * t);
    let value = p[1] * (2.0 * t3 - 3.0 * t2 + 1.0)
        + slope[0] * (t3 - 2.0 * t2 + t)
        + p[2] * (3.0 * t2 - 2.0 * t3)
        + slope[1] * (t3 - t2);
    value.clamp(-1.0, 1.0)
}
