//! A datagram's bytes become samples.
//!
//! `raw`, the only format here: the payload is samples, little-endian signed 32-bit, those of the source's channels interleaved, and
//! nothing else; or a piece of them, which may begin and end inside a frame or a sample. What other formats have on the wire becomes the
//! same s32le before it is a [`Packet`], so that nothing after this file knows of it.

/// Bytes of a sample on the wire.
pub const SAMPLE_BYTES: usize = 4;

/// Why a payload is no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadPayload {
    /// Longer than the limit, or cut by the receive buffer.
    Truncated,
    /// Empty, or not a whole number of samples, nor a piece of some.
    Malformed,
}

/// Samples of one datagram, s32le, the channels of its source interleaved.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    channels: usize,
}

impl<'a> Packet<'a> {
    /// Frames that were decoded already: whole ones, of so many channels.
    pub fn decoded(samples: &'a [u8], channels: usize) -> Result<Packet<'a>, BadPayload> {
        Packet::parse(samples, samples.len(), usize::MAX, channels)
    }

    /// `len` is the true length of the payload, which may exceed what was received of it.
    pub fn parse(bytes: &'a [u8], len: usize, max: usize, channels: usize) -> Result<Packet<'a>, BadPayload> {
        let packet = Packet::parse_piece(bytes, len, max, channels)?;
        if bytes.len().is_multiple_of(SAMPLE_BYTES * channels) { Ok(packet) } else { Err(BadPayload::Malformed) }
    }

    /// The same, where a boundary may lie inside a frame.
    pub fn parse_piece(bytes: &'a [u8], len: usize, max: usize, channels: usize) -> Result<Packet<'a>, BadPayload> {
        if len > max || len > bytes.len() {
            return Err(BadPayload::Truncated);
        }
        if bytes.is_empty() {
            return Err(BadPayload::Malformed);
        }
        Ok(Packet { bytes, channels })
    }

    /// Samples of each channel in the packet.
    pub fn samples(&self) -> u32 {
        self.bytes.len() as u32 / (SAMPLE_BYTES * self.channels) as u32
    }

    /// The samples as s32le bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Root mean square of s32le samples, of which there are some, in sample units: 0 to 2147483648.
pub fn rms(samples: &[u8]) -> f64 {
    let (samples, _) = samples.as_chunks();
    // Eight sums side by side: one alone waits for each addition before the next.
    let (eights, rest) = samples.as_chunks::<8>();
    let square = |s: &[u8; SAMPLE_BYTES]| f64::from(i32::from_le_bytes(*s)).powi(2);
    let mut sums = [0.0; 8];
    for eight in eights {
        for (sum, s) in sums.iter_mut().zip(eight) {
            *sum += square(s);
        }
    }
    let sum = sums.iter().sum::<f64>() + rest.iter().map(square).sum::<f64>();
    (sum / samples.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_number_of_samples_within_the_limit_is_a_packet() {
        assert_eq!(Packet::parse(&[], 0, 64, 1).err(), Some(BadPayload::Malformed));
        assert_eq!(Packet::parse(&[1, 2, 3], 3, 64, 1).err(), Some(BadPayload::Malformed));
        assert_eq!(Packet::parse(&[0; 64], 65_507, 64, 1).err(), Some(BadPayload::Truncated));
        assert_eq!(Packet::parse(&[0; 64], 68, 128, 1).err(), Some(BadPayload::Truncated));
        assert_eq!(Packet::parse(&[0; 64], 64, 64, 1).expect("sixteen samples").samples(), 16);
        assert_eq!(Packet::parse(&[0; 64], 64, 64, 8).expect("two frames of eight channels").samples(), 2);
        assert_eq!(Packet::parse(&[0; 64], 64, 64, 3).err(), Some(BadPayload::Malformed));
    }

    #[test]
    fn rms_of_a_square_wave_is_its_amplitude() {
        let bytes: Vec<u8> = [i32::MIN, i32::MIN].iter().flat_map(|s| s.to_le_bytes()).collect();
        assert_eq!(rms(&bytes), 2_147_483_648.0);
        let bytes: Vec<u8> = [3, -3, 3, -3].iter().flat_map(|s: &i32| s.to_le_bytes()).collect();
        assert_eq!(rms(&bytes), 3.0);
        // 1, 2, ... 19: eight at a time, and three left over. The sum of squares is n (n + 1) (2 n + 1) / 6 = 2470.
        let bytes: Vec<u8> = (1..=19_i32).flat_map(i32::to_le_bytes).collect();
        assert_eq!(rms(&bytes), (2470.0_f64 / 19.0).sqrt());
    }
}
