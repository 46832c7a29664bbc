//! Who may ask: the Host check against DNS rebinding, the token, and which pages may open a WebSocket.
//!
//! A server is safe from the network on loopback, and from other pages with `--cors none`; but a page whose name is re-bound
//! to the server's address counts as "same origin" there, wherever that is. Its requests still carry its own name in Host, so
//! only names that cannot be re-bound pass: `localhost`, IP literals, and those that the user allows. Not checked where there
//! is nothing to guard: on an address of the network, while any page may read the answers anyway.

use std::hint::black_box;
use std::net::IpAddr;

use super::request::Request;
use super::{Cors, HttpConfig};

/// Whether a request for `host` may be answered. HTTP/1.0 without Host passes: no browser sends that.
pub fn host_allowed(config: &HttpConfig, host: Option<&str>) -> bool {
    let guarded =
        config.bind.ip().to_canonical().is_loopback() || config.cors != Cors::Any || !config.allow_hosts.is_empty();
    let Some(host) = host.filter(|_| guarded) else { return true };
    let host = host.strip_suffix('.').unwrap_or(host);
    host == "localhost"
        || host.parse::<IpAddr>().is_ok()
        || config.allow_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
}

/// Whether the request carries the token, where one is set: `Authorization: Bearer T`, or `?token=T` for EventSource
/// and `<audio>`, which cannot set fields.
pub fn token_allowed(config: &HttpConfig, request: &Request) -> bool {
    let Some(token) = &config.token else { return true };
    let bearer = request.authorization.as_deref().and_then(|field| {
        let (scheme, credentials) = field.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| credentials.trim())
    });
    let asked = request.parameter("token");
    bearer.into_iter().chain(asked.as_deref()).any(|given| same(given.as_bytes(), token.as_bytes()))
}

/// Whether the page that asks, if one does, may read a WebSocket. Browsers let every page open one and leave it to the server (RFC 6455,
/// 10.2): so that what `--cors` forbids is not had this way.
pub fn origin_allowed(config: &HttpConfig, request: &Request) -> bool {
    let Some(origin) = &request.origin else { return true };
    let named = || matches!(&config.cors, Cors::Origin(allowed) if allowed.eq_ignore_ascii_case(&origin.name));
    config.cors == Cors::Any || origin.same || named()
}

/// Whether the page that asks, if one does, may change something: a page of another origin only where it is named, not where any page
/// may read.
pub fn change_allowed(config: &HttpConfig, request: &Request) -> bool {
    let Some(origin) = &request.origin else { return true };
    origin.same || matches!(&config.cors, Cors::Origin(allowed) if allowed.eq_ignore_ascii_case(&origin.name))
}

/// Equality in a time that depends on the lengths alone.
fn same(given: &[u8], secret: &[u8]) -> bool {
    let difference = given.iter().zip(secret).fold(0, |acc, (a, b)| black_box(acc | (a ^ b)));
    difference == 0 && given.len() == secret.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_be_rebound_pass() {
        let mut config = HttpConfig::new(([127, 0, 0, 1], 5000).into());
        config.allow_hosts = vec!["Studio.lan".into()];
        for host in ["localhost", "localhost.", "127.0.0.1", "192.168.1.4", "::1", "studio.lan"] {
            assert!(host_allowed(&config, Some(host)), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert!(!host_allowed(&config, Some(host)), "{host}");
        }
        assert!(host_allowed(&config, None));
        config.bind = ([0, 0, 0, 0], 5000).into();
        assert!(!host_allowed(&config, Some("evil.example")), "a host is allowed");
        config.allow_hosts.clear();
        assert!(host_allowed(&config, Some("evil.example")), "everybody may read");
        for cors in [Cors::None, Cors::Origin("https://a.example".into())] {
            let config = HttpConfig { cors, ..config.clone() };
            assert!(!host_allowed(&config, Some("evil.example")), "not everybody may read");
            assert!(host_allowed(&config, Some("192.168.4.1")));
        }
        config.bind = "[::ffff:127.0.0.1]:5000".parse().expect("an address");
        assert!(!host_allowed(&config, Some("evil.example")));
    }

    #[test]
    fn tokens_are_equal_or_not() {
        assert!(same(b"secret", b"secret"));
        for given in ["", "secre", "secret2", "Secret"] {
            assert!(!same(given.as_bytes(), b"secret"), "{given}");
        }
    }
}
