//! Writer: datagrams and what the loop knows about them -> the blocks of a pcapng file.
//!
//! A recording must open in Wireshark, hold every timestamp to the nanosecond, and be readable up to its last whole block
//! whenever the writing stops. The kernel hands over payloads, not packets: IP and UDP headers are rebuilt around them, with their checksums.
//! One interface a microphone, raw IP as its link type; what the kernel dropped is in interface statistics blocks, what happened to the
//! clock in their comments. Blocks are appended to a buffer that the caller owns; nothing is allocated a datagram once that has grown.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, UdpHeader};

use super::frames::LINK_RAW;
use crate::time::KernelTime;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const ISB_IFRECV: u16 = 4;
const ISB_OSDROP: u16 = 7;

/// An interface's comment begins so, and ends with its format.
pub(super) const FORMAT_COMMENT: &str = "format ";

/// Nanoseconds: 10^-9.
const TSRESOL_NANOS: u8 = 9;
/// The longest rebuilt headers: IPv6 and UDP. No snap length cuts into them.
const HEADERS: u32 = 48;
/// A host's default.
const HOP_LIMIT: u8 = 64;

/// A source that is recorded: what its interface is called, and where it listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    pub name: String,
    pub address: SocketAddr,
    /// What it was declared to send: stands in the file, so that who reads it need not be told.
    pub format: Option<String>,
}

impl Interface {
    /// A source by its channels, of the array of that name where arrays have names: `mic0`, `roof mic0`, `roof mic0-1`.
    pub fn of(array: Option<&str>, channels: Range<usize>, address: SocketAddr) -> Interface {
        let array = array.map(|name| format!("{name} ")).unwrap_or_default();
        let first = channels.start;
        let last = if channels.len() > 1 { format!("-{}", channels.end - 1) } else { String::new() };
        Interface { name: format!("{array}mic{first}{last}"), address, format: None }
    }

    #[must_use]
    pub fn with_format(self, format: String) -> Interface {
        Interface { format: Some(format), ..self }
    }

    /// The sources of the one array that there is, a channel each.
    pub fn mono(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<Interface> {
        addresses.into_iter().enumerate().map(|(mic, address)| Interface::of(None, mic..mic + 1, address)).collect()
    }

    /// A place that no source has at present.
    pub fn unused() -> Interface {
        Interface { name: "unused".into(), address: SocketAddr::from(([0, 0, 0, 0], 0)), format: None }
    }
}

/// See the top of the file.
#[derive(Clone, Debug)]
pub struct Writer {
    snap: u32,
}

impl Writer {
    /// Keeps the first `snap` bytes of each packet, headers included, or all of it.
    pub fn new(snap: Option<u32>) -> Writer {
        Writer { snap: snap.map_or(u32::MAX, |snap| snap.max(HEADERS)) }
    }

    /// What a file begins with, of one array whose sources have a channel each: see [`begin_of`](Writer::begin_of).
    pub fn begin(&self, out: &mut Vec<u8>, mics: impl IntoIterator<Item = SocketAddr>, program: &str, kernel: &str) {
        self.begin_of(out, &Interface::mono(mics), program, kernel);
    }

    /// What a file begins with: the section header and an interface for each source, named by itself and its socket.
    pub fn begin_of(&self, out: &mut Vec<u8>, sources: &[Interface], program: &str, kernel: &str) {
        block(out, SECTION, |out| {
            out.extend(0x1a2b_3c4du32.to_le_bytes());
            out.extend([1, 0, 0, 0]);
            // The section's length is not known while it is written.
            out.extend((-1i64).to_le_bytes());
            option(out, SHB_OS, kernel.as_bytes());
            option(out, SHB_USERAPPL, program.as_bytes());
            option(out, OPT_END, &[]);
        });
        for Interface { name, address, format } in sources {
            block(out, INTERFACE, |out| {
                out.extend(LINK_RAW.to_le_bytes());
                out.extend([0, 0]);
                // 0 is "no limit".
                let snap = if self.snap == u32::MAX { 0 } else { self.snap };
                out.extend(snap.to_le_bytes());
                option(out, IF_NAME, format!("{name} {address}").as_bytes());
                option(out, IF_TSRESOL, &[TSRESOL_NANOS]);
                if let Some(format) = format {
                    option(out, OPT_COMMENT, format!("{FORMAT_COMMENT}{format}").as_bytes());
                }
                option(out, OPT_END, &[]);
            });
        }
    }

    /// A datagram of `mic`. `len` is the length of its payload, larger than `bytes.len()` when the kernel cut it; then its
    /// checksum is not known, and 0 ("none").
    #[expect(clippy::too_many_arguments, reason = "a datagram is all of this")]
    pub fn datagram(
        &self,
        out: &mut Vec<u8>,
        mic: usize,
        stamp: KernelTime,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        len: usize,
    ) {
        let (from_ip, to_ip) = one_family(from.ip(), to.ip());
        let udp_len = (len + 8).min(usize::from(u16::MAX)) as u16;
        let mut udp = UdpHeader { source_port: from.port(), destination_port: to.port(), length: udp_len, checksum: 0 };
        let whole = bytes.len() == len;
        block(out, ENHANCED_PACKET, |out| {
            out.extend((mic as u32).to_le_bytes());
            out.extend(ticks(stamp));
            let lengths = out.len();
            out.extend([0; 8]);
            let packet = out.len();
            match (from_ip, to_ip) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    let udp_len = udp_len.min(u16::MAX - Ipv4Header::MIN_LEN as u16);
                    let mut ip = Ipv4Header::new(udp_len, HOP_LIMIT, IpNumber::UDP, from.octets(), to.octets())
                        .expect("the length was limited to what IPv4 carries");
                    ip.header_checksum = ip.calc_header_checksum();
                    if whole {
                        udp.checksum = udp.calc_checksum_ipv4(&ip, bytes).unwrap_or(0);
                    }
                    out.extend_from_slice(&ip.to_bytes());
                }
                (from, to) => {
                    let ip = Ipv6Header {
                        payload_length: udp_len,
                        next_header: IpNumber::UDP,
                        hop_limit: HOP_LIMIT,
                        source: v6(from),
                        destination: v6(to),
                        ..Ipv6Header::default()
                    };
                    if whole {
                        udp.checksum = udp.calc_checksum_ipv6(&ip, bytes).unwrap_or(0);
                    }
                    out.extend_from_slice(&ip.to_bytes());
                }
            }
            out.extend_from_slice(&udp.to_bytes());
            let headers = out.len() - packet;
            let room = (self.snap as usize).saturating_sub(headers);
            out.extend_from_slice(&bytes[..bytes.len().min(room)]);
            let captured = (out.len() - packet) as u32;
            let original = (headers + len) as u32;
            out[lengths..lengths + 4].copy_from_slice(&captured.to_le_bytes());
            out[lengths + 4..lengths + 8].copy_from_slice(&original.to_le_bytes());
            pad(out);
        });
    }

    /// What `mic` has received, and what the kernel has dropped, since the file began; and what there is to say.
    pub fn statistics(
        &self,
        out: &mut Vec<u8>,
        mic: usize,
        stamp: KernelTime,
        received: u64,
        dropped: u64,
        comment: Option<&str>,
    ) {
        block(out, STATISTICS, |out| {
            out.extend((mic as u32).to_le_bytes());
            out.extend(ticks(stamp));
            option(out, ISB_IFRECV, &received.to_le_bytes());
            option(out, ISB_OSDROP, &dropped.to_le_bytes());
            if let Some(comment) = comment {
                option(out, OPT_COMMENT, comment.as_bytes());
            }
            option(out, OPT_END, &[]);
        });
    }
}

/// Type, length, body, length.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    assert!(start.is_multiple_of(4), "a buffer of whole blocks");
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let length = (out.len() - start + 4) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out.extend(length.to_le_bytes());
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out);
}

/// To a multiple of 4, as the block itself begins at one.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The timestamp of a block: the upper half first, in file order.
fn ticks(stamp: KernelTime) -> [u8; 8] {
    let ns = stamp.as_nanos().max(0) as u64;
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&((ns >> 32) as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&(ns as u32).to_le_bytes());
    bytes
}

/// A dual-stack socket tells an IPv4 sender as a mapped IPv6 one, and its own address as `::`.
fn one_family(from: IpAddr, to: IpAddr) -> (IpAddr, IpAddr) {
    match (from.to_canonical(), to.to_canonical()) {
        (IpAddr::V4(from), IpAddr::V6(to)) if to.is_unspecified() => (from.into(), Ipv4Addr::UNSPECIFIED.into()),
        pair => pair,
    }
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use pcap_parser::traits::PcapNGPacketBlock;
    use pcap_parser::{Block, parse_block_le};
    use proptest::prelude::*;

    use super::super::{Datagram, Datagrams, Seen};
    use super::*;

    const STAMP: KernelTime = KernelTime::from_nanos(1_795_345_500_123_456_789);

    fn begun(writer: &Writer) -> Vec<u8> {
        let mut out = Vec::new();
        let mics = ["0.0.0.0:30001", "0.0.0.0:30002", "[::]:30003"].map(|mic| mic.parse().unwrap());
        writer.begin(&mut out, mics, "micring 0.1.0", "Linux 6.18");
        out
    }

    /// RFC 1071: the ones' complement sum over everything that a checksum covers, the checksum included, is all ones.
    fn sums_to_all_ones(parts: &[&[u8]]) -> bool {
        let mut bytes = parts.concat();
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    fn address() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
        let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>())
            .prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)))
            .prop_filter("mapped addresses are IPv4", |(a, b)| {
                a.to_canonical().is_ipv6() && b.to_canonical().is_ipv6()
            });
        (prop_oneof![v4, v6], any::<u16>(), any::<u16>())
            .prop_map(|((a, b), p, q)| (SocketAddr::new(a, p), SocketAddr::new(b, q)))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            sent in proptest::collection::vec(
                (0usize..3, 0i64..i64::MAX, address(), proptest::collection::vec(any::<u8>(), 0..600)),
                0..20,
            ),
            snap in prop_oneof![Just(None), (0u32..400).prop_map(Some)],
        ) {
            let writer = Writer::new(snap);
            let mut file = begun(&writer);
            for (mic, ns, (from, to), payload) in &sent {
                let stamp = KernelTime::from_nanos(*ns);
                writer.datagram(&mut file, *mic, stamp, *from, *to, payload, payload.len());
            }
            let mut datagrams = Datagrams::new(&file[..]).unwrap();
            let mut read = 0;
            while let Some(seen) = datagrams.next_seen().unwrap() {
                let Seen::Datagram(seen) = seen else { continue };
                let (mic, ns, (from, to), payload) = &sent[read];
                let headers = if from.is_ipv4() { 28 } else { 48 };
                let kept = snap.map_or(payload.len(), |snap| payload.len().min(snap.max(48) as usize - headers));
                let stamp = KernelTime::from_nanos(*ns);
                let mic = Some(*mic);
                let expected = Datagram { stamp, mic, from: *from, to: *to, bytes: &payload[..kept], len: payload.len() };
                prop_assert_eq!(seen, expected);
                read += 1;
            }
            prop_assert_eq!(read, sent.len());
            prop_assert_eq!(datagrams.passed_over(), Default::default());
        }
    }

    #[test]
    fn checksums_hold_and_a_second_parser_agrees() {
        let writer = Writer::new(None);
        for (from, to) in [("192.0.2.7:4000", "0.0.0.0:30001"), ("[2001:db8::7]:4000", "[::]:30001")] {
            let mut file = begun(&writer);
            let head = file.len();
            let payload: Vec<u8> = (0..2047u32).map(|i| (i * 31) as u8).collect();
            writer.datagram(&mut file, 2, STAMP, from.parse().unwrap(), to.parse().unwrap(), &payload, 2047);
            let (rest, parsed) = parse_block_le(&file[head..]).unwrap();
            assert!(rest.is_empty());
            let Block::EnhancedPacket(parsed) = parsed else { panic!("an enhanced packet block") };
            assert_eq!(parsed.if_id, 2);
            assert_eq!(u64::from(parsed.ts_high) << 32 | u64::from(parsed.ts_low), STAMP.as_nanos() as u64);
            let packet = parsed.packet_data();
            let ipv4 = from.starts_with("192");
            let (ip, udp) = packet.split_at(if ipv4 { 20 } else { 40 });
            assert_eq!(parsed.origlen as usize, packet.len());
            assert_eq!(&udp[8..], payload);
            // The pseudo header (RFC 768, RFC 8200 8.1): addresses, protocol, UDP length.
            let addresses = if ipv4 { &ip[12..20] } else { &ip[8..40] };
            assert!(sums_to_all_ones(&[addresses, &[0, 17], &udp[4..6], udp]), "UDP checksum");
            if ipv4 {
                assert!(sums_to_all_ones(&[ip]), "header checksum");
            }
        }
    }

    #[test]
    fn a_dual_stack_socket_records_ipv4_senders_as_ipv4() {
        let writer = Writer::new(None);
        let mut file = begun(&writer);
        let from = "[::ffff:192.0.2.7]:4000".parse().unwrap();
        writer.datagram(&mut file, 0, STAMP, from, "[::]:30001".parse().unwrap(), b"abcd", 4);
        let mut datagrams = Datagrams::new(&file[..]).unwrap();
        assert_eq!(datagrams.next_seen().unwrap(), Some(Seen::Nothing), "the section header");
        let Some(Seen::Datagram(seen)) = datagrams.next_seen().unwrap() else { panic!("a datagram") };
        assert_eq!((seen.from, seen.to), ("192.0.2.7:4000".parse().unwrap(), "0.0.0.0:30001".parse().unwrap()));
    }

    #[test]
    fn a_datagram_that_the_kernel_cut_keeps_its_length_and_claims_no_checksum() {
        let writer = Writer::new(None);
        let mut file = begun(&writer);
        let head = file.len();
        writer.datagram(
            &mut file,
            0,
            STAMP,
            "192.0.2.7:4000".parse().unwrap(),
            "192.0.2.8:30001".parse().unwrap(),
            &[1; 8192],
            65_507,
        );
        let (_, Block::EnhancedPacket(parsed)) = parse_block_le(&file[head..]).unwrap() else { panic!("a packet") };
        assert_eq!((parsed.caplen, parsed.origlen), (8192 + 28, 65_535));
        assert_eq!(parsed.packet_data()[26..28], [0, 0]);
    }

    #[test]
    fn statistics_carry_drops_and_comments() {
        let writer = Writer::new(None);
        let mut file = begun(&writer);
        writer.statistics(&mut file, 1, STAMP, 1_000, 3, Some("clock stepped by +1.000 s"));
        let mut datagrams = Datagrams::new(&file[..]).unwrap();
        datagrams.next_seen().unwrap();
        let Some(Seen::Statistics(seen)) = datagrams.next_seen().unwrap() else { panic!("statistics") };
        assert_eq!((seen.mic, seen.stamp), (Some(1), STAMP));
        assert_eq!((seen.received, seen.dropped), (Some(1_000), Some(3)));
        assert_eq!(seen.comment, Some("clock stepped by +1.000 s"));
    }
}
