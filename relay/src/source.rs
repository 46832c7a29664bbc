//! One local server, over plain HTTP: whole answers, and the stream of an array from any cycle that its history holds.
//!
//! The server's history is the relay's only buffer of audio. Whoever cannot pass cycles on stops reading here, and comes
//! back with the last id that arrived: the server drops what a slow reader does not take, and never waits for it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::event::{Event, Record};

/// A local server answers at once; longer than this is no answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The server says every 15 s that it still lives; two of them missing is silence.
const SILENCE: Duration = Duration::from_secs(35);
/// Longest whole answer that is taken, in bytes: `/metrics` of a thousand arrays.
const MAX_ANSWER: usize = 16 << 20;

/// Where a server is, and its token.
#[derive(Clone, Debug)]
pub struct Server {
    authority: String,
    token: Option<String>,
}

impl Server {
    /// From `http://HOST:PORT` or `HOST:PORT`.
    pub fn parse(text: &str, token: Option<String>) -> Result<Server, String> {
        let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        if authority.contains("://") || authority.contains('/') {
            return Err(format!("`{text}`: give http://HOST:PORT, without a path; TLS is not spoken to local servers"));
        }
        match authority.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
            Some(Ok(_)) => Ok(Server { authority: authority.to_owned(), token }),
            _ => Err(format!("`{text}` names no port: give http://HOST:PORT")),
        }
    }

    pub fn name(&self) -> &str {
        &self.authority
    }

    /// Status and whole body.
    pub async fn get(&self, path: &str) -> Result<(u16, Bytes), String> {
        let whole = async {
            let mut answer = self.ask(path, None).await?;
            let mut body = BytesMut::new();
            while let Some(part) = self.part(&mut answer).await? {
                body.extend_from_slice(&part);
                if body.len() > MAX_ANSWER {
                    return Err(self.trouble(format_args!("{path} is longer than {MAX_ANSWER} bytes: ask for less")));
                }
            }
            Ok((answer.status().as_u16(), body.freeze()))
        };
        timeout(ANSWER, whole).await.unwrap_or_else(|_| Err(self.trouble("does not answer")))
    }

    /// The live stream at `path`, or what came after the cycle `after`.
    pub async fn follow(&self, path: &str, after: Option<u64>) -> Result<Cycles, String> {
        let answer = timeout(ANSWER, self.ask(path, after)).await;
        let answer = answer.unwrap_or_else(|_| Err(self.trouble("does not answer")))?;
        match answer.status().as_u16() {
            200 => Ok(Cycles { server: self.clone(), answer, bytes: Bytes::new(), heard: Instant::now() }),
            401 => Err(self.trouble("wants a token: give --server-token-file or MICRING_TOKEN")),
            status => Err(self.trouble(format_args!("answers {path} with status {status}"))),
        }
    }

    async fn ask(&self, path: &str, after: Option<u64>) -> Result<Response<Incoming>, String> {
        let tcp = TcpStream::connect(&self.authority).await.map_err(|e| self.trouble(e))?;
        tcp.set_nodelay(true).map_err(|e| self.trouble(e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.map_err(|e| self.trouble(e))?;
        // Ends with the answer: its errors show there.
        tokio::spawn(connection);
        let mut request = Request::get(path).header(HOST, &self.authority).header(ACCEPT, "*/*");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| self.trouble(e))?;
        sender.send_request(request).await.map_err(|e| self.trouble(e))
    }

    /// The next part of a body; `None` at its end.
    async fn part(&self, answer: &mut Response<Incoming>) -> Result<Option<Bytes>, String> {
        loop {
            let Some(frame) = answer.body_mut().frame().await else { return Ok(None) };
            if let Ok(data) = frame.map_err(|e| self.trouble(e))?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    fn trouble(&self, what: impl std::fmt::Display) -> String {
        format!("server {}: {what}", self.authority)
    }
}

/// A stream that is being read.
#[derive(Debug)]
pub struct Cycles {
    server: Server,
    answer: Response<Incoming>,
    /// What came, and is no whole record yet.
    bytes: Bytes,
    /// When the last bytes came.
    heard: Instant,
}

impl Cycles {
    /// The next thing that the stream says; an error when it is over. Whoever stops waiting loses nothing.
    async fn next(&mut self) -> Result<Record, String> {
        loop {
            if let Some(record) = Record::split(&mut self.bytes).map_err(|e| self.server.trouble(e))? {
                return Ok(record);
            }
            match timeout_at(self.heard + SILENCE, self.server.part(&mut self.answer)).await {
                Ok(Ok(Some(bytes))) => {
                    self.heard = Instant::now();
                    self.bytes = if self.bytes.is_empty() { bytes } else { [&self.bytes[..], &bytes].concat().into() };
                }
                Ok(Ok(None)) => return Err(self.server.trouble("ended the stream")),
                Ok(Err(trouble)) => return Err(trouble),
                Err(_) => return Err(self.server.trouble("has been silent for 35 s")),
            }
        }
    }

    /// The run that the stream is of, said before the first cycle.
    pub async fn run(&mut self) -> Result<u64, String> {
        match self.next().await? {
            Record::Other { run: Some(run @ 1..) } => Ok(run),
            _ => Err(self.server.trouble("does not name its run; it is older than this relay")),
        }
    }

    /// The next cycle.
    pub async fn cycle(&mut self) -> Result<Event, String> {
        loop {
            if let Record::Cycle(event) = self.next().await? {
                return Ok(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for text in ["http://127.0.0.1:5000", "127.0.0.1:5000", "http://127.0.0.1:5000/"] {
            assert_eq!(Server::parse(text, None).unwrap().name(), "127.0.0.1:5000");
        }
        assert_eq!(Server::parse("http://[::1]:80", None).unwrap().name(), "[::1]:80");
        for text in ["https://a:1", "http://a", "http://a:b", "a:1/x", ""] {
            assert!(Server::parse(text, None).is_err(), "{text}");
        }
    }
}
