//! What a connection is called, by the ring that carries it and by the server that answers it.

/// A connection: its slot in the ring, and which of the slot's owners is meant. A slot is used again with the next generation, so that
/// a late completion of a closed connection is recognised instead of hitting its successor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    pub slot: u32,
    pub generation: u32,
}
