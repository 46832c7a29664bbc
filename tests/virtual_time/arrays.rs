//! Arrays of other sizes than three: any number of sources, and sources of several channels. Of each frame that left, the index signal says
//! which channel's sample and which position it is; the simulator says when that was captured, and what never came.

use std::collections::BTreeMap;

use micring::array::Layout;
use micring::engine::{ClockChoice, Config, Datagram, Engine, Output};
use micring::sim::{Boards, Loss, Network, Packet, Rate, Scenario, Sending, Sim, index_bits, index_of};
use micring::time::{MonoTime, Span};

use super::models::delay;
use super::rig::config;

/// From a packet's arrival until it is read.
const LOOP_DELAY: Span = Span::from_micros(60);

/// What left, and how it stands to the truth.
struct Seen {
    engine: Engine,
    sim: Sim,
    frames: u64,
    /// Frames of which two channels do not show the same position (of one board).
    misaligned: u64,
    /// Samples that are another channel's, or that not all channels of a source have.
    strange: u64,
    /// Samples that are missing, of all channels.
    missing: u64,
    /// Distances between channels of free boards, one a cycle, in samples; sorted.
    spreads: Vec<f64>,
    logs: Vec<String>,
}

impl Seen {
    fn spread(&self, share: f64) -> f64 {
        self.spreads[((self.spreads.len() - 1) as f64 * share) as usize]
    }

    fn lost(&self) -> Vec<u64> {
        self.engine.counters().mics.map(|mic| mic.lost)
    }

    fn truly_lost(&self) -> Vec<u64> {
        self.sim.truth().mics.map(|mic| mic.lost_chunks)
    }
}

/// When each chunk's last sample was captured, in samples since the start, and the rate then: by source and position of its first.
type Captured = Vec<BTreeMap<i64, (f64, i64, f64)>>;

fn run(scenario: &Scenario, config: Config) -> Seen {
    let layout = scenario.layout();
    let mut seen = Seen {
        engine: Engine::new(Config { layout, ..config }),
        sim: Sim::new(scenario),
        frames: 0,
        misaligned: 0,
        strange: 0,
        missing: 0,
        spreads: Vec::new(),
        logs: Vec::new(),
    };
    let mut captured: Captured = vec![BTreeMap::new(); layout.sources()];
    let (mut payload, mut now) = (Vec::new(), MonoTime::from_nanos(0));
    while let Some(packet) = seen.sim.next() {
        wait_until(&mut seen, &mut now, packet.arrival, &captured, &layout);
        note(&mut captured, &packet);
        seen.sim.payload(&packet, &mut payload);
        now = packet.arrival + LOOP_DELAY;
        seen.engine.begin_turn(seen.sim.clocks(now));
        let (mic, stamp, sender) = (packet.mic, packet.stamp, seen.sim.sender(&packet));
        seen.engine.handle_datagram(&Datagram { mic, stamp, sender, bytes: &payload, len: payload.len() });
        seen.engine.handle_timeout();
        look(&mut seen, &captured, &layout);
    }
    let end = now + Span::from_secs(1);
    wait_until(&mut seen, &mut now, end, &captured, &layout);
    seen.spreads.sort_by(f64::total_cmp);
    seen
}

fn wait_until(seen: &mut Seen, now: &mut MonoTime, until: MonoTime, captured: &Captured, layout: &Layout) {
    while let Some(due) = seen.engine.next_timeout().filter(|&due| due < until) {
        *now = due.max(*now);
        seen.engine.begin_turn(seen.sim.clocks(*now));
        seen.engine.handle_timeout();
        look(seen, captured, layout);
    }
}

fn note(captured: &mut Captured, packet: &Packet) {
    let end = (packet.captured - micring::sim::START).as_nanos() as f64 * 48e-6;
    let piece = packet.piece;
    captured[packet.mic].insert(piece.chunk.0, (end, i64::from(piece.chunk_samples), 1.0 + packet.ppm * 1e-6));
}

/// When a source captured its frame `position`, in samples of 1/48000 s.
fn when(captured: &Captured, source: usize, position: i64) -> Option<f64> {
    let (&chunk, &(end, samples, rate)) = captured[source].range(..=position).next_back()?;
    (position < chunk + samples).then(|| end - (chunk + samples - position) as f64 / rate)
}

/// Looks at every frame that has left.
fn look(seen: &mut Seen, captured: &Captured, layout: &Layout) {
    let channels = layout.channels();
    let period = 1 << index_bits(channels);
    while let Some(output) = seen.engine.poll_output() {
        let cycle = match output {
            Output::Cycle(cycle) => cycle,
            Output::Log(line) => {
                seen.logs.push(line);
                continue;
            }
        };
        assert_eq!((cycle.mic_samples.len(), cycle.arrival.len()), (channels, channels));
        let mut words = Vec::new();
        let frames = cycle.frames as usize;
        seen.engine.history().append_to(&mut words, cycle.first_frame, frames).expect("the history holds what left");
        seen.frames += frames as u64;
        let mut there = vec![0; channels];
        let mut middle = vec![None; layout.sources()];
        for (at, frame) in words.chunks_exact(channels).enumerate() {
            let mut positions = vec![None; channels];
            for (channel, word) in frame.iter().enumerate() {
                let sample = i32::from_le_bytes(*word);
                if sample == 0 {
                    seen.missing += 1;
                    continue;
                }
                there[channel] += 1;
                let (of, position) = index_of(channels, sample);
                seen.strange += u64::from(of != Some(channel));
                positions[channel] = Some(position);
            }
            // Of one source all channels or none, at one position.
            for source in 0..layout.sources() {
                let own = &positions[layout.channels_of(source)];
                seen.strange += u64::from(own.iter().any(|position| *position != own[0]));
                if at == frames / 2 {
                    middle[source] = own[0];
                }
            }
            let mut known = positions.iter().flatten();
            let first = known.next();
            seen.misaligned += u64::from(seen.engine.is_shared() && known.any(|position| Some(position) != first));
        }
        assert_eq!(cycle.mic_samples[..], there[..], "what is missing is zeros");
        if !seen.engine.is_shared() {
            // A position has lost its upper bits: the newest that ends so was captured lately.
            let newest = |source: usize| captured[source].last_key_value().map_or(0, |(first, _)| *first + 511);
            let whole = |source: usize, last: i64| newest(source) - (newest(source) - last).rem_euclid(period);
            let times: Vec<f64> = (0..layout.sources())
                .filter_map(|source| when(captured, source, whole(source, middle[source]?)))
                .collect();
            let (low, high) = times.iter().fold((f64::MAX, f64::MIN), |(l, h), &t| (l.min(t), h.max(t)));
            if times.len() > 1 {
                seen.spreads.push(high - low);
            }
        }
    }
}

fn array(seed: u64, sources: usize, channels: u32, boards: Boards, seconds: i64, network: Network) -> Scenario {
    println!("seed {seed}, {sources} sources of {channels} channels, {boards:?}");
    // Spread over 40 ppm, none like another.
    let rates = (0..sources).map(|board| Rate::Constant(((board * 17) % 41) as f64 - 20.0)).collect();
    let sending = Sending { channels, ..Sending::default() };
    // The board's sends have to fit a period: 64 of them 100 us apart would take 6.4 of 10.7 ms.
    Scenario {
        seed,
        sources,
        boards,
        rates,
        sending,
        network,
        clean_cycles: 200,
        ..Scenario::one_board(Span::from_secs(seconds))
    }
}

const SIZES: [usize; 5] = [1, 2, 4, 8, 16];

#[test]
fn one_board_of_any_number_of_microphones_is_aligned_to_the_sample_under_loss_and_delay() {
    for sources in SIZES {
        let network = Network { loss: Loss::Independent(0.02), delay: delay("exp1"), ..Network::default() };
        let seen = run(&array(200 + sources as u64, sources, 1, Boards::One, 60, network), config());
        println!("lost {:?} of {:?}", seen.lost(), seen.truly_lost());
        assert!(seen.engine.is_shared() && seen.frames > 55 * 48_000);
        assert_eq!((seen.misaligned, seen.strange), (0, 0));
        assert_eq!(seen.lost(), seen.truly_lost());
        let cycles = seen.engine.counters().cycles;
        assert_eq!(cycles.emitted, cycles.complete + cycles.incomplete);
    }
}

#[test]
fn free_boards_of_any_number_stay_within_a_sample_and_a_quarter() {
    for sources in &SIZES[1..] {
        let network = Network { loss: Loss::Independent(0.01), delay: delay("exp1"), ..Network::default() };
        let seen = run(&array(300 + *sources as u64, *sources, 1, Boards::Three, 180, network), config());
        let slips: u64 = seen.engine.counters().mics.iter().map(|mic| mic.slips).sum();
        println!(
            "spread p50 {:.2}, p99.9 {:.2}, max {:.2} samples; {slips} slips; lost {:?} of {:?}",
            seen.spread(0.5),
            seen.spread(0.999),
            seen.spread(1.0),
            seen.lost(),
            seen.truly_lost()
        );
        assert!(!seen.engine.is_shared());
        assert_eq!(seen.strange, 0);
        // Beside what boards stand apart, the first minute has what their offsets are known to: 0.17 ms, 8 samples (clock notes,
        // section 5); half of the run must be as good as ever.
        assert!(seen.spread(0.5) < 1.25 + 0.75 && seen.spread(1.0) < 9.0, "{} {}", seen.spread(0.5), seen.spread(1.0));
        // What drifted apart slipped, and nothing slipped forth and back: each against the mean of all, over three minutes.
        assert!(slips as f64 <= 180.0 * 48_000.0 * 20e-6 * (*sources as f64) + 20.0 * *sources as f64, "{slips}");
        assert_eq!(seen.lost(), seen.truly_lost());
    }
}

#[test]
fn eight_interleaved_channels_of_one_port_are_put_together_from_pieces_that_cut_frames() {
    for (seed, pieces) in [(401, Some(1_460)), (402, None), (403, Some(1_458))] {
        let network = Network { loss: Loss::Independent(0.002), delay: delay("exp1"), ..Network::default() };
        let mut scenario = array(seed, 1, 8, Boards::One, 60, network);
        scenario.sending = Sending { pieces, channels: 8, spacing: Span::from_micros(60), ..Sending::default() };
        let seen = run(&scenario, Config { max_datagram: 65_000, ..config() });
        let (counters, truth) = (seen.engine.counters(), &seen.sim.truth().mics[0]);
        // A chunk that lacks its end and a piece of the usual size is no shorter than it could be: the next one's first may join it.
        let withheld = &seen.sim.truth().withheld;
        let ends = withheld.iter().filter(|lost| lost.piece.number + 1 == lost.piece.of && lost.piece.of > 1);
        let more = |cycle: u64| withheld.iter().filter(|lost| lost.cycle == cycle).count() > 1;
        let torn = ends.filter(|end| more(end.cycle)).count() as u64;
        println!("{pieces:?}: {counters:?}, truly {truth:?}, {torn} torn, {:?}", seen.logs);
        println!("{} misaligned, {} strange", seen.misaligned, seen.strange);
        assert!(seen.misaligned <= torn * 512 && seen.strange <= torn * 512 * 8);
        assert!(seen.frames > 55 * 48_000);
        assert_eq!(seen.engine.chunk(0).map(|(samples, _)| samples), Some(512));
        assert_eq!(counters.mics[0].lost, truth.lost_chunks);
        if pieces == Some(1_460) {
            // 16384 bytes are eleven of 1460 and a rest of 324. Of equal pieces which one is missing arrivals cannot tell: all that came of
            // them is left out.
            assert!(counters.mics[0].lost_pieces.abs_diff(truth.lost_pieces) <= 2, "{counters:?} {truth:?}");
            assert!(seen.missing > 0);
        }
        // But for the very first, of which it cannot be told that it is a piece when it cuts a sample.
        assert!(counters.mics[0].malformed <= 1, "{counters:?}");
        assert!(!seen.logs.iter().any(|line| line.contains("samples a second")), "{:?}", seen.logs);
    }
}

#[test]
fn the_seeds_later_firmware_of_three_interleaved_channels_in_five_pieces() {
    let network = Network { loss: Loss::Independent(0.005), delay: delay("exp1"), ..Network::default() };
    let mut scenario = array(411, 1, 3, Boards::One, 60, network);
    scenario.sending = Sending { pieces: Some(1_460), channels: 3, ..Sending::default() };
    let seen = run(&scenario, config());
    println!("{:?}; {:?}", seen.engine.counters(), seen.logs);
    assert_eq!((seen.misaligned, seen.strange), (0, 0));
    assert!(seen.logs.iter().any(|line| line.starts_with("mic 0 to 2: chunks of 512 samples, sent as 121.67 + ")));
    assert!(!seen.logs.iter().any(|line| line.contains("samples a second")), "its rate is right: {:?}", seen.logs);
}

#[test]
fn boards_of_two_channels_drift_together_and_apart_from_the_others() {
    for (seed, boards, resample) in [(421, Boards::Three, false), (422, Boards::Three, true), (423, Boards::One, false)]
    {
        let network = Network { loss: Loss::Independent(0.01), delay: delay("exp1"), ..Network::default() };
        let scenario = array(seed, 4, 2, boards, 90, network);
        let seen = run(&scenario, Config { resample, ..config() });
        assert_eq!(seen.engine.is_shared(), boards == Boards::One);
        if !resample {
            // Interpolated samples are no positions.
            assert_eq!((seen.misaligned, seen.strange), (0, 0));
        }
        assert_eq!(seen.lost(), seen.truly_lost());
        assert!(seen.frames > 80 * 48_000, "{}", seen.frames);
    }
}

#[test]
fn sixty_four_channels_of_one_board_and_of_free_boards() {
    let network = || Network { loss: Loss::Independent(0.01), ..Network::default() };
    let mut one = array(431, 64, 1, Boards::One, 20, network());
    one.spacing = Span::from_micros(50);
    let seen = run(&one, config());
    assert_eq!((seen.misaligned, seen.strange, seen.engine.layout().channels()), (0, 0, 64));
    assert_eq!(seen.lost(), seen.truly_lost());
    let seen =
        run(&array(432, 64, 1, Boards::Three, 20, network()), Config { clock: ClockChoice::Independent, ..config() });
    assert_eq!(seen.strange, 0);
    println!("spread of 64 free boards: {:.2} samples", seen.spread(0.5));
    assert!(seen.spread(0.9) < 9.0);
}
