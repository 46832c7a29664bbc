//! Arrays, the sockets that feed them, and what they share.

use super::array::{Array, Arrays};
use super::bodies::Bodies;
use super::inlet::{Inlet, InletId};
use super::rtp::RtpOut;
use super::view::View;
use crate::cycle::Clocks;
use crate::engine::Engine;
use crate::http::LocalTime;
use crate::report::{RecordingFigures, RingFigures, SoundFigures, StreamFigures, Totals};
use crate::sys::host::{self, ProcessFiles};
use crate::sys::ring::{Ring, RingCounters};
use crate::time::{KernelTime, MonoTime};

/// All that HTTP may see of the program.
pub(super) struct Plant {
    pub arrays: Arrays,
    pub inlets: Vec<Option<Inlet>>,
    /// Where arrays are sent to: none is ever added or removed once the server is confined.
    pub rtp: Vec<RtpOut>,
    pub shared: Shared,
}

impl Plant {
    pub fn new(core: Option<usize>, started: Clocks) -> Plant {
        Plant { arrays: Arrays::default(), inlets: Vec::new(), rtp: Vec::new(), shared: Shared::new(core, started) }
    }

    /// # Panics
    /// If it was removed.
    pub fn inlet(&self, id: InletId) -> &Inlet {
        self.inlets[id].as_ref().expect("an inlet that there is")
    }

    /// # Panics
    /// If it was removed.
    pub fn inlet_mut(&mut self, id: InletId) -> &mut Inlet {
        self.inlets[id].as_mut().expect("an inlet that there is")
    }

    /// The program as HTTP sees it, for the length of one call.
    pub fn view<'a>(&'a mut self, ring: &'a Ring, clocks: Clocks) -> View<'a> {
        View::new(self, ring, clocks)
    }
}

/// What the loop knows that is no array's.
pub(super) struct Shared {
    pub turns: u64,
    pub control_cut: u64,
    /// Datagrams of addresses that no array is made for, since there are as many as may be.
    pub strangers: u64,
    pub recording: Option<RecordingFigures>,
    log_dropped: u64,
    pub core: Option<usize>,
    pub kernel: String,
    pub started: MonoTime,
    pub started_wall: KernelTime,
    pub local: (i64, LocalTime),
    pub process: ProcessFiles,
    /// Bodies about all arrays.
    pub bodies: Bodies,
}

impl Shared {
    fn new(core: Option<usize>, started: Clocks) -> Shared {
        Shared {
            turns: 0,
            control_cut: 0,
            strangers: 0,
            recording: None,
            log_dropped: 0,
            core,
            kernel: host::kernel_release(),
            started: started.mono,
            started_wall: started.wall,
            local: (i64::MIN, LocalTime(*b"0000-00-00 00:00:00")),
            process: ProcessFiles::open(),
            bodies: Bodies::default(),
        }
    }

    /// Once a turn.
    pub fn observe(&mut self, clocks: Clocks, log_dropped: u64) {
        self.log_dropped = log_dropped;
        let second = clocks.wall.as_nanos().div_euclid(1_000_000_000);
        if self.local.0 != second {
            self.local = (second, LocalTime(host::local_time(clocks.wall)));
        }
    }

    /// Everything that counts up of an array, its sockets and what it shares with the others.
    pub fn totals(&self, array: &Array, inlet: &Inlet, counters: RingCounters, stream: &StreamFigures) -> Totals {
        let mut totals = Totals::default();
        self.copy_totals(&mut totals, &array.engine, inlet, counters, stream, array.sound());
        totals
    }

    /// The same, over an old copy and in its room.
    pub fn copy_totals(
        &self,
        copy: &mut Totals,
        engine: &Engine,
        inlet: &Inlet,
        counters: RingCounters,
        stream: &StreamFigures,
        sound: Option<SoundFigures>,
    ) {
        copy.engine.copy(engine.counters());
        for (mic, port) in copy.engine.mics.iter_mut().zip(&inlet.ports) {
            mic.kernel_dropped = port.drops.total();
        }
        copy.stream = *stream;
        copy.sound = sound;
        copy.ring = RingFigures {
            turns: self.turns,
            enters: counters.enters,
            completions: counters.completions,
            rearms_enobufs: counters.ended_no_buffers,
            rearms_cq_overflow: counters.ended_completions_full,
            rearms_empty_datagram: counters.ended_empty_datagram,
            rearms_emfile: counters.ended_no_descriptors,
            rearms_error: counters.ended_error,
            cq_overflows: counters.cq_overflows,
            stale: counters.stale,
            sq_full: counters.sq_full,
            control_truncated: self.control_cut,
            log_lines_dropped: self.log_dropped,
        };
        match &self.recording {
            None => copy.recording = None,
            Some(all) => {
                let sockets = inlet.ports.iter().map(|port| port.socket);
                copy.recording.get_or_insert_default().copy_of(all, sockets);
            }
        }
    }
}
