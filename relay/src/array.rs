//! An array of a local server: where its stream and its figures are (docs/streams.md).

use bytes::Bytes;
use serde::Deserialize;

use crate::ask::What;
use crate::source::{Cycles, Server};

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Array {
    pub name: String,
    pub server: Server,
}

impl Array {
    /// All arrays of a server, now.
    pub async fn all(server: &Server) -> Result<Vec<Array>, String> {
        let trouble = |what: &str| format!("server {}: {what}", server.name());
        let body = match server.get("/api/arrays").await? {
            (200, body) => body,
            (401, _) => return Err(trouble("wants a token: give --server-token-file or MICRING_TOKEN")),
            (404, _) => return Err(trouble("has no /api/arrays: it is older than this relay, or no micring")),
            (status, _) => return Err(trouble(&format!("answers /api/arrays with status {status}"))),
        };
        let listed: Listed = serde_json::from_slice(&body).map_err(|e| trouble(&format!("/api/arrays: {e}")))?;
        Ok(listed.arrays.into_iter().map(|Entry { name }| Array { name, server: server.clone() }).collect())
    }

    /// Its cycles, live or behind the cycle `after`.
    pub async fn follow(&self, after: Option<u64>) -> Result<Cycles, String> {
        self.server.follow(&self.path(What::Cycles), after).await
    }

    /// Status and body of one of its routes.
    pub async fn route(&self, what: What, query: &str) -> Result<(u16, Bytes), String> {
        let mark = if query.is_empty() { "" } else { "?" };
        self.server.get(&format!("{}{mark}{query}", self.path(what))).await
    }

    /// Its figures, as JSON.
    pub async fn diagnostics(&self) -> Result<Bytes, String> {
        match self.route(What::Diagnostics, "").await? {
            (200, body) => Ok(body),
            (status, _) => Err(format!("server {}: answers with status {status}", self.server.name())),
        }
    }

    /// `Err`: what is wrong with its audio.
    pub async fn health(&self) -> Result<Result<(), String>, String> {
        let (status, body) = self.route(What::Health, "").await?;
        if status == 200 {
            return Ok(Ok(()));
        }
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Err(answer["error"].as_str().unwrap_or("no reason was given").to_owned()))
    }

    fn path(&self, what: What) -> String {
        let route = match what {
            What::Cycles => "stream.bin",
            What::Diagnostics => "diagnostics",
            What::Summary => "summary",
            What::Latest => "latest",
            What::Download => "download",
            What::DownloadText => "download.csv",
            What::Health => "health",
        };
        format!("/api/arrays/{}/{route}", segment(&self.name))
    }
}

/// The list of arrays, as far as it is read here.
#[derive(Deserialize)]
struct Listed {
    arrays: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
}

/// A name as one segment of a path (RFC 3986 section 2.3: what needs no percent; a colon may stand in a segment, section 3.3).
fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let part = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        assert_eq!(segment("10.0.0.5"), "10.0.0.5");
        assert_eq!(segment("a:b"), "a:b");
        assert_eq!(segment("a b/c?"), "a%20b%2Fc%3F");
    }
}
