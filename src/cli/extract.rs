//! The options of `extract`.

use std::path::PathBuf;

use clap::Args;

use super::FeedArgs;
use super::record::parse_age;
use crate::time::Span;

#[derive(Args, Clone, Debug)]
pub struct ExtractArgs {
    #[command(flatten)]
    pub feed: FeedArgs,
    /// The folder that audio is written into; no file in it is overwritten.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// FLAC in place of WAV: 32 bits as well. All channels in one file are eight at most.
    #[arg(long)]
    pub flac: bool,
    /// A file for each channel, in place of one with all of them.
    #[arg(long)]
    pub split: bool,
    /// A file of so much audio ends, and the next one goes on with the next frame; by default all is one file.
    #[arg(long, value_name = "DURATION", value_parser = parse_age)]
    pub rotate_age: Option<Span>,
}
