//! What the sound tells of free boards, and what is done about it.

use super::Boards;
use crate::engine::Queued;
use crate::engine::credit::Credit;
use crate::engine::ear::{Ear, Finding, Happened, Shifts, Step};
use crate::engine::free::stream::{Moved, Stream};
use crate::engine::number::borders::Borders;
use crate::engine::shared::tail::Sink;
use crate::time::MonoTime;

impl Boards {
    /// From now on the sound is listened to: where a loss is in doubt, and where [`Boards::listen`] is called.
    pub fn hear_sound(&mut self, credit: &Credit) {
        self.streams.iter_mut().for_each(|stream| stream.hear_sound(credit.clone()));
        self.ear = Ear::new(self.streams.len(), self.sample_rate).map(Box::new);
    }

    /// What the sound told of the borders between packets.
    pub fn borders(&self) -> Borders {
        self.streams.iter().map(Stream::borders).fold(self.borders_before, Borders::and)
    }

    /// Borders were judged before.
    pub fn count_borders(&mut self, before: Borders) {
        self.borders_before = before;
    }

    /// What the sound told of placements.
    pub fn shifts(&self) -> Option<Shifts> {
        self.ear.as_ref().map(|ear| ear.shifts())
    }

    /// What the newest packet did to its microphone's numbers.
    pub(super) fn tell_ear(&mut self, mic: usize, now: MonoTime) {
        let happened = match self.streams[mic].take_moved() {
            None => return,
            Some(Moved::Lost) => Happened::Lost,
            Some(Moved::Doubtful) => Happened::Doubtful,
            Some(Moved::Level) => Happened::Much,
            Some(Moved::Renumbered(since)) => {
                self.grow_up(mic);
                Happened::MovedSince(since)
            }
        };
        self.note_for_ear(mic, happened, now);
    }

    pub(super) fn note_for_ear(&mut self, mic: usize, happened: Happened, now: MonoTime) {
        if let (Some(ear), Some(grid)) = (&mut self.ear, &self.grid) {
            ear.note(mic, happened, grid.end_in_history(mic), now);
        }
    }

    /// A slice of work, some ten microseconds at most. False when there was none.
    pub fn listen(&mut self, now: MonoTime, sink: &mut Sink<'_>) -> bool {
        let (Some(ear), Some(_), false) = (&mut self.ear, &self.grid, self.one_clock) else { return false };
        let streams = &self.streams;
        // What is numbered stands where its numbers say.
        let known = |mic: usize| sink.counters.mics[mic].known;
        let placed = |mic: usize, since| (!known(mic)).then(|| streams[mic].placed(since));
        match ear.step(sink.history, placed, now) {
            Step::Idle => return false,
            Step::Worked => {}
            Step::Found(finding) => self.act_on(finding, now, sink),
        }
        true
    }

    fn act_on(&mut self, finding: Finding, now: MonoTime, sink: &mut Sink<'_>) {
        match finding {
            Finding::Proved { mic } if !self.streams[mic].is_in_doubt() => self.streams[mic].excuse(),
            Finding::Off { mic, packets, margin, after, newest } if !self.streams[mic].is_in_doubt() => {
                let counters = &mut sink.counters.mics[mic];
                self.streams[mic].correct(packets, after, newest, now, counters);
                self.grow_up(mic);
                let name = sink.history.layout().name_of(mic);
                let (many, way) = (packets.unsigned_abs(), if packets > 0 { "late" } else { "early" });
                let line = format!(
                    "{name}: by its sound it stood {many} packet{} too {way} against the others; put right from here on \
                     (margin {margin:.1}, {} are wanted)",
                    if many == 1 { "" } else { "s" },
                    crate::sound::fingerprint::DECIDED,
                );
                sink.outputs.push_back(Queued::Log(line));
                if let (Some(ear), Some(grid)) = (&mut self.ear, &self.grid) {
                    ear.put_right(mic, grid.end_in_history(mic), now);
                }
            }
            Finding::OffBy { mic, samples, margin } if !self.streams[mic].is_in_doubt() => {
                self.told_by_sound(mic, samples, now);
                let (name, young) = (sink.history.layout().name_of(mic), self.is_young(mic, now));
                if samples.abs() >= 1.0 {
                    let line = format!(
                        "{name}: began anew; by its sound it stood {samples:.1} samples late against where it was before, and was \
                         put right (margin {margin:.1})"
                    );
                    sink.outputs.push_back(Queued::Log(line));
                }
                if let (Some(ear), Some(grid), true) = (&mut self.ear, &self.grid, young) {
                    ear.look_again(mic, grid.end_in_history(mic), now);
                }
            }
            // Where arrivals are still undecided, it is looked at again.
            Finding::Proved { .. } | Finding::Off { .. } | Finding::OffBy { .. } => {}
        }
    }
}
