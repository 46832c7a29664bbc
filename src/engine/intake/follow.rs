//! Who is a microphone, and what of it is a packet.
//!
//! Problem: anyone can send to a microphone's port, and a board that reboots comes back from another port.
//!
//! Idea: follow one sender. While it is live, everything from others is foreign. Once it has been silent for 500 ms, the
//! next sender of a valid packet takes its place. What a followed sender sends wrongly still shows that it lives.

use std::net::SocketAddr;

use super::hopping::Hopping;
use super::packet::{BadPayload, Packet};
use crate::engine::Reason;
use crate::engine::clock::Again;
use crate::engine::figures::MicCounters;
use crate::time::{MonoTime, Span};

/// Silence after which another sender is adopted: contract section 2.
pub(in crate::engine) const SENDER_TIMEOUT: Span = Span::from_millis(500);

/// The sender that one microphone follows.
#[derive(Debug, Default)]
pub struct Follow {
    sender: Option<SocketAddr>,
    heard: Option<MonoTime>,
    hopping: Hopping,
    hops: bool,
}

/// Whose a datagram is, before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Whose {
    Followed,
    /// A valid packet of this sender would make it the followed one in place of another.
    Replaces,
    Foreign,
    /// Of another port of the followed address: the next one tells, and it waits until then.
    Open,
}

/// A valid packet of the followed sender.
#[derive(Debug)]
pub struct Admitted<'a> {
    pub packet: Packet<'a>,
    /// The sender before this one, when this packet made its sender the followed one.
    pub replaced: Option<SocketAddr>,
}

impl Admitted<'_> {
    /// Who sends, beside whom it was before.
    pub fn again(&self, sender: SocketAddr) -> Again {
        match self.replaced {
            None => Again::TheSame,
            Some(old) if old.ip() == sender.ip() => Again::AnotherPort,
            Some(_) => Again::AnotherBoard,
        }
    }
}

impl Follow {
    pub fn sender(&self) -> Option<SocketAddr> {
        self.sender
    }

    /// Whose a datagram is; `valid`, whether it may be a packet.
    pub(in crate::engine) fn whose(&mut self, sender: SocketAddr, valid: bool, at: MonoTime) -> Whose {
        let Some(followed) = self.sender.filter(|&followed| followed != sender) else {
            self.end_doubt();
            return Whose::Followed;
        };
        if self.heard.is_none_or(|heard| at - heard >= SENDER_TIMEOUT) {
            self.end_doubt();
            return Whose::Replaces;
        }
        if followed.ip() != sender.ip() || !valid {
            return Whose::Foreign;
        }
        match self.hopping.is_open(sender.port()) {
            true => Whose::Open,
            false if self.hopping.follows() => Whose::Followed,
            false => Whose::Foreign,
        }
    }

    /// Whether what waits of another port may be the board's still.
    pub(in crate::engine) fn doubts(&self) -> bool {
        self.hopping.doubts()
    }

    /// Nothing can wait any longer: what waits is not the board's.
    pub(in crate::engine) fn end_doubt(&mut self) {
        if self.hopping.doubts() {
            self.hopping.settle();
        }
    }

    /// Once, when the board was found to send each packet from another port.
    pub fn begins_to_hop(&mut self) -> bool {
        let before = std::mem::replace(&mut self.hops, self.hopping.follows());
        self.hops && !before
    }

    /// Whether another sender is the followed board, by another port.
    fn is_next_port(&mut self, sender: SocketAddr, valid: bool, at: MonoTime) -> bool {
        let live = self.heard.is_some_and(|heard| at - heard < SENDER_TIMEOUT);
        if !valid || !live {
            return false;
        }
        if self.sender.is_some_and(|followed| followed.ip() == sender.ip()) {
            return self.hopping.is_next(sender.port());
        }
        self.hopping.rival();
        false
    }

    /// Admits a packet or says why not; counts what it refuses.
    pub fn admit<'a>(
        &mut self,
        sender: SocketAddr,
        parsed: Result<Packet<'a>, BadPayload>,
        at: MonoTime,
        counters: &mut MicCounters,
    ) -> Result<Admitted<'a>, Reason> {
        let known = self.sender.is_none_or(|followed| followed == sender);
        let next = !known && self.is_next_port(sender, parsed.is_ok(), at);
        if !known && !next {
            let live = self.heard.is_some_and(|heard| at - heard < SENDER_TIMEOUT);
            if live || parsed.is_err() {
                counters.foreign += 1;
                return Err(Reason::Foreign);
            }
        }
        if self.sender.is_some() {
            self.heard = Some(at);
        }
        let packet = parsed.map_err(|bad| match bad {
            BadPayload::Truncated => {
                counters.truncated += 1;
                Reason::Truncated
            }
            BadPayload::Malformed => {
                counters.malformed += 1;
                Reason::Malformed
            }
        })?;
        let before = self.sender.replace(sender);
        let replaced = before.filter(|&old| old != sender && !next);
        match before {
            Some(old) if old == sender => self.hopping.same(),
            Some(_) if next => {}
            _ => self.hopping.adopted(sender.port()),
        }
        self.heard = Some(at);
        counters.sender_changes += u64::from(replaced.is_some());
        Ok(Admitted { packet, replaced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn ms(t: i64) -> MonoTime {
        MonoTime::from_nanos(t * 1_000_000)
    }

    fn good() -> Result<Packet<'static>, BadPayload> {
        Packet::parse(&[0; 8], 8, 64, 1)
    }

    #[test]
    fn another_sender_is_foreign_until_500_ms_of_silence() {
        let (mut follow, mut c) = (Follow::default(), MicCounters::default());
        assert!(follow.admit(addr(1), good(), ms(0), &mut c).is_ok());
        assert_eq!(follow.admit(addr(2), good(), ms(499), &mut c).err(), Some(Reason::Foreign));
        let adopted = follow.admit(addr(2), good(), ms(500), &mut c).expect("adopted");
        assert_eq!(adopted.replaced, Some(addr(1)));
        assert_eq!((c.foreign, c.sender_changes), (1, 1));
        assert_eq!(follow.admit(addr(1), good(), ms(501), &mut c).err(), Some(Reason::Foreign));
    }

    #[test]
    fn malformed_packets_of_the_followed_sender_keep_it_and_those_of_others_do_not_adopt() {
        let (mut follow, mut c) = (Follow::default(), MicCounters::default());
        assert!(follow.admit(addr(1), good(), ms(0), &mut c).is_ok());
        let bad = || Packet::parse(&[0; 3], 3, 64, 1);
        assert_eq!(follow.admit(addr(1), bad(), ms(400), &mut c).err(), Some(Reason::Malformed));
        assert_eq!(follow.admit(addr(2), good(), ms(700), &mut c).err(), Some(Reason::Foreign));
        assert_eq!(follow.admit(addr(2), bad(), ms(1_000), &mut c).err(), Some(Reason::Foreign));
        assert!(follow.admit(addr(2), good(), ms(1_001), &mut c).is_ok());
        assert_eq!((c.malformed, c.foreign, c.sender_changes), (1, 2, 1));
    }

    #[test]
    fn a_bad_first_packet_is_counted_and_follows_nobody() {
        let (mut follow, mut c) = (Follow::default(), MicCounters::default());
        let cut = Packet::parse(&[0; 64], 65_507, 64, 1);
        assert_eq!(follow.admit(addr(1), cut, ms(0), &mut c).err(), Some(Reason::Truncated));
        assert_eq!(follow.sender(), None);
        assert!(follow.admit(addr(2), good(), ms(1), &mut c).is_ok());
        assert_eq!((c.truncated, c.foreign, c.sender_changes), (1, 0, 0));
    }

    #[test]
    fn what_waits_of_another_port_waits_no_longer_than_its_successor_needs_to_be_adopted() {
        let (mut follow, mut c) = (Follow::default(), MicCounters::default());
        assert!(follow.admit(addr(1), good(), ms(0), &mut c).is_ok());
        assert_eq!(follow.whose(addr(2), true, ms(10)), Whose::Open);
        assert_eq!(follow.whose(addr(3), true, ms(500)), Whose::Replaces);
        assert!(!follow.doubts(), "the one of another port is foreign");
    }

    #[test]
    fn a_new_port_each_packet_is_followed_at_once_but_never_beside_a_sender_that_lives() {
        let (mut hopper, mut c) = (Follow::default(), MicCounters::default());
        let taken = |follow: &mut Follow, c: &mut MicCounters, port, t| {
            follow.whose(addr(port), true, ms(t)) != Whose::Open && follow.admit(addr(port), good(), ms(t), c).is_ok()
        };
        let hops: Vec<bool> = (0..50).map(|n| taken(&mut hopper, &mut c, 1000 + n, i64::from(n) * 10)).collect();
        assert!(hops[0] && !hops[1] && hops[2..].iter().all(|taken| *taken), "the second waits: {hops:?}");
        assert_eq!((c.foreign, c.sender_changes), (0, 0));
        let elsewhere = SocketAddr::from(([10, 0, 0, 2], 1));
        assert_eq!(hopper.admit(elsewhere, good(), ms(500), &mut c).err(), Some(Reason::Foreign));
        assert!(taken(&mut hopper, &mut c, 3000, 501));

        let (mut steady, mut c) = (Follow::default(), MicCounters::default());
        (0..20).for_each(|n| assert!(taken(&mut steady, &mut c, 1, n * 10)));
        assert!((0..20).all(|n| !taken(&mut steady, &mut c, 1000 + n, 200)));
        assert!(taken(&mut steady, &mut c, 1, 210));
    }
}
