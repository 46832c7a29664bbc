//! The recorder against a disk that is slow, full, limited or shared, in virtual time.

use std::collections::BTreeMap;

use super::*;
use crate::MICS;
use crate::capture::{Datagrams, Fault, Seen};

/// What the file system would hold, and what it answers.
#[derive(Default)]
struct Disk {
    files: BTreeMap<String, Vec<u8>>,
    open: Option<String>,
    /// Bytes that it still takes, and what it says after that.
    room: Option<(usize, i32)>,
    most: usize,
    /// What the next close says; the descriptor is gone all the same.
    close_says: Option<i32>,
}

impl Disk {
    fn carry_out(&mut self, op: &FileOp) -> Result<usize, i32> {
        match op {
            FileOp::Create(path) => {
                let name = path.to_str().unwrap().to_owned();
                if self.files.contains_key(&name) {
                    return Err(libc::EEXIST);
                }
                assert_eq!(self.open.replace(name.clone()), None, "one file at a time");
                self.files.insert(name, Vec::new());
                // A limit of each file, not of the disk.
                if let Some((room, libc::EFBIG)) = &mut self.room {
                    *room = 1_000_003;
                }
                Ok(3)
            }
            FileOp::Write { bytes, from, at } => {
                let rest = &bytes[*from..];
                let there = self.files[self.open.as_ref().unwrap()].len() as u64;
                assert_eq!(at + *from as u64, there, "a recording has no hole");
                let count = match &mut self.room {
                    Some((0, errno)) => return Err(*errno),
                    Some((room, _)) => {
                        let count = rest.len().min(*room);
                        *room -= count;
                        count
                    }
                    None => rest.len(),
                };
                self.files.get_mut(self.open.as_ref().unwrap()).unwrap().extend(&rest[..count]);
                self.most = self.most.max(self.files.values().map(Vec::len).sum());
                Ok(count)
            }
            FileOp::Close => {
                let closed = self.open.take().map(|_| 0).ok_or(libc::EBADF);
                self.close_says.take().map_or(closed, Err)
            }
            FileOp::Unlink(path) => {
                let path = path.to_str().unwrap();
                self.files.remove(path).map(|_| 0).ok_or(libc::ENOENT)
            }
        }
    }

    fn serve(&mut self, recorder: &mut Recorder, now: MonoTime) {
        while let Some(op) = recorder.next_op(now) {
            let result = self.carry_out(&op);
            recorder.done(op, result, now);
        }
    }
}

const START: i64 = 1_795_345_500_000_000_000;

fn clocks(ms: i64) -> Clocks {
    let ns = ms * 1_000_000;
    Clocks { mono: MonoTime::from_nanos(ns), wall: KernelTime::from_nanos(START + ns) }
}

fn recorder(change: impl FnOnce(&mut Settings)) -> Recorder {
    let mut settings = Settings {
        folder: "/r".into(),
        snap: None,
        rotate_bytes: 1 << 30,
        rotate_age: Span::from_secs(3_600),
        max_bytes: 1 << 40,
    };
    change(&mut settings);
    beside(Vec::new(), settings)
}

/// In a folder that holds these recordings already.
fn beside(stored: Vec<(PathBuf, u64)>, settings: Settings) -> Recorder {
    let mics = [30_001, 30_002, 30_003].map(|port| SocketAddr::from(([0, 0, 0, 0], port)));
    Recorder::new(settings, Interface::mono(mics), "6.18".to_owned(), stored, clocks(0))
}

/// One datagram each millisecond from `from` on; number `n` goes to microphone `n % 3` and holds its number.
fn datagrams(recorder: &mut Recorder, range: std::ops::Range<i64>, mut after: impl FnMut(&mut Recorder, MonoTime)) {
    let sender = SocketAddr::from(([192, 0, 2, 7], 4_000));
    for n in range {
        let mut payload = [0u8; 2048];
        payload[..8].copy_from_slice(&n.to_le_bytes());
        let clocks = clocks(n);
        recorder.datagram((n % 3) as usize, clocks.wall, sender, &payload, 2048, clocks);
        after(recorder, clocks.mono);
    }
}

struct Read {
    numbers: Vec<i64>,
    comments: Vec<String>,
    /// Newest of each microphone.
    received: [Option<u64>; MICS],
    dropped: [Option<u64>; MICS],
    whole: bool,
}

fn read(file: &[u8]) -> Read {
    let mut input = Datagrams::new(file).unwrap();
    let mut found =
        Read { numbers: vec![], comments: vec![], received: [None; MICS], dropped: [None; MICS], whole: true };
    loop {
        match input.next_seen() {
            Ok(Some(Seen::Datagram(seen))) => {
                let n = i64::from_le_bytes(seen.bytes[..8].try_into().unwrap());
                assert_eq!((seen.mic, seen.stamp), (Some((n % 3) as usize), clocks(n).wall));
                found.numbers.push(n);
            }
            Ok(Some(Seen::Statistics(seen))) => {
                found.comments.extend(seen.comment.map(str::to_owned));
                found.received[seen.mic.unwrap()] = seen.received;
                found.dropped[seen.mic.unwrap()] = seen.dropped;
            }
            Ok(Some(Seen::Nothing)) => {}
            Ok(None) => return found,
            Err(error) => {
                assert_eq!(error.fault, Fault::Truncated);
                found.whole = false;
                return found;
            }
        }
    }
}

#[test]
fn a_recording_holds_every_datagram_and_ends_with_what_the_kernel_dropped() {
    let (mut recorder, mut disk) = (recorder(|_| ()), Disk::default());
    datagrams(&mut recorder, 0..3_000, |recorder, now| disk.serve(recorder, now));
    recorder.observe([(0, 0), (1, 7), (2, 0)], 1, Some(Span::from_secs(-1)), clocks(3_000));
    recorder.finish(clocks(3_000));
    disk.serve(&mut recorder, clocks(3_000).mono);
    assert!(recorder.is_drained() && disk.open.is_none());
    assert_eq!(disk.files.keys().collect::<Vec<_>>(), ["/r/micring-20261122T110500Z-0001.pcapng"]);
    let found = read(disk.files.values().next().unwrap());
    assert!(found.whole);
    assert_eq!(found.numbers, (0..3_000).collect::<Vec<_>>());
    assert_eq!((found.received, found.dropped), ([Some(1_000); MICS], [Some(0), Some(7), Some(0)]));
    assert_eq!(found.comments, ["clock step -1000000000 ns"]);
    let figures = recorder.figures().clone();
    assert_eq!((figures.recorded, figures.not_recorded), (vec![1_000; MICS], vec![0; MICS]));
    assert_eq!(figures.bytes as usize, disk.files.values().map(Vec::len).sum::<usize>());
    assert_eq!(figures.queued_bytes, 0);
}

#[test]
fn blocks_do_not_wait_for_more_than_a_moment() {
    let (mut recorder, mut disk) = (recorder(|_| ()), Disk::default());
    datagrams(&mut recorder, 0..1, |recorder, now| disk.serve(recorder, now));
    assert!(disk.files.values().all(Vec::is_empty));
    let due = recorder.next_timeout().unwrap();
    assert_eq!(due, clocks(200).mono);
    disk.serve(&mut recorder, due);
    assert_eq!(read(disk.files.values().next().unwrap()).numbers, [0]);
    assert_eq!(recorder.next_timeout(), None, "nothing waits, so nothing wakes the loop");
}

#[test]
fn a_disk_that_hangs_costs_datagrams_but_no_memory() {
    let (mut recorder, mut disk) = (recorder(|_| ()), Disk::default());
    // 2048 bytes each and 60 of headers: 8 MiB hold some 3 970.
    datagrams(&mut recorder, 0..10_000, |recorder, _| assert!(recorder.queued <= QUEUE));
    let lost = recorder.figures().not_recorded.iter().sum::<u64>();
    assert!((6_000..6_100).contains(&lost), "{lost}");
    let said = recorder.next_line().unwrap();
    assert!(said.contains("the disk is too slow"), "{said}");
    assert_eq!(recorder.next_line(), None, "said once");
    datagrams(&mut recorder, 10_000..10_100, |recorder, now| disk.serve(recorder, now));
    assert!(recorder.next_line().unwrap().starts_with("recording goes on; "));
    recorder.finish(clocks(10_100));
    disk.serve(&mut recorder, clocks(10_100).mono);
    let found = read(disk.files.values().next().unwrap());
    let figures = recorder.figures().clone();
    assert_eq!(figures.recorded.iter().sum::<u64>(), found.numbers.len() as u64);
    assert_eq!(figures.recorded.iter().chain(&figures.not_recorded).sum::<u64>(), 10_100);
    // One microphone's were lost a little before another's: each is told.
    assert_eq!(found.comments.len(), MICS, "{:?}", found.comments);
    assert!(recorder.spare.len() <= 4);
}

#[test]
fn a_full_disk_leaves_no_hole_once_there_is_room_again() {
    let (mut recorder, mut disk) = (recorder(|_| ()), Disk::default());
    disk.room = Some((100_001, libc::ENOSPC));
    datagrams(&mut recorder, 0..500, |recorder, now| disk.serve(recorder, now));
    let file = |disk: &Disk| disk.files.values().next().unwrap().clone();
    let cut = read(&file(&disk));
    assert!(!cut.whole && cut.numbers.len() > 30, "the end of a full disk is inside a block");
    assert!(recorder.next_line().unwrap().ends_with("No space left on device; trying again every second"));
    disk.room = None;
    datagrams(&mut recorder, 500..3_000, |recorder, now| disk.serve(recorder, now));
    recorder.finish(clocks(3_000));
    disk.serve(&mut recorder, clocks(3_000).mono);
    let found = read(&file(&disk));
    assert!(found.whole);
    assert_eq!(found.numbers, (0..3_000).collect::<Vec<_>>());
    assert_eq!(recorder.figures().not_recorded, [0; MICS]);
    assert_eq!(recorder.next_line(), None);
}

#[test]
fn a_close_that_is_interrupted_is_never_tried_again() {
    for errno in [libc::EINTR, libc::EAGAIN, libc::EIO] {
        let (mut recorder, mut disk) = (recorder(|_| ()), Disk::default());
        datagrams(&mut recorder, 0..100, |recorder, now| disk.serve(recorder, now));
        disk.close_says = Some(errno);
        recorder.finish(clocks(100));
        // The disk would answer a second close with EBADF.
        disk.serve(&mut recorder, clocks(100).mono);
        assert!(recorder.is_drained() && disk.open.is_none());
        assert!(recorder.next_line().unwrap().ends_with("it may lack its end"));
        assert_eq!((recorder.next_line(), recorder.figures().errors), (None, 1));
        assert_eq!(read(disk.files.values().next().unwrap()).numbers.len(), 100);
    }
}

#[test]
fn what_the_disk_did_not_take_by_the_end_is_said() {
    let (mut recorder, mut disk) = (recorder(|_| ()), Disk::default());
    datagrams(&mut recorder, 0..300, |recorder, now| disk.serve(recorder, now));
    disk.room = Some((0, libc::ENOSPC));
    datagrams(&mut recorder, 300..900, |recorder, now| disk.serve(recorder, now));
    recorder.finish(clocks(900));
    disk.serve(&mut recorder, clocks(900).mono);
    let recorded = recorder.figures().recorded.iter().sum::<u64>();
    let said = recorder.unwritten().expect("a line");
    let lost = format!("{} datagrams (", 900 - recorded);
    assert!(said.contains(&lost) && said.ends_with(": No space left on device"), "{said}");
    let (mut idle, mut disk) = (self::recorder(|_| ()), Disk::default());
    idle.finish(clocks(10));
    disk.serve(&mut idle, clocks(10).mono);
    assert_eq!(idle.unwritten(), None);
}

#[test]
fn a_file_that_may_not_grow_is_followed_by_another() {
    let (mut recorder, mut disk) = (recorder(|_| ()), Disk::default());
    disk.room = Some((1_000_003, libc::EFBIG));
    datagrams(&mut recorder, 0..1_000, |recorder, now| disk.serve(recorder, now));
    recorder.finish(clocks(1_000));
    disk.serve(&mut recorder, clocks(1_000).mono);
    let found: Vec<Read> = disk.files.values().map(|file| read(file)).collect();
    assert!(found.len() == 3 && !found[0].whole && found.last().unwrap().whole);
    let figures = recorder.figures().clone();
    assert_eq!(figures.recorded.iter().chain(&figures.not_recorded).sum::<u64>(), 1_000);
    let held = found.iter().map(|file| file.numbers.len() as u64).sum::<u64>();
    // Those of the block that was cut are whole in the file but for the last, and counted as not recorded.
    let recorded = figures.recorded.iter().sum::<u64>();
    assert!(recorded <= held && held < recorded + 60, "{recorded} {held}");
}

#[test]
fn files_are_rotated_by_size_and_age_and_the_oldest_go() {
    let (mut recorder, mut disk) = (
        recorder(|settings| {
            settings.rotate_bytes = 1_000_000;
            settings.max_bytes = 5_000_000;
        }),
        Disk::default(),
    );
    datagrams(&mut recorder, 0..10_000, |recorder, now| disk.serve(recorder, now));
    recorder.finish(clocks(10_000));
    disk.serve(&mut recorder, clocks(10_000).mono);
    assert!(disk.most <= 5_000_000, "{} bytes in the folder", disk.most);
    assert!(disk.files.values().all(|file| file.len() < 1_010_000));
    let numbers: Vec<i64> = disk
        .files
        .values()
        .flat_map(|file| {
            let found = read(file);
            assert!(found.whole);
            assert_eq!(found.received.iter().flatten().sum::<u64>(), found.numbers.len() as u64);
            found.numbers
        })
        .collect();
    assert_eq!(numbers, (10_000 - numbers.len() as i64..10_000).collect::<Vec<_>>(), "no gap between files");
    assert!(numbers.len() > 1_800, "as much as fits is kept: {}", numbers.len());
    let figures = recorder.figures().clone();
    assert_eq!(figures.files - figures.files_removed, disk.files.len() as u64);

    let (mut recorder, mut disk) =
        (self::recorder(|settings| settings.rotate_age = Span::from_secs(2)), Disk::default());
    datagrams(&mut recorder, 0..5_000, |recorder, now| disk.serve(recorder, now));
    assert_eq!(disk.files.len(), 3);
}

#[test]
fn what_was_recorded_before_counts_and_is_never_overwritten() {
    let name = "/r/micring-20261122T110500Z-0001.pcapng".to_owned();
    let mut disk = Disk::default();
    disk.files.insert(name.clone(), b"old".to_vec());
    let mut recorder = recorder(|_| ());
    datagrams(&mut recorder, 0..300, |recorder, now| disk.serve(recorder, now));
    assert_eq!(disk.files[&name], b"old");
    assert!(disk.files.contains_key("/r/micring-20261122T110500Z-0002.pcapng"));
}

#[test]
fn a_folder_far_beyond_its_bound_is_cleared_beside_what_is_recorded_not_before_it() {
    let old = |n| (PathBuf::from(format!("/r/micring-20200101T000000Z-{n:06}.pcapng")), 1_000_000);
    let settings = Settings {
        folder: "/r".into(),
        snap: None,
        rotate_bytes: 1 << 30,
        rotate_age: Span::from_secs(3_600),
        max_bytes: 1 << 30,
    };
    let mut recorder = beside((0..100_000).map(old).collect(), settings);
    // One operation a millisecond: the hundred thousand take a hundred seconds, and what waits is bounded to four.
    let (mut disk, mut removed) = (Disk::default(), 0);
    datagrams(&mut recorder, 0..20_000, |recorder, now| {
        if let Some(op) = recorder.next_op(now) {
            removed += i32::from(matches!(op, FileOp::Unlink(_)));
            let result = disk.carry_out(&op);
            recorder.done(op, result, now);
        }
    });
    assert_eq!(recorder.figures().not_recorded, [0; MICS]);
    assert!(recorder.figures().recorded.iter().sum::<u64>() > 19_000, "{:?}", recorder.figures());
    assert!(removed > 5_000, "and the folder is cleared: {removed}");
}
