//! Several sockets, one order: datagrams are fed to an engine in the order of the kernel's stamps.
//!
//! Completions of one enter are in no order across sockets, and may lack an older datagram of one beside a newer one of
//! another, for three reasons. The kernel reads socket after socket while packets still come: one read first misses what is
//! there when the last is read. A socket's multishot ended in the middle of what had arrived. Or the kernel gave the others a
//! turn after 32 datagrams (io_uring/poll.c, `MULTISHOT_MAX_RETRY`).
//!
//! The kernel hands packets to their sockets in the order of their stamps, and notes a socket as ready when it does. So a
//! datagram is certain once all has been carried out that was noted when it was read; [`Order`](super::order::Order) says when
//! that is. (Comparing stamps with a clock does not do: between stamp and socket a packet may wait in a softirq's queue.) And
//! nothing is released that is newer than the newest datagram of a socket that is behind. What is held back costs one more
//! enter, without sleep.
//!
//! Each array has its own merge: one that is flooded, or whose socket failed, holds up no other.

use std::collections::VecDeque;

use super::order::Order;
use crate::time::{KernelTime, Span};

/// io_uring hands over at most this many datagrams of a socket before the others have a turn (measured: up to 33).
const FAIR_SHARE: usize = 32;

/// Before every stamp.
const NEVER: KernelTime = KernelTime::from_nanos(i64::MIN);

struct Waiting<T> {
    stamp: KernelTime,
    /// In which it was read.
    round: u64,
    item: T,
}

/// One socket of those that are put in order.
struct Input<T> {
    waiting: VecDeque<Waiting<T>>,
    newest: Option<KernelTime>,
    /// Datagrams of this round.
    fresh: usize,
    ended: bool,
}

/// A round, and the newest stamp in hand after it.
#[derive(Clone, Copy)]
struct Seen {
    round: u64,
    stamp: KernelTime,
}

/// Datagrams that wait for their turn, and how far each socket has been read.
pub struct Merge<T> {
    inputs: Vec<Input<T>>,
    seen: Seen,
    /// As it was when the mark was set that is out.
    marked: Seen,
    /// Up to there nothing is missing, but of a socket that is behind.
    certain: Seen,
    /// What was read up to this round may leave, whatever its stamp (a step of the clock may have put them out of order).
    certain_round: u64,
    /// The newest stamp of the socket that is most behind; `None`: none is.
    late: Option<KernelTime>,
}

impl<T> Merge<T> {
    /// For so many sockets. `capacity`: how many of one can wait, so that nothing allocates later: its provided buffers.
    pub fn new(sockets: usize, capacity: usize) -> Merge<T> {
        let input = || Input { waiting: VecDeque::with_capacity(capacity), newest: None, fresh: 0, ended: false };
        let before = Seen { round: 0, stamp: NEVER };
        Merge {
            inputs: (0..sockets).map(|_| input()).collect(),
            seen: before,
            marked: before,
            certain: before,
            certain_round: 0,
            late: None,
        }
    }

    /// A datagram of a socket, in the order in which that delivered it, in this round.
    pub fn push(&mut self, socket: usize, round: u64, stamp: KernelTime, item: T) {
        let input = &mut self.inputs[socket];
        input.waiting.push_back(Waiting { stamp, round, item });
        input.newest = Some(stamp);
        input.fresh += 1;
    }

    /// The receive of a socket ended; what it still holds comes once it is armed again.
    pub fn ended(&mut self, socket: usize) {
        self.inputs[socket].ended = true;
    }

    /// Ends a round: all whose order is certain may leave, by [`next`](Merge::next). Every round in which something came, and
    /// every round while it [is behind](Merge::is_behind).
    pub fn settle(&mut self, order: &Order) {
        let before = self.seen;
        if order.mark().is_some_and(|set| before.round <= set && set < order.round()) {
            self.marked = before;
        }
        self.certain_round = order.certain();
        for seen in [self.marked, before] {
            if (self.certain.round..=self.certain_round).contains(&seen.round) {
                self.certain = seen;
            }
        }
        let newest = self.inputs.iter().filter_map(|input| input.newest).max().unwrap_or(NEVER);
        self.seen = Seen { round: order.round(), stamp: newest };
        if self.certain_round >= order.round() {
            self.certain = self.seen;
        }
        let behind = self.inputs.iter().filter(|input| input.ended || input.fresh >= FAIR_SHARE);
        // A socket that has delivered nothing yet, and is behind, holds everything back.
        self.late = behind.map(|input| input.newest.unwrap_or(NEVER)).min();
        for input in &mut self.inputs {
            input.fresh = 0;
            input.ended = false;
        }
    }

    /// Whether another round (arm, enter, reap) is due before time may be said to have passed; once all that may has left.
    pub fn is_behind(&self) -> bool {
        self.late.is_some() || self.oldest().is_some()
    }

    /// While it is behind: all that arrived up to there has left; `None` while not even that is known.
    pub fn complete_until(&self) -> Option<KernelTime> {
        let limit = self.late.map_or(self.certain.stamp, |late| late.min(self.certain.stamp));
        // What might leave need not have been asked for.
        let head = self.first().map_or(limit, |(_, head)| limit.min(head.stamp - Span::from_nanos(1)));
        (limit > NEVER).then_some(head)
    }

    /// The next that may leave, oldest first: the socket, the stamp, the datagram.
    pub fn next(&mut self) -> Option<(usize, KernelTime, T)> {
        let (socket, _) = self.first()?;
        let waiting = &mut self.inputs[socket].waiting;
        let Waiting { stamp, item, .. } = waiting.pop_front()?;
        if waiting.is_empty() {
            // From its start again: most of its room is never touched then, and so never cold.
            waiting.clear();
        }
        Some((socket, stamp, item))
    }

    /// The same, which stays.
    pub fn peek(&self) -> Option<&T> {
        self.first().map(|(_, head)| &head.item)
    }

    fn first(&self) -> Option<(usize, &Waiting<T>)> {
        let socket = self.oldest()?;
        let head = self.inputs[socket].waiting.front()?;
        let may = head.stamp <= self.certain.stamp || head.round <= self.certain_round;
        (may && self.late.is_none_or(|late| head.stamp <= late)).then_some((socket, head))
    }

    /// All that waits, in no order: nobody will ask for it.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        self.inputs.iter_mut().flat_map(|input| input.waiting.drain(..)).map(|waiting| waiting.item)
    }

    /// The socket with the oldest stamp at its head.
    fn oldest(&self) -> Option<usize> {
        let heads = self.inputs.iter().enumerate();
        let stamps = heads.filter_map(|(socket, input)| input.waiting.front().map(|head| (head.stamp, socket)));
        stamps.min().map(|(_, socket)| socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(us: i64) -> KernelTime {
        KernelTime::from_nanos(us * 1_000)
    }

    /// A merge of three, and the order of its rounds.
    struct Desk {
        merge: Merge<u32>,
        order: Order,
    }

    impl Desk {
        fn new() -> Desk {
            Desk { merge: Merge::new(3, 8), order: Order::default() }
        }

        fn push(&mut self, socket: usize, us: i64, item: u32) {
            self.merge.push(socket, self.order.round() + 1, at(us), item);
        }

        /// A round as the loop has them: whether it is behind, and what left.
        fn settle_as(&mut self, quiet: bool, marked: bool) -> (bool, Vec<u32>) {
            self.order.entered(quiet, marked);
            self.merge.settle(&self.order);
            let ready = std::iter::from_fn(|| self.merge.next()).map(|(_, _, item)| item).collect();
            let behind = self.merge.is_behind();
            if behind {
                self.order.set_mark();
            }
            (behind, ready)
        }

        /// Nothing is noted any more.
        fn settle(&mut self) -> (bool, Vec<u32>) {
            self.settle_as(true, self.order.mark().is_some())
        }
    }

    #[test]
    fn beside_a_socket_that_is_behind_time_has_passed_as_far_as_it_was_read() {
        let mut desk = Desk::new();
        desk.push(1, 900, 0);
        desk.merge.ended(2);
        desk.settle();
        assert_eq!(desk.merge.complete_until(), None, "nothing is known of socket 2 yet");
        (0..FAIR_SHARE as i64).for_each(|n| desk.push(2, 100 + n, 1));
        desk.push(1, 950, 0);
        let (behind, _) = desk.settle();
        assert_eq!((behind, desk.merge.complete_until()), (true, Some(at(131))));
    }

    #[test]
    fn time_has_not_passed_beyond_what_may_leave_but_has_not() {
        let mut desk = Desk::new();
        (0..FAIR_SHARE as i64).for_each(|n| desk.push(0, 100 + n, n as u32));
        desk.order.entered(true, false);
        desk.merge.settle(&desk.order);
        assert_eq!((desk.merge.next(), desk.merge.peek()), (Some((0, at(100), 0)), Some(&1)));
        assert!(desk.merge.is_behind());
        assert_eq!(desk.merge.complete_until(), Some(at(101) - Span::from_nanos(1)));
    }

    #[test]
    fn datagrams_leave_in_the_order_of_their_stamps() {
        let mut desk = Desk::new();
        for (socket, us, item) in [(2, 300, 3), (0, 100, 1), (0, 400, 4), (1, 200, 2)] {
            desk.push(socket, us, item);
        }
        assert_eq!(desk.settle(), (false, vec![1, 2, 3, 4]));
    }

    #[test]
    fn what_is_newer_than_a_socket_that_ended_waits_for_it() {
        let mut desk = Desk::new();
        desk.push(0, 100, 1);
        desk.merge.ended(0);
        desk.push(1, 90, 0);
        desk.push(1, 300, 3);
        assert_eq!(desk.settle(), (true, vec![0, 1]));
        desk.push(0, 200, 2);
        assert_eq!(desk.settle(), (false, vec![2, 3]));
    }

    #[test]
    fn a_socket_that_ended_before_its_first_datagram_holds_the_others_for_one_round() {
        let mut desk = Desk::new();
        desk.merge.ended(2);
        desk.push(1, 300, 3);
        assert_eq!(desk.settle(), (true, vec![]));
        assert_eq!(desk.settle(), (false, vec![3]));
    }

    #[test]
    fn what_was_read_while_others_were_noted_waits_for_the_mark() {
        let mut desk = Desk::new();
        desk.push(0, 74_667, 1);
        desk.push(0, 85_331, 4);
        assert_eq!(desk.settle_as(false, false), (true, vec![]), "socket 1 was noted while socket 0 was read");
        desk.push(1, 74_742, 2);
        desk.push(2, 74_842, 3);
        desk.push(2, 85_431, 6);
        let (behind, ready) = desk.settle_as(false, true);
        assert!(behind, "socket 2 may have been read before socket 1's next came");
        assert_eq!(ready, [1, 2, 3, 4]);
        desk.push(1, 85_380, 5);
        assert_eq!(desk.settle(), (false, vec![5, 6]));
    }

    #[test]
    fn an_enter_that_left_some_of_what_was_noted_makes_nothing_certain() {
        let mut desk = Desk::new();
        desk.push(0, 2, 2);
        assert_eq!(desk.settle_as(false, false), (true, vec![]));
        assert_eq!(desk.settle_as(false, false), (true, vec![]));
        desk.push(1, 1, 1);
        assert_eq!(desk.settle_as(false, true), (false, vec![1, 2]));
    }

    #[test]
    fn a_merge_that_was_touched_after_the_mark_was_set_waits_for_the_next_one() {
        let mut desk = Desk::new();
        desk.order.entered(false, false);
        assert!(desk.order.set_mark(), "for another array");
        desk.push(0, 20, 2);
        assert_eq!(desk.settle_as(false, false), (true, vec![]));
        assert_eq!(desk.settle_as(false, true), (true, vec![]), "this one was set before the datagram was read");
        desk.push(1, 10, 1);
        assert_eq!(desk.settle_as(false, true), (false, vec![1, 2]));
    }

    #[test]
    fn what_is_certain_stays_so() {
        let mut desk = Desk::new();
        desk.push(0, 10, 1);
        desk.settle_as(false, false);
        desk.settle_as(false, true);
        desk.push(0, 20, 2);
        desk.settle();
        for us in [30, 40, 50] {
            desk.push(0, us, 3);
            desk.settle_as(false, false);
            assert_eq!(desk.merge.complete_until(), Some(at(20)), "as it was when nothing was noted");
        }
    }

    #[test]
    fn a_flooded_socket_is_read_on_before_newer_ones_of_the_others_count() {
        let mut desk = Desk::new();
        (0..FAIR_SHARE as i64).for_each(|n| desk.push(0, n, n as u32));
        desk.push(1, 1_000, 999);
        let (behind, ready) = desk.settle();
        assert!(behind && ready.len() == FAIR_SHARE && !ready.contains(&999));
        desk.push(0, 500, 500);
        assert_eq!(desk.settle(), (false, vec![500, 999]));
    }

    #[test]
    fn a_socket_whose_clock_was_set_back_keeps_its_order_and_is_held_up_by_nothing() {
        let mut desk = Desk::new();
        for (socket, us, item) in [(0, 900, 1), (1, 950, 2), (0, 100, 3), (1, 150, 4)] {
            desk.push(socket, us, item);
        }
        desk.settle_as(false, false);
        let (behind, ready) = desk.settle_as(false, true);
        let of = |items: [u32; 2]| ready.iter().copied().filter(|item| items.contains(item)).collect::<Vec<_>>();
        assert_eq!((behind, of([1, 3]), of([2, 4])), (false, vec![1, 3], vec![2, 4]));
    }

    #[test]
    fn equal_stamps_of_one_socket_keep_their_order() {
        let mut desk = Desk::new();
        (0..31).for_each(|n| desk.push(1, 5, n));
        assert_eq!(desk.settle(), (false, (0..31).collect()));
    }

    /// What a kernel has noted, in order, and carries out so much of it an enter.
    #[derive(Clone, Debug)]
    enum Noted {
        /// A socket is read: all that it holds.
        Socket(usize),
        /// Something that leaves no completion for the merge: a cancelled receive, a send, a socket that was read already.
        Other,
        Mark,
    }

    struct Kernel {
        noted: VecDeque<Noted>,
        held: [VecDeque<i64>; 3],
        share: usize,
    }

    impl Kernel {
        fn arrives(&mut self, socket: usize, stamp: i64) {
            self.held[socket].push_back(stamp);
            self.noted.push_back(Noted::Socket(socket));
        }

        /// Carries out its share; what comes meanwhile is noted behind it. Whether the mark was in it.
        fn enter(&mut self, desk: &mut Desk, meanwhile: &[(usize, i64)]) -> bool {
            let mut marked = false;
            let mut meanwhile = meanwhile.iter();
            for _ in 0..self.share {
                match self.noted.pop_front() {
                    Some(Noted::Socket(socket)) => {
                        while let Some(stamp) = self.held[socket].pop_front() {
                            desk.push(socket, stamp, stamp as u32);
                        }
                    }
                    Some(Noted::Mark) => marked = true,
                    Some(Noted::Other) => {}
                    None => break,
                }
                if let Some(&(socket, stamp)) = meanwhile.next() {
                    self.arrives(socket, stamp);
                }
            }
            meanwhile.for_each(|&(socket, stamp)| self.arrives(socket, stamp));
            marked
        }
    }

    /// Feeds what arrives through a kernel and a desk; what left, in order.
    fn through(share: usize, others: &[usize], arrivals: &[Vec<usize>]) -> Vec<u32> {
        let mut kernel = Kernel { noted: VecDeque::new(), held: Default::default(), share };
        let (mut desk, mut left, mut stamp) = (Desk::new(), Vec::new(), 0);
        let mut had_mark = false;
        for round in 0..2_000 {
            kernel.noted.extend(vec![Noted::Other; others.get(round).copied().unwrap_or(0)]);
            if desk.order.mark().is_some() && !had_mark {
                kernel.noted.push_back(Noted::Mark);
            }
            let sockets = arrivals.get(round).map_or(&[][..], |sockets| sockets);
            let meanwhile: Vec<(usize, i64)> = sockets
                .iter()
                .map(|&socket| {
                    (socket, {
                        stamp += 1;
                        stamp
                    })
                })
                .collect();
            had_mark = desk.order.mark().is_some();
            let marked = kernel.enter(&mut desk, &meanwhile);
            let (behind, ready) = desk.settle_as(kernel.noted.is_empty(), marked);
            had_mark &= !marked;
            left.extend(ready);
            if round >= arrivals.len() && kernel.noted.is_empty() && !behind {
                return left;
            }
        }
        panic!("what was read leaves");
    }

    #[test]
    fn forty_five_cancelled_receives_let_no_newer_datagram_pass_an_older_one() {
        // Socket 0 is read while an older datagram waits in socket 1, behind 45 receives that were cancelled in that turn; the kernel
        // carries out 20 things an enter, and of a receive that is cancelled nothing is told.
        let mut kernel = Kernel { noted: VecDeque::new(), held: Default::default(), share: 20 };
        let mut desk = Desk::new();
        kernel.noted.push_back(Noted::Socket(0));
        kernel.noted.extend(vec![Noted::Other; 45]);
        kernel.arrives(1, 1);
        kernel.held[0].push_back(2);
        let (mut left, mut had_mark) = (Vec::new(), false);
        for _ in 0..10 {
            if desk.order.mark().is_some() && !had_mark {
                kernel.noted.push_back(Noted::Mark);
            }
            had_mark = desk.order.mark().is_some();
            let marked = kernel.enter(&mut desk, &[]);
            left.extend(desk.settle_as(kernel.noted.is_empty(), marked).1);
            had_mark &= !marked;
        }
        assert_eq!(left, [1, 2]);
    }

    proptest! {
        #[test]
        fn whatever_share_the_kernel_carries_out_the_order_is_that_of_the_stamps(
            share in 1usize..40,
            others in proptest::collection::vec(0usize..30, 0..20),
            arrivals in proptest::collection::vec(proptest::collection::vec(0usize..3, 0..12), 1..30),
        ) {
            let left = through(share, &others, &arrivals);
            let count = arrivals.iter().map(Vec::len).sum::<usize>();
            prop_assert_eq!(left, (1..=count as u32).collect::<Vec<_>>());
        }
    }
}
