//! Responses: status lines, fields, framing.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::Cors;
use super::body::Body;
use crate::time::KernelTime;

/// What a route answers, before it is framed for one client.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Whole field lines.
    fields: String,
    content: Content,
}

#[derive(Debug)]
pub enum Content {
    /// 204 and 304: not even a length.
    Nothing,
    Whole(Bytes),
    /// Made piece by piece behind a preamble (a WAV header, the first words of an event stream).
    Pieces {
        length: Length,
        preamble: Vec<u8>,
        body: Body,
    },
}

/// How a client finds the end of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// Bytes, preamble included.
    Known(u64),
    /// The body is made of chunks.
    Chunked,
    UntilClose,
    /// No body: from here on another protocol.
    Switched,
}

/// What the framing depends on beside the response.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub http11: bool,
    pub head_only: bool,
    /// Another request may follow.
    pub keep_alive: bool,
    /// The path is one of `/api/`.
    pub api: bool,
}

/// Bytes to send first, and what follows them.
#[derive(Debug)]
pub struct Framed {
    pub first: Vec<u8>,
    pub body: Option<Body>,
    pub keep_alive: bool,
}

/// Bodies up to this size travel with their head, in one send.
const ONE_SEND: usize = 16 * 1024;

impl Response {
    pub fn new(status: u16, content_type: &str, content: Content) -> Response {
        let mut response = Response { status, fields: String::with_capacity(512), content };
        if !content_type.is_empty() {
            response = response.field("Content-Type", content_type);
        }
        response
    }

    /// `{"error": text}`: says what is wrong and what to do next.
    pub fn error(status: u16, text: &str) -> Response {
        let quoted = serde_json::Value::from(text);
        let body = format!("{{\"error\": {quoted}}}\n");
        let response = Response::new(status, "application/json", Content::Whole(body.into()));
        let response = response.field("Cache-Control", "no-store");
        match status {
            503 => response.field("Retry-After", "1"),
            // RFC 6455, 4.4.
            426 => response.field("Sec-WebSocket-Version", "13"),
            _ => response,
        }
    }

    pub fn field(mut self, name: &str, value: &str) -> Response {
        debug_assert!(!value.contains(['\r', '\n']), "a field value is one line");
        for part in [name, ": ", value, "\r\n"] {
            self.fields.push_str(part);
        }
        self
    }

    /// Status line, fields, and as much of the body as goes with them.
    pub fn frame(self, exchange: Exchange, cors: &Cors, now: KernelTime) -> Framed {
        let length = match &self.content {
            Content::Nothing => None,
            Content::Whole(body) => Some(Length::Known(body.len() as u64)),
            Content::Pieces { length, .. } => Some(*length),
        };
        let switched = length == Some(Length::Switched);
        let keep_alive = exchange.keep_alive && !switched && length != Some(Length::UntilClose);
        let mut head = String::with_capacity(512);
        let date = UNIX_EPOCH + Duration::from_micros(now.as_micros().max(0).unsigned_abs());
        let (status, reason) = (self.status, reason(self.status));
        let _ = write!(head, "HTTP/1.1 {status} {reason}\r\nDate: {}\r\n", httpdate::fmt_http_date(date));
        head.push_str(&self.fields);
        head.push_str("X-Content-Type-Options: nosniff\r\n");
        let _ = match length {
            Some(Length::Known(n)) => write!(head, "Content-Length: {n}\r\n"),
            Some(Length::Chunked) => write!(head, "Transfer-Encoding: chunked\r\n"),
            Some(Length::UntilClose | Length::Switched) | None => Ok(()),
        };
        match (keep_alive, exchange.http11) {
            _ if switched => head.push_str("Connection: Upgrade\r\n"),
            (false, _) => head.push_str("Connection: close\r\n"),
            (true, false) => head.push_str("Connection: keep-alive\r\n"),
            (true, true) => {}
        }
        if *cors != Cors::Any {
            // Other sites' pages may not even embed it (Fetch standard, "cross-origin resource policy check"). The one that is
            // allowed asks with CORS, which this does not concern.
            head.push_str("Cross-Origin-Resource-Policy: same-origin\r\n");
        }
        match cors {
            Cors::Any if exchange.api => head.push_str("Access-Control-Allow-Origin: *\r\n"),
            Cors::Origin(origin) if exchange.api => {
                let _ = write!(head, "Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n");
            }
            _ => {}
        }
        head.push_str("\r\n");

        let mut first = head.into_bytes();
        let body = match self.content {
            _ if exchange.head_only => None,
            Content::Nothing => None,
            Content::Whole(body) if body.len() <= ONE_SEND => {
                first.extend_from_slice(&body);
                None
            }
            Content::Whole(body) => Some(Body::Whole(body)),
            Content::Pieces { preamble, body, .. } => {
                first.extend_from_slice(&preamble);
                Some(body)
            }
        };
        Framed { first, body, keep_alive }
    }
}

/// RFC 9110 section 15, and RFC 6585 for 431.
fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        other => panic!("status {other} has no reason phrase here"),
    }
}
