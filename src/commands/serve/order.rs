//! Order: how far an enter got with what the kernel had noted as ready, as far as that can be known.
//!
//! An enter carries out some of what is noted, in the order in which it was noted, and tells neither how much that was nor how
//! much there is: a receive that is cancelled, and a socket that was read along with an earlier one, are carried out without a
//! word. So nothing is counted. Either the ring says that nothing is noted any more; or a mark, set behind all that is noted
//! ([`Ring::mark`](crate::sys::ring::Ring::mark)), has come back. Both hold for all arrays at once: one mark is out at a time, and its
//! cost does not grow with them.

/// As a rule the next enter carries out all that was noted, and costs less than a mark, which is two operations: so many are tried.
const PLAIN_ROUNDS: u32 = 1;

/// Rounds (enter, reap) counted from 1, and up to which of them all that was noted has been carried out since.
#[derive(Debug, Default)]
pub struct Order {
    round: u64,
    certain: u64,
    /// The round at whose end the mark was set that is out.
    mark: Option<u64>,
    /// Rounds in a row after which something was noted.
    unquiet: u32,
}

impl Order {
    /// An enter's completions are in. `quiet`: nothing is noted any more. `marked`: the mark is among them.
    pub fn entered(&mut self, quiet: bool, marked: bool) {
        self.round += 1;
        if marked && let Some(set) = self.mark.take() {
            self.certain = set;
        }
        self.unquiet += 1;
        if quiet {
            (self.certain, self.unquiet) = (self.round, 0);
        }
    }

    /// Whether plain enters have been tried long enough.
    pub fn wants_mark(&self) -> bool {
        self.unquiet > PLAIN_ROUNDS
    }

    /// At the end of a round after which something waits: whether a mark is to be set now.
    pub fn set_mark(&mut self) -> bool {
        let none_out = self.mark.is_none();
        self.mark.get_or_insert(self.round);
        none_out
    }

    /// This round.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// All that was noted when this round ended has been carried out.
    pub fn certain(&self) -> u64 {
        self.certain
    }

    /// At the end of which round the mark was set that is out.
    pub fn mark(&self) -> Option<u64> {
        self.mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_enter_is_tried_before_a_mark() {
        let mut order = Order::default();
        order.entered(false, false);
        assert!(!order.wants_mark());
        order.entered(false, false);
        assert!(order.wants_mark());
        order.entered(true, false);
        order.entered(false, false);
        assert!(!order.wants_mark(), "it begins anew after a quiet round");
    }
}
