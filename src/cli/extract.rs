//! The options of `extract`.

use std::path::PathBuf;

use clap::Args;

use super::record::parse_age;
use super::{EngineArgs, OneArgs, PortList, parse_port_list};
use crate::time::Span;

#[derive(Args, Clone, Debug)]
pub struct ExtractArgs {
    /// Recordings, also gzipped; several are taken for one, in the order of their stamps. `-` is standard input.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
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
    /// UDP ports of mic 0, 1, 2; by default as micring recorded them, or else 30001, 30002, 30003.
    #[arg(long = "ports", visible_alias = "mic-ports", value_name = "A,B,C", value_parser = parse_port_list)]
    pub mic_ports: Option<PortList>,
    #[command(flatten)]
    pub one: OneArgs,
    /// Channels in all, where a port carries more than one (interleaved); by default as the recording says, or else one a port.
    #[arg(long, value_name = "N")]
    pub channels: Option<usize>,
    #[command(flatten)]
    pub engine: EngineArgs,
}
