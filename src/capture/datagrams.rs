//! Datagrams: a capture file -> the UDP datagrams in it, in the order of the file; those inside of tunnels, too.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use super::frames::{self, PROTOCOL_GRE, PROTOCOL_UDP};
use super::{
    CaptureError, Census, Datagram, Fault, IpPacket, NotUdp, Payload, Reader, Reassembler, Record, Statistics,
    USUAL_PORTS, Unpacked, Wanted, decode, tunnel,
};
use crate::time::KernelTime;

/// Tunnels inside of each other, and the datagram; each may be fragments of its own.
const DEPTH: usize = 4;

/// What one record came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen<'a> {
    Datagram(Datagram<'a>),
    Statistics(Statistics<'a>),
    /// Nothing yet, or nothing for us: see [`PassedOver`].
    Nothing,
}

/// Frames that led to no datagram, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PassedOver {
    /// Of a link type that is not known here; and the last such type.
    pub unknown_link: u64,
    pub unknown_link_type: Option<u16>,
    pub not_ip: u64,
    pub other_protocol: u64,
    /// Cut off or inconsistent within their headers.
    pub malformed: u64,
    /// Captured without a timestamp.
    pub unstamped: u64,
    /// Datagrams of which a fragment is missing.
    pub incomplete: u64,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Datagrams<R> {
    reader: Reader<Unpacked<R>>,
    /// Of the outermost packets first.
    reassemblers: [Reassembler; DEPTH],
    ports: Vec<u16>,
    /// The ports say which is which, whatever the recording says.
    by_port: bool,
    from: Option<IpAddr>,
    passed_over: PassedOver,
    census: Census,
}

impl<R: Read> Datagrams<R> {
    /// Reads the file's header.
    pub fn new(input: R) -> Result<Datagrams<R>, CaptureError> {
        let unreadable =
            |error: std::io::Error| CaptureError { offset: 0, fault: Fault::Unreadable(error.to_string()) };
        Ok(Datagrams {
            reader: Reader::new(Unpacked::new(input).map_err(unreadable)?)?,
            reassemblers: Default::default(),
            ports: USUAL_PORTS.to_vec(),
            by_port: false,
            from: None,
            passed_over: PassedOver::default(),
            census: Census::default(),
        })
    }

    /// Nothing but that. What is sent to one of its ports is a microphone's, and no tunnel.
    pub fn wanted(self, wanted: &Wanted) -> Datagrams<R> {
        Datagrams {
            reader: self.reader.of_array(wanted.array.as_deref()),
            ports: wanted.ports.clone().unwrap_or_else(|| USUAL_PORTS.to_vec()),
            by_port: wanted.ports.is_some(),
            from: wanted.from,
            ..self
        }
    }

    /// Channels of each source that the interfaces are named after; none, where the recording is not ours.
    pub fn sources(&self) -> Vec<usize> {
        self.reader.named().channels()
    }

    /// What the microphones were declared to send, as far as a recording of ours has told.
    pub fn declared(&self) -> impl Iterator<Item = (usize, &str)> {
        self.reader.named().declared()
    }

    /// Whether the recording is ours.
    pub fn is_ours(&self) -> bool {
        self.reader.named().is_ours()
    }

    /// The arrays that a recording of ours names; an array without a name is the empty one.
    pub fn arrays(&self) -> &[String] {
        self.reader.named().arrays()
    }

    /// What the next record came to, or `None` at the end of the file.
    pub fn next_seen(&mut self) -> Result<Option<Seen<'_>>, CaptureError> {
        let frame = match self.reader.next_record()? {
            None => return Ok(None),
            Some(Record::Frame(frame)) => frame,
            Some(Record::Statistics(statistics)) => return Ok(Some(Seen::Statistics(statistics))),
            Some(Record::Unstamped) => {
                self.passed_over.unstamped += 1;
                return Ok(Some(Seen::Nothing));
            }
            Some(Record::Section) => return Ok(Some(Seen::Nothing)),
        };
        self.census.frame(&frame);
        if frame.is_others && !self.by_port {
            return Ok(Some(Seen::Nothing));
        }
        // A recording of ours holds what came to a microphone's socket, whatever its port.
        let ports = if frame.mic.is_some() { None } else { Some(&self.ports[..]) };
        let found = decode(&frame).and_then(|packet| open(&mut self.reassemblers, packet, frame.stamp, ports));
        match found {
            Ok(Some(datagram)) => {
                self.census.datagram(datagram.to.port());
                if self.from.is_some_and(|from| from != datagram.from.ip().to_canonical()) {
                    return Ok(Some(Seen::Nothing));
                }
                Ok(Some(Seen::Datagram(Datagram { mic: frame.mic, ..datagram })))
            }
            Ok(None) => Ok(Some(Seen::Nothing)),
            Err(why) => {
                self.census.passed_over(why, &frame);
                let passed = &mut self.passed_over;
                match why {
                    NotUdp::UnknownLink(link) => {
                        passed.unknown_link += 1;
                        passed.unknown_link_type = Some(link);
                    }
                    NotUdp::NotIp(_) => passed.not_ip += 1,
                    NotUdp::OtherProtocol(_) => passed.other_protocol += 1,
                    NotUdp::Malformed => passed.malformed += 1,
                }
                Ok(Some(Seen::Nothing))
            }
        }
    }

    /// Frames that led to nothing so far.
    pub fn passed_over(&self) -> PassedOver {
        PassedOver { incomplete: self.incomplete(), ..self.passed_over }
    }

    /// What the frames were so far.
    pub fn census(&self) -> Census {
        Census { incomplete: self.incomplete(), ..self.census.clone() }
    }

    fn incomplete(&self) -> u64 {
        self.reassemblers.iter().map(|reassembler| reassembler.given_up() + reassembler.unfinished()).sum()
    }

    /// Bytes of the file read so far, for a progress bar.
    pub fn position(&self) -> u64 {
        self.reader.input().packed_position().unwrap_or(self.reader.position())
    }
}

/// The datagram in a packet, of the tunnels in it the innermost; `None` while a fragment is missing. One to a microphone's port (any, without
/// `ports`) is none of a tunnel.
fn open<'a>(
    levels: &'a mut [Reassembler],
    packet: IpPacket<'a>,
    stamp: KernelTime,
    ports: Option<&[u16]>,
) -> Result<Option<Datagram<'a>>, NotUdp> {
    let Some((here, inside)) = levels.split_first_mut() else { return Err(NotUdp::OtherProtocol(packet.protocol)) };
    let payload = match packet.fragment {
        None => Payload { bytes: packet.payload, len: packet.len },
        Some(place) => match here.push(&packet, place, stamp) {
            Some(payload) => payload,
            None => return Ok(None),
        },
    };
    let inner = match packet.protocol {
        PROTOCOL_UDP => {
            let datagram = udp(&packet, payload, stamp).ok_or(NotUdp::Malformed)?;
            let port = datagram.to.port();
            let may_be_tunnel = ports.is_some_and(|ports| !ports.contains(&port));
            match tunnel::in_udp(port, datagram.bytes).filter(|_| may_be_tunnel) {
                Some(inner) => inner?,
                None => return Ok(Some(datagram)),
            }
        }
        PROTOCOL_GRE => tunnel::gre(payload.bytes)?,
        _ => frames::ip(payload.bytes)?,
    };
    open(inside, inner, stamp, ports)
}

/// RFC 768: source port, destination port, length of header and data, checksum. The checksum is not looked at: a capture at the sender has
/// it unfilled where the card computes it.
fn udp<'a>(packet: &IpPacket<'_>, payload: Payload<'a>, stamp: KernelTime) -> Option<Datagram<'a>> {
    const HEADER: usize = 8;
    let (header, bytes) = payload.bytes.split_at_checked(HEADER)?;
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let len = usize::from(field(4)).checked_sub(HEADER)?;
    if len + HEADER > payload.len {
        return None;
    }
    Some(Datagram {
        stamp,
        mic: None,
        from: SocketAddr::new(packet.from, field(0)),
        to: SocketAddr::new(packet.to, field(2)),
        bytes: &bytes[..bytes.len().min(len)],
        len,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Writer;
    use super::*;

    /// A capture of raw IP frames with these stamps, in classic pcap with nanoseconds.
    fn classic(frames: &[(i64, Vec<u8>)]) -> Vec<u8> {
        let mut file = [0xa1b2_3c4du32, 0x0004_0002, 0, 0, 65_535, 101].map(u32::to_le_bytes).concat();
        for (ns, data) in frames {
            let length = data.len() as u32;
            let header = [(ns / 1_000_000_000) as u32, (ns % 1_000_000_000) as u32, length, length];
            file.extend(header.map(u32::to_le_bytes).concat());
            file.extend(data);
        }
        file
    }

    /// An IPv4 packet with part of a datagram, as in RFC 791.
    fn fragment(id: u16, offset: usize, more: bool, part: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0];
        packet.extend((part.len() as u16 + 20).to_be_bytes());
        packet.extend(id.to_be_bytes());
        packet.extend(((offset / 8) as u16 | if more { 0x2000 } else { 0 }).to_be_bytes());
        packet.extend([64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        packet.extend(part);
        packet
    }

    /// 2048 bytes over an MTU of 1500, the second fragment 130 us after the first; another datagram's first fragment between them, whose second never comes.
    #[test]
    fn a_fragmented_packet_is_stamped_by_its_last_fragment() {
        let payload: Vec<u8> = (0..2048u32).map(|i| (i * 31) as u8).collect();
        let mut datagram = [4000u16, 30_001, 2056, 0].map(u16::to_be_bytes).concat();
        datagram.extend(&payload);
        let file = classic(&[
            (1_000_000_000, fragment(1, 0, true, &datagram[..1480])),
            (1_000_050_000, fragment(2, 0, true, &datagram[..1480])),
            (1_000_130_000, fragment(1, 1480, false, &datagram[1480..])),
        ]);
        let mut datagrams = Datagrams::new(&file[..]).unwrap();
        assert_eq!(datagrams.next_seen(), Ok(Some(Seen::Nothing)));
        assert_eq!(datagrams.next_seen(), Ok(Some(Seen::Nothing)));
        let expected = Datagram {
            stamp: KernelTime::from_nanos(1_000_130_000),
            mic: None,
            from: "192.0.2.1:4000".parse().unwrap(),
            to: "192.0.2.2:30001".parse().unwrap(),
            bytes: &payload,
            len: 2048,
        };
        assert_eq!(datagrams.next_seen(), Ok(Some(Seen::Datagram(expected))));
        assert_eq!(datagrams.next_seen(), Ok(None));
        assert_eq!(datagrams.passed_over(), PassedOver { incomplete: 1, ..PassedOver::default() });
    }

    #[test]
    fn a_length_that_lies_is_malformed() {
        for length in [7u16, 13] {
            // The IP packet holds 8 + 4 bytes.
            let mut datagram = [4000, 30_001, length, 0].map(u16::to_be_bytes).concat();
            datagram.extend([0; 4]);
            let file = classic(&[(0, fragment(1, 0, false, &datagram))]);
            let mut datagrams = Datagrams::new(&file[..]).unwrap();
            assert_eq!(datagrams.next_seen(), Ok(Some(Seen::Nothing)));
            assert_eq!(datagrams.passed_over().malformed, 1);
        }
    }

    proptest! {
        /// A recording with changed bytes: an answer for every record, no panic.
        #[test]
        fn a_changed_recording_ends_in_an_answer(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let writer = Writer::new(None);
            let mut file = Vec::new();
            writer.begin(&mut file, ["0.0.0.0:1", "0.0.0.0:2", "[::]:3"].map(|mic| mic.parse().unwrap()), "", "");
            for i in 0..6u8 {
                let (from, to) = if i % 2 == 0 { ("192.0.2.1:9", "0.0.0.0:1") } else { ("[2001:db8::1]:9", "[::]:3") };
                let payload = vec![i; usize::from(i) * 9];
                let stamp = KernelTime::from_nanos(i64::from(i));
                let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
                writer.datagram(&mut file, 0, stamp, from, to, &payload, payload.len());
            }
            for (at, byte) in changes {
                let at = at.index(file.len());
                file[at] = byte;
            }
            let Ok(mut datagrams) = Datagrams::new(&file[..]) else { return Ok(()) };
            let mut records = 0;
            while let Ok(Some(_)) = datagrams.next_seen() {
                records += 1;
                prop_assert!(records <= file.len() / 12, "a record has 12 bytes at least");
            }
        }

        /// Any frame, of any link type: an answer.
        #[test]
        fn any_frame_ends_in_an_answer(
            link in prop_oneof![Just(0u16), Just(1), Just(9), Just(51), Just(101), Just(113), Just(276)],
            mut data in proptest::collection::vec(any::<u8>(), 0..120),
            start in prop_oneof![Just(0x45u8), Just(0x46), Just(0x60), any::<u8>()],
        ) {
            if let Some(first) = data.first_mut() {
                *first = start;
            }
            let frame = super::super::Frame { stamp: KernelTime::from_nanos(0), link, mic: None, is_others: false, len: data.len(), data: &data };
            if let Ok(packet) = decode(&frame) {
                prop_assert!(packet.payload.len() <= data.len());
                let mut levels: [Reassembler; DEPTH] = Default::default();
                if let Ok(Some(datagram)) = open(&mut levels, packet, frame.stamp, Some(USUAL_PORTS)) {
                    prop_assert!(datagram.bytes.len() <= data.len());
                }
            }
        }
    }
}
