//! What HTTP counts.

/// What HTTP counts, since start; `subscribers` and `connections_open` are as of now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamFigures {
    /// Clients of the event and audio streams.
    pub subscribers: u64,
    pub connections_open: u64,
    pub events_sent: u64,
    /// Dropped from the queue of a subscriber that could not keep up.
    pub events_dropped: u64,
    /// Bytes of all responses.
    pub bytes_sent: u64,
    /// Streams that went on after a `Last-Event-ID`.
    pub resumed: u64,
    pub connections: u64,
    pub requests: u64,
    /// Connections or requests turned away at a limit.
    pub rejected: u64,
    pub downloads_aborted: u64,
}
