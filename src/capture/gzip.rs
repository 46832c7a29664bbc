//! A capture as it is, or gzipped: `tcpdump -z gzip` leaves them so, and Wireshark opens both.
//!
//! Told by its first bytes, not by its name, so that a pipe may be either. Members one behind the other are one file, as gzip(1) has it, and so is
//! what pads the last one. A file that ends inside a member was cut off: what was whole of it is given, then `UnexpectedEof`.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::GzDecoder;

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Counts what is read.
#[derive(Debug)]
struct Counted<R> {
    input: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

/// The first bytes, which were looked at, and the others.
type Whole<R> = Chain<Cursor<Vec<u8>>, Counted<R>>;

#[derive(Debug)]
enum State<R> {
    Plain(Whole<R>),
    Member(Box<GzDecoder<BufReader<Whole<R>>>>),
    Ended(Box<BufReader<Whole<R>>>),
}

/// See the top of the file.
#[derive(Debug)]
pub struct Unpacked<R> {
    /// `None` only while it changes.
    state: Option<State<R>>,
    /// Ended inside a member.
    is_cut: bool,
}

impl<R: Read> Unpacked<R> {
    pub fn new(input: R) -> io::Result<Unpacked<R>> {
        let mut input = Counted { input, count: 0 };
        let mut first = Vec::with_capacity(MAGIC.len());
        (&mut input).take(MAGIC.len() as u64).read_to_end(&mut first)?;
        let is_packed = first == MAGIC;
        let whole = Cursor::new(first).chain(input);
        let state = if is_packed {
            State::Member(Box::new(GzDecoder::new(BufReader::new(whole))))
        } else {
            State::Plain(whole)
        };
        Ok(Unpacked { state: Some(state), is_cut: false })
    }

    /// Bytes read of a packed file; `None` of one that is not.
    pub fn packed_position(&self) -> Option<u64> {
        match self.state.as_ref()? {
            State::Plain(_) => None,
            State::Member(decoder) => Some(decoder.get_ref().get_ref().get_ref().1.count),
            State::Ended(input) => Some(input.get_ref().get_ref().1.count),
        }
    }

    /// Behind a member: another, or the end. Anything else behind it is no part of the file: gzip(1) passes over it.
    fn next_member(mut input: BufReader<Whole<R>>) -> io::Result<State<R>> {
        loop {
            let rest = input.fill_buf()?;
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            match rest.get(zeros) {
                Some(byte) if *byte == MAGIC[0] => {
                    input.consume(zeros);
                    return Ok(State::Member(Box::new(GzDecoder::new(input))));
                }
                None if zeros > 0 => input.consume(zeros),
                _ => return Ok(State::Ended(Box::new(input))),
            }
        }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let decoder = match self.state.as_mut() {
                Some(State::Plain(input)) => return input.read(buffer),
                Some(State::Member(_)) if self.is_cut => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(State::Member(decoder)) if !buffer.is_empty() => decoder,
                _ => return Ok(0),
            };
            match decoder.read(buffer) {
                Ok(0) => {
                    let Some(State::Member(decoder)) = self.state.take() else { unreachable!("it was just read") };
                    self.state = Some(Self::next_member(decoder.into_inner())?);
                }
                read => {
                    self.is_cut = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
                    return read;
                }
            }
        }
    }
}
