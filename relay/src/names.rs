//! Names as NATS has them: subjects, and message ids.
//!
//! A subject is `PREFIX.HOST.ARRAY.KIND`. Tokens of a subject may hold no `.`, `*`, `>` or space; a host or an array is
//! called what its owner likes (`10.0.0.5`, `living room`). So every byte but letters, digits, `-` and `_` is written as
//! `=` and two hexadecimal digits, as quoted-printable does (RFC 2045 section 6.7).

use std::fmt::Write;

/// What is published of an array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Live cycles, on a core subject: nobody stores them.
    Pcm,
    /// Stretches of cycles, stored.
    Audio,
    /// What was missing in the audio, stored.
    Gaps,
    /// Whether the audio is usable, and the host's clock; stored.
    Health,
    /// `/api/diagnostics_sync`, stored.
    Diagnostics,
    /// Requests from afar, answered from the server itself.
    Ask,
}

impl Kind {
    pub fn token(self) -> &'static str {
        match self {
            Kind::Pcm => "pcm",
            Kind::Audio => "audio",
            Kind::Gaps => "gaps",
            Kind::Health => "health",
            Kind::Diagnostics => "diagnostics",
            Kind::Ask => "ask",
        }
    }
}

/// An array of a host, under a prefix.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    pub prefix: String,
    pub host: String,
    pub array: String,
}

impl Place {
    pub fn subject(&self, kind: Kind) -> String {
        format!("{}.{}.{}.{}", self.prefix, token(&self.host), token(&self.array), kind.token())
    }

    /// What it is called among all arrays: `HOST.ARRAY`, each as a token of a subject.
    pub fn name(&self) -> String {
        format!("{}.{}", token(&self.host), token(&self.array))
    }

    /// The place that a subject names.
    pub fn of(prefix: &str, subject: &str) -> Option<Place> {
        let rest = subject.strip_prefix(prefix)?.strip_prefix('.')?;
        let mut tokens = rest.split('.');
        let (host, array) = (plain(tokens.next()?)?, plain(tokens.next()?)?);
        Some(Place { prefix: prefix.to_owned(), host, array })
    }

    /// What names a message for good: host, array, run, what it is, and the position that it begins at.
    pub fn message_id(&self, kind: Kind, run: u64, first_frame: i64) -> String {
        format!("{}/{}/{run}/{}/{first_frame}", token(&self.host), token(&self.array), kind.token())
    }
}

/// All arrays' subject of a kind.
pub fn everywhere(prefix: &str, kind: Kind) -> String {
    format!("{prefix}.*.*.{}", kind.token())
}

/// A name as one token of a subject.
pub fn token(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(byte.into()),
            _ => write!(out, "={byte:02X}").expect("a string takes everything"),
        }
    }
    out
}

/// The name that a token stands for.
pub fn plain(token: &str) -> Option<String> {
    let mut out = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'=' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_letters_is_one_token_and_comes_back() {
        // RFC 2045: `=` and the byte in hexadecimal.
        assert_eq!(token("10.0.0.5"), "10=2E0=2E0=2E5");
        assert_eq!(token("a b>*="), "a=20b=3E=2A=3D");
        for name in ["default", "10.0.0.5", "Küche \u{1f399}", "=3D", ""] {
            assert_eq!(plain(&token(name)).as_deref(), Some(name));
            assert!(!token(name).contains(['.', '*', '>', ' ', '\t']));
        }
        assert_eq!(plain("=4"), None, "cut off");
        assert_eq!(plain("=FF"), None, "no text");
    }

    #[test]
    fn a_subject_names_its_place() {
        let place = Place { prefix: "mic.ring".into(), host: "pi.attic".into(), array: "default".into() };
        assert_eq!(place.subject(Kind::Pcm), "mic.ring.pi=2Eattic.default.pcm");
        assert_eq!(Place::of("mic.ring", "mic.ring.pi=2Eattic.default.pcm"), Some(place));
        assert_eq!(Place::of("micring", "other.a.b.pcm"), None);
    }
}
