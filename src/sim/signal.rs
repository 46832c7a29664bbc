//! What the virtual microphones hear, as s32le payloads, any packet on its own: experiments about timing never make one.

use std::ops::Range;
use std::str::FromStr;

use super::rng::split_mix;
use super::room::{Heard, Sounds};
use super::{Packet, START};

/// A signal. The synthetic sounds are 24 bits, left-justified, as I2S microphones deliver them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Signal {
    /// Sample = (channel + 1) << 28 | position mod 2^28: any misalignment shows by itself. Of an array of more than 15 channels it is
    /// (channel + 1) << 24 | position mod 2^24, since four bits do not count further: positions then come round every 349 s at 48 kHz.
    Index,
    /// 440 Hz at a quarter of full scale, heard by all microphones at once.
    Tone,
    /// White noise at a quarter of full scale, each microphone its own, and a function of the position.
    Noise,
    /// A source of band-limited noise that circles the array (2 m away, once in 20 s), heard by each microphone with the
    /// delay of its own distance. The microphones are the corners of a triangle of 10 cm sides.
    Source,
    /// The sound of a room: a source at three metres with its reverberation, the room's noise and the microphones' own.
    Room(Sounds),
}

impl FromStr for Signal {
    type Err = String;

    fn from_str(name: &str) -> Result<Signal, String> {
        match name {
            "index" => Ok(Signal::Index),
            "tone" => Ok(Signal::Tone),
            "noise" => Ok(Signal::Noise),
            "source" => Ok(Signal::Source),
            _ => match name.parse() {
                Ok(sounds) => Ok(Signal::Room(sounds)),
                Err(()) => Err("not one of index, tone, noise, source, speech, music, fan, claps, hum, quiet".into()),
            },
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

/// The `index` signal's sample, in an array of no more than 15 channels.
pub fn index_sample(mic: usize, position: i64) -> i32 {
    index_sample_among(15, mic, position)
}

/// The same in an array of so many channels.
pub fn index_sample_among(channels: usize, channel: usize, position: i64) -> i32 {
    let bits = index_bits(channels);
    ((channel as i32 + 1) << bits) | (position & ((1 << bits) - 1)) as i32
}

/// Channel and position (in its last bits) of such a sample; of 0, which is none, no channel.
pub fn index_of(channels: usize, sample: i32) -> (Option<usize>, i64) {
    let bits = index_bits(channels);
    let channel = (sample as u32 >> bits) as usize;
    (channel.checked_sub(1), i64::from(sample) & ((1 << bits) - 1))
}

/// Bits of a position.
pub fn index_bits(channels: usize) -> u32 {
    if channels > 15 { 24 } else { 28 }
}

/// Seconds that sound takes from the source to microphone `mic` of three at `seconds` since the start of the run.
pub fn source_delay(mic: usize, seconds: f64) -> f64 {
    source_delay_among(3, mic, seconds)
}

/// The same of so many, which stand on the circle that the corners of the triangle lie on.
fn source_delay_among(channels: usize, mic: usize, seconds: f64) -> f64 {
    let corner = |turn: f64, radius: f64| {
        let angle = std::f64::consts::TAU * turn;
        (radius * libm::cos(angle), radius * libm::sin(angle))
    };
    let (x, y) = corner(mic as f64 / channels as f64, ARRAY_SIDE / 3.0f64.sqrt());
    let (source_x, source_y) = corner(seconds / SOURCE_TURN_SECONDS, SOURCE_RADIUS);
    libm::sqrt((source_x - x).powi(2) + (source_y - y).powi(2)) / SOUND_METRES_PER_SECOND
}

/// Writes a packet's bytes into `payload`, replacing what it held: 4 bytes a sample, little-endian. A piece of a chunk is cut
/// out of what the whole chunk would be. `heard`: in the room, where the signal is one; `channels`: of the array.
pub(super) fn fill(
    signal: Signal,
    heard: Option<&Heard>,
    seed: u64,
    packet: &Packet,
    rate_hz: u32,
    channels: usize,
    payload: &mut Vec<u8>,
) {
    let piece = &packet.piece;
    // Sample `i` of the chunk: its channel in the array, and its frame.
    let wide = piece.channels;
    let place = |i: u32| (packet.mic * wide as usize + (i % wide) as usize, i / wide);
    let (position, samples) = (piece.chunk.0, piece.chunk_samples);
    let end = piece.offset + piece.bytes;
    let wanted = piece.offset / 4..end.div_ceil(4);
    // The true time of the chunk's first sample, and of one sample, in seconds.
    let step = 1.0 / (f64::from(rate_hz) * (1.0 + packet.ppm * 1e-6));
    let first = (packet.captured - START).as_secs_f64() - f64::from(samples) * step;
    match signal {
        Signal::Index => write(payload, wanted, |i| {
            let (channel, frame) = place(i);
            index_sample_among(channels, channel, position + i64::from(frame))
        }),
        Signal::Tone => write(payload, wanted, |i| {
            let cycles = TONE_HZ * (first + f64::from(place(i).1) * step);
            quantise(AMPLITUDE * libm::sin(std::f64::consts::TAU * (cycles - cycles.floor())))
        }),
        Signal::Noise => {
            write(payload, wanted, |i| {
                let (channel, frame) = place(i);
                let own = split_mix(seed ^ split_mix(channel as u64 + 1));
                quantise(AMPLITUDE * hashed(own, position + i64::from(frame)))
            });
        }
        Signal::Room(_) => {
            let heard = heard.expect("a room was made for its sound");
            let rate = f64::from(rate_hz);
            write(payload, wanted, |i| {
                let (channel, frame) = place(i);
                heard.at(channel, (first + f64::from(frame) * step) * rate)
            });
        }
        Signal::Source => {
            // Within 10 ms the source moves millimetres, along a line as good as straight.
            let last = first + f64::from(samples) * step;
            let delays: Vec<(f64, f64)> = (0..wide)
                .map(|nth| place(nth).0)
                .map(|mic| (source_delay_among(channels, mic, first), source_delay_among(channels, mic, last)))
                .collect();
            let own = split_mix(seed);
            write(payload, wanted, |i| {
                let (delay, delay_then) = delays[(i % wide) as usize];
                let frame = place(i).1;
                let along = f64::from(frame) / f64::from(samples);
                let left_source = first + f64::from(frame) * step - (delay + (delay_then - delay) * along);
                quantise(AMPLITUDE * smooth(own, left_source * SOURCE_VALUES_PER_SECOND))
            })
        }
    }
    // What is of other pieces in the samples that it cuts.
    payload.truncate(payload.len() - (end.next_multiple_of(4) - end) as usize);
    payload.drain(..(piece.offset % 4) as usize);
}

/// Each signal gets a loop of its own: runs of days with payloads spend most of their time here.
fn write(payload: &mut Vec<u8>, wanted: Range<u32>, mut sample: impl FnMut(u32) -> i32) {
    payload.resize(wanted.len() * 4, 0);
    for (i, bytes) in wanted.zip(payload.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&sample(i).to_le_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Scenario, Sim};
    use crate::time::Span;

    /// All samples of a run of one board, for each microphone.
    fn hear(signal: Signal, from: Span, samples: usize) -> [Vec<i32>; 3] {
        let scenario = Scenario { signal, ..Scenario::one_board(Span::from_secs(60)) };
        let mut sim = Sim::new(&scenario);
        let mut heard: [Vec<i32>; 3] = Default::default();
        let mut payload = Vec::new();
        while heard[2].len() < samples {
            let packet = sim.next().expect("the run is long enough");
            if packet.captured - START >= from {
                sim.payload(&packet, &mut payload);
                let words = payload.chunks(4).map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap()));
                heard[packet.mic].extend(words);
            }
        }
        heard
    }

    fn rms(samples: &[i32]) -> f64 {
        (samples.iter().map(|x| (f64::from(*x) / 2f64.powi(31)).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
    }

    #[test]
    fn index_shows_microphone_and_position() {
        assert_eq!(index_sample(0, 5), 0x1000_0005);
        assert_eq!(index_sample(2, (1 << 28) + 7), 0x3000_0007);
        assert_eq!(index_sample(14, 5) as u32, 0xf000_0005);
        for (channels, channel) in [(3, 2), (8, 7), (15, 14), (16, 15), (64, 63)] {
            let sample = index_sample_among(channels, channel, 12_345_678);
            assert_eq!(index_of(channels, sample), (Some(channel), 12_345_678), "{channel} of {channels}");
        }
        assert_eq!(index_of(3, 0).0, None);
        let heard = hear(Signal::Index, Span::ZERO, 1024);
        for (mic, samples) in heard.iter().enumerate() {
            assert!(samples.iter().enumerate().all(|(at, sample)| *sample == index_sample(mic, at as i64)));
        }
    }

    #[test]
    fn tone_is_440_hz_at_a_quarter_of_full_scale_everywhere() {
        let heard = hear(Signal::Tone, Span::ZERO, 48_128);
        assert!(heard[0] == heard[1] && heard[1] == heard[2]);
        let second = &heard[0][..48_000];
        assert!((rms(second) - 0.25 / 2f64.sqrt()).abs() < 1e-4);
        let rising = second.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!((439..=441).contains(&rising), "{rising}");
        assert!(second.iter().all(|sample| sample & 0xff == 0), "24 bits, left-justified");
    }

    #[test]
    fn noise_is_each_microphones_own() {
        let heard = hear(Signal::Noise, Span::ZERO, 20_480);
        // Uniform within a quarter of full scale.
        assert!(heard.iter().all(|samples| (rms(samples) - 0.25 / 3f64.sqrt()).abs() < 0.005));
        let product: f64 = heard[0].iter().zip(&heard[1]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let correlation = product / (rms(&heard[0]) * rms(&heard[1])) / 2f64.powi(62) / heard[0].len() as f64;
        // Five times the deviation of 1 / sqrt(n).
        assert!(correlation.abs() < 0.035, "{correlation}");
    }

    #[test]
    fn the_source_is_heard_with_its_true_delays() {
        for seconds in [1, 4, 9, 16] {
            let heard = hear(Signal::Source, Span::from_secs(seconds), 4096);
            for mic in 1..3 {
                let correlation = |lag: i64| -> f64 {
                    (100..3900)
                        .map(|at| f64::from(heard[0][at]) * f64::from(heard[mic][(at as i64 + lag) as usize]))
                        .sum()
                };
                let found = (-20..=20).max_by(|a, b| correlation(*a).total_cmp(&correlation(*b))).unwrap();
                let middle = seconds as f64 + 2048.0 / 48_000.0;
                let truth = (source_delay(mic, middle) - source_delay(0, middle)) * 48_000.0;
                println!("at {seconds} s, mic {mic} against mic 0: {found} samples for {truth}");
                assert!((found as f64 - truth).abs() <= 0.75);
            }
        }
        // Sound takes at most 10 cm longer to one microphone than to another.
        let most =
            (0..200).map(|i| (source_delay(1, f64::from(i) / 10.0) - source_delay(0, f64::from(i) / 10.0)).abs());
        let most = most.fold(0.0, f64::max);
        assert!(most <= 0.1 / 343.0 && most > 0.09 / 343.0, "{most}");
    }
}
