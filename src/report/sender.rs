//! What the sender's own time tells apart, as JSON: how long it kept its packets, and what the network added.

use serde::Serialize;

use super::diagnostics::Delay;
use crate::engine::figures::SkewFigures;

#[derive(Serialize)]
pub(super) struct SenderTime {
    sender_us: Delay,
    network_us: Delay,
}

impl SenderTime {
    /// `untimed`: why its packets tell neither.
    pub fn of(skew: &SkewFigures, source: usize, untimed: Option<&'static str>) -> SenderTime {
        let known = |delay| untimed.map_or(delay, Err);
        SenderTime {
            sender_us: Delay::new(known(skew.sender_delay[source])),
            network_us: Delay::new(known(skew.network_delay[source])),
        }
    }
}
