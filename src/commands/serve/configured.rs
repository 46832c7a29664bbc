//! Arrays come and go: those of the configuration, at the start and when it is read again (SIGHUP), and those that an address is, when
//! that is heard first and when it has been silent for long.
//!
//! What has not changed is not touched. All that may fail (the file, its ports) is done before anything changes, so that a
//! mistake costs a line in the log.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::{fs, io};

use super::array::Array;
use super::calibration::KeptOf;
use super::event_loop::{Loop, Timer};
use super::inlet::{Feeds, Hosts, Inlet};
use super::plain;
use super::rtp::RtpOut;
use crate::array::{ArrayId, ArrayName};
use crate::capture::Interface;
use crate::cli::EngineArgs;
use crate::cli::config::{self, ArraySpec, Senders};
use crate::engine::Engine;
use crate::sys::host;
use crate::sys::ring::SocketId;
use crate::sys::udp::StampedSocket;
use crate::time::MonoTime;
use crate::wire::Format;

/// Arrays of addresses made in a turn: each takes some milliseconds, for the memory of its history.
const MADE: usize = 1;

/// How a port is bound; the error says which, why and what to do.
pub(super) type Bind = Box<dyn Fn(u16) -> Result<StampedSocket, String>>;

/// What stands in the configuration.
#[derive(Default)]
pub(super) struct Configured {
    entries: Vec<Entry>,
    /// Where it is read from, what holds where it says nothing, and how ports are bound.
    pub file: Option<(PathBuf, EngineArgs, Bind)>,
    /// Datagrams that an inlet's socket can hand over at a time.
    pub buffers: usize,
    /// Calibrations of earlier runs.
    pub kept: KeptOf,
    /// The turn in which an array was made last, and how many in that.
    made: (u64, usize),
    /// The turn in which a datagram was left for the next one.
    waiting: Option<u64>,
}

/// Whose a datagram is.
pub(super) enum Whose {
    Array(ArrayId),
    /// None is made for its address, or it has none.
    Nobodys,
    /// Its array is made in the next turn: in this one enough were.
    NextTurn,
}

impl Configured {
    /// In this turn a datagram is left for the next one: another round changes nothing.
    pub fn is_waiting(&self, turn: u64) -> bool {
        self.waiting == Some(turn)
    }
}

struct Entry {
    spec: ArraySpec,
    inlet: usize,
    sockets: Vec<SocketId>,
}

/// Reads the file. The error names it, and the line and key that are wrong.
pub fn read(path: &std::path::Path, usual: &EngineArgs) -> Result<Vec<ArraySpec>, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {}", plain(&error)))?;
    config::parse(&text, usual).map_err(|mistake| format!("{name}, {mistake}"))
}

/// What a recording calls the sources of an array, which listen there; `named`: after the array too.
pub(super) fn interfaces(spec: &ArraySpec, named: bool, addresses: &[SocketAddr]) -> Vec<Interface> {
    let array = named.then_some(spec.name.as_str());
    let formats = spec.engine.formats(spec.ports.len());
    let sources = addresses.iter().zip(formats).enumerate();
    let of = |(source, (&address, format)): (usize, (&SocketAddr, Format))| {
        Interface::of(array, spec.layout.channels_of(source), address).with_format(format.to_string())
    };
    sources.map(of).collect()
}

impl Loop {
    /// An entry of the configuration whose ports are these sockets.
    pub fn add(&mut self, spec: ArraySpec, sockets: Vec<SocketId>) {
        let inlet = self.plant.inlets.iter().position(Option::is_none).unwrap_or(self.plant.inlets.len());
        if inlet == self.plant.inlets.len() {
            self.plant.inlets.push(None);
        }
        for (port, &socket) in sockets.iter().enumerate() {
            if self.owner.len() <= socket {
                self.owner.resize(socket + 1, None);
            }
            self.owner[socket] = Some((inlet, port));
            self.ring.arm_socket(socket);
        }
        let entry = self.configured.entries.len();
        let feeds = match spec.senders {
            Senders::One => Feeds::One(self.make(&spec, spec.name.clone(), inlet, entry)),
            Senders::EachHost { forget, max_arrays: max } => {
                Feeds::EachHost(Hosts { arrays: HashMap::new(), forget, max, warned: false })
            }
        };
        self.plant.inlets[inlet] = Some(Inlet::new(&sockets, feeds, self.configured.buffers));
        self.configured.entries.push(Entry { spec, inlet, sockets });
    }

    fn make(&mut self, spec: &ArraySpec, name: ArrayName, inlet: usize, entry: usize) -> ArrayId {
        let id = self.plant.arrays.vacant();
        // Ids of another run, or of an array that had this name, are below this one's: a client that comes back with one is told what is
        // live, not what follows by chance.
        let first_id = host::clocks().wall.as_micros().max(0).unsigned_abs() / 1_000;
        let engine = Engine::new(spec.engine.config(spec.layout))
            .numbered_from(first_id)
            .declared(&spec.engine.formats(spec.ports.len()));
        let engine = engine.calibrated(self.configured.kept.get(&name).cloned().unwrap_or_default());
        let engine = if spec.engine.no_sound { engine } else { engine.hearing_within(self.ears.credit()) };
        self.server.add(id, engine.history().first_id());
        let mut array = Array::new(name, engine, inlet, spec.ports.len());
        if let Some(saves) = &mut self.saves {
            array.save = Some(saves.add(id, array.name.as_str(), &array.engine));
            array.saving = Some(Default::default());
        }
        self.plant.arrays.insert(id, array, entry);
        let free = |out: &RtpOut| Some(out.spec) == spec.rtp && out.array.is_none();
        if let Some(place) = self.plant.rtp.iter().position(free) {
            self.plant.rtp[place].attach(id, spec.layout.channels());
            self.plant.arrays.of_mut(id).rtp = Some(place);
        }
        id
    }

    /// Whose a datagram is. Where every address is an array, one that is heard first becomes one.
    pub fn whose(&mut self, inlet: usize, sender: Option<SocketAddr>, now: MonoTime) -> Whose {
        let Some(sender) = sender else { return Whose::Nobodys };
        match self.plant.inlet(inlet).array_of(sender) {
            Some(known) => Whose::Array(known),
            None => self.meet(inlet, sender.ip().to_canonical(), now),
        }
    }

    fn meet(&mut self, inlet: usize, address: IpAddr, now: MonoTime) -> Whose {
        let entry = self.configured.entries.iter().position(|entry| entry.inlet == inlet);
        let entry = entry.expect("an inlet is an entry's");
        let spec = self.configured.entries[entry].spec.clone();
        let Feeds::EachHost(hosts) = &mut self.plant.inlet_mut(inlet).feeds else { return Whose::Nobodys };
        let forget = hosts.forget;
        if hosts.arrays.len() >= hosts.max {
            if !std::mem::replace(&mut hosts.warned, true) {
                let (name, max) = (&spec.name, hosts.max);
                let line =
                    format!("{name}: {address} is not taken in: there are {max} arrays, as many as max_arrays allows");
                self.log.line(&line);
            }
            self.plant.shared.strangers += 1;
            return Whose::Nobodys;
        }
        let turn = self.plant.shared.turns;
        let made = if self.configured.made.0 == turn { self.configured.made.1 } else { 0 };
        if made >= MADE {
            self.configured.waiting = Some(turn);
            return Whose::NextTurn;
        }
        self.configured.made = (turn, made + 1);
        let name = self.name_of(address, &spec.name);
        let id = self.make(&spec, name.clone(), inlet, entry);
        let look = now + forget;
        self.plant.arrays.of_mut(id).host = Some((address, look));
        self.timers.insert((look, Timer::Forget(id)));
        if let Feeds::EachHost(hosts) = &mut self.plant.inlet_mut(inlet).feeds {
            hosts.arrays.insert(address, id);
        }
        self.log.line(&format!("{}: {address} is heard: array {name}", spec.name));
        Whose::Array(id)
    }

    /// The address; where another group has that already, with this group's name.
    fn name_of(&self, address: IpAddr, group: &ArrayName) -> ArrayName {
        let plain = address.to_string();
        let free = |name: &str| self.plant.arrays.find(name).is_none();
        let both = format!("{plain}-{group}");
        let name = if free(&plain) { &plain } else { &both };
        ArrayName::new(name).unwrap_or_else(|_| ArrayName::new(&plain).expect("an address is a name"))
    }

    /// An array that an address is goes when that has been silent for long.
    pub fn forget_silent(&mut self, id: ArrayId, now: MonoTime) {
        let Some(array) = self.plant.arrays.get_mut(id) else { return };
        let Some((address, _)) = array.host else { return };
        let (inlet, sources) = (array.inlet, array.sources());
        let heard = (0..sources).filter_map(|source| array.engine.latest(source)).map(|latest| latest.arrival).max();
        let Feeds::EachHost(hosts) = &mut self.plant.inlet_mut(inlet).feeds else { return };
        let forget = hosts.forget;
        let due = heard.map_or(now, |heard| heard + forget);
        if due > now {
            self.plant.arrays.of_mut(id).host = Some((address, due));
            self.timers.insert((due, Timer::Forget(id)));
            return;
        }
        hosts.arrays.remove(&address);
        hosts.warned = false;
        let name = self.plant.arrays.of(id).name.clone();
        self.remove_array(id);
        self.log.line(&format!("array {name} is forgotten: nothing was heard of it for {:.0} s", forget.as_secs_f64()));
    }

    fn remove_array(&mut self, id: ArrayId) {
        self.server.forget(id);
        let Some(array) = self.plant.arrays.remove(id) else { return };
        if let Some(place) = array.rtp {
            self.plant.rtp[place].detach();
        }
        if let (Some(saves), Some(place)) = (&mut self.saves, array.save) {
            saves.end(place, &array.engine, host::mono());
        }
        if let Some(due) = array.timer {
            self.timers.remove(&(due, Timer::Array(id)));
        }
        if let Some((_, due)) = array.host {
            self.timers.remove(&(due, Timer::Forget(id)));
        }
    }

    /// SIGHUP: makes the arrays those of the file, and says what came of it.
    pub fn read_again(&mut self) {
        let Some((path, usual, bind)) = self.configured.file.take() else { return };
        let line = match read(&path, &usual).and_then(|specs| self.change_to(specs, &bind)) {
            Ok(changed) => format!("{} was read again: {changed}", path.display()),
            Err(why) => format!("{why}; nothing was changed"),
        };
        self.log.line(&line);
        self.configured.file = Some((path, usual, bind));
    }

    fn change_to(&mut self, specs: Vec<ArraySpec>, bind: &Bind) -> Result<String, String> {
        // The server is confined: it may bind ports, and connect to nothing.
        let known = |spec: &&ArraySpec| spec.rtp.is_none_or(|rtp| self.plant.rtp.iter().any(|out| out.spec == rtp));
        if let Some(spec) = specs.iter().find(|spec| !known(spec)) {
            return Err(format!("{}: rtp_out is new, and that takes a restart", spec.name));
        }
        let (kept, gone): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.configured.entries).into_iter().partition(|entry| specs.contains(&entry.spec));
        // Ports that another array had until now are handed over as they are.
        let mut free: HashMap<u16, SocketId> = HashMap::new();
        for entry in &gone {
            free.extend(
                entry.spec.ports.iter().copied().zip(entry.sockets.iter().copied()).filter(|(port, _)| *port != 0),
            );
        }
        let is_new = |spec: &&ArraySpec| !kept.iter().any(|entry| entry.spec == **spec);
        let ports = specs.iter().filter(is_new).flat_map(|spec| &spec.ports);
        let bound: Result<Vec<StampedSocket>, String> =
            ports.filter(|port| !free.contains_key(port)).map(|&port| bind(port)).collect();
        let bound = match bound {
            Ok(bound) => bound,
            Err(why) => {
                self.configured.entries = kept.into_iter().chain(gone).collect();
                self.restore_order();
                return Err(why);
            }
        };
        let added = bound.into_iter().map(|socket| self.ring.add_socket(socket)).collect::<io::Result<Vec<SocketId>>>();
        let mut added = match added {
            Ok(added) => added.into_iter(),
            Err(error) => {
                self.configured.entries = kept.into_iter().chain(gone).collect();
                self.restore_order();
                return Err(format!("the ring takes no more sockets: {}", plain(&error)));
            }
        };
        let (mut names_gone, mut names_new) = (Vec::new(), Vec::new());
        for entry in &gone {
            names_gone.push(entry.spec.name.to_string());
            self.close(entry);
        }
        let mut kept: Vec<Option<Entry>> = kept.into_iter().map(Some).collect();
        let mut stays = 0;
        for spec in specs {
            let place = kept.iter().position(|entry| entry.as_ref().is_some_and(|entry| entry.spec == spec));
            if let Some(entry) = place.and_then(|place| kept[place].take()) {
                stays += 1;
                self.configured.entries.push(entry);
                continue;
            }
            names_new.push(spec.name.to_string());
            let mut socket = |port| free.remove(port).or_else(|| added.next()).expect("each new port was bound");
            let sockets: Vec<SocketId> = spec.ports.iter().map(&mut socket).collect();
            self.add(spec, sockets);
        }
        // Those that nobody took over, and those whose port the kernel chose.
        let unused = gone.iter().flat_map(|entry| &entry.sockets).filter(|&&socket| self.owner[socket].is_none());
        unused.for_each(|&socket| self.ring.remove_socket(socket));
        self.restore_order();
        let sources = self.sources();
        if let Some(recording) = &mut self.recording {
            recording.change(sources, host::clocks());
        }
        let list = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Ok(format!("{stays} arrays go on; new: {}; gone: {}", list(names_new), list(names_gone)))
    }

    /// What a recording calls the sockets of the ring, by their places.
    fn sources(&self) -> Vec<Interface> {
        let mut all = vec![Interface::unused(); self.owner.len()];
        for entry in &self.configured.entries {
            let addresses: Vec<SocketAddr> =
                entry.sockets.iter().map(|&socket| self.ring.socket(socket).address()).collect();
            for (&socket, interface) in entry.sockets.iter().zip(interfaces(&entry.spec, true, &addresses)) {
                all[socket] = interface;
            }
        }
        all
    }

    /// Arrays are listed as the configuration has them.
    fn restore_order(&mut self) {
        let entries = &self.configured.entries;
        let place = |inlet: usize| entries.iter().position(|entry| entry.inlet == inlet).unwrap_or(usize::MAX);
        self.plant.arrays.reorder(place);
    }

    /// The arrays of an entry go, and what waits for them; its sockets stay.
    fn close(&mut self, entry: &Entry) {
        let mut inlet = self.plant.inlets[entry.inlet].take().expect("an entry has its inlet");
        self.listed.retain(|&listed| listed != entry.inlet);
        inlet.drain().for_each(|datagram| self.ring.recycle(datagram));
        match inlet.feeds {
            Feeds::One(id) => self.remove_array(id),
            Feeds::EachHost(hosts) => hosts.arrays.into_values().for_each(|id| self.remove_array(id)),
        }
        for &socket in &entry.sockets {
            self.owner[socket] = None;
        }
    }
}
