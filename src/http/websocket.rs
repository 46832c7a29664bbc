//! WebSocket (RFC 6455), the server's half: the handshake's answer, frames out, and what a listener may say.
//!
//! A stream only goes out: a client has nothing to tell but "are you there" and "I leave". What else it sends is read over, so that it
//! never stops a connection, and never costs memory: a frame is taken in as it comes, and only what has to be sent back is kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Most payload of a control frame (RFC 6455, 5.5).
const MOST_CONTROL: u64 = 125;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Status codes of a close frame (RFC 6455, 7.4.1).
pub const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`. `None`: the key is not 16 bytes in base64 (RFC 6455, 4.2.1).
pub fn accept(key: &str) -> Option<String> {
    STANDARD.decode(key).ok().filter(|bytes| bytes.len() == 16)?;
    Some(STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize()))
}

/// The header of a binary message of so many bytes, in one frame.
pub fn message(bytes: usize) -> Vec<u8> {
    header(BINARY, bytes)
}

/// A ping without payload: keeps an idle connection open.
pub const HEARTBEAT: &[u8] = &[0x80 | PING, 0];

/// A close frame.
pub fn close(status: u16) -> Vec<u8> {
    [&header(CLOSE, 2)[..], &status.to_be_bytes()].concat()
}

/// Header of a frame that is a whole message, without a mask, as a server sends it.
fn header(opcode: u8, bytes: usize) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match bytes {
        0..=125 => out.push(bytes as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(bytes as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
    out
}

/// What a client's bytes ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// To be sent back.
    Reply(Vec<u8>),
    /// To be sent back as the last thing.
    Last(Vec<u8>),
}

/// Reads a client's frames, however they are cut.
#[derive(Debug, Default)]
pub struct Reader {
    /// Of the header that is being read: at most 14 bytes.
    head: Vec<u8>,
    frame: Option<Frame>,
}

#[derive(Debug)]
struct Frame {
    opcode: u8,
    mask: [u8; 4],
    /// Bytes of it seen, and of it all.
    seen: u64,
    length: u64,
    /// Of a control frame, unmasked.
    payload: Vec<u8>,
}

impl Reader {
    /// What came; the answers to it, in order. After a `Last` nothing more is read.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.frame.is_none() {
                self.head.push(rest[0]);
                rest = &rest[1..];
                match parse(&self.head) {
                    Ok(None) => continue,
                    Ok(Some(frame)) => {
                        self.head.clear();
                        self.frame = Some(frame);
                    }
                    Err(()) => {
                        heard.push(Heard::Last(close(PROTOCOL_ERROR)));
                        return heard;
                    }
                }
            }
            rest = self.take(rest);
            let Some(frame) = self.frame.take_if(|frame| frame.seen == frame.length) else { continue };
            match frame.opcode {
                PING => heard.push(Heard::Reply([&header(PONG, frame.payload.len())[..], &frame.payload].concat())),
                CLOSE => {
                    // RFC 6455, 5.5.1: answered with the status that came.
                    let status = &frame.payload[..frame.payload.len().min(2)];
                    heard.push(Heard::Last([&header(CLOSE, status.len())[..], status].concat()));
                    return heard;
                }
                _ => {}
            }
        }
        heard
    }

    /// Takes the payload of the frame off the front; what is left.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(frame) = &mut self.frame else { return bytes };
        let left = frame.length - frame.seen;
        let (payload, rest) = bytes.split_at(left.min(bytes.len() as u64) as usize);
        if frame.opcode >= CLOSE {
            let from = frame.seen as usize;
            frame.payload.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ frame.mask[(from + i) % 4]));
        }
        frame.seen += payload.len() as u64;
        rest
    }
}

/// A whole header; `None` while more is needed. What RFC 6455 forbids (5.1, 5.2, 5.5) is an error: frames without a mask, reserved
/// bits and opcodes, control frames that are long or in parts.
fn parse(head: &[u8]) -> Result<Option<Frame>, ()> {
    let [first, second, ref rest @ ..] = *head else { return Ok(None) };
    let (opcode, whole, masked) = (first & 0xf, first & 0x80 != 0, second & 0x80 != 0);
    let known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
    if first & 0x70 != 0 || !masked || !known || opcode >= CLOSE && !whole {
        return Err(());
    }
    let length_bytes = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if rest.len() < length_bytes + 4 {
        return Ok(None);
    }
    let length = match length_bytes {
        0 => u64::from(second & 0x7f),
        n => rest[..n].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    if opcode >= CLOSE && length > MOST_CONTROL || length >> 63 != 0 {
        return Err(());
    }
    let mask = rest[length_bytes..length_bytes + 4].try_into().expect("four bytes");
    Ok(Some(Frame { opcode, mask, seen: 0, length, payload: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_has_the_answer_of_the_rfc() {
        // RFC 6455, 1.3.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ==").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(accept("c2hvcnQ="), None);
        assert_eq!(accept("no base64 at all!"), None);
    }

    #[test]
    fn lengths_have_the_three_forms_of_the_rfc() {
        // RFC 6455, 5.7.
        assert_eq!(message(5), [0x82, 5]);
        assert_eq!(message(256), [0x82, 0x7e, 0x01, 0x00]);
        assert_eq!(message(65_536), [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    /// "Hello" as RFC 6455, 5.7 masks it.
    const MASKED_PING: [u8; 11] = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];

    #[test]
    fn a_ping_is_answered_however_it_is_cut() {
        for cut in 0..MASKED_PING.len() {
            let mut reader = Reader::default();
            let mut heard = reader.push(&MASKED_PING[..cut]);
            heard.extend(reader.push(&MASKED_PING[cut..]));
            assert_eq!(heard, [Heard::Reply(b"\x8a\x05Hello".to_vec())], "cut at {cut}");
        }
    }

    #[test]
    fn what_a_listener_says_is_read_over_and_its_leave_is_answered() {
        let mut reader = Reader::default();
        // 300 bytes of text, in two frames; then a close with status 1000.
        let text =
            [&[0x01, 0xfe, 0, 200, 1, 2, 3, 4][..], &[b'x'; 200], &[0x80, 0xe4, 1, 2, 3, 4], &[b'y'; 100]].concat();
        assert_eq!(reader.push(&text), []);
        let leave = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
        assert_eq!(reader.push(&leave), [Heard::Last(vec![0x88, 2, 0x03, 0xe8])]);
    }

    #[test]
    fn what_the_rfc_forbids_ends_the_connection() {
        let error = [Heard::Last(vec![0x88, 2, 0x03, 0xea])];
        for bad in [
            &[0x89, 0x00][..],                                    // no mask
            &[0xc9, 0x80, 0, 0, 0, 0],                            // a reserved bit
            &[0x83, 0x80, 0, 0, 0, 0],                            // a reserved opcode
            &[0x09, 0x80, 0, 0, 0, 0],                            // a control frame in parts
            &[0x89, 0xfe, 0, 126, 0, 0, 0, 0],                    // a long one
            &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // a length of 64 bits
        ] {
            assert_eq!(Reader::default().push(bad), error, "{bad:x?}");
        }
    }
}
