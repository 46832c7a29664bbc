//! The saver against a disk that is slow, full or limited, in virtual time, with an engine that is fed what is known.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use clap::Parser;

use super::*;
use crate::MICS;
use crate::cli::{Cli, Command};
use crate::cycle::Clocks;
use crate::engine::{Datagram, Output};
use crate::time::KernelTime;

const PERIOD_NS: i64 = 10_666_667;
const START: i64 = 1_795_345_500_000_000_000;
const FRAME: usize = 4 * MICS;

/// What the file system would hold, and what it answers.
#[derive(Default)]
struct Disk {
    files: BTreeMap<String, Vec<u8>>,
    open: [Option<String>; 2],
    /// Bytes that it still takes, and what it says after that.
    room: Option<(usize, i32)>,
    /// It answers nothing.
    hangs: bool,
    hanging: Option<(Which, FileOp)>,
}

impl Disk {
    fn carry_out(&mut self, which: Which, op: &FileOp) -> Result<usize, i32> {
        let open = &mut self.open[which as usize];
        match op {
            FileOp::Create(path) => {
                let name = path.to_str().unwrap().to_owned();
                if self.files.contains_key(&name) {
                    return Err(libc::EEXIST);
                }
                assert_eq!(open.replace(name.clone()), None, "one file of a kind at a time");
                self.files.insert(name, Vec::new());
                if let Some((room, libc::EFBIG)) = &mut self.room {
                    *room = 300_000;
                }
                Ok(3)
            }
            FileOp::Write { bytes, from, at } => {
                let rest = &bytes[*from..];
                let at = *at as usize + from;
                let file = self.files.get_mut(open.as_ref().unwrap()).unwrap();
                let grows = (at + rest.len()).saturating_sub(file.len());
                let count = match &mut self.room {
                    Some((room, errno)) if grows > *room => match std::mem::take(room) {
                        0 => return Err(*errno),
                        left => left.min(rest.len()),
                    },
                    Some((room, _)) => {
                        *room -= grows;
                        rest.len()
                    }
                    None => rest.len(),
                };
                file.resize(file.len().max(at + count), 0);
                file[at..at + count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
            FileOp::Close => open.take().map(|_| 0).ok_or(libc::EBADF),
            FileOp::Unlink(path) => self.files.remove(path.to_str().unwrap()).map(|_| 0).ok_or(libc::ENOENT),
        }
    }

    fn serve(&mut self, saver: &mut Saver, now: MonoTime) {
        if !self.hangs
            && let Some((which, op)) = self.hanging.take()
        {
            let result = self.carry_out(which, &op);
            saver.done(which, op, result, now);
        }
        while let Some((which, op)) = saver.next_op(now) {
            if self.hangs {
                self.hanging = Some((which, op));
                return;
            }
            let result = self.carry_out(which, &op);
            saver.done(which, op, result, now);
        }
    }

    fn audio(&self) -> Vec<(&str, &[u8])> {
        self.files.iter().filter(|(name, _)| name.ends_with(".wav")).map(|(n, b)| (n.as_str(), &b[..])).collect()
    }

    fn lines(&self, kind: &str) -> Vec<serde_json::Value> {
        let sidecars = self.files.iter().filter(|(name, _)| name.ends_with(".jsonl"));
        let lines = sidecars.flat_map(|(_, bytes)| std::str::from_utf8(bytes).unwrap().lines());
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &serde_json::Value| line["kind"] == kind)
            .collect()
    }
}

struct Rig {
    engine: Engine,
    saver: Saver,
    disk: Disk,
    now: MonoTime,
}

impl Rig {
    fn new(frames_a_file: i64) -> Rig {
        let args = Cli::parse_from(["micring", "serve", "--clock", "shared"]);
        let Command::Serve(args) = args.command else { unreachable!("it says serve") };
        let spec = args.array().unwrap();
        let engine = Engine::new(spec.engine.config(spec.layout));
        let saver = Saver::new("/s".into(), "hall", &engine, frames_a_file);
        Rig { engine, saver, disk: Disk::default(), now: MonoTime::from_nanos(0) }
    }

    fn at(&mut self, ns: i64) {
        self.now = MonoTime::from_nanos(ns);
        self.engine.begin_turn(Clocks { mono: self.now, wall: KernelTime::from_nanos(START + ns) });
    }

    /// Cycles of 512 frames; of those that `lost` says, a microphone's packet is not there.
    fn cycles(&mut self, range: std::ops::Range<i64>, lost: impl Fn(i64, usize) -> bool) {
        let sender = SocketAddr::from(([192, 0, 2, 7], 4_000));
        for n in range {
            for mic in (0..MICS).filter(|&mic| !lost(n, mic)) {
                let ns = n * PERIOD_NS + mic as i64 * 50_000;
                self.at(ns);
                let bytes: Vec<u8> = (n * 512..n * 512 + 512).flat_map(|at| value(at, mic).to_le_bytes()).collect();
                let stamp = KernelTime::from_nanos(START + ns);
                self.engine.handle_datagram(&Datagram { mic, stamp, sender, bytes: &bytes, len: bytes.len() });
                self.drain();
            }
            self.engine.handle_timeout();
            self.drain();
            self.saver.tick(&self.engine, self.now);
            self.disk.serve(&mut self.saver, self.now);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            if let Output::Cycle(_) = output {
                self.saver.cycle(&self.engine, self.now);
            }
        }
    }

    /// Nothing comes for so long, but the disk goes on.
    fn rest(&mut self, ms: i64) {
        let begin = self.now;
        for ms in 0..ms {
            self.at((begin + Span::from_millis(ms)).as_nanos());
            self.engine.handle_timeout();
            self.drain();
            self.saver.tick(&self.engine, self.now);
            self.disk.serve(&mut self.saver, self.now);
        }
    }

    fn finish(&mut self) {
        self.saver.finish(&self.engine, self.now);
        self.disk.serve(&mut self.saver, self.now);
    }
}

/// The simulator's index signal.
fn value(position: i64, mic: usize) -> i32 {
    ((mic as i64 + 1) << 28 | position) as i32
}

/// Samples as the header says how many there are.
fn samples(file: &[u8]) -> &[u8] {
    let bytes = u32::from_le_bytes(file[76..80].try_into().unwrap()) as usize;
    &file[80..80 + bytes]
}

/// Every frame is the truth, or silence; how many of each microphone are silence.
fn silent(bytes: &[u8], first: i64) -> [i64; MICS] {
    let mut silent = [0; MICS];
    for (position, frame) in (first..).zip(bytes.chunks_exact(FRAME)) {
        for (mic, four) in frame.chunks_exact(4).enumerate() {
            let sample = i32::from_le_bytes(four.try_into().unwrap());
            assert!(sample == 0 || sample == value(position, mic), "{position} of mic {mic}: {sample:#x}");
            silent[mic] += i64::from(sample == 0);
        }
    }
    silent
}

#[test]
fn files_follow_each_other_without_a_seam_and_say_what_is_missing() {
    let mut rig = Rig::new(20_000);
    rig.cycles(0..400, |n, mic| n % 40 == 7 + mic as i64);
    rig.finish();
    assert!(rig.saver.is_drained() && rig.disk.open == [None, None]);
    let files = rig.disk.audio();
    assert_eq!(files[0].0, "/s/hall-20261122T110459Z-000000000000.wav", "after array, time and first frame");
    assert!(files[1].0.ends_with("-000000020000.wav"), "{}", files[1].0);
    let all: Vec<u8> = files.iter().flat_map(|(_, file)| samples(file).to_vec()).collect();
    assert_eq!(all.len(), 400 * 512 * FRAME);
    assert!(files.iter().all(|(_, file)| file.len() == 80 + samples(file).len()));
    assert_eq!(silent(&all, 0), [5_120; MICS]);
    let gaps = rig.disk.lines("gap");
    for mic in 0..MICS {
        let of: i64 = gaps.iter().filter(|gap| gap["mic"] == mic).map(|gap| gap["frames"].as_i64().unwrap()).sum();
        assert_eq!(of, 5_120);
    }
    assert!(gaps.iter().all(|gap| gap["frame"].as_i64().unwrap() + gap["frames"].as_i64().unwrap() <= 20_000));
    assert_eq!(rig.disk.lines("end").iter().map(|end| end["frames"].as_i64().unwrap()).sum::<i64>(), 400 * 512);
    let figures = rig.saver.figures();
    assert_eq!((figures.frames, figures.not_saved_frames, figures.queued_bytes), (400 * 512, 0, 0));
    // Headers are written over others.
    let there: usize = rig.disk.files.values().map(Vec::len).sum();
    assert_eq!((figures.bytes as usize - there) % 80, 0);
}

#[test]
fn what_comes_late_is_in_the_file() {
    let mut rig = Rig::new(1 << 40);
    rig.cycles(0..100, |n, mic| n == 50 && mic == 1);
    // A second later.
    let sender = SocketAddr::from(([192, 0, 2, 7], 4_000));
    let bytes: Vec<u8> = (50 * 512..51 * 512).flat_map(|at| value(at, 1).to_le_bytes()).collect();
    let stamp = KernelTime::from_nanos(START + 50 * PERIOD_NS + 50_000);
    assert_eq!(silent(&rig.live(), 0)[1], 512, "a listener got silence");
    rig.engine.handle_datagram(&Datagram { mic: 1, stamp, sender, bytes: &bytes, len: bytes.len() });
    rig.cycles(100..400, |_, _| false);
    rig.finish();
    assert_eq!(silent(samples(rig.disk.audio()[0].1), 0), [0; MICS]);
    assert!(rig.disk.lines("gap").is_empty());
}

impl Rig {
    /// What the history has now.
    fn live(&self) -> Vec<u8> {
        let span = self.engine.history().span();
        let mut bytes = vec![0; (span.end - span.start) as usize * FRAME];
        self.engine.history().read(span.start, &mut bytes).unwrap();
        bytes
    }
}

#[test]
fn at_any_moment_the_header_says_no_more_than_there_is_and_little_less() {
    let mut rig = Rig::new(1 << 40);
    rig.cycles(0..60, |_, _| false);
    for second in 0..8 {
        rig.cycles(60 + second * 94..60 + (second + 1) * 94, |_, _| false);
        let (_, file) = rig.disk.audio().first().copied().unwrap_or(("", &[]));
        if second < 3 {
            continue;
        }
        let told = samples(file).len() / FRAME;
        let came = (rig.engine.history().span().end.0) as usize;
        assert_eq!(silent(samples(file), 0), [0; MICS]);
        // Two seconds behind on purpose, one for the header, and a moment.
        assert!(told + 48_000 * 33 / 10 > came, "{told} of {came} after {second} s");
    }
}

#[test]
fn a_disk_that_hangs_costs_audio_at_its_place_and_bounded_memory() {
    let mut rig = Rig::new(400_000);
    rig.cycles(0..300, |_, _| false);
    rig.disk.hangs = true;
    rig.cycles(300..2_300, |_, _| false);
    let room = 8 * 48_000 * FRAME;
    assert!(rig.saver.figures().queued_bytes <= room as u64 + 4_096);
    let lost = rig.saver.figures().not_saved_frames;
    // 21 s hung, of which 8 s wait.
    assert!((12 * 48_000..14 * 48_000).contains(&lost), "{lost}");
    let said = rig.saver.next_line().unwrap();
    assert!(said.contains("the disk is too slow") && rig.saver.next_line().is_none(), "{said}");
    rig.disk.hangs = false;
    rig.cycles(2_300..3_000, |_, _| false);
    rig.finish();
    assert!(rig.saver.next_line().unwrap().starts_with("saving goes on; "));
    let all: Vec<u8> = rig.disk.audio().iter().flat_map(|(_, file)| samples(file).to_vec()).collect();
    assert_eq!(all.len(), 3_000 * 512 * FRAME, "nothing is shifted");
    let silent = silent(&all, 0);
    let told = rig.disk.lines("not_saved").iter().map(|line| line["frames"].as_i64().unwrap()).sum::<i64>();
    let counted = rig.saver.figures().not_saved_frames as i64;
    assert_eq!((silent, told), ([counted; MICS], counted));
    assert!(rig.disk.lines("gap").is_empty(), "it came");
}

#[test]
fn a_full_disk_costs_nothing_once_there_is_room_again() {
    let mut rig = Rig::new(1 << 40);
    rig.disk.room = Some((1_000_001, libc::ENOSPC));
    rig.cycles(0..800, |_, _| false);
    let said = rig.saver.next_line().unwrap();
    assert!(said.ends_with("No space left on device; trying again every second"), "{said}");
    rig.disk.room = None;
    rig.cycles(800..1_000, |_, _| false);
    rig.finish();
    let (_, file) = rig.disk.audio()[0];
    assert_eq!(samples(file).len(), 1_000 * 512 * FRAME);
    assert_eq!(silent(samples(file), 0), [0; MICS]);
    assert_eq!((rig.saver.next_line(), rig.saver.figures().not_saved_frames), (None, 0));
}

#[test]
fn what_the_disk_did_not_take_by_the_end_is_said() {
    let mut rig = Rig::new(1 << 40);
    rig.cycles(0..400, |_, _| false);
    rig.disk.room = Some((0, libc::ENOSPC));
    rig.cycles(400..500, |_, _| false);
    rig.finish();
    assert!(!rig.saver.is_drained());
    let said = rig.saver.unwritten().unwrap();
    assert!(said.contains("000000000000.wav ends early: 3.") && said.ends_with("No space left on device"), "{said}");
}

#[test]
fn a_file_that_may_not_grow_is_followed_by_another_at_its_true_position() {
    let mut rig = Rig::new(1 << 40);
    rig.disk.room = Some((300_000, libc::EFBIG));
    rig.cycles(0..600, |_, _| false);
    rig.disk.room = None;
    rig.finish();
    let files = rig.disk.audio();
    assert!(files.len() > 3, "{}", files.len());
    let mut held = 0;
    for (name, file) in &files {
        let first: i64 = name.rsplit_once('-').unwrap().1.trim_end_matches(".wav").parse().unwrap();
        assert_eq!(silent(samples(file), first), [0; MICS]);
        held += samples(file).len() / FRAME;
    }
    let figures = rig.saver.figures();
    assert_eq!(held as u64, figures.frames);
    assert_eq!(figures.frames + figures.not_saved_frames, 600 * 512);
}

#[test]
fn a_pause_is_silence_of_its_length_and_what_was_before_it_is_on_the_disk_meanwhile() {
    let mut rig = Rig::new(1 << 40);
    rig.cycles(0..200, |_, _| false);
    rig.rest(4_000);
    let told = samples(rig.disk.audio()[0].1).len() / FRAME;
    assert!(told >= 199 * 512, "{told}");
    // The board goes on with what it captured then.
    rig.cycles(600..800, |_, _| false);
    rig.finish();
    let (_, file) = rig.disk.audio()[0];
    assert_eq!(samples(file).len(), 800 * 512 * FRAME);
    assert_eq!(silent(samples(file), 0), [400 * 512; MICS]);
    let gaps = rig.disk.lines("gap");
    assert!(gaps.iter().all(|gap| gap["mic"].is_null()), "{gaps:?}");
    assert_eq!(gaps.iter().map(|gap| gap["frames"].as_i64().unwrap()).sum::<i64>(), 400 * 512);
}

#[test]
fn a_name_that_is_taken_is_left_alone() {
    let mut rig = Rig::new(1 << 40);
    let taken = "/s/hall-20261122T110459Z-000000000000".to_owned();
    rig.disk.files.insert(format!("{taken}.wav"), b"old".to_vec());
    rig.disk.files.insert(format!("{taken}~2.jsonl"), b"of nothing".to_vec());
    rig.cycles(0..400, |_, _| false);
    rig.finish();
    assert_eq!(rig.disk.files[&format!("{taken}.wav")], b"old");
    assert_eq!(samples(&rig.disk.files[&format!("{taken}~2.wav")]).len(), 400 * 512 * FRAME);
    assert!(rig.disk.files[&format!("{taken}~2.jsonl")].starts_with(b"{\"kind\":\"begin\""));
}
