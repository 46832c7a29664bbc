//! What arrival times alone would have said of numbered sources: the inference measured against known numbers.

use micring::engine::ClockChoice;
use micring::sim::{Boards, Delay, Loss, Network, Scenario};
use micring::time::Span;

use super::rig::{numbered, play, play_with};

fn scenario(seed: u64, boards: Boards, loss: Loss) -> Scenario {
    let network = Network { delay: Delay::Wifi, loss, ..Network::default() };
    Scenario { seed, boards, samples: 480, network, ..Scenario::one_board(Span::from_secs(120)) }
}

#[test]
fn the_inference_is_held_against_the_numbers() {
    println!("| boards | loss | lost | agree | missed | invented | shifted packets of |");
    println!("|---|---|---|---|---|---|---|");
    for boards in [Boards::One, Boards::Three] {
        for (name, loss) in [
            ("none", Loss::Independent(0.0)),
            ("1 %", Loss::Independent(0.01)),
            ("3 %", Loss::Independent(0.03)),
            ("10 %", Loss::Independent(0.10)),
            ("bursts", Loss::BURSTS),
        ] {
            let played = play(&scenario(41, boards, loss), "rtp:L24/48000/1", ClockChoice::Auto);
            let mut sums = [0; 6];
            for (mic, truth) in played.sim.truth().mics.iter().enumerate() {
                let told = &played.engine.counters().mics[mic];
                assert_eq!(told.lost, truth.lost, "{boards:?}, {name}, mic {mic}");
                let i = told.inference;
                // Up to what it has not decided yet at the end.
                assert!(i.agree + i.missed <= told.lost && told.lost - (i.agree + i.missed) < 20, "{i:?} of {told:?}");
                let of = [told.lost, i.agree, i.missed, i.invented, i.shifted, told.received];
                sums.iter_mut().zip(of).for_each(|(sum, of)| *sum += of);
            }
            let [lost, agree, missed, invented, shifted, received] = sums;
            println!("| {boards:?} | {name} | {lost} | {agree} | {missed} | {invented} | {shifted} of {received} |");
        }
    }
}

/// Without a loss and without delays there is nothing to infer: what is told of it then is the instrument's own error.
#[test]
fn where_nothing_happens_nothing_is_inferred() {
    for boards in [Boards::One, Boards::Three] {
        let quiet = Scenario { network: Network::default(), ..scenario(42, boards, Loss::Independent(0.0)) };
        let played = play(&quiet, "rtp:L16/48000/1", ClockChoice::Auto);
        for told in &played.engine.counters().mics {
            let i = told.inference;
            assert_eq!((i.agree, i.missed, i.invented, i.shifted), (0, 0, 0, 0), "{boards:?}");
        }
    }
}

#[test]
fn numbers_that_are_forgotten_leave_what_is_inferred() {
    let scenario = scenario(43, Boards::One, Loss::Independent(0.01));
    let format = numbered("rtp:L24/48000/1");
    let declared = vec![format.clone(); 3];
    let forgotten =
        play_with(&scenario, &format, ClockChoice::Auto, |engine| engine.declared(&declared).forgetting_numbers(true));
    for (mic, truth) in forgotten.sim.truth().mics.iter().enumerate() {
        let told = &forgotten.engine.counters().mics[mic];
        assert!(!told.known && told.received > 0, "mic {mic}: {told:?}");
        println!("mic {mic}: inferred {} of {} lost", told.lost, truth.lost);
    }
}
