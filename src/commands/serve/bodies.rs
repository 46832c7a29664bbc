//! Bodies that are served again for a while, so that a hundred clients polling cost what one does.

use bytes::Bytes;

use crate::time::{MonoTime, Span};

/// Bodies younger than this are served again (contract section 5).
const SHARED_FOR: Span = Span::from_millis(50);

/// What a body tells: the first three of one array, the others of all.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    DiagnosticsSync,
    Diagnostics,
    Latest,
    Metrics,
    Arrays,
}

/// The newest body of each kind, and when it was rendered.
#[derive(Default)]
pub(super) struct Bodies([Option<(MonoTime, Bytes)>; 5]);

impl Bodies {
    /// The body, if it is young enough to be served again.
    pub fn fresh(&self, kind: Kind, now: MonoTime) -> Option<Bytes> {
        let (made, body) = self.0[kind as usize].as_ref()?;
        (now - *made < SHARED_FOR).then(|| body.clone())
    }

    pub fn keep(&mut self, kind: Kind, now: MonoTime, body: Bytes) {
        self.0[kind as usize] = Some((now, body));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_served_again_for_50_ms_and_each_kind_by_itself() {
        let (mut bodies, at) = (Bodies::default(), |ms: i64| MonoTime::from_nanos(ms * 1_000_000));
        assert_eq!(bodies.fresh(Kind::Latest, at(0)), None);
        bodies.keep(Kind::Latest, at(7), Bytes::from_static(b"latest"));
        assert_eq!(bodies.fresh(Kind::Latest, at(56)), Some(Bytes::from_static(b"latest")));
        assert_eq!((bodies.fresh(Kind::Latest, at(57)), bodies.fresh(Kind::Diagnostics, at(8))), (None, None));
    }
}
