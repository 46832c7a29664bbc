//! The vocabulary of arrays: what an array is called, of what it is made, and one value for each of its channels.
//!
//! An array is one or more *sources* (a source: one sender's packets at one port), each of one or more *channels*. Channels are
//! counted through the array, source after source: a stereo board and a single microphone are channels 0, 1 and 2. `micN` in every
//! JSON, route and metric is channel N.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

/// Channels of an array, at most: contract section 9.
pub const MOST_CHANNELS: usize = 64;
/// Up to so many channels every pair has its figures; of more, each against channel 0: contract section 9.
const ALL_PAIRS: usize = 4;
/// The one array that there is without a configuration file.
pub const DEFAULT_NAME: &str = "default";
/// Bytes of a name, at most: it stands in addresses and in each line of `/metrics`.
const LONGEST_NAME: usize = 64;

/// Which array of a server: its place in the server's table. Stays with it as long as it exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ArrayId(pub u32);

/// What an array is called in routes, metrics, logs and recordings. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ArrayName(Arc<str>);

impl ArrayName {
    /// Letters, digits and `-_.:` (an address is a name), 1 to 64 of them; what stands in an address must not lead out of it.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn new(name: &str) -> Result<ArrayName, &'static str> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err("a name has 1 to 64 characters");
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)) {
            return Err("a name has only letters, digits and - _ . :");
        }
        if name.bytes().all(|b| b == b'.') {
            return Err("a name of dots alone would be a folder");
        }
        Ok(ArrayName(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ArrayName {
    fn default() -> ArrayName {
        ArrayName(DEFAULT_NAME.into())
    }
}

impl fmt::Display for ArrayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One value for each channel (or each source) of an array, in order. No heap: it is copied like a number.
#[derive(Clone, Copy)]
pub struct PerMic<T> {
    len: u8,
    items: [T; MOST_CHANNELS],
}

impl<T: Copy + Default> PerMic<T> {
    /// The same value `len` times.
    ///
    /// # Panics
    /// If there are more than 64: no array has as many.
    pub fn of(len: usize, item: T) -> PerMic<T> {
        PerMic::from_fn(len, |_| item)
    }

    /// # Panics
    /// If there are more than 64.
    pub fn from_fn(len: usize, mut item: impl FnMut(usize) -> T) -> PerMic<T> {
        assert!(len <= MOST_CHANNELS, "an array has at most 64 channels");
        let mut items = [T::default(); MOST_CHANNELS];
        for (i, place) in items[..len].iter_mut().enumerate() {
            *place = item(i);
        }
        PerMic { len: len as u8, items }
    }

    pub fn map<U: Copy + Default>(&self, mut f: impl FnMut(T) -> U) -> PerMic<U> {
        PerMic::from_fn(self.len(), |i| f(self[i]))
    }
}

impl<T> Deref for PerMic<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items[..usize::from(self.len)]
    }
}

impl<T> DerefMut for PerMic<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..usize::from(self.len)]
    }
}

impl<T: Copy + Default> From<&[T]> for PerMic<T> {
    fn from(items: &[T]) -> PerMic<T> {
        PerMic::from_fn(items.len(), |i| items[i])
    }
}

impl<T: Copy + Default, const N: usize> From<[T; N]> for PerMic<T> {
    fn from(items: [T; N]) -> PerMic<T> {
        PerMic::from(&items[..])
    }
}

impl<T: Copy + Default> FromIterator<T> for PerMic<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> PerMic<T> {
        let mut all = PerMic { len: 0, items: [T::default(); MOST_CHANNELS] };
        for item in items {
            all.items[usize::from(all.len)] = item;
            all.len += 1;
        }
        all
    }
}

impl<'a, T> IntoIterator for &'a PerMic<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: PartialEq> PartialEq for PerMic<T> {
    fn eq(&self, other: &PerMic<T>) -> bool {
        self[..] == other[..]
    }
}

impl<T: Eq> Eq for PerMic<T> {}

impl<T: PartialEq, const N: usize> PartialEq<[T; N]> for PerMic<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        self[..] == other[..]
    }
}

impl<T: fmt::Debug> fmt::Debug for PerMic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}

/// One value for each source (or channel) of an array, in order, on the heap: what is kept for it, and what is told now and then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Each<T>(Vec<T>);

impl<T> Each<T> {
    pub fn map<U>(&self, f: impl FnMut(T) -> U) -> Vec<U>
    where
        T: Copy,
    {
        self.0.iter().copied().map(f).collect()
    }
}

impl<T> Default for Each<T> {
    fn default() -> Each<T> {
        Each(Vec::new())
    }
}

impl<T> Deref for Each<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Each<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T> From<Vec<T>> for Each<T> {
    fn from(items: Vec<T>) -> Each<T> {
        Each(items)
    }
}

impl<T> FromIterator<T> for Each<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Each<T> {
        Each(items.into_iter().collect())
    }
}

impl<'a, T> IntoIterator for &'a Each<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Each<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}

impl<T> IntoIterator for Each<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: PartialEq, const N: usize> PartialEq<[T; N]> for Each<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        self.0 == other
    }
}

/// Some of the channels (or sources) of an array.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MicSet(u64);

impl MicSet {
    /// Those of the first `len` that are `wanted`.
    pub fn from_fn(len: usize, mut wanted: impl FnMut(usize) -> bool) -> MicSet {
        MicSet((0..len).filter(|&mic| wanted(mic)).fold(0, |all, mic| all | 1 << mic))
    }

    pub fn contains(self, mic: usize) -> bool {
        self.0 >> mic & 1 == 1
    }

    pub fn insert(&mut self, mic: usize) {
        self.0 |= 1 << mic;
    }

    /// Takes one out. True when it was there.
    pub fn take(&mut self, mic: usize) -> bool {
        let there = self.contains(mic);
        self.0 &= !(1 << mic);
        there
    }

    /// The lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MOST_CHANNELS).filter(move |&mic| self.contains(mic))
    }
}

/// Of so many channels, the pairs that have figures: all while there are at most four, else each against channel 0. Of three:
/// 0 and 1, 0 and 2, 1 and 2.
pub fn pairs(channels: usize) -> impl ExactSizeIterator<Item = (usize, usize)> + Clone {
    let all = channels <= ALL_PAIRS;
    let count = if all { channels * channels.saturating_sub(1) / 2 } else { channels - 1 };
    (0..count).map(move |pair| if all { pair_of(pair, channels) } else { (0, pair + 1) })
}

/// The `pair`th of all pairs, those of the first channel first.
fn pair_of(pair: usize, channels: usize) -> (usize, usize) {
    let (mut first, mut before) = (0, 0);
    while pair >= before + channels - 1 - first {
        before += channels - 1 - first;
        first += 1;
    }
    (first, first + 1 + pair - before)
}

/// The sources of an array, and how many channels each has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Of each source, its first channel; and behind the last, the number of all.
    first: [u8; MOST_CHANNELS + 1],
    sources: u8,
    /// Of each channel, its source.
    source: PerMic<u8>,
}

impl Layout {
    /// Of sources with so many channels each.
    ///
    /// # Errors
    /// No source, a source without a channel, or more than 64 channels in all.
    pub fn new(channels: &[usize]) -> Result<Layout, &'static str> {
        if channels.is_empty() || channels.contains(&0) {
            return Err("an array has at least one source, and a source at least one channel");
        }
        // None is 0, so that there are no more sources than channels.
        if channels.iter().try_fold(0_usize, |all, n| all.checked_add(*n)).is_none_or(|all| all > MOST_CHANNELS) {
            return Err("an array has at most 64 channels");
        }
        let mut first = [0; MOST_CHANNELS + 1];
        for (source, &n) in channels.iter().enumerate() {
            first[source + 1] = first[source] + n as u8;
        }
        let source =
            channels.iter().enumerate().flat_map(|(source, &n)| std::iter::repeat_n(source as u8, n)).collect();
        Ok(Layout { first, sources: channels.len() as u8, source })
    }

    /// So many sources of one channel each.
    ///
    /// # Panics
    /// If there are none, or more than 64.
    pub fn mono(sources: usize) -> Layout {
        Layout::new(&vec![1; sources]).expect("1 to 64 sources")
    }

    pub fn sources(&self) -> usize {
        self.sources.into()
    }

    pub fn channels(&self) -> usize {
        self.source.len()
    }

    /// The channels of a source.
    pub fn channels_of(&self, source: usize) -> Range<usize> {
        self.first[source].into()..self.first[source + 1].into()
    }

    /// The first channel of a source.
    pub fn first_of(&self, source: usize) -> usize {
        self.first[source].into()
    }

    /// What a source is called in a log line: "mic 0", or "mic 2 to 3".
    pub fn name_of(&self, source: usize) -> String {
        let Range { start, end } = self.channels_of(source);
        if end - start == 1 { format!("mic {start}") } else { format!("mic {start} to {}", end - 1) }
    }

    /// The source of a channel.
    pub fn source_of(&self, channel: usize) -> usize {
        self.source[channel].into()
    }

    /// Whether each source has one channel: then a channel is a source, by the same number.
    pub fn is_mono(&self) -> bool {
        self.sources() == self.channels()
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels = (0..self.sources()).map(|source| self.channels_of(source).len());
        f.debug_list().entries(channels).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_all_of_up_to_four_channels_and_else_those_with_the_first() {
        let of = |n| pairs(n).collect::<Vec<_>>();
        assert_eq!((of(1), of(2)), (vec![], vec![(0, 1)]));
        assert_eq!(of(3), [(0, 1), (0, 2), (1, 2)]);
        assert_eq!(of(4), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]);
        assert_eq!(of(5), [(0, 1), (0, 2), (0, 3), (0, 4)]);
        assert_eq!(pairs(64).len(), 63);
    }

    #[test]
    fn channels_are_counted_through_the_sources() {
        let layout = Layout::new(&[2, 1, 3]).expect("six channels");
        assert_eq!((layout.sources(), layout.channels(), layout.is_mono()), (3, 6, false));
        assert_eq!((0..6).map(|channel| layout.source_of(channel)).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 2]);
        assert_eq!([0, 1, 2].map(|source| layout.channels_of(source)), [0..2, 2..3, 3..6]);
        assert_eq!(Layout::mono(3), Layout::new(&[1, 1, 1]).expect("three"));
        assert!(Layout::mono(64).is_mono());
    }

    #[test]
    fn an_array_has_1_to_64_channels() {
        for wrong in [&[][..], &[1, 0], &[65], &[64, 1], &[usize::MAX, 2], &[1; 65]] {
            assert!(Layout::new(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(Layout::new(&[64]).expect("one source").channels(), 64);
    }

    #[test]
    fn a_name_can_stand_in_an_address() {
        for good in ["default", "room-1", "127.0.0.1", "fe80::1", "a"] {
            assert_eq!(ArrayName::new(good).expect(good).as_str(), good);
        }
        for wrong in ["", ".", "..", "a/b", "a b", "a%2f", "größe", "a\"", &"x".repeat(65)] {
            assert!(ArrayName::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_set_holds_the_64th_too() {
        let mut some = MicSet::from_fn(64, |mic| mic % 21 == 0);
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 21, 42, 63]);
        some.insert(1);
        assert!(some.take(63) && !some.take(63));
        assert!(some.contains(1) && some.contains(42) && !some.contains(63) && !some.contains(2));
    }

    #[test]
    fn per_mic_is_as_long_as_it_was_made_and_no_longer() {
        let some: PerMic<u32> = [7, 8, 9].into();
        assert_eq!((some.len(), some.iter().sum::<u32>()), (3, 24));
        assert_eq!(some, (7..10).collect::<PerMic<u32>>());
        assert_ne!(some, PerMic::of(4, 7));
        assert_eq!(some.map(|x| u64::from(x) * 2), [14, 16, 18]);
        assert_eq!(format!("{some:?}"), "[7, 8, 9]");
    }
}
