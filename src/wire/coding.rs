//! Kinds of samples on the wire, and how each becomes a left-justified s32.

use std::fmt;
use std::str::FromStr;

/// How a sample is written. Names as ALSA and ffmpeg have them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Coding {
    /// Unsigned, silence is 128: as in WAV and VBAN.
    U8,
    S16le,
    S24le,
    #[default]
    S32le,
    S16be,
    S24be,
    S32be,
    /// IEEE 754, full scale is 1.
    F32le,
}

/// All of them, with their names.
const NAMES: [(Coding, &str); 8] = [
    (Coding::U8, "u8"),
    (Coding::S16le, "s16le"),
    (Coding::S24le, "s24le"),
    (Coding::S32le, "s32le"),
    (Coding::S16be, "s16be"),
    (Coding::S24be, "s24be"),
    (Coding::S32be, "s32be"),
    (Coding::F32le, "f32le"),
];

impl Coding {
    /// Bytes of a sample on the wire.
    pub fn bytes(self) -> usize {
        match self {
            Coding::U8 => 1,
            Coding::S16le | Coding::S16be => 2,
            Coding::S24le | Coding::S24be => 3,
            Coding::S32le | Coding::S32be | Coding::F32le => 4,
        }
    }

    /// Writes the whole samples of `wire` behind what `out` holds, as left-justified s32le. What is cut at the end is left out.
    pub(super) fn append_s32le(self, wire: &[u8], out: &mut Vec<u8>) {
        match self {
            Coding::S32le => out.extend_from_slice(wire.as_chunks::<4>().0.as_flattened()),
            Coding::U8 => each(wire, out, |[b]| [0, 0, 0, b ^ 0x80]),
            Coding::S16le => each(wire, out, |[low, high]| [0, 0, low, high]),
            Coding::S16be => each(wire, out, |[high, low]| [0, 0, low, high]),
            Coding::S24le => each(wire, out, |[low, mid, high]| [0, low, mid, high]),
            Coding::S24be => each(wire, out, |[high, mid, low]| [0, low, mid, high]),
            Coding::S32be => each(wire, out, |sample| i32::from_be_bytes(sample).to_le_bytes()),
            Coding::F32le => each(wire, out, |sample| from_float(f32::from_le_bytes(sample)).to_le_bytes()),
        }
    }
}

/// Each kind gets a loop of its own.
fn each<const N: usize>(wire: &[u8], out: &mut Vec<u8>, sample: impl Fn([u8; N]) -> [u8; 4]) {
    out.extend(wire.as_chunks::<N>().0.iter().flat_map(|bytes| sample(*bytes)));
}

/// Full scale is 1; beyond it the sample is clipped, and what is no number is silence.
fn from_float(sample: f32) -> i32 {
    // A cast saturates, and makes 0 of NaN.
    (f64::from(sample) * 2_147_483_648.0) as i32
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(coding, _)| coding == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Coding {
    type Err = String;

    fn from_str(name: &str) -> Result<Coding, String> {
        let known = NAMES.iter().find(|(_, known)| *known == name);
        known.map(|(coding, _)| *coding).ok_or_else(|| {
            let all: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
            format!("'{name}' is not one of {}", all.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(coding: Coding, wire: &[u8]) -> Vec<i32> {
        let mut out = Vec::new();
        coding.append_s32le(wire, &mut out);
        out.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
    }

    #[test]
    fn each_kind_is_left_justified() {
        assert_eq!(of(Coding::U8, &[128, 255, 0]), [0, 127 << 24, i32::MIN]);
        assert_eq!(of(Coding::S16le, &[0x34, 0x12, 0xff, 0xff]), [0x1234_0000, -0x1_0000]);
        assert_eq!(of(Coding::S16be, &[0x12, 0x34, 0x80, 0x00]), [0x1234_0000, i32::MIN]);
        assert_eq!(of(Coding::S24le, &[0x56, 0x34, 0x12, 0xff, 0xff, 0xff]), [0x1234_5600, -0x100]);
        assert_eq!(of(Coding::S24be, &[0x12, 0x34, 0x56, 0x80, 0, 0]), [0x1234_5600, i32::MIN]);
        assert_eq!(of(Coding::S32le, &[0x78, 0x56, 0x34, 0x12]), [0x1234_5678]);
        assert_eq!(of(Coding::S32be, &[0x12, 0x34, 0x56, 0x78]), [0x1234_5678]);
    }

    #[test]
    fn floats_are_scaled_clipped_and_never_nothing() {
        let float = |x: f32| of(Coding::F32le, &x.to_le_bytes())[0];
        assert_eq!([0.0, 0.5, -0.5, -1.0].map(float), [0, 1 << 30, -1 << 30, i32::MIN]);
        assert_eq!([1.0, 7.0, -7.0, f32::INFINITY, f32::NAN].map(float), [i32::MAX, i32::MAX, i32::MIN, i32::MAX, 0]);
    }

    #[test]
    fn a_sample_that_is_cut_is_left_out() {
        for (coding, _) in NAMES {
            let wire = [0x55; 37];
            assert_eq!(of(coding, &wire).len(), 37 / coding.bytes(), "{coding}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for (coding, name) in NAMES {
            assert_eq!((coding.to_string().as_str(), name.parse()), (name, Ok(coding)));
        }
        assert!("s20le".parse::<Coding>().unwrap_err().contains("s24be"));
    }
}
