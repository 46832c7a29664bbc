//! Packets that are short beside the jitter: what can be numbered by arrivals is, and of the rest it is said that it cannot.

use micring::MICS;
use micring::sim::{Loss, Network, Scenario};
use micring::time::Span;

use super::boards::free;
use super::models::delay;
use super::rig::{Rig, config};

/// What is told lost, what was, of how many, and of how many microphones it is said that it cannot be told.
fn run(samples: u32, model: &str, loss: Loss, shared: bool) -> (u64, u64, u64, usize) {
    let network = Network { delay: delay(model), loss, ..Network::default() };
    let length = Span::from_secs(30);
    let scenario =
        if shared { Scenario { seed: 7, network, ..Scenario::one_board(length) } } else { free(7, 30, network) };
    // A second is clean: what is lost before the first position exists cannot be told.
    let clean_cycles = 48_000 / samples;
    let (rig, sim) = Rig::run(&Scenario { samples, clean_cycles, ..scenario }, config());
    let unknown = (0..MICS).filter(|&mic| rig.engine.unnumbered(mic).is_some()).count();
    let received = rig.engine.counters().mics.iter().map(|m| m.received).sum();
    let truly = sim.truth().mics.iter().map(|m| m.lost_chunks).sum();
    (rig.lost().iter().sum(), truly, received, unknown)
}

#[test]
fn of_packets_short_beside_the_jitter_no_loss_is_made_up() {
    println!("| board | samples | delay | loss | lost | truly | received | not told of |\n|{}", "---|".repeat(8));
    // `None`: at the edge, where it may be told or not.
    let cases = [
        (16, "exp1", Some(false)),
        (32, "exp1", Some(false)),
        (64, "exp1", None),
        (96, "exp1", Some(true)),
        (64, "exp0.3", Some(true)),
        (16, "exp0.02", Some(true)),
        (256, "exp1", Some(true)),
        (512, "exp5", Some(true)),
    ];
    for (shared, board) in [(true, "one"), (false, "free")] {
        for (samples, model, can_tell) in cases {
            for loss in [Loss::None, Loss::Independent(0.01)] {
                let (lost, truly, received, unknown) = run(samples, model, loss, shared);
                println!("| {board} | {samples} | {model} | {loss:?} | {lost} | {truly} | {received} | {unknown} |");
                match can_tell {
                    Some(true) => assert_eq!((lost, unknown), (truly, 0)),
                    Some(false) => assert_eq!(unknown, MICS),
                    None => assert!(unknown == MICS || lost.abs_diff(truly) <= received / 1_000),
                }
            }
        }
    }
}
