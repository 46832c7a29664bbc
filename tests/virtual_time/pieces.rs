//! Chunks in pieces, as a board of the Arduino kind sends them, beside whole datagrams: one board and three free ones.
//!
//! The tables come from one command:
//! `cargo test --release --test virtual_time pieces:: -- --nocapture --test-threads=1`

use micring::MICS;
use micring::sim::{Boards, Change, Loss, Mixed, Network, Order, Rate, Reorder, Scenario, Sending};
use micring::time::Span;

use super::boards::RATES;
use super::judge::{Judged, judge};
use super::models::delay;

/// Learnt, and then judged: nothing is lost before.
const CLEAN_CYCLES: u32 = 200;

/// What a board makes of its samples.
struct Pattern {
    name: &'static str,
    samples: u32,
    sending: Sending,
    equal: Equal,
}

/// What sizes leave open.
#[derive(Clone, Copy, PartialEq)]
enum Equal {
    /// Each piece of a chunk is told by its size.
    None,
    /// Two pieces of a chunk are of one size: which of them is missing, or came first, arrivals cannot tell. A chunk that lacks one
    /// may be a gap in whole.
    Some,
    /// All are: each may be told as a chunk of its own, too.
    All,
}

fn patterns() -> Vec<Pattern> {
    let two = |order| Sending { chunks_per_read: 2, order, ..Sending::default() };
    let in_turn = Sending { order: Order::InTurn, ..Sending::in_pieces(1_460) };
    let of = |name, samples, sending, equal| Pattern { name, samples, sending, equal };
    vec![
        of("512", 512, Sending::default(), Equal::None),
        of("365+147", 512, Sending::in_pieces(1_460), Equal::None),
        of("365+147 in turn", 512, in_turn, Equal::None),
        of("512+512", 512, two(Order::ByMic), Equal::All),
        of("512+512 in turn", 512, two(Order::InTurn), Equal::All),
        of("365+365+294", 1_024, Sending::in_pieces(1_460), Equal::Some),
        of("365+365", 730, Sending::in_pieces(1_460), Equal::All),
        of("360+152", 512, Sending::in_pieces(1_440), Equal::None),
        of("364.5+147.5", 512, Sending::in_pieces(1_458), Equal::None),
    ]
}

/// So many seconds of a pattern over a network.
fn scenario(pattern: &Pattern, boards: Boards, seed: u64, seconds: i64, network: Network) -> Scenario {
    let rates = if boards == Boards::Three { RATES } else { [0.0; MICS] };
    Scenario {
        seed,
        samples: pattern.samples,
        sending: pattern.sending.clone(),
        boards,
        network,
        rates: rates.map(Rate::Constant).to_vec(),
        clean_cycles: CLEAN_CYCLES,
        ..Scenario::one_board(Span::from_secs(seconds))
    }
}

fn told(judged: &Judged) -> ([u64; MICS], [u64; MICS]) {
    (judged.rig.lost(), std::array::from_fn(|mic| judged.rig.engine.counters().mics[mic].lost_pieces))
}

/// One line of a table, with what was told of pieces.
fn line(what: &str, boards: Boards, judged: &Judged) -> String {
    let pieces: u64 = told(judged).1.iter().sum();
    let truly: u64 = judged.sim.truth().mics.iter().map(|mic| mic.lost_pieces).sum();
    format!("| {what} | {boards:?} | {judged} | {pieces} ({truly}) |")
}

fn head() -> String {
    Judged::head(&["what", "boards"], &["lost pieces (true)"])
}

/// Every pattern from one board and from three, over `network`: what breaks is told for all of them at once.
fn every_pattern(seed: u64, network: Network, broken: impl Fn(&Pattern, Boards, &Judged) -> Vec<&'static str>) {
    these_patterns(&patterns(), seed, network, broken);
}

fn these_patterns(
    patterns: &[Pattern],
    seed: u64,
    network: Network,
    broken: impl Fn(&Pattern, Boards, &Judged) -> Vec<&'static str>,
) {
    println!("seed {seed}, {network:?}\n{}", head());
    let mut failed = Vec::new();
    for pattern in patterns {
        for boards in [Boards::One, Boards::Three] {
            let judged = judge(&scenario(pattern, boards, seed, 60, network));
            println!("{}", line(pattern.name, boards, &judged));
            failed.extend(broken(pattern, boards, &judged).into_iter().map(|why| (pattern.name, boards, why)));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What must hold on every network that lets arrivals tell: nothing misaligned, every gap at its place and of its size, and what is
/// told is what was withheld.
fn placed_and_told(pattern: &Pattern, boards: Boards, judged: &Judged) -> Vec<&'static str> {
    let (lost, pieces) = told(judged);
    // Free boards slip by a sample now and then.
    let slips = if boards == Boards::Three { 100 } else { 0 };
    let (wrong, spared) = match pattern.equal {
        Equal::None => (judged.wrong, 0),
        Equal::Some | Equal::All => (judged.wrong_reads, judged.spared),
    };
    let holds = [
        (judged.misaligned == 0, "frames are misaligned"),
        (judged.strange == 0, "samples are none of the microphone's"),
        // Of free boards at 2 % some neighbours are lost together; whole datagrams leave 1 % of such gaps wrong as well.
        (
            wrong == 0 || (boards == Boards::Three && 50 * wrong <= judged.right + judged.wrong),
            "a gap is not in its place or not of its size",
        ),
        (judged.moves == 0, "a channel moved where nothing was lost"),
        ((-slips..=spared + slips).contains(&judged.nowhere), "what arrived is not in the history"),
        (
            judged.told_truly(lost, pieces, pattern.equal == Equal::All),
            "lost and lost_pieces are not what was withheld",
        ),
    ];
    holds.into_iter().filter(|(held, _)| !held).map(|(_, why)| why).collect()
}

#[test]
fn on_a_clean_path_every_cycle_is_complete_and_in_its_place() {
    // Free boards are learnt at first: a slip leaves a cycle without a sample, as it does with whole datagrams.
    let whole = judge(&scenario(&patterns()[0], Boards::Three, 1, 60, Network::default()));
    every_pattern(1, Network::default(), |pattern, boards, judged| {
        let mut broken = placed_and_told(pattern, boards, judged);
        let cycles = judged.rig.engine.counters().cycles;
        let (incomplete, missing) = match boards {
            Boards::One => (0, 0),
            // The last cycle of a run is cut short by its end.
            Boards::Three => (whole.rig.engine.counters().cycles.incomplete + 2, whole.missing + 3 * 1_024),
        };
        if cycles.incomplete > incomplete || cycles.skipped > 0 || judged.missing > missing {
            broken.push("cycles are incomplete or skipped");
        }
        // A minute, less the second in which free boards are learnt.
        if judged.frames < 58 * 48_000 {
            broken.push("a minute is not there");
        }
        broken
    });
}

#[test]
fn lost_pieces_are_gaps_of_their_own_size_at_their_place() {
    let network = Network { loss: Loss::Independent(0.02), ..Network::default() };
    every_pattern(2, network, |pattern, boards, judged| {
        let mut broken = placed_and_told(pattern, boards, judged);
        if judged.right + judged.wrong < 100 {
            broken.push("a minute at 2 % has more losses than that");
        }
        broken
    });
}

#[test]
fn bursts_that_begin_between_two_pieces_move_nothing() {
    let network = Network { delay: delay("wifi"), loss: Loss::Independent(0.01), ..Network::default() };
    every_pattern(3, network, |pattern, boards, judged| match (pattern.equal, pattern.sending.order) {
        (Equal::None, Order::ByMic) => placed_and_told(pattern, boards, judged),
        // In a backlog neither a pause nor a size says which of two equal pieces was lost: printed only.
        _ => Vec::new(),
    });
}

#[test]
fn pieces_of_a_chunk_that_change_places_move_nothing() {
    let reorder = Some(Reorder { probability: 0.02, by: Span::from_micros(300) });
    let told_apart: Vec<Pattern> = patterns().into_iter().filter(|pattern| pattern.equal == Equal::None).collect();
    let network = Network { reorder, ..Network::default() };
    these_patterns(&told_apart, 4, network, |_, _, judged| {
        // What is overtaken by more than a datagram or two of each of the others is taken for the next chunk's, and told as lost.
        let cycles = judged.rig.engine.counters().cycles;
        let holds = [
            (judged.misaligned + judged.strange == 0, "frames are misaligned"),
            (judged.wrong + judged.moves == 0, "a channel moved where nothing was lost"),
            (judged.nowhere <= 3_000, "what arrived is not in the history"),
            (cycles.incomplete * 50 <= cycles.emitted, "cycles are incomplete"),
        ];
        holds.into_iter().filter(|(held, _)| !held).map(|(_, why)| why).collect()
    });
}

#[test]
fn copies_of_pieces_are_dropped_and_move_nothing() {
    let network = Network { duplicate: 0.02, ..Network::default() };
    every_pattern(5, network, |pattern, boards, judged| {
        let mut broken = placed_and_told(pattern, boards, judged);
        let truly = judged.sim.truth().mics.map(|mic| mic.duplicated);
        if pattern.equal == Equal::All && pattern.sending.order == Order::InTurn && boards == Boards::One {
            // Each piece is a chunk of its own, and the next may come at once: a copy of one says nothing that the next would not.
            return Vec::new();
        }
        if judged.rig.engine.counters().mics.map(|mic| mic.duplicate) != truly {
            broken.push("not every copy is told as one");
        }
        broken
    });
}

#[test]
fn a_board_that_is_heard_from_the_middle_of_a_chunk_is_put_together() {
    let network = Network { loss: Loss::Independent(0.01), ..Network::default() };
    println!("{}", head());
    let mut failed = Vec::new();
    for pattern in patterns().iter().skip(1) {
        for boards in [Boards::One, Boards::Three] {
            // Behind the last datagram of mic 0, too.
            for unheard in [1, if boards == Boards::One { 3 } else { 1 }] {
                let whole = scenario(pattern, boards, 6, 60, network);
                let sending = Sending { unheard, ..whole.sending.clone() };
                let judged = judge(&Scenario { sending, ..whole });
                println!("{} from datagram {unheard} on", line(pattern.name, boards, &judged));
                // What the board sent before it was heard may count as one lost chunk: it was there from the first.
                if pattern.equal == Equal::All && pattern.sending.order == Order::InTurn {
                    continue;
                }
                let mut broken = placed_and_told(pattern, boards, &judged);
                broken.retain(|why| !why.starts_with("lost and"));
                let (lost, pieces) = told(&judged);
                for (mic, truth) in judged.sim.truth().mics.iter().enumerate() {
                    let told = lost[mic] + pieces[mic];
                    let most = truth.lost_chunks
                        + truth.lost_pieces
                        + 2 * u64::from(pattern.equal != Equal::None) * truth.withheld();
                    if told + 1 < truth.lost_chunks || told > most + 3 {
                        broken.push("lost and lost_pieces are not what was withheld");
                    }
                }
                failed.extend(broken.into_iter().map(|why| (pattern.name, boards, unheard, why)));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_pattern_that_changes_is_learnt_anew_and_shifts_nothing() {
    let change = |at, samples, sending| Change { at: Span::from_secs(at), samples, sending };
    let changes = [
        (vec![change(20, 512, Sending::in_pieces(1_440))], "365+147, then 360+152"),
        (vec![change(20, 360, Sending::default())], "365+147, then 360"),
        (
            vec![change(20, 1_024, Sending::in_pieces(1_460)), change(40, 512, Sending::default())],
            "365+147, then 365+365+294, then 512",
        ),
    ];
    let mut failed = Vec::new();
    for (changes, name) in changes {
        for boards in [Boards::One, Boards::Three] {
            let before = scenario(&patterns()[1], boards, 7, 60, Network::default());
            let judged = judge(&Scenario { changes: changes.clone(), ..before });
            println!("{}", line(name, boards, &judged));
            let mut broken = placed_and_told(&patterns()[1], boards, &judged);
            if name.contains("365+365+294") {
                // Its first pieces are the old pattern's, and some are placed as such before anything shows.
                broken = Vec::from_iter((judged.misaligned > 64 || judged.moves > 6).then_some("too much moved"));
            }
            failed.extend(broken.into_iter().map(|why| (name, boards, why)));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn sizes_that_truly_vary_are_placed_by_their_samples() {
    let network = Network { loss: Loss::Independent(0.01), ..Network::default() };
    let mut failed = Vec::new();
    for (sizes, random) in [(vec![512, 32], false), (vec![512, 32], true), (vec![200, 360, 512, 480], true)] {
        for boards in [Boards::One, Boards::Three] {
            let sending = Sending { mixed: Some(Mixed { sizes: sizes.clone(), random }), ..Sending::default() };
            let pattern = Pattern { name: "mixed", samples: sizes[0], sending, equal: Equal::All };
            let judged = judge(&scenario(&pattern, boards, 8, 60, network));
            let name = format!("{sizes:?}{}", if random { " by chance" } else { " in turn" });
            println!("{}", line(&name, boards, &judged));
            // How much was lost of what comes by chance, arrivals tell to their jitter only: printed.
            let broken = if random { Vec::new() } else { placed_and_told(&pattern, boards, &judged) };
            failed.extend(broken.into_iter().map(|why| (name.clone(), boards, why)));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn the_hold_learns_a_modem_that_sleeps() {
    // A free board's floor shows seldom between bursts, and its place within a sample only after minutes.
    every_pattern(9, Network { delay: delay("sleep101.3"), ..Network::default() }, |pattern, boards, judged| {
        // Once it is learnt nothing is missing in what leaves: six seconds of a minute, with those of learning.
        let missing = judged.missing > 3 * 6 * 48_000;
        let moved = boards == Boards::One && judged.misaligned + judged.moves > 0;
        let told = [(missing, "the stream lacks what came in time to be learnt"), (moved, "frames are misaligned")];
        // In a burst nothing says where a chunk of equal pieces ends, nor whose turn it is.
        let printed = pattern.equal == Equal::All || pattern.sending.order == Order::InTurn;
        told.into_iter().filter(|(is, _)| *is && !printed).map(|(_, why)| why).collect()
    });
}

/// Pieces are never worse than whole datagrams over the same network. Where a second floor moves by more than half a period
/// arrivals cannot tell; there the rows are printed only.
#[test]
fn table_of_pieces_beside_whole_datagrams() {
    println!("seed 10\n{}", head());
    let mut failed = Vec::new();
    for model in ["exp1", "exp2", "exp5", "wifi", "ramp", "queue", "mix"] {
        let printed = matches!(model, "exp2" | "exp5" | "queue" | "mix");
        // Rows that are only printed are for the table of docs/pieces.md, which asks for as many seconds as the others have.
        let asked = std::env::var("MICRING_SECONDS").ok().map(|seconds| seconds.parse().expect("a number of seconds"));
        let seconds = asked.unwrap_or(if printed { 20 } else { 120 });
        for loss in [Loss::None, Loss::Independent(0.01), Loss::Independent(0.03)] {
            for boards in [Boards::One, Boards::Three] {
                let row = |pattern: &Pattern| {
                    let network = Network { delay: delay(model), loss, ..Network::default() };
                    let judged = judge(&scenario(pattern, boards, 10, seconds, network));
                    println!("{}", line(&format!("{model}, {loss:?}, {}", pattern.name), boards, &judged));
                    judged
                };
                let (whole, pieces) = (row(&patterns()[0]), row(&patterns()[1]));
                let share = |judged: &Judged| judged.wrong as f64 / (judged.right + judged.wrong).max(1) as f64;
                // Where a rest and the next chunk's first piece are lost together, arrivals of free boards cannot always tell that
                // from a delay: a frame in a thousand, a gap in a hundred.
                let worse = pieces.misaligned > whole.misaligned + pieces.frames / 1_000
                    || pieces.moves > whole.moves + 20
                    || share(&pieces) > share(&whole) + 1e-2;
                if worse && !printed {
                    failed.push((model, format!("{loss:?}"), boards));
                }
            }
        }
    }
    assert!(failed.is_empty(), "pieces are worse: {failed:#?}");
}
