//! Three sockets, one order: datagrams are fed to the engine in the order of the kernel's stamps.
//!
//! Completions of one enter are in no order across sockets, and may lack an older datagram of one beside a newer one of
//! another, for three reasons. The kernel reads socket after socket while packets still come: one read first misses what is
//! there when the last is read. A socket's multishot ended in the middle of what had arrived. Or the kernel gave the others a
//! turn after 32 datagrams (io_uring/poll.c, `MULTISHOT_MAX_RETRY`).
//!
//! The kernel hands packets to their sockets in the order of their stamps, and notes a socket as ready when it does. So a
//! datagram is certain once an enter has carried out all that was noted when it was read: when nothing is noted any more, or
//! else after one more enter. (Comparing stamps with a clock does not do: between stamp and socket a packet may wait in a
//! softirq's queue.) And nothing is released that is newer than the newest datagram of a socket that is behind. What is held
//! back costs one more enter, without sleep.

use std::collections::VecDeque;

use crate::MICS;
use crate::time::KernelTime;

/// io_uring hands over at most this many datagrams of a socket before the others have a turn (measured: up to 33).
const FAIR_SHARE: usize = 32;

/// Before every stamp.
const NEVER: KernelTime = KernelTime::from_nanos(i64::MIN);

/// What an enter has left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noted {
    /// Nothing: no socket is noted as ready.
    Nothing,
    /// What was noted after it began; it carried out all that was noted before.
    Since,
    /// Some of what was noted before it began.
    Before,
}

/// Datagrams that wait for their turn, and how far each socket has been read.
pub struct Merge<T> {
    waiting: [VecDeque<(KernelTime, T)>; MICS],
    newest: [Option<KernelTime>; MICS],
    fresh: [usize; MICS],
    ended: [bool; MICS],
    /// The newest stamp in hand after the round before; up to there nothing is missing after a complete enter.
    seen: KernelTime,
    /// Up to there nothing is missing.
    certain: KernelTime,
    /// Up to there what waits may leave; `None`: all of it.
    limit: Option<KernelTime>,
    /// A socket is behind.
    late: bool,
}

impl<T> Merge<T> {
    /// `capacity`: how many of a microphone can wait, so that nothing allocates later: its provided buffers.
    pub fn new(capacity: usize) -> Merge<T> {
        Merge {
            waiting: std::array::from_fn(|_| VecDeque::with_capacity(capacity)),
            newest: [None; MICS],
            fresh: [0; MICS],
            ended: [false; MICS],
            seen: NEVER,
            certain: NEVER,
            limit: Some(NEVER),
            late: false,
        }
    }

    /// A datagram of `mic`, in the order in which its socket delivered it.
    pub fn push(&mut self, mic: usize, stamp: KernelTime, item: T) {
        self.waiting[mic].push_back((stamp, item));
        self.newest[mic] = Some(stamp);
        self.fresh[mic] += 1;
    }

    /// The receive of `mic` ended; what its socket still holds comes once it is armed again.
    pub fn ended(&mut self, mic: usize) {
        self.ended[mic] = true;
    }

    /// Ends a round: all whose order is certain may leave, by [`next`](Merge::next).
    pub fn settle(&mut self, noted: Noted) {
        if noted == Noted::Since {
            self.certain = self.seen;
        }
        self.seen = self.newest.iter().flatten().copied().max().unwrap_or(NEVER);
        if noted == Noted::Nothing {
            self.certain = self.seen;
        }
        let behind = |mic: usize| self.ended[mic] || self.fresh[mic] >= FAIR_SHARE;
        // A socket that has delivered nothing yet, and is behind, holds everything back.
        let late = (0..MICS).filter(|&mic| behind(mic)).map(|mic| self.newest[mic].unwrap_or(NEVER)).min();
        let limit = late.map_or(self.certain, |late| late.min(self.certain));
        // A step of the clock may have put a socket's stamps out of order: it is read on all the same.
        let all = noted == Noted::Nothing && late.is_none();
        self.limit = (!all).then_some(limit);
        self.fresh = [0; MICS];
        self.ended = [false; MICS];
        self.late = late.is_some();
    }

    /// Whether another round (arm, enter, reap) is due before time may be said to have passed; once all that may has left.
    pub fn is_behind(&self) -> bool {
        self.late || self.oldest().is_some()
    }

    /// While it is behind: all that arrived up to there has left; `None` while not even that is known.
    pub fn complete_until(&self) -> Option<KernelTime> {
        self.limit.filter(|limit| *limit > NEVER)
    }

    /// The next that may leave, oldest first.
    pub fn next(&mut self) -> Option<(usize, KernelTime, T)> {
        let (stamp, mic) = self.oldest().filter(|(stamp, _)| self.limit.is_none_or(|limit| *stamp <= limit))?;
        let (_, item) = self.waiting[mic].pop_front()?;
        Some((mic, stamp, item))
    }

    /// The oldest stamp at the head of a socket's queue.
    fn oldest(&self) -> Option<(KernelTime, usize)> {
        let heads = self.waiting.iter().enumerate();
        heads.filter_map(|(mic, queue)| queue.front().map(|(stamp, _)| (*stamp, mic))).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: i64) -> KernelTime {
        KernelTime::from_nanos(us * 1_000)
    }

    #[test]
    fn beside_a_socket_that_is_behind_time_has_passed_as_far_as_it_was_read() {
        let mut merge = Merge::new(64);
        merge.push(1, at(900), 0);
        merge.ended(2);
        settle(&mut merge);
        assert_eq!(merge.complete_until(), None, "nothing is known of mic 2 yet");
        (0..FAIR_SHARE as i64).for_each(|n| merge.push(2, at(100 + n), 1));
        merge.push(1, at(950), 0);
        let (behind, _) = settle(&mut merge);
        assert_eq!((behind, merge.complete_until()), (true, Some(at(131))));
    }

    fn settle_as(merge: &mut Merge<u32>, noted: Noted) -> (bool, Vec<u32>) {
        merge.settle(noted);
        let ready = std::iter::from_fn(|| merge.next()).map(|(_, _, item)| item).collect();
        (merge.is_behind(), ready)
    }

    fn settle(merge: &mut Merge<u32>) -> (bool, Vec<u32>) {
        settle_as(merge, Noted::Nothing)
    }

    #[test]
    fn datagrams_leave_in_the_order_of_their_stamps() {
        let mut merge = Merge::new(8);
        for (mic, us, item) in [(2, 300, 3), (0, 100, 1), (0, 400, 4), (1, 200, 2)] {
            merge.push(mic, at(us), item);
        }
        assert_eq!(settle(&mut merge), (false, vec![1, 2, 3, 4]));
    }

    #[test]
    fn what_is_newer_than_a_socket_that_ended_waits_for_it() {
        let mut merge = Merge::new(8);
        merge.push(0, at(100), 1);
        merge.ended(0);
        merge.push(1, at(90), 0);
        merge.push(1, at(300), 3);
        assert_eq!(settle(&mut merge), (true, vec![0, 1]));
        merge.push(0, at(200), 2);
        assert_eq!(settle(&mut merge), (false, vec![2, 3]));
    }

    #[test]
    fn a_socket_that_ended_before_its_first_datagram_holds_the_others_for_one_round() {
        let mut merge = Merge::new(8);
        merge.ended(2);
        merge.push(1, at(300), 3);
        assert_eq!(settle(&mut merge), (true, vec![]));
        assert_eq!(settle(&mut merge), (false, vec![3]));
    }

    #[test]
    fn what_was_read_while_others_were_noted_waits_for_one_more_enter() {
        let mut merge = Merge::new(8);
        merge.push(0, at(74_667), 1);
        merge.push(0, at(85_331), 4);
        assert_eq!(settle_as(&mut merge, Noted::Since), (true, vec![]), "mic 1 was noted while mic 0 was read");
        merge.push(1, at(74_742), 2);
        merge.push(2, at(74_842), 3);
        merge.push(2, at(85_431), 6);
        let (behind, ready) = settle_as(&mut merge, Noted::Since);
        assert!(behind, "mic 2 may have been read before mic 1's next came");
        assert_eq!(ready, [1, 2, 3, 4]);
        merge.push(1, at(85_380), 5);
        assert_eq!(settle(&mut merge), (false, vec![5, 6]));
    }

    #[test]
    fn an_enter_that_left_some_of_what_was_noted_makes_nothing_certain() {
        let mut merge = Merge::new(8);
        merge.push(0, at(2), 2);
        assert_eq!(settle_as(&mut merge, Noted::Before), (true, vec![]));
        assert_eq!(settle_as(&mut merge, Noted::Before), (true, vec![]));
        merge.push(1, at(1), 1);
        assert_eq!(settle_as(&mut merge, Noted::Since), (false, vec![1, 2]));
    }

    #[test]
    fn a_flooded_socket_is_read_on_before_newer_ones_of_the_others_count() {
        let mut merge = Merge::new(128);
        for n in 0..FAIR_SHARE as i64 {
            merge.push(0, at(n), n as u32);
        }
        merge.push(1, at(1_000), 999);
        let (behind, ready) = settle(&mut merge);
        assert!(behind && ready.len() == FAIR_SHARE && !ready.contains(&999));
        merge.push(0, at(500), 500);
        assert_eq!(settle(&mut merge), (false, vec![500, 999]));
    }

    #[test]
    fn a_socket_whose_clock_was_set_back_keeps_its_order() {
        let mut merge = Merge::new(8);
        for (mic, us, item) in [(0, 900, 1), (1, 950, 2), (0, 100, 3), (1, 150, 4)] {
            merge.push(mic, at(us), item);
        }
        let (_, ready) = settle(&mut merge);
        let of = |items: [u32; 2]| ready.iter().copied().filter(|item| items.contains(item)).collect::<Vec<_>>();
        assert_eq!((of([1, 3]), of([2, 4])), (vec![1, 3], vec![2, 4]));
    }

    #[test]
    fn equal_stamps_of_one_socket_keep_their_order() {
        let mut merge = Merge::new(64);
        (0..31).for_each(|n| merge.push(1, at(5), n));
        assert_eq!(settle(&mut merge), (false, (0..31).collect()));
    }
}
