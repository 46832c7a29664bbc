//! Sounds as they leave their source: synthetic ones of the kinds that rooms are full of, and recordings.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::{RATE_HZ, fourier};
use crate::sim::rng::Rng;

/// What a source sounds like.
#[derive(Clone, Debug, PartialEq)]
pub enum Sound {
    /// Syllables of voiced and unvoiced sounds with pauses, of one speaker.
    Speech,
    /// Chords of plucked notes with overtones.
    Music,
    /// Broad noise with the tones of blades.
    Fan,
    /// Bursts of noise, one or two a second.
    Claps,
    /// The mains' 50 Hz and its overtones.
    Hum,
    /// A steady sine.
    Tone(f64),
    /// Noise of the same power at all frequencies.
    White,
    /// Samples at 48 kHz, repeated.
    Recording(Arc<[f32]>),
}

impl Sound {
    /// So many samples, at no particular level.
    pub(super) fn samples(&self, rng: &mut Rng, count: usize) -> Vec<f64> {
        match self {
            Sound::Speech => speech(rng, count),
            Sound::Music => music(rng, count),
            Sound::Fan => fan(rng, count),
            Sound::Claps => claps(rng, count),
            Sound::Hum => hum(rng, count),
            Sound::Tone(hz) => (0..count).map(|i| sine(hz * i as f64 / RATE_HZ)).collect(),
            Sound::White => (0..count).map(|_| rng.normal()).collect(),
            Sound::Recording(samples) => {
                let from = (rng.uniform() * samples.len() as f64) as usize;
                samples.iter().cycle().skip(from).take(count).map(|&x| f64::from(x)).collect()
            }
        }
    }
}

fn sine(turns: f64) -> f64 {
    libm::sin(TAU * (turns - turns.floor()))
}

fn samples_of(seconds: f64) -> usize {
    (seconds * RATE_HZ) as usize
}

/// Two poles: a resonance at a frequency, of a bandwidth (Klatt 1980).
#[derive(Clone, Copy, Debug, Default)]
struct Resonator {
    a: f64,
    b: f64,
    c: f64,
    last: [f64; 2],
}

impl Resonator {
    fn tune(&mut self, hz: f64, bandwidth: f64) {
        let radius = libm::exp(-std::f64::consts::PI * bandwidth / RATE_HZ);
        (self.b, self.c) = (2.0 * radius * libm::cos(TAU * hz / RATE_HZ), -radius * radius);
        self.a = 1.0 - self.b - self.c;
    }

    fn hear(&mut self, x: f64) -> f64 {
        let y = self.a * x + self.b * self.last[0] + self.c * self.last[1];
        self.last = [y, self.last[0]];
        y
    }
}

/// Formants of vowels, in hertz (Peterson and Barney 1952, men), with a fourth.
const VOWELS: [[f64; 4]; 6] = [
    [270.0, 2_290.0, 3_010.0, 3_600.0],
    [530.0, 1_840.0, 2_480.0, 3_500.0],
    [730.0, 1_090.0, 2_440.0, 3_400.0],
    [570.0, 840.0, 2_410.0, 3_300.0],
    [300.0, 870.0, 2_240.0, 3_300.0],
    [490.0, 1_350.0, 1_690.0, 3_300.0],
];
const BANDWIDTHS: [f64; 4] = [60.0, 90.0, 150.0, 250.0];
/// Samples between steps of the voice.
const STEP: usize = 48;

fn speech(rng: &mut Rng, count: usize) -> Vec<f64> {
    let mut heard = Vec::with_capacity(count + 48_000);
    let pitch = rng.between(95.0, 210.0);
    let mut vowel = VOWELS[0];
    while heard.len() < count {
        if rng.chance(0.22) {
            let pause = samples_of(rng.between(0.12, 0.5));
            heard.resize(heard.len() + pause, 0.0);
        }
        if rng.chance(0.6) {
            consonant(rng, &mut heard);
        }
        let next = VOWELS[(rng.uniform() * VOWELS.len() as f64) as usize];
        voiced(rng, &mut heard, pitch, vowel, next);
        vowel = next;
    }
    heard.truncate(count);
    heard
}

fn consonant(rng: &mut Rng, heard: &mut Vec<f64>) {
    let length = samples_of(rng.between(0.04, 0.11));
    let mut mouth = Resonator::default();
    mouth.tune(rng.between(2_500.0, 6_500.0), rng.between(800.0, 2_000.0));
    let loud = rng.between(0.05, 0.2);
    heard.extend((0..length).map(|i| loud * envelope(i, length) * mouth.hear(rng.normal())));
}

fn voiced(rng: &mut Rng, heard: &mut Vec<f64>, pitch: f64, from: [f64; 4], to: [f64; 4]) {
    let length = samples_of(rng.between(0.09, 0.26));
    let (first, last) = (pitch * rng.between(0.9, 1.15), pitch * rng.between(0.85, 1.1));
    let loud = rng.between(0.5, 1.0);
    let mut mouth = [Resonator::default(); 4];
    let (mut phase, mut glottis, mut jitter) = (0.0, 0.0, 1.0);
    let from_here = heard.len();
    for i in 0..length {
        let along = i as f64 / length as f64;
        if i.is_multiple_of(STEP) {
            let glide = (3.0 * along).min(1.0);
            for (formant, resonator) in mouth.iter_mut().enumerate() {
                let hz = from[formant] + (to[formant] - from[formant]) * glide;
                resonator.tune(hz, BANDWIDTHS[formant]);
            }
        }
        phase += (first + (last - first) * along) * jitter / RATE_HZ;
        let mut pulse = 0.03 * rng.normal();
        if phase >= 1.0 {
            phase -= 1.0;
            jitter = 1.0 + 0.01 * rng.normal();
            pulse += 6.0 * (1.0 + 0.05 * rng.normal());
        }
        // The glottis passes low frequencies: -6 dB an octave with the lips' radiation.
        glottis += 0.05 * (pulse - glottis);
        let voice = mouth.iter_mut().fold(glottis, |x, resonator| resonator.hear(x));
        heard.push(envelope(i, length) * voice);
    }
    // Vowels are about equally loud, whatever their formants.
    let sound = &mut heard[from_here..];
    let rms = libm::sqrt(sound.iter().map(|x| x * x).sum::<f64>() / length as f64);
    sound.iter_mut().for_each(|x| *x *= loud / rms);
}

/// Soft ends of 15 ms.
fn envelope(i: usize, length: usize) -> f64 {
    let end = (i.min(length - 1 - i) as f64 / (0.015 * RATE_HZ)).min(1.0);
    0.5 - 0.5 * libm::cos(std::f64::consts::PI * end)
}

fn music(rng: &mut Rng, count: usize) -> Vec<f64> {
    let mut heard = vec![0.0; count];
    let beat = rng.between(0.22, 0.45);
    let mut at = 0.0;
    while samples_of(at) < count {
        let root = 110.0 * libm::pow(2.0, (rng.uniform() * 24.0).floor() / 12.0);
        let chord = if rng.chance(0.5) { [0.0, 4.0, 7.0] } else { [0.0, 3.0, 7.0] };
        for semitones in chord {
            let hz = root * libm::pow(2.0, semitones / 12.0);
            note(rng, &mut heard[samples_of(at)..], hz);
        }
        at += beat * if rng.chance(0.3) { 2.0 } else { 1.0 };
    }
    heard
}

/// A plucked string: overtones fall with their number, and die away faster.
fn note(rng: &mut Rng, heard: &mut [f64], hz: f64) {
    let (loud, decay) = (rng.between(0.3, 1.0), rng.between(0.3, 0.9));
    let length = heard.len().min(samples_of(5.0 * decay));
    for overtone in (1..=12).map(f64::from).filter(|overtone| hz * overtone < 16_000.0) {
        let falls = libm::exp(-libm::sqrt(overtone) / (decay * RATE_HZ));
        let (mut level, start) = (loud / libm::pow(overtone, 1.2), rng.uniform());
        // A rotating arrow is cheaper than a sine a sample.
        let turn = TAU * hz * overtone * (1.0 + 2e-4 * overtone) / RATE_HZ;
        let (cos, sin) = (libm::cos(turn), libm::sin(turn));
        let (mut x, mut y) = (libm::cos(TAU * start), libm::sin(TAU * start));
        for (i, sample) in heard[..length].iter_mut().enumerate() {
            *sample += level * y * (i as f64 / 150.0).min(1.0);
            (x, y) = (x * cos - y * sin, x * sin + y * cos);
            level *= falls;
        }
    }
}

fn fan(rng: &mut Rng, count: usize) -> Vec<f64> {
    let blades = rng.between(80.0, 160.0);
    let mut heard = fourier::noise(rng, count, RATE_HZ, |hz| 1.0 / (1.0 + (hz / 400.0).powi(2)));
    for overtone in 1..=4 {
        let turn = blades * f64::from(overtone) / RATE_HZ;
        let loud = 0.4 / f64::from(overtone);
        heard.iter_mut().enumerate().for_each(|(i, sample)| *sample += loud * sine(turn * i as f64));
    }
    heard
}

fn claps(rng: &mut Rng, count: usize) -> Vec<f64> {
    let mut heard = vec![0.0; count];
    let mut at = samples_of(rng.between(0.1, 0.4));
    while at < count {
        clap(rng, &mut heard[at..]);
        at += samples_of(rng.between(0.45, 0.9));
    }
    heard
}

/// Noise around 1 to 2 kHz that rises in a third of a millisecond and falls in some.
pub(super) fn clap(rng: &mut Rng, heard: &mut [f64]) {
    let mut hands = Resonator::default();
    hands.tune(rng.between(900.0, 2_200.0), rng.between(1_000.0, 2_000.0));
    let falls = rng.between(0.002, 0.006) * RATE_HZ;
    for (i, sample) in heard.iter_mut().enumerate().take(samples_of(0.05)) {
        let t = i as f64;
        *sample += (t / 16.0).min(1.0) * libm::exp(-t / falls) * (hands.hear(rng.normal()) + 0.3 * rng.normal());
    }
}

fn hum(rng: &mut Rng, count: usize) -> Vec<f64> {
    let overtones: Vec<(f64, f64, f64)> =
        (1..=20).map(|k| (50.0 * f64::from(k), rng.between(0.2, 1.0) / f64::from(k), rng.uniform())).collect();
    let at = |i: usize| overtones.iter().map(|(hz, loud, start)| loud * sine(hz * i as f64 / RATE_HZ + start)).sum();
    // It repeats each 20 ms.
    let period: Vec<f64> = (0..960).map(at).collect();
    (0..count).map(|i| period[i % 960]).collect()
}
