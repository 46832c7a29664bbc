//! Numbers against a sender whose truth is known.

use super::*;

/// SplitMix64, as published: enough chance for a test.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % sides
    }
}

/// A datagram as it was sent: its unit, and where it truly begins.
#[derive(Clone, Copy, Debug)]
struct Sent {
    unit: Numbered,
    position: i64,
    nth: u64,
}

struct Sender {
    bits: u32,
    first_number: u64,
    sizes: &'static [u32],
    /// First timestamp; `None`: it sends none.
    first_stamp: Option<u32>,
    /// Frames of silence before a datagram, in so many of 1000.
    silence: u64,
}

impl Sender {
    fn send(&self, datagrams: u64, dice: &mut Dice) -> Vec<Sent> {
        let mut position = 0_i64;
        (0..datagrams)
            .map(|nth| {
                if nth > 0 && dice.roll(1_000) < self.silence {
                    position += 480 * (1 + dice.roll(40) as i64);
                }
                let frames = self.sizes[nth as usize % self.sizes.len()];
                let mask = u64::MAX >> (64 - self.bits);
                let stamp = |first: u32| Stamp {
                    ticks: first.wrapping_add(position as u32).into(),
                    bits: 32,
                    hz: 48_000,
                    in_samples: true,
                };
                let unit = Numbered {
                    number: Number::of_bits(self.first_number.wrapping_add(nth) & mask, self.bits),
                    frames,
                    sampled_at: self.first_stamp.map(stamp),
                    stream: Stream::Ssrc(7),
                };
                let sent = Sent { unit, position, nth };
                position += i64::from(frames);
                sent
            })
            .collect()
    }
}

/// Losses in bursts, copies, and datagrams that are overtaken by up to `reorder` others. The first comes first.
fn network(sent: &[Sent], loss: u64, reorder: u64, dice: &mut Dice) -> Vec<Sent> {
    let mut lossy = 0;
    let mut arriving: Vec<(u64, Sent)> = Vec::new();
    for one in sent {
        if one.nth > 0 && dice.roll(1_000) < loss {
            lossy = 1 + dice.roll(6);
        }
        if lossy > 0 {
            lossy -= 1;
            continue;
        }
        let late = if one.nth > 0 && dice.roll(50) == 0 { dice.roll(reorder + 1) } else { 0 };
        arriving.push((one.nth + late, *one));
        if dice.roll(100) == 0 {
            arriving.push((one.nth + late + dice.roll(reorder + 1), *one));
        }
    }
    // Stable: what has one place keeps the order of sending.
    arriving.sort_by_key(|(at, _)| *at);
    arriving.into_iter().map(|(_, one)| one).collect()
}

/// Every datagram that comes stands where it was sent; what is missing at the end was lost.
fn check(seed: u64, sender: &Sender, loss: u64, reorder: u64) {
    let mut dice = Dice(seed);
    let sent = sender.send(20_000, &mut dice);
    let arriving = network(&sent, loss, reorder, &mut dice);
    let mut known = Known::new(48_000);
    let (mut came, mut missing, mut silence, mut newest) = (vec![false; sent.len()], 0_i64, 0, 0);
    for (at, one) in arriving.iter().enumerate() {
        let place = known.place(&one.unit);
        let context = || format!("seed {seed}, arrival {at}: {one:?}: {place:?}");
        let again = std::mem::replace(&mut came[one.nth as usize], true);
        match place {
            Place::Anew => assert_eq!(at, 0, "{}", context()),
            Place::Next(next) => {
                assert!(!again && next.position == one.position, "{}", context());
                missing += i64::from(next.missing);
                silence += next.silence;
                newest = one.nth;
            }
            Place::Filled { position } => {
                assert!(!again && position == one.position, "{}", context());
                missing -= 1;
            }
            Place::Copy => assert!(again, "{}", context()),
            Place::TooOld | Place::Jump => panic!("{}", context()),
        }
    }
    let lost = came[..=newest as usize].iter().filter(|came| !**came).count();
    assert!(loss == 0 || lost > 100, "the network lost something");
    assert_eq!(missing, lost as i64, "seed {seed}");
    assert!(sender.silence == 0 || silence > 0, "there was a silence");
}

const PLAIN: Sender = Sender { bits: 16, first_number: 65_000, sizes: &[480], first_stamp: None, silence: 0 };

#[test]
fn numbers_tell_positions_through_loss_reordering_copies_and_wraps() {
    for seed in 1..=8 {
        check(seed, &PLAIN, 0, 0);
        check(seed, &PLAIN, 30, 90);
        check(seed, &Sender { bits: 32, first_number: 0xffff_ff00, ..PLAIN }, 30, 90);
        check(seed, &Sender { bits: 64, first_number: u64::MAX - 9_000, ..PLAIN }, 30, 90);
        // Eight bits wrap every 2.6 s: 64 may be overtaken, a copy comes behind that.
        check(seed, &Sender { bits: 8, first_number: 3, ..PLAIN }, 30, 30);
    }
}

#[test]
fn sizes_that_take_turns_are_followed_through_losses() {
    for seed in 1..=8 {
        // 441 frames of VBAN leave as 256 + 185; Arduino's pieces as 365 + 365 + 294.
        for sizes in [&[256, 185][..], &[365, 365, 294], &[512, 32, 512, 100, 7]] {
            check(seed, &Sender { sizes, ..PLAIN }, 30, 20);
        }
    }
}

#[test]
fn a_time_in_samples_tells_silence_from_loss_and_any_sizes() {
    for seed in 1..=8 {
        let sender = Sender { first_stamp: Some(u32::MAX - 100_000), silence: 5, ..PLAIN };
        check(seed, &sender, 0, 90);
        check(seed, &sender, 30, 90);
        check(seed, &Sender { sizes: &[480, 7, 33, 512, 400, 128, 5, 99, 312, 17, 80], ..sender }, 30, 20);
    }
}

fn unit(value: u64, stamp: Option<u64>) -> Numbered {
    let sampled_at = stamp.map(|ticks| Stamp { ticks, bits: 32, hz: 48_000, in_samples: true });
    Numbered { number: Number::of_bits(value, 16), frames: 480, sampled_at, stream: Stream::Ssrc(7) }
}

fn places(units: impl IntoIterator<Item = Numbered>) -> Vec<Place> {
    let mut known = Known::new(48_000);
    units.into_iter().map(|unit| known.place(&unit)).collect()
}

fn next(position: i64, missing: u32) -> Place {
    Place::Next(Next { position, missing, missing_frames: 480 * i64::from(missing), silence: 0 })
}

#[test]
fn a_number_that_jumps_once_is_refused_and_shifts_nothing() {
    // MAX_DROPOUT is a minute of 100 a second, MAX_MISORDER two seconds.
    let jumps = [40_000, 6_012, 65_535 - 300];
    for jump in jumps {
        let places = places([10, 11, jump, 12, 13].map(|value| unit(value, None)));
        assert_eq!(places, [Place::Anew, next(480, 0), Place::Jump, next(960, 0), next(1_440, 0)], "{jump}");
    }
    let within = places([10, 6_010].map(|value| unit(value, None)));
    assert_eq!(within[1], next(480 * 6_000, 5_999));
}

#[test]
fn two_in_a_row_are_a_new_beginning() {
    let places = places([10, 11, 40_000, 40_001, 40_002, 12].map(|value| unit(value, None)));
    assert_eq!(places[2..], [Place::Jump, Place::Anew, next(480, 0), Place::Jump]);
}

#[test]
fn two_counts_by_turns_begin_nothing_anew() {
    // Two senders behind one address: the one that is followed stays.
    let both = (0..50).flat_map(|n| [unit(10 + n, None), unit(40_000 + n, None)]);
    let places = places(both);
    assert!(places.iter().skip(1).step_by(2).all(|place| *place == Place::Jump));
    assert!(places.iter().skip(2).step_by(2).enumerate().all(|(n, place)| *place == next(480 * (n as i64 + 1), 0)));
}

#[test]
fn another_stream_is_a_new_beginning_once_it_is_alone() {
    let other = |value| Numbered { stream: Stream::Ssrc(8), ..unit(value, None) };
    let places = places([unit(10, None), other(11), unit(11, None), other(12), other(13), other(14)]);
    assert_eq!(places, [Place::Anew, Place::Jump, next(480, 0), Place::Jump, Place::Anew, next(480, 0)]);
}

#[test]
fn a_time_that_jumps_far_is_a_jump_and_one_that_is_rounded_is_none() {
    let far = places([unit(1, Some(0)), unit(2, Some(480)), unit(3, Some(9_000_000)), unit(4, Some(9_000_480))]);
    assert_eq!(far[2..], [Place::Jump, Place::Anew]);
    // A sender that rounds its time to milliseconds: 44.1 kHz taken for 48.
    let rounded = places([(1, 0), (2, 470), (3, 955), (4, 1_444), (6, 2_402)].map(|(n, t)| unit(n, Some(t))));
    assert_eq!(rounded[1..], [next(480, 0), next(960, 0), next(1_440, 0), next(2_400, 1)]);
    // Backwards by a little: nothing is taken back.
    let back = places([unit(1, Some(9_000)), unit(2, Some(8_000)), unit(3, Some(8_480))]);
    assert_eq!(back[1..], [next(480, 0), next(960, 0)]);
}

#[test]
fn a_gap_in_time_alone_is_silence() {
    let places = places([unit(1, Some(0)), unit(2, Some(480)), unit(3, Some(10_960))]);
    let silent = Next { position: 10_960, missing: 0, missing_frames: 0, silence: 10_000 };
    assert_eq!(places[2], Place::Next(silent));
}

#[test]
fn what_was_forgotten_begins_anew_whatever_its_number() {
    let mut known = Known::new(48_000);
    assert_eq!([1, 2].map(|n| known.place(&unit(n, None))), [Place::Anew, next(480, 0)]);
    known.forget();
    assert_eq!([3, 4].map(|n| known.place(&unit(n, None))), [Place::Anew, next(480, 0)]);
}

#[test]
fn whatever_comes_no_place_is_used_twice() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let (mut known, mut used) = (Known::new(48_000), std::collections::BTreeMap::new());
        let bits = [8, 16, 32][dice.roll(3) as usize];
        let mut value = dice.roll(1 << 16);
        for _ in 0..300 {
            value = match dice.roll(10) {
                0 => dice.roll(u64::MAX),
                1 => value.wrapping_add(dice.roll(300)),
                2 => value.wrapping_sub(dice.roll(300)),
                _ => value.wrapping_add(1),
            } & (u64::MAX >> (64 - bits));
            let frames = if dice.roll(4) == 0 { 1 + dice.roll(700) as u32 } else { 480 };
            let stamp = (dice.roll(3) > 0).then(|| dice.roll(1 << 20));
            let one = Numbered { number: Number::of_bits(value, bits), frames, ..unit(0, stamp) };
            let place = known.place(&one);
            let position = match place {
                Place::Anew => {
                    used.clear();
                    0
                }
                Place::Next(next) => {
                    assert!(next.missing_frames >= 0 && next.silence >= 0, "seed {seed}: {next:?}");
                    next.position
                }
                Place::Filled { position } => position,
                Place::Copy | Place::TooOld | Place::Jump => continue,
            };
            let end = position + i64::from(frames);
            let clear = used.range(..end).next_back().is_none_or(|(_, other_end): (&i64, &i64)| *other_end <= position);
            assert!(clear, "seed {seed}: {position}..{end} twice, {place:?}");
            used.insert(position, end);
        }
    }
}

/// Fuzzing found it: after a gap as long as what is remembered, nothing was known of the datagram before it, and a time that says so
/// filled its place again.
#[test]
fn what_is_forgotten_keeps_its_place() {
    let stamp = |ticks| Some(Stamp { ticks, bits: 32, hz: 48_000, in_samples: true });
    let unit = |value, ticks, frames| Numbered {
        number: Number::of_bits(value, 16),
        frames,
        sampled_at: stamp(ticks),
        stream: Stream::Only,
    };
    let mut known = Known::new(48_000);
    assert_eq!(known.place(&unit(1_000, 500, 96)), Place::Anew);
    let Place::Next(next) = known.place(&unit(1_001 + 4_096, 692, 27)) else { panic!("4096 are missing") };
    assert_eq!((next.position, next.missing), (192, 4_096));
    assert_eq!(known.place(&unit(1_000 + 4_096, 500, 96)), Place::TooOld, "frames 0 to 96 are the first one's");
    assert_eq!(known.place(&unit(1_000 + 4_096, 596, 96)), Place::Filled { position: 96 });
}
