//! One captured frame -> the IP packet in it that carries UDP.
//!
//! Link layers differ by what tcpdump listened on: a network card (Ethernet, perhaps with VLAN tags), `any` (Linux cooked,
//! two versions), loopback (BSD's), a tunnel or a recording of ours (raw IP). Captures may be cut to their first bytes (`-s`), so
//! lengths come from the IP header and the bytes from what is there.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv6ExtensionSlice, LaxIpSlice};

use super::Frame;

// https://www.tcpdump.org/linktypes.html
const LINK_NULL: u16 = 0;
const LINK_ETHERNET: u16 = 1;
/// Raw IP as some systems number it (DLT_RAW).
const LINK_RAW_BSD: [u16; 2] = [12, 14];
pub(super) const LINK_RAW: u16 = 101;
const LINK_LOOP: u16 = 108;
const LINK_COOKED: u16 = 113;
const LINK_IPV4: u16 = 228;
const LINK_IPV6: u16 = 229;
const LINK_COOKED_V2: u16 = 276;

/// EtherTypes of IEEE 802.
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad, and what was used before 802.1ad.
const TYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// An IP packet that carries UDP, or a fragment of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpPacket<'a> {
    pub from: IpAddr,
    pub to: IpAddr,
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
    NotIp,
    /// IP, but another protocol.
    OtherProtocol,
    /// Cut off or inconsistent within its headers.
    Malformed,
}

/// The IP packet in a frame, if it carries UDP.
pub fn decode<'a>(frame: &Frame<'a>) -> Result<IpPacket<'a>, NotUdp> {
    let data = frame.data;
    let after = |header: usize| data.get(header..).ok_or(NotUdp::Malformed);
    let ether_type_at = |at: usize| be16(data, at).ok_or(NotUdp::Malformed);
    match frame.link {
        LINK_ETHERNET => {
            // Two addresses, then tags of four bytes, then the type.
            let mut at = 12;
            while TYPES_VLAN.contains(&ether_type_at(at)?) {
                at += 4;
            }
            of_type(ether_type_at(at)?, after(at + 2)?)
        }
        LINK_COOKED => of_type(ether_type_at(14)?, after(16)?),
        LINK_COOKED_V2 => of_type(ether_type_at(0)?, after(20)?),
        // Four bytes of address family in the byte order of some host, whose values differ among systems: the IP version
        // says the same.
        LINK_NULL | LINK_LOOP => ip(after(4)?),
        LINK_RAW | LINK_IPV4 | LINK_IPV6 => ip(data),
        link if LINK_RAW_BSD.contains(&link) => ip(data),
        link => Err(NotUdp::UnknownLink(link)),
    }
}

fn be16(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

fn of_type(ether_type: u16, data: &[u8]) -> Result<IpPacket<'_>, NotUdp> {
    if ether_type == TYPE_IPV4 || ether_type == TYPE_IPV6 { ip(data) } else { Err(NotUdp::NotIp) }
}

fn ip(data: &[u8]) -> Result<IpPacket<'_>, NotUdp> {
    if !matches!(data.first().map(|byte| byte >> 4), Some(4 | 6)) {
        return Err(NotUdp::NotIp);
    }
    let (slice, stopped) = LaxIpSlice::from_slice(data).map_err(|_| NotUdp::Malformed)?;
    if stopped.is_some() {
        return Err(NotUdp::Malformed);
    }
    let captured = slice.payload();
    if captured.ip_number != IpNumber::UDP {
        return Err(NotUdp::OtherProtocol);
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
    Ok(IpPacket { from, to, fragment, payload: captured.payload, len })
}

#[cfg(test)]
pub(super) mod tests {
    use etherparse::PacketBuilder;

    use super::*;
    use crate::time::KernelTime;

    pub(in crate::capture) fn frame(link: u16, data: &[u8]) -> Frame<'_> {
        Frame { stamp: KernelTime::from_nanos(0), link, mic: None, data }
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
            (228, v4),
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
        assert_eq!(decode(&frame(LINK_RAW, &tcp)), Err(NotUdp::OtherProtocol));
        assert_eq!(decode(&frame(LINK_ETHERNET, &arp)), Err(NotUdp::NotIp));
        assert_eq!(decode(&frame(LINK_ETHERNET, &arp[..13])), Err(NotUdp::Malformed));
        assert_eq!(decode(&frame(LINK_RAW, &udp_v4(b"x")[..10])), Err(NotUdp::Malformed));
        assert_eq!(decode(&frame(LINK_RAW, &[])), Err(NotUdp::NotIp));
        assert_eq!(decode(&frame(147, &[])), Err(NotUdp::UnknownLink(147)));
    }
}
