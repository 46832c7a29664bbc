//! Free boards that arrivals put whole packets off: put right by the sound, or left alone.

use micring::sim::room::Sound;
use micring::sim::{Loss, Network, Rate, Scenario};
use micring::time::Span;

use crate::rooms::seconds;
use crate::stage::{Stage, boards_apart, play};

fn scenario(seed: u64, seconds: i64, delay: &str, loss: f64) -> Scenario {
    let network = Network { delay: delay.parse().expect("a delay model"), loss: Loss::Independent(loss), ..Network::default() };
    Scenario {
        seed,
        network,
        rates: [20.0, -15.0, 3.0].map(Rate::Constant).to_vec(),
        clean_cycles: 200,
        ..Scenario::three_boards(Span::from_secs(seconds))
    }
}

#[test]
fn boards_that_queues_put_off_are_put_right_study() {
    let seconds = seconds(60) as i64;
    for (model, seeds) in [("queue", [5, 6, 7]), ("mix", [5, 6, 7])] {
        let stage = Stage::new(&boards_apart(2, Some(Sound::Speech), 60.0), 60);
        for seed in seeds.into_iter().filter(|s| std::env::var("SEED").is_ok_and(|seed| seed == format!("{model}{s}") || seed == "all")) {
            for hears in [false, true] {
                let run = play(&scenario(seed, seconds, model, 0.01), &stage, hears);
                let (all, long, cycles) = run.tally();
                println!(
                    "{model} seed {seed} hears {hears}: {all} episodes, {long} longer than 2 s, {cycles} cycles of {}; {:?}; {} slices; made {}",
                    run.cycles,
                    run.engine.shifts(),
                    run.slices,
                    run.episodes.iter().filter(|e| e.made).count()
                );
                if hears {
                    for line in run.logs.iter().filter(|l| l.contains("by its sound")) {
                        println!("    {line}");
                    }
                    for e in &run.episodes {
                        println!("    {e:?}");
                    }
                }
            }
        }
    }
}
