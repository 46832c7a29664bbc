//! The options of saving aligned audio.

use std::path::PathBuf;

use clap::Args;

use super::record::{parse_age, parse_size};
use crate::time::Span;

#[derive(Args, Clone, Debug)]
pub struct SaveArgs {
    /// Write the aligned stream of every array into this folder: WAV of 32 bits, all channels, and beside each file what is known of it
    /// (gaps, clocks), as JSON Lines. See docs/out.md.
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// A file of so much audio ends, and the next one goes on with the next frame.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_age, requires = "save")]
    pub save_rotate_age: Span,
    /// The same of a file of this size; at most half of --save-max-bytes. Beyond 4GB a file is RF64, which not every program reads.
    #[arg(long, value_name = "SIZE", default_value = "4GB", value_parser = parse_size, requires = "save")]
    pub save_rotate_bytes: u64,
    /// All saved audio in the folder together; the oldest files are removed to stay within. Beside another server that saves into the
    /// same folder: its own. A day of three microphones is 50 GB.
    #[arg(long, value_name = "SIZE", default_value = "64GB", value_parser = parse_size, requires = "save")]
    pub save_max_bytes: u64,
}
