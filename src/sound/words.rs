//! Faults of the words that samples come in, seen in the words themselves.
//!
//! A microphone of 24 bits fills the high bytes of a word: its low byte is 0 (or all bits are used, by one of 32 bits). Every bit
//! between the lowest and the highest that move does move. Neighbouring samples are about equally loud. What an I2S driver does wrong
//! breaks one of these: another slot's empty words in between, words shifted to the right, byte orders turned round, a bit of the
//! line stuck. Samples are read, never changed.
//!
//! A [`Words`] collects over some packets; [`Words::found`] says what they show, all together.

/// Words from which something is concluded, at least: a tenth of a second.
const FEWEST: u64 = 4_800;
/// Below this range nothing is said of bits and slots: the microphone is dead, and that is another fault.
const LEAST_RANGE: i64 = 512;
/// One of two slots is empty when the other has so many times its energy, in this share of the packets.
const HALF_EMPTY: f64 = 10.0;
const IN_MOST: f64 = 0.8;
/// Words that belong further up are quieter than any microphone: in the quietest packet no sample is as large as this, -90 dBFS. The
/// best microphones' own noise peaks higher.
const QUIETER_THAN_ANY: u32 = 1 << 16;
/// And their lowest byte moves, where a left-justified word has none: in this share of the words.
const LOW_BYTE_MOVES: f64 = 0.25;
/// The two highest bits of the lowest byte are equal in half of the words; in this share if they are the sign and its copy, as those
/// of the highest byte are unless the sound is very loud.
const SIGN_AT_THE_BOTTOM: f64 = 0.75;

/// What the words show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Bits that never move though lower and higher ones do, as a mask, and what they stand at.
    pub stuck: Option<Stuck>,
    /// Every second word is empty.
    pub half_empty: bool,
    /// The words are not where they belong.
    pub shifted: Option<Shifted>,
}

/// Bits that never move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stuck {
    pub mask: u32,
    pub at: u32,
}

/// How words are not where they belong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shifted {
    /// To the right: no word is as large as a microphone's own noise.
    Right,
    /// The bytes stand in the other order.
    Swapped,
}

/// See the top of the file.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    count: u64,
    /// Bits that were 1 in some word, and in every word.
    any: u32,
    all: u32,
    min: i32,
    max: i32,
    /// Largest magnitude of the quietest packet.
    quietest: u32,
    low_byte: u64,
    sign_at_the_bottom: u64,
    packets: u32,
    /// Packets in which one of two slots has all the energy.
    lopsided: u32,
}

/// Even, for the two slots.
const LANES: usize = 8;

/// What the words of one packet show, each [`LANES`]th word in one lane.
struct Lanes {
    any: [u32; LANES],
    all: [u32; LANES],
    min: [i32; LANES],
    max: [i32; LANES],
    low_byte: [u32; LANES],
    sign_at_the_bottom: [u32; LANES],
}

impl Lanes {
    /// Before any word; `first` stands for one that will come.
    fn of(first: i32) -> Lanes {
        Lanes {
            any: [0; LANES],
            all: [u32::MAX; LANES],
            min: [first; LANES],
            max: [first; LANES],
            low_byte: [0; LANES],
            sign_at_the_bottom: [0; LANES],
        }
    }

    /// Inlined, so that the lanes stay in registers.
    #[inline(always)]
    fn add(&mut self, words: &[i32; LANES]) {
        for (lane, &word) in words.iter().enumerate() {
            self.any[lane] |= word as u32;
            self.all[lane] &= word as u32;
            self.min[lane] = self.min[lane].min(word);
            self.max[lane] = self.max[lane].max(word);
            self.low_byte[lane] += low_byte_moves(word);
            self.sign_at_the_bottom[lane] += sign_at_the_bottom(word);
        }
    }

    fn extremes(&self) -> (i32, i32) {
        let min = self.min.iter().fold(i32::MAX, |min, &lane| min.min(lane));
        (min, self.max.iter().fold(i32::MIN, |max, &lane| max.max(lane)))
    }
}

/// 1 or 0, as the next.
fn low_byte_moves(word: i32) -> u32 {
    u32::from(word & 0xff != 0)
}

fn sign_at_the_bottom(word: i32) -> u32 {
    u32::from((word >> 7 ^ word >> 6) & 1 == 0)
}

impl Default for Words {
    fn default() -> Words {
        Words {
            count: 0,
            any: 0,
            all: u32::MAX,
            min: i32::MAX,
            max: i32::MIN,
            quietest: u32::MAX,
            low_byte: 0,
            sign_at_the_bottom: 0,
            packets: 0,
            lopsided: 0,
        }
    }
}

impl Words {
    /// Words of one packet, in their order. A packet may begin in either slot.
    ///
    /// Everything is collected in [`LANES`] side by side, even ones of one slot and odd ones of the other, so that one value does not wait
    /// for the one before it.
    pub fn add(&mut self, words: &[i32]) {
        let Some(&first) = words.first() else { return };
        let mut seen = Lanes::of(first);
        let (eights, rest) = words.as_chunks::<LANES>();
        eights.iter().for_each(|eight| seen.add(eight));
        let mut last = [first; LANES];
        last[..rest.len()].copy_from_slice(rest);
        seen.add(&last);
        // What fills the last up is the first word again, which changes none of the extremes.
        let filled = (LANES - rest.len()) as u64;
        // Squared differences from the last word of the same slot: no offset is in them.
        let mut squares = [0.0; LANES];
        let difference = |word: i32, before: i32| (f64::from(word) - f64::from(before)).powi(2);
        let (later, rest) = words[2.min(words.len())..].as_chunks::<LANES>();
        for (many, before) in later.iter().zip(eights) {
            for ((square, &word), &before) in squares.iter_mut().zip(many).zip(before) {
                *square += difference(word, before);
            }
        }
        let before = &words[later.len() * LANES..];
        for ((square, &word), &before) in squares.iter_mut().zip(rest).zip(before) {
            *square += difference(word, before);
        }
        let mut energy = [0.0; 2];
        squares.iter().enumerate().for_each(|(place, square)| energy[place % 2] += square);
        let (min, max) = seen.extremes();
        self.any |= seen.any.iter().fold(0, |any, &lane| any | lane);
        self.all &= seen.all.iter().fold(u32::MAX, |all, &lane| all & lane);
        (self.min, self.max) = (self.min.min(min), self.max.max(max));
        let peak = min.unsigned_abs().max(max.unsigned_abs());
        let sum = |lanes: &[u32; LANES]| lanes.iter().map(|&lane| u64::from(lane)).sum::<u64>();
        self.low_byte += sum(&seen.low_byte) - filled * u64::from(low_byte_moves(first));
        self.sign_at_the_bottom += sum(&seen.sign_at_the_bottom) - filled * u64::from(sign_at_the_bottom(first));
        self.count += words.len() as u64;
        self.quietest = self.quietest.min(peak);
        self.packets += 1;
        self.lopsided += u32::from(energy[0].max(energy[1]) > HALF_EMPTY * energy[0].min(energy[1]));
    }

    /// What they show; `None` while they are too few.
    pub fn found(&self) -> Option<Found> {
        if self.count < FEWEST {
            return None;
        }
        if i64::from(self.max) - i64::from(self.min) < LEAST_RANGE {
            return Some(Found::default());
        }
        let half_empty = f64::from(self.lopsided) > IN_MOST * f64::from(self.packets);
        let shifted = if half_empty { None } else { self.shifted() };
        // Words in another order, or every second one, have bits of their own kind.
        let stuck = if half_empty || shifted.is_some() { None } else { self.stuck() };
        Some(Found { stuck, half_empty, shifted })
    }

    fn shifted(&self) -> Option<Shifted> {
        let share = |words: u64| words as f64 / self.count as f64;
        if share(self.low_byte) < LOW_BYTE_MOVES {
            return None;
        }
        if share(self.sign_at_the_bottom) > SIGN_AT_THE_BOTTOM {
            return Some(Shifted::Swapped);
        }
        (self.quietest < QUIETER_THAN_ANY).then_some(Shifted::Right)
    }

    fn stuck(&self) -> Option<Stuck> {
        let moves = self.any & !self.all;
        let (lowest, highest) = (moves.trailing_zeros(), 31 - moves.leading_zeros());
        let between = (u32::MAX << lowest) & (u32::MAX >> (31 - highest));
        let mask = between & !moves;
        (mask != 0).then_some(Stuck { mask, at: self.all & mask })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that is not white, 24 bits left-justified, of about this amplitude.
    fn sound(amplitude: f64) -> Vec<i32> {
        let (mut state, mut value) = (1_u64, 0.0);
        (0..20_480)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                value = 0.9 * value + 0.2 * ((state >> 33) as f64 / 2f64.powi(30) - 1.0);
                ((value * amplitude) as i32) << 8
            })
            .collect()
    }

    fn found(words: impl IntoIterator<Item = i32>) -> Found {
        let words: Vec<i32> = words.into_iter().collect();
        let mut all = Words::default();
        words.chunks(512).for_each(|packet| all.add(packet));
        all.found().expect("enough words")
    }

    #[test]
    fn good_words_show_nothing_from_self_noise_to_full_scale() {
        for amplitude in [600.0, 20_000.0, 5e6] {
            assert_eq!(found(sound(amplitude)), Found::default(), "{amplitude}");
        }
        // A microphone of 32 bits uses them all.
        assert_eq!(found(sound(2e4).iter().enumerate().map(|(i, x)| x | ((i as i32 * 37) & 0xff))), Found::default());
        assert_eq!(found([0; 10_000]), Found::default(), "dead is another fault");
        let mut few = Words::default();
        few.add(&[1, 2, 3]);
        assert_eq!(few.found(), None);
    }

    #[test]
    fn a_stuck_bit_is_found_at_either_level() {
        let bit = 1 << 13;
        assert_eq!(found(sound(2e4).iter().map(|x| x | bit)).stuck, Some(Stuck { mask: 1 << 13, at: 1 << 13 }));
        assert_eq!(found(sound(2e4).iter().map(|x| x & !bit)).stuck, Some(Stuck { mask: 1 << 13, at: 0 }));
    }

    #[test]
    fn an_empty_slot_is_found_whether_it_is_even_or_odd_and_zero_or_not_in_pieces_too() {
        for empty in [0, 1] {
            for rest in [0, 77 << 8] {
                let words = sound(2e4).into_iter().enumerate().map(|(i, x)| if i % 2 == empty { rest } else { x });
                let words: Vec<i32> = words.collect();
                assert!(found(words.iter().copied()).half_empty);
                let mut pieces = Words::default();
                for chunk in words.chunks(512) {
                    let (front, rest) = chunk.split_at(365.min(chunk.len()));
                    pieces.add(front);
                    pieces.add(rest);
                }
                assert!(pieces.found().expect("enough").half_empty);
            }
        }
    }

    #[test]
    fn words_at_the_wrong_place_are_found() {
        for amplitude in [600.0, 3e4] {
            assert_eq!(found(sound(amplitude).iter().map(|x| x >> 8)).shifted, Some(Shifted::Right));
        }
        for amplitude in [600.0, 2e5, 3e6] {
            assert_eq!(found(sound(amplitude).iter().map(|x| x.swap_bytes())).shifted, Some(Shifted::Swapped));
        }
    }
}
