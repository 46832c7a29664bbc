//! A board that sends each packet from another port.
//!
//! Problem: some firmware opens a socket for each packet, and some routers give each a new port. Following one port, all but two packets a
//! second are foreign, since each port lives for one packet and its successor is adopted 500 ms later.
//!
//! Idea: such a board shows itself by ports that never speak again once another has spoken. At the third of them, with no other address heard
//! and none of the ports come back, there is no rival that lives: from then on the address is followed, whatever the port.
//! A port that stays, or ports that come back, end it: those are senders of their own.

use crate::engine::intake::tuning::hopping::{ENOUGH, LONGEST_RUN, MOST_BACK, RECENT};

/// Of one microphone; told of valid packets only.
#[derive(Debug, Default)]
pub(in crate::engine) struct Hopping {
    recent: [u16; RECENT],
    ports: usize,
    run: u32,
    back: u32,
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
        if self.run > LONGEST_RUN || (!self.follows && self.ports > 1) {
            (self.settled, self.follows) = (true, false);
        }
    }

    /// Another address spoke while the followed one lives.
    pub fn rival(&mut self) {
        self.settled |= !self.follows;
    }

    /// Another port of the followed address spoke: whether it is the same board.
    pub fn is_next(&mut self, port: u16) -> bool {
        if self.settled {
            return false;
        }
        if self.recent[..self.ports.min(RECENT)].contains(&port) {
            self.back += 1;
            if !self.follows || self.back >= MOST_BACK {
                (self.settled, self.follows) = (true, false);
            }
            return self.follows;
        }
        if self.ports.is_multiple_of(RECENT) {
            self.back = 0;
        }
        self.remember(port);
        self.run = 1;
        self.follows |= self.ports >= ENOUGH;
        self.follows
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

    #[test]
    fn the_third_port_that_speaks_once_is_followed_and_those_after_it() {
        let mut hopping = Hopping::default();
        hopping.adopted(1);
        assert_eq!([2, 3, 4, 5].map(|port| hopping.is_next(port)), [false, true, true, true]);
        // Pieces of a chunk by one socket, and a port that comes back by chance.
        hopping.same();
        hopping.rival();
        assert!(hopping.is_next(3) && hopping.is_next(6));
        (0..LONGEST_RUN).for_each(|_| hopping.same());
        assert!(!hopping.follows() && !hopping.is_next(7), "it has one port now");
    }

    #[test]
    fn a_rival_that_lives_keeps_it_from_being_followed() {
        let mut two_ports = Hopping::default();
        two_ports.adopted(1);
        assert!(!two_ports.is_next(2));
        two_ports.same();
        assert!(![3, 4, 5].map(|port| two_ports.is_next(port)).contains(&true), "the first port lives");
        let mut two_hosts = Hopping::default();
        two_hosts.adopted(1);
        two_hosts.rival();
        assert!(![2, 3, 4].map(|port| two_hosts.is_next(port)).contains(&true), "another address lives");
        let mut alternating = Hopping::default();
        alternating.adopted(1);
        assert_eq!([2, 3, 2, 3, 2].map(|port| alternating.is_next(port)), [false, true, true, true, false]);
    }
}
