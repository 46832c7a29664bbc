//! What is told of each channel, and of each pair of channels, as JSON objects: `mic0`, `mic1`, ... and `mic0_vs_mic1`, ...
//!
//! The engine knows sources; `micN` is channel N. A channel has what its source has: what was lost, how late it came, how its clock runs.
//! Two channels of one source have one clock and one packet: what differs between them is 0, by construction.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::array::{Layout, pairs};

/// Why a figure of a pair is 0.
pub(super) const ONE_SOURCE: &str =
    "two channels of one source: one clock and one packet, so that it is 0 by construction";

/// One of each channel.
#[derive(Clone, Debug)]
pub(super) struct OfMics<T>(pub Vec<T>);

impl<T> OfMics<T> {
    /// Of each channel what its source has.
    pub fn of_sources(layout: &Layout, of: impl FnMut(usize) -> T) -> OfMics<T> {
        OfMics(by_channel(layout).map(of).collect())
    }

    pub fn of_channels(layout: &Layout, of: impl FnMut(usize) -> T) -> OfMics<T> {
        OfMics((0..layout.channels()).map(of).collect())
    }
}

impl<T: Serialize> Serialize for OfMics<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (mic, value) in self.0.iter().enumerate() {
            map.serialize_entry(&format!("mic{mic}"), value)?;
        }
        map.end()
    }
}

/// Of each channel, its source.
pub(super) fn by_channel(layout: &Layout) -> impl Iterator<Item = usize> {
    (0..layout.channels()).map(|channel| layout.source_of(channel))
}

/// Two channels that have figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Couple {
    pub first: usize,
    pub second: usize,
    /// Which pair of sources they are of; `None` where they are of one.
    pub sources: Option<usize>,
}

impl Couple {
    pub fn name(&self) -> String {
        format!("mic{}_vs_mic{}", self.first, self.second)
    }
}

/// Those of an array, in the order of [`pairs`].
pub(super) fn couples(layout: &Layout) -> impl Iterator<Item = Couple> {
    pairs(layout.channels()).map(|(first, second)| {
        let of = (layout.source_of(first), layout.source_of(second));
        Couple { first, second, sources: pairs(layout.sources()).position(|sources| sources == of) }
    })
}

/// One of each pair.
pub(super) struct OfPairs<T>(Vec<(Couple, T)>);

impl<T> OfPairs<T> {
    pub fn of(layout: &Layout, mut of: impl FnMut(Couple) -> T) -> OfPairs<T> {
        OfPairs(couples(layout).map(|couple| (couple, of(couple))).collect())
    }
}

impl<T: Serialize> Serialize for OfPairs<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (couple, value) in &self.0 {
            map.serialize_entry(&couple.name(), value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(layout: &[usize]) -> Vec<(String, Option<usize>)> {
        couples(&Layout::new(layout).expect("an array")).map(|couple| (couple.name(), couple.sources)).collect()
    }

    #[test]
    fn a_pair_of_channels_is_that_of_their_sources_or_of_one() {
        let names = |names: &[(&str, Option<usize>)]| -> Vec<(String, Option<usize>)> {
            names.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect()
        };
        assert_eq!(
            told(&[1, 1, 1]),
            names(&[("mic0_vs_mic1", Some(0)), ("mic0_vs_mic2", Some(1)), ("mic1_vs_mic2", Some(2))])
        );
        assert_eq!(
            told(&[2, 2]),
            names(&[
                ("mic0_vs_mic1", None),
                ("mic0_vs_mic2", Some(0)),
                ("mic0_vs_mic3", Some(0)),
                ("mic1_vs_mic2", Some(0)),
                ("mic1_vs_mic3", Some(0)),
                ("mic2_vs_mic3", None),
            ])
        );
        // Three sources of five channels: of the sources all pairs have figures, of the channels those with channel 0.
        assert_eq!(
            told(&[2, 2, 1]),
            names(&[
                ("mic0_vs_mic1", None),
                ("mic0_vs_mic2", Some(0)),
                ("mic0_vs_mic3", Some(0)),
                ("mic0_vs_mic4", Some(1))
            ])
        );
        assert!(told(&[8]).iter().all(|(_, sources)| sources.is_none()));
        assert_eq!(told(&[1; 16]).len(), 15);
    }

    #[test]
    fn keys_are_the_channels() {
        let layout = Layout::new(&[2, 1]).expect("an array");
        let of = OfMics::of_sources(&layout, |source| source * 10);
        assert_eq!(serde_json::to_string(&of).expect("JSON"), r#"{"mic0":0,"mic1":0,"mic2":10}"#);
    }
}
