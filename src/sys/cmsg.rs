//! The control messages beside a datagram: when the kernel received it, and how many it dropped before.
//!
//! A missing timestamp is `None`, never a clock read here: a user-space time in its place would hide our own delay.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::time::KernelTime;

/// What stood in the control area of one datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Control {
    /// SCM_TIMESTAMPNS (socket(7)): CLOCK_REALTIME when the datagram, or its last fragment, was received.
    pub stamp: Option<KernelTime>,
    /// SO_RXQ_OVFL: datagrams that this socket dropped so far, modulo 2^32; absent until the first drop.
    pub dropped: Option<u32>,
}

const HEADER: usize = size_of::<libc::cmsghdr>();

/// Reads a control area; unknown messages are passed over, a malformed length ends the walk.
///
/// Layout (cmsg(3)): a header of `len` (8 bytes), `level` and `type` (4 each), then the data; each message starts at a
/// multiple of 8 bytes.
pub fn parse(mut area: &[u8]) -> Control {
    let mut control = Control::default();
    while area.len() >= HEADER {
        let len = usize::from_ne_bytes(area[..8].try_into().expect("8 bytes"));
        let level = i32::from_ne_bytes(area[8..12].try_into().expect("4 bytes"));
        let kind = i32::from_ne_bytes(area[12..16].try_into().expect("4 bytes"));
        if len < HEADER || len > area.len() {
            break;
        }
        let data = &area[HEADER..len];
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) if data.len() >= 16 => {
                let seconds = i64::from_ne_bytes(data[..8].try_into().expect("8 bytes"));
                let nanos = i64::from_ne_bytes(data[8..16].try_into().expect("8 bytes"));
                control.stamp = Some(KernelTime::from_nanos(seconds * 1_000_000_000 + nanos));
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) if data.len() >= 4 => {
                control.dropped = Some(u32::from_ne_bytes(data[..4].try_into().expect("4 bytes")));
            }
            _ => {}
        }
        area = area.get(len.next_multiple_of(8)..).unwrap_or(&[]);
    }
    control
}

/// Reads a `sockaddr_in` or `sockaddr_in6` as recvmsg fills it; a v4-mapped IPv6 address becomes the IPv4 one, so that
/// a sender is the same on a dual-stack socket.
pub fn parse_address(name: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(name.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    let ip = match family {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(name.get(4..8)?).ok()?)),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(name.get(8..24)?).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((HEADER + data.len()).to_ne_bytes());
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn a_timestamp_and_a_drop_count_are_read_in_either_order() {
        let mut time = 1_795_345_500_i64.to_ne_bytes().to_vec();
        time.extend(123_456_789_i64.to_ne_bytes());
        let stamp = message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &time);
        let drops = message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &7_u32.to_ne_bytes());
        let want = Control { stamp: Some(KernelTime::from_nanos(1_795_345_500_123_456_789)), dropped: Some(7) };
        assert_eq!(parse(&[stamp.clone(), drops.clone()].concat()), want);
        assert_eq!(parse(&[drops, message(41, 50, b"other"), stamp].concat()), want);
    }

    #[test]
    fn nothing_is_made_up_when_nothing_stands_there() {
        assert_eq!(parse(&[]), Control::default());
        assert_eq!(parse(&[0; 64]), Control::default());
        assert_eq!(parse(&message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &[1; 8])), Control::default());
        let mut cut = message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &[1; 16]);
        cut.truncate(24);
        assert_eq!(parse(&cut), Control::default());
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_sender_it_stands_for() {
        let mut v4 = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        v4.extend([0x75, 0x31, 192, 0, 2, 7]);
        assert_eq!(parse_address(&v4), Some("192.0.2.7:30001".parse().unwrap()));
        let mut v6 = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
        v6.extend([0x75, 0x31, 0, 0, 0, 0]);
        v6.extend(Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets());
        assert_eq!(parse_address(&v6), Some("192.0.2.7:30001".parse().unwrap()));
        assert_eq!(parse_address(&[]), None);
        assert_eq!(parse_address(&[0; 16]), None);
    }
}
