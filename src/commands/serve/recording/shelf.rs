//! Shelf: the folder of recordings, their names and their bound. Names begin with the time, so that they sort by it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::time::KernelTime;

/// Recordings that are complete, oldest first, and the next one's name.
pub(in crate::commands::serve) struct Shelf {
    folder: PathBuf,
    max_bytes: u64,
    stored: VecDeque<(PathBuf, u64)>,
    /// The sizes of all that is stored, so that no packet has to look at every file.
    bytes: u64,
    number: u32,
}

impl Shelf {
    /// `stored`: what is in the folder already, oldest first, with sizes.
    pub fn new(folder: PathBuf, max_bytes: u64, stored: Vec<(PathBuf, u64)>) -> Shelf {
        let bytes = stored.iter().map(|(_, bytes)| bytes).sum();
        Shelf { folder, max_bytes, stored: stored.into(), bytes, number: 0 }
    }

    /// A file larger than half of the bound would leave no room for the one before it.
    pub fn largest_file(&self) -> u64 {
        self.max_bytes / 2
    }

    /// The name of a recording that begins now.
    pub fn next(&mut self, wall: KernelTime) -> PathBuf {
        self.number += 1;
        self.folder.join(format!("micring-{}-{:04}.pcapng", utc(wall), self.number))
    }

    /// Another name for a recording whose name is taken.
    pub fn instead_of(&mut self, taken: &Path) -> PathBuf {
        let name = taken.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.rsplit_once('-').map_or(&*name, |(stem, _)| stem);
        self.number += 1;
        let path = self.folder.join(format!("{stem}-{:04}.pcapng", self.number));
        // It is one of our own names, and those are the newest.
        let own = self.stored.iter_mut().rev().take(self.number as usize);
        if let Some((stored, _)) = own.into_iter().find(|(stored, _)| stored == taken) {
            stored.clone_from(&path);
        }
        path
    }

    /// A recording is complete.
    pub fn add(&mut self, path: PathBuf, bytes: u64) {
        self.bytes += bytes;
        self.stored.push_back((path, bytes));
    }

    /// The oldest recording, if it has to go: beside it and the others, `current` bytes are being written.
    pub fn beyond_bound(&mut self, current: u64) -> Option<PathBuf> {
        if current + self.bytes <= self.max_bytes {
            return None;
        }
        let (path, bytes) = self.stored.pop_front()?;
        self.bytes -= bytes;
        Some(path)
    }
}

/// `20261123T024311Z` (ISO 8601, basic): in the order of time as text, and the same in every time zone. The date by
/// counting days from 1 March 0000, so that a leap day ends its year.
pub fn utc(wall: KernelTime) -> String {
    const DAYS_TO_1970: i64 = 719_468;
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let seconds = wall.as_nanos().div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400) + DAYS_TO_1970, seconds.rem_euclid(86_400));
    let (era, day) = (days.div_euclid(DAYS_OF_400_YEARS), days.rem_euclid(DAYS_OF_400_YEARS));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + month / 10, (month + 2) % 12 + 1);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_date_as_date_prints_it() {
        for seconds in [0, 951_782_399, 951_782_400, 1_709_210_096, 1_795_345_500, 4_107_542_400] {
            let output = std::process::Command::new("date")
                .args(["-u", "-d", &format!("@{seconds}"), "+%Y%m%dT%H%M%SZ"])
                .output()
                .expect("date runs");
            let wall = KernelTime::from_nanos(seconds * 1_000_000_000);
            assert_eq!(utc(wall).as_bytes(), output.stdout.trim_ascii());
        }
    }

    #[test]
    fn the_oldest_go_until_all_fits() {
        let stored = [("/r/a", 40), ("/r/b", 40)].map(|(path, bytes)| (PathBuf::from(path), bytes));
        let mut shelf = Shelf::new("/r".into(), 100, stored.into());
        assert_eq!(shelf.beyond_bound(20), None);
        assert_eq!(shelf.beyond_bound(61), Some("/r/a".into()));
        assert_eq!(shelf.beyond_bound(61), Some("/r/b".into()));
        assert_eq!(shelf.beyond_bound(61), None);
    }

    #[test]
    fn what_is_added_counts_once_whatever_it_is_called() {
        let mut shelf = Shelf::new("/r".into(), 100, vec![("/r/micring-a-0001.pcapng".into(), 40)]);
        let taken = shelf.next(KernelTime::from_nanos(0));
        shelf.add(taken.clone(), 50);
        let path = shelf.instead_of(&taken);
        assert_eq!(shelf.beyond_bound(10), None);
        assert_eq!(shelf.beyond_bound(11), Some("/r/micring-a-0001.pcapng".into()));
        assert_eq!(shelf.beyond_bound(50), None);
        assert_eq!(shelf.beyond_bound(51), Some(path));
        assert_eq!(shelf.beyond_bound(1 << 40), None);
    }
}
