//! One connection: a state machine that is fed bytes and asked for the next step.
//!
//! Requests are answered one at a time, in order; what was sent ahead stays in the reader. One receive and one send are
//! in flight at most. A receive is in flight even while a stream runs: that is how a client that leaves is noticed.
//! After an answer that leaves input unread (a refusal, a body) the connection half-closes and reads on for a moment: to
//! close at once would reset it, and the client would lose the answer (RFC 9112 section 9.6).

use std::net::IpAddr;

use bytes::{Buf, Bytes};

use super::HttpConfig;
use super::body::{Body, Next};
use super::request::{Bad, Method, Reader, Request};
use super::respond::{Exchange, Response};
use super::route::{self, Context};
use super::stream::{Hubs, Topic};
use super::websocket::{self, Heard};
use crate::array::ArrayId;
use crate::cycle::Clocks;
use crate::time::{MonoTime, Span};

/// A comment line keeps an idle stream open this often.
const HEARTBEAT: Span = Span::from_secs(15);
/// How long a client is left to read the last answer while its input is thrown away.
const LINGER: Span = Span::from_secs(1);

/// What a connection asks of the loop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Recv,
    Send(Bytes),
    Shutdown,
    Close,
    /// Close, and let the client know that it does not have the whole answer.
    Reset,
}

#[derive(Debug)]
enum Phase {
    /// Between requests, or within a head. `first`: nothing was answered yet.
    Reading {
        first: bool,
    },
    /// The answer is on its way; `body` is what is left of it.
    Responding {
        body: Option<Body>,
        after: After,
    },
    /// Answered for the last time; what comes is thrown away.
    Lingering {
        fin_sent: bool,
    },
    /// To be answered for the last time, with this.
    Refusing(Bad),
    Closing,
    /// The same in the middle of an answer. Where its end is the connection's, a normal end would make it look whole.
    Cutting,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    NextRequest,
    Linger,
    Close,
}

/// What a WebSocket has beside a stream.
#[derive(Debug, Default)]
struct Socket {
    reader: websocket::Reader,
    /// To be sent between two messages: the newest answer, since only the newest ping has to be answered (RFC 6455, 5.5.3).
    answer: Bytes,
    /// The answer is the last thing.
    last: bool,
}

impl Socket {
    fn hear(&mut self, bytes: &[u8]) {
        if self.last {
            return;
        }
        for heard in self.reader.push(bytes) {
            match heard {
                Heard::Reply(answer) => self.answer = answer.into(),
                Heard::Last(answer) => self.end(answer),
            }
        }
    }

    fn end(&mut self, answer: Vec<u8>) {
        if !std::mem::replace(&mut self.last, true) {
            self.answer = answer.into();
        }
    }
}

#[derive(Debug)]
pub struct Conn {
    pub peer: IpAddr,
    slot: u32,
    /// Whose streams and history the answer is made of; of no meaning for one that is there as a whole.
    array: ArrayId,
    reader: Reader,
    /// Once it is a WebSocket.
    socket: Option<Box<Socket>>,
    phase: Phase,
    receiving: bool,
    peer_done: bool,
    /// What is left of the piece being sent.
    out: Bytes,
    sending: bool,
    /// Whole events in it.
    out_events: u64,
    /// When the phase began, or the request that is being read, or the last send.
    since: MonoTime,
}

impl Conn {
    pub fn new(peer: IpAddr, slot: u32, now: MonoTime) -> Conn {
        Conn {
            peer,
            slot,
            array: ArrayId(0),
            reader: Reader::default(),
            socket: None,
            phase: Phase::Reading { first: true },
            receiving: false,
            peer_done: false,
            out: Bytes::new(),
            sending: false,
            out_events: 0,
            since: now,
        }
    }

    /// A connection beyond a limit: told so at once, whatever it asks.
    pub fn refused(peer: IpAddr, slot: u32, clocks: Clocks, config: &HttpConfig) -> Conn {
        let mut conn = Conn::new(peer, slot, clocks.mono);
        let response = Response::error(503, "too many connections; try again in a second");
        let exchange = Exchange { http11: true, head_only: false, keep_alive: false, api: true };
        conn.out = response.frame(exchange, &config.cors, clocks.wall).first.into();
        conn.phase = Phase::Responding { body: None, after: After::Linger };
        conn
    }

    /// There is something new in the topic that the connection listens to; whether that gives it a step to take.
    pub fn published(&mut self, hubs: &mut Hubs) -> bool {
        if let Phase::Responding { body: Some(Body::Events(subscription)), .. } = &mut self.phase {
            hubs.of(self.array).settle(subscription);
        }
        !self.sending
    }

    /// What is sent to it is cycles, as they come.
    pub fn streams_cycles(&self) -> bool {
        matches!(&self.phase, Phase::Responding { body: Some(body), .. } if body.topic().is_some_and(|topic| topic != Topic::Packets))
    }

    fn is_live(&self) -> bool {
        matches!(&self.phase, Phase::Responding { body: Some(body), .. } if body.topic().is_some())
    }

    /// Bytes came; none: the peer has finished.
    pub fn received(&mut self, bytes: &[u8], now: MonoTime, hubs: &mut Hubs) {
        assert!(self.receiving, "a receive completes that was asked for");
        self.receiving = false;
        if bytes.is_empty() {
            self.peer_done = true;
            if self.is_live() {
                self.close(hubs);
            }
        } else if let Some(socket) = &mut self.socket {
            socket.hear(bytes);
            self.leave_ended_socket(hubs);
        } else if !self.deaf() {
            let idle = self.reader.is_empty() && matches!(self.phase, Phase::Reading { .. });
            self.reader.push(bytes);
            if idle && !self.reader.is_empty() {
                self.since = now;
            }
        }
    }

    /// No further request will be answered: input is thrown away.
    fn deaf(&self) -> bool {
        !matches!(self.phase, Phase::Reading { .. } | Phase::Responding { after: After::NextRequest, .. })
    }

    /// A send completed with `n` bytes; how many events are now whole on their way, counted when the last of a piece is.
    pub fn sent(&mut self, n: usize) -> u64 {
        assert!(
            self.sending && n <= self.out.len(),
            "a send completes that was asked for, and with no more than it had"
        );
        self.sending = false;
        self.out.advance(n);
        if self.out.is_empty() { std::mem::take(&mut self.out_events) } else { 0 }
    }

    /// The next step, `None` until something happens.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Option<Step> {
        loop {
            match self.phase {
                Phase::Closing => return Some(Step::Close),
                Phase::Cutting => return Some(Step::Reset),
                _ => {}
            }
            if self.sending {
                break;
            }
            if !self.out.is_empty() {
                self.sending = true;
                self.since = context.clocks.mono;
                return Some(Step::Send(self.out.clone()));
            }
            if let Some(answer) = self.socket.as_mut().map(|socket| std::mem::take(&mut socket.answer))
                && !answer.is_empty()
            {
                self.out = answer;
                continue;
            }
            match &mut self.phase {
                Phase::Reading { .. } => match self.reader.take(context.config) {
                    Ok(Some(request)) => self.answer(&request, context),
                    Ok(None) if self.peer_done => self.phase = Phase::Closing,
                    Ok(None) => break,
                    Err(bad) => self.refuse(&bad, context),
                },
                Phase::Responding { body: Some(body), .. } => {
                    match body.next(self.array, context.hubs, context.house) {
                        Next::Piece(piece) => self.out = piece,
                        Next::Events(events, count) => (self.out, self.out_events) = (events, count),
                        Next::Wait => break,
                        Next::End => self.finish(context.clocks.mono, context.hubs),
                        Next::Cut => self.cut(context.hubs),
                    }
                }
                Phase::Refusing(bad) => {
                    let bad = bad.clone();
                    self.refuse(&bad, context);
                }
                Phase::Responding { body: None, .. } => self.finish(context.clocks.mono, context.hubs),
                Phase::Lingering { fin_sent: fin_sent @ false } => {
                    *fin_sent = true;
                    return Some(Step::Shutdown);
                }
                Phase::Lingering { .. } if self.peer_done => self.phase = Phase::Closing,
                Phase::Lingering { .. } => break,
                Phase::Closing | Phase::Cutting => unreachable!("handled above"),
            }
        }
        let room = self.deaf() || !self.reader.is_full(context.config);
        (!self.receiving && !self.peer_done && room).then(|| {
            self.receiving = true;
            Step::Recv
        })
    }

    fn answer(&mut self, request: &Request, context: &mut Context<'_>) {
        let response = route::answer(request, context);
        self.array = context.array;
        let has_body = request.has_length || request.has_transfer_encoding;
        let exchange = Exchange {
            http11: request.http11,
            head_only: request.method == Method::Head,
            keep_alive: request.keep_alive && !has_body,
            api: request.path.starts_with("/api/"),
        };
        self.respond(response, exchange, has_body, context);
    }

    fn refuse(&mut self, bad: &Bad, context: &mut Context<'_>) {
        let exchange = Exchange { http11: true, head_only: false, keep_alive: false, api: true };
        self.respond(Response::error(bad.status, &bad.text), exchange, true, context);
    }

    fn respond(&mut self, response: Response, exchange: Exchange, unread: bool, context: &mut Context<'_>) {
        context.hubs.figures.requests += 1;
        let mut framed = response.frame(exchange, &context.config.cors, context.clocks.wall);
        let after = match framed.keep_alive {
            true => After::NextRequest,
            false if unread || !self.reader.is_empty() => After::Linger,
            false => After::Close,
        };
        if framed.body.as_ref().is_some_and(Body::is_websocket) {
            let mut socket = Box::<Socket>::default();
            socket.hear(&self.reader.rest());
            self.socket = Some(socket);
        }
        if after != After::NextRequest {
            self.reader.clear();
        }
        match &mut framed.body {
            None | Some(Body::Whole(_) | Body::Listing(_)) => {}
            Some(body @ (Body::Events(_) | Body::LivePcm(_))) => context.hubs.of(self.array).join(body, self.slot),
            // A download begins where the history is overwritten next: take the first piece while it is there.
            Some(body @ (Body::Wav(_) | Body::Csv(_))) => {
                if let Next::Piece(piece) = body.next(self.array, context.hubs, context.house) {
                    framed.first.extend_from_slice(&piece);
                }
            }
        }
        self.out = framed.first.into();
        self.phase = Phase::Responding { body: framed.body, after };
        self.leave_ended_socket(context.hubs);
    }

    /// The answer is on its way in full.
    fn finish(&mut self, now: MonoTime, hubs: &mut Hubs) {
        let Phase::Responding { after, body } = &self.phase else { unreachable!("only an answer is finished") };
        if let Some(body) = body {
            hubs.leave(self.array, body, self.slot);
        }
        let after = *after;
        self.since = now;
        self.phase = match after {
            After::NextRequest => Phase::Reading { first: false },
            After::Linger => Phase::Lingering { fin_sent: false },
            After::Close => Phase::Closing,
        };
    }

    /// Nothing more is sent, and the loop is told to close.
    pub fn close(&mut self, hubs: &mut Hubs) {
        if let Phase::Responding { body: Some(body), .. } = &self.phase {
            hubs.leave(self.array, body, self.slot);
        }
        self.phase = Phase::Closing;
    }

    /// The same, in the middle of an answer.
    fn cut(&mut self, hubs: &mut Hubs) {
        self.close(hubs);
        self.phase = Phase::Cutting;
    }

    /// Whether an answer has begun and has not ended.
    pub fn is_responding(&self) -> bool {
        matches!(self.phase, Phase::Responding { .. })
    }

    /// The server goes: streams end with the event in flight, finite answers go out, and that is all.
    pub fn stop(&mut self, hubs: &mut Hubs) {
        if self.end_socket(hubs) {
            return;
        }
        match &mut self.phase {
            Phase::Responding { body, after } => {
                if *after == After::NextRequest {
                    *after = if self.reader.is_empty() { After::Close } else { After::Linger };
                }
                if let Some(live) = body.take_if(|body| body.topic().is_some()) {
                    hubs.leave(self.array, &live, self.slot);
                }
            }
            Phase::Cutting => {}
            _ => self.phase = Phase::Closing,
        }
    }

    /// A WebSocket's client is told that there is no more; false where it is none.
    fn end_socket(&mut self, hubs: &mut Hubs) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        socket.end(websocket::close(websocket::GOING_AWAY));
        self.leave_ended_socket(hubs);
        true
    }

    /// Behind the last word of a WebSocket there is no more audio.
    fn leave_ended_socket(&mut self, hubs: &mut Hubs) {
        if self.socket.as_ref().is_some_and(|socket| socket.last)
            && let Phase::Responding { body, after } = &mut self.phase
            && let Some(live) = body.take()
        {
            *after = After::Linger;
            hubs.leave(self.array, &live, self.slot);
        }
    }

    /// The array goes: its streams end with the event in flight, what is left of a download never comes.
    pub fn forget(&mut self, array: ArrayId, hubs: &mut Hubs) {
        if self.array != array || self.end_socket(hubs) {
            return;
        }
        let Phase::Responding { body: body @ Some(_), .. } = &mut self.phase else { return };
        match body {
            Some(Body::Whole(_) | Body::Listing(_)) | None => {}
            Some(Body::Wav(_) | Body::Csv(_)) => self.cut(hubs),
            Some(live @ (Body::Events(_) | Body::LivePcm(_))) => {
                hubs.leave(array, live, self.slot);
                *body = None;
            }
        }
    }

    /// Whose cycles are sent to it as they come, if any are.
    pub fn array(&self) -> ArrayId {
        self.array
    }

    /// When [`Conn::expire`] is due.
    pub fn deadline(&self, config: &HttpConfig) -> Option<MonoTime> {
        let wait = match &self.phase {
            Phase::Reading { first: false } if self.reader.is_empty() => config.idle_time,
            Phase::Reading { .. } => config.head_time,
            Phase::Responding { .. } if self.sending => config.stall_time,
            // Between two sends of one piece nothing is idle: the rest of it goes out at the next poll.
            Phase::Responding { body: Some(body), .. } if self.out.is_empty() => body.heartbeat().map(|_| HEARTBEAT)?,
            Phase::Lingering { .. } => LINGER,
            Phase::Responding { .. } | Phase::Refusing(_) | Phase::Closing | Phase::Cutting => return None,
        };
        Some(self.since + wait)
    }

    /// The deadline has passed.
    pub fn expire(&mut self, now: MonoTime, config: &HttpConfig, hubs: &mut Hubs) {
        self.since = now;
        match &self.phase {
            Phase::Reading { first: false } if self.reader.is_empty() => self.phase = Phase::Closing,
            Phase::Reading { .. } => {
                hubs.figures.rejected += 1;
                let seconds = config.head_time.as_secs_f64();
                self.phase = Phase::Refusing(Bad::new(408, format!("no whole request head within {seconds} s")));
            }
            Phase::Responding { .. } if self.sending => {
                hubs.figures.rejected += 1;
                self.cut(hubs);
            }
            Phase::Responding { body: Some(body), .. } => {
                assert!(self.out.is_empty(), "a heartbeat is due where nothing is left to send");
                self.out = body.heartbeat().map_or_else(Bytes::new, Bytes::from_static);
            }
            Phase::Lingering { .. } => self.phase = Phase::Closing,
            Phase::Responding { .. } | Phase::Refusing(_) | Phase::Closing | Phase::Cutting => {}
        }
    }
}
