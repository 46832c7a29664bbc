//! Listing: a body about all arrays, made of some of them at a time.
//!
//! Hundreds of arrays rendered in one call would hold up the loop for tens of milliseconds. So a body about many is sent in chunks, and the
//! next is made when the last has left: a share of a turn each. The metrics stand family by family, of all arrays together, so they
//! can only be sent once all were asked; until then comments go out, which Prometheus passes over, and which keep the client patient.

use std::collections::VecDeque;

use bytes::Bytes;

use super::House;
use super::stream::Hubs;
use crate::array::ArrayId;
use crate::report::Metrics;

/// No more arrays than this are rendered in one call.
pub const AT_ONCE: usize = 8;
/// Arrays of `/metrics` a piece: some 0.3 ms each.
const METRICS_SHARE: usize = 1;

#[derive(Debug)]
enum Stage {
    Entries { begun: bool },
    Metrics { metrics: Metrics, added: usize },
    Families(VecDeque<String>),
    Over,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Listing {
    left: VecDeque<ArrayId>,
    stage: Stage,
    /// HTTP/1.1: in chunks, the last one empty. HTTP/1.0: until the connection closes.
    chunked: bool,
}

impl Listing {
    /// The body of `/api/arrays`.
    pub fn entries(left: Vec<ArrayId>, chunked: bool) -> Listing {
        Listing { left: left.into(), stage: Stage::Entries { begun: false }, chunked }
    }

    /// The body of `/metrics`.
    pub fn metrics(left: Vec<ArrayId>, chunked: bool) -> Listing {
        Listing { left: left.into(), stage: Stage::Metrics { metrics: Metrics::default(), added: 0 }, chunked }
    }

    /// The next piece; `None` at the end.
    pub fn next(&mut self, hubs: &Hubs, house: &mut dyn House) -> Option<Bytes> {
        let text = self.text(hubs, house);
        match (self.chunked, text) {
            (_, None) => None,
            (false, Some(text)) => Some(text.into()),
            (true, Some(text)) => {
                let end = if matches!(self.stage, Stage::Over) { "0\r\n\r\n" } else { "" };
                Some(format!("{:x}\r\n{text}\r\n{end}", text.len()).into())
            }
        }
    }

    fn text(&mut self, hubs: &Hubs, house: &mut dyn House) -> Option<String> {
        match &mut self.stage {
            Stage::Over => None,
            Stage::Entries { begun } => {
                let mut text = String::from(if *begun { "" } else { "{\"arrays\":[" });
                for id in self.left.drain(..self.left.len().min(AT_ONCE)) {
                    // It may have gone since the body began.
                    if let Some(entry) = house.entry(id) {
                        text += if *begun { "," } else { "" };
                        text += &entry;
                        *begun = true;
                    }
                }
                if self.left.is_empty() {
                    text += "]}\n";
                    self.stage = Stage::Over;
                }
                Some(text)
            }
            Stage::Metrics { metrics, added } => {
                for id in self.left.drain(..self.left.len().min(METRICS_SHARE)) {
                    if house.measure(id, *added == 0, &hubs.figures_of(id), metrics) {
                        *added += 1;
                    }
                }
                let text = format!("# {added} arrays so far\n");
                if self.left.is_empty() {
                    let metrics = std::mem::take(metrics);
                    self.stage = Stage::Families(house.families(metrics).into());
                }
                Some(text)
            }
            Stage::Families(families) => {
                let text = families.pop_front()?;
                if families.is_empty() {
                    self.stage = Stage::Over;
                }
                Some(text)
            }
        }
    }
}
