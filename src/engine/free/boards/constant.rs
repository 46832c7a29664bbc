//! The constant part of a board's place, which arrival times leave out: told by calibration, or by the sound after a restart.

use super::Boards;
use crate::time::{MonoTime, Span};

/// What arrival times cannot tell of an offset.
const LEFT_OUT: &str = "the least time that each path takes, which differs by a constant";
/// And what a calibration cannot.
const CALIBRATED: &str =
    "how much further the calibration's sound was from one microphone than from the other: 1 cm is 29 us";
/// So long after a restart the floor of arrivals still comes down to where it belongs; meanwhile the sound knows better.
pub(super) const YOUNG: Span = Span::from_secs(120);

/// Of one microphone, in samples.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Constant {
    /// By so much its own axis is further on than its arrivals say.
    pub bias: f64,
    /// Its offset was told by the sound, and its floor is not yet known as well.
    young: Option<Young>,
    /// When it was tied to the common axis.
    pub tied: Option<MonoTime>,
    /// Half-width of the 95 % interval of its calibration.
    pub calibrated: Option<f64>,
    /// The same before the board began anew: it stands again if the sound shows the same offset.
    before: Option<f64>,
}

/// Where its own axis stood.
#[derive(Clone, Copy, Debug)]
struct Young {
    at: MonoTime,
    own: f64,
}

impl Boards {
    /// The microphone stands so many samples too late: it is moved from its next packet on, as arrivals would never have it.
    pub(super) fn move_by(&mut self, mic: usize, samples: f64) {
        if let Some(tie) = &mut self.ties[mic] {
            tie.offset -= samples.round() as i64;
        }
        self.constants[mic].bias += samples;
        self.tell_bias(mic);
    }

    /// The sound has told the offset of a board that began anew: only its drift moves it until its floor is known.
    pub(super) fn told_by_sound(&mut self, mic: usize, samples: f64, now: MonoTime) {
        self.move_by(mic, samples);
        let own = self.own_now(mic, now).map(|own| own + self.constants[mic].bias);
        let constant = &mut self.constants[mic];
        constant.young = own.map(|own| Young { at: now, own });
        constant.calibrated = constant.calibrated.or(constant.before.take());
    }

    /// Whether its floor may not be known yet.
    pub(super) fn is_young(&self, mic: usize, now: MonoTime) -> bool {
        self.constants[mic].tied.is_some_and(|tied| now - tied < YOUNG)
    }

    /// Its numbers have changed, or it is an old board by now: arrivals say where it is.
    pub(super) fn grow_up(&mut self, mic: usize) {
        self.constants[mic].young = None;
    }

    pub(super) fn follow_constants(&mut self, now: MonoTime) {
        for mic in 0..self.constants.len() {
            let Some(Young { at, own }) = self.constants[mic].young else { continue };
            if !self.is_young(mic, now) {
                self.grow_up(mic);
                continue;
            }
            if self.streams[mic].is_in_doubt() {
                continue;
            }
            let ppm = self.streams[mic].clock.rate().map(|rate| rate.ppm.0);
            if let (Ok(ppm), Some(said)) = (ppm, self.own_now(mic, now)) {
                let hz = f64::from(self.sample_rate) * (1.0 + ppm * 1e-6);
                self.constants[mic].bias = own + (now - at).as_secs_f64() * hz - said;
                self.tell_bias(mic);
            }
        }
    }

    /// Its offset starts anew.
    pub(super) fn forget_constant(&mut self, mic: usize) {
        let constant = &mut self.constants[mic];
        *constant = Constant { before: constant.calibrated.or(constant.before), ..Constant::default() };
        self.tell_bias(mic);
    }

    fn tell_bias(&mut self, mic: usize) {
        if let Some(resampling) = &mut self.resampling {
            resampling.set_bias(mic, self.constants[mic].bias);
        }
    }

    /// Whether it has a place that a calibration can move.
    pub fn is_placed(&self, mic: usize) -> bool {
        self.grid.is_some() && self.ties[mic].is_some()
    }

    /// How well its floor is known now, in samples at 95 %; `None` while it is not.
    pub fn floor_samples(&self, mic: usize, now: MonoTime) -> Option<f64> {
        Some(self.streams[mic].clock.floor_95(now)?.as_secs_f64() * f64::from(self.sample_rate))
    }

    /// A calibration found it so many samples too late, to this many at 95 %.
    pub fn calibrate(&mut self, mic: usize, samples: f64, uncertainty: f64) {
        self.move_by(mic, samples);
        self.grow_up(mic);
        let constant = &mut self.constants[mic];
        (constant.calibrated, constant.before) = (Some(uncertainty), None);
    }

    /// By how much a calibration has moved it in all, and how well it is known; `None` where it was not calibrated.
    pub fn calibration(&self, mic: usize) -> Option<(f64, f64)> {
        self.constants[mic].calibrated.map(|uncertainty| (self.constants[mic].bias, uncertainty))
    }

    /// What an offset of two leaves out: seconds that are known, and what is not.
    pub(super) fn left_out(&self, first: usize, second: usize) -> (f64, &'static str) {
        match (self.constants[first].calibrated, self.constants[second].calibrated) {
            (Some(a), Some(b)) => (a.hypot(b) / f64::from(self.sample_rate), CALIBRATED),
            _ => (0.0, LEFT_OUT),
        }
    }
}
