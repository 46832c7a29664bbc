//! How loud a microphone is, and whether it is one at all.
//!
//! Level, peak, offset, flat tops and range of windows of about a second. Not each packet is looked at: one in [`EVERY`] and at most
//! [`MOST_SAMPLES`] of it, so that no flood makes it dear. Whether two channels are the same is
//! seen at their packets' beginnings. Samples are read, never changed.

use crate::engine::health::tuning::levels::{
    CLIPPED_PACKETS, CLIPPED_SAMPLES, DEAD_RANGE, EQUAL_LOOKS, EVERY, FEWEST_PACKETS, FLAT, LEAST_TOP, MOVES,
    NOT_LOOKED_AT, OFFSET, OFFSET_OF_SOUND, WINDOW,
};
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::sound::words::{Found, Words};
use crate::time::{MonoTime, Span};

pub(super) const MOST_SAMPLES: usize = 1024;
/// Full scale.
const FULL: f64 = 2_147_483_648.0;
/// Samples of a packet's beginning that are compared, packets that are remembered, and how many seconds in a row two must be equal.
pub(super) const COMPARED: usize = 16;
const HEADS: usize = 8;

/// What a window of one microphone was like. Values are shares of full scale.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Level {
    /// Root mean square of the samples as they are, offset included.
    pub rms: f64,
    pub peak: f64,
    /// Mean.
    pub offset: f64,
    /// Samples in flat tops, of all.
    pub clipped: f64,
    /// Largest minus smallest, in sample units.
    pub range: i64,
    /// What the words themselves show; `None` where they were too few.
    pub words: Option<Found>,
    /// From the window's first packet that was looked at to its last.
    pub span: Span,
}

impl Level {
    /// Hardly a bit moves.
    pub fn is_dead(&self) -> bool {
        self.range < DEAD_RANGE
    }

    /// The samples do not swing around 0.
    pub fn is_offset(&self) -> bool {
        let sound = (self.rms * self.rms - self.offset * self.offset).max(0.0).sqrt();
        self.offset.abs() > OFFSET.max(OFFSET_OF_SOUND * sound) && self.range >= MOVES
    }
}

#[derive(Clone, Copy, Debug)]
struct Window {
    from: MonoTime,
    to: MonoTime,
    packets: u32,
    samples: u64,
    sum: i128,
    squares: f64,
    min: i32,
    max: i32,
    flat: u64,
    flat_packets: u32,
    words: Words,
}

/// One microphone.
#[derive(Debug, Default)]
pub struct LevelMeter {
    due: Option<MonoTime>,
    window: Option<Window>,
    level: Option<Level>,
}

impl LevelMeter {
    pub fn restart(&mut self) {
        *self = LevelMeter::default();
    }

    /// The newest whole window.
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// Samples are looked at now and then: at these?
    pub fn is_due(&self, at: MonoTime) -> bool {
        self.due.is_none_or(|due| at >= due)
    }

    /// Looks at some samples. True when a window ended.
    pub fn look(&mut self, at: MonoTime, samples: &[[u8; SAMPLE_BYTES]]) -> bool {
        self.due = Some(at + EVERY);
        let ended = self.window.is_some_and(|window| at - window.from >= WINDOW && window.packets >= FEWEST_PACKETS);
        if ended {
            self.level = self.window.take().map(|window| window.level());
        }
        let window = self.window.get_or_insert(Window::new(at));
        window.add(at, &samples[..samples.len().min(MOST_SAMPLES)]);
        ended
    }
}

impl Window {
    fn new(from: MonoTime) -> Window {
        Window {
            from,
            to: from,
            packets: 0,
            samples: 0,
            sum: 0,
            squares: 0.0,
            min: i32::MAX,
            max: i32::MIN,
            flat: 0,
            flat_packets: 0,
            words: Words::default(),
        }
    }

    fn add(&mut self, at: MonoTime, samples: &[[u8; SAMPLE_BYTES]]) {
        let mut room = [0_i32; MOST_SAMPLES];
        let words = &mut room[..samples.len()];
        words.iter_mut().zip(samples).for_each(|(word, sample)| *word = i32::from_le_bytes(*sample));
        let words = &*words;
        let (min, max) = words.iter().fold((i32::MAX, i32::MIN), |(min, max), &word| (min.min(word), max.max(word)));
        // Eight sums side by side: one alone waits for each addition before the next. A thousand words' sum is exact in a float.
        let (mut sums, mut squares) = ([0.0; 8], [0.0; 8]);
        let (eights, rest) = words.as_chunks::<8>();
        for eight in eights {
            for ((sum, square), &word) in sums.iter_mut().zip(&mut squares).zip(eight) {
                *sum += f64::from(word);
                *square += f64::from(word).powi(2);
            }
        }
        for ((sum, square), &word) in sums.iter_mut().zip(&mut squares).zip(rest) {
            *sum += f64::from(word);
            *square += f64::from(word).powi(2);
        }
        let sum = sums.iter().sum::<f64>() as i64;
        self.to = at;
        self.packets += 1;
        self.samples += samples.len() as u64;
        self.sum += i128::from(sum);
        self.squares += squares.iter().sum::<f64>();
        self.min = self.min.min(min);
        self.max = self.max.max(max);
        let mut flat = 0;
        for top in [min, max] {
            if i64::from(top).abs() >= LEAST_TOP && min != max {
                flat += in_flat_tops(words, top);
            }
        }
        self.flat += flat;
        self.flat_packets += u32::from(flat > 0);
        self.words.add(&words[NOT_LOOKED_AT.min(words.len())..]);
    }

    fn level(&self) -> Level {
        let count = self.samples as f64;
        let clips = self.flat >= CLIPPED_SAMPLES && self.flat_packets >= CLIPPED_PACKETS;
        Level {
            rms: (self.squares / count).sqrt() / FULL,
            peak: f64::from(self.max).abs().max(f64::from(self.min).abs()) / FULL,
            offset: self.sum as f64 / count / FULL,
            clipped: if clips { self.flat as f64 / count } else { 0.0 },
            range: i64::from(self.max) - i64::from(self.min),
            words: self.words.found(),
            span: self.to - self.from,
        }
    }
}

/// Samples that are equal to `top` and stand in a row of them.
fn in_flat_tops(samples: &[i32], top: i32) -> u64 {
    // Hardly ever are there so many: to count them is quick.
    if samples.iter().filter(|&&sample| sample == top).count() < FLAT as usize {
        return 0;
    }
    let (mut all, mut row) = (0, 0);
    for &sample in samples {
        row = if sample == top { row + 1 } else { 0 };
        all += match row {
            0..FLAT => 0,
            FLAT => u64::from(FLAT),
            _ => 1,
        };
    }
    all
}

/// Which channels carry the same signal: packets of two microphones begin with the same bytes, look after look.
#[derive(Debug)]
pub struct Twins {
    /// The newest packets' beginnings, as one number each, and how many there were.
    heads: Vec<([u64; HEADS], usize)>,
    due: Option<MonoTime>,
    /// Looks in a row at which the two of a pair were equal.
    equal: Vec<u32>,
    /// Of each channel, the first other with the same signal.
    twins: Vec<Option<usize>>,
}

impl Twins {
    pub fn new(channels: usize) -> Twins {
        Twins {
            heads: vec![Default::default(); channels],
            due: None,
            equal: vec![0; couples(channels).count()],
            twins: vec![None; channels],
        }
    }

    /// The beginning of a packet, or more of it.
    pub fn note(&mut self, channel: usize, samples: &[[u8; SAMPLE_BYTES]]) {
        if let Some(head) = head(samples) {
            let (heads, count) = &mut self.heads[channel];
            heads[*count % HEADS] = head;
            *count += 1;
        }
    }

    /// After a packet's channels; true when it was time for a look.
    pub fn look(&mut self, at: MonoTime) -> bool {
        if self.due.is_some_and(|due| at < due) {
            return false;
        }
        self.due = Some(at + WINDOW);
        self.twins.fill(None);
        for (equal, (a, b)) in self.equal.iter_mut().zip(couples(self.heads.len())) {
            let heads = &self.heads;
            // The newest of one may be newer than all of the other.
            let newest = |mic: usize| heads[mic].1.checked_sub(1).map(|newest| heads[mic].0[newest % HEADS]);
            let among = |head: Option<u64>, mic: usize| head.is_some_and(|head| heads[mic].0.contains(&head));
            *equal = if among(newest(a), b) || among(newest(b), a) { *equal + 1 } else { 0 };
            if *equal >= EQUAL_LOOKS {
                self.twins[a].get_or_insert(b);
                self.twins[b].get_or_insert(a);
            }
        }
        self.heads.fill(Default::default());
        true
    }

    /// The first other microphone with the same signal.
    pub fn of(&self, channel: usize) -> Option<usize> {
        self.twins[channel]
    }
}

/// Every two of so many channels.
fn couples(channels: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..channels).flat_map(move |a| (a + 1..channels).map(move |b| (a, b)))
}

/// The first samples as one number (FNV-1a, by words); none where they do not move.
fn head(samples: &[[u8; SAMPLE_BYTES]]) -> Option<u64> {
    let samples = &samples[..samples.len().min(COMPARED)];
    let moves = samples.iter().any(|sample| sample != &samples[0]);
    moves.then(|| {
        samples.iter().fold(0xcbf2_9ce4_8422_2325, |hash, sample| {
            (hash ^ u64::from(u32::from_le_bytes(*sample))).wrapping_mul(0x100_0000_01b3)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: i64) -> MonoTime {
        MonoTime::from_nanos(ms * 1_000_000)
    }

    /// Two seconds of packets, every 10 ms.
    fn level(of: impl Fn(i64) -> i32) -> Level {
        let mut meter = LevelMeter::default();
        for packet in 0..200 {
            let samples: Vec<_> = (0..480).map(|i| of(packet * 480 + i).to_le_bytes()).collect();
            if meter.is_due(at_ms(packet * 10)) {
                meter.look(at_ms(packet * 10), &samples);
            }
        }
        meter.level().expect("a second has passed")
    }

    #[test]
    fn a_header_as_long_as_vbans_in_front_shows_no_stuck_bits() {
        let noise = |i: i64| (((i * i * 7_919) % 2_003 - 1_001) << 8) as i32;
        // The low bytes of its words move (a name, a counter), those of the samples do not.
        let word = |i: i64| if i % 480 < 7 { 0x4d69_6331 + (i / 480) as i32 } else { noise(i) };
        let stuck = |level: Level| level.words.expect("a second of them").stuck;
        assert_eq!(stuck(level(word)), None);
        assert_eq!(stuck(level(noise)), None);
        assert!(stuck(level(|i| noise(i) | 1 << 13)).is_some());
    }

    fn sine(amplitude: f64, offset: f64) -> impl Fn(i64) -> i32 {
        move |i| ((amplitude * (i as f64 * std::f64::consts::TAU / 48.0).sin() + offset) * FULL) as i32
    }

    #[test]
    fn a_sine_has_its_level_peak_and_offset_and_is_not_clipped() {
        let level = level(sine(0.5, 0.01));
        assert!((level.rms - (0.125_f64 + 0.0001).sqrt()).abs() < 1e-6, "{level:?}");
        assert!((level.peak - 0.51).abs() < 1e-6 && (level.offset - 0.01).abs() < 1e-6, "{level:?}");
        assert_eq!((level.clipped, level.is_dead()), (0.0, false));
    }

    #[test]
    fn an_offset_is_told_from_a_loud_deep_sound_and_from_a_ramp() {
        assert!(level(sine(0.1, 0.02)).is_offset());
        assert!(!level(sine(0.1, 0.005)).is_offset());
        // Packets hold a part of each swing: their means are far from 0, to both sides.
        let deep = level(|i| (0.8 * FULL * (i as f64 * std::f64::consts::TAU / 3_331.0).sin()) as i32);
        assert!(!deep.is_offset(), "{deep:?}");
        assert!(!level(|i| (1 << 28) + (i % 48_000) as i32).is_offset(), "it moves less than any sound");
    }

    #[test]
    fn flat_tops_are_clipping_at_full_scale_and_below_but_quiet_ones_are_not() {
        // A sine of twice the limit is beyond it for two thirds of the time; of 48 samples, 16 above and 16 below.
        let clipped = |limit: f64| {
            let sine = sine(2.0 * limit, 0.0);
            level(move |i| {
                let limit = (limit * FULL) as i64 - 1;
                i64::from(sine(i)).clamp(-limit, limit) as i32
            })
            .clipped
        };
        for limit in [0.49, 0.3] {
            assert!((clipped(limit) - 2.0 / 3.0).abs() < 0.05, "{limit}: {}", clipped(limit));
        }
        assert_eq!(clipped(0.2), 0.0);
    }

    #[test]
    fn zeros_and_a_stuck_value_are_dead_and_the_quietest_noise_is_not() {
        assert!(level(|_| 0).is_dead());
        assert!(level(|_| -1).is_dead());
        let stuck = level(|_| 1 << 30);
        assert!(stuck.is_dead() && stuck.clipped == 0.0);
        // Self-noise of -87 dBFS is an rms of 96 000; a hundredth of that would do.
        assert!(!level(|i| ((i * 7919) % 2001 - 1000) as i32).is_dead());
    }

    #[test]
    fn a_flood_does_not_make_it_look_more_often() {
        let mut meter = LevelMeter::default();
        for packet in 0..100_000 {
            let at = MonoTime::from_nanos(packet * 5_000);
            if meter.is_due(at) {
                meter.look(at, &[[1; 4]; 2048]);
            }
        }
        let window = meter.window.expect("half a second");
        assert!(window.packets <= 17 && window.samples <= 17 * 1024, "{window:?}");
    }

    #[test]
    fn two_ports_with_one_signal_are_twins_and_silent_ones_are_not() {
        let twins = |of: fn(usize, i64) -> i32| {
            let mut twins = Twins::new(3);
            for packet in 0..500_i64 {
                for mic in 0..3 {
                    let samples: Vec<_> = (0..64).map(|i| of(mic, packet * 64 + i).to_le_bytes()).collect();
                    twins.note(mic, &samples);
                    twins.look(at_ms(packet * 10));
                }
            }
            [0, 1, 2].map(|mic| twins.of(mic))
        };
        assert_eq!(twins(|_, i| (i * i) as i32), [Some(1), Some(0), Some(0)]);
        assert_eq!(twins(|mic, i| if mic == 1 { -i } else { i } as i32), [Some(2), None, Some(0)]);
        assert_eq!(twins(|mic, i| (i + mic as i64) as i32), [None; 3], "the same a sample later is a copy no more");
        assert_eq!(twins(|_, _| 0), [None; 3]);
    }
}
