//! The options of recording.

use std::path::PathBuf;

use clap::Args;

use super::parse_span;
use crate::time::Span;

#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// Write every datagram with its kernel timestamp into this folder, as pcapng.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Keep only the first bytes of each packet, rebuilt IP and UDP headers (28 bytes; IPv6: 48) included; 64 is enough for `analyze`.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(48..), requires = "record")]
    pub record_snap: Option<u32>,
    /// A recording that has grown so large is closed, and another begun; at most half of --record-max-bytes.
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = parse_size, requires = "record")]
    pub record_rotate_bytes: u64,
    /// The same after so much time.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_age, requires = "record")]
    pub record_rotate_age: Span,
    /// All recordings in the folder together; the oldest are removed to stay within. Beside another server that records into the same
    /// folder: its own. A day of three microphones is 52 GB,
    /// snapped to 64 bytes 2.4 GB.
    #[arg(long, value_name = "SIZE", default_value = "64GB", value_parser = parse_size, requires = "record")]
    pub record_max_bytes: u64,
}

/// `200000`, `64MB`, `1.5GiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: f64 = match unit {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return Err(format!("`{unit}` is not a unit: kB, MB, GB, TB, KiB, MiB or GiB")),
    };
    let number: f64 = number.trim().parse().map_err(|_| format!("`{number}` is not a number"))?;
    match number * factor {
        size if (65_536.0..=1e15).contains(&size) => Ok(size as u64),
        _ => Err("is not a size of 64 KiB or more".into()),
    }
}

pub(super) fn parse_age(text: &str) -> Result<Span, String> {
    match parse_span(text)? {
        span if span < Span::from_secs(1) => Err("is too short: 1s or more".into()),
        span => Ok(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_in_thousands_or_1024s() {
        assert_eq!(parse_size("65536"), Ok(65_536));
        assert_eq!(parse_size("64MB"), Ok(64_000_000));
        assert_eq!(parse_size("1.5GiB"), Ok(1_610_612_736));
        for wrong in ["", "MB", "1", "-5GB", "5Mb", "1e40GB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_lives_for_a_second_or_longer() {
        assert_eq!(parse_age("1h"), Ok(Span::from_secs(3_600)));
        assert!(parse_age("10ms").is_err());
    }
}
