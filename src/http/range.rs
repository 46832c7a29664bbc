//! Ranges of bytes (RFC 9110 section 14), for players that ask for the first two bytes before they play anything.
//!
//! Problem: the history moves. A player asks for bytes 0 to 1, is told the whole length, and asks for the rest, of what is by
//! then another recording: put together the parts would be neither.
//!
//! Choice: a tag (ETag) names the positions that a download is of. A range from byte 0 on is of the newest recording and says
//! its tag. A later range has to name, with If-Range, what it continues; it is answered from the same positions as long as
//! the history holds them. Any other range is ignored, as a server may: the answer is the newest recording as a whole, and a
//! player that cannot do with that knows so from the status. Between two parts nothing can change but silence that a late
//! packet has filled.

use crate::time::FramePos;

/// One range as it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// From the first byte, to the last one where that was said.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

impl Asked {
    /// `None`: another unit, several ranges, or nothing that makes sense; to be ignored (RFC 9110 section 14.2).
    pub fn parse(field: &str) -> Option<Asked> {
        let (unit, range) = field.split_once('=')?;
        let (first, last) = range.trim().split_once('-')?;
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        match (first, last) {
            ("", last) => Some(Asked::Last(number(last)?)),
            (first, "") => Some(Asked::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Asked::From(first, Some(last)))
            }
        }
    }

    /// Of `total` bytes, where it begins and ends; `None` where nothing of it is there.
    pub fn of(self, total: u64) -> Option<(u64, u64)> {
        let (first, end) = match self {
            Asked::From(first, last) => (first, last.map_or(total, |last| total.min(last.saturating_add(1)))),
            Asked::Last(count) => (total.saturating_sub(count), total),
        };
        (first < end).then_some((first, end))
    }
}

/// What a download is of: the run, and the positions in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    pub run: u64,
    pub first: FramePos,
    pub end: FramePos,
    /// The form of the file: its bytes differ.
    pub form: &'static str,
}

impl Tag {
    /// As ETag has it.
    pub fn text(&self) -> String {
        format!("\"{}-{}-{}-{}\"", self.run, self.first.0, self.end.0, self.form)
    }

    /// The tag that If-Range gives, if it is of this run and form, and of no more than a file holds (`most` frames): anybody may write one.
    pub fn continued(&self, if_range: &str, most: i64) -> Option<Tag> {
        let mut parts = if_range.strip_prefix('"')?.strip_suffix('"')?.split('-');
        let mut number = || parts.next()?.parse::<u64>().ok().filter(|&n| n <= i64::MAX as u64);
        let (run, first, end) = (number()?, number()? as i64, number()? as i64);
        let tag = Tag { run, first: FramePos(first), end: FramePos(end), form: self.form };
        let fits = first < end && end - first <= most;
        (run == self.run && fits && tag.text() == if_range).then_some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: i64 = 1 << 28;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        // RFC 9110 section 14.1.2: its examples of a representation of 10 000 bytes.
        for (field, bytes) in [
            ("bytes=0-499", Some((0, 500))),
            ("bytes=500-999", Some((500, 1000))),
            ("bytes=-500", Some((9500, 10_000))),
            ("bytes=9500-", Some((9500, 10_000))),
            ("bytes=0-0", Some((0, 1))),
            ("Bytes=0-1", Some((0, 2))),
            ("bytes=-20000", Some((0, 10_000))),
            ("bytes=9999-18446744073709551615", Some((9999, 10_000))),
            ("bytes=10000-", None),
            ("bytes=-0", None),
        ] {
            assert_eq!(Asked::parse(field).expect(field).of(10_000), bytes, "{field}");
        }
        for field in ["bytes=0-0,-1", "bytes=5-4", "bytes=-", "bytes=a-b", "bytes=+1-2", "frames=0-1", "bytes", ""] {
            assert_eq!(Asked::parse(field), None, "{field:?}");
        }
    }

    #[test]
    fn a_tag_names_run_positions_and_form() {
        let tag = Tag { run: 1_795_345_500_000, first: FramePos(512), end: FramePos(1024), form: "plain" };
        let earlier = Tag { first: FramePos(0), ..tag };
        assert_eq!(tag.text(), "\"1795345500000-512-1024-plain\"");
        assert_eq!(tag.continued(&earlier.text(), MOST), Some(earlier));
        for other in [
            Tag { run: 7, ..tag }.text(),
            Tag { form: "extensible", ..tag }.text(),
            Tag { end: FramePos(512), ..tag }.text(),
            Tag { end: FramePos(512 + MOST + 1), ..tag }.text(),
            Tag { end: FramePos(i64::MAX), ..tag }.text(),
            format!("W/{}", tag.text()),
            "\"1795345500000-0512-1024-plain\"".into(),
            "\"1795345500000-512\"".into(),
            "Sun, 22 Nov 2026 10:05:00 GMT".into(),
        ] {
            assert_eq!(tag.continued(&other, MOST), None, "{other}");
        }
    }
}
