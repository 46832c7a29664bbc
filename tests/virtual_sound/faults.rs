//! Each fault of a microphone is named within three seconds, and good ones have none.

use micring::array::Layout;
use micring::cycle::Clocks;
use micring::engine::{ClockChoice, Config, Datagram, Engine, Hold};
use micring::sim::room::Sounds;
use micring::sim::{Defect, START, Scenario, Sending, Signal, Sim, Wrong};
use micring::time::Span;

/// Faults told, as microphone and name, with the time since the start of the run of the first telling and the last.
fn told(scenario: &Scenario) -> Vec<(usize, String, Span, Span)> {
    let mut engine = Engine::new(Config {
        layout: Layout::mono(3),
        sample_rate: 48_000,
        clock: ClockChoice::Auto,
        hold: Hold::Auto,
        resample: false,
        history: Span::from_secs(5),
        max_datagram: 8192,
    });
    let (mut sim, mut payload) = (Sim::new(scenario), Vec::new());
    let mut told: Vec<(usize, String, Span, Span)> = Vec::new();
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        engine.begin_turn(Clocks { mono: packet.arrival, wall: packet.stamp });
        let sender = sim.sender(&packet);
        let datagram = Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len: payload.len() };
        engine.handle_datagram(&datagram);
        engine.handle_timeout();
        while engine.poll_output().is_some() {}
        let since = packet.arrival - START;
        for fault in engine.health().faults(packet.mic, packet.arrival) {
            let name = fault.kind.name().to_string();
            match told.iter_mut().find(|(mic, other, ..)| *mic == packet.mic && *other == name) {
                Some(known) => known.3 = since,
                None => told.push((packet.mic, name, since, since)),
            }
        }
    }
    told
}

const FROM: Span = Span::from_secs(2);
const TO: Span = Span::from_secs(6);

#[test]
fn each_fault_is_named_within_three_seconds_and_ends() {
    let all = [
        (Wrong::Dead, "dead"),
        (Wrong::StuckBit, "stuck_bits"),
        (Wrong::Offset, "offset"),
        (Wrong::Clipping, "clipping"),
        (Wrong::HalfEmpty, "half_empty"),
        (Wrong::Shifted, "shifted_words"),
        (Wrong::Swapped, "shifted_words"),
        (Wrong::Header, "header_in_audio"),
        (Wrong::Copy, "same_as_mic0"),
    ];
    for (wrong, name) in all {
        // A piece may begin in either slot, and only one of two has the header.
        let in_pieces = matches!(wrong, Wrong::HalfEmpty | Wrong::Header).then(|| Sending::in_pieces(1460));
        for sending in [Sending::default()].into_iter().chain(in_pieces) {
            let scenario = Scenario {
                signal: Signal::Room(Sounds::Speech),
                sending,
                defects: vec![Defect { mic: 1, wrong, from: FROM, to: TO }],
                ..Scenario::one_board(Span::from_secs(10))
            };
            let told = told(&scenario);
            let [(mic, found, first, last)] = &told[..] else { panic!("{wrong:?}: {told:?}") };
            assert_eq!((*mic, found.as_str()), (1, name), "{wrong:?}");
            assert!(*first >= FROM && *first <= FROM + Span::from_secs(3), "{wrong:?}: {told:?}");
            // Clipping comes and goes with the sound: it is told for some time longer.
            assert!(wrong == Wrong::Clipping || *last <= TO + Span::from_secs(3), "{wrong:?}: {told:?}");
        }
    }
}

#[test]
fn good_microphones_have_no_fault() {
    for sounds in [Sounds::Speech, Sounds::Music, Sounds::Fan, Sounds::Claps, Sounds::Hum, Sounds::Quiet] {
        for boards in [Scenario::one_board(Span::from_secs(8)), Scenario::three_boards(Span::from_secs(8))] {
            let told = told(&Scenario { signal: Signal::Room(sounds), ..boards });
            assert!(told.is_empty(), "{sounds:?}: {told:?}");
        }
    }
}
