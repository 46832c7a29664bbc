//! Packets from the smallest to the largest that VBAN and RTP have in use, at the rates in use: aligned to the sample, nothing lost or
//! in doubt, and each cycle leaves the moment its last packet is read.

use micring::engine::ClockChoice;
use micring::sim::{Boards, Length, Network, Scenario};
use micring::time::Span;

use super::rig::{LOOP_DELAY, play};

/// Bytes of samples.
const BYTES: [u32; 5] = [64, 256, 512, 1_024, 1_436];
const RATES: [u32; 4] = [16_000, 44_100, 48_000, 96_000];
/// So many packets of each source, and no less than four seconds of them.
const PACKETS: i64 = 2_000;

#[test]
fn packets_of_64_to_1436_bytes_at_every_rate_are_aligned_and_none_is_held() {
    for rate in RATES {
        for bytes in BYTES {
            // VBAN as the simulator sends it has samples of 4 bytes, 256 of them at most.
            let l24 = format!("rtp:L24/{rate}/1");
            let l16 = format!("rtp:L16/{rate}/1");
            for (format, samples) in [("vban", bytes / 4), (&l24, bytes / 3), (&l16, bytes / 2)] {
                if format == "vban" && samples > 256 {
                    continue;
                }
                let time = Span::of_frames(PACKETS * i64::from(samples), rate).max(Span::from_secs(4));
                let scenario = Scenario {
                    seed: 81,
                    samples,
                    sample_rate: rate,
                    length: Length::Time(time.min(Span::from_secs(20))),
                    // One board sends its three packets within the time that one holds.
                    spacing: Span::from_micros(20),
                    network: Network::default(),
                    boards: Boards::One,
                    ..Scenario::default()
                };
                let what = format!("{format} of {bytes} bytes at {rate} Hz");
                let played = play(&scenario, format, ClockChoice::Auto);
                let counters = played.engine.counters();
                let mut offsets = Vec::new();
                for (mic, truth) in played.sim.truth().mics.iter().enumerate() {
                    let told = &counters.mics[mic];
                    assert_eq!((told.received, told.lost, told.late), (truth.captured, 0, 0), "{what}: {told:?}");
                    assert_eq!((told.malformed, told.duplicate, told.jumps), (0, 0, 0), "{what}: {told:?}");
                    assert_eq!((told.corrected, told.slips), (0, 0), "{what}: {told:?}");
                    let channel = played.channel(mic);
                    assert_eq!((channel.missing, channel.withheld), (0, 0), "{what}, mic {mic}");
                    offsets.extend(channel.offsets);
                }
                assert!(
                    offsets.len() == 3 && offsets.iter().all(|offset| *offset == offsets[0]),
                    "{what}: {offsets:?}"
                );
                let cycles = counters.cycles;
                assert_eq!((cycles.incomplete, cycles.skipped), (0, 0), "{what}: {cycles:?}");
                assert!(played.held <= LOOP_DELAY, "{what}: held for {:?}", played.held);
            }
        }
    }
}
