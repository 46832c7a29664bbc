//! Listening, a slice at a time: what [`ear`](super::ear) and [`calibrate`](super::calibrate) have to do.

use super::shared::tail::Sink;
use super::{Aligner, Borders, Credit, Engine, Shifts};

impl Engine {
    /// The sound helps where arrival times cannot decide; [`Engine::listen`] then has work to do. Before anything is fed.
    #[must_use]
    pub fn hearing(self) -> Engine {
        self.hearing_within(Credit::default())
    }

    /// The same where what listening may take is shared with others.
    #[must_use]
    pub fn hearing_within(mut self, credit: Credit) -> Engine {
        match &mut self.aligner {
            Aligner::Independent(boards) => boards.hear_sound(&credit),
            Aligner::Shared(shared) => shared.hear_sound(credit.clone()),
        }
        self.hears_sound = Some(credit);
        self
    }

    /// Whether the sound helps.
    pub fn hears(&self) -> bool {
        self.hears_sound.is_some()
    }

    /// Whether there may be something to listen to.
    pub fn listens(&self) -> bool {
        self.calibration.is_some() || self.hears() && matches!(self.aligner, Aligner::Independent(_))
    }

    /// One slice of listening, some ten microseconds of work. False when there is none to do now.
    pub fn listen(&mut self) -> bool {
        if self.listen_for_claps() {
            return true;
        }
        let (Some(clocks), Aligner::Independent(boards)) = (self.clocks, &mut self.aligner) else { return false };
        let mut sink = Sink {
            history: &mut self.history,
            counters: &mut self.counters,
            outputs: &mut self.outputs,
            meter: &mut self.meter,
            wall: clocks.wall,
        };
        boards.listen(clocks.mono, &mut sink)
    }

    /// What the sound told of the borders between packets.
    pub fn borders(&self) -> Borders {
        match &self.aligner {
            Aligner::Independent(boards) => boards.borders(),
            Aligner::Shared(shared) => shared.borders(),
        }
    }

    /// What the sound told of the placement of free boards; `None` where it is not listened to.
    pub fn shifts(&self) -> Option<Shifts> {
        match &self.aligner {
            Aligner::Independent(boards) => boards.shifts(),
            Aligner::Shared(_) => None,
        }
    }
}
