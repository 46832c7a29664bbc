//! An array of a local server: where its stream and its figures are.

use crate::source::{Cycles, Server};

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Array {
    pub name: String,
    pub server: Server,
    stream: String,
    diagnostics: String,
}

impl Array {
    /// All arrays of a server, now.
    pub async fn all(server: &Server) -> Result<Vec<Array>, String> {
        // A server of one array; it is asked at all, so that a server that is down is told.
        let (status, _) = server.get("/api/latest").await?;
        if status != 200 {
            return Err(format!("server {}: answers with status {status}", server.name()));
        }
        Ok(vec![Array {
            name: "default".into(),
            server: server.clone(),
            stream: "/api/stream_3ch?format=binary".into(),
            diagnostics: "/api/diagnostics_sync".into(),
        }])
    }

    /// Its cycles, live or behind the cycle `after`.
    pub async fn follow(&self, after: Option<u64>) -> Result<Cycles, String> {
        self.server.follow(&self.stream, after).await
    }

    /// Its figures, as JSON.
    pub async fn diagnostics(&self) -> Result<bytes::Bytes, String> {
        match self.server.get(&self.diagnostics).await? {
            (200, body) => Ok(body),
            (status, _) => Err(format!("server {}: answers with status {status}", self.server.name())),
        }
    }

    /// `Err`: what is wrong with its audio.
    pub async fn health(&self) -> Result<Result<(), String>, String> {
        let (status, body) = self.server.get("/healthz").await?;
        if status == 200 {
            return Ok(Ok(()));
        }
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Err(answer["error"].as_str().unwrap_or("no reason was given").to_owned()))
    }
}
