//! Inputs near good ones: a member of a corpus, changed a few times in ways that parsers trip over.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;

/// As the environment asks (PROPTEST_CASES, PROPTEST_RNG_SEED); what failed once is tried first from then on.
pub fn config() -> ProptestConfig {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/regressions.txt");
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..ProptestConfig::default()
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    /// A word of the format.
    Word(Index, Index),
    Cut(Index, usize),
    Again(Index, usize),
    /// Four bytes with a number that lies at some edge.
    Number(Index, u32, bool),
    End(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let edges = prop_oneof![
        Just(0),
        Just(1),
        Just(0x7fff_ffff),
        Just(0x8000_0000),
        Just(u32::MAX),
        Just(0xffff),
        Just(0x1_0000),
        any::<u32>(),
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (any::<Index>(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(at, word)| Edit::Word(at, word)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, len)| Edit::Cut(at, len)),
        (any::<Index>(), 1..200_usize).prop_map(|(at, len)| Edit::Again(at, len)),
        (any::<Index>(), edges, any::<bool>()).prop_map(|(at, number, big)| Edit::Number(at, number, big)),
        any::<Index>().prop_map(Edit::End),
    ]
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>, words: &[&[u8]]) {
        let place = |at: &Index, bytes: &Vec<u8>| at.index(bytes.len() + 1);
        match self {
            Edit::Set(at, byte) => {
                let at = place(at, bytes);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Edit::Flip(at, bit) => {
                let at = place(at, bytes);
                if let Some(old) = bytes.get_mut(at) {
                    *old ^= 1 << bit;
                }
            }
            Edit::Insert(at, new) => {
                let at = place(at, bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Edit::Word(at, word) => {
                let at = place(at, bytes);
                bytes.splice(at..at, words[word.index(words.len())].iter().copied());
            }
            Edit::Cut(at, len) => {
                let at = place(at, bytes);
                bytes.drain(at..(at + len).min(bytes.len()));
            }
            Edit::Again(at, len) => {
                let at = place(at, bytes);
                let piece = bytes[at..(at + len).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            Edit::Number(at, number, big) => {
                let at = place(at, bytes);
                let number = if *big { number.to_be_bytes() } else { number.to_le_bytes() };
                let end = (at + 4).min(bytes.len());
                bytes.splice(at..end, number);
            }
            Edit::End(at) => {
                let at = place(at, bytes);
                bytes.truncate(at);
            }
        }
    }
}

/// Members of the corpus, changed up to eight times; sometimes not at all.
pub fn mutated(corpus: Vec<Vec<u8>>, words: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let member = prop::sample::select(corpus);
    (member, vec(edit(), 0..9)).prop_map(move |(mut bytes, edits)| {
        edits.iter().for_each(|edit| edit.apply(&mut bytes, words));
        bytes
    })
}
