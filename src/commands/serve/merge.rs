//! Three sockets, one order: datagrams are fed to the engine in the order of the kernel's stamps.
//!
//! Completions of one turn come socket by socket, and a socket may be *behind*: its multishot ended in the middle of what
//! had arrived, or the kernel gave the others a turn after 32 datagrams (io_uring/poll.c, `MULTISHOT_MAX_RETRY`). What it has
//! yet to deliver may be older than what the others have delivered already. So nothing newer than the newest datagram of a
//! socket that is behind is released; the loop arms, enters once more, and asks again.

use crate::MICS;
use crate::time::KernelTime;

/// io_uring hands over at most this many datagrams of a socket before the others have a turn (measured: up to 33).
const FAIR_SHARE: usize = 32;

/// Datagrams that wait for their turn, and how far each socket has been read.
pub struct Merge<T> {
    waiting: Vec<(KernelTime, usize, u64, T)>,
    pushed: u64,
    newest: [Option<KernelTime>; MICS],
    fresh: [usize; MICS],
    ended: [bool; MICS],
}

impl<T> Merge<T> {
    /// `capacity`: how many can wait at a time, so that nothing allocates later: the provided buffers.
    pub fn new(capacity: usize) -> Merge<T> {
        Merge {
            waiting: Vec::with_capacity(capacity),
            pushed: 0,
            newest: [None; MICS],
            fresh: [0; MICS],
            ended: [false; MICS],
        }
    }

    /// A datagram of `mic`, in the order in which its socket delivered it.
    pub fn push(&mut self, mic: usize, stamp: KernelTime, item: T) {
        self.waiting.push((stamp, mic, self.pushed, item));
        self.pushed += 1;
        self.newest[mic] = Some(stamp);
        self.fresh[mic] += 1;
    }

    /// The receive of `mic` ended; what its socket still holds comes once it is armed again.
    pub fn ended(&mut self, mic: usize) {
        self.ended[mic] = true;
    }

    /// Ends a round: moves all whose order is certain into `ready`, oldest first. Whether a socket is behind, so that another
    /// round (arm, enter, reap) is due before time may be said to have passed.
    pub fn settle(&mut self, ready: &mut Vec<(usize, KernelTime, T)>) -> bool {
        let behind = |mic: usize| self.ended[mic] || self.fresh[mic] >= FAIR_SHARE;
        let late = (0..MICS).filter(|&mic| behind(mic));
        // `None` orders before every stamp: a socket that has delivered nothing yet holds everything back.
        let horizon = late.map(|mic| self.newest[mic]).min();
        // Unstable, with a number against ties: a stable sort would allocate.
        self.waiting.sort_unstable_by_key(|&(stamp, mic, number, _)| (stamp, mic, number));
        let certain = match horizon {
            None => self.waiting.len(),
            Some(newest) => self.waiting.partition_point(|&(stamp, ..)| Some(stamp) <= newest),
        };
        ready.extend(self.waiting.drain(..certain).map(|(stamp, mic, _, item)| (mic, stamp, item)));
        self.fresh = [0; MICS];
        self.ended = [false; MICS];
        horizon.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: i64) -> KernelTime {
        KernelTime::from_nanos(us * 1_000)
    }

    fn settle(merge: &mut Merge<u32>) -> (bool, Vec<u32>) {
        let mut ready = Vec::new();
        let behind = merge.settle(&mut ready);
        (behind, ready.into_iter().map(|(_, _, item)| item).collect())
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
    fn equal_stamps_of_one_socket_keep_their_order() {
        let mut merge = Merge::new(64);
        (0..31).for_each(|n| merge.push(1, at(5), n));
        assert_eq!(settle(&mut merge), (false, (0..31).collect()));
    }
}
