//! HTTP's part of a turn: what came for it, bounded, and what it asks of the ring, bounded.

use std::collections::VecDeque;

use super::array::Arrays;
use super::log::Log;
use super::no_descriptors::Shortage;
use super::plant::Plant;
use crate::array::ArrayId;
use crate::conn::ConnId;
use crate::cycle::{Clocks, Cycle};
use crate::http::{Action, Server};
use crate::sys::ring::{Completion, End, Ring};
use crate::time::{KernelTime, MonoTime, Span};

/// HTTP actions a turn. A send runs inline in the submit, some 5 us each: beside 900 subscribers the packets' loop delay is what it is
/// beside none with 16 and with 48 of them (p99), where 900 in one batch cost 8 ms; and 48 serve a tenth more subscribers (bench,
/// `fanout`).
const HTTP_SHARE: usize = 48;
/// HTTP completions taken in a turn: of what a turn asks for at most, and as much again of new connections and requests, so that no
/// backlog grows. Each costs about a microsecond.
const TAKEN_SHARE: usize = 2 * HTTP_SHARE;
/// Bytes that these may send: a piece of a download costs as much as eight events.
const HTTP_BYTES: usize = 512 << 10;
/// How long the accept rests when there is no descriptor left.
const ACCEPT_PAUSE: Span = Span::from_millis(100);
/// Cycles whose event is on its way to the kernel, remembered at most: where nobody takes any, no more are.
const HANDING: usize = 1024;

/// What is on its way between the ring and the server.
pub(super) struct Web {
    /// Completions, fed after the microphones, a share of them a turn.
    pub(super) waiting: VecDeque<Completion>,
    /// Connections that found no buffer to receive into.
    pub(super) starved: VecDeque<ConnId>,
    accept_at: Option<MonoTime>,
    shortage: Shortage,
    /// Completing stamps of the cycles whose event the kernel has yet to be handed, and whose they are.
    emitted: Vec<(ArrayId, KernelTime)>,
    /// Arrays of which an event is in the submission queue.
    handing: Vec<ArrayId>,
}

impl Default for Web {
    fn default() -> Web {
        Web {
            waiting: VecDeque::with_capacity(1024),
            starved: VecDeque::new(),
            accept_at: None,
            shortage: Shortage::default(),
            emitted: Vec::with_capacity(HANDING),
            handing: Vec::with_capacity(HTTP_SHARE),
        }
    }
}

impl Web {
    /// A completion that is HTTP's.
    pub fn push(&mut self, completion: Completion) {
        self.waiting.push_back(completion);
    }

    /// Whether HTTP has something to do before anything completes.
    pub fn has_work(&self, server: &Server) -> bool {
        server.has_work() || !self.waiting.is_empty() || !self.starved.is_empty()
    }

    pub fn next_timeout(&self) -> Option<MonoTime> {
        [self.accept_at, self.shortage.next_timeout()].into_iter().flatten().min()
    }

    /// Ends a connection at once, so that its client knows that it does not have everything.
    pub fn reset(&self, id: ConnId, ring: &mut Ring) {
        ring.reset(id);
    }

    /// A cycle's event was encoded, and queued for somebody. One that is not complete waited for what did not come: what that took is
    /// none of the loop's.
    pub fn emitted(&mut self, array: ArrayId, cycle: &Cycle) {
        if cycle.complete
            && self.emitted.len() < HANDING
            && let Some(completed) = cycle.arrival.iter().copied().flatten().max()
        {
            self.emitted.push((array, completed));
        }
    }

    /// Whether a listener's event is in the submission queue.
    pub fn is_handing(&self) -> bool {
        !self.handing.is_empty()
    }

    /// The kernel has the sends: `clocks` were read after the enter that submitted them.
    pub fn handed(&mut self, arrays: &mut Arrays, clocks: Clocks) {
        if self.handing.is_empty() {
            return;
        }
        let handing = &self.handing;
        self.emitted.retain(|&(id, completed)| {
            let handed = handing.contains(&id);
            if let Some(array) = arrays.get_mut(id).filter(|_| handed) {
                array.engine.meter().on_handed(clocks.wall - completed, clocks.mono);
            }
            !handed
        });
        self.handing.clear();
    }

    /// One turn's share.
    pub fn feed(&mut self, server: &mut Server, ring: &mut Ring, plant: &mut Plant, log: &mut Log, clocks: Clocks) {
        self.accept_again(ring, log, clocks.mono);
        for _ in 0..TAKEN_SHARE {
            let Some(completion) = self.waiting.pop_front() else { break };
            self.take(completion, server, ring, log, clocks);
        }
        // What was queued for somebody may go to nobody any more.
        self.emitted.retain(|&(array, _)| server.wants_cycles(array));
        // Where all buffers are out, what fills them waits.
        for _ in 0..ring.free_to_receive().min(HTTP_SHARE) {
            let Some(id) = self.starved.pop_front() else { break };
            ring.receive(id);
        }
        server.handle_timeout(clocks);
        let mut bytes = 0;
        for _ in 0..HTTP_SHARE {
            if bytes >= HTTP_BYTES {
                break;
            }
            let Some(action) = server.poll_action(&mut plant.view(ring, clocks)) else { break };
            match action {
                Action::Recv(id) => ring.receive(id),
                Action::Send(id, piece) => {
                    bytes += piece.len();
                    if let Some(array) = server.streams_cycles(id)
                        && !self.handing.contains(&array)
                    {
                        self.handing.push(array);
                    }
                    ring.send(id, piece);
                }
                Action::Shutdown(id) => ring.shutdown(id),
                Action::Close(id) => ring.close(id),
                Action::Reset(id) => ring.reset(id),
            }
        }
    }

    fn accept_again(&mut self, ring: &mut Ring, log: &mut Log, now: MonoTime) {
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            ring.arm_accept();
        }
        if let Some(line) = self.shortage.over(now) {
            log.line(&line);
        }
    }

    fn take(&mut self, completion: Completion, server: &mut Server, ring: &mut Ring, log: &mut Log, clocks: Clocks) {
        match completion {
            Completion::Accepted { id, peer } => {
                if !server.accept(id, peer, clocks) {
                    ring.close(id);
                }
            }
            Completion::AcceptEnded(end) => {
                if end == End::NoDescriptors
                    && let Some(line) = self.shortage.met(clocks.mono)
                {
                    log.line(&line);
                }
                self.accept_at = Some(clocks.mono + ACCEPT_PAUSE);
            }
            Completion::Received { id, lease } => {
                server.receive(id, ring.received(&lease), clocks);
                ring.recycle_received(lease);
            }
            Completion::Finished(id) => server.receive(id, &[], clocks),
            Completion::Starved(id) => self.starved.push_back(id),
            Completion::Failed { id, .. } => {
                server.failed(id);
                ring.close(id);
            }
            Completion::Sent { id, count } => server.sent(id, count, clocks),
            other => unreachable!("what is not HTTP's was fed before it: {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::FramePos;

    #[test]
    fn only_complete_cycles_have_an_emit_delay() {
        let wall = KernelTime::from_nanos(1_795_345_500_000_000_000);
        let mut web = Web::default();
        let arrival = [30, 10, 20].map(|us| Some(wall + Span::from_micros(us)));
        let cycle = Cycle {
            id: 0,
            first_frame: FramePos(0),
            frames: 512,
            mic_samples: [512; 3].into(),
            complete: true,
            arrival: arrival.into(),
            emitted: wall,
        };
        web.emitted(ArrayId(7), &cycle);
        // Of free boards one that is full in part has an arrival for each microphone too.
        web.emitted(ArrayId(7), &Cycle { mic_samples: [512, 31, 512].into(), complete: false, ..cycle });
        web.emitted(
            ArrayId(7),
            &Cycle {
                mic_samples: [512, 0, 512].into(),
                complete: false,
                arrival: [arrival[0], None, arrival[2]].into(),
                ..cycle
            },
        );
        assert_eq!(web.emitted, [(ArrayId(7), wall + Span::from_micros(30))]);
    }
}
