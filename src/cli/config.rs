//! The configuration file: which arrays there are, as TOML. What it does not say is as the command line has it.
//!
//! Any mistake names file, line and key. The shape of the file is serde's to check, with the line that its parser tells; what values
//! may be is what the options of the command line may be, by the same parsers; what must fit together is checked here.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;

use super::engine::{EngineArgs, SourceFormat, parse_clock, parse_history, parse_hold};
use super::parse_span;
use super::rtp::TTL;
use crate::array::{ArrayName, Layout, MOST_CHANNELS};
use crate::engine::{ClockChoice, Hold};
use crate::out::rtp::{Encoding, RtpSpec};
use crate::time::Span;

/// How long an array of an address stays that is heard no more.
const FORGET: Span = Span::from_secs(3_600);
/// Arrays of addresses, where the file does not say: an array of three takes some 5 MB.
const MAX_ARRAYS: usize = 64;

/// Whose packets make an array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Senders {
    /// One sender at a time for each port.
    One,
    /// Every sending address is an array of its own, named by it.
    EachHost {
        /// How long one is kept that is heard no more.
        forget: Span,
        max_arrays: usize,
    },
}

/// One `[[array]]` of the file, or what the options say without one.
#[derive(Clone, PartialEq, Debug)]
pub struct ArraySpec {
    /// Of a group of addresses: what the log calls it.
    pub name: ArrayName,
    /// One a source.
    pub ports: Vec<u16>,
    pub layout: Layout,
    pub engine: EngineArgs,
    pub senders: Senders,
    /// Where it is sent to.
    pub rtp: Option<RtpSpec>,
}

/// What is wrong with a file, and where: lines count from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    pub line: usize,
    pub key: String,
    pub what: String,
}

impl Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.is_empty() {
            true => write!(f, "line {}: {}", self.line, self.what),
            false => write!(f, "line {}, `{}`: {}", self.line, self.key, self.what),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    array: Vec<Spanned<ArrayTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrayTable {
    name: Option<Spanned<String>>,
    ports: Option<Spanned<Vec<u16>>>,
    port: Option<Spanned<u16>>,
    /// One for all sources, or one for each.
    #[serde(default, deserialize_with = "formats")]
    format: Option<Spanned<Vec<SourceFormat>>>,
    channels: Option<Spanned<usize>>,
    sample_rate: Option<Spanned<u32>>,
    #[serde(default, deserialize_with = "clock")]
    clock: Option<ClockChoice>,
    #[serde(default, deserialize_with = "hold")]
    hold: Option<Hold>,
    resample: Option<bool>,
    #[serde(default, deserialize_with = "history")]
    history: Option<Span>,
    senders: Option<Who>,
    #[serde(default, deserialize_with = "forget")]
    forget: Option<Spanned<Span>>,
    max_arrays: Option<Spanned<usize>>,
    rtp_out: Option<Spanned<SocketAddr>>,
    rtp_ttl: Option<Spanned<u8>>,
    #[serde(default, deserialize_with = "encoding")]
    rtp_format: Option<Spanned<Encoding>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Who {
    One,
    EachHost,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrEach {
    One(String),
    Each(Vec<String>),
}

/// A value as the option of the same name has it.
fn text<'de, D: Deserializer<'de>, T>(from: D, parse: fn(&str) -> Result<T, String>) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map_err(|why| D::Error::custom(format!("\"{text}\" {why}")))
}

fn clock<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ClockChoice>, D::Error> {
    text(from, parse_clock).map(Some)
}

fn hold<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Hold>, D::Error> {
    text(from, parse_hold).map(Some)
}

fn history<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Span>, D::Error> {
    text(from, parse_history).map(Some)
}

fn formats<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Spanned<Vec<SourceFormat>>>, D::Error> {
    let read = Spanned::<toml::Value>::deserialize(from)?;
    let place = read.span();
    let format = |text: &str| text.parse().map_err(D::Error::custom);
    let told =
        match read.into_inner().try_into().map_err(|_| D::Error::custom("is a text, or a list of one a source"))? {
            OneOrEach::One(text) => vec![SourceFormat { source: None, format: format(&text)? }],
            OneOrEach::Each(texts) => {
                let each = texts.iter().enumerate();
                each.map(|(source, text)| Ok(SourceFormat { source: Some(source), format: format(text)? }))
                    .collect::<Result<_, _>>()?
            }
        };
    Ok(Some(Spanned::new(place, told)))
}

fn encoding<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Spanned<Encoding>>, D::Error> {
    let text = Spanned::<String>::deserialize(from)?;
    let encoding =
        Encoding::parse(text.get_ref()).map_err(|why| D::Error::custom(format!("\"{}\" {why}", text.get_ref())))?;
    Ok(Some(Spanned::new(text.span(), encoding)))
}

fn forget<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Spanned<Span>>, D::Error> {
    let text = Spanned::<String>::deserialize(from)?;
    match parse_span(text.get_ref()) {
        Ok(span) if span < Span::from_secs(1) => Err(D::Error::custom("is too short: 1s or more")),
        Ok(span) => Ok(Some(Spanned::new(text.span(), span))),
        Err(why) => Err(D::Error::custom(format!("\"{}\" {why}", text.get_ref()))),
    }
}

/// The arrays of a file, in its order. `usual`: what holds where the file says nothing.
///
/// # Errors
/// The first mistake.
pub fn parse(file: &str, usual: &EngineArgs) -> Result<Vec<ArraySpec>, Mistake> {
    let read: File = toml::from_str(file).map_err(|error| Mistake::of(file, &error))?;
    if read.array.is_empty() {
        return Err(Mistake { line: 1, key: String::new(), what: "no [[array]] is in it".into() });
    }
    let mut names: HashMap<ArrayName, usize> = HashMap::new();
    let mut ports: HashMap<u16, usize> = HashMap::new();
    let mut specs = Vec::new();
    for entry in &read.array {
        let (spec, name, place) = entry.get_ref().spec(file, usual, entry.span())?;
        if let Some(line) = names.insert(spec.name.clone(), line_of(file, name.start)) {
            return Err(Mistake::at(file, name, format!("the array of line {line} has this name too")));
        }
        for &port in spec.ports.iter().filter(|port| **port != 0) {
            if let Some(line) = ports.insert(port, line_of(file, place.start)) {
                let whose = if line == line_of(file, place.start) { "it stands here twice" } else { "another has it" };
                let what = format!("port {port} is one source's alone: {whose} (line {line})");
                return Err(Mistake::at(file, place, what));
            }
        }
        specs.push(spec);
    }
    Ok(specs)
}

impl ArrayTable {
    /// The array, and where its name and its ports stand.
    fn spec(&self, file: &str, usual: &EngineArgs, whole: Range<usize>) -> Result<Spec, Mistake> {
        let wrong = |place: Range<usize>, what: &str| Mistake::at(file, place, what.into());
        let (ports, place) = match (&self.ports, &self.port) {
            (Some(ports), None) => (ports.get_ref().clone(), ports.span()),
            (None, Some(port)) => (vec![*port.get_ref()], port.span()),
            (Some(_), Some(port)) => return Err(wrong(port.span(), "give port or ports, not both")),
            (None, None) => return Err(wrong(whole, "an array needs `ports` (or `port`)")),
        };
        let channels = self.channels.as_ref();
        let count = channels.map_or(ports.len(), |channels| *channels.get_ref());
        let layout =
            layout(ports.len(), count).map_err(|why| wrong(channels.map_or(place.clone(), Spanned::span), &why))?;
        let each_host = self.senders == Some(Who::EachHost);
        if !each_host {
            let of_groups = [self.forget.as_ref().map(Spanned::span), self.max_arrays.as_ref().map(Spanned::span)];
            if let Some(place) = of_groups.into_iter().flatten().next() {
                return Err(wrong(place, "is for senders = \"each-host\""));
            }
        }
        let max_arrays = self.max_arrays.as_ref().map_or(MAX_ARRAYS, |max| *max.get_ref());
        if max_arrays == 0 {
            return Err(wrong(self.max_arrays.as_ref().map_or(whole, Spanned::span), "1 or more"));
        }
        let (name, name_at) = match &self.name {
            Some(name) => (name.get_ref().clone(), name.span()),
            None if each_host => (format!("hosts-{}", ports[0]), place.clone()),
            None => return Err(wrong(whole, "an array needs a `name`")),
        };
        let name = ArrayName::new(&name).map_err(|why| wrong(name_at.clone(), why))?;
        let sample_rate = match &self.sample_rate {
            Some(rate) if !(1_000..=768_000).contains(rate.get_ref()) => {
                return Err(wrong(rate.span(), "is not a sample rate from 1000 to 768000"));
            }
            rate => rate.as_ref().map_or(usual.sample_rate, |rate| *rate.get_ref()),
        };
        let engine = EngineArgs {
            sample_rate,
            clock: self.clock.unwrap_or(usual.clock),
            hold: self.hold.unwrap_or(usual.hold),
            resample: self.resample.unwrap_or(usual.resample),
            history: self.history.unwrap_or(usual.history),
            no_sound: usual.no_sound,
            max_datagram: usual.max_datagram,
            format: self.format.as_ref().map_or_else(|| usual.format.clone(), |told| told.get_ref().clone()),
            sdp: usual.sdp.clone(),
        };
        let engine = if channels.is_some() { engine.of_layout(&layout) } else { engine };
        let layout = match channels {
            None => engine.layout(ports.len()).map_err(|why| wrong(place.clone(), why))?,
            Some(channels) if !engine.fits(&layout) => {
                return Err(wrong(channels.span(), "are others than the format says"));
            }
            Some(_) => layout,
        };
        let senders = match each_host {
            false => Senders::One,
            true => {
                let forget = self.forget.as_ref().map_or(FORGET, |forget| *forget.get_ref());
                Senders::EachHost { forget, max_arrays }
            }
        };
        let rtp = self.rtp(each_host).map_err(|(place, what)| wrong(place, what))?;
        Ok((ArraySpec { name, ports, layout, engine, senders, rtp }, name_at, place))
    }
}

impl ArrayTable {
    /// Where it is sent to; the error: which key is wrong, and why.
    fn rtp(&self, each_host: bool) -> Result<Option<RtpSpec>, (Range<usize>, &'static str)> {
        let Some(to) = &self.rtp_out else {
            let alone = [self.rtp_ttl.as_ref().map(Spanned::span), self.rtp_format.as_ref().map(Spanned::span)];
            return alone.into_iter().flatten().next().map_or(Ok(None), |place| Err((place, "is for rtp_out")));
        };
        if each_host {
            return Err((to.span(), "is for one array, and here every address is one"));
        }
        let ttl = self.rtp_ttl.as_ref().map_or(TTL, |ttl| u32::from(*ttl.get_ref()));
        let encoding = self.rtp_format.as_ref().map_or(Encoding::L24, |told| *told.get_ref());
        Ok(Some(RtpSpec { to: *to.get_ref(), ttl, encoding }))
    }
}

/// An array, and where its name and its ports stand.
type Spec = (ArraySpec, Range<usize>, Range<usize>);

/// So many channels, evenly from so many ports.
pub fn layout(ports: usize, channels: usize) -> Result<Layout, String> {
    if ports == 0 {
        return Err("an array needs at least one port".into());
    }
    if channels == 0 || channels > MOST_CHANNELS || !channels.is_multiple_of(ports) {
        return Err(format!(
            "{channels} channels cannot come from {ports} ports: 1 to {MOST_CHANNELS} in all, as many from each port"
        ));
    }
    Layout::new(&vec![channels / ports; ports]).map_err(str::to_owned)
}

impl Mistake {
    fn of(file: &str, error: &toml::de::Error) -> Mistake {
        Mistake::at(file, error.span().unwrap_or(0..0), error.message().to_owned())
    }

    fn at(file: &str, place: Range<usize>, what: String) -> Mistake {
        let line = line_of(file, place.start);
        let text = file.lines().nth(line - 1).unwrap_or_default();
        // What stands in a line is one key and its value; of a table or a syntax error the line is enough.
        let key = text.split_once('=').map_or("", |(key, _)| key.trim()).to_owned();
        Mistake { line, key, what }
    }
}

fn line_of(file: &str, at: usize) -> usize {
    1 + file.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        engine: EngineArgs,
    }

    fn usual() -> EngineArgs {
        Only::parse_from(["micring", "--history", "2s"]).engine
    }

    #[test]
    fn what_the_file_does_not_say_is_as_the_options_have_it() {
        let file = "[[array]]\nname = \"roof\"\nports = [1, 2]\n\n[[array]]\nname = \"door\"\nport = 7\nchannels = 2\n\
                    sample_rate = 16000\nclock = \"independent\"\nhold = \"5ms\"\nresample = true\nhistory = \"10s\"\nformat = \"raw\"\n";
        let specs = parse(file, &usual()).expect("it is right");
        assert_eq!(specs.len(), 2);
        assert_eq!((specs[0].name.as_str(), &specs[0].ports[..]), ("roof", &[1, 2][..]));
        assert_eq!((specs[0].layout, &specs[0].engine), (Layout::mono(2), &usual()));
        assert_eq!(specs[1].layout, Layout::new(&[2]).unwrap());
        let engine = &specs[1].engine;
        assert_eq!((engine.sample_rate, engine.clock, engine.resample), (16_000, ClockChoice::Independent, true));
        assert_eq!((engine.hold, engine.history), (Hold::Fixed(Span::from_millis(5)), Span::from_secs(10)));
        assert_eq!(specs[1].senders, Senders::One);
    }

    #[test]
    fn an_array_may_be_sent_elsewhere() {
        let head = "[[array]]\nname = \"roof\"\nports = [1, 2]\n";
        let rtp = |more: &str| parse(&format!("{head}{more}"), &usual()).map(|specs| specs[0].rtp);
        let to = "239.1.2.3:5004".parse().expect("an address");
        assert_eq!(rtp(""), Ok(None));
        let usual = RtpSpec { to, ttl: 1, encoding: Encoding::L24 };
        assert_eq!(rtp("rtp_out = \"239.1.2.3:5004\"\n"), Ok(Some(usual)));
        let told = RtpSpec { ttl: 4, encoding: Encoding::L16, ..usual };
        assert_eq!(rtp("rtp_out = \"239.1.2.3:5004\"\nrtp_ttl = 4\nrtp_format = \"L16\"\n"), Ok(Some(told)));
        for (wrong, line, word) in [
            ("rtp_ttl = 4\n", 4, "rtp_out"),
            ("rtp_out = \"239.1.2.3\"\n", 4, ""),
            ("rtp_out = \"239.1.2.3:5004\"\nrtp_ttl = 256\n", 5, ""),
            ("rtp_out = \"239.1.2.3:5004\"\nrtp_format = \"opus\"\n", 5, "L16"),
            ("senders = \"each-host\"\nrtp_out = \"239.1.2.3:5004\"\n", 5, "every address"),
        ] {
            let mistake = rtp(wrong).expect_err(wrong);
            assert!(mistake.line == line && mistake.what.contains(word), "{wrong}: {mistake}");
        }
    }

    #[test]
    fn a_group_of_addresses_needs_no_name() {
        let specs = parse("[[array]]\nports = [5, 6]\nsenders = \"each-host\"\nforget = \"2m\"\n", &usual()).unwrap();
        assert_eq!(specs[0].name.as_str(), "hosts-5");
        assert_eq!(specs[0].senders, Senders::EachHost { forget: Span::from_secs(120), max_arrays: MAX_ARRAYS });
    }

    #[test]
    fn every_mistake_names_its_line_and_key() {
        let array = "[[array]]\nname = \"a\"\nports = [1, 2]\n";
        let cases = [
            (String::new(), 1, "", "no [[array]]"),
            ("[[aray]]\n".into(), 1, "", "aray"),
            ("[[array]]\nports = [1]\n".into(), 1, "", "`name`"),
            ("[[array]]\nname = \"a\"\n".into(), 1, "", "`ports`"),
            ("[[array]]\nname = \"a/b\"\nport = 1\n".into(), 2, "name", "letters"),
            ("[[array]]\nname = \"a\"\nports = [1, 70000]\n".into(), 3, "ports", "70000"),
            ("[[array]]\nname = \"a\"\nports = []\n".into(), 3, "ports", "at least one"),
            ("[[array]]\nname = \"a\"\nports = [1, 1]\n".into(), 3, "ports", "twice"),
            (format!("{array}port = 3\n"), 4, "port", "not both"),
            (format!("{array}channels = 3\n"), 4, "channels", "3 channels cannot come from 2 ports"),
            (format!("{array}channels = 66\n"), 4, "channels", "64"),
            (format!("{array}chanels = 2\n"), 4, "chanels", "unknown field"),
            (format!("{array}clock = \"own\"\n"), 4, "clock", "neither auto"),
            (format!("{array}hold = 5\n"), 4, "hold", "string"),
            (format!("{array}hold = \"5\"\n"), 4, "hold", "needs a unit"),
            (format!("{array}history = \"1ms\"\n"), 4, "history", "too short"),
            (format!("{array}resample = \"yes\"\n"), 4, "resample", "boolean"),
            (format!("{array}sample_rate = 48\n"), 4, "sample_rate", "1000"),
            (format!("{array}format = \"mp3\"\n"), 4, "format", "mp3"),
            (format!("{array}senders = \"all\"\n"), 4, "senders", "each-host"),
            (format!("{array}forget = \"1h\"\n"), 4, "forget", "each-host"),
            (format!("{array}senders = \"each-host\"\nmax_arrays = 0\n"), 5, "max_arrays", "1 or more"),
            (format!("{array}senders = \"each-host\"\nforget = \"1ms\"\n"), 5, "forget", "too short"),
            (format!("{array}\n{array}"), 6, "name", "line 2"),
            (format!("{array}\n[[array]]\nname = \"b\"\nport = 2\n"), 7, "port", "line 3"),
            (format!("{array}clock = \n"), 4, "clock", ""),
            (format!("{array}name = \"b\"\n"), 4, "name", "duplicate"),
        ];
        for (file, line, key, what) in cases {
            let mistake = parse(&file, &usual()).expect_err(&file);
            assert_eq!((mistake.line, mistake.key.as_str()), (line, key), "{file}: {mistake}");
            assert!(mistake.what.contains(what), "{file}: {mistake}");
        }
    }
}
