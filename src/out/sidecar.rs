//! What beside the samples has to be known of saved audio, a line of JSON each, by frame position in the run and by frame in the file.

use serde::Serialize;

/// A line of the sidecar. `frame` counts from the file's first frame; `position` is the frame's place in the run.
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
        /// Nominal time of the first frame: microseconds since the Unix epoch.
        at_us: i64,
    },
    /// Frames of a channel that are zeros because nothing came. `mic` is null where the whole cycle was lost.
    Gap { frame: i64, position: i64, frames: i64, mic: Option<usize> },
    /// Rates as they were known when this frame was written.
    Drift { frame: i64, position: i64, mic: usize, ppm: f64, uncertainty_ppm: f64 },
    /// Offset of a pair of channels as placed, with half its 95 % interval.
    Alignment { frame: i64, position: i64, pair: &'a str, offset_us: f64, uncertainty_us: f64 },
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
