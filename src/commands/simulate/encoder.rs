//! A simulated packet in the format that was asked for.

use super::super::Failure;
use crate::sim::encode::{Head, encode};
use crate::sim::{Packet, START, Sim};
use crate::wire::Format;

/// Arduino's `write` sends a datagram whenever its buffer of so many bytes is full; `audiovision` comes from such a board.
const ARDUINO: usize = 1460;

/// What packets leave as.
pub(super) struct Encoder {
    /// `None`: samples and nothing else, whole or in pieces.
    format: Option<Format>,
    sample_rate: u32,
    datagram: Vec<u8>,
    channel: Vec<u8>,
    samples: Vec<i32>,
}

impl Encoder {
    pub fn new(format: Option<Format>, sample_rate: u32) -> Encoder {
        Encoder { format, sample_rate, datagram: Vec::new(), channel: Vec::new(), samples: Vec::new() }
    }

    /// The datagrams of a packet. Of a format with several channels, mic 0's packets carry them all and the others are none.
    ///
    /// # Errors
    /// What the format has no room for.
    pub fn datagrams(&mut self, sim: &Sim, packet: &Packet) -> Result<impl Iterator<Item = &[u8]>, Failure> {
        match &self.format {
            None => sim.payload(packet, &mut self.datagram),
            Some(format) => {
                let channels = format.channels().unwrap_or(1);
                if channels > 1 && packet.mic > 0 {
                    self.datagram.clear();
                } else {
                    fill(sim, packet, channels, &mut self.channel, &mut self.samples);
                    let head = Head {
                        number: packet.cycle,
                        position: packet.position.0 as u64,
                        micros: (packet.captured - START).as_micros().max(0) as u64,
                        rate: self.sample_rate,
                        channels,
                        stream: packet.mic as u32 + 1 + 100 * packet.boot,
                    };
                    encode(format, &head, &self.samples, &mut self.datagram)
                        .map_err(|why| Failure::new(format_args!("cannot send --format {format}: {why}")))?;
                }
            }
        }
        let most = if matches!(self.format, Some(Format::Audiovision)) { ARDUINO } else { usize::MAX };
        Ok(self.datagram.chunks(most))
    }
}

/// The chunk's samples; of a format with several channels each is a microphone of its own, interleaved.
fn fill(sim: &Sim, packet: &Packet, channels: u8, room: &mut Vec<u8>, samples: &mut Vec<i32>) {
    let wide = usize::from(channels);
    samples.clear();
    samples.resize(packet.piece.chunk_samples as usize * wide, 0);
    for channel in 0..wide {
        let mic = if wide == 1 { packet.mic } else { channel };
        sim.payload(&Packet { mic, ..*packet }, room);
        let words = room.as_chunks::<4>().0;
        samples
            .iter_mut()
            .skip(channel)
            .step_by(wide)
            .zip(words)
            .for_each(|(to, word)| *to = i32::from_le_bytes(*word));
    }
}
