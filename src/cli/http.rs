//! The options of HTTP: where, who may ask, who may read, and the limits.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::parse_span;
use crate::http::{Cors, HttpConfig};
use crate::time::Span;

#[derive(Args, Clone, Debug)]
pub struct HttpArgs {
    /// Where HTTP is served.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5000")]
    pub http: SocketAddr,
    /// Which web pages may read /api/*: any, none, or one origin. With * any page that you open can read the microphones.
    #[arg(long, value_name = "*|none|ORIGIN", default_value = "*", value_parser = parse_cors)]
    pub cors: Cors,
    /// Every route but /healthz asks for this token: `Authorization: Bearer TOKEN` or ?token=TOKEN. A command line is
    /// visible to other users of the machine; the environment and a file are not.
    #[arg(long, value_name = "TOKEN", env = "MICRING_TOKEN", hide_env_values = true, value_parser = parse_token)]
    pub token: Option<String>,
    /// The token is this file's first line; before --token and MICRING_TOKEN.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Another name that clients may call this server by; localhost and addresses always pass. Names are checked when HTTP
    /// is bound to loopback, with --cors other than *, and once one is given here. May be given several times.
    #[arg(long, value_name = "NAME", value_parser = parse_host)]
    pub allow_host: Vec<String>,
    /// Events that wait for one subscriber; beyond, the oldest are dropped and counted.
    #[arg(long, value_name = "EVENTS", default_value_t = 64, value_parser = count(1, 4096))]
    pub queue: usize,
    /// HTTP connections at a time; beyond, 503.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = count(1, 1 << 20))]
    pub max_connections: usize,
    /// HTTP connections at a time from one address; beyond, 503.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = count(1, 1 << 20))]
    pub max_connections_per_address: usize,
    /// Longest request head; beyond, 431.
    #[arg(long, value_name = "BYTES", default_value_t = 8192, value_parser = count(256, 1 << 20))]
    pub max_head: usize,
    /// Longest request line; beyond, 414.
    #[arg(long, value_name = "BYTES", default_value_t = 8000, value_parser = count(64, 1 << 20))]
    pub max_request_line: usize,
    /// Header fields of a request; beyond, 431.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count(1, 4096))]
    pub max_header_fields: usize,
    /// From a request's first byte until its head is complete; beyond, 408.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_timeout)]
    pub head_timeout: Span,
    /// Between two requests of a connection.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_timeout)]
    pub idle_timeout: Span,
    /// A client that takes nothing of its answer for so long is cut off.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_timeout)]
    pub stall_timeout: Span,
}

impl HttpArgs {
    /// Bound to `bind`, asking for `token`.
    pub fn config(&self, bind: SocketAddr, token: Option<String>) -> HttpConfig {
        HttpConfig {
            bind,
            cors: self.cors.clone(),
            token,
            allow_hosts: self.allow_host.clone(),
            queue: self.queue,
            connections: self.max_connections,
            connections_per_address: self.max_connections_per_address,
            head_bytes: self.max_head,
            line_bytes: self.max_request_line,
            header_count: self.max_header_fields,
            head_time: self.head_timeout,
            idle_time: self.idle_timeout,
            stall_time: self.stall_timeout,
        }
    }
}

/// RFC 6750 section 2.1: what a bearer token is made of.
pub fn parse_token(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    match text {
        "" => Err("is empty".into()),
        token if token.bytes().all(allowed) => Ok(token.into()),
        _ => Err("has characters that a bearer token cannot have (letters, digits and -._~+/= are fine)".into()),
    }
}

fn parse_cors(text: &str) -> Result<Cors, String> {
    let origin = |text: &str| {
        let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        let named = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b);
        (!host.is_empty() && host.bytes().all(named)).then(|| Cors::Origin(text.into()))
    };
    match text {
        "*" => Ok(Cors::Any),
        "none" => Ok(Cors::None),
        _ => origin(text).ok_or("is neither *, none nor an origin like https://example.org".into()),
    }
}

fn parse_host(text: &str) -> Result<String, String> {
    let named = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    match text {
        name if !name.is_empty() && name.bytes().all(named) => Ok(name.into()),
        _ => Err("is not a host name (without scheme and port)".into()),
    }
}

fn parse_timeout(text: &str) -> Result<Span, String> {
    match parse_span(text)? {
        span if span < Span::from_millis(10) => Err("is too short: 10ms or more".into()),
        span => Ok(span),
    }
}

fn count(least: usize, most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync {
    move |text| match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("is not a number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        http: HttpArgs,
    }

    #[test]
    fn the_defaults_are_those_of_the_server() {
        let bind: SocketAddr = ([127, 0, 0, 1], 5000).into();
        let args = Only::parse_from(["micring"]).http;
        assert_eq!(format!("{:?}", args.config(bind, None)), format!("{:?}", HttpConfig::new(bind)));
    }

    #[test]
    fn origins_tokens_and_hosts_are_checked() {
        assert_eq!(parse_cors("https://a.example:8443"), Ok(Cors::Origin("https://a.example:8443".into())));
        for wrong in ["", "a.example", "https://", "https://a.example/", "https://a.example\r\nX: y", "ftp://a"] {
            assert!(parse_cors(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parse_token("aB3-._~+/="), Ok("aB3-._~+/=".into()));
        for wrong in ["", "two words", "line\n", "ümlaut"] {
            assert!(parse_token(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "http://a", "a:80", "a b"] {
            assert!(parse_host(wrong).is_err(), "{wrong:?}");
        }
    }
}
