//! What a user may choose about HTTP: limits, who may ask, who may read. See `cli.rs` for the options.

use std::net::SocketAddr;

use crate::time::Span;

/// Which web pages may read the answers: the CORS header of `/api/*`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cors {
    /// `*`: any page that the user opens can read the microphones.
    Any,
    /// No header: only pages from this server.
    None,
    /// Pages of this one origin, `https://example.org`.
    Origin(String),
}

/// Limits and access. Every limit is per connection unless said otherwise.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where the listener is bound. The Host header is checked against DNS rebinding on loopback, and elsewhere once not every
    /// page may read the answers.
    pub bind: SocketAddr,
    pub cors: Cors,
    /// When set, every route but `/healthz` and preflights asks for it.
    pub token: Option<String>,
    /// Host names that pass the check beside `localhost` and IP literals; without port.
    pub allow_hosts: Vec<String>,
    /// Events that wait for one subscriber; the oldest are dropped.
    pub queue: usize,
    /// Connections at a time, in all.
    pub connections: usize,
    /// Connections at a time from one address.
    pub connections_per_address: usize,
    /// Bytes of a request head, request line included: 431.
    pub head_bytes: usize,
    /// Bytes of a request line: 414. RFC 9112 section 3 asks for at least 8000.
    pub line_bytes: usize,
    /// Header fields of a request: 431.
    pub header_count: usize,
    /// From the first byte of a request (or the connect) until its head is complete: 408.
    pub head_time: Span,
    /// Between two requests of a connection.
    pub idle_time: Span,
    /// A send that makes no progress for so long ends its connection.
    pub stall_time: Span,
}

impl HttpConfig {
    /// The defaults, bound to `bind`.
    pub fn new(bind: SocketAddr) -> HttpConfig {
        HttpConfig {
            bind,
            cors: Cors::Any,
            token: None,
            allow_hosts: Vec::new(),
            queue: 64,
            connections: 2048,
            connections_per_address: 1024,
            head_bytes: 8192,
            line_bytes: 8000,
            header_count: 64,
            head_time: Span::from_secs(10),
            idle_time: Span::from_secs(60),
            stall_time: Span::from_secs(30),
        }
    }
}
