//! RTP out: frames of the aligned stream as packets of L16 or L24.
//!
//! The timestamp is the frame position (modulo 2^32), so a receiver sees a gap of whole cycles as a jump of the timestamp, as
//! RFC 3550 (5.1) has it for audio that was not sent. A gap of one channel alone is zeros, as in every stream of micring.

use std::net::SocketAddr;

use super::Sample;
use crate::time::FramePos;

/// RTP's fixed header (RFC 3550, 5.1).
pub const HEADER_BYTES: usize = 12;
/// Most bytes a packet, header included: IPv6's least MTU, 1280, is IP's and UDP's headers more (40 + 8), and PipeWire's receiver
/// takes at most 1280 bytes.
pub const MOST_BYTES: usize = 1280 - 48;
/// The first dynamic payload type (RFC 3551, 3).
pub const PAYLOAD_TYPE: u8 = 96;

/// Where an array's packets go, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpSpec {
    pub to: SocketAddr,
    /// Hops of a multicast.
    pub ttl: u32,
    pub encoding: Encoding,
}

/// The format on the air.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    L16,
    L24,
}

impl Encoding {
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::L16 => "L16",
            Encoding::L24 => "L24",
        }
    }

    /// From its name; the error says which there are.
    pub fn parse(name: &str) -> Result<Encoding, String> {
        let known = [Encoding::L16, Encoding::L24].into_iter().find(|known| known.name().eq_ignore_ascii_case(name));
        known.ok_or_else(|| "is neither L16 nor L24".into())
    }

    const fn sample(self) -> Sample {
        match self {
            Encoding::L16 => Sample::S16be,
            Encoding::L24 => Sample::S24be,
        }
    }
}

/// One RTP stream, from its first packet on.
#[derive(Clone, Debug)]
pub struct Packets {
    encoding: Encoding,
    channels: usize,
    ssrc: u32,
    sequence: u16,
    /// The position behind the newest packet's frames; `None` before the first.
    next: Option<FramePos>,
}

impl Packets {
    /// `ssrc` and `sequence`, the first number: random (RFC 3550, 5.1), so that two runs are not taken for one.
    pub fn new(encoding: Encoding, channels: usize, ssrc: u32, sequence: u16) -> Packets {
        assert!(channels > 0, "a stream has a channel");
        Packets { encoding, channels, ssrc, sequence, next: None }
    }

    /// Most frames a packet takes; at least one, whatever the number of channels.
    pub fn frames_a_packet(&self) -> usize {
        let frame = self.channels * self.encoding.sample().bytes();
        ((MOST_BYTES - HEADER_BYTES) / frame).max(1)
    }

    /// Writes into `out`, whose content goes, the packet of the frames from `first` on. `samples`: interleaved s32le, whole frames,
    /// at most [`Packets::frames_a_packet`] of them.
    pub fn packet(&mut self, first: FramePos, samples: &[[u8; 4]], out: &mut Vec<u8>) {
        let frames = samples.len() / self.channels;
        assert!(frames > 0 && frames <= self.frames_a_packet() && frames * self.channels == samples.len());
        // RFC 3551, 4.1: the marker is set on the first packet after silence that was not sent.
        let marker = self.next.is_some_and(|next| next != first);
        out.clear();
        out.push(2 << 6);
        out.push(u8::from(marker) << 7 | PAYLOAD_TYPE);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&(first.0 as u32).to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        let sample = self.encoding.sample();
        for bytes in samples {
            sample.put(i32::from_le_bytes(*bytes), out);
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.next = Some(first + frames as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[i32]) -> Vec<[u8; 4]> {
        values.iter().map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn a_packet_is_as_the_rfcs_draw_it() {
        let mut rtp = Packets::new(Encoding::L24, 2, 0xdead_beef, 0xffff);
        let mut out = Vec::new();
        rtp.packet(FramePos(0x1_0000_0002), &samples(&[0x0102_0300, -256]), &mut out);
        // Version 2, no padding, extension or CSRC; no marker, type 96; number; timestamp; SSRC.
        assert_eq!(out[..12], [0x80, 96, 0xff, 0xff, 0, 0, 0, 2, 0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(out[12..], [1, 2, 3, 0xff, 0xff, 0xff]);
        rtp.packet(FramePos(0x1_0000_0003), &samples(&[0, 0]), &mut out);
        assert_eq!(out[..8], [0x80, 96, 0, 0, 0, 0, 0, 3], "the number wraps; nothing is missing");
        rtp.packet(FramePos(0x1_0000_0204), &samples(&[0, 0]), &mut out);
        assert_eq!(out[..8], [0x80, 0x80 | 96, 0, 1, 0, 0, 2, 4], "behind a gap: a marker, and the number goes on");
    }

    #[test]
    fn a_packet_fits_the_smallest_path() {
        for (encoding, channels, frames) in
            [(Encoding::L24, 3, 135), (Encoding::L16, 3, 203), (Encoding::L24, 64, 6), (Encoding::L16, 1, 610)]
        {
            let mut rtp = Packets::new(encoding, channels, 0, 0);
            assert_eq!(rtp.frames_a_packet(), frames, "{encoding:?} of {channels}");
            let mut out = Vec::new();
            rtp.packet(FramePos(0), &vec![[0; 4]; frames * channels], &mut out);
            assert!(out.len() <= 1232, "{}", out.len());
        }
    }
}
