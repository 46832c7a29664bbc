//! Words in front of the samples: a counter, a timestamp, an RTP header. Taken as audio they are a click in each packet.
//!
//! Idea: of some packets in a row, one word at a time is followed from packet to packet. A word that stays or steps by exactly the same each
//! time is a header's, if words in the middle of the packets do not do so as well (silence stays, a test signal counts, a tone that fits
//! the packet repeats).

use crate::engine::health::tuning::header::{
    AGREE, BATCH, EVERY, FRONT, INSIDE, LONGEST_OF, LONGEST_STEP, MOST_MISSING,
};
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::time::MonoTime;

const WORDS: usize = FRONT + INSIDE.len();

/// The bytes of a word, in the order of the wire.
type Word = [u8; SAMPLE_BYTES];

/// How a word moves from packet to packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Walk {
    Stays,
    /// As an integer, little-endian or big-endian, by this much.
    Counts {
        big_endian: bool,
        step: u32,
    },
    /// Its second half alone, big-endian, by one: the sequence number of RTP.
    CountsShort,
    Free,
}

/// What stands in front of the samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub bytes: usize,
    walks: [Walk; FRONT],
    rtp: bool,
}

impl Header {
    /// What was seen, as the end of a sentence that begins with "the first N bytes of its packets".
    pub fn evidence(&self) -> String {
        if self.rtp {
            return "are an RTP header: version 2, a sequence number, a timestamp, a source".to_owned();
        }
        let tell = |(at, walk)| match walk {
            Walk::Stays => format!("bytes {at} to {} stay the same", at + 3),
            Walk::Counts { step, .. } => format!("bytes {at} to {} count up by {step}", at + 3),
            Walk::CountsShort => format!("bytes {} and {} count up by 1", at + 2, at + 3),
            Walk::Free => unreachable!("a header's words do not move freely"),
        };
        let words: Vec<String> = self.words().map(tell).collect();
        format!("are no sound: {}", words.join(", "))
    }

    /// As a format would be written.
    pub fn format(&self) -> String {
        if self.rtp {
            return "rtp".to_owned();
        }
        let mut format = format!("raw:s32le,skip={}", self.bytes);
        let counter = self.words().find_map(|(at, walk)| match walk {
            Walk::Counts { big_endian, step: 1 } => {
                Some(format!(",seq=u32{}@{at}", if big_endian { "be" } else { "le" }))
            }
            Walk::CountsShort => Some(format!(",seq=u16be@{}", at + 2)),
            _ => None,
        });
        format.extend(counter);
        format
    }

    fn words(&self) -> impl Iterator<Item = (usize, Walk)> + use<> {
        self.walks
            .into_iter()
            .take(self.bytes / SAMPLE_BYTES)
            .enumerate()
            .map(|(word, walk)| (word * SAMPLE_BYTES, walk))
    }
}

/// One source.
#[derive(Debug)]
pub struct HeaderWatch {
    /// Of each frame.
    channels: usize,
    taken: usize,
    /// Bytes of the datagrams that are looked at, and when one came last.
    length: usize,
    met: Option<MonoTime>,
    due: Option<MonoTime>,
    /// Apart: most packets touch nothing of it.
    batch: Box<Batch>,
}

#[derive(Debug, Default)]
struct Batch {
    rows: [[Word; WORDS]; BATCH],
    last: Option<Header>,
    agreed: u32,
    found: Option<Header>,
}

impl HeaderWatch {
    pub fn new(channels: usize) -> HeaderWatch {
        HeaderWatch { channels, taken: 0, length: 0, met: None, due: None, batch: Box::default() }
    }

    pub fn restart(&mut self) {
        *self = HeaderWatch::new(self.channels);
    }

    pub fn found(&self) -> Option<Header> {
        self.batch.found
    }

    /// The share of a packet that is sound.
    pub fn sound_share(&self) -> f64 {
        self.batch.found.map_or(1.0, |header| 1.0 - header.bytes as f64 / self.length as f64)
    }

    /// An accepted datagram; true when a batch ended with it.
    pub fn on_packet(&mut self, at: MonoTime, payload: &[u8]) -> bool {
        if payload.len() > self.length || self.met.is_some_and(|met| at - met > LONGEST_OF) {
            (self.length, self.taken) = (payload.len(), 0);
        }
        if payload.len() < self.length {
            return false;
        }
        self.met = Some(at);
        if self.taken == 0 && self.due.is_some_and(|due| at < due) {
            return false;
        }
        let (words, _) = payload.as_chunks::<SAMPLE_BYTES>();
        // Of several channels those that stand at the front too: one that is dead is no header.
        let (channels, fronts) = (self.channels, self.channels.min(FRONT));
        let inside = |nth: usize| INSIDE[nth] * channels + nth % fronts;
        if words.len() <= inside(INSIDE.len() - 1) {
            return false;
        }
        let row = &mut self.batch.rows[self.taken];
        row[..FRONT].copy_from_slice(&words[..FRONT]);
        for (nth, word) in row[FRONT..].iter_mut().enumerate() {
            *word = words[inside(nth)];
        }
        self.taken += 1;
        if self.taken < BATCH {
            return false;
        }
        self.taken = 0;
        self.due = Some(at + EVERY);
        let batch = &mut *self.batch;
        let header = look(&batch.rows);
        batch.agreed = if header == batch.last { batch.agreed + 1 } else { 1 };
        batch.last = header;
        if batch.agreed >= AGREE {
            batch.found = header;
        }
        true
    }
}

/// The header of a batch, if it has one.
fn look(batch: &[[Word; WORDS]; BATCH]) -> Option<Header> {
    let walks: [Walk; WORDS] = std::array::from_fn(|word| walk(batch.iter().map(|row| row[word])));
    let (front, inside) = walks.split_at(FRONT);
    let odd = |walk: &&Walk| **walk != Walk::Free && !inside.contains(walk);
    let words = front.iter().take_while(odd).count();
    // Where nothing moves inside, there is no sound to tell a header from.
    if words == 0 || inside.iter().all(|walk| *walk == Walk::Stays) {
        return None;
    }
    let walks = [0, 1, 2].map(|word| if word < words { walks[word] } else { Walk::Free });
    let rtp = words == FRONT
        && batch[0][0][0] >> 6 == 2
        && matches!(
            walks,
            [
                Walk::CountsShort | Walk::Counts { big_endian: true, step: 1 },
                Walk::Counts { big_endian: true, .. },
                Walk::Stays
            ]
        );
    Some(Header { bytes: words * SAMPLE_BYTES, walks, rtp })
}

/// How one word moves.
fn walk(words: impl Iterator<Item = Word> + Clone) -> Walk {
    let steps = |of: fn(Word) -> u32| {
        let mut before = None;
        let mut steps = [0; BATCH - 1];
        for (index, word) in words.clone().enumerate() {
            let value = of(word);
            if let Some(before) = before.replace(value) {
                steps[index - 1] = value.wrapping_sub(before);
            }
        }
        steps
    };
    let little = steps(u32::from_le_bytes);
    if little == [0; BATCH - 1] {
        return Walk::Stays;
    }
    // Read the wrong way round, a number that counts without a carry counts as well, by more.
    let counts = [(false, little), (true, steps(u32::from_be_bytes))]
        .into_iter()
        .filter_map(|(big_endian, steps)| Some((regular(&steps)?, big_endian)))
        .min();
    if let Some((step, big_endian)) = counts {
        return Walk::Counts { big_endian, step };
    }
    let second = |word: Word| u32::from(u16::from_be_bytes([word[2], word[3]])) << 16;
    let first = |word: Word| u32::from(u16::from_be_bytes([word[0], word[1]]));
    let short = steps(second).map(|step| step >> 16);
    if steps(first).iter().filter(|&&step| step != 0).count() <= 2 && regular(&short) == Some(1) {
        return Walk::CountsShort;
    }
    Walk::Free
}

/// The step that nearly all are, where the others are multiples of it: packets lost in between.
fn regular(steps: &[u32; BATCH - 1]) -> Option<u32> {
    let mut sorted = *steps;
    sorted.sort_unstable();
    let step = sorted[steps.len() / 2];
    let usual = (1..=LONGEST_STEP).contains(&step);
    let fits =
        |&other: &u32| other == step || (step != 0 && other.is_multiple_of(step) && other / step <= MOST_MISSING);
    let exact = steps.iter().filter(|&&other| other == step).count();
    (usual && steps.iter().all(|other| other != &0 && fits(other)) && 2 * exact > steps.len()).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(key: usize) -> u32 {
        let mut x = (key as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb).to_le_bytes()[7].into()
    }

    /// Packets of 512 samples; `front` gives the words before them, `of` the sample at a position.
    fn found(
        lost: impl Fn(usize) -> bool,
        front: impl Fn(u32) -> Vec<u8>,
        of: impl Fn(usize) -> u32,
    ) -> Option<Header> {
        let mut watch = HeaderWatch::new(1);
        for packet in (0..400).filter(|&packet| !lost(packet)) {
            let mut payload = front(packet as u32);
            payload.extend((0..512).flat_map(|i| of(packet * 512 + i).to_le_bytes()));
            watch.on_packet(MonoTime::from_nanos(packet as i64 * 10_666_667), &payload);
        }
        watch.found()
    }

    fn none(_: usize) -> bool {
        false
    }

    fn hiss(position: usize) -> u32 {
        noise(position) << 24 | noise(position + 1_000_000) << 16 | noise(position + 2_000_000) << 8
    }

    fn ramp(position: usize) -> u32 {
        0x1000_0000 | position as u32
    }

    #[test]
    fn counters_timestamps_and_rtp_are_found_in_noise_and_in_a_signal_that_counts_itself() {
        for of in [hiss, ramp] {
            let header = found(none, |n| n.to_le_bytes().into(), of).expect("a counter");
            assert_eq!((header.bytes, header.format().as_str()), (4, "raw:s32le,skip=4,seq=u32le@0"));
            let header =
                found(none, |n| [7, n].map(u32::to_be_bytes).concat(), of).expect("a word that stays, and a counter");
            assert_eq!((header.bytes, header.format().as_str()), (8, "raw:s32le,skip=8,seq=u32be@4"));
            let rtp = |n: u32| {
                [0x8060_0000 | ((n + 65_300) & 0xffff), n * 512 + 9, 0xdead_beef].map(u32::to_be_bytes).concat()
            };
            let header = found(none, rtp, of).expect("RTP");
            assert_eq!((header.bytes, header.format().as_str()), (12, "rtp"));
        }
    }

    #[test]
    fn a_header_is_found_in_the_first_of_two_pieces() {
        let mut watch = HeaderWatch::new(1);
        for packet in 0..400_u32 {
            let mut payload = packet.to_le_bytes().to_vec();
            payload.extend((0..512).flat_map(|i| hiss(packet as usize * 512 + i).to_le_bytes()));
            for (piece, bytes) in payload.chunks(1460).enumerate() {
                let at = i64::from(packet) * 10_666_667 + 100_000 * piece as i64;
                watch.on_packet(MonoTime::from_nanos(at), bytes);
            }
        }
        assert_eq!(watch.found().map(|header| header.bytes), Some(4));
    }

    #[test]
    fn losses_do_not_hide_a_counter() {
        let lost = |packet: usize| packet % 9 == 4 || packet.is_multiple_of(31);
        assert_eq!(found(lost, |n| n.to_le_bytes().into(), hiss).map(|header| header.bytes), Some(4));
    }

    #[test]
    fn sounds_and_silences_have_none() {
        let plain = |of: fn(usize) -> u32| found(none, |_| Vec::new(), of);
        let tone = |hz: f64, position: usize| {
            let turns = hz * position as f64 / 48_000.0;
            ((turns.fract() * std::f64::consts::TAU).sin() * 5e8) as i32 as u32 & 0xffff_ff00
        };
        assert_eq!(plain(hiss), None);
        assert_eq!(plain(ramp), None);
        assert_eq!(plain(|_| 0), None, "silence");
        assert_eq!(plain(|_| 0xffff_ffff), None, "a stuck line");
        for hz in [1.0, 93.75, 94.0, 440.0, 1_500.0, 3_000.0, 12_000.0] {
            assert_eq!(found(none, |_| Vec::new(), |position| tone(hz, position)), None, "{hz} Hz");
        }
        // The quietest sound there is: three values.
        assert_eq!(found(none, |_| Vec::new(), |position| (noise(position) % 3) << 8), None);
    }
}
