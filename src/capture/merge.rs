//! Merge: captures side by side -> their datagrams in the order of their stamps.
//!
//! One capture a port, or the next file of a set that begins before the last one ends: by stamp, what comes first of each. A capture is in order
//! but for a little disorder, which whoever takes them puts right. But its host's clock may be set back in the middle: then it
//! waits until the others have come to that step as well, for their hosts are one and show the same; a capture that begins later begins
//! behind it. Memory is one record for each capture that is open.

use std::io::Read;
use std::net::SocketAddr;

use super::{CaptureError, Datagram, Datagrams, Seen, Statistics};
use crate::time::{KernelTime, Span};

/// A stamp so much older than the newest of its capture is a step of the clock, not disorder.
const STEP_BACK: Span = Span::from_millis(100);

/// The next record of a capture, its own bytes beside it.
#[derive(Clone, Copy, Debug)]
enum Head {
    Datagram { stamp: KernelTime, mic: Option<usize>, from: SocketAddr, to: SocketAddr, len: usize },
    Statistics { stamp: KernelTime, mic: Option<usize>, received: Option<u64>, dropped: Option<u64>, comment: bool },
}

impl Head {
    fn stamp(self) -> KernelTime {
        match self {
            Head::Datagram { stamp, .. } | Head::Statistics { stamp, .. } => stamp,
        }
    }
}

/// A capture, and what comes next in it.
#[derive(Debug)]
pub struct Source<R> {
    datagrams: Datagrams<R>,
    head: Option<Head>,
    /// The payload of a datagram, or a comment.
    bytes: Vec<u8>,
    newest: Option<KernelTime>,
    /// Steps back that were seen so far, here or before it began.
    epoch: u64,
}

/// A source that cannot be read on, and why.
pub type Broken<R> = (Box<Source<R>>, CaptureError);

impl<R: Read> Source<R> {
    /// Reads up to the first datagram or statistics.
    ///
    /// # Errors
    /// As [`Datagrams::next_seen`]; the source comes back with it, for what it counted.
    pub fn new(datagrams: Datagrams<R>) -> Result<Box<Source<R>>, Broken<R>> {
        let mut source = Box::new(Source { datagrams, head: None, bytes: Vec::new(), newest: None, epoch: 0 });
        match source.advance() {
            Ok(()) => Ok(source),
            Err(error) => Err((source, error)),
        }
    }

    /// The stamp of what comes next; `None` at the end.
    pub fn next_stamp(&self) -> Option<KernelTime> {
        self.head.map(Head::stamp)
    }

    /// What comes next.
    pub fn peek(&self) -> Option<Seen<'_>> {
        Some(match self.head? {
            Head::Datagram { stamp, mic, from, to, len } => {
                Seen::Datagram(Datagram { stamp, mic, from, to, bytes: &self.bytes, len })
            }
            Head::Statistics { stamp, mic, received, dropped, comment } => {
                let comment = std::str::from_utf8(&self.bytes).ok().filter(|_| comment);
                Seen::Statistics(Statistics { stamp, mic, received, dropped, comment })
            }
        })
    }

    pub fn datagrams(&self) -> &Datagrams<R> {
        &self.datagrams
    }

    fn advance(&mut self) -> Result<(), CaptureError> {
        self.head = None;
        loop {
            let (head, bytes) = match self.datagrams.next_seen()? {
                None => return Ok(()),
                Some(Seen::Nothing) => continue,
                Some(Seen::Datagram(Datagram { stamp, mic, from, to, bytes, len })) => {
                    (Head::Datagram { stamp, mic, from, to, len }, bytes)
                }
                Some(Seen::Statistics(Statistics { stamp, mic, received, dropped, comment })) => {
                    let is_there = comment.is_some();
                    let head = Head::Statistics { stamp, mic, received, dropped, comment: is_there };
                    (head, comment.unwrap_or_default().as_bytes())
                }
            };
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            let stamp = head.stamp();
            if self.newest.is_some_and(|newest| newest - stamp > STEP_BACK) {
                self.epoch += 1;
                self.newest = None;
            }
            self.newest = Some(self.newest.map_or(stamp, |newest| newest.max(stamp)));
            self.head = Some(head);
            return Ok(());
        }
    }
}

/// What a merge came to.
pub enum Next<R> {
    /// The next record is in this source: see [`Merge::seen`].
    Record(usize),
    /// This source is at its end, or cannot be read on.
    Ended(usize, Box<Source<R>>, Option<CaptureError>),
    /// No source is left.
    Empty,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Merge<R> {
    sources: Vec<(usize, Box<Source<R>>)>,
    /// Of the newest record.
    epoch: u64,
    /// The source whose record was given out, and is to be read on.
    given: Option<usize>,
}

impl<R> Default for Merge<R> {
    fn default() -> Merge<R> {
        Merge { sources: Vec::new(), epoch: 0, given: None }
    }
}

impl<R: Read> Merge<R> {
    /// Another source; `id` is the caller's name for it.
    pub fn add(&mut self, id: usize, mut source: Box<Source<R>>) {
        source.epoch += self.epoch;
        self.sources.push((id, source));
    }

    pub fn sources(&self) -> impl Iterator<Item = (usize, &Source<R>)> {
        self.sources.iter().map(|(id, source)| (*id, &**source))
    }

    /// When the next record was stamped, as far as the sources that are there know.
    pub fn next_stamp(&self) -> Option<KernelTime> {
        self.first().and_then(|at| self.sources[at].1.next_stamp())
    }

    /// Reads on behind the record that was given out last, so that [`next_stamp`](Merge::next_stamp) is that of the next one.
    ///
    /// # Errors
    /// The source that cannot be read on, which is none of these any more, and why.
    pub fn read_on(&mut self) -> Result<(), (usize, Box<Source<R>>, CaptureError)> {
        let Some(at) = self.given.take() else { return Ok(()) };
        self.sources[at].1.advance().map_err(|error| {
            let (id, source) = self.sources.swap_remove(at);
            (id, source, error)
        })
    }

    /// The next record, or what ended.
    pub fn next_record(&mut self) -> Next<R> {
        if let Err((id, source, error)) = self.read_on() {
            return Next::Ended(id, source, Some(error));
        }
        if let Some(at) = self.sources.iter().position(|(_, source)| source.head.is_none()) {
            let (id, source) = self.sources.swap_remove(at);
            return Next::Ended(id, source, None);
        }
        let Some(at) = self.first() else { return Next::Empty };
        self.epoch = self.sources[at].1.epoch;
        self.given = Some(at);
        Next::Record(self.sources[at].0)
    }

    /// The record that was given out last.
    pub fn seen(&self) -> Option<Seen<'_>> {
        self.sources[self.given?].1.peek()
    }

    fn first(&self) -> Option<usize> {
        let key =
            |(at, (id, source)): (usize, &(usize, Box<Source<R>>))| Some((source.epoch, source.next_stamp()?, *id, at));
        self.sources.iter().enumerate().filter_map(key).min().map(|(.., at)| at)
    }
}
