//! Fingerprints: by how many whole packets a microphone is off, decided rightly or not at all.

use micring::sim::room::{Scene, Sound};
use micring::sound::fingerprint::{Correlogram, Track, Whitener};

use crate::rooms::{PACKET, PACKETS_A_SECOND, packets, pair, recordings, seconds};

/// Blocks until which the lines of a fingerprint are full.
const LEAD: usize = 24;
const KEPT: u32 = 750;
/// When it is looked: after a third of a second, and so on.
const LOOKS: [u32; 4] = [32, 64, 128, 256];

type Packets = Vec<Vec<[i32; PACKET]>>;

/// Collects from `from` on, the second microphone's packets `late` packets late, and shows each block's result.
fn collect(heard: &Packets, from: usize, late: i64, blocks: usize, mut look: impl FnMut(&Correlogram)) -> Correlogram {
    let mut mics = [(Whitener::new(), Track::default()), (Whitener::new(), Track::default())];
    let mut all = Correlogram::default();
    for block in 0..blocks + LEAD {
        let at = [from as i64 + block as i64, from as i64 + block as i64 - late];
        for ((whitener, track), (at, packets)) in mics.iter_mut().zip(at.into_iter().zip(heard)) {
            track.push(&whitener.push(&packets[at as usize]));
        }
        if block >= LEAD {
            all.add(&mics[0].1, &mics[1].1, KEPT);
            look(&all);
        }
    }
    all
}

/// Decisions at each look: right, wrong, none.
#[derive(Default)]
struct Tally([[u32; 3]; LOOKS.len()]);

impl Tally {
    fn right(&self, look: usize) -> f64 {
        f64::from(self.0[look][0]) / f64::from(self.0[look].iter().sum::<u32>())
    }

    fn wrong(&self) -> u32 {
        self.0.iter().map(|look| look[1]).sum()
    }

    fn row(&self, name: &str) {
        let right = [0, 1, 2, 3].map(|look| format!("{:3.0} %", 100.0 * self.right(look)));
        println!("{name:26} | {} | wrong {}", right.join(" | "), self.wrong());
    }
}

/// The fingerprint of 8 s of one scene, and decisions in another: `truth` is whether what they say can be right at all.
fn decide(reference: &Packets, heard: &Packets, from: usize, known: bool, tally: &mut Tally) {
    let trusted = collect(reference, 0, 0, KEPT as usize, |_| ());
    let last = heard[0].len() - LOOKS[LOOKS.len() - 1] as usize - LEAD - 8;
    for (n, start) in (from + 8..last).step_by(97).enumerate() {
        let late = [-3, -1, 0, 2, 4][n % 5];
        collect(heard, start, late, LOOKS[LOOKS.len() - 1] as usize, |newer| {
            let Some(look) = LOOKS.iter().position(|&blocks| blocks == newer.blocks()) else { return };
            let outcome = match trusted.shift_of(newer, PACKET as u32) {
                Some(shift) if known && shift.packets == late => 0,
                Some(_) => 1,
                None => 2,
            };
            tally.0[look][outcome] += 1;
        });
    }
}

fn same_scene(scene: &Scene) -> Tally {
    let heard = packets(scene, (11 + seconds(5)) * PACKETS_A_SECOND);
    let mut tally = Tally::default();
    decide(&heard, &heard, KEPT as usize + LEAD, true, &mut tally);
    tally
}

#[test]
fn shifts_are_decided_rightly_or_not_at_all_table() {
    println!("decided rightly after      | .34 s | .68 s | 1.4 s | 2.7 s |");
    // The least share that is decided in the end: a handful of decisions scatter much.
    let rows = [
        ("speech 60 dB, 1 m, .2 s", pair(1, 1.0, 0.2, Some(Sound::Speech), 60.0), 0.4),
        ("speech 60 dB, 2 m, .5 s", pair(2, 2.0, 0.5, Some(Sound::Speech), 60.0), 0.6),
        ("speech 60 dB, 4 m, .5 s", pair(3, 4.0, 0.5, Some(Sound::Speech), 60.0), 0.6),
        ("music 60 dB, 2 m, .5 s", pair(1, 2.0, 0.5, Some(Sound::Music), 60.0), 0.0),
        ("fan 50 dB, 2 m, .5 s", pair(1, 2.0, 0.5, Some(Sound::Fan), 50.0), 1.0),
        ("claps 60 dB, 2 m, .5 s", pair(1, 2.0, 0.5, Some(Sound::Claps), 60.0), 0.8),
        ("hum 55 dB, 2 m", pair(1, 2.0, 0.5, Some(Sound::Hum), 55.0), 0.0),
        ("tone 1 kHz 60 dB, 2 m", pair(1, 2.0, 0.5, Some(Sound::Tone(1_000.0)), 60.0), 0.0),
        ("quiet room, 1 m", pair(1, 1.0, 0.5, None, 0.0), 0.6),
        ("quiet room, 4 m", pair(1, 4.0, 0.5, None, 0.0), 0.0),
    ];
    let real = recordings().into_iter().map(|(name, sound)| (name, pair(1, 2.0, 0.5, Some(sound), 60.0), 0.0));
    for (name, scene, least) in rows.into_iter().chain(real) {
        let tally = same_scene(&scene);
        tally.row(name);
        assert_eq!(tally.wrong(), 0, "{name}");
        assert!(tally.right(3) >= least, "{name}: {} decided, {least} expected", tally.right(3));
    }
}

#[test]
fn a_source_that_moved_and_another_that_speaks_elsewhere_decide_nothing_wrong_table() {
    let before = pair(5, 2.0, 0.5, Some(Sound::Speech), 60.0);
    let moved = |sound: Sound| {
        let mut scene = Scene { seed: 6, ..before.clone() };
        (scene.sources[0].at, scene.sources[0].sound) = ([4.8, 2.2, 1.4], sound);
        scene
    };
    let reference = packets(&before, KEPT as usize + LEAD);
    for (name, sound) in
        [("speech, moved", Sound::Speech), ("fan, elsewhere", Sound::Fan), ("claps, elsewhere", Sound::Claps)]
    {
        let heard = packets(&moved(sound), (4 + seconds(5)) * PACKETS_A_SECOND);
        // Another source is elsewhere by up to the array's own spacing: the whole packets may still be right, by what the room gives.
        let mut tally = Tally::default();
        decide(&reference, &heard, 0, true, &mut tally);
        tally.row(name);
        assert_eq!(tally.wrong(), 0, "{name}");
    }
}

#[test]
fn noise_of_the_microphones_alone_decides_nothing() {
    let scene = Scene { ambient_dba: None, ..pair(7, 1.0, 0.5, None, 0.0) };
    let heard = packets(&scene, 14 * PACKETS_A_SECOND);
    let mut tally = Tally::default();
    decide(&heard, &heard, KEPT as usize + LEAD, false, &mut tally);
    assert_eq!(tally.wrong(), 0);
}
