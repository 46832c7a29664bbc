//! The simulator's packets into a recording instead of onto sockets: hours of them in seconds, to be analysed.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::super::Failure;
use crate::array::Layout;
use crate::capture::{Interface, Writer};
use crate::sim::{Packet, Scenario, Sim};
use crate::wire::Format;

/// Blocks are written out when this many bytes of them are there.
const CHUNK: usize = 1 << 18;
/// The server that the recording seems to come from; the simulator's boards are its neighbours.
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 1);

/// A recording in the making.
pub(super) struct Recording {
    name: String,
    writer: Writer,
    mics: Vec<SocketAddr>,
    blocks: Vec<u8>,
    file: Box<dyn Write>,
}

impl Recording {
    /// `snap`: bytes kept of each packet, headers included. `-` is standard output.
    pub fn create(
        path: &Path,
        ports: &[u16],
        scenario: &Scenario,
        snap: Option<u32>,
        format: Option<&Format>,
    ) -> Result<Recording, Failure> {
        let name = path.display().to_string();
        let file: Box<dyn Write> = if path == Path::new("-") {
            Box::new(io::stdout().lock())
        } else {
            Box::new(File::create(path).map_err(|error| Failure::new(format_args!("cannot write {name}: {error}")))?)
        };
        let mics: Vec<_> = ports.iter().map(|port| SocketAddr::new(IpAddr::V4(SERVER), *port)).collect();
        let writer = Writer::new(snap);
        let mut blocks = Vec::with_capacity(CHUNK + (1 << 17));
        let program = concat!("micring ", env!("CARGO_PKG_VERSION"), " simulate");
        let wide = format.and_then(Format::channels).filter(|channels| *channels > 1);
        // Of a format with several channels mic 0's port has them all.
        let (layout, used) = match wide {
            Some(channels) => (Layout::new(&[usize::from(channels)]).map_err(Failure::new)?, 1),
            None => (scenario.layout(), mics.len()),
        };
        let source = |(source, address): (usize, &SocketAddr)| {
            let interface = Interface::of(None, layout.channels_of(source), *address);
            Interface { format: format.map(Format::to_string), ..interface }
        };
        let sources: Vec<Interface> = mics.iter().take(used).enumerate().map(source).collect();
        writer.begin_of(&mut blocks, &sources, program, "none: simulated");
        Ok(Recording { name, writer, mics, blocks, file })
    }

    pub fn packet(&mut self, sim: &Sim, packet: &Packet, payload: &[u8]) -> Result<(), Failure> {
        let (from, to) = (sim.sender(packet), self.mics[packet.mic]);
        self.writer.datagram(&mut self.blocks, packet.mic, packet.stamp, from, to, payload, payload.len());
        if self.blocks.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    /// Writes out what there is.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let written = self.file.write_all(&self.blocks).and_then(|()| self.file.flush());
        self.blocks.clear();
        written.map_err(|error| Failure::new(format_args!("cannot write {}: {error}", self.name)))
    }
}
