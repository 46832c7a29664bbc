//! Learns how a source cuts its chunks.
//!
//! Problem: a datagram says nothing about what it is a piece of. Idea: a board captures a chunk, sends its pieces back to back
//! and is silent until the next. So datagrams stand in clusters, and the sizes in most clusters are the pattern. Jitter and
//! backlogs merge clusters; sizes that repeat (1460, 588, 1460, 588) show all the same, by their order alone.

use super::pattern::{Pattern, most_pieces};
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::engine::intake::tuning::learn::{ALIKE, ALIKE_EVEN, CLOSE, KEPT, MOST, REPEATS, REPEATS_LONG};
use crate::time::{MonoTime, Span};

/// So long a source may be learnt at most: contract section 7.
pub const LONGEST: Span = Span::from_secs(1);

/// What is known of a source's datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Each datagram is a chunk of its own.
    Whole,
    Pieces(Pattern),
}

/// What bytes are in time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub sample_rate: u32,
    /// Bytes of a frame: a sample of each channel.
    pub frame_bytes: usize,
}

impl Pace {
    /// The time that so many bytes hold, whole frames of them.
    pub fn time_of(self, bytes: usize) -> Span {
        Span::of_frames((bytes / self.frame_bytes) as i64, self.sample_rate)
    }
}

/// Datagrams of one source since it is being learnt.
#[derive(Debug)]
pub struct Learner {
    pace: Pace,
    seen: Vec<Seen>,
}

/// A datagram as far as it matters here.
#[derive(Clone, Copy, Debug)]
struct Seen {
    len: u16,
    at: MonoTime,
    /// The board sent of another microphone just before it.
    in_turn: bool,
}

impl Learner {
    pub fn new(pace: Pace) -> Learner {
        Learner { pace, seen: Vec::new() }
    }

    pub fn start_over(&mut self) {
        self.seen.clear();
    }

    /// When the present learning has to end.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.seen.first().map(|seen| seen.at + LONGEST)
    }

    /// Another datagram; the cut, once it shows. `in_turn`: the board sent of another microphone just before it.
    pub fn hear(&mut self, len: usize, at: MonoTime, in_turn: bool) -> Option<Cut> {
        if self.deadline().is_some_and(|end| at >= end) || self.seen.len() == KEPT {
            return Some(self.decide());
        }
        self.seen.push(Seen { len: len as u16, at, in_turn });
        if let Some(pattern) = self.repeated() {
            return Some(self.cut_of(pattern));
        }
        let clusters = self.clusters();
        // The last is still open, and the first may have begun before we listened.
        let (_, closed) = clusters.split_last()?;
        let newest = self.root(closed.last()?);
        let alike = closed.iter().rev().take_while(|cluster| self.root(cluster) == newest).count();
        if newest.len() == 1 {
            // What ends inside a frame is no chunk.
            let whole = usize::from(newest[0]).is_multiple_of(self.pace.frame_bytes);
            return (alike >= ALIKE && whole).then_some(Cut::Whole);
        }
        let pattern = Pattern::new(&newest, self.pace.frame_bytes)?;
        let enough = if pattern.is_even() { ALIKE_EVEN } else { ALIKE };
        (alike >= enough).then(|| self.cut_of(pattern))
    }

    /// Another datagram that is only kept. True when there are enough to decide.
    pub fn note(&mut self, len: usize, at: MonoTime, in_turn: bool) -> bool {
        if self.deadline().is_some_and(|end| at >= end) || self.seen.len() == KEPT {
            return true;
        }
        self.seen.push(Seen { len: len as u16, at, in_turn });
        false
    }

    /// The best guess at the end of the time.
    pub fn decide(&self) -> Cut {
        let clusters = self.clusters();
        let roots: Vec<_> = clusters.iter().map(|cluster| self.root(cluster)).collect();
        let share = |wanted: &[u16]| roots.iter().filter(|root| root[..] == *wanted).count();
        let Some(best) = roots.iter().max_by_key(|root| share(root)) else { return Cut::Whole };
        let Some(pattern) = Pattern::new(best, self.pace.frame_bytes) else { return Cut::Whole };
        let fits = if pattern.is_even() {
            roots.len() >= ALIKE && share(best) * 100 >= roots.len() * MOST
        } else {
            self.neighbours_of(&pattern) * 100 >= self.seen.len().saturating_sub(1) * MOST
        };
        if fits { self.cut_of(pattern) } else { Cut::Whole }
    }

    /// Pieces of one size that the microphones send in turn are chunks as good as any: equal positions meet, and each that is lost
    /// is a gap of its own.
    fn cut_of(&self, pattern: Pattern) -> Cut {
        if pattern.is_even() && self.is_in_turn() { Cut::Whole } else { Cut::Pieces(pattern) }
    }

    /// Whether the board sent of other microphones between the pieces.
    pub fn is_in_turn(&self) -> bool {
        let in_turn = self.seen.iter().filter(|seen| seen.in_turn).count();
        4 * in_turn > 3 * self.seen.len()
    }

    /// The sizes that the newest datagrams repeat, from behind the longest pause on: longest in the middle of its repetitions, as two
    /// chunks may have come together, and a stall may stand anywhere.
    fn repeated(&self) -> Option<Pattern> {
        let newest = |count: usize| self.seen.len().checked_sub(count + 1).map(|from| &self.seen[from..]);
        let repeats = |n: usize, among: &[Seen]| among.iter().zip(&among[n..]).all(|(a, b)| a.len == b.len);
        let short = newest(REPEATS.0)?;
        let short = (1..=REPEATS.0 / REPEATS.1).find(|&n| repeats(n, short)).map(|n| (n, short));
        let several = self.pace.frame_bytes > SAMPLE_BYTES;
        let longest = if several { most_pieces(self.pace.frame_bytes) } else { 0 };
        let long = || {
            let of = |n: usize| newest(REPEATS_LONG * n).filter(|among| repeats(n, among)).map(|among| (n, among));
            (REPEATS.0 / REPEATS.1 + 1..=longest).find_map(of)
        };
        let (count, newest) = short.or_else(long).filter(|&(n, _)| n > 1)?;
        let pause = |i: &usize| {
            let mut each: Vec<_> = (*i..newest.len()).step_by(count).map(|i| newest[i].at - newest[i - 1].at).collect();
            each.sort_unstable();
            each[each.len() / 2]
        };
        let start = (1..=count).max_by_key(pause)?;
        let sizes: Vec<u16> = newest[start..start + count].iter().map(|seen| seen.len).collect();
        Pattern::new(&sizes, self.pace.frame_bytes)
    }

    /// Datagrams that follow the one before them as the pattern has it.
    fn neighbours_of(&self, pattern: &Pattern) -> usize {
        let sizes = pattern.sizes();
        let follows = |a: u16, b: u16| (0..sizes.len()).any(|i| sizes[i] == a && sizes[(i + 1) % sizes.len()] == b);
        self.seen.windows(2).filter(|pair| follows(pair[0].len, pair[1].len)).count()
    }

    /// The sizes between pauses of half of the time that the largest datagram holds: a chunk holds more, so that the pause after
    /// it is longer. A datagram that comes when its own samples have just been captured is a chunk of its own.
    fn clusters(&self) -> Vec<Vec<u16>> {
        let half_of = |len: u16| self.pace.time_of(len.into()).mul_ratio(1, 2);
        let pause = half_of(self.seen.iter().map(|seen| seen.len).max().unwrap_or(0));
        let mut clusters: Vec<Vec<u16>> = Vec::new();
        let mut last = None;
        for &Seen { len, at, .. } in &self.seen {
            let own = half_of(len).max(CLOSE);
            let rested = last.replace(at).is_none_or(|last| at - last >= pause.min(own));
            match clusters.last_mut().filter(|_| !rested) {
                Some(cluster) => cluster.push(len),
                None => clusters.push(vec![len]),
            }
        }
        clusters
    }

    /// The shortest sequence of unequal sizes whose repetition this is; else the sequence itself, where it is no longer than a chunk.
    fn root(&self, cluster: &[u16]) -> Vec<u16> {
        let even = cluster.iter().all(|size| *size == cluster[0]);
        let repeats =
            |n: usize| cluster.len().is_multiple_of(n) && cluster.iter().zip(&cluster[n..]).all(|(a, b)| a == b);
        let length = (2..=cluster.len()).find(|&n| !even && repeats(n)).unwrap_or(cluster.len());
        cluster[..if length > most_pieces(self.pace.frame_bytes) { 1 } else { length }].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;
    const SAMPLE: usize = 4;

    /// Feeds bursts of these samples, each a chunk's time after the one before, with pieces 100 us apart. A chunk is as long as the
    /// longest burst.
    fn learn(bursts: &[&[u16]]) -> (Learner, Option<Cut>, usize) {
        let samples = |burst: &&[u16]| burst.iter().map(|&samples| i64::from(samples)).sum::<i64>();
        let chunk = Span::of_frames(bursts.iter().map(samples).max().expect("a burst"), RATE).as_nanos();
        let (mut learner, mut at, mut heard) =
            (Learner::new(Pace { sample_rate: RATE, frame_bytes: SAMPLE }), 1_000_000_000, 0);
        for burst in bursts {
            for (k, &samples) in burst.iter().enumerate() {
                heard += 1;
                let then = MonoTime::from_nanos(at + k as i64 * 100_000);
                if let Some(cut) = learner.hear(usize::from(samples) * SAMPLE, then, false) {
                    return (learner, Some(cut), heard);
                }
            }
            at += chunk;
        }
        (learner, None, heard)
    }

    fn pieces(samples: &[u16]) -> Option<Cut> {
        let bytes: Vec<u16> = samples.iter().map(|s| s * SAMPLE as u16).collect();
        Some(Cut::Pieces(Pattern::new(&bytes, SAMPLE).expect("a pattern")))
    }

    #[test]
    fn the_patterns_of_real_senders_are_found_within_some_chunks() {
        for pattern in [&[365, 147][..], &[365, 365, 294], &[360, 152]] {
            let (_, cut, heard) = learn(&[pattern; 8]);
            assert_eq!(cut, pieces(pattern), "{pattern:?}");
            assert!(heard <= 3 * pattern.len() + 1, "{pattern:?} after {heard}");
        }
        assert_eq!(learn(&[&[512, 512][..]; 12]).1, pieces(&[512, 512]));
        assert_eq!(learn(&[&[365, 365][..]; 12]).1, pieces(&[365, 365]));
        assert_eq!(learn(&[&[512][..]; 5]).1, Some(Cut::Whole));
    }

    #[test]
    fn a_start_inside_a_chunk_and_lost_pieces_do_not_hide_the_pattern() {
        let mut bursts: Vec<&[u16]> = vec![&[147]];
        bursts.extend(vec![&[365, 147][..]; 4]);
        assert_eq!(learn(&bursts).1, pieces(&[365, 147]));
        let lossy = [&[365, 147][..], &[365], &[365, 147], &[147], &[365, 147], &[365], &[365, 147], &[365, 147]];
        let (learner, cut, _) = learn(&lossy);
        assert_eq!(cut, None, "never three in a row");
        assert_eq!(Some(learner.decide()), pieces(&[365, 147]));
    }

    #[test]
    fn a_backlog_of_many_chunks_shows_the_order_of_sizes_and_nothing_else() {
        let backlog: Vec<u16> = [365, 147].repeat(5);
        let (learner, ..) = learn(&[&backlog[..], &[365, 147], &backlog]);
        assert_eq!(Some(learner.decide()), pieces(&[365, 147]));
        // Modem sleep: nine or ten single datagrams at once are no chunk.
        let (nine, ten) = (vec![512; 9], vec![512; 10]);
        let (learner, cut, _) = learn(&[&nine[..], &ten, &nine, &ten, &ten, &nine, &ten, &nine, &ten]);
        assert_eq!((cut, learner.decide()), (None, Cut::Whole));
    }

    #[test]
    fn sizes_that_take_turns_are_a_pattern_though_each_comes_when_it_is_captured() {
        let bursts: Vec<&[u16]> = [&[512][..], &[32]].repeat(14);
        let (_, cut, heard) = learn(&bursts);
        assert!(cut == pieces(&[512, 32]) || cut == pieces(&[32, 512]), "{cut:?}");
        assert_eq!(heard, REPEATS.0 + 1);
    }

    #[test]
    fn of_several_channels_the_order_of_sizes_shows_a_long_pattern_through_any_jitter() {
        // Eight channels, 512 frames: eleven of 1460 bytes and 324, each 1 to 2 ms after the one before it, in any cluster.
        let sizes = [[1_460; 11].as_slice(), &[324]].concat();
        let mut learner = Learner::new(Pace { sample_rate: RATE, frame_bytes: 32 });
        let mut at = 0;
        let heard = (0..100).find_map(|nth: usize| {
            // From the middle of a chunk on.
            at += if (nth + 5).is_multiple_of(12) { 4_000_000 } else { 200_000 + (nth as i64 * 7919) % 13 * 100_000 };
            let len = sizes[(nth + 5) % 12];
            learner.hear(usize::from(len), MonoTime::from_nanos(at), false).map(|cut| (nth, cut))
        });
        assert_eq!(heard, Some((36, Cut::Pieces(Pattern::new(&sizes, 32).expect("512 frames")))));
    }

    #[test]
    fn chunks_of_several_channels_that_come_together_at_first_do_not_move_the_pattern() {
        let sizes = [[1_460; 11].as_slice(), &[324]].concat();
        let mut learner = Learner::new(Pace { sample_rate: RATE, frame_bytes: 32 });
        let heard = (0..100).find_map(|nth: usize| {
            let (chunk, piece) = (nth / 12, nth % 12);
            // The first came with the second; one piece in that burst was a little later than the others.
            let at = chunk.max(1) as i64 * 10_666_667 + nth as i64 * 20_000 + if nth > 4 { 90_000 } else { 0 };
            learner.hear(usize::from(sizes[piece]), MonoTime::from_nanos(at), false)
        });
        assert_eq!(heard, Some(Cut::Pieces(Pattern::new(&sizes, 32).expect("512 frames"))));
    }

    #[test]
    fn sizes_that_truly_vary_have_no_pattern() {
        let sizes = [512, 32, 100, 480, 77, 512, 300, 32, 100, 256, 480, 31, 64, 512, 200, 90];
        let bursts: Vec<&[u16]> = sizes.iter().map(std::slice::from_ref).collect();
        let (learner, cut, _) = learn(&bursts);
        assert_eq!((cut, learner.decide()), (None, Cut::Whole));
    }
}
