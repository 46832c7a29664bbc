//! The page: files built into the binary, with entity tags, and a policy that lets them talk to this server alone.

use bytes::Bytes;

use super::HttpConfig;

/// Path, type, content. The dashboard's files go here.
const FILES: &[(&str, &str, &[u8])] = &[("/", "text/html; charset=utf-8", include_bytes!("page/index.html"))];

/// Content-Security-Policy of the page: nothing from elsewhere, nothing inline.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// One file, ready to be sent.
#[derive(Debug)]
pub struct Asset {
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: Bytes,
    /// In quotes, as the ETag field has it.
    pub etag: String,
}

impl Asset {
    /// Whether `If-None-Match` names this content (weak comparison, RFC 9110 section 13.1.2).
    pub fn matches(&self, if_none_match: &str) -> bool {
        let mut tags = if_none_match.split(',').map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag)
    }
}

/// All files. With a token, the page asks for its own files with it: a browser sends no bearer for them.
pub fn load(config: &HttpConfig) -> Vec<Asset> {
    let load = |&(path, content_type, content): &(&'static str, &'static str, &'static [u8])| {
        let body = match &config.token {
            Some(token) if content_type.starts_with("text/html") => {
                with_token(content, token, FILES.iter().map(|(path, ..)| *path))
            }
            _ => Bytes::from_static(content),
        };
        Asset { path, content_type, etag: format!("\"{:016x}\"", fnv1a(&body)), body }
    };
    FILES.iter().map(load).collect()
}

/// The page with the token in its links to `paths`.
fn with_token(page: &[u8], token: &str, paths: impl Iterator<Item = &'static str>) -> Bytes {
    let token: String = token.bytes().map(|b| format!("%{b:02X}")).collect();
    let link = |page: String, path| page.replace(&format!("\"{path}\""), &format!("\"{path}?token={token}\""));
    paths.fold(String::from_utf8_lossy(page).into_owned(), link).into()
}

/// Fowler, Noll and Vo's hash, 64 bits: tells versions of a file apart, no more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_has_its_published_values() {
        // Test vectors of draft-eastlake-fnv, appendix C.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn links_to_the_page_s_own_files_carry_the_token() {
        let page = b"<script src=\"/app.js\"></script><a href=\"/\">/app.js</a><a href=\"/metrics\">";
        let expected =
            "<script src=\"/app.js?token=%61%2B\"></script><a href=\"/?token=%61%2B\">/app.js</a><a href=\"/metrics\">";
        assert_eq!(with_token(page, "a+", ["/", "/app.js"].into_iter()), expected);
    }

    #[test]
    fn entity_tags_match_in_lists_weakly() {
        let asset = &load(&HttpConfig::new(([127, 0, 0, 1], 0).into()))[0];
        assert!(asset.matches(&format!("\"x\", W/{}", asset.etag)));
        assert!(asset.matches("*"));
        assert!(!asset.matches("\"x\""));
    }
}
