//! Any packets, from anyone, at any time, in any turn: positions are never used twice, and every datagram is counted once.

use std::net::SocketAddr;

use micring::array::Layout;
use micring::cycle::Clocks;
use micring::engine::{ClockChoice, Config, Datagram, Engine, Hold, Output};
use micring::time::{KernelTime, MonoTime, Span};
use micring::wire::Format;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::mutate::mutated;
use crate::wire::{FORMATS, WORDS, datagrams};

#[derive(Clone, Debug)]
struct Sent {
    mic: usize,
    /// After the one before, in microseconds: the kernel's stamps come in order.
    after: i64,
    sender: u8,
    samples: usize,
    /// Bytes beyond whole samples, or that were cut.
    odd: usize,
    cut: usize,
    value: u8,
}

/// Mostly a board's packets, at its spacing; sometimes anything.
fn sent() -> impl Strategy<Value = Sent> {
    let after = prop_oneof![6 => Just(100), 3 => Just(31_800), 2 => 0..2_000_000_i64];
    let samples = prop_oneof![8 => Just(32_usize), 2 => 0..70_usize];
    let odd = prop_oneof![9 => Just(0_usize), 1 => 0..4_usize];
    let cut = prop_oneof![9 => Just(0_usize), 1 => 0..9_usize];
    let sender = prop_oneof![9 => Just(0_u8), 1 => 0..3_u8];
    (0..3_usize, after, sender, samples, odd, cut, any::<u8>()).prop_map(
        |(mic, after, sender, samples, odd, cut, value)| Sent { mic, after, sender, samples, odd, cut, value },
    )
}

proptest! {
    #![proptest_config(crate::mutate::config())]

    #[test]
    fn engine(
        all in vec(sent(), 1..80),
        clock in prop_oneof![Just(ClockChoice::Auto), Just(ClockChoice::Shared), Just(ClockChoice::Independent)],
        fixed in prop_oneof![Just(None), (0..50_i64).prop_map(Some)],
        resample in any::<bool>(),
    ) {
        let hold = fixed.map_or(Hold::Auto, |ms| Hold::Fixed(Span::from_millis(ms)));
        let mut engine =
            Engine::new(Config { layout: Layout::mono(3), sample_rate: 1000, clock, hold, history: Span::from_millis(500), max_datagram: 256, resample });
        let wall = KernelTime::from_nanos(1_795_341_900_000_000_000);
        let (mut now, mut latest) = (Span::ZERO, Span::ZERO);
        let (mut next_frame, mut next_id) = (i64::MIN, 0);
        let mut fed = [0_u64; 3];
        for one in &all {
            now += Span::from_micros(one.after);
            latest = latest.max(now);
            // The kernel's stamp may lie before what was read already; the loop's clock goes on.
            let clocks = Clocks { mono: MonoTime::from_nanos(0) + latest, wall: wall + latest };
            let mut bytes = vec![one.value; one.samples * 4 + one.odd];
            // A constant packet is no copy of another: half of them have a last byte of their own.
            if let Some(last) = bytes.last_mut().filter(|_| one.value & 1 == 1) {
                *last ^= 0x80;
            }
            let len = bytes.len() + one.cut;
            let sender = SocketAddr::from(([192, 0, 2, one.sender], 4000));
            engine.begin_turn(clocks);
            engine.handle_datagram(&Datagram { mic: one.mic, stamp: wall + now, sender, bytes: &bytes, len });
            fed[one.mic] += 1;
            engine.handle_timeout();
            while let Some(output) = engine.poll_output() {
                if let Output::Cycle(cycle) = output {
                    prop_assert!(cycle.first_frame.0 >= next_frame, "positions are never used twice");
                    prop_assert_eq!(cycle.id, next_id);
                    prop_assert!(cycle.frames > 0 && cycle.mic_samples.iter().all(|&samples| samples <= cycle.frames));
                    next_frame = cycle.first_frame.0 + i64::from(cycle.frames);
                    next_id += 1;
                }
            }
        }
        for (mic, fed) in fed.into_iter().enumerate() {
            let counters = &engine.counters().mics[mic];
            let counted =
                counters.received + counters.malformed + counters.truncated + counters.foreign + counters.duplicate;
            let counted = counted + engine.undecided(mic) as u64;
            prop_assert_eq!(counted, fed, "mic {}: each datagram is counted once: {:?}", mic, counters);
        }
    }
}

proptest! {
    #![proptest_config(crate::mutate::config())]

    /// Datagrams of every format, changed, as each format: whatever they hold, positions are never used twice.
    #[test]
    fn formats(
        all in vec((mutated(datagrams(), WORDS), 0..20_000_i64), 1..40),
        format in prop::sample::select(FORMATS),
        sources in 1..3_usize,
    ) {
        let format: Format = format.parse().expect("a format of the list");
        let channels = usize::from(format.channels().unwrap_or(1));
        let layout = Layout::new(&vec![channels; if channels > 3 { 1 } else { sources }]).expect("64 channels at most");
        let config = Config {
            layout, sample_rate: format.rate().unwrap_or(48_000), clock: ClockChoice::Auto, hold: Hold::Auto,
            history: Span::from_millis(500), max_datagram: 8192, resample: false,
        };
        let mut engine = Engine::new(config).declared(&vec![format; sources]);
        let wall = KernelTime::from_nanos(1_795_341_900_000_000_000);
        let (mut now, mut next_frame) = (Span::ZERO, i64::MIN);
        for (nth, (bytes, after)) in all.iter().enumerate() {
            now += Span::from_micros(*after);
            engine.begin_turn(Clocks { mono: MonoTime::from_nanos(0) + now, wall: wall + now });
            let sender = SocketAddr::from(([192, 0, 2, 1], 4000));
            let mic = nth % engine.layout().sources();
            engine.handle_datagram(&Datagram { mic, stamp: wall + now, sender, bytes, len: bytes.len() });
            engine.handle_timeout();
            while let Some(output) = engine.poll_output() {
                if let Output::Cycle(cycle) = output {
                    prop_assert!(cycle.first_frame.0 >= next_frame, "positions are never used twice");
                    prop_assert!(cycle.frames > 0 && cycle.mic_samples.iter().all(|&samples| samples <= cycle.frames));
                    next_frame = cycle.first_frame.0 + i64::from(cycle.frames);
                }
            }
        }
    }
}
