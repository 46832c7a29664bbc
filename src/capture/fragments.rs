//! Reassembler: fragments of a datagram -> the datagram, stamped by its last fragment.
//!
//! A datagram of 2048 bytes travels as two IP fragments, and the kernel stamps the datagram with the time of the one that
//! completes it (net/ipv4/ip_fragment.c). A capture shows the fragments; to measure what the kernel measured, they are put together
//! here by the same rules: 30 s of patience, overlapping fragments spoil their datagram (RFC 5722). The capture may have cut each
//! fragment to its head: lengths decide what is complete, and only the unbroken captured part from the start is handed on.

use std::net::IpAddr;

use super::{IpPacket, Place};
use crate::time::{KernelTime, Span};

/// `net.ipv4.ipfrag_time`, 30 s.
const PATIENCE: Span = Span::from_secs(30);
/// Datagrams in the making at once, 64 KiB each at most; the oldest gives way.
const MOST: usize = 64;
const LONGEST: usize = 65_535;
/// Enough for a datagram of that length over the smallest MTU of IPv6, 1280; more is an attack.
const MOST_PIECES: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    from: IpAddr,
    to: IpAddr,
    id: u32,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    /// One past its end on the wire.
    end: usize,
    /// One past the end of what was captured of it.
    captured: usize,
}

#[derive(Debug)]
struct Partial {
    key: Key,
    begun: KernelTime,
    /// Ascending, without overlap.
    pieces: Vec<Piece>,
    /// The length of the whole, once the last fragment is there.
    len: Option<usize>,
    bytes: Vec<u8>,
}

/// What follows the IP headers of a whole datagram: UDP header and payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload<'a> {
    /// Captured, from the start.
    pub bytes: &'a [u8],
    /// The true length.
    pub len: usize,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Reassembler {
    partials: Vec<Partial>,
    /// The datagram last completed, lent to the caller; its buffers serve the next one.
    done: Option<Partial>,
    given_up: u64,
}

impl Reassembler {
    /// Takes a fragment; returns the datagram when it is the one that completes it.
    pub fn push(&mut self, packet: &IpPacket<'_>, place: Place, stamp: KernelTime) -> Option<Payload<'_>> {
        let waiting = self.partials.len();
        self.partials.retain(|partial| stamp - partial.begun < PATIENCE);
        self.given_up += (waiting - self.partials.len()) as u64;

        let key = Key { from: packet.from, to: packet.to, id: place.id };
        let at = match self.partials.iter().position(|partial| partial.key == key) {
            Some(at) => at,
            None => self.begin(key, stamp),
        };
        match self.partials[at].add(packet, place) {
            Added::Incomplete => None,
            Added::Broken => {
                self.partials.swap_remove(at);
                self.given_up += 1;
                None
            }
            Added::Complete(len) => {
                let done = self.done.insert(self.partials.swap_remove(at));
                Some(Payload { bytes: &done.bytes[..done.captured()], len })
            }
        }
    }

    /// Datagrams that were never completed: timed out, overlapping, or pushed out by newer ones.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Datagrams that still lack a fragment.
    pub fn unfinished(&self) -> u64 {
        self.partials.len() as u64
    }

    fn begin(&mut self, key: Key, stamp: KernelTime) -> usize {
        if self.partials.len() == MOST {
            let oldest = (0..MOST).min_by_key(|i| self.partials[*i].begun).expect("there are some");
            self.partials.swap_remove(oldest);
            self.given_up += 1;
        }
        let (mut pieces, mut bytes) = self.done.take().map(|done| (done.pieces, done.bytes)).unwrap_or_default();
        pieces.clear();
        bytes.clear();
        self.partials.push(Partial { key, begun: stamp, pieces, len: None, bytes });
        self.partials.len() - 1
    }
}

enum Added {
    Incomplete,
    Complete(usize),
    Broken,
}

impl Partial {
    fn add(&mut self, packet: &IpPacket<'_>, place: Place) -> Added {
        let piece = Piece {
            start: place.offset,
            end: place.offset + packet.len,
            captured: place.offset + packet.payload.len().min(packet.len),
        };
        // All but the last are multiples of 8 (RFC 791 3.2), and nothing may end behind the end.
        let ragged = place.more && !packet.len.is_multiple_of(8);
        if packet.len == 0 || ragged || piece.end > LONGEST || self.pieces.len() == MOST_PIECES {
            return Added::Broken;
        }
        let next = self.pieces.partition_point(|other| other.start < piece.start);
        if self.pieces.get(next).is_some_and(|other| (other.start, other.end) == (piece.start, piece.end)) {
            // The network repeated it.
            return Added::Incomplete;
        }
        let overlaps_before = next > 0 && self.pieces[next - 1].end > piece.start;
        let overlaps_after = self.pieces.get(next).is_some_and(|other| other.start < piece.end);
        if overlaps_before || overlaps_after {
            return Added::Broken;
        }
        self.pieces.insert(next, piece);
        if !place.more && self.len.replace(piece.end).is_some_and(|len| len != piece.end) {
            return Added::Broken;
        }
        if self.bytes.len() < piece.captured {
            self.bytes.resize(piece.captured, 0);
        }
        self.bytes[piece.start..piece.captured].copy_from_slice(&packet.payload[..piece.captured - piece.start]);

        let Some(len) = self.len else { return Added::Incomplete };
        let mut end = 0;
        for piece in &self.pieces {
            if piece.start != end {
                return Added::Incomplete;
            }
            end = piece.end;
        }
        match end.cmp(&len) {
            std::cmp::Ordering::Less => Added::Incomplete,
            std::cmp::Ordering::Equal => Added::Complete(len),
            std::cmp::Ordering::Greater => Added::Broken,
        }
    }

    /// How much was captured without a break from the start.
    fn captured(&self) -> usize {
        let mut end = 0;
        for piece in &self.pieces {
            end = piece.captured;
            if piece.captured < piece.end {
                break;
            }
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at_ms(ms: i64) -> KernelTime {
        KernelTime::from_nanos(1_795_345_500_000_000_000 + ms * 1_000_000)
    }

    /// `bytes[start..end]` as a fragment, of which `keep` bytes were captured.
    fn fragment(bytes: &[u8], start: usize, end: usize, keep: usize, id: u32) -> (IpPacket<'_>, Place) {
        let place = Place { id, offset: start, more: end < bytes.len() };
        let packet = IpPacket {
            from: "192.0.2.1".parse().unwrap(),
            to: "192.0.2.2".parse().unwrap(),
            protocol: 17,
            fragment: Some(place),
            payload: &bytes[start..end.min(start + keep)],
            len: end - start,
        };
        (packet, place)
    }

    proptest! {
        /// Any cut into pieces, any order, some of them repeated: the last one missing completes it, bit for bit.
        #[test]
        fn any_order_gives_the_datagram(
            len in 16usize..4000,
            cuts in proptest::collection::btree_set(1usize..500, 1..6),
            order in any::<u64>(),
            keep in prop_oneof![Just(65_535), 8usize..64],
        ) {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256) as u8).collect();
            let mut edges = vec![0];
            edges.extend(cuts.into_iter().map(|cut| cut * 8).filter(|cut| *cut < len));
            edges.push(len);
            prop_assume!(edges.len() > 2);
            let mut pieces: Vec<_> = edges.windows(2).map(|edge| (edge[0], edge[1])).collect();
            let mut state = order;
            for i in (1..pieces.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                pieces.swap(i, (state >> 33) as usize % (i + 1));
            }
            let mut reassembler = Reassembler::default();
            let (last, rest) = pieces.split_last().unwrap();
            for (start, end) in rest.iter().chain(rest) {
                let (packet, place) = fragment(&bytes, *start, *end, keep, 7);
                prop_assert_eq!(reassembler.push(&packet, place, at_ms(0)), None);
            }
            let (packet, place) = fragment(&bytes, last.0, last.1, keep, 7);
            let whole = reassembler.push(&packet, place, at_ms(5)).expect("complete");
            prop_assert_eq!(whole.len, len);
            // Cut pieces end the unbroken part at the first one.
            let unbroken = edges.windows(2).find(|edge| edge[1] - edge[0] > keep).map_or(len, |edge| edge[0] + keep);
            prop_assert_eq!(whole.bytes, &bytes[..unbroken]);
            prop_assert_eq!((reassembler.given_up(), reassembler.unfinished()), (0, 0));
        }
    }

    #[test]
    fn a_lost_fragment_is_given_up_after_thirty_seconds() {
        let bytes = [1; 2056];
        let mut reassembler = Reassembler::default();
        let (first, place) = fragment(&bytes, 0, 1480, 2000, 1);
        reassembler.push(&first, place, at_ms(0));
        assert_eq!(reassembler.unfinished(), 1);
        let (second, place) = fragment(&bytes, 1480, 2056, 2000, 1);
        assert_eq!(reassembler.push(&second, place, at_ms(30_000)), None, "the first one is forgotten");
        assert_eq!(reassembler.given_up(), 1);
    }

    #[test]
    fn overlapping_fragments_spoil_their_datagram() {
        let bytes = [1; 2056];
        let mut reassembler = Reassembler::default();
        let (first, place) = fragment(&bytes, 0, 1480, 2000, 1);
        reassembler.push(&first, place, at_ms(0));
        let (second, place) = fragment(&bytes, 1472, 2056, 2000, 1);
        assert_eq!(reassembler.push(&second, place, at_ms(1)), None);
        assert_eq!((reassembler.given_up(), reassembler.unfinished()), (1, 0));
    }

    #[test]
    fn a_flood_of_first_fragments_takes_bounded_memory_and_the_newest_stay() {
        let bytes = [1; 2056];
        let mut reassembler = Reassembler::default();
        for id in 0..1_000 {
            let (first, place) = fragment(&bytes, 0, 1480, 2000, id);
            reassembler.push(&first, place, at_ms(i64::from(id)));
        }
        assert_eq!((reassembler.unfinished(), reassembler.given_up()), (64, 936));
        let (second, place) = fragment(&bytes, 1480, 2056, 2000, 999);
        assert!(reassembler.push(&second, place, at_ms(1_000)).is_some());
    }
}
