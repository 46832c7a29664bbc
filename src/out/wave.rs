//! A WAV file that grows, and that a crash leaves readable.
//!
//! WAV's lengths are 32 bits, which four gigabytes overflow: 2 h 4 min of three channels. RF64 (EBU Tech 3306) keeps 64-bit lengths
//! in a `ds64` chunk. The file begins with a `JUNK` chunk of that size; past four gigabytes the header turns into RF64 in its place.
//! The header is 80 bytes for good, and is written again as the file grows: what a crash leaves has the lengths of a moment before.

use super::Sample;

/// Bytes before the first sample, plain format; the samples stay aligned for those who map the file.
pub const HEADER_BYTES: usize = 80;

/// Format of the samples in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wave {
    pub channels: u16,
    pub rate: u32,
    pub sample: Sample,
}

impl Wave {
    pub fn frame_bytes(&self) -> usize {
        usize::from(self.channels) * self.sample.bytes()
    }

    /// The header of a file with so many frames.
    pub fn header(&self, frames: u64) -> [u8; HEADER_BYTES] {
        const PCM: u16 = 1;
        const IEEE_FLOAT: u16 = 3;
        let data = frames * self.frame_bytes() as u64;
        let riff = HEADER_BYTES as u64 - 8 + data;
        let long = riff > u64::from(u32::MAX);
        let short = |bytes: u64| if long { u32::MAX } else { bytes as u32 };
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(if long { b"RF64" } else { b"RIFF" });
        out.extend_from_slice(&short(riff).to_le_bytes());
        out.extend_from_slice(b"WAVE");
        // EBU Tech 3306, 3.5: riffSize, dataSize, sampleCount, and a table of no other chunks.
        out.extend_from_slice(if long { b"ds64" } else { b"JUNK" });
        out.extend_from_slice(&28_u32.to_le_bytes());
        for field in [riff, data, frames] {
            out.extend_from_slice(&if long { field } else { 0 }.to_le_bytes());
        }
        out.extend_from_slice(&0_u32.to_le_bytes());
        let frame = self.frame_bytes() as u16;
        out.extend_from_slice(b"fmt ");
        out.extend_from_slice(&16_u32.to_le_bytes());
        let tag = if self.sample == Sample::F32le { IEEE_FLOAT } else { PCM };
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&self.channels.to_le_bytes());
        out.extend_from_slice(&self.rate.to_le_bytes());
        out.extend_from_slice(&(self.rate * u32::from(frame)).to_le_bytes());
        out.extend_from_slice(&frame.to_le_bytes());
        out.extend_from_slice(&(8 * self.sample.bytes() as u16).to_le_bytes());
        out.extend_from_slice(b"data");
        out.extend_from_slice(&short(data).to_le_bytes());
        out.try_into().expect("the chunks add up to the header")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Wave = Wave { channels: 3, rate: 48_000, sample: Sample::S32le };

    fn u32_at(header: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"))
    }

    #[test]
    fn lengths_stand_where_riff_has_them() {
        let header = THREE.header(1000);
        assert_eq!((&header[..4], &header[8..16]), (&b"RIFF"[..], &b"WAVEJUNK"[..]));
        assert_eq!((u32_at(&header, 4), u32_at(&header, 76)), (12_000 + 72, 12_000));
        assert_eq!((&header[48..52], u32_at(&header, 52), &header[72..76]), (&b"fmt "[..], 16, &b"data"[..]));
    }

    #[test]
    fn beyond_four_gigabytes_the_same_header_is_rf64() {
        // The last frame that fits 32 bits, and the next.
        let most = (u64::from(u32::MAX) - 72) / 12;
        assert_eq!(&THREE.header(most)[..4], b"RIFF");
        let header = THREE.header(most + 1);
        assert_eq!((&header[..4], &header[12..16]), (&b"RF64"[..], &b"ds64"[..]));
        assert_eq!((u32_at(&header, 4), u32_at(&header, 76)), (u32::MAX, u32::MAX));
        let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        assert_eq!([u64_at(20), u64_at(28), u64_at(36)], [(most + 1) * 12 + 72, (most + 1) * 12, most + 1]);
    }
}
