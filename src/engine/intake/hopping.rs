//! A board that sends each packet from another port.
//!
//! Problem: some firmware opens a socket for each packet, and some routers give each a new port. Following one port, all but two packets a
//! second are foreign, since each port lives for one packet and its successor is adopted 500 ms later.
//!
//! Idea: such a board shows itself by ports that never speak again once another has spoken. At the third of them, with no other address heard
//! and none of the ports come back, there is no rival that lives: from then on the address is followed, whatever the port. What the second
//! port sent waits until then, so that nothing of such a board is lost, nor anything of another taken.
//! A port that stays, or ports that come back, end it: those are senders of their own.

use crate::engine::intake::tuning::hopping::{LONGEST_RUN, MOST_BACK, RECENT};

/// Of one microphone; told of what may be a packet only.
#[derive(Debug, Default)]
pub(in crate::engine) struct Hopping {
    recent: [u16; RECENT],
    ports: usize,
    run: u32,
    back: u32,
    /// The second port, and how often it spoke: the next datagram tells whose it is.
    doubt: Option<(u16, u32)>,
    /// It is a sender like any other, until another is adopted.
    settled: bool,
    follows: bool,
}

impl Hopping {
    /// Another sender is followed from now on.
    pub fn adopted(&mut self, port: u16) {
        *self = Hopping { run: 1, ..Hopping::default() };
        self.remember(port);
    }

    /// The followed port spoke again.
    pub fn same(&mut self) {
        self.run += 1;
        if self.run > LONGEST_RUN || self.doubt.is_some() {
            self.settle();
        }
    }

    /// Nothing of its address but the followed port is the board's.
    pub fn settle(&mut self) {
        (self.settled, self.follows, self.doubt) = (true, false, None);
    }

    /// Another address spoke while the followed one lives.
    pub fn rival(&mut self) {
        if !self.follows {
            self.settle();
        }
    }

    /// Another port of the followed address speaks. True while it is open whose it is: until a third one speaks, or one of the two too often.
    pub fn is_open(&mut self, port: u16) -> bool {
        if self.settled || self.follows {
            return false;
        }
        match &mut self.doubt {
            None => self.doubt = Some((port, 1)),
            Some((second, _)) if *second != port => (self.follows, self.doubt) = (true, None),
            Some((_, run)) if *run < LONGEST_RUN => *run += 1,
            Some(_) => self.settle(),
        }
        self.doubt.is_some()
    }

    /// Whether it was left open whose the last datagram is.
    pub fn doubts(&self) -> bool {
        self.doubt.is_some()
    }

    /// A packet from another port of the followed address: whether it is the same board.
    pub fn is_next(&mut self, port: u16) -> bool {
        if !self.follows {
            return false;
        }
        if self.recent[..self.ports.min(RECENT)].contains(&port) {
            self.back += 1;
            if self.back >= MOST_BACK {
                self.settle();
            }
            return self.follows;
        }
        if self.ports.is_multiple_of(RECENT) {
            self.back = 0;
        }
        self.remember(port);
        self.run = 1;
        true
    }

    pub fn follows(&self) -> bool {
        self.follows
    }

    fn remember(&mut self, port: u16) {
        self.recent[self.ports % RECENT] = port;
        self.ports += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(port: u16) -> Hopping {
        let mut hopping = Hopping::default();
        hopping.adopted(port);
        hopping
    }

    #[test]
    fn the_third_port_that_speaks_once_is_followed_and_the_one_before_it_too() {
        let mut hopping = first(1);
        assert!(!hopping.is_next(2), "not known yet");
        assert!(hopping.is_open(2) && !hopping.is_open(3));
        assert_eq!([2, 3, 4, 5].map(|port| hopping.is_next(port)), [true; 4]);
        // Pieces of a chunk by one socket, and a port that comes back by chance.
        hopping.same();
        hopping.rival();
        assert!(hopping.is_next(3) && hopping.is_next(6));
        (0..LONGEST_RUN).for_each(|_| hopping.same());
        assert!(!hopping.follows() && !hopping.is_next(7), "it has one port now");
    }

    #[test]
    fn pieces_of_the_second_chunk_wait_too_but_no_port_that_stays() {
        let mut hopping = first(1);
        hopping.same();
        assert!(hopping.is_open(2) && hopping.is_open(2) && !hopping.is_open(3) && hopping.follows());
        let mut stays = first(1);
        assert!((0..LONGEST_RUN).all(|_| stays.is_open(2)));
        assert!(!stays.is_open(2) && !stays.is_open(3) && !stays.follows());
    }

    #[test]
    fn a_rival_that_lives_keeps_it_from_being_followed() {
        let mut two_ports = first(1);
        assert!(two_ports.is_open(2));
        two_ports.same();
        assert!(!two_ports.doubts() && ![3, 4, 5].map(|port| two_ports.is_open(port)).contains(&true));
        assert!(!two_ports.follows(), "the first port lives");
        let mut two_hosts = first(1);
        assert!(two_hosts.is_open(2));
        two_hosts.rival();
        assert!(![3, 4].map(|port| two_hosts.is_open(port)).contains(&true), "another address lives");
        assert!(!two_hosts.follows());
        let mut alternating = first(1);
        assert!(alternating.is_open(2) && !alternating.is_open(3));
        assert_eq!([2, 3, 2, 3, 2].map(|port| alternating.is_next(port)), [true, true, true, true, false]);
    }
}
