//! What HTTP counts, since start.

/// The live streams (`stream` in the diagnostics), plain numbers since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamFigures {
    /// Connections on a live stream now.
    pub subscribers: u64,
    /// Events handed whole to a subscriber's socket.
    pub events_sent: u64,
    /// Events that a subscriber was too slow for.
    pub events_dropped: u64,
    /// Bytes of live streams handed to sockets.
    pub bytes_sent: u64,
    /// Streams that began after a `Last-Event-ID`.
    pub resumed: u64,
}

/// Everything HTTP counts, since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HttpFigures {
    pub stream: StreamFigures,
    /// Connections open now.
    pub connections: u64,
    /// Connections taken.
    pub accepted: u64,
    /// Connections turned away at a limit.
    pub refused: u64,
    pub requests: u64,
    /// Requests answered with a status of 400 or above.
    pub errors: u64,
    /// Connections cut off because a head was late, a connection idle or a response stalled.
    pub timed_out: u64,
    /// Downloads and WAV streams that the history overwrote before the client had read them.
    pub overruns: u64,
}
