//! What is wrong with a virtual microphone's samples: one of these from a time on, for a while.

use std::str::FromStr;

use crate::time::Span;

/// A way in which the samples of a microphone go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// All samples are 0.
    Dead,
    /// One bit of the line stays at 1.
    StuckBit,
    /// A twentieth of full scale is added, in 24 bits.
    Offset,
    /// 72 dB louder, and cut off at half of full scale.
    Clipping,
    /// Every second word is 0: the other slot of the bus.
    HalfEmpty,
    /// Words are shifted to the right by eight bits.
    Shifted,
    /// The bytes of each word stand in the other order.
    Swapped,
    /// The first word of each packet is a counter.
    Header,
    /// The samples are those of microphone 0, or of microphone 1 for that one.
    Copy,
}

/// A microphone has it for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defect {
    pub mic: usize,
    pub wrong: Wrong,
    pub from: Span,
    pub to: Span,
}

const STUCK_BIT: i32 = 1 << 13;
const OFFSET: i32 = (i32::MAX / 20) & !0xff;
const LOUDER: i32 = 4096;
const CUT_OFF: i32 = 1 << 30;
const SHIFT: u32 = 8;

impl FromStr for Wrong {
    type Err = String;

    fn from_str(name: &str) -> Result<Wrong, String> {
        Ok(match name {
            "dead" => Wrong::Dead,
            "stuck_bits" => Wrong::StuckBit,
            "offset" => Wrong::Offset,
            "clipping" => Wrong::Clipping,
            "half_empty" => Wrong::HalfEmpty,
            "shifted_words" => Wrong::Shifted,
            "swapped_bytes" => Wrong::Swapped,
            "header_in_audio" => Wrong::Header,
            "copy" => Wrong::Copy,
            _ => {
                return Err(
                    "not one of dead, stuck_bits, offset, clipping, half_empty, shifted_words, swapped_bytes, \
                            header_in_audio, copy"
                        .into(),
                );
            }
        })
    }
}

impl Wrong {
    /// Of which microphone the samples are.
    pub(super) fn heard_by(self, mic: usize) -> usize {
        match self {
            Wrong::Copy => usize::from(mic == 0),
            _ => mic,
        }
    }

    /// Makes a packet's s32le samples wrong; the first of them is sample `first` of its chunk, number `chunk`.
    pub(super) fn apply(self, payload: &mut [u8], first: u32, chunk: u64) {
        let (words, _) = payload.as_chunks_mut::<4>();
        for (at, bytes) in words.iter_mut().enumerate() {
            let word = i32::from_le_bytes(*bytes);
            let place = first as usize + at;
            let wrong = match self {
                Wrong::Dead => 0,
                Wrong::StuckBit => word | STUCK_BIT,
                Wrong::Offset => word.saturating_add(OFFSET),
                Wrong::Clipping => word.saturating_mul(LOUDER).clamp(-CUT_OFF, CUT_OFF),
                Wrong::HalfEmpty if place % 2 == 1 => 0,
                Wrong::Shifted => word >> SHIFT,
                Wrong::Swapped => word.swap_bytes(),
                Wrong::Header if place == 0 => chunk as i32,
                Wrong::HalfEmpty | Wrong::Header | Wrong::Copy => word,
            };
            *bytes = wrong.to_le_bytes();
        }
    }
}
