//! A day: every impairment in turn, one board in the first half and three in the second.

use micring::MICS;
use micring::sim::{DropCycles, HoldBack, HostClock, HostEvent, Loss, Mute, Network, Rate, Reboot, Reorder, Scenario};
use micring::time::Span;

use super::boards::RATES;
use super::models::delay;
use super::rig::{Rig, config};

const HOURS: i64 = 24;
/// In bytes: what a longer backlog may add; a byte a cycle would be six times as much. In an hour's stages of four minutes the clocks
/// still fill the eight minutes that they look back.
const GROWTH: i64 = if cfg!(debug_assertions) { 160 << 10 } else { 64 << 10 };

/// How far the counters can be held against the truth.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    /// `lost` is what was withheld, to the packet, and nothing was taken back.
    Exactly,
    /// Arrivals cannot tell everything: `lost` may be off by so many in a million packets.
    Within(u64),
}

#[test]
fn virtual_day() {
    // A debug build takes an hour of it: the same stages, shorter.
    let stages = stages();
    let seconds = HOURS * 3_600 / stages.len() as i64 / if cfg!(debug_assertions) { 24 } else { 1 };
    println!("{} stages of {seconds} s", stages.len());
    let mut virtual_seconds = 0;
    for (k, (name, known, scenario)) in stages.into_iter().enumerate() {
        let seed = 9_000 + k as u64;
        let length = micring::sim::Length::Time(Span::from_secs(seconds));
        // What the engine held after a third of the stage: by then clocks, windows and queues have all they will ever have.
        let (mut third, mut begun) = (None, None);
        let scenario = Scenario { seed, length, clean_cycles: 200, ..scenario };
        let (rig, sim) = Rig::run_long_with(&scenario, config(), |rig, packet| {
            let begun = *begun.get_or_insert(packet.arrival);
            if packet.arrival - begun > Span::from_secs(seconds / 3) {
                third.get_or_insert(rig.grown);
            }
        });
        let grown = rig.grown - third.expect("the stage went on");
        let (c, truth) = (rig.engine.counters(), &sim.truth().mics);
        let withheld = truth.map(|m| m.withheld());
        println!(
            "seed {seed} {name}: {} cycles, misaligned frames {}, lost {:?} of {withheld:?}, corrected {:?}, late {:?}, duplicate {:?}, slips {:?}, memory {grown:+} bytes",
            c.cycles.emitted,
            rig.misaligned,
            rig.lost(),
            c.mics.map(|m| m.corrected),
            c.mics.map(|m| m.late),
            c.mics.map(|m| m.duplicate),
            c.mics.map(|m| m.slips),
        );
        assert!(grown < GROWTH, "{name}: {grown} bytes more than after a third of it");
        assert_eq!(c.cycles.emitted, c.cycles.complete + c.cycles.incomplete);
        assert_eq!(c.cycles.emitted, rig.cycles);
        for mic in 0..MICS {
            let m = c.mics[mic];
            let came = truth[mic].delivered() + truth[mic].duplicated;
            assert_eq!(m.received + m.duplicate + m.foreign, came, "{name}: every packet is counted once");
            match known {
                Known::Exactly => assert_eq!((m.lost, m.corrected), (withheld[mic], 0), "{name}"),
                Known::Within(ppm) => {
                    let off = m.lost.abs_diff(withheld[mic]);
                    assert!(off <= 2 + came * ppm / 1_000_000, "{name}: off by {off}");
                }
            }
        }
        if known == Known::Exactly && rig.engine.is_shared() {
            assert_eq!(rig.misaligned, 0, "{name}");
        }
        virtual_seconds += seconds;
    }
    println!("{virtual_seconds} s of virtual time");
}

fn stages() -> Vec<(&'static str, Known, Scenario)> {
    let one = |network: Network| Scenario {
        network,
        rates: [35.0; MICS].map(Rate::Constant).to_vec(),
        ..Scenario::one_board(Span::ZERO)
    };
    let three = |network: Network| Scenario {
        network,
        rates: RATES.map(Rate::Constant).to_vec(),
        ..Scenario::three_boards(Span::ZERO)
    };
    let path = |model: &str, loss: Loss| Network { delay: delay(model), loss, ..Network::default() };
    let independent = Loss::Independent;
    let secs = Span::from_secs;
    let minute = |k: i64| secs(60 * k);
    vec![
        ("one board, exp1, 3 %", Known::Exactly, one(path("exp1", independent(0.03)))),
        ("one board, wifi, 1 %", Known::Within(10), one(path("wifi", independent(0.01)))),
        ("one board, ramp, 3 %", Known::Exactly, one(path("ramp", independent(0.03)))),
        (
            "one board, 80 ms held back every second, five cycles lost a minute",
            Known::Within(10),
            Scenario {
                drop_cycles: (1..100).map(|k| DropCycles { at: minute(k) + secs(1), cycles: 5 }).collect(),
                ..one(Network {
                    hold_back: Some(HoldBack { hold: Span::from_millis(80), every: secs(1) }),
                    ..Network::default()
                })
            },
        ),
        (
            "one board, duplicated and reordered, fragments",
            Known::Within(200),
            one(Network {
                duplicate: 0.01,
                reorder: Some(Reorder { probability: 0.001, by: Span::from_millis(20) }),
                fragments: true,
                loss: independent(0.003),
                ..Network::default()
            }),
        ),
        (
            "one board, bursts of loss, a microphone dies, the host's clock steps",
            Known::Within(200),
            Scenario {
                mutes: vec![Mute { mic: 2, from: minute(1), to: minute(2) }],
                host: HostClock {
                    ppm: 12.0,
                    events: vec![
                        HostEvent::Step { at: secs(30), by: secs(-1) },
                        HostEvent::Slew { at: secs(40), lasting: secs(60), ppm: -500.0 },
                    ],
                },
                ..one(path("exp1", Loss::BURSTS))
            },
        ),
        ("one board, mix, 1 %", Known::Within(1_000), one(path("mix", independent(0.01)))),
        ("three boards, wifi", Known::Exactly, three(path("wifi", Loss::None))),
        ("three boards, exp1, 1 %", Known::Exactly, three(path("exp1", independent(0.01)))),
        ("three boards, ramp, 1 %", Known::Within(50), three(path("ramp", independent(0.01)))),
        ("three boards, queue", Known::Within(10), three(path("queue", Loss::None))),
        (
            "three boards, wander, wifi, 1 %",
            Known::Within(200),
            Scenario { rates: RATES.map(Rate::wander).to_vec(), ..three(path("wifi", independent(0.01))) },
        ),
        (
            "three boards, exp2, one restarts",
            Known::Within(200),
            Scenario {
                reboots: vec![Reboot { board: 1, at: secs(70), down: secs(2) }],
                ..three(path("exp2", independent(0.01)))
            },
        ),
        ("three boards, mix, 1 %", Known::Within(5_000), three(path("mix", independent(0.01)))),
    ]
}
