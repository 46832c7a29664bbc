//! Tunnels: the packet inside of GRE, VXLAN and Geneve.
//!
//! Where machines are virtual, or a switch mirrors its ports to another host, what a capture shows is wrapped: the datagram that the microphone
//! sent is inside of another. Each header here is a few fixed bytes in front of an Ethernet frame or an IP packet.

use super::frames::{self, IpPacket, NotUdp, TYPE_ETHERNET, TYPE_PPP, after, be16};

/// RFC 7348, and where Linux had VXLAN before; RFC 8926.
const VXLAN_PORTS: [u16; 2] = [4_789, 8_472];
const GENEVE_PORT: u16 = 6_081;

/// draft-foschiano-erspan: types I and II, and III.
const TYPE_ERSPAN: u16 = 0x88be;
const TYPE_ERSPAN_III: u16 = 0x22eb;

/// What a datagram to this port carries, if that is a tunnel's port and looks like it.
pub(super) fn in_udp(port: u16, payload: &[u8]) -> Option<Result<IpPacket<'_>, NotUdp>> {
    let inside = match port {
        // Flags, of which one must be set, reserved, network, reserved.
        port if VXLAN_PORTS.contains(&port) && payload.first()? & 0x08 != 0 => {
            after(payload, 8).and_then(frames::ethernet)
        }
        // Version 0 and the length of the options in words, flags, EtherType, network, reserved.
        GENEVE_PORT if payload.first()? >> 6 == 0 => {
            let options = 4 * usize::from(payload[0] & 0x3f);
            be16(payload, 2).and_then(|kind| of_type(kind, after(payload, 8 + options)?))
        }
        _ => return None,
    };
    // Another program's datagrams may come to this port, too.
    (inside != Err(NotUdp::Malformed)).then_some(inside)
}

/// RFC 2784 and 2890: flags and version, EtherType, then as the flags say checksum, key, sequence number. The enhanced one of RFC 2637 has
/// an acknowledgement as well.
pub(super) fn gre(payload: &[u8]) -> Result<IpPacket<'_>, NotUdp> {
    let (flags, kind) = (be16(payload, 0)?, be16(payload, 2)?);
    let [checksum, routing, key, sequence, acknowledgement] =
        [0x8000, 0x4000, 0x2000, 0x1000, 0x0080].map(|bit| flags & bit != 0);
    let version = flags & 7;
    if routing || version > 1 {
        return Err(NotUdp::OtherProtocol(frames::PROTOCOL_GRE));
    }
    let fields = [checksum, key, sequence, acknowledgement && version == 1];
    let data = after(payload, 4 + 4 * fields.into_iter().filter(|there| *there).count())?;
    match kind {
        // Type I has no header of its own, and no sequence number.
        TYPE_ERSPAN => frames::ethernet(after(data, if sequence { 8 } else { 0 })?),
        // Its last bit says whether a subheader of eight bytes follows.
        TYPE_ERSPAN_III => {
            let subheader = data.get(11).ok_or(NotUdp::Malformed)? & 1 == 1;
            frames::ethernet(after(data, if subheader { 20 } else { 12 })?)
        }
        kind => of_type(kind, data),
    }
}

fn of_type(kind: u16, data: &[u8]) -> Result<IpPacket<'_>, NotUdp> {
    match kind {
        TYPE_ETHERNET => frames::ethernet(data),
        TYPE_PPP => frames::ppp(data),
        kind => frames::of_type(kind, data),
    }
}
