//! The options of `micring simulate`: what the virtual microphones and their network are like.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory};

use super::config;
use super::{Cli, Core, PortList, parse_core, parse_port_list, parse_span};
use crate::array::MOST_CHANNELS;
use crate::sim::{
    Boards, Change, Defect, Delay, DropCycles, HoldBack, Lag, Length, Loss, Mixed, Mute, Network, Order, Rate, Reboot,
    Reorder, Scenario, Sending, Signal,
};
use crate::time::Span;
use crate::wire::Format;

/// Probabilities are fractions (0.03) or percentages (3%), durations carry a unit (80ms), times count from the start.
#[derive(Args, Clone, Debug)]
pub struct SimulateArgs {
    /// Host that the packets are sent to.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub to: String,
    /// UDP ports of the microphones at that host, as many as there are.
    #[arg(long, value_name = "A,B,C", default_value = "30001,30002,30003", value_parser = parse_targets)]
    pub mic_ports: PortList,
    /// Channels in all, where a port carries more than one (interleaved); by default one a port.
    #[arg(long, value_name = "N")]
    pub channels: Option<usize>,
    /// So many arrays alike, each with a seed of its own (--seed and up): their ports follow one another, those of --mic-ports are the first's.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000), conflicts_with = "record")]
    pub arrays: u16,
    /// All arrays on the same ports, each from an address of its own: 127.1.0.1, 127.1.0.2 and so on.
    #[arg(long, requires = "arrays", conflicts_with_all = ["from", "record"])]
    pub each_host: bool,
    /// Source address of each board (one, or one a board); by default whatever the system chooses, but for several boards on
    /// loopback 127.0.0.1, 127.0.0.2 and so on.
    #[arg(long, value_name = "A[,B,C]", value_delimiter = ',')]
    pub from: Vec<IpAddr>,
    /// Core that the sender is pinned to: auto (the first one allowed), a number, or none.
    #[arg(long, value_name = "auto|N|none", default_value = "auto", value_parser = parse_core)]
    pub core: Core,
    /// How long to send, in the microphones' time; without it and --cycles, until SIGINT or SIGTERM.
    #[arg(long, value_name = "DURATION", value_parser = parse_span, conflicts_with = "cycles")]
    pub duration: Option<Span>,
    /// How many cycles (reads of the board: chunks a microphone, the withheld ones included) to send.
    #[arg(long, value_name = "N", visible_alias = "packets", value_parser = clap::value_parser!(u64).range(1..))]
    pub cycles: Option<u64>,
    /// So many times faster than the microphones' time.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = parse_factor)]
    pub speed: f64,
    /// The same seed gives the same packets and the same decisions.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// What the microphones send: raw:TYPE,skip=...,seq=..., vban, rtp:L24/RATE/CHANNELS, audiovision (docs/formats.md); of several
    /// channels all go to mic 0's port. By default samples and nothing else.
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["pieces", "change", "channels"])]
    pub format: Option<Format>,
    /// Samples a chunk: what the board reads and sends at once. Several make chunks of unequal sizes, one after the other.
    #[arg(long, value_name = "N[,N...]", value_delimiter = ',', default_value = "512", value_parser = clap::value_parser!(u32).range(1..=16_376))]
    pub samples: Vec<u32>,
    /// Of several sizes in --samples each chunk has one by chance.
    #[arg(long)]
    pub samples_random: bool,
    /// Bytes of a datagram that a chunk is cut into, full ones and a rest, back to back: 1460 is what Arduino's WiFiUDP does
    /// (2048 bytes leave as 1460 + 588). none is one datagram a chunk, the default, so that older scripts send what they did.
    #[arg(long, value_name = "none|BYTES", default_value = "none", value_parser = parse_pieces)]
    pub pieces: Pieces,
    /// From one datagram of a microphone to its next, within a read.
    #[arg(long, value_name = "DURATION", default_value = "30us", value_parser = parse_span)]
    pub piece_spacing: Span,
    /// mic: all that was read of mic 0 leaves before mic 1. turn: a datagram of each microphone, then the next of each.
    #[arg(long, value_name = "mic|turn", default_value = "mic", value_parser = parse_order)]
    pub piece_order: Order,
    /// Chunks of each microphone in one read: 2 is a read of twice the samples, sent m0 m0 m1 m1 m2 m2.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub chunks_per_read: u32,
    /// So many datagrams of each board are not sent: they left before anybody listened, and with --pieces what is heard first
    /// is the middle of a chunk.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub unheard: u32,
    /// Nominal sample rate.
    #[arg(long, value_name = "HZ", default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(1_000..=768_000))]
    pub sample_rate: u32,
    /// index: sample = (mic + 1) << 28 | position mod 2^28; tone: 440 Hz; noise; source: a moving source with true delays.
    /// Sounds of a room with reverberation, its own noise and that of the microphones: speech, music, fan, claps, hum, quiet.
    #[arg(long, value_name = "SIGNAL", default_value = "index")]
    pub signal: Signal,
    /// One board with one sample clock, or as many as there are ports with their own (3, or each); by default 1, but each where --ppm gives
    /// them different rates.
    #[arg(long, value_name = "1|each", value_parser = parse_boards)]
    pub boards: Option<Boards>,
    /// Rate error of each microphone's sample clock in ppm, positive is faster; one value serves all.
    #[arg(long, value_name = "A[,B,C]", value_delimiter = ',', allow_hyphen_values = true, value_parser = parse_ppm, default_value = "0")]
    pub ppm: Vec<f64>,
    /// The rates wander from there: a random walk of 0.05 ppm a root second within 5 ppm.
    #[arg(long)]
    pub wander: bool,
    /// Board N stops at AT and starts anew DOWN later, from another port; repeatable, in order.
    #[arg(long, value_name = "N@AT/DOWN", value_parser = parse_reboot)]
    pub reboot: Vec<Reboot>,
    /// From AT on chunks have so many samples and leave in such pieces (30s=512/1460, 30s=360/none); repeatable, in order.
    #[arg(long, value_name = "AT=SAMPLES/PIECES", value_parser = parse_change)]
    pub change: Vec<(Span, u32, Pieces)>,
    /// A microphone is dead for a while; TO may be left out; repeatable.
    #[arg(long, value_name = "MIC@FROM..TO", value_parser = parse_mute)]
    pub mute: Vec<Mute>,
    /// A microphone's samples are wrong for a while, as one of: dead, stuck_bits, offset, clipping, half_empty, shifted_words,
    /// swapped_bytes, header_in_audio, copy (1=offset@5s..8s); TO may be left out; repeatable.
    #[arg(long, value_name = "MIC=WHAT@FROM..TO", value_parser = parse_defect)]
    pub defect: Vec<Defect>,

    /// Delay model: none, exp1, exp2, exp5 (exponential, mean in ms), gamma4, pareto, wifi, ramp, queue, mix, sleep (modem
    /// sleep: all leaves in one burst every 102.4 ms; sleep50 every 50 ms).
    #[arg(long, value_name = "MODEL", default_value = "none", conflicts_with = "jitter")]
    pub delay: Delay,
    /// Exponential delay of this mean.
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    pub jitter: Option<Span>,
    /// All packets are held back for HOLD, once every EVERY, and then come in a burst.
    #[arg(long, value_name = "HOLD/EVERY", value_parser = parse_hold_back)]
    pub hold_back: Option<HoldBack>,
    /// One microphone's packets take BY longer for a while; TO may be left out; repeatable.
    #[arg(long, value_name = "MIC=BY@FROM..TO", value_parser = parse_lag)]
    pub lag: Vec<Lag>,
    /// Independent loss of packets: of a chunk in pieces, of each piece for itself.
    #[arg(long, value_name = "P", value_parser = parse_probability, conflicts_with = "loss_ge")]
    pub loss: Option<f64>,
    /// Gilbert-Elliott loss: share lost overall, and mean length of a burst in packets of one board.
    #[arg(long, value_name = "P,BURST", value_parser = parse_bursts)]
    pub loss_ge: Option<Loss>,
    /// Independent loss of whole cycles.
    #[arg(long, value_name = "P", value_parser = parse_probability)]
    pub cycle_loss: Option<f64>,
    /// N whole cycles are lost from T on; repeatable, in order.
    #[arg(long, value_name = "N@T", value_parser = parse_drop)]
    pub drop_cycles: Vec<DropCycles>,
    /// Share of packets that come twice.
    #[arg(long, value_name = "P", default_value = "0", value_parser = parse_probability)]
    pub duplicate: f64,
    /// Share of packets that are held up, by up to a time (20ms), while those behind them pass.
    #[arg(long, value_name = "P[,BY]", value_parser = parse_reorder)]
    pub reorder: Option<Reorder>,
    /// Packets above 1472 bytes travel as fragments, and losing one loses the packet: a board that sends each chunk as one
    /// datagram (`--pieces none`; ESP-IDF, ESPHome).
    #[arg(long)]
    pub fragments: bool,
    /// Delay, loss, duplication and the like act only within this time (what is given with its own time aside).
    #[arg(long, value_name = "FROM..TO", value_parser = parse_times)]
    pub impaired: Option<(Span, Span)>,
    /// So many cycles at the start, at the end and around a reboot suffer no random loss, duplication or reordering, so that
    /// a receiver can know of all that are lost.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub clean_cycles: u32,
    /// Write the packets as a recording (pcapng) instead of sending them, as fast as that goes; - is standard output.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Keep this many bytes of each packet in the recording, headers included.
    #[arg(long, value_name = "BYTES", requires = "record")]
    pub record_snap: Option<u32>,
    /// List every withheld packet in the result, however many.
    #[arg(long)]
    pub list_withheld: bool,
}

impl SimulateArgs {
    /// The scenario that the options describe.
    ///
    /// # Errors
    /// Options that contradict one another: wrong usage.
    pub fn scenario(&self) -> Result<Scenario, clap::Error> {
        let sources = self.mic_ports.0.len();
        config::layout(sources, self.channels.unwrap_or(sources)).map_err(|why| wrong(&why))?;
        let ppm = match self.ppm.as_slice() {
            [one] => vec![*one; sources],
            all if all.len() == sources => all.to_vec(),
            _ => return Err(wrong("--ppm takes one value or one for each microphone")),
        };
        let one_rate = ppm.iter().all(|rate| *rate == ppm[0]);
        let boards = self.boards.unwrap_or(if one_rate { Boards::One } else { Boards::Three });
        if boards == Boards::One && !one_rate {
            return Err(wrong("one board has one sample clock: give --ppm one value, or --boards 3"));
        }
        if !self.from.is_empty() && self.from.len() != 1 && self.from.len() != boards.of(sources) {
            return Err(wrong("--from takes one address or one for each board"));
        }
        let highest = self.mic_ports.0.iter().max().map_or(0, |port| usize::from(*port));
        if !self.each_host && highest + (usize::from(self.arrays) - 1) * sources > usize::from(u16::MAX) {
            return Err(wrong(
                "the ports of so many --arrays do not fit below 65536; --each-host has all on the same ports",
            ));
        }
        if self.each_host && boards != Boards::One {
            return Err(wrong("--each-host is for arrays of one board: what comes from one address is one array"));
        }
        if self.samples_random && self.samples.len() == 1 {
            return Err(wrong("--samples-random needs several sizes in --samples"));
        }
        if self.record.is_some() && self.duration.is_none() && self.cycles.is_none() {
            return Err(wrong("--record needs an end: --duration or --cycles"));
        }
        let network = Network {
            delay: self.jitter.map_or(self.delay, Delay::Exp),
            loss: self.loss_ge.or(self.loss.map(Loss::Independent)).unwrap_or(Loss::None),
            cycle_loss: self.cycle_loss.map_or(Loss::None, Loss::Independent),
            hold_back: self.hold_back,
            duplicate: self.duplicate,
            reorder: self.reorder,
            fragments: self.fragments,
            ..Network::default()
        };
        let (network, then) = match self.impaired {
            None => (network, Vec::new()),
            Some((from, to)) => (Network::default(), vec![(from, network), (to, Network::default())]),
        };
        let scenario = Scenario {
            seed: self.seed,
            length: match self.cycles {
                Some(cycles) => Length::Cycles(cycles),
                None => Length::Time(self.duration.unwrap_or(Span::MAX)),
            },
            boards,
            sources,
            samples: self.samples[0],
            sending: self.sending(),
            sample_rate: self.sample_rate,
            rates: ppm.iter().map(|&ppm| if self.wander { Rate::wander(ppm) } else { Rate::Constant(ppm) }).collect(),
            network,
            then,
            drop_cycles: self.drop_cycles.clone(),
            mutes: self.mute.clone(),
            defects: self.defect.clone(),
            lags: self.lag.clone(),
            reboots: self.reboot.clone(),
            changes: self.change.iter().map(|&(at, samples, pieces)| self.changed(at, samples, pieces)).collect(),
            clean_cycles: self.clean_cycles,
            signal: self.signal,
            ..Scenario::default()
        };
        scenario.check().map_err(|why| wrong(&why))?;
        Ok(scenario)
    }

    fn changed(&self, at: Span, samples: u32, pieces: Pieces) -> Change {
        Change { at, samples, sending: Sending { pieces: pieces.0, mixed: None, unheard: 0, ..self.sending() } }
    }

    fn sending(&self) -> Sending {
        let mixed = Mixed { sizes: self.samples.clone(), random: self.samples_random };
        Sending {
            pieces: self.pieces.0,
            spacing: self.piece_spacing,
            chunks_per_read: self.chunks_per_read,
            order: self.piece_order,
            mixed: (self.samples.len() > 1).then_some(mixed),
            unheard: self.unheard,
            channels: self.channels.map_or(1, |all| all / self.mic_ports.0.len()) as u32,
        }
    }
}

/// Bytes of a full piece; `None` where a chunk leaves as one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces(pub Option<u32>);

pub(super) fn parse_pieces(text: &str) -> Result<Pieces, String> {
    if text == "none" {
        return Ok(Pieces(None));
    }
    // What UDP over IPv4 carries at most.
    let bytes = text.parse().ok().filter(|bytes| (1..=65_507).contains(bytes));
    bytes.map(|bytes| Pieces(Some(bytes))).ok_or("is neither none nor 1 to 65507 bytes".into())
}

fn parse_change(text: &str) -> Result<(Span, u32, Pieces), String> {
    let example = "needs a time, samples and pieces, like 30s=512/1460";
    let (at, rest) = text.split_once('=').ok_or(example)?;
    let (samples, pieces) = rest.split_once('/').ok_or(example)?;
    let samples = samples.parse().ok().filter(|samples| (1..=16_376).contains(samples));
    Ok((parse_span(at)?, samples.ok_or("has 1 to 16376 samples")?, parse_pieces(pieces)?))
}

fn parse_order(text: &str) -> Result<Order, String> {
    match text {
        "mic" => Ok(Order::ByMic),
        "turn" => Ok(Order::InTurn),
        _ => Err("is neither mic nor turn".into()),
    }
}

fn wrong(message: &str) -> clap::Error {
    Cli::command().error(ErrorKind::ArgumentConflict, message)
}

pub(super) fn parse_targets(text: &str) -> Result<PortList, String> {
    match parse_port_list(text)? {
        PortList(ports) if ports.contains(&0) => Err("nothing can be sent to port 0".into()),
        ports => Ok(ports),
    }
}

fn parse_boards(text: &str) -> Result<Boards, String> {
    match text {
        "1" => Ok(Boards::One),
        // Of three ports it was always called so.
        "each" | "3" => Ok(Boards::Three),
        _ => Err("is neither 1 nor each".into()),
    }
}

pub(super) fn parse_factor(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|factor| (0.01..=1000.0).contains(factor)).ok_or("is not a factor of 0.01 to 1000".into())
}

fn parse_ppm(text: &str) -> Result<f64, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|ppm: &f64| ppm.abs() <= 10_000.0)
        .ok_or("is not a rate error within 10000 ppm".into())
}

/// `0.03` or `3%`.
fn parse_probability(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 0.01));
    let p = number.trim().parse::<f64>().ok().map(|number| number * unit);
    p.filter(|p| (0.0..=1.0).contains(p)).ok_or(format!("`{text}` is not a probability, like 0.03 or 3%"))
}

fn parse_bursts(text: &str) -> Result<Loss, String> {
    let (overall, burst) = text.split_once(',').ok_or("needs a share and a burst length, like 1%,5")?;
    let overall = parse_probability(overall)?;
    let mean_burst = burst.trim().parse::<f64>().map_err(|_| format!("`{burst}` is not a burst length"))?;
    // Above this share good spells would have to be shorter than a packet.
    let reachable = mean_burst / (mean_burst + 1.0);
    if !(1.0..=1e6).contains(&mean_burst) || overall > reachable {
        return Err(format!("a mean burst of {mean_burst} packets cannot make a loss of {overall}"));
    }
    Ok(Loss::GilbertElliott { overall, mean_burst })
}

fn parse_reorder(text: &str) -> Result<Reorder, String> {
    let (probability, by) = match text.split_once(',') {
        Some((probability, by)) => (probability, parse_span(by)?),
        None => (text, Span::from_millis(20)),
    };
    Ok(Reorder { probability: parse_probability(probability)?, by })
}

fn parse_hold_back(text: &str) -> Result<HoldBack, String> {
    let (hold, every) = text.split_once('/').ok_or("needs two durations, like 80ms/1s")?;
    let (hold, every) = (parse_span(hold)?, parse_span(every)?);
    if hold >= every {
        return Err("is held back for longer than from one time to the next".into());
    }
    Ok(HoldBack { hold, every })
}

fn parse_drop(text: &str) -> Result<DropCycles, String> {
    let (cycles, at) = text.split_once('@').ok_or("needs a number and a time, like 5@10s")?;
    let cycles = cycles.trim().parse().map_err(|_| format!("`{cycles}` is not a number of cycles"))?;
    Ok(DropCycles { at: parse_span(at)?, cycles })
}

fn parse_mic(text: &str) -> Result<usize, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|mic| *mic < MOST_CHANNELS)
        .ok_or(format!("`{text}` is not a microphone: 0, 1, 2, ..."))
}

/// `FROM..TO` or `FROM..`.
fn parse_times(text: &str) -> Result<(Span, Span), String> {
    let (from, to) = text.split_once("..").ok_or("needs a time span, like 5s..8s")?;
    let from = parse_span(from)?;
    let to = if to.is_empty() { Span::MAX } else { parse_span(to)? };
    if from >= to { Err(format!("`{text}` ends before it begins")) } else { Ok((from, to)) }
}

fn parse_mute(text: &str) -> Result<Mute, String> {
    let (mic, times) = text.split_once('@').ok_or("needs a microphone and its times, like 1@5s..8s")?;
    let (from, to) = parse_times(times)?;
    Ok(Mute { mic: parse_mic(mic)?, from, to })
}

fn parse_defect(text: &str) -> Result<Defect, String> {
    let example = "needs a microphone, what is wrong and its times, like 1=offset@5s..8s";
    let (mic, rest) = text.split_once('=').ok_or(example)?;
    let (wrong, times) = rest.split_once('@').ok_or(example)?;
    let (from, to) = parse_times(times)?;
    Ok(Defect { mic: parse_mic(mic)?, wrong: wrong.parse()?, from, to })
}

fn parse_lag(text: &str) -> Result<Lag, String> {
    let example = "needs a microphone, a delay and its times, like 2=16ms@5s..8s";
    let (mic, rest) = text.split_once('=').ok_or(example)?;
    let (by, times) = rest.split_once('@').ok_or(example)?;
    let (from, to) = parse_times(times)?;
    Ok(Lag { mic: parse_mic(mic)?, from, to, by: parse_span(by)? })
}

fn parse_reboot(text: &str) -> Result<Reboot, String> {
    let example = "needs a board, a time and how long it is down, like 1@30s/2s";
    let (board, rest) = text.split_once('@').ok_or(example)?;
    let (at, down) = rest.split_once('/').ok_or(example)?;
    let board = board.trim().parse().map_err(|_| format!("`{board}` is not a board"))?;
    Ok(Reboot { board, at: parse_span(at)?, down: parse_span(down)? })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Command;

    fn scenario(options: &str) -> Result<Scenario, clap::Error> {
        let line = ["micring", "simulate"].into_iter().chain(options.split_whitespace());
        match Cli::try_parse_from(line)?.command {
            Command::Simulate(args) => args.scenario(),
            other => panic!("simulate is simulate, not {other:?}"),
        }
    }

    #[test]
    fn options_become_the_scenario() {
        let found = scenario(
            "--duration 10s --ppm 20,-15,3 --loss-ge 1%,5 --hold-back 80ms/1s --drop-cycles 5@4s --mute 1@5s..8s \
             --mute 2@9s.. --lag 2=16ms@1s..2s --reorder 1%,5ms --duplicate 0.02 --reboot 1@6s/500ms --delay wifi",
        );
        let wanted = Scenario {
            rates: [20.0, -15.0, 3.0].map(Rate::Constant).to_vec(),
            network: Network {
                delay: Delay::Wifi,
                loss: Loss::BURSTS,
                hold_back: Some(HoldBack { hold: Span::from_millis(80), every: Span::from_secs(1) }),
                duplicate: 0.02,
                reorder: Some(Reorder { probability: 0.01, by: Span::from_millis(5) }),
                ..Network::default()
            },
            drop_cycles: vec![DropCycles { at: Span::from_secs(4), cycles: 5 }],
            mutes: vec![
                Mute { mic: 1, from: Span::from_secs(5), to: Span::from_secs(8) },
                Mute { mic: 2, from: Span::from_secs(9), to: Span::MAX },
            ],
            lags: vec![Lag { mic: 2, from: Span::from_secs(1), to: Span::from_secs(2), by: Span::from_millis(16) }],
            reboots: vec![Reboot { board: 1, at: Span::from_secs(6), down: Span::from_millis(500) }],
            ..Scenario::three_boards(Span::from_secs(10))
        };
        assert_eq!(found.expect("these options agree"), wanted);
    }

    #[test]
    fn chunks_and_their_pieces_are_as_asked_for() {
        let sending = |options| scenario(options).expect("these options agree").sending;
        assert_eq!(sending(""), Sending::default());
        assert_eq!(sending("--pieces none --samples 360"), Sending::default());
        assert_eq!(sending("--pieces 1460"), Sending::in_pieces(1460));
        let wanted = Sending {
            spacing: Span::from_micros(50),
            chunks_per_read: 2,
            order: Order::InTurn,
            mixed: Some(Mixed { sizes: vec![512, 360], random: true }),
            unheard: 1,
            ..Sending::in_pieces(1458)
        };
        let options = "--pieces 1458 --piece-spacing 50us --chunks-per-read 2 --piece-order turn --unheard 1";
        assert_eq!(sending(&format!("{options} --samples 512,360 --samples-random")), wanted);
        let changed = scenario("--pieces 1460 --change 5s=512/1440 --change 9s=360/none").expect("these options agree");
        let change = |at, samples, sending| Change { at: Span::from_secs(at), samples, sending };
        let wanted = [change(5, 512, Sending::in_pieces(1440)), change(9, 360, Sending::default())];
        assert_eq!(changed.changes, wanted);
    }

    #[test]
    fn impairments_can_have_a_time_of_their_own() {
        let found = scenario("--impaired 5s..8s --loss 3%").expect("these options agree");
        let lossy = Network { loss: Loss::Independent(0.03), ..Network::default() };
        let back = (Span::from_secs(8), Network::default());
        assert_eq!((found.network, found.then), (Network::default(), vec![(Span::from_secs(5), lossy), back]));
    }

    #[test]
    fn contradictions_are_wrong_usage() {
        for options in [
            "--boards 1 --ppm 1,2,3",
            "--ppm 1,2",
            "--duration 5s --cycles 7",
            "--loss 3% --loss-ge 1%,5",
            "--loss 1.2",
            "--loss-ge 90%,2",
            "--delay exp1 --jitter 2ms",
            "--delay exp",
            "--hold-back 2s/1s",
            "--mute 3@1s..2s",
            "--mute 1@2s..1s",
            "--defect 1=rust@2s..",
            "--defect 3=offset@2s..",
            "--boards 2",
            "--mic-ports 30001,30002,0",
            "--reboot 1@5s/1s",
            "--cycles 0",
            "--signal sine",
            "--pieces 0",
            "--pieces some",
            "--pieces 4",
            "--samples 512,0",
            "--samples 512 --samples-random",
            "--unheard 3",
            "--change 5s=512",
            "--change 9s=512/1460 --change 5s=512/none",
            "--piece-order both",
        ] {
            let error = scenario(options).err().unwrap_or_else(|| panic!("{options} was taken"));
            assert_eq!(error.exit_code(), 2, "{options}");
        }
    }
}
