//! One captured frame -> the IP packet in it that carries UDP, or a tunnel that may (see `tunnel.rs`).
//!
//! Link layers differ by what tcpdump listened on: a network card (Ethernet, perhaps with VLAN tags, MPLS labels or a PPPoE session), `any`
//! (Linux cooked, two versions), loopback (BSD's), a modem (PPP), a tunnel or a recording of ours (raw IP). Captures may be cut to their
//! first bytes (`-s`), so lengths come from the IP header and the bytes from what is there.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv6ExtensionSlice, LaxIpSlice};

use super::Frame;

// https://www.tcpdump.org/linktypes.html
const LINK_NULL: u16 = 0;
const LINK_ETHERNET: u16 = 1;
/// Raw IP as some systems number it (DLT_RAW).
const LINK_RAW_BSD: [u16; 2] = [12, 14];
pub(super) const LINK_RAW: u16 = 101;
/// PPP, bare and with the address and control of HDLC; a PPPoE session without its Ethernet; Cisco's HDLC, which has an EtherType.
const LINK_PPP: [u16; 2] = [9, 50];
const LINK_PPPOE: u16 = 51;
const LINK_CISCO_HDLC: u16 = 104;
const LINK_LOOP: u16 = 108;
const LINK_COOKED: u16 = 113;
const LINK_IPV4: u16 = 228;
const LINK_IPV6: u16 = 229;
const LINK_COOKED_V2: u16 = 276;

/// EtherTypes of IEEE 802.
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPES_MPLS: [u16; 2] = [0x8847, 0x8848];
const TYPE_PPPOE_SESSION: u16 = 0x8864;
pub(super) const TYPE_PPP: u16 = 0x880b;
pub(super) const TYPE_ETHERNET: u16 = 0x6558;
/// Below this the field is a length, of IEEE 802.3.
const FIRST_TYPE: u16 = 0x0600;
/// 802.1Q, 802.1ad, and what was used before 802.1ad.
const TYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// IP protocols that may carry what we look for: RFC 768, 2003, 2473, 2784.
pub(super) const PROTOCOL_IPV4: u8 = 4;
pub(super) const PROTOCOL_UDP: u8 = 17;
pub(super) const PROTOCOL_IPV6: u8 = 41;
pub(super) const PROTOCOL_GRE: u8 = 47;

/// An IP packet that carries UDP or a tunnel, or a fragment of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpPacket<'a> {
    pub from: IpAddr,
    pub to: IpAddr,
    pub protocol: u8,
    /// Where in its datagram the payload belongs; `None` when it is all of it.
    pub fragment: Option<Place>,
    /// The captured part of what follows the IP headers.
    pub payload: &'a [u8],
    /// The true length of that.
    pub len: usize,
}

/// The place of a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Identification: the same for all fragments of a datagram.
    pub id: u32,
    /// In bytes.
    pub offset: usize,
    pub more: bool,
}

/// Why a frame carries nothing for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotUdp {
    /// A link type that is not known here.
    UnknownLink(u16),
    /// An EtherType; 0 of IEEE 802.3 and where there is none.
    NotIp(u16),
    /// IP, but this protocol.
    OtherProtocol(u8),
    /// Cut off or inconsistent within its headers.
    Malformed,
}

/// The IP packet in a frame, if it carries UDP or a tunnel.
pub fn decode<'a>(frame: &Frame<'a>) -> Result<IpPacket<'a>, NotUdp> {
    let data = frame.data;
    match frame.link {
        LINK_ETHERNET => ethernet(data),
        LINK_COOKED => of_type(be16(data, 14)?, after(data, 16)?),
        LINK_COOKED_V2 => of_type(be16(data, 0)?, after(data, 20)?),
        LINK_CISCO_HDLC => of_type(be16(data, 2)?, after(data, 4)?),
        LINK_PPPOE => pppoe(data),
        link if LINK_PPP.contains(&link) => ppp(data),
        // Four bytes of address family in the byte order of some host, whose values differ among systems: the IP version
        // says the same.
        LINK_NULL | LINK_LOOP => ip(after(data, 4)?),
        LINK_RAW | LINK_IPV4 | LINK_IPV6 => ip(data),
        link if LINK_RAW_BSD.contains(&link) => ip(data),
        link => Err(NotUdp::UnknownLink(link)),
    }
}

pub(super) fn be16(data: &[u8], at: usize) -> Result<u16, NotUdp> {
    let bytes = data.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u16::from_be_bytes).ok_or(NotUdp::Malformed)
}

pub(super) fn after(data: &[u8], header: usize) -> Result<&[u8], NotUdp> {
    data.get(header..).ok_or(NotUdp::Malformed)
}

/// Two addresses, then the type.
pub(super) fn ethernet(data: &[u8]) -> Result<IpPacket<'_>, NotUdp> {
    of_type(be16(data, 12)?, after(data, 14)?)
}

/// What follows an EtherType.
pub(super) fn of_type(ether_type: u16, data: &[u8]) -> Result<IpPacket<'_>, NotUdp> {
    let (mut ether_type, mut data) = (ether_type, data);
    // A tag of four bytes ends with the type of what follows.
    while TYPES_VLAN.contains(&ether_type) {
        (ether_type, data) = (be16(data, 2)?, after(data, 4)?);
    }
    match ether_type {
        TYPE_IPV4 | TYPE_IPV6 => ip(data),
        TYPE_PPPOE_SESSION => pppoe(data),
        mpls if TYPES_MPLS.contains(&mpls) => labelled(data),
        length if length < FIRST_TYPE => Err(NotUdp::NotIp(0)),
        other => Err(NotUdp::NotIp(other)),
    }
}

/// RFC 3032: labels of four bytes up to the one that says it is the last; what follows tells only by its first bits what it is.
fn labelled(data: &[u8]) -> Result<IpPacket<'_>, NotUdp> {
    let labels = data.chunks_exact(4).position(|label| label[2] & 1 == 1).ok_or(NotUdp::Malformed)?;
    ip(after(data, 4 * (labels + 1))?)
        .map_err(|why| if why == NotUdp::NotIp(0) { NotUdp::NotIp(TYPES_MPLS[0]) } else { why })
}

/// RFC 2516, 4: version and type, code (0: a session's data), session, length.
fn pppoe(data: &[u8]) -> Result<IpPacket<'_>, NotUdp> {
    if be16(data, 0)? != 0x1100 {
        return Err(NotUdp::NotIp(TYPE_PPPOE_SESSION));
    }
    ppp(after(data, 6)?)
}

/// RFC 1661, 2, and 1662, 3.1: perhaps address and control, then a protocol of two bytes, or of one that is odd.
pub(super) fn ppp(data: &[u8]) -> Result<IpPacket<'_>, NotUdp> {
    let data = data.strip_prefix(&[0xff, 0x03]).unwrap_or(data);
    let (protocol, header) = match data.first() {
        Some(odd) if odd & 1 == 1 => (u16::from(*odd), 1),
        _ => (be16(data, 0)?, 2),
    };
    if protocol == 0x0021 || protocol == 0x0057 { ip(after(data, header)?) } else { Err(NotUdp::NotIp(TYPE_PPP)) }
}

pub(super) fn ip(data: &[u8]) -> Result<IpPacket<'_>, NotUdp> {
    if !matches!(data.first().map(|byte| byte >> 4), Some(4 | 6)) {
        return Err(NotUdp::NotIp(0));
    }
    let (slice, stopped) = LaxIpSlice::from_slice(data).map_err(|_| NotUdp::Malformed)?;
    if stopped.is_some() {
        return Err(NotUdp::Malformed);
    }
    let captured = slice.payload();
    let IpNumber(protocol) = captured.ip_number;
    if ![PROTOCOL_UDP, PROTOCOL_GRE, PROTOCOL_IPV4, PROTOCOL_IPV6].contains(&protocol) {
        return Err(NotUdp::OtherProtocol(protocol));
    }
    let (from, to, headers, total, place) = match &slice {
        LaxIpSlice::Ipv4(v4) => {
            let header = v4.header();
            let place = Place {
                id: u32::from(header.identification()),
                offset: usize::from(header.fragments_offset().byte_offset()),
                more: header.more_fragments(),
            };
            let headers = header.slice().len() + v4.extensions().auth.map_or(0, |auth| auth.slice().len());
            let from = IpAddr::V4(header.source_addr());
            (from, IpAddr::V4(header.destination_addr()), headers, usize::from(header.total_len()), Some(place))
        }
        LaxIpSlice::Ipv6(v6) => {
            let header = v6.header();
            let place = v6.extensions().clone().into_iter().find_map(|extension| match extension {
                Ipv6ExtensionSlice::Fragment(fragment) => Some(Place {
                    id: fragment.identification(),
                    offset: usize::from(fragment.fragment_offset().byte_offset()),
                    more: fragment.more_fragments(),
                }),
                _ => None,
            });
            let headers = header.slice().len() + v6.extensions().slice().len();
            let total = header.slice().len() + usize::from(header.payload_length());
            let from = IpAddr::V6(header.source_addr());
            (from, IpAddr::V6(header.destination_addr()), headers, total, place)
        }
    };
    // A length of 0 is one that the card was to fill in (segmentation offload).
    let len = if captured.incomplete { total.saturating_sub(headers) } else { captured.payload.len() };
    let fragment = place.filter(|place| place.more || place.offset > 0);
    Ok(IpPacket { from, to, protocol, fragment, payload: captured.payload, len })
}

#[cfg(test)]
pub(super) mod tests {
    use etherparse::PacketBuilder;

    use super::*;
    use crate::time::KernelTime;

    pub(in crate::capture) fn frame(link: u16, data: &[u8]) -> Frame<'_> {
        Frame { stamp: KernelTime::from_nanos(0), link, mic: None, is_others: false, len: data.len(), data }
    }

    fn udp_v4(payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(4000, 30_001);
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    fn udp_v6(payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(4000, 30_001);
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    fn behind(header: &[u8], packet: &[u8]) -> Vec<u8> {
        [header, packet].concat()
    }

    #[test]
    fn every_link_layer_leads_to_the_same_packet() {
        let v4 = udp_v4(b"sound");
        let v6 = udp_v6(b"sound");
        let mut ethernet = [0u8; 14];
        ethernet[12..].copy_from_slice(&[0x08, 0x00]);
        let mut tagged = [0u8; 22];
        tagged[12..].copy_from_slice(&[0x88, 0xa8, 0, 7, 0x81, 0x00, 0, 9, 0x08, 0x00]);
        let mut cooked = [0u8; 16];
        cooked[14..].copy_from_slice(&[0x08, 0x00]);
        let mut cooked_v2 = [0u8; 20];
        cooked_v2[..2].copy_from_slice(&[0x08, 0x00]);
        // A frame on the wire has at least 60 bytes: padding follows a short packet.
        let padded = [behind(&ethernet, &v4), vec![0xee; 20]].concat();
        for (link, data) in [
            (1, padded),
            (1, behind(&tagged, &v4)),
            (113, behind(&cooked, &v4)),
            (276, behind(&cooked_v2, &v4)),
            (0, behind(&[2, 0, 0, 0], &v4)),
            (108, behind(&[0, 0, 0, 2], &v4)),
            (101, v4.clone()),
            (228, v4.clone()),
            (9, behind(&[0, 0x21], &v4)),
            (50, behind(&[0xff, 3, 0x21], &v4)),
            (51, behind(&[0x11, 0, 0, 1, 0, 35, 0, 0x21], &v4)),
            (104, behind(&[0x0f, 0, 8, 0], &v4)),
        ] {
            let packet = decode(&frame(link, &data)).unwrap_or_else(|e| panic!("link {link}: {e:?}"));
            assert_eq!(packet.from, "192.0.2.1".parse::<IpAddr>().unwrap(), "link {link}");
            assert_eq!(&packet.payload[8..], b"sound", "link {link}");
            assert_eq!((packet.len, packet.fragment), (13, None), "link {link}");
        }
        ethernet[12..].copy_from_slice(&[0x86, 0xdd]);
        for (link, data) in [(1, behind(&ethernet, &v6)), (229, v6)] {
            let packet = decode(&frame(link, &data)).unwrap();
            assert_eq!((&packet.payload[8..], packet.len), (&b"sound"[..], 13));
        }
    }

    #[test]
    fn a_cut_capture_tells_the_true_length() {
        for packet in [udp_v4(&[7; 1000]), udp_v6(&[7; 1000])] {
            let cut = &packet[..packet.len() - 900];
            let seen = decode(&frame(LINK_RAW, cut)).unwrap();
            assert_eq!((seen.payload.len(), seen.len), (108, 1008));
        }
    }

    #[test]
    fn a_fragment_tells_its_place() {
        let mut packet = udp_v4(&[7; 100]);
        // More fragments, offset 185 * 8.
        packet[4..8].copy_from_slice(&[0x12, 0x34, 0x20, 185]);
        let seen = decode(&frame(LINK_RAW, &packet)).unwrap();
        assert_eq!(seen.fragment, Some(Place { id: 0x1234, offset: 1480, more: true }));

        let mut packet = udp_v6(&[7; 100]);
        // A fragment header (RFC 8200 4.5) before the UDP header: next header 17, offset 181 * 8, the last, id 99.
        packet[6] = 44;
        packet[4..6].copy_from_slice(&116u16.to_be_bytes());
        let place = (181u16 << 3).to_be_bytes();
        packet.splice(40..40, [17, 0, place[0], place[1], 0, 0, 0, 99]);
        let seen = decode(&frame(LINK_RAW, &packet)).unwrap();
        assert_eq!(seen.fragment, Some(Place { id: 99, offset: 1448, more: false }));
        assert_eq!(seen.len, 108);
    }

    #[test]
    fn what_is_no_udp_says_what_it_is() {
        let mut tcp = Vec::new();
        PacketBuilder::ipv4([1; 4], [2; 4], 64).tcp(1, 2, 3, 4).write(&mut tcp, &[]).unwrap();
        let mut arp = [0u8; 42];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(decode(&frame(LINK_RAW, &tcp)), Err(NotUdp::OtherProtocol(6)));
        assert_eq!(decode(&frame(LINK_ETHERNET, &arp)), Err(NotUdp::NotIp(0x0806)));
        assert_eq!(decode(&frame(LINK_ETHERNET, &arp[..13])), Err(NotUdp::Malformed));
        assert_eq!(decode(&frame(LINK_RAW, &udp_v4(b"x")[..10])), Err(NotUdp::Malformed));
        assert_eq!(decode(&frame(LINK_RAW, &[])), Err(NotUdp::NotIp(0)));
        assert_eq!(decode(&frame(147, &[])), Err(NotUdp::UnknownLink(147)));
    }
}
