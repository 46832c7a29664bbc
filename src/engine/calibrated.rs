//! An engine's calibration: begun, listened to, applied, and told.

use crate::engine::tuning::calibrated::LASTING;
use std::net::SocketAddr;

use super::calibrate::{Calibrated, Calibration};
use super::{Aligner, Engine};

const NOT_YET: &str = "not all microphones are heard and placed yet";

/// What a calibration told of one microphone, to be kept: it is of the board as it ran then.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Kept {
    pub sender: SocketAddr,
    /// By so many samples its own axis is further on than its arrivals say, and the half-width of the 95 % interval.
    pub samples: f64,
    pub uncertainty: f64,
}

/// What is asked of a calibration.
#[derive(Clone, PartialEq, Debug)]
pub struct Calibrate {
    /// Metres of the sound from each microphone; `None`: equally far.
    pub distances: Option<Vec<f64>>,
}

impl Engine {
    /// Begins to listen for claps.
    ///
    /// # Errors
    /// Why there is nothing to calibrate.
    pub fn calibrate(&mut self, asked: Calibrate) -> Result<(), &'static str> {
        let sources = self.layout().sources();
        let Some(clocks) = self.clocks else { return Err(NOT_YET) };
        let Aligner::Independent(boards) = &self.aligner else {
            return Err("one board has one clock: its channels stand together by construction");
        };
        if boards.is_one_clock() {
            return Err("one clock drives all: they stand together by construction");
        }
        if sources < 2 || !(0..sources).all(|mic| boards.is_placed(mic)) {
            return Err(NOT_YET);
        }
        if !(0..sources).all(|mic| boards.floor_samples(mic, clocks.mono).is_some()) {
            return Err("the boards' clocks are still being learnt: try again in a minute");
        }
        let distances = asked.distances.unwrap_or_else(|| vec![1.0; sources]);
        if distances.len() != sources || !distances.iter().all(|metres| (0.0..=100.0).contains(metres)) {
            return Err("give a distance in metres for each microphone, 0 to 100");
        }
        self.calibration = Some(Box::new(Calibration::new(distances, &self.history, clocks.mono, LASTING)));
        Ok(())
    }

    /// The newest calibration, and the claps that it heard.
    pub fn calibration(&self) -> Option<(Calibrated, usize)> {
        self.calibration.as_ref().map(|calibration| (calibration.state(), calibration.claps()))
    }

    /// What stands of calibrations at present, by source.
    pub fn kept(&self) -> Vec<Option<Kept>> {
        let of = |mic: usize| {
            let Aligner::Independent(boards) = &self.aligner else { return None };
            let (samples, uncertainty) = boards.calibration(mic)?;
            Some(Kept { sender: self.latest(mic)?.sender, samples, uncertainty })
        };
        (0..self.layout().sources()).map(of).collect()
    }

    /// These were kept: each is applied once its board, as it ran then, is heard and placed.
    #[must_use]
    pub fn calibrated(mut self, kept: Vec<Option<Kept>>) -> Engine {
        self.kept = kept;
        self
    }

    pub(super) fn apply_kept(&mut self) {
        for mic in 0..self.kept.len().min(self.mics.len()) {
            let Some(kept) = self.kept[mic] else { continue };
            let Aligner::Independent(boards) = &mut self.aligner else { return };
            let Some(latest) = self.mics[mic].latest.filter(|_| boards.is_placed(mic)) else { continue };
            self.kept[mic] = None;
            let name = self.config.layout.name_of(mic);
            if latest.sender == kept.sender {
                boards.calibrate(mic, kept.samples, kept.uncertainty);
                let line = format!("{name}: calibrated, as it was kept, by {:.1} samples", kept.samples);
                self.say(line);
            } else {
                let line = format!(
                    "{name}: what was kept of its calibration is dropped: {} sends now, not {} (a board that began anew has \
                     another port)",
                    latest.sender, kept.sender
                );
                self.say(line);
            }
        }
    }

    pub(super) fn listen_for_claps(&mut self) -> bool {
        let (Some(clocks), Some(calibration)) = (self.clocks, &mut self.calibration) else { return false };
        match calibration.step(&self.history, self.config.sample_rate, clocks.mono) {
            None => return false,
            Some(false) => return true,
            Some(true) => {}
        }
        let Calibrated::Done(results) = calibration.state() else { return true };
        let claps = calibration.claps();
        let Aligner::Independent(boards) = &mut self.aligner else { return true };
        let known = results.iter().filter(|result| result.is_ok()).count();
        let mut lines = Vec::new();
        for (mic, result) in results.iter().enumerate() {
            let name = self.config.layout.name_of(mic);
            match result {
                // The first is what the others are held against.
                Ok(agreement) if known > 1 && boards.is_placed(mic) => {
                    // What the floors may still come down by is no better known than they are.
                    let floors = [0, mic].map(|mic| boards.floor_samples(mic, clocks.mono).unwrap_or(0.0));
                    let uncertainty =
                        if mic == 0 { 0.0 } else { agreement.uncertainty.hypot(floors[0]).hypot(floors[1]) };
                    boards.calibrate(mic, agreement.median, uncertainty);
                    lines.push(format!(
                        "{name}: calibrated by {:.1} samples, to {uncertainty:.1} at 95 % ({} of {} claps agree)",
                        agreement.median, agreement.agreeing, agreement.heard
                    ));
                }
                Ok(_) => {}
                Err(why) => lines.push(format!("{name}: not calibrated: {why} ({claps} heard in all)")),
            }
        }
        lines.into_iter().for_each(|line| self.say(line));
        true
    }
}
