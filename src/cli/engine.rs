//! The options of alignment: of `serve` and, so that it decides the same, of `analyze`.

use clap::Args;

use super::parse_span;
use crate::array::Layout;
use crate::engine::{ClockChoice, Config, Hold};
use crate::time::Span;
use crate::wire::{Format, sdp};

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
    /// What the sources send: auto, raw:TYPE*CHANNELS@RATE,skip=BYTES,seq=KIND@OFFSET,time=KIND@OFFSET:UNIT, audiovision, vban, rtp,
    /// rtp:L16/RATE/CHANNELS, rtp:L24/...; MIC= in front for one of them. See docs/formats.md.
    #[arg(long, value_name = "[MIC=]FORMAT", value_parser = parse_format)]
    pub format: Vec<SourceFormat>,
    /// A session description that says what an RTP stream is (from ffmpeg, GStreamer, an AES67 device); for sources without --format.
    #[arg(long, value_name = "FILE", value_parser = parse_sdp)]
    pub sdp: Option<Format>,
    /// Nominal sample rate of every microphone.
    #[arg(long, value_name = "HZ", default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(1_000..=768_000))]
    pub sample_rate: u32,
    /// Decide by arrival times alone, and never by what is heard. See docs/sound.md.
    #[arg(long)]
    pub no_sound: bool,
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

/// A format, of one source or of all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFormat {
    /// `None`: of all that have none of their own.
    pub source: Option<usize>,
    pub format: Format,
}

impl EngineArgs {
    /// Of so many sources, what each was declared to send.
    pub fn formats(&self, sources: usize) -> Vec<Format> {
        let of = |source: usize| {
            let own = self.format.iter().rev().find(|declared| declared.source == Some(source));
            let all = self.format.iter().rev().find(|declared| declared.source.is_none());
            own.or(all).map(|declared| declared.format.clone()).or_else(|| self.sdp.clone()).unwrap_or_default()
        };
        (0..sources).map(of).collect()
    }

    /// The same, where raw formats that name no channels have those of their source.
    #[must_use]
    pub fn of_layout(self, layout: &Layout) -> EngineArgs {
        let formats = self.formats(layout.sources()).into_iter().enumerate();
        let format = formats.map(|(source, format)| {
            let format = format.or_channels(layout.channels_of(source).len() as u8);
            SourceFormat { source: Some(source), format }
        });
        EngineArgs { format: format.collect(), ..self }
    }

    /// Whether sources of such channels can send what was declared.
    pub fn fits(&self, layout: &Layout) -> bool {
        let formats = self.formats(layout.sources()).into_iter().enumerate();
        let told = |(source, format): (usize, Format)| {
            Some((layout.channels_of(source).len(), usize::from(format.channels()?)))
        };
        formats.filter_map(told).all(|(has, told)| has == told)
    }

    /// The same, where those that were declared nothing are what `recorded` says.
    #[must_use]
    pub fn or_declared<'a>(&self, sources: usize, recorded: impl Fn(usize) -> Option<&'a Format>) -> EngineArgs {
        let formats = self.formats(sources).into_iter().enumerate();
        let format = formats.map(|(source, format)| {
            let format = if format == Format::Auto { recorded(source).cloned().unwrap_or(format) } else { format };
            SourceFormat { source: Some(source), format }
        });
        EngineArgs { format: format.collect(), ..self.clone() }
    }

    /// The channels of so many sources, as their formats say: one where they say nothing.
    ///
    /// # Errors
    /// More channels than an array has.
    pub fn layout(&self, sources: usize) -> Result<Layout, &'static str> {
        let channels =
            self.formats(sources).iter().map(|format| format.channels().map_or(1, usize::from)).collect::<Vec<_>>();
        Layout::new(&channels)
    }
}

fn parse_format(text: &str) -> Result<SourceFormat, String> {
    let (source, format) = match text.split_once('=') {
        Some((source, format)) if source.bytes().all(|b| b.is_ascii_digit()) => {
            (Some(source.parse().map_err(|_| format!("`{source}` is not a microphone"))?), format)
        }
        _ => (None, text),
    };
    Ok(SourceFormat { source, format: format.parse()? })
}

fn parse_sdp(path: &str) -> Result<Format, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    sdp::read(&text).map(|(_, rtp)| Format::Rtp(Some(rtp)))
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
    fn a_format_is_one_source_s_or_that_of_all() {
        use clap::Parser;
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            engine: EngineArgs,
        }
        let args = |line: &str| Only::try_parse_from(line.split(' ')).map(|only| only.engine);
        let engine = args("x --format 1=vban*2 --format raw:s16le,skip=4,seq=u32le@0").expect("formats");
        let told: Vec<String> = engine.formats(3).iter().map(Format::to_string).collect();
        assert_eq!(told, ["raw:s16le,skip=4,seq=u32le@0", "vban:*2", "raw:s16le,skip=4,seq=u32le@0"]);
        assert_eq!(engine.layout(3).expect("four channels").channels(), 4);
        assert_eq!(args("x").expect("none").formats(2), [Format::Auto, Format::Auto]);
        assert!(args("x --format opus").is_err() && args("x --sdp /nowhere.sdp").is_err());
    }

    #[test]
    fn a_hold_is_longer_than_a_cycle_takes_to_arrive() {
        assert_eq!(parse_hold("auto"), Ok(Hold::Auto));
        assert_eq!(parse_hold("1ms"), Ok(Hold::Fixed(Span::from_millis(1))));
        for wrong in ["0s", "999us", "-1ms", "soon"] {
            assert!(parse_hold(wrong).is_err(), "{wrong}");
        }
    }
}
