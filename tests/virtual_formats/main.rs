//! Sources of every format, in virtual time and against known truth: what is lost, late or a copy is known, every sample stands
//! where it was captured, and nothing is held in doubt.

mod alone;
mod audiovision;
mod chance;
mod firmware;
mod refused;
mod rig;
mod sizes;
mod timed;
mod told;

use micring::engine::ClockChoice;
use micring::sim::{Boards, Delay, Length, Loss, Network, Rate, Reorder, Scenario};
use micring::time::Span;

use rig::{Played, numbered, play};

/// Everything that a network does to packets.
fn rough(seed: u64, boards: Boards, samples: u32, rate: u32) -> Scenario {
    let network = Network {
        delay: Delay::Wifi,
        loss: Loss::Independent(0.03),
        duplicate: 0.01,
        reorder: Some(Reorder { probability: 0.02, by: Span::from_millis(15) }),
        ..Network::default()
    };
    Scenario { seed, boards, samples, sample_rate: rate, network, ..Scenario::one_board(Span::from_secs(40)) }
}

/// What must hold of any numbered array whose boards keep time: each channel has one offset from the truth, to the last sample, and
/// lacks what was withheld and nothing else.
fn check(what: &str, played: &Played, one_clock: bool) {
    let counters = played.engine.counters();
    for (mic, truth) in played.sim.truth().mics.iter().enumerate() {
        let told = &counters.mics[mic];
        let context = format!("{what}, mic {mic}: {told:?}");
        assert!(told.known, "{context}");
        assert_eq!(told.lost, truth.lost, "{context}: lost");
        assert_eq!(told.duplicate, truth.duplicated, "{context}: copies");
        assert_eq!((told.malformed, told.jumps, told.corrected, told.slips), (0, 0, 0, 0), "{context}");
        assert_eq!(told.received + truth.lost, truth.captured, "{context}: each is one or the other");
        let channel = played.channel(mic);
        assert_eq!(channel.offsets.len(), 1, "{context}: {:?}", channel.offsets);
        assert_eq!(channel.missing, channel.withheld, "{context}: gaps are those of lost packets");
        assert!(channel.withheld > 0, "{context}: the network lost something");
    }
    let offsets: Vec<i64> = (0..3).map(|mic| *played.channel(mic).offsets.iter().next().expect("one")).collect();
    if one_clock {
        assert_eq!(offsets, [offsets[0]; 3], "{what}: one clock, one axis");
    }
}

#[test]
fn one_board_s_numbered_packets_stand_where_they_were_captured() {
    for (seed, format, samples, rate) in [
        (1, "raw:s32le,skip=12,seq=u32le@0,time=u32le@4:us", 357, 48_000),
        (2, "raw:s24be,skip=4,seq=u16be@2", 480, 48_000),
        (3, "vban", 256, 48_000),
        (4, "vban", 128, 16_000),
        (5, "rtp:L24/48000/1", 480, 48_000),
        (6, "rtp:L16/44100/1,pt=11", 441, 44_100),
        (7, "rtp:L24/96000/1,pt=97", 96, 96_000),
    ] {
        for clock in [ClockChoice::Auto, ClockChoice::Shared] {
            let played = play(&rough(seed, Boards::One, samples, rate), format, clock);
            check(&format!("seed {seed}, {format}, {clock:?}"), &played, true);
            assert_eq!(played.engine.clock_name(), "shared");
        }
    }
}

#[test]
fn free_boards_numbered_packets_stand_where_they_were_captured() {
    for (seed, format, samples, rate) in [
        (11, "raw:s32le,skip=4,seq=u32le@0", 512, 48_000),
        (12, "vban", 200, 44_100),
        (13, "rtp:L24/48000/1", 240, 48_000),
    ] {
        let played = play(&rough(seed, Boards::Three, samples, rate), format, ClockChoice::Auto);
        check(&format!("seed {seed}, {format}"), &played, false);
        assert_eq!(played.engine.clock_name(), "independent");
    }
}

#[test]
fn free_boards_that_drift_slip_by_single_samples_and_know_their_losses_all_the_same() {
    let rates = [40.0, -30.0, 5.0].map(Rate::Constant);
    // All of it stays in the history.
    let length = Length::Time(Span::from_secs(25));
    let scenario = Scenario { rates: rates.to_vec(), length, ..rough(21, Boards::Three, 480, 48_000) };
    let played = play(&scenario, "rtp:L24/48000/1", ClockChoice::Auto);
    for (mic, truth) in played.sim.truth().mics.iter().enumerate() {
        let told = &played.engine.counters().mics[mic];
        assert_eq!(
            (told.lost, told.duplicate, told.corrected),
            (truth.lost, truth.duplicated, 0),
            "mic {mic}: {told:?}"
        );
        let offsets = played.channel(mic).offsets;
        let (low, high) = (offsets.first().expect("some"), offsets.last().expect("some"));
        // The newest slip may wait for the next packet.
        // Mic 2 keeps the middle.
        assert!(
            (told.slips > 0) == (mic < 2) && told.slips - (high - low) as u64 <= 1,
            "mic {mic}: {low} to {high}: {told:?}"
        );
    }
}

#[test]
fn a_source_that_declares_nothing_is_found_out_and_loses_nothing_by_it() {
    for (format, samples, rate) in [("vban", 256, 48_000), ("rtp", 441, 44_100)] {
        let scenario = Scenario { network: Network::default(), ..rough(31, Boards::One, samples, rate) };
        let played = rig::play_as(&scenario, &numbered(format), "auto", ClockChoice::Auto);
        for (mic, truth) in played.sim.truth().mics.iter().enumerate() {
            let told = &played.engine.counters().mics[mic];
            assert_eq!((told.received, told.lost, told.malformed), (truth.captured, 0, 0), "{format}, mic {mic}");
            assert!(told.known);
            let name = played.engine.format(mic).to_string();
            assert!(name.starts_with(format), "{name}");
            let line = format!("mic {mic}: 192.168.4.10:50000 sends {name}");
            assert_eq!(played.logs.iter().filter(|said| **said == line).count(), 1, "{:?}", played.logs);
        }
    }
}
