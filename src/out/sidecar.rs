//! What beside the samples has to be known of saved audio, a line of JSON each, by frame position in the run and by frame in the file.

use serde::Serialize;

/// A line of the sidecar. `frame` counts from the file's first frame; `position` is the frame's place in the run. A line stands behind the
/// frames that it tells of, but lines need not be in the order of their frames.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Line<'a> {
    /// The first line of each file.
    Begin {
        array: &'a str,
        run: u64,
        position: i64,
        rate: u32,
        channels: usize,
        /// When the first frame was captured, by the kernel's stamp of the packet that it was in: microseconds since the Unix epoch. The way
        /// through the network is not taken off.
        at_us: i64,
    },
    /// Frames of a channel that are zeros because nothing came. `mic` is null where the whole cycle was lost. A long gap is several lines,
    /// one behind the other. `missing` stands only where the microphone's own samples are zeros too, so that nobody can tell which of
    /// these frames came: so many did not.
    Gap {
        frame: i64,
        position: i64,
        frames: i64,
        mic: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        missing: Option<i64>,
    },
    /// Frames of all channels that are zeros because they could not be saved: the disk was full or too slow.
    NotSaved { frame: i64, position: i64, frames: i64 },
    /// When this frame was captured, as in `begin`.
    Clock {
        frame: i64,
        position: i64,
        at_us: i64,
        /// `shared` or `independent`.
        clock: &'a str,
    },
    /// Rates as they were known when this frame was written: of a microphone against the host (`mic1`), of the first of a pair against the second.
    Drift { frame: i64, position: i64, of: &'a str, ppm: f64, uncertainty_ppm: f64 },
    /// Offset of a pair of channels as placed, with half its 95 % interval.
    Alignment { frame: i64, position: i64, pair: &'a str, offset_us: f64, uncertainty_us: f64 },
    /// What a calibration has moved a microphone by, with half its 95 % interval: in the samples already.
    Calibration { frame: i64, position: i64, mic: &'a str, samples: f64, uncertainty_samples: f64 },
    /// The last line of a file that was closed: frames in it.
    End { frames: i64 },
}

impl Line<'_> {
    /// As a line of the file, with its end.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string(self).expect("numbers and text are JSON");
        text.push('\n');
        text
    }
}
