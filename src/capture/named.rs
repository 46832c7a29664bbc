//! Named: the sources that the interfaces of a recording of ours are named after.
//!
//! `mic0 0.0.0.0:30001`; of an array that has a name, and of a source that has several channels, `roof mic0-1 0.0.0.0:30001`. A recording may
//! hold many arrays, and one of them is read. Channels that nothing is named after are sources of their own, of which there is nothing: so
//! that mic 2 is mic 2 though mic 1 was never recorded.

use std::ops::Range;

use crate::array::MOST_CHANNELS;

/// Names of arrays that are remembered: sections may follow each other without end.
const MOST_ARRAYS: usize = 4096;

/// What an interface is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// Of no recording of ours.
    Nobodys,
    /// Of the array that is read: the source with this first channel.
    Ours(usize),
    /// Of another array.
    Others,
}

#[derive(Debug)]
struct Source {
    channels: Range<usize>,
    /// What it was declared to send.
    format: Option<String>,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// The array that is read: this one, or else the first that is named.
    array: Option<String>,
    arrays: Vec<String>,
    /// Of the array that is read, by their channels.
    sources: Vec<Source>,
}

impl Named {
    /// An array without a name is the empty one.
    pub fn of_array(array: Option<&str>) -> Named {
        Named { array: array.map(str::to_owned), ..Named::default() }
    }

    /// What an interface of that name is; `format`: what its source was declared to send.
    pub fn interface(&mut self, name: &[u8], format: Option<String>) -> Whose {
        let Some((array, channels)) = parsed(name) else { return Whose::Nobodys };
        if self.arrays.len() < MOST_ARRAYS && !self.arrays.iter().any(|other| other == array) {
            self.arrays.push(array.to_owned());
        }
        if self.array.get_or_insert_with(|| array.to_owned()) != array {
            return Whose::Others;
        }
        let place = self.sources.partition_point(|source| source.channels.start < channels.start);
        if self.sources.get(place).is_some_and(|there| there.channels == channels) {
            return Whose::Ours(channels.start);
        }
        let is_over = |other: Option<&Source>| {
            other.is_some_and(|other| other.channels.start < channels.end && channels.start < other.channels.end)
        };
        if is_over(self.sources.get(place)) || is_over(place.checked_sub(1).and_then(|before| self.sources.get(before)))
        {
            // A channel is one source's.
            return Whose::Others;
        }
        let first = channels.start;
        self.sources.insert(place, Source { channels, format });
        Whose::Ours(first)
    }

    /// Whether the recording is ours, as far as it has told.
    pub fn is_ours(&self) -> bool {
        !self.arrays.is_empty()
    }

    /// The arrays that are named.
    pub fn arrays(&self) -> &[String] {
        &self.arrays
    }

    /// The number of the source that an interface is.
    pub fn source(&self, whose: Whose) -> Option<usize> {
        let Whose::Ours(first) = whose else { return None };
        let before = self.sources.iter().take_while(|source| source.channels.start < first);
        Some(first - before.map(|source| source.channels.len() - 1).sum::<usize>())
    }

    /// Channels of each source.
    pub fn channels(&self) -> Vec<usize> {
        let mut channels = Vec::new();
        let mut next = 0;
        for source in &self.sources {
            channels.extend((next..source.channels.start).map(|_| 1));
            channels.push(source.channels.len());
            next = source.channels.end;
        }
        channels
    }

    /// What sources were declared to send.
    pub fn declared(&self) -> impl Iterator<Item = (usize, &str)> {
        let number = |source: &Source| self.source(Whose::Ours(source.channels.start));
        self.sources.iter().filter_map(move |source| Some((number(source)?, source.format.as_deref()?)))
    }
}

/// The array and the channels that an interface is named after.
fn parsed(name: &[u8]) -> Option<(&str, Range<usize>)> {
    let mut words = std::str::from_utf8(name).ok()?.rsplit(' ').skip(1);
    let channels = words.next()?.strip_prefix("mic")?;
    let array = words.next().unwrap_or_default();
    let number = |text: &str| {
        let text = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        text.parse().ok().filter(|number| *number < MOST_CHANNELS)
    };
    let (first, last) = channels.split_once('-').unwrap_or((channels, channels));
    let channels = number(first)?..number(last)? + 1;
    (!channels.is_empty() && words.next().is_none()).then_some((array, channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_array_is_read_unless_another_is_asked_for() {
        let names = ["roof mic0 0.0.0.0:1", "door mic0-1 0.0.0.0:2", "roof mic1 0.0.0.0:3", "door mic2 [::]:4"];
        let of = |array| {
            let mut named = Named::of_array(array);
            let whose = names.map(|name| named.interface(name.as_bytes(), Some(name.to_owned())));
            (whose.map(|whose| named.source(whose)), named.channels(), named.declared().count())
        };
        assert_eq!(of(None), ([Some(0), None, Some(1), None], vec![1, 1], 2));
        assert_eq!(of(Some("door")), ([None, Some(0), None, Some(1)], vec![2, 1], 2));
        assert_eq!(of(Some("cellar")), ([None; 4], vec![], 0));
    }

    #[test]
    fn sources_are_in_the_order_of_their_channels_wherever_their_sockets_are() {
        let mut named = Named::of_array(None);
        let names = ["door mic4-7 0.0.0.0:2", "door mic0-1 0.0.0.0:1", "door mic2-3 0.0.0.0:3"];
        let whose = names.map(|name| named.interface(name.as_bytes(), None));
        assert_eq!(whose.map(|whose| named.source(whose)), [Some(2), Some(0), Some(1)]);
        assert_eq!(named.channels(), [2, 2, 4]);
        // A second section names them again.
        assert_eq!(named.interface(names[0].as_bytes(), None), whose[0]);
    }

    #[test]
    fn a_source_that_nothing_was_recorded_of_keeps_its_place() {
        let mut named = Named::of_array(None);
        let whose = named.interface(b"mic2 0.0.0.0:30003", None);
        assert_eq!((named.source(whose), named.channels()), (Some(2), vec![1, 1, 1]));
    }

    #[test]
    fn other_names_are_nobodys_and_a_channel_is_one_sources() {
        for name in [
            "eth0",
            "mic0",
            "mic 0.0.0.0:1",
            "mic64 0.0.0.0:1",
            "mic1-0 0.0.0.0:1",
            "mic+1 x",
            "a b mic0 x",
            "unused 0.0.0.0:0",
        ] {
            assert_eq!(Named::default().interface(name.as_bytes(), None), Whose::Nobodys, "{name}");
        }
        let mut named = Named::default();
        assert_eq!(named.interface(b"mic0-3 x", None), Whose::Ours(0));
        assert_eq!(named.interface(b"mic2 x", None), Whose::Others);
        assert_eq!(named.interface(b"mic0 x", None), Whose::Others);
    }
}
