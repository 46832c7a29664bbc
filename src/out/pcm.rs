//! The types a sample can have outside of micring. Inside, every sample is 32 bits, with a shorter one's bits at the top.

use std::fmt;

/// How a sample is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sample {
    S16le,
    S24le,
    S32le,
    /// IEEE 754, full scale is 1.
    F32le,
    /// RTP's L16 (RFC 3551, 4.5.11).
    S16be,
    /// RTP's L24 (RFC 3190, 4).
    S24be,
}

impl Sample {
    const ALL: [(Sample, &str); 6] = [
        (Sample::S16le, "s16le"),
        (Sample::S24le, "s24le"),
        (Sample::S32le, "s32le"),
        (Sample::F32le, "f32le"),
        (Sample::S16be, "s16be"),
        (Sample::S24be, "s24be"),
    ];

    /// From its name; the error says which there are.
    pub fn parse(name: &str) -> Result<Sample, String> {
        let known = Sample::ALL.iter().find(|(_, known)| *known == name);
        known.map(|(sample, _)| *sample).ok_or_else(|| {
            let names: Vec<&str> = Sample::ALL.iter().map(|(_, name)| *name).collect();
            format!("{name:?} is no sample type; give one of {}", names.join(", "))
        })
    }

    pub const fn bytes(self) -> usize {
        match self {
            Sample::S16le | Sample::S16be => 2,
            Sample::S24le | Sample::S24be => 3,
            Sample::S32le | Sample::F32le => 4,
        }
    }

    /// Appends one sample. Fewer bits are rounded to the nearest value, halves upward, and saturate.
    pub fn put(self, sample: i32, out: &mut Vec<u8>) {
        let rounded = |bits: u32| sample.saturating_add(1 << (31 - bits)) >> (32 - bits);
        match self {
            Sample::S16le => out.extend_from_slice(&(rounded(16) as i16).to_le_bytes()),
            Sample::S16be => out.extend_from_slice(&(rounded(16) as i16).to_be_bytes()),
            Sample::S24le => out.extend_from_slice(&rounded(24).to_le_bytes()[..3]),
            Sample::S24be => out.extend_from_slice(&rounded(24).to_be_bytes()[1..]),
            Sample::S32le => out.extend_from_slice(&sample.to_le_bytes()),
            Sample::F32le => out.extend_from_slice(&(sample as f32 / 2_147_483_648.0).to_le_bytes()),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Sample::ALL.iter().find(|(sample, _)| sample == self).map(|(_, name)| *name);
        f.write_str(name.expect("every type has a name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sample: Sample, value: i32) -> Vec<u8> {
        let mut out = Vec::new();
        sample.put(value, &mut out);
        out
    }

    #[test]
    fn bytes_stand_in_the_order_that_the_name_says() {
        let value = 0x1234_5678;
        assert_eq!(put(Sample::S16le, value), [0x34, 0x12]);
        assert_eq!(put(Sample::S16be, value), [0x12, 0x34]);
        assert_eq!(put(Sample::S24le, value), [0x56, 0x34, 0x12]);
        assert_eq!(put(Sample::S24be, value), [0x12, 0x34, 0x56]);
        assert_eq!(put(Sample::S32le, value), [0x78, 0x56, 0x34, 0x12]);
        assert_eq!(put(Sample::F32le, i32::MIN), (-1.0_f32).to_le_bytes());
        assert_eq!(put(Sample::F32le, 1 << 30), 0.5_f32.to_le_bytes());
    }

    #[test]
    fn fewer_bits_round_to_the_nearest_and_saturate() {
        let short = |value| i16::from_le_bytes(put(Sample::S16le, value).try_into().expect("two bytes"));
        assert_eq!((short(0x7fff), short(0x8000), short(-0x8000), short(-0x8001)), (0, 1, 0, -1));
        assert_eq!((short(i32::MAX), short(i32::MIN)), (i16::MAX, i16::MIN));
        assert_eq!(put(Sample::S24le, i32::MAX), [0xff, 0xff, 0x7f]);
        assert_eq!(put(Sample::S24le, 0x7f), [0, 0, 0]);
        assert_eq!(put(Sample::S24le, 0x80), [1, 0, 0]);
    }

    #[test]
    fn names_are_read_back_and_others_are_refused_with_the_list() {
        for (sample, name) in Sample::ALL {
            assert_eq!((Sample::parse(name), sample.to_string().as_str()), (Ok(sample), name));
        }
        assert!(Sample::parse("s17").expect_err("no such type").contains("s16le, s24le, s32le"));
    }
}
