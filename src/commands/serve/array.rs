//! Array: an engine and what stands around it; and the table of all of them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::bodies::Bodies;
use super::inlet::InletId;
use crate::array::{ArrayId, ArrayName, DEFAULT_NAME};
use crate::engine::Engine;
use crate::engine::figures::window::Past;
use crate::engine::hostclock::HostClock;
use crate::report::{Exporter, SavingFigures, SoundFigures, Totals};
use crate::time::{MonoTime, Span};

/// After the last datagram of an array the counters are looked at once more, so that those of the window come to rest.
const AFTERWARDS: Span = Span::from_secs(1);

/// One array of the server.
pub(super) struct Array {
    pub name: ArrayName,
    pub engine: Engine,
    pub past: Past<Totals>,
    /// Whose sockets feed it.
    pub inlet: InletId,
    /// Of each source's newest accepted packet, in sample units.
    pub rms: Vec<f64>,
    pub exporter: Exporter,
    /// Rendered last.
    pub bodies: Bodies,
    /// A source's datagram came without a stamp, and that was said.
    pub warned_unstamped: bool,
    /// In the loop's list of those to be looked after at the end of the turn.
    pub touched: bool,
    /// The round for which the engine has the clocks.
    begun: u64,
    /// When the counters are looked at though nothing came.
    afterwards: Option<MonoTime>,
    /// What stands in the loop's timers.
    pub timer: Option<MonoTime>,
    /// Of an array that an address is: the address, and when it is looked at whether it is heard no more.
    pub host: Option<(IpAddr, MonoTime)>,
    /// Time spent on its sound, and in how many slices.
    pub listened: (Span, u64),
    /// In the list of those to be listened to.
    pub to_be_heard: bool,
    /// In the list of those whose notes are to be measured.
    pub noted: bool,
    /// Where it is sent to: a place in [`Plant::rtp`](super::plant::Plant).
    pub rtp: Option<usize>,
    /// Its place among what is saved, and what that counts.
    pub save: Option<usize>,
    pub saving: Option<SavingFigures>,
}

/// In which order arrays are listed: that of the configuration, then that in which addresses were heard.
pub(super) type Rank = (usize, u64);

impl Array {
    pub fn new(name: ArrayName, engine: Engine, inlet: InletId, sources: usize) -> Array {
        Array {
            name,
            engine,
            past: Past::new(),
            inlet,
            rms: vec![0.0; sources],
            exporter: Exporter::default(),
            bodies: Bodies::default(),
            warned_unstamped: false,
            touched: false,
            begun: 0,
            afterwards: None,
            timer: None,
            host: None,
            listened: (Span::ZERO, 0),
            to_be_heard: false,
            noted: false,
            rtp: None,
            save: None,
            saving: None,
        }
    }

    /// What its sound told, and cost; `None` where it is not listened to.
    pub fn sound(&self) -> Option<SoundFigures> {
        sound(&self.engine, self.listened)
    }

    /// Sources, each with a port of its own.
    pub fn sources(&self) -> usize {
        self.rms.len()
    }

    /// Before anything is fed in a round: the engine gets its clocks.
    pub fn begin(&mut self, round: u64, host: &HostClock) {
        if self.begun != round {
            self.begun = round;
            self.engine.begin_turn_on(host);
        }
    }

    /// Something came, or was due, in this turn: the window gets its copy.
    pub fn observe(&mut self, now: MonoTime, fed: bool, copy: impl FnOnce(&mut Totals, &Engine, Option<SoundFigures>)) {
        let (engine, listened) = (&self.engine, self.listened);
        self.past.observe(now, |totals| copy(totals, engine, sound(engine, listened)));
        match self.afterwards {
            Some(at) if at > now => {}
            // One look without anything new is the last.
            _ => self.afterwards = fed.then(|| now + AFTERWARDS),
        }
    }

    /// When it wants to be looked after though nothing comes.
    pub fn next_timeout(&self) -> Option<MonoTime> {
        [self.engine.next_timeout(), self.afterwards].into_iter().flatten().min()
    }
}

fn sound(engine: &Engine, (busy, slices): (Span, u64)) -> Option<SoundFigures> {
    let (shifts, borders) = (engine.shifts(), engine.borders());
    engine.hears().then_some(SoundFigures { shifts, borders, busy: busy + borders.busy, slices })
}

/// All arrays, each at its place.
#[derive(Default)]
pub(super) struct Arrays {
    all: Vec<Option<Array>>,
    order: BTreeMap<Rank, ArrayId>,
    /// Of the one that was added last.
    newest: u64,
    names: HashMap<ArrayName, ArrayId>,
}

impl Arrays {
    /// A place for one more.
    pub fn vacant(&self) -> ArrayId {
        let free = self.all.iter().position(Option::is_none).unwrap_or(self.all.len());
        ArrayId(free as u32)
    }

    /// At a [vacant](Arrays::vacant) place, under a name that no other has; `entry`: of the configuration.
    pub fn insert(&mut self, id: ArrayId, array: Array, entry: usize) {
        self.newest += 1;
        self.order.insert((entry, self.newest), id);
        let place = id.0 as usize;
        if self.all.len() <= place {
            self.all.resize_with(place + 1, || None);
        }
        let taken = self.names.insert(array.name.clone(), id);
        assert!(taken.is_none() && self.all[place].is_none(), "a name and a place are one array's");
        self.all[place] = Some(array);
    }

    pub fn remove(&mut self, id: ArrayId) -> Option<Array> {
        let array = self.all.get_mut(id.0 as usize)?.take()?;
        self.names.remove(&array.name);
        self.order.retain(|_, there| *there != id);
        Some(array)
    }

    /// The configuration's entries stand elsewhere now: where the one with this inlet does.
    pub fn reorder(&mut self, entry: impl Fn(InletId) -> usize) {
        let before = std::mem::take(&mut self.order);
        let now = before.into_iter().map(|((_, nth), id)| ((entry(self.of(id).inlet), nth), id));
        self.order = now.collect();
    }

    pub fn get(&self, id: ArrayId) -> Option<&Array> {
        self.all.get(id.0 as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, id: ArrayId) -> Option<&mut Array> {
        self.all.get_mut(id.0 as usize)?.as_mut()
    }

    /// # Panics
    /// If there is none at that place.
    pub fn of(&self, id: ArrayId) -> &Array {
        self.get(id).expect("an array that there is")
    }

    /// # Panics
    /// If there is none at that place.
    pub fn of_mut(&mut self, id: ArrayId) -> &mut Array {
        self.get_mut(id).expect("an array that there is")
    }

    pub fn find(&self, name: &str) -> Option<ArrayId> {
        let name = ArrayName::new(name).ok()?;
        self.names.get(&name).copied()
    }

    /// What a log line about it begins with: nothing where there is but the one that has no name of its own.
    pub fn prefix(&self, id: ArrayId) -> String {
        let name = &self.of(id).name;
        if name.as_str() == DEFAULT_NAME { String::new() } else { format!("{name}: ") }
    }

    pub fn first(&self) -> Option<ArrayId> {
        self.ids().next()
    }

    /// Those that there are, the first of the configuration first.
    pub fn ids(&self) -> impl Iterator<Item = ArrayId> + '_ {
        self.order.values().copied()
    }
}
