//! The page: files built into the binary, with entity tags, and a policy that lets them talk to this server alone.

use bytes::Bytes;

use super::HttpConfig;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type, content: the dashboard.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/", HTML, include_bytes!("page/index.html")),
    ("/style.css", CSS, include_bytes!("page/style.css")),
    ("/app.js", SCRIPT, include_bytes!("page/app.js")),
    ("/decode.js", SCRIPT, include_bytes!("page/decode.js")),
    ("/format.js", SCRIPT, include_bytes!("page/format.js")),
    ("/calibrate.js", SCRIPT, include_bytes!("page/calibrate.js")),
    ("/listen.js", SCRIPT, include_bytes!("page/listen.js")),
    ("/model.js", SCRIPT, include_bytes!("page/model.js")),
    ("/plots.js", SCRIPT, include_bytes!("page/plots.js")),
    ("/series.js", SCRIPT, include_bytes!("page/series.js")),
    ("/verdict.js", SCRIPT, include_bytes!("page/verdict.js")),
    ("/view.js", SCRIPT, include_bytes!("page/view.js")),
    ("/overview.js", SCRIPT, include_bytes!("page/overview.js")),
    ("/place.js", SCRIPT, include_bytes!("page/place.js")),
    ("/ranking.js", SCRIPT, include_bytes!("page/ranking.js")),
    ("/start.js", SCRIPT, include_bytes!("page/start.js")),
    ("/theme.js", SCRIPT, include_bytes!("page/theme.js")),
];

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

/// All files. With a token, the page and its modules ask for each other with it: a browser sends no bearer for them.
pub fn load(config: &HttpConfig) -> Vec<Asset> {
    let load = |&(path, content_type, content): &(&'static str, &'static str, &'static [u8])| {
        let body = match &config.token {
            Some(token) => with_token(content, token),
            None => Bytes::from_static(content),
        };
        Asset { path, content_type, etag: format!("\"{:016x}\"", fnv1a(&body)), body }
    };
    FILES.iter().map(load).collect()
}

/// Files name each other as `"./name"`, in the page's attributes and in the modules' imports.
fn with_token(content: &[u8], token: &str) -> Bytes {
    let mut text = String::from_utf8_lossy(content).into_owned();
    let token: String = token.bytes().map(|b| format!("%{b:02X}")).collect();
    for (path, ..) in FILES {
        text = text.replace(&format!("\".{path}\""), &format!("\".{path}?token={token}\""));
    }
    text.into()
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
    fn entity_tags_match_in_lists_weakly() {
        let asset = &load(&HttpConfig::new(([127, 0, 0, 1], 0).into()))[0];
        assert!(asset.matches(&format!("\"x\", W/{}", asset.etag)));
        assert!(asset.matches("*"));
        assert!(!asset.matches("\"x\""));
    }

    #[test]
    fn with_a_token_every_reference_between_the_files_carries_it() {
        let config = HttpConfig { token: Some("a b&c".into()), ..HttpConfig::new(([127, 0, 0, 1], 0).into()) };
        let mut references = 0;
        for asset in load(&config) {
            let text = String::from_utf8(asset.body.to_vec()).unwrap();
            for reference in text.split("\"./").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                let name = reference.strip_suffix("?token=%61%20%62%26%63");
                let name = name.unwrap_or_else(|| panic!("{reference} in {} has no token", asset.path));
                assert!(FILES.iter().any(|(path, ..)| path[1..] == *name), "{name} in {} is no file", asset.path);
                references += 1;
            }
        }
        // The page's two, and at least one for each script but the first.
        assert!(references >= FILES.len() - 1, "{references} references");
    }
}
