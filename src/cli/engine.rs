//! The options of alignment: of `serve` and, so that it decides the same, of `analyze`.

use clap::Args;

use super::parse_span;
use crate::array::Layout;
use crate::engine::{ClockChoice, Config, Hold};
use crate::time::Span;

#[derive(Args, Clone, PartialEq, Debug)]
pub struct EngineArgs {
    /// Whether the microphones share one sample clock; auto: they do when they have one IP address.
    #[arg(long, value_name = "auto|shared|independent", default_value = "auto", value_parser = parse_clock)]
    pub clock: ClockChoice,
    /// How long an incomplete cycle waits; auto: until it is known to be closed, at most 40 ms.
    #[arg(long, value_name = "auto|DURATION", default_value = "auto", value_parser = parse_hold)]
    pub hold: Hold,
    /// Free boards: resample continuously instead of letting whole samples slip.
    #[arg(long)]
    pub resample: bool,
    /// How much audio the history keeps; a late packet finds its place within it.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_history)]
    pub history: Span,
    /// Nominal sample rate of every microphone.
    #[arg(long, value_name = "HZ", default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(1_000..=768_000))]
    pub sample_rate: u32,
    /// Longest datagram taken, in bytes; longer ones are counted as truncated.
    #[arg(long, value_name = "BYTES", default_value_t = 8192, value_parser = parse_datagram)]
    pub max_datagram: usize,
}

impl EngineArgs {
    /// For an array of these sources.
    pub fn config(&self, layout: Layout) -> Config {
        Config {
            layout,
            sample_rate: self.sample_rate,
            clock: self.clock,
            hold: self.hold,
            resample: self.resample,
            history: self.history,
            max_datagram: self.max_datagram,
        }
    }
}

pub fn parse_clock(text: &str) -> Result<ClockChoice, String> {
    match text {
        "auto" => Ok(ClockChoice::Auto),
        "shared" => Ok(ClockChoice::Shared),
        "independent" => Ok(ClockChoice::Independent),
        _ => Err("is neither auto, shared nor independent".into()),
    }
}

pub fn parse_hold(text: &str) -> Result<Hold, String> {
    match text {
        "auto" => Ok(Hold::Auto),
        _ => match parse_span(text)? {
            span if span < Span::from_millis(1) => {
                Err("is too short: 1ms or more; a cycle takes a moment to arrive".into())
            }
            span => Ok(Hold::Fixed(span)),
        },
    }
}

pub fn parse_history(text: &str) -> Result<Span, String> {
    match parse_span(text)? {
        span if span < Span::from_millis(100) => Err("is too short: 100ms or more".into()),
        span if span > Span::from_secs(600) => Err("is too long: 600s or less (0.6 MB a second)".into()),
        span => Ok(span),
    }
}

pub fn parse_datagram(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(bytes) if (4..=65_507).contains(&bytes) => Ok(bytes),
        _ => Err("is not a datagram's size in bytes (4 to 65507)".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_longer_than_a_cycle_takes_to_arrive() {
        assert_eq!(parse_hold("auto"), Ok(Hold::Auto));
        assert_eq!(parse_hold("1ms"), Ok(Hold::Fixed(Span::from_millis(1))));
        for wrong in ["0s", "999us", "-1ms", "soon"] {
            assert!(parse_hold(wrong).is_err(), "{wrong}");
        }
    }
}
