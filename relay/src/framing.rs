//! The server's binary stream, piece by piece as TCP brings it, into events.
//!
//! This is the framing of `?format=binary`: `src/http/event.rs` of micring has the table.

use bytes::{Buf, Bytes, BytesMut};

use crate::event::{Event, Header};

/// Longest event that is believed, in bytes.
const MAX_EVENT: usize = 2 << 20;

/// What a stream says.
#[derive(Debug)]
pub enum Word {
    /// The name of the run, before everything else.
    Run(u64),
    Cycle(Event),
}

/// Takes bytes in, gives words out.
#[derive(Debug, Default)]
pub struct Framing {
    bytes: BytesMut,
    run: u64,
}

impl Framing {
    pub fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next word; `None` until more bytes came.
    pub fn next(&mut self) -> Result<Option<Word>, String> {
        loop {
            let Some(field) = self.bytes.get(..4) else { return Ok(None) };
            let length = u32::from_le_bytes(field.try_into().expect("four bytes")) as usize;
            if !(4..=MAX_EVENT).contains(&length) {
                return Err(format!("an event of {length} bytes: this is no binary stream of micring"));
            }
            if self.bytes.len() < 4 + length {
                return Ok(None);
            }
            self.bytes.advance(4);
            let mut event = self.bytes.split_to(length).freeze();
            let kind = event[0];
            event.advance(4);
            match kind {
                1 => return Ok(Some(Word::Cycle(self.cycle(event)?))),
                2 if event.len() >= 8 => {
                    self.run = event.get_u64_le();
                    return Ok(Some(Word::Run(self.run)));
                }
                _ => {}
            }
        }
    }

    /// What stands behind the first eight bytes: three channels of 32 bits.
    fn cycle(&self, mut rest: Bytes) -> Result<Event, String> {
        const CHANNELS: usize = 3;
        const FIELDS: usize = 72;
        if rest.len() < FIELDS {
            return Err(format!("an event's head of {} bytes; {FIELDS} were expected", rest.len()));
        }
        let (id, first_frame, emitted_us) = (rest.get_u64_le(), rest.get_i64_le(), rest.get_i64_le());
        let arrivals: [i64; CHANNELS] = std::array::from_fn(|_| rest.get_i64_le());
        let samples: [u32; CHANNELS] = std::array::from_fn(|_| rest.get_u32_le());
        let (frames, sample_rate) = (rest.get_u32_le(), rest.get_u32_le());
        rest.advance(4);
        let header = Header {
            run: self.run,
            id,
            first_frame,
            frames,
            channels: CHANNELS as u32,
            sample_rate,
            mic_samples: samples.to_vec(),
            arrival_us: arrivals.map(|us| (us != i64::MIN).then_some(us)).to_vec(),
            emitted_us,
        };
        let bytes = frames as usize * CHANNELS * 4;
        let samples = rest.get(..bytes).ok_or("an event has fewer samples than it says")?;
        Ok(Event::new(header, samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the table in `src/http/event.rs`.
    fn event(id: u64) -> Vec<u8> {
        let mut body = vec![1, 3, 32, 0];
        body.extend(id.to_le_bytes());
        body.extend(1024_i64.to_le_bytes());
        body.extend(77_i64.to_le_bytes());
        for arrival in [5, i64::MIN, 6] {
            body.extend(arrival.to_le_bytes());
        }
        for word in [1_u32, 0, 1, 1, 48_000, 0] {
            body.extend(word.to_le_bytes());
        }
        body.extend([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    }

    #[test]
    fn events_come_out_whole_however_the_bytes_come() {
        let run = [&[12, 0, 0, 0, 2, 0, 0, 0][..], &900_u64.to_le_bytes()].concat();
        let life = [4, 0, 0, 0, 0, 0, 0, 0];
        let unknown = [8, 0, 0, 0, 200, 0, 0, 0, 1, 2, 3, 4];
        let stream = [&run[..], &event(901), &life, &unknown, &event(902)].concat();
        for piece in [1, 7, 4096] {
            let (mut framing, mut ids, mut runs) = (Framing::default(), vec![], vec![]);
            for bytes in stream.chunks(piece) {
                framing.take(bytes);
                while let Some(word) = framing.next().unwrap() {
                    match word {
                        Word::Run(run) => runs.push(run),
                        Word::Cycle(event) => {
                            assert_eq!(event.header.run, 900);
                            assert_eq!(event.header.first_frame, 1024);
                            assert_eq!(event.header.mic_samples, [1, 0, 1]);
                            assert_eq!(event.header.arrival_us, [Some(5), None, Some(6)]);
                            assert_eq!(event.header.emitted_us, 77);
                            assert_eq!(event.frame[event.frame.len() - 12..], [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
                            ids.push(event.header.id);
                        }
                    }
                }
            }
            assert_eq!((runs, ids), (vec![900], vec![901, 902]), "in pieces of {piece}");
        }
    }

    #[test]
    fn something_else_is_not_waited_for_for_ever() {
        let mut framing = Framing::default();
        framing.take(b"HTTP/1.1 200 OK\r\n");
        assert!(framing.next().unwrap_err().contains("no binary stream"));
    }
}
