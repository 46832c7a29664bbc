//! What a completion belongs to, packed into the 64 bits of `user_data`: no pointers, and a generation for
//! connections, so that a late completion of a closed connection is recognised instead of hitting its successor.

use crate::conn::ConnId;

/// What a submission was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// A UDP socket's receive.
    Socket(usize),
    Accept,
    Signal,
    Log,
    /// A file that is written: its place.
    File(usize),
    Cancel,
    Mark,
    Recv(ConnId),
    Send(ConnId),
    /// An outlet, and which of its packets.
    Outlet(u32, u32),
}

const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

impl Token {
    /// Kind in the top 8 bits, slot in the next 24, generation in the low 32.
    pub fn pack(self) -> u64 {
        let (kind, slot, generation) = match self {
            Token::Socket(id) => (1, id as u32, 0),
            Token::Accept => (2, 0, 0),
            Token::Signal => (3, 0, 0),
            Token::Log => (4, 0, 0),
            Token::Cancel => (5, 0, 0),
            Token::Recv(id) => (6, id.slot, id.generation),
            Token::Send(id) => (7, id.slot, id.generation),
            Token::File(place) => (8, place as u32, 0),
            Token::Mark => (9, 0, 0),
            Token::Outlet(outlet, packet) => (10, outlet, packet),
        };
        assert!(u64::from(slot) <= SLOT_MASK, "a slot fits 24 bits: the connection limit is far below");
        kind << 56 | u64::from(slot) << 32 | u64::from(generation)
    }

    /// `None` for a word that [`Token::pack`] never made.
    pub fn unpack(word: u64) -> Option<Token> {
        let slot = ((word >> 32) & SLOT_MASK) as u32;
        let id = ConnId { slot, generation: word as u32 };
        Some(match word >> 56 {
            1 => Token::Socket(slot as usize),
            2 => Token::Accept,
            3 => Token::Signal,
            4 => Token::Log,
            5 => Token::Cancel,
            6 => Token::Recv(id),
            7 => Token::Send(id),
            8 => Token::File(slot as usize),
            9 => Token::Mark,
            10 => Token::Outlet(id.slot, id.generation),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_the_trip_through_the_kernel() {
        let id = ConnId { slot: 0x00ab_cdef, generation: u32::MAX };
        for token in [
            Token::Socket(0),
            Token::Socket(65_534),
            Token::Mark,
            Token::Accept,
            Token::Signal,
            Token::Log,
            Token::File(0),
            Token::File(8_191),
            Token::Cancel,
            Token::Recv(id),
            Token::Send(id),
            Token::Outlet(id.slot, 7),
        ] {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(0), None);
        assert_eq!(Token::unpack(u64::MAX), None);
    }
}
