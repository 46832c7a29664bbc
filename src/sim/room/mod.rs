//! Microphones in a room: what they hear, with known truth.
//!
//! A [`Scene`] has sources at places, a box that reflects (`image`), the room's own quiet noise from all sides, and the noise of
//! the microphones themselves. [`Scene::hear`] gives the samples, 24 bits left-justified in 32 as I2S microphones send them, all
//! from one clock: what a network makes of packets of them is another matter. The same scene gives the same samples everywhere.
//!
//! Levels: 94 dB SPL are -26 dBFS, and the microphone's own noise is -87 dBFS(A) (InvenSense, INMP441 data sheet, table 1), flat
//! above some hundred hertz, and 1/f below.

mod array;
mod fourier;
mod image;
mod sounds;

pub(in crate::sim) use self::array::Heard;
pub use self::array::{Sounds, between};
pub use self::image::Room;
pub use self::sounds::Sound;

use crate::sim::rng::{Purpose, Rng};

const RATE_HZ: f64 = 48_000.0;
const SOUND_METRES_PER_SECOND: f64 = 343.0;
/// dBFS of 94 dB SPL, and of the microphone's noise, A-weighted.
const SENSITIVITY_DBFS: f64 = -26.0;
const SELF_NOISE_DBFS_A: f64 = -87.0;
/// Where the microphone's noise begins to rise toward low frequencies.
const SELF_NOISE_CORNER_HZ: f64 = 300.0;
/// The microphone passes what is above (INMP441: 60 Hz).
const LOWEST_HZ: f64 = 60.0;
/// Directions from which the room's noise comes.
const DIRECTIONS: usize = 12;

/// A sound at a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Metres, from a corner of the room.
    pub at: [f64; 3],
    pub sound: Sound,
    /// Mean level at the first microphone, in dB SPL.
    pub level_db: f64,
}

/// See the top of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    pub seed: u64,
    pub room: Room,
    /// Metres, from a corner of the room.
    pub mics: Vec<[f64; 3]>,
    pub sources: Vec<Source>,
    /// Noise from all sides, in dB(A); none at all where there is none.
    pub ambient_dba: Option<f64>,
    /// Whether microphones have noise of their own.
    pub self_noise: bool,
}

impl Scene {
    /// Samples of each microphone, s32 with 24 bits.
    ///
    /// # Panics
    /// Where a place is outside of the room.
    pub fn hear(&self, count: usize) -> Vec<Vec<i32>> {
        let mut heard = vec![vec![0.0; count]; self.mics.len()];
        for (index, source) in self.sources.iter().enumerate() {
            self.add_source(index, source, &mut heard);
        }
        if let Some(dba) = self.ambient_dba {
            self.add_ambient(dba, &mut heard);
        }
        for (mic, samples) in heard.iter_mut().enumerate() {
            pass_high(samples);
            if self.self_noise {
                let mut rng = Rng::stream(self.seed, Purpose::Room, 1_000 + mic);
                let noise = fourier::noise(&mut rng, count, RATE_HZ, |hz| 1.0 + SELF_NOISE_CORNER_HZ / hz);
                let gain = from_db(SELF_NOISE_DBFS_A);
                samples.iter_mut().zip(noise).for_each(|(sample, noise)| *sample += gain * noise);
            }
        }
        heard.into_iter().map(|samples| samples.into_iter().map(quantise).collect()).collect()
    }

    /// Seconds that sound takes from a source to a microphone.
    pub fn flight_s(&self, source: usize, mic: usize) -> f64 {
        image::distance(self.sources[source].at, self.mics[mic]) / SOUND_METRES_PER_SECOND
    }

    fn add_source(&self, index: usize, source: &Source, heard: &mut [Vec<f64>]) {
        let mut rng = Rng::stream(self.seed, Purpose::Room, index);
        let dry = source.sound.samples(&mut rng, heard[0].len());
        let responses = self.room.responses(source.at, &self.mics, &mut rng);
        let mut gain = 0.0;
        for (mic, (samples, response)) in heard.iter_mut().zip(&responses).enumerate() {
            let wet = fourier::convolve(&dry, response);
            if mic == 0 {
                let rms = libm::sqrt(wet.iter().map(|x| x * x).sum::<f64>() / wet.len() as f64);
                gain = spl(source.level_db) / rms.max(f64::MIN_POSITIVE);
            }
            samples.iter_mut().zip(wet).for_each(|(sample, wet)| *sample += gain * wet);
        }
    }

    /// Plane waves from directions that are spread evenly over a sphere (Hoth's noise: it falls by 5 dB an octave), each at whole
    /// samples of delay, and each another part of one long noise: more than a third of a second from the next.
    fn add_ambient(&self, dba: f64, heard: &mut [Vec<f64>]) {
        let mut rng = Rng::stream(self.seed, Purpose::Room, 2_000);
        let length = heard[0].len().next_power_of_two().max(1 << 18);
        let noise = fourier::noise(&mut rng, length, RATE_HZ, |hz| libm::pow(hz.max(50.0), -1.67));
        let gain = spl(dba) / libm::sqrt(DIRECTIONS as f64);
        for direction in 0..DIRECTIONS {
            // Fibonacci's spiral.
            let height = 1.0 - 2.0 * (direction as f64 + 0.5) / DIRECTIONS as f64;
            let (ring, turn) = (libm::sqrt(1.0 - height * height), 2.399_963 * direction as f64);
            let toward = [ring * libm::cos(turn), ring * libm::sin(turn), height];
            let own = direction * (length / DIRECTIONS);
            for (samples, mic) in heard.iter_mut().zip(&self.mics) {
                let along: f64 = mic.iter().zip(toward).map(|(at, toward)| at * toward).sum();
                let later = (along / SOUND_METRES_PER_SECOND * RATE_HZ).round() as i64;
                let from = (own as i64 + later).rem_euclid(length as i64) as usize;
                // The noise begins anew where it ends, without a step.
                let endless = noise[from..].iter().chain(&noise);
                samples.iter_mut().zip(endless).for_each(|(sample, noise)| *sample += gain * noise);
            }
        }
    }
}

fn from_db(db: f64) -> f64 {
    libm::pow(10.0, db / 20.0)
}

/// The share of full scale of a sound pressure level.
fn spl(db: f64) -> f64 {
    from_db(db - 94.0 + SENSITIVITY_DBFS)
}

/// One pole: nothing of 0 Hz is left.
fn pass_high(samples: &mut [f64]) {
    let keep = libm::exp(-std::f64::consts::TAU * LOWEST_HZ / RATE_HZ);
    let (mut before, mut passed) = (samples.first().copied().unwrap_or_default(), 0.0);
    for sample in samples {
        passed = keep * (passed + *sample - before);
        before = std::mem::replace(sample, passed);
    }
}

/// A share of full scale to 24 bits, left-justified in 32; what is beyond is cut.
fn quantise(value: f64) -> i32 {
    ((value.clamp(-1.0, 1.0) * 8_388_607.0).round() as i32) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(sound: Sound, level_db: f64) -> Scene {
        Scene {
            seed: 3,
            room: Room { size: [6.0, 5.0, 2.8], rt60: 0.2 },
            mics: vec![[2.0, 2.0, 1.0], [3.0, 2.0, 1.0]],
            sources: vec![Source { at: [4.5, 3.5, 1.5], sound, level_db }],
            ambient_dba: None,
            self_noise: false,
        }
    }

    fn dbfs(samples: &[i32]) -> f64 {
        let square = |x: &i32| (f64::from(*x) / 2f64.powi(31)).powi(2);
        10.0 * (samples.iter().map(square).sum::<f64>() / samples.len() as f64).log10()
    }

    #[test]
    fn ninety_four_decibels_are_minus_26_dbfs_and_silence_is_the_microphones_noise() {
        let loud = scene(Sound::Tone(1_000.0), 94.0).hear(48_000);
        assert!((dbfs(&loud[0]) + 26.0).abs() < 0.2, "{}", dbfs(&loud[0]));
        let quiet = Scene { sources: Vec::new(), self_noise: true, ..scene(Sound::White, 0.0) }.hear(96_000);
        // Unweighted, noise that rises below 300 Hz is some dB above its A-weighted level.
        assert!((-87.0..-83.0).contains(&dbfs(&quiet[0])), "{}", dbfs(&quiet[0]));
        assert!(quiet[0] != quiet[1] && quiet[0].iter().all(|x| x & 0xff == 0));
    }

    #[test]
    fn the_same_scene_gives_the_same_samples_and_another_seed_others() {
        let scene = Scene { ambient_dba: Some(30.0), self_noise: true, ..scene(Sound::Speech, 60.0) };
        assert_eq!(scene.hear(9_600), scene.hear(9_600));
        assert_ne!(scene.hear(9_600), Scene { seed: 4, ..scene.clone() }.hear(9_600));
    }

    #[test]
    fn a_sound_comes_to_each_microphone_after_its_flight() {
        let dry = Room { size: [6.0, 5.0, 2.8], rt60: 0.05 };
        let scene = Scene { room: dry, ..scene(Sound::White, 70.0) };
        let heard = scene.hear(24_000);
        let correlation = |lag: i64| -> f64 {
            (500..23_000).map(|at| f64::from(heard[0][at]) * f64::from(heard[1][(at as i64 + lag) as usize])).sum()
        };
        let found = (-200..=200).max_by(|a, b| correlation(*a).total_cmp(&correlation(*b))).unwrap();
        let truth = (scene.flight_s(0, 1) - scene.flight_s(0, 0)) * 48_000.0;
        assert!((found as f64 - truth).abs() <= 1.0, "{found} for {truth}");
    }
}
