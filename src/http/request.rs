//! Bytes of a connection into requests.
//!
//! Problem: a head arrives in any pieces, several at once, or never whole; what a client sends must not cost more than
//! its limits, and the answer to a malformed one must not depend on how TCP cut it.
//!
//! Idea: every byte is looked at once as it arrives, which finds the end of the head and whatever is wrong before it
//! (line ends, control characters, lengths) at the same byte however it was split; httparse parses the whole head once.
//! Framing is strict (RFC 9112): a bare LF or CR, a folded line, two lengths or two hosts are errors, never guesses.

use super::HttpConfig;

/// A request that cannot be answered by a route. The connection closes after the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bad {
    pub status: u16,
    pub text: String,
}

impl Bad {
    pub fn new(status: u16, text: impl Into<String>) -> Bad {
        Bad { status, text: text.into() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Get,
    Head,
    Options,
    Post,
    /// Registered (RFC 9110 section 9), and allowed nowhere here but for POST.
    NotAllowed,
    Unknown,
}

/// One request head, what this server needs of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: Method,
    /// Decoded; `*` for the asterisk form.
    pub path: String,
    /// As sent, without the `?`.
    query: String,
    /// HTTP/1.1, else 1.0.
    pub http11: bool,
    /// The client lets the connection live on.
    pub keep_alive: bool,
    /// Of an absolute target, else of the Host field; lower case, without port.
    pub host: Option<String>,
    /// `Content-Length` above 0.
    pub has_length: bool,
    pub has_transfer_encoding: bool,
    /// An OPTIONS with which a browser asks for leave (CORS).
    pub preflight: bool,
    pub authorization: Option<String>,
    pub last_event_id: Option<String>,
    pub if_none_match: Option<String>,
    pub range: Option<String>,
    pub if_range: Option<String>,
    /// A browser's: which page asks, and whether that came from here.
    pub origin: Option<Origin>,
    /// To go on as a WebSocket, if that is asked for.
    pub upgrade: Option<Upgrade>,
}

/// The page that asks (RFC 6454, 7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    pub name: String,
    /// Its host and port are those that the request names.
    pub same: bool,
}

/// What a client says who wants to go on as a WebSocket (RFC 6455, 4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upgrade {
    pub version: Option<String>,
    pub key: Option<String>,
}

impl Request {
    /// The decoded value of a query parameter, the first of its name. `+` stands for itself: no value here has spaces,
    /// and tokens may hold one.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key).as_deref() == Some(name)).then(|| decode(value)).flatten()
        })
    }
}

/// Gathers the bytes of a connection and takes requests off the front.
///
/// Holds at most `head_bytes` and one receive, as long as nothing is asked for while [`Reader::is_full`].
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Bytes looked at, none of them wrong.
    scanned: usize,
    /// Where the request line ends.
    line_end: Option<usize>,
}

impl Reader {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.scanned == 0 {
            self.skip_empty_lines();
        }
    }

    /// Whether no byte of a request is there. Empty lines before one, and the first half of such a line, are none.
    pub fn is_empty(&self) -> bool {
        matches!(self.buffer[..], [] | [b'\r'])
    }

    pub fn is_full(&self, limits: &HttpConfig) -> bool {
        self.buffer.len() >= limits.head_bytes
    }

    /// What came behind the last request, and is no request any more.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(self).buffer
    }

    /// Forgets everything, and gives the memory back.
    pub fn clear(&mut self) {
        *self = Reader::default();
    }

    /// The next request; `None` while its head is incomplete. After an error only [`Reader::clear`] helps.
    pub fn take(&mut self, limits: &HttpConfig) -> Result<Option<Request>, Bad> {
        if self.is_empty() {
            return Ok(None);
        }
        while self.scanned < self.buffer.len() {
            if let Some(end) = self.scan_byte(limits)? {
                let request = parse(&self.buffer[..end], limits)?;
                self.buffer.drain(..end);
                self.scanned = 0;
                self.line_end = None;
                self.skip_empty_lines();
                return Ok(Some(request));
            }
        }
        Ok(None)
    }

    /// Between requests: drops empty lines before a request line (RFC 9112 section 2.2), and memory that is not needed.
    fn skip_empty_lines(&mut self) {
        let lines = self.buffer.as_chunks().0.iter().take_while(|line| *line == b"\r\n").count();
        self.buffer.drain(..2 * lines);
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
    }

    /// Looks at one more byte; `Some(end)` when it ends the head.
    fn scan_byte(&mut self, limits: &HttpConfig) -> Result<Option<usize>, Bad> {
        let i = self.scanned;
        let after_cr = i > 0 && self.buffer[i - 1] == b'\r';
        match self.buffer[i] {
            b'\n' if after_cr => {
                self.line_end.get_or_insert(i);
                if self.buffer[..i - 1].ends_with(b"\r\n") {
                    return Ok(Some(i + 1));
                }
            }
            _ if after_cr => return Err(Bad::new(400, "a carriage return without a line feed; lines end with CR LF")),
            b'\n' => return Err(Bad::new(400, "a line feed without a carriage return; lines end with CR LF")),
            b'\r' | b'\t' | 0x20..=0x7e | 0x80.. => {}
            byte => return Err(Bad::new(400, format!("control character 0x{byte:02x} in the request head"))),
        }
        self.scanned = i + 1;
        let full = self.scanned >= limits.head_bytes;
        if self.line_end.is_none() && (full || self.scanned > limits.line_bytes + "\r".len()) {
            return Err(Bad::new(414, format!("request line longer than {} bytes", limits.line_bytes)));
        }
        if full {
            let text = format!("request head longer than {} bytes; send fewer or shorter fields", limits.head_bytes);
            return Err(Bad::new(431, text));
        }
        Ok(None)
    }
}

fn parse(head: &[u8], limits: &HttpConfig) -> Result<Request, Bad> {
    let mut fields = vec![httparse::EMPTY_HEADER; limits.header_count];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(Bad::new(400, "malformed request head")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Bad::new(431, format!("more than {} header fields", limits.header_count)));
        }
        Err(httparse::Error::Version) => return Err(Bad::new(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")),
        Err(e) => return Err(Bad::new(400, format!("malformed request head: {e}"))),
    }
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("OPTIONS") => Method::Options,
        Some("POST") => Method::Post,
        Some("PUT" | "DELETE" | "PATCH" | "TRACE" | "CONNECT") => Method::NotAllowed,
        _ => Method::Unknown,
    };
    let http11 = parsed.version == Some(1);
    let target = Target::parse(method, parsed.path.unwrap_or_default())?;
    let fields = Fields(parsed.headers);

    let host = fields.host(http11)?;
    let host = target.authority.or(host).map(host_name).transpose()?;
    let has_transfer_encoding = fields.get("transfer-encoding").is_some();
    let has_length = match fields.content_length()? {
        Some(_) if has_transfer_encoding => {
            return Err(Bad::new(400, "both Content-Length and Transfer-Encoding; send one"));
        }
        length => length.is_some_and(|n| n > 0),
    };
    let connection = |option: &str| fields.lists("connection", option);
    let upgrade = http11 && method == Method::Get && connection("upgrade") && fields.lists("upgrade", "websocket");
    let origin = fields.text("origin").map(|name| {
        let there = name.split_once("://").map(|(_, there)| there);
        let same = fields.text("host").is_some_and(|host| there.is_some_and(|there| there.eq_ignore_ascii_case(&host)));
        Origin { name, same }
    });
    Ok(Request {
        method,
        path: target.path,
        query: target.query.to_owned(),
        http11,
        keep_alive: !connection("close") && (http11 || connection("keep-alive")),
        host,
        has_length,
        has_transfer_encoding,
        preflight: method == Method::Options && fields.get("access-control-request-method").is_some(),
        authorization: fields.text("authorization"),
        last_event_id: fields.text("last-event-id"),
        if_none_match: fields.text("if-none-match"),
        range: fields.text("range"),
        if_range: fields.text("if-range"),
        origin,
        upgrade: upgrade
            .then(|| Upgrade { version: fields.text("sec-websocket-version"), key: fields.text("sec-websocket-key") }),
    })
}

struct Target<'a> {
    path: String,
    query: &'a str,
    authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// RFC 9112 section 3.2: origin, absolute and asterisk form. The authority form belongs to CONNECT, which is refused
    /// whatever it names.
    fn parse(method: Method, target: &'a str) -> Result<Target<'a>, Bad> {
        let bad = || Bad::new(400, "malformed request target; send a path such as /api/diagnostics_sync");
        if target == "*" && method == Method::Options
            || matches!(method, Method::NotAllowed | Method::Post) && !target.starts_with('/')
        {
            return Ok(Target { path: "*".into(), query: "", authority: None });
        }
        let scheme = |s: &str| target.get(..s.len()).is_some_and(|t| t.eq_ignore_ascii_case(s)).then_some(s.len());
        let (authority, rest) = match scheme("http://").or_else(|| scheme("https://")) {
            Some(n) => {
                let end = target[n..].find(['/', '?']).map_or(target.len(), |i| n + i);
                (Some(&target[n..end]), &target[end..])
            }
            None if target.starts_with('/') => (None, target),
            None => return Err(bad()),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = if path.is_empty() { "/".to_owned() } else { decode(path).ok_or_else(bad)? };
        Ok(Target { path, query, authority })
    }
}

/// Percent-decoding; `None` where a `%` is not followed by two hexadecimal digits or the result is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'%' {
            let hex = bytes.get(i + 1..i + 3).filter(|h| h.iter().all(u8::is_ascii_hexdigit))?;
            out.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// `name`, `name:port`, `[v6]`, `[v6]:port` into the name, in lower case, brackets taken off.
fn host_name(authority: &str) -> Result<String, Bad> {
    let bad = || Bad::new(400, "malformed host; send a name or address, with or without port");
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (name, after) = rest.split_once(']').ok_or_else(bad)?;
            name.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (name, if after.is_empty() { "" } else { after.strip_prefix(':').ok_or_else(bad)? })
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let named = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:".contains(&b);
    if !port.bytes().all(|b| b.is_ascii_digit()) || !name.bytes().all(named) {
        return Err(bad());
    }
    Ok(name.to_ascii_lowercase())
}

struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value)
    }

    fn get(&self, name: &'static str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Whether a field that is a list has a word, in any case.
    fn lists(&self, name: &'static str, word: &str) -> bool {
        let words = self.all(name).flat_map(|value| value.split(|&b| b == b','));
        words.map(<[u8]>::trim_ascii).any(|there| there.eq_ignore_ascii_case(word.as_bytes()))
    }

    fn text(&self, name: &'static str) -> Option<String> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok()).map(|v| v.trim().to_owned())
    }

    /// RFC 9112 section 3.2: exactly one Host in HTTP/1.1, at most one in 1.0.
    fn host(&self, http11: bool) -> Result<Option<&'a str>, Bad> {
        let mut hosts = self.all("host");
        let first = hosts.next();
        if hosts.next().is_some() {
            return Err(Bad::new(400, "more than one Host field"));
        }
        match first {
            None if http11 => Err(Bad::new(400, "no Host field; HTTP/1.1 asks for one")),
            None => Ok(None),
            Some(v) => std::str::from_utf8(v).map(Some).map_err(|_| Bad::new(400, "malformed Host field")),
        }
    }

    /// RFC 9112 section 6.3: lengths that differ, or are no number, end the connection.
    fn content_length(&self) -> Result<Option<u64>, Bad> {
        let mut length = None;
        for value in self.all("content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let n = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|v| v.parse::<u64>().ok());
            let n = n.ok_or_else(|| Bad::new(400, "malformed Content-Length"))?;
            if length.is_some_and(|other| other != n) {
                return Err(Bad::new(400, "conflicting Content-Length fields"));
            }
            length = Some(n);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> HttpConfig {
        HttpConfig::new(([127, 0, 0, 1], 5000).into())
    }

    fn read(bytes: &[u8]) -> Result<Option<Request>, Bad> {
        let mut reader = Reader::default();
        reader.push(bytes);
        reader.take(&limits())
    }

    /// All requests and the error at the end, when the bytes come in the given pieces.
    fn read_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Request>, Option<Bad>) {
        let mut reader = Reader::default();
        let mut requests = Vec::new();
        for piece in pieces {
            reader.push(piece);
            loop {
                match reader.take(&limits()) {
                    Ok(Some(request)) => requests.push(request),
                    Ok(None) => break,
                    Err(bad) => return (requests, Some(bad)),
                }
            }
        }
        (requests, None)
    }

    fn status(bytes: &[u8]) -> u16 {
        match read(bytes) {
            Err(bad) => bad.status,
            Ok(_) => panic!("taken for good: {}", bytes.escape_ascii()),
        }
    }

    fn good(text: &str) -> Request {
        read(text.as_bytes()).expect("good").expect("complete")
    }

    #[test]
    fn a_request_split_anywhere_is_the_same_request() {
        let text = b"\r\nGET /api/latest?a=1 HTTP/1.1\r\nHost: localhost:5000\r\nLast-Event-ID: 7\r\n\r\nHEAD / HTTP/1.0\r\n\r\n";
        let (whole, bad) = read_pieces([&text[..]].into_iter());
        assert_eq!((whole.len(), bad), (2, None));
        assert_eq!((whole[0].path.as_str(), whole[0].last_event_id.as_deref()), ("/api/latest", Some("7")));
        assert_eq!((whole[1].method, whole[1].http11, whole[1].keep_alive), (Method::Head, false, false));
        for cut in 0..text.len() {
            assert_eq!(read_pieces([&text[..cut], &text[cut..]].into_iter()).0, whole, "cut at {cut}");
        }
        assert_eq!(read_pieces(text.chunks(1)).0, whole);
    }

    #[test]
    fn malformed_heads_have_their_status() {
        for (expected, text) in [
            (400, "GET / HTTP/1.1\nHost: a\n\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"),
            (400, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "\x16\x03\x01"),
            (400, "GET / HTTP/1.1\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET api HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET http://u@h/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "hello\r\n\r\n"),
            (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        ] {
            assert_eq!(status(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let line = |n: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(n - "GET / HTTP/1.1".len()));
        assert_eq!(status(line(8001).as_bytes()), 414);
        assert_eq!(read(line(8000).as_bytes()), Ok(None));
        let head = |n: usize| {
            let rest = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "b".repeat(n - rest))
        };
        assert!(matches!(read(head(8192).as_bytes()), Ok(Some(_))));
        assert_eq!(status(head(8193).as_bytes()), 431);
        let many = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n - 1));
        assert!(matches!(read(many(64).as_bytes()), Ok(Some(_))));
        assert_eq!(status(many(65).as_bytes()), 431);
    }

    #[test]
    fn targets_and_hosts_in_every_form() {
        let r = good("GET HTTP://Example.org:81/api/%6catest?x=%41+b&y HTTP/1.1\r\nHost: other\r\n\r\n");
        assert_eq!((r.path.as_str(), r.host.as_deref()), ("/api/latest", Some("example.org")));
        assert_eq!(r.parameter("x").as_deref(), Some("A+b"));
        assert_eq!((r.parameter("y").as_deref(), r.parameter("z")), (Some(""), None));
        assert_eq!(good("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n").path, "/");
        assert_eq!(good("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").path, "*");
        assert_eq!(good("GET / HTTP/1.1\r\nHost: [::1]:5000\r\n\r\n").host.as_deref(), Some("::1"));
        assert_eq!(good("GET / HTTP/1.1\r\nHost:\r\n\r\n").host.as_deref(), Some(""));
        assert_eq!(good("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n").method, Method::NotAllowed);
        assert_eq!(good("BREW / HTTP/1.1\r\nHost: a\r\n\r\n").method, Method::Unknown);
    }

    #[test]
    fn keep_alive_follows_version_and_field() {
        let alive = |version: &str, field: &str| good(&format!("GET / {version}\r\nHost: a\r\n{field}\r\n")).keep_alive;
        assert!(alive("HTTP/1.1", ""));
        assert!(!alive("HTTP/1.1", "Connection: Upgrade, Close\r\n"));
        assert!(!alive("HTTP/1.0", ""));
        assert!(alive("HTTP/1.0", "Connection: keep-alive\r\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_one_answer(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b' ')], 0..300),
            good_first in any::<bool>(),
            cut in 1usize..40,
        ) {
            let mut text = if good_first { b"GET /x HTTP/1.1\r\nHost: a\r\n".to_vec() } else { Vec::new() };
            text.extend_from_slice(&bytes);
            let whole = read_pieces([&text[..]].into_iter());
            prop_assert_eq!(read_pieces(text.chunks(cut)), whole.clone());
            prop_assert_eq!(read_pieces(text.chunks(1)), whole);
        }
    }
}
