//! Free-running boards on one axis.
//!
//! Problem: every board has its own clock. Their rates differ by tens of ppm, their phases are arbitrary, and each may
//! restart by itself; yet their samples are to stand side by side.
//!
//! Idea: a packet's last sample sits at its floor arrival. Once a board's floor is known (a second), its own axis is tied to
//! the common one by a whole number of frames. From then on only drift moves it: when the channels, as their clock models
//! see them at one moment, lie further apart than with one of them a sample further on, that one slips by a sample. Of
//! three arbitrary phases on a circle of one sample two lie at most 2/3 apart, so no reference is needed, and channels stay
//! within a sample of each other. More of them may stand in two heaps of which no single one can leave with a gain: beyond a
//! sample and a quarter the one that is furthest from the others' mean slips, and they stay within that.
//!
//! With resampling nothing slips: see `resample`.

mod constant;
mod listening;
mod numbered;

use super::grid::Grid;
use super::resample::Resampling;
use super::sinc;
use super::stream::{Decided, Stream};
use crate::array::MicSet;
use crate::engine::clock::{Again, ClockModel};
use crate::engine::ear::{Ear, Happened};
use crate::engine::figures::{Alignment, Known, MicCounters};
use crate::engine::free::tuning::boards::{ASTRAY, EDGE_SHARE, HYSTERESIS, LEARN};
use crate::engine::number::borders::Borders;
use crate::engine::number::late::Unnumbered;
use crate::engine::number::silence::Answer;
use crate::engine::shared::align::{Arrival, Placed};
use crate::engine::shared::tail::Sink;
use crate::engine::tuning::SILENCE;
use crate::time::{MonoTime, Span};
use constant::Constant;

/// Takes what a stream hands on.
type Place<'a> = &'a mut dyn FnMut(Decided<'_>);

/// A microphone's own axis on the common one.
#[derive(Clone, Copy, Debug)]
struct Tie {
    /// Common position minus own position.
    offset: i64,
    /// Slip of the next chunk: +1 repeats a sample, -1 leaves one out.
    slip: i64,
    /// Up to where the microphone had passed when its newest chunk was opened.
    free: i64,
    /// The common axis when this microphone was last seen on it.
    seen: Option<(MonoTime, f64)>,
}

/// Boards that are each a microphone.
#[derive(Debug)]
pub(in crate::engine) struct Boards {
    sample_rate: u32,
    /// One clock drives all: nothing slips.
    one_clock: bool,
    /// `None` follows the spread.
    fixed_hold: Option<Span>,
    streams: Vec<Stream>,
    ties: Vec<Option<Tie>>,
    /// The offset of a microphone before it fell silent, where its board went on counting.
    silent: Vec<Option<i64>>,
    /// From the start of the positions.
    grid: Option<Grid>,
    /// The common axis at a moment.
    axis: Option<(MonoTime, f64)>,
    /// `None`: whole samples slip.
    resampling: Option<Resampling>,
    first_heard: Option<MonoTime>,
    max_open: i64,
    /// Room for where each microphone is now.
    places: Vec<Option<f64>>,
    /// Of each microphone, what its arrivals leave out.
    constants: Vec<Constant>,
    /// `None`: the sound is not listened to.
    ear: Option<Box<Ear>>,
    /// What it told while one clock was thought to drive all.
    borders_before: Borders,
}

impl Boards {
    pub fn new(
        mics: usize,
        sample_rate: u32,
        fixed_hold: Option<Span>,
        max_open: i64,
        resampling: Option<Resampling>,
    ) -> Boards {
        Boards {
            sample_rate,
            one_clock: false,
            fixed_hold,
            streams: (0..mics).map(|_| Stream::new(sample_rate)).collect(),
            ties: vec![None; mics],
            silent: vec![None; mics],
            grid: None,
            axis: None,
            resampling,
            first_heard: None,
            max_open,
            places: Vec::with_capacity(mics),
            constants: vec![Constant::default(); mics],
            ear: None,
            borders_before: Borders::default(),
        }
    }

    pub fn clock(&self, mic: usize) -> &ClockModel {
        &self.streams[mic].clock
    }

    /// Why what a microphone lost cannot be told.
    pub fn unnumbered(&self, mic: usize) -> Option<Unnumbered> {
        self.streams[mic].unnumbered()
    }

    /// How far two channels are apart at `now`, by what their clocks know best: placing follows that, but slowly and by whole
    /// samples.
    pub fn alignment(&self, first: usize, second: usize, now: MonoTime) -> Known<Alignment> {
        let ((a, own), (b, other)) = (self.stands(first, now)?, self.stands(second, now)?);
        let (spread, leaves_out) = self.left_out(first, second);
        let uncertainty = Span::from_secs_f64(own.as_secs_f64().hypot(other.as_secs_f64()).hypot(spread));
        let offset = Span::from_secs_f64((a - b) / f64::from(self.sample_rate));
        Ok(Alignment { offset, uncertainty, leaves_out: Some(leaves_out), reason: None })
    }

    /// The common position of what a microphone takes at `now`, and how well that is known.
    fn stands(&self, mic: usize, now: MonoTime) -> Known<(f64, Span)> {
        let stream = &self.streams[mic];
        if stream.last_heard().is_none_or(|last| now - last >= SILENCE) {
            return Err("a microphone of the pair is silent");
        }
        let tie = self.ties[mic].as_ref().filter(|_| self.grid.is_some()).ok_or("a microphone has no place yet")?;
        let offset = match &self.resampling {
            Some(resampling) => resampling.offset(mic).ok_or("a microphone has no place yet")?,
            None => tie.offset as f64,
        };
        let end = stream.end();
        let known = stream.clock.floor_at(end).zip(stream.clock.floor_95(now));
        let (at, uncertainty) = known.ok_or("a clock is not known well enough yet")?;
        let hz = f64::from(self.sample_rate) * (1.0 + stream.clock.rate().map_or(0.0, |rate| rate.ppm.0) * 1e-6);
        let own = end.0 as f64 + (now - at).as_secs_f64() * hz;
        Ok((own + offset + self.constants[mic].bias, uncertainty))
    }

    pub fn hold(&self) -> Span {
        self.fixed_hold.or(self.grid.as_ref().map(Grid::hold)).unwrap_or(crate::engine::LONGEST_HOLD)
    }

    /// Takes a packet in, and emits what it completes.
    pub fn offer(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) -> Placed {
        let silent = self.streams[a.mic].last_heard().is_some_and(|last| a.at - last > SILENCE);
        if silent || a.is_of_new_sender() {
            self.end_silence(a, sink);
        } else if self.is_duplicate(a) {
            return Placed::Duplicate;
        }
        if a.recut {
            self.streams[a.mic].renew_nominal();
        }
        self.first_heard.get_or_insert(a.at);
        let late = self.take_in(a, sink);
        self.tell_ear(a.mic, a.at);
        self.follow(a.at, sink);
        let longest = self.streams.iter().map(Stream::nominal).max().expect("there are streams");
        if let Some(grid) = &mut self.grid {
            grid.pace(Span::of_frames(longest, self.sample_rate));
        }
        self.emit_ready(a.at, sink);
        if late > 0 { Placed::Late } else { Placed::OnTime }
    }

    /// A chunk is placed, or waits until its place is known. How many came too late for their cycles.
    fn take_in(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) -> u64 {
        let (mic, reach) = (a.mic, sink.history.keeps());
        if self.ties[mic].is_none() && self.grid.is_some() {
            let given_up = self.streams[mic].collect(a, reach);
            sink.counters.mics[mic].late += given_up;
            return 0;
        }
        if !self.streams[mic].is_back() {
            return self
                .carry_out(mic, a.at, sink, |stream, counters, mut place| stream.offer(a, counters, &mut place))
                .1;
        }
        let hear = |stream: &mut Stream, counters: &mut MicCounters, mut place: Place<'_>| {
            stream.hear_back(a, reach, counters, &mut place)
        };
        let (answer, late) = self.carry_out(mic, a.at, sink, hear);
        if answer == Answer::Anew {
            self.untie(mic, a.again, a.at, sink);
        }
        late
    }

    /// Puts what a stream hands on in its place. How many chunks came too late for their cycles.
    fn carry_out<T>(
        &mut self,
        mic: usize,
        now: MonoTime,
        sink: &mut Sink<'_>,
        work: impl FnOnce(&mut Stream, &mut MicCounters, Place<'_>) -> T,
    ) -> (T, u64) {
        let mut counters = sink.counters.mics[mic];
        let (tie, grid, axis) = (&mut self.ties[mic], &mut self.grid, self.axis);
        let bias = self.constants[mic].bias;
        let frame_bytes = sink.history.frame_bytes(mic);
        let (mut late, mut slips) = (0, 0);
        let mut place = |d: Decided<'_>| {
            if let Some(first) = d.opens {
                sink.meter.on_placed(mic, first, first + d.frames, d.heard.at);
            }
            let Some(grid) = grid.as_mut() else { return };
            // Without a tie its place will not be learnt any more.
            let too_late = tie.as_mut().is_none_or(|tie| {
                slips +=
                    u64::from(self.resampling.is_none() && tie.catch_up(&d, frame_bytes, axis, bias, self.sample_rate));
                tie.place(mic, &d, now, grid, self.resampling.as_mut(), sink)
            });
            late += u64::from(too_late && d.opens.is_some());
        };
        let said = work(&mut self.streams[mic], &mut counters, &mut place);
        counters.late += late;
        counters.slips += slips;
        sink.counters.mics[mic] = counters;
        (said, late)
    }

    /// Another part of a microphone's newest chunk.
    pub fn join(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) -> Placed {
        let (tie, grid) = (&mut self.ties[a.mic], &mut self.grid);
        let mut late = false;
        self.streams[a.mic].join(a, &mut |d| {
            if let (Some(tie), Some(grid)) = (tie.as_mut(), grid.as_mut()) {
                late = tie.place(a.mic, &d, a.newest_at, grid, self.resampling.as_mut(), sink);
            }
        });
        sink.counters.mics[a.mic].late += u64::from(late);
        self.emit_ready(a.newest_at, sink);
        if late { Placed::Late } else { Placed::OnTime }
    }

    pub fn handle_timeout(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        self.emit_ready(now, sink);
    }

    /// When a hold runs out. What is in doubt is decided by packets; without any, its board falls silent.
    pub fn next_timeout(&self) -> Option<MonoTime> {
        let grid = self.grid.as_ref()?;
        let due = grid.next_timeout(self.hold())?;
        let doubted = self.in_doubt();
        let heard = doubted.iter().filter(|&mic| grid.lacks(mic)).filter_map(|mic| self.streams[mic].last_heard());
        Some(heard.map(|last| last + SILENCE).max().map_or(due, |silent| due.max(silent)))
    }

    /// The microphones whose packets wait until their place is known; none where the user says how long to wait.
    fn in_doubt(&self) -> MicSet {
        let waits = |mic: usize| self.ties[mic].is_some() && self.streams[mic].waits() && !self.streams[mic].is_back();
        MicSet::from_fn(self.streams.len(), |mic| self.fixed_hold.is_none() && waits(mic))
    }

    /// A microphone was silent, or another board takes its place. What still waits of before is placed as it stands.
    fn end_silence(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) {
        self.carry_out(a.mic, a.at, sink, |stream, _, mut place| stream.settle(&mut place));
        let stands = self.ties[a.mic].is_some() && self.grid.is_some() && !a.is_of_new_sender();
        if stands && self.streams[a.mic].come_back(a.at) {
            return;
        }
        self.untie(a.mic, a.again, a.at, sink);
        if a.is_of_new_sender() {
            // Another board was not there before.
            self.silent[a.mic] = None;
            self.streams[a.mic].number_anew();
        }
    }

    /// The offset of a microphone starts anew.
    fn untie(&mut self, mic: usize, again: Again, now: MonoTime, sink: &mut Sink<'_>) {
        sink.meter.on_restart(mic);
        self.forget_constant(mic);
        if let (Some(grid), Some(tie)) = (&mut self.grid, self.ties[mic].take()) {
            if let Some(resampling) = &mut self.resampling {
                resampling.untie(mic, now, grid, sink);
            }
            self.silent[mic] = Some(tie.offset);
        }
        self.streams[mic].restart(again);
    }

    /// Ties what has been learnt, and lets slip what has drifted.
    fn follow(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        self.follow_constants(now);
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        places.extend((0..self.streams.len()).map(|mic| self.place_now(mic, now)));
        let known = places.iter().flatten().count();
        // Resampled, the axis stays that of the host's clock.
        if known > 0 && self.resampling.is_none() {
            self.axis = Some((now, places.iter().flatten().sum::<f64>() / known as f64));
        }
        for (tie, _) in self.ties.iter_mut().zip(&places).filter(|(_, place)| place.is_some()) {
            let tie = tie.as_mut().expect("what has a place is tied");
            tie.seen = self.axis;
        }
        for mic in 0..self.streams.len() {
            if self.ties[mic].is_none() && self.streams[mic].offset_since().is_some_and(|since| now - since >= LEARN) {
                self.tie(mic, now, sink);
                if self.ties[mic].is_some() && self.grid.is_some() {
                    self.carry_out(mic, now, sink, |stream, counters, mut place| {
                        stream.judge_waiting(counters, &mut place);
                    });
                }
            }
        }
        if self.grid.is_none() {
            self.start(now, sink);
        }
        if self.resampling.is_none()
            && !self.one_clock
            && let Some((mic, slip)) = slip_for(&places)
            && let Some(tie) = self.ties[mic].as_mut().filter(|tie| tie.slip == 0)
        {
            tie.slip = slip;
            sink.counters.mics[mic].slips += 1;
        }
        self.places = places;
    }

    /// Ties a microphone's own axis to the common one.
    fn tie(&mut self, mic: usize, now: MonoTime, sink: &mut Sink<'_>) {
        let Some(own) = self.own_now(mic, now) else { return };
        let common = match self.axis {
            Some((then, position)) => position + (now - then).as_secs_f64() * f64::from(self.sample_rate),
            None => 0.0,
        };
        self.axis.get_or_insert((now, common));
        let offset = match self.one_clock {
            true => self.offset_on_one_clock(mic, common - own),
            false => (common - own).round() as i64,
        };
        if let Some(before) = self.silent[mic].take() {
            // The own axis went on without what was lost in the silence.
            let nominal = self.streams[mic].nominal().max(1);
            sink.counters.mics[mic].lost += ((offset - before + nominal / 2) / nominal).max(0) as u64;
        }
        self.ties[mic] = Some(Tie { offset, slip: 0, free: 0, seen: None });
        self.constants[mic].tied = Some(now);
        self.note_for_ear(mic, Happened::Anew, now);
    }

    /// Positions start once every microphone that was heard is tied, or a second after the first is.
    fn start(&mut self, now: MonoTime, sink: &Sink<'_>) {
        let waiting =
            (0..self.streams.len()).any(|mic| self.ties[mic].is_none() && self.streams[mic].last_heard().is_some());
        let first = self.first_heard.expect("a packet was heard");
        if self.ties.iter().all(Option::is_none) || (waiting && now - first < LEARN + LEARN) {
            return;
        }
        let nominal = self.streams.iter().map(Stream::nominal).max().expect("there are streams");
        self.grid = Some(Grid::new(nominal, self.sample_rate, self.max_open, sink.history));
        // The next packet of each begins where its newest ended.
        let ends = self.streams.iter().zip(&self.ties).map(|(s, t)| Some(s.end().0 + t.as_ref()?.offset));
        let waits = if self.resampling.is_some() { sinc::HALF } else { 0 };
        let origin = first_edge(ends.flatten(), nominal) - waits;
        self.ties.iter_mut().flatten().for_each(|tie| tie.offset -= origin);
        self.axis = self.axis.map(|(at, position)| (at, position - origin as f64));
        if let Some(resampling) = &mut self.resampling {
            resampling.start(self.axis);
        }
    }

    /// Where on its own axis a microphone's clock is at `now`.
    fn own_now(&self, mic: usize, now: MonoTime) -> Option<f64> {
        let stream = &self.streams[mic];
        let end = stream.end();
        let at = stream.clock.phase_at(end)?;
        Some(end.0 as f64 + (now - at).as_secs_f64() * f64::from(self.sample_rate))
    }

    /// The same on the common axis, of a microphone that is tied and was just heard.
    fn place_now(&self, mic: usize, now: MonoTime) -> Option<f64> {
        let tie = self.ties[mic].as_ref()?;
        let live = self.streams[mic].last_heard().is_some_and(|last| now - last < SILENCE);
        let own = self.own_now(mic, now).filter(|_| live && !self.streams[mic].is_in_doubt())?;
        Some(own + (tie.offset + tie.slip) as f64 + self.constants[mic].bias)
    }

    /// Only against a floor that has been learnt: the first packets may all be a backlog.
    fn is_duplicate(&self, a: &Arrival<'_>) -> bool {
        let known = self.ties[a.mic].is_some();
        known && self.streams[a.mic].is_copy(a) && !a.is_constant()
    }

    fn emit_ready(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        let hold = self.hold();
        // One that is back and waits has cost all of its hold.
        let live = MicSet::from_fn(self.streams.len(), |mic| {
            let heard = self.streams[mic].last_heard().is_some_and(|last| now - last < SILENCE);
            heard && self.ties[mic].is_some() && !self.streams[mic].is_back()
        });
        let doubted = self.in_doubt();
        let in_doubt = MicSet::from_fn(self.streams.len(), |mic| live.contains(mic) && doubted.contains(mic));
        if let Some(grid) = &mut self.grid {
            grid.emit_ready(live, in_doubt, hold, self.max_open, now, sink);
        }
    }
}

impl Tie {
    /// A backlog that is placed now, seconds after its time: meanwhile the board has drifted. True when the chunk slips by a sample.
    fn catch_up(
        &mut self,
        d: &Decided<'_>,
        frame_bytes: usize,
        axis: Option<(MonoTime, f64)>,
        bias: f64,
        sample_rate: u32,
    ) -> bool {
        let (Some(phase), Some((now, here)), true) = (d.phase, axis, d.opens.is_some()) else { return false };
        let seen = self.seen.map_or(LEARN, |(then, _)| now - then);
        if seen <= SILENCE || self.slip != 0 {
            return false;
        }
        let pace = self.seen.map_or(f64::from(sample_rate), |(_, there)| (here - there) / seen.as_secs_f64());
        let end = here + (phase - now).as_secs_f64() * pace;
        let astray = end - bias - (d.first.0 + (d.samples.len() / frame_bytes) as i64 + self.offset) as f64;
        self.slip = if astray.abs() > ASTRAY { astray.signum() as i64 } else { 0 };
        self.slip != 0
    }

    /// Puts a decided packet on the common axis. True when it came too late for its cycle.
    fn place(
        &mut self,
        mic: usize,
        d: &Decided<'_>,
        now: MonoTime,
        grid: &mut Grid,
        resampling: Option<&mut Resampling>,
        sink: &mut Sink<'_>,
    ) -> bool {
        let opens = d.opens.is_some();
        if opens {
            self.free = grid.end(mic);
        }
        if let Some(resampling) = resampling {
            let (late, offset) = resampling.place(mic, d, self.free, now, grid, sink);
            self.offset = offset;
            return late;
        }
        let slip = if opens { std::mem::take(&mut self.slip) } else { 0 };
        if d.opens != Some(d.first) {
            // Its chunk stands, or its beginning is missing: there is nothing to repeat or to leave out.
            self.offset += slip;
            let pos = d.first.0 + self.offset;
            return grid.fill_from(self.free, mic, pos, d.samples, d.heard, now, sink);
        }
        let (frame_bytes, mut samples) = (sink.history.frame_bytes(mic), d.samples);
        let first = d.first.0 + self.offset;
        self.offset += slip;
        let mut pos = first + slip;
        if slip < 0 {
            // The last frame stands already: the first sample of this packet is left out.
            samples = &samples[frame_bytes..];
            pos += 1;
        } else if slip > 0 {
            grid.fill(mic, first, &samples[..frame_bytes], d.heard, now, sink);
        }
        grid.fill(mic, pos, samples, d.heard, now, sink)
    }
}

/// The first edge of a cycle, from where the packets of the boards end on the common axis: where the next of each has begun, and
/// a little before the end of the packet behind the longest pause, which then completes a cycle at the least delay.
fn first_edge(ends: impl Iterator<Item = i64> + Clone, nominal: i64) -> i64 {
    let gap = |end: i64| ends.clone().map(|other| (end - other - 1).rem_euclid(nominal) + 1).min().unwrap_or(nominal);
    let edge = ends.clone().max_by_key(|&end| gap(end)).expect("one is tied") - nominal / EDGE_SHARE;
    let last = ends.max().expect("one is tied");
    last + (edge - last).rem_euclid(nominal)
}

/// The slip that brings the channels closer together, if one does by enough: which, and by how much.
fn slip_for(places: &[Option<f64>]) -> Option<(usize, i64)> {
    let moved = |slip: Option<(usize, f64)>| {
        let known = places.iter().enumerate().filter_map(|(mic, place)| Some((mic, (*place)?)));
        let place =
            known.map(|(mic, place)| slip.filter(|(moved, _)| *moved == mic).map_or(place, |(_, by)| place + by));
        place.fold((f64::MAX, f64::MIN), |(low, high), place| (low.min(place), high.max(place)))
    };
    let (low, high) = moved(None);
    let mut best = None;
    for (mic, place) in places.iter().enumerate() {
        let Some(place) = *place else { continue };
        // Only one at an end can bring them closer.
        for (by, at_end) in [(1, place == low), (-1, place == high)] {
            if !at_end {
                continue;
            }
            let (low_then, high_then) = moved(Some((mic, f64::from(by))));
            let then = high_then - low_then;
            if then + HYSTERESIS < high - low && best.is_none_or(|(least, _, _)| then < least) {
                best = Some((then, mic, i64::from(by)));
            }
        }
    }
    if best.is_none() && high - low > 1.0 + HYSTERESIS {
        let known = places.iter().flatten();
        let mean = known.clone().sum::<f64>() / known.count() as f64;
        let (end, by) = if high - mean > mean - low { (high, -1) } else { (low, 1) };
        return places.iter().position(|place| *place == Some(end)).map(|mic| (mic, by));
    }
    best.map(|(_, mic, by)| (mic, by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_ends_shortly_before_the_packet_behind_the_longest_pause() {
        // Ends at 5, 105 and 205 of 512: the pause is in front of 5, and the next such packet ends at 517.
        assert_eq!(first_edge([5, 105, 205].into_iter(), 512), 517 - 32);
        // All at once: two periods between the two packets of one are one pause.
        assert_eq!(first_edge([7, 7, 7].into_iter(), 512), 519 - 32);
        assert_eq!(first_edge([512 + 7, 7, 7].into_iter(), 512), 1031 - 32);
    }

    #[test]
    fn the_channel_that_has_drifted_slips_and_none_slips_back() {
        assert_eq!(slip_for(&[Some(0.0), Some(0.4), Some(0.6)]), None);
        assert_eq!(slip_for(&[Some(0.0), Some(0.1), Some(0.9)]), Some((2, -1)));
        assert_eq!(slip_for(&[Some(0.0), Some(0.1), Some(-0.1)]), None, "after it");
        assert_eq!(slip_for(&[Some(0.0), Some(-0.9), Some(0.05)]), Some((1, 1)));
        assert_eq!(slip_for(&[Some(5.0), None, None]), None);
    }

    #[test]
    fn two_heaps_of_boards_do_not_drift_apart() {
        // Eight that are 20 ppm fast and eight as slow, a second at a time: 1.92 samples.
        let mut places = [Some(0.0); 16];
        let mut slips = 0;
        for _ in 0..1_000 {
            for (mic, place) in places.iter_mut().enumerate() {
                *place = place.map(|place| place + if mic % 2 == 0 { 0.096 } else { -0.096 } + mic as f64 * 1e-4);
            }
            while let Some((mic, by)) = slip_for(&places) {
                places[mic] = places[mic].map(|place| place + by as f64);
                slips += 1;
            }
            let (low, high) = places.iter().flatten().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(*p), h.max(*p)));
            assert!(high - low <= 1.0 + HYSTERESIS, "{low} to {high}");
        }
        // What drifted apart, and none forth and back: 192 samples between each of the eight and the others.
        assert!((8 * 180..=8 * 205).contains(&slips), "{slips}");
    }
}
