//! Losses under delays of half a period in the mean: how many leave their gap in the right place, with the sound and without.
//!
//! `MICRING_SOUND_SECONDS=600 cargo test --profile checked --test virtual_sound -- --nocapture gaps::` is the table of docs/sound.md.

use std::collections::BTreeMap;

use micring::cycle::Cycle;
use micring::engine::{Borders, ClockChoice, Config, Datagram, Engine, Output};
use micring::sim::room::{Scene, Sound};
use micring::sim::{Delay, Loss, Network, Rate, Scenario, Sim, Why};
use micring::time::{FramePos, Span};

use crate::rooms::{array, recordings, seconds};
use crate::stage::{LOOP_DELAY, MICS, PACKET, Stage, boards_apart, config, position_of, unwrapped};

/// After so many frames late packets have filled the history.
const SETTLED: i64 = 96_000;
/// Samples that are looked at in a cycle: so many, so far apart.
const LOOK: usize = 7;
const APART: usize = 128;

/// Where the packets of each microphone were put: position less true position, by number.
#[derive(Default)]
struct Put([BTreeMap<i64, i64>; MICS]);

/// What a run showed.
struct Run {
    put: Put,
    /// Packets lost: microphone and number.
    lost: Vec<(usize, i64)>,
    /// Cycles, and those whose channels do not show one moment. Only of a board.
    cycles: u64,
    misaligned: u64,
    borders: Borders,
    hash: u64,
}

impl Run {
    /// Whether what is around a loss is as far apart in the history as it was sent.
    fn is_right(&self, &(mic, number): &(usize, i64)) -> bool {
        let put = &self.put.0[mic];
        let (before, behind) = (put.range(..number).next_back(), put.range(number..).next());
        before.zip(behind).is_some_and(|((_, before), (_, behind))| (before - behind).abs() < PACKET / 2)
    }
}

fn one_board(seed: u64, seconds: i64, network: Network) -> Scenario {
    Scenario { seed, network, ..Scenario::one_board(Span::from_secs(seconds)) }
}

fn free_boards(seed: u64, seconds: i64, network: Network) -> Scenario {
    let rates = [20.0, -15.0, 3.0].map(Rate::Constant).to_vec();
    Scenario { seed, network, rates, clean_cycles: 200, ..Scenario::three_boards(Span::from_secs(seconds)) }
}

fn run(scenario: &Scenario, stage: &Stage, hears: bool) -> Run {
    let shared = scenario.boards == Scenario::default().boards;
    let clock = if shared { ClockChoice::Shared } else { ClockChoice::Independent };
    let engine = Engine::new(Config { clock, ..config() });
    let mut engine = if hears { engine.hearing() } else { engine };
    let mut sim = Sim::new(scenario);
    let (put, borders) = (Put::default(), Borders::default());
    let mut run = Run { put, lost: Vec::new(), cycles: 0, misaligned: 0, borders, hash: 0xcbf2_9ce4_8422_2325 };
    let mut waiting = Vec::new();
    let (mut payload, mut newest) = (Vec::new(), [0; MICS]);
    while let Some(packet) = sim.next() {
        while let Some(due) = engine.next_timeout().filter(|&due| due < packet.arrival) {
            engine.begin_turn(sim.clocks(due));
            turn(&mut engine, &mut run, &mut waiting);
        }
        newest[packet.mic] = packet.position.0;
        stage.payload(&packet, &mut payload);
        let (sender, len) = (sim.sender(&packet), payload.len());
        engine.begin_turn(sim.clocks(packet.arrival + LOOP_DELAY));
        engine.handle_datagram(&Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len });
        turn(&mut engine, &mut run, &mut waiting);
        // What a board leaves is in its place or never is; free boards' late packets still come.
        let settled = if shared { 0 } else { SETTLED };
        let ready = waiting
            .iter()
            .take_while(|(first, _): &&(FramePos, u32)| shared || *first + settled < engine.history().span().end);
        let ready = ready.count();
        waiting.drain(..ready).for_each(|(first, frames)| run.look(&engine, first, frames, &newest, shared));
    }
    let whole = |w: &&micring::sim::Withheld| w.why != Why::Muted;
    run.lost = sim.truth().withheld.iter().filter(whole).map(|w| (w.mic, w.cycle as i64)).collect();
    run.borders = engine.borders();
    run
}

fn turn(engine: &mut Engine, run: &mut Run, left: &mut Vec<(FramePos, u32)>) {
    run.drain(engine, left);
    engine.handle_timeout();
    run.drain(engine, left);
    while engine.listen() {
        run.drain(engine, left);
    }
}

impl Run {
    fn drain(&mut self, engine: &mut Engine, left: &mut Vec<(FramePos, u32)>) {
        while let Some(output) = engine.poll_output() {
            if let Output::Cycle(cycle) = output {
                self.cycles += 1;
                self.add_to_hash(engine, &cycle);
                left.push((cycle.first_frame, cycle.frames));
            }
        }
    }

    fn add_to_hash(&mut self, engine: &Engine, cycle: &Cycle) {
        let mut words = Vec::new();
        engine.history().append_to(&mut words, cycle.first_frame, cycle.frames as usize).expect("it has left");
        let place = cycle.first_frame.0.to_le_bytes();
        let all = words.iter().flatten().chain(&place);
        // FNV-1a.
        self.hash = all.fold(self.hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }

    fn look(&mut self, engine: &Engine, first: FramePos, frames: u32, newest: &[i64; MICS], shared: bool) {
        let mut words = Vec::new();
        engine.history().append_to(&mut words, first, frames as usize).expect("the history holds it");
        let mut shown = None;
        let mut is_aligned = true;
        for (mic, newest) in newest.iter().enumerate() {
            let channel: Vec<i32> =
                words.iter().skip(mic).step_by(MICS).map(|word| i32::from_le_bytes(*word)).collect();
            for from in (0..channel.len().saturating_sub(LOOK)).step_by(APART) {
                let Some(position) = position_of(&channel[from..from + LOOK]) else { continue };
                let position = unwrapped(position, *newest);
                let offset = first.0 + from as i64 - position;
                is_aligned &= *shown.get_or_insert(offset) == offset;
                // Its middle: around that, what slips is of no account.
                if (PACKET / 4..PACKET * 3 / 4).contains(&position.rem_euclid(PACKET)) {
                    self.put.0[mic].insert(position.div_euclid(PACKET), offset);
                }
            }
        }
        self.misaligned += u64::from(shared && !is_aligned);
    }
}

/// Two runs, as a line: of so many losses these are in the right place, without and with the sound; and those that the sound put right, and wrong.
struct Both {
    lost: usize,
    right: [usize; 2],
    better: usize,
    worse: usize,
    misaligned: [u64; 2],
    borders: Borders,
    same: bool,
}

fn both(scenario: &Scenario, stage: &Stage) -> Both {
    let runs = [false, true].map(|hears| run(scenario, stage, hears));
    let [deaf, hearing] = &runs;
    let told: Vec<_> = deaf.lost.iter().map(|loss| (deaf.is_right(loss), hearing.is_right(loss))).collect();
    Both {
        lost: told.len(),
        right: [told.iter().filter(|told| told.0).count(), told.iter().filter(|told| told.1).count()],
        better: told.iter().filter(|&&told| told == (false, true)).count(),
        worse: told.iter().filter(|&&told| told == (true, false)).count(),
        misaligned: [deaf.misaligned, hearing.misaligned],
        borders: hearing.borders,
        same: deaf.hash == hearing.hash,
    }
}

impl Both {
    fn row(&self, name: &str, model: &str) {
        let share = self.right.map(|right| 100.0 * right as f64 / self.lost.max(1) as f64);
        let Borders { judged, broke, decided, .. } = self.borders;
        println!(
            "| {name} | {model} | {} | {:.2} | {:.2} | {} | {} | {:?} | {judged} | {broke} | {decided} |",
            self.lost, share[0], share[1], self.better, self.worse, self.misaligned
        );
    }
}

const HEAD: &str = "| sound | loss | lost | right without | with | put right | put wrong | cycles misaligned | judged | broke | decided |";

fn sounds(of: impl Fn(Option<Sound>, f64, f64) -> Scene, all: bool) -> Vec<(&'static str, Option<Scene>)> {
    let mut sounds = vec![("digital silence", None), ("music 60 dB", Some(of(Some(Sound::Music), 60.0, 30.0)))];
    if all {
        let noise_alone = Scene { ambient_dba: None, ..of(None, 0.0, 0.0) };
        sounds.push(("self-noise alone", Some(noise_alone)));
        sounds.push(("speech 60 dB", Some(of(Some(Sound::Speech), 60.0, 30.0))));
        let more =
            [("fan 45 dB", Sound::Fan, 45.0), ("claps 60 dB", Sound::Claps, 60.0), ("hum 50 dB", Sound::Hum, 50.0)];
        sounds.extend(more.map(|(name, sound, level)| (name, Some(of(Some(sound), level, 30.0)))));
        let tones = [("tone 1 kHz 60 dB", 1_000.0), ("tone 31.25 Hz 60 dB", 31.25), ("tone 93.75 Hz 60 dB", 93.75)];
        sounds.extend(tones.map(|(name, hz)| (name, Some(of(Some(Sound::Tone(hz)), 60.0, 30.0)))));
        let quiet = [("quiet room 30 dBA", 30.0), ("quiet room 40 dBA", 40.0)];
        sounds.extend(quiet.map(|(name, ambient)| (name, Some(of(None, 0.0, ambient)))));
        sounds.extend(recordings().into_iter().map(|(name, sound)| (name, Some(of(Some(sound), 60.0, 30.0)))));
    }
    sounds
}

const LOSSES: [(&str, Loss, Loss); 3] = [
    ("10 %", Loss::Independent(0.1), Loss::None),
    ("bursts", Loss::BURSTS, Loss::None),
    ("whole cycles, 1 %", Loss::None, Loss::Independent(0.01)),
];

fn table(
    of: impl Fn(Option<Sound>, f64, f64) -> Scene,
    scenario: fn(u64, i64, Network) -> Scenario,
    losses: &[(&str, Loss, Loss)],
) {
    let (lasting, all) = (seconds(30) as i64, seconds(0) > 0);
    println!("{HEAD}");
    for (name, scene) in sounds(of, all) {
        let heard = lasting.min(if all { 60 } else { 15 }) as usize;
        let stage = scene.as_ref().map_or_else(Stage::silent, |scene| Stage::new(scene, heard));
        for &(model, loss, cycle_loss) in losses {
            let delay: Delay = "exp5".parse().expect("a delay model");
            let both = both(&scenario(77, lasting, Network { delay, loss, cycle_loss, ..Network::default() }), &stage);
            both.row(name, model);
            if scene.is_none() {
                assert!(both.same, "{name} {model}: the same bytes in, the same events out");
                assert_eq!((both.borders.broke, both.borders.decided), (0, 0), "{name}: there is nothing to hear");
            }
            assert!(both.right[1] >= both.right[0], "{name} {model}: {:?}", both.right);
            assert!(
                both.worse <= both.better / 10 + 2,
                "{name} {model}: {} put wrong, {} right",
                both.worse,
                both.better
            );
            if name.starts_with("music") {
                assert!(both.better > 0, "{name} {model}: there is something to put right");
            }
        }
    }
}

#[test]
fn gaps_of_one_board_table() {
    let losses = if seconds(0) > 0 { &LOSSES[..] } else { &LOSSES[1..] };
    table(|sound, level, ambient| array(1, sound, level, ambient), one_board, losses);
}

#[test]
fn gaps_of_free_boards_table() {
    let scene = |sound, level, ambient| {
        let apart = boards_apart(2, sound, level);
        Scene { ambient_dba: Some(ambient), ..apart }
    };
    table(scene, free_boards, if seconds(0) > 0 { &LOSSES[..2] } else { &LOSSES[..1] });
}
