//! Census: what the frames of a capture were, for when they are not what one looks for.
//!
//! "Nothing for a microphone in it" helps nobody. That 300 frames were ARP, 200 TCP and 100 UDP to port 5004 does, and so does what to do next.
//! Kinds are counted up to a limit, and the rest together: memory does not depend on the capture.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Frame, NotUdp};

/// Kinds that are told apart.
const MOST_KINDS: usize = 64;
/// Kinds named in a sentence.
const NAMED: usize = 6;

/// How many of each kind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kinds {
    counts: BTreeMap<u16, u64>,
    /// Of more kinds than are told apart.
    pub others: u64,
}

impl Kinds {
    fn add(&mut self, kind: u16) {
        if self.counts.len() < MOST_KINDS || self.counts.contains_key(&kind) {
            *self.counts.entry(kind).or_default() += 1;
        } else {
            self.others += 1;
        }
    }

    fn absorb(&mut self, other: &Kinds) {
        self.others += other.others;
        for (kind, count) in &other.counts {
            if self.counts.len() < MOST_KINDS || self.counts.contains_key(kind) {
                *self.counts.entry(*kind).or_default() += count;
            } else {
                self.others += count;
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.counts.iter().map(|(kind, count)| (*kind, *count))
    }

    /// Most first.
    fn most(&self) -> Vec<(u16, u64)> {
        let mut most: Vec<_> = self.iter().collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        most.truncate(NAMED);
        most
    }
}

/// See the top of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Census {
    pub frames: u64,
    /// By link type, https://www.tcpdump.org/linktypes.html.
    pub links: Kinds,
    /// Frames that are not IP; 0 of IEEE 802.3 and where there is none.
    pub ether_types: Kinds,
    /// IP packets that are neither UDP nor a tunnel.
    pub protocols: Kinds,
    /// Whole datagrams, by the port they are sent to.
    pub udp_ports: Kinds,
    /// Frames that the capture cut off within their headers, and those that are broken there without that.
    pub cut_off: u64,
    pub broken: u64,
    pub unknown_link: u64,
    /// Datagrams of which a fragment is missing.
    pub incomplete: u64,
}

impl Census {
    pub(super) fn frame(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        self.links.add(frame.link);
    }

    pub(super) fn datagram(&mut self, port: u16) {
        self.udp_ports.add(port);
    }

    pub(super) fn passed_over(&mut self, why: NotUdp, frame: &Frame<'_>) {
        match why {
            NotUdp::UnknownLink(_) => self.unknown_link += 1,
            NotUdp::NotIp(ether_type) => self.ether_types.add(ether_type),
            NotUdp::OtherProtocol(protocol) => self.protocols.add(protocol.into()),
            NotUdp::Malformed if frame.data.len() < frame.len => self.cut_off += 1,
            NotUdp::Malformed => self.broken += 1,
        }
    }

    /// Those of another file as well.
    pub fn absorb(&mut self, other: &Census) {
        self.frames += other.frames;
        self.links.absorb(&other.links);
        self.ether_types.absorb(&other.ether_types);
        self.protocols.absorb(&other.protocols);
        self.udp_ports.absorb(&other.udp_ports);
        self.cut_off += other.cut_off;
        self.broken += other.broken;
        self.unknown_link += other.unknown_link;
        self.incomplete += other.incomplete;
    }

    /// In words: what the frames were.
    pub fn describe(&self) -> String {
        if self.frames == 0 {
            return "it holds no frame".to_owned();
        }
        let links: Vec<String> = self.links.most().iter().map(|(link, _)| link_name(*link)).collect();
        let mut out = format!("{} frames ({})", self.frames, links.join(", "));
        let mut parts = Vec::new();
        let ports: Vec<String> =
            self.udp_ports.most().iter().map(|(port, count)| format!("{port} ({count})")).collect();
        if !ports.is_empty() {
            parts.push(format!("UDP to port {}", ports.join(", ")));
        }
        parts.extend(
            self.protocols.most().iter().map(|(protocol, count)| format!("{count} {}", protocol_name(*protocol))),
        );
        parts.extend(self.ether_types.most().iter().map(|(kind, count)| format!("{count} {}", type_name(*kind))));
        for (count, what) in [
            (self.unknown_link, "of a link type that is not known here"),
            (self.cut_off, "cut off within their headers"),
            (self.broken, "broken within their headers"),
            (self.incomplete, "datagrams of which a fragment is missing"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        if !parts.is_empty() {
            write!(out, ": {}", parts.join(", ")).expect("a String takes everything");
        }
        out
    }

    /// What to do where none of them is for one of `ports`.
    pub fn next_step(&self, ports: &[u16]) -> String {
        let encrypted = self.protocols.iter().any(|(protocol, _)| protocol == 50);
        let of_the_air = self.links.iter().any(|(link, _)| [105, 119, 127, 163].contains(&link));
        let step = if self.udp_ports.iter().any(|(port, _)| !ports.contains(&port)) {
            "say which are the microphones' with --ports A,B,C"
        } else if self.incomplete > 0 {
            "a filter by port lets only first fragments through: capture with the filter `udp`, or by host"
        } else if self.cut_off > 0 {
            "capture more of each frame: tcpdump -s 96 or longer"
        } else if of_the_air {
            "frames of the air are encrypted: capture where the datagrams are received"
        } else if self.unknown_link > 0 {
            "capture on a network interface, or on `any`"
        } else if encrypted {
            "they are encrypted: capture behind the tunnel, on its own interface"
        } else {
            "capture where the microphones' datagrams are received: tcpdump -i any --nano -w FILE udp"
        };
        step.to_owned()
    }
}

fn link_name(link: u16) -> String {
    let name = match link {
        0 | 108 => "loopback",
        1 => "Ethernet",
        9 | 50 | 51 => "PPP",
        12 | 14 | 101 | 228 | 229 => "IP",
        104 => "Cisco HDLC",
        105 | 119 | 127 | 163 => "802.11",
        113 | 276 => "Linux cooked",
        189 | 220 | 249 => "USB",
        195 | 230 | 215 => "802.15.4",
        187 | 201 | 251 | 256 => "Bluetooth",
        239 => "NFLOG",
        253 => "netlink",
        _ => return format!("link type {link}"),
    };
    format!("{name}, link type {link}")
}

fn protocol_name(protocol: u16) -> String {
    let name = match protocol {
        1 => "ICMP",
        2 => "IGMP",
        6 => "TCP",
        47 => "GRE of a kind that is not known here",
        50 => "ESP",
        51 => "AH",
        58 => "ICMPv6",
        89 => "OSPF",
        103 => "PIM",
        112 => "VRRP",
        115 => "L2TP",
        132 => "SCTP",
        136 => "UDP-Lite",
        _ => return format!("of IP protocol {protocol}"),
    };
    format!("{name} (IP protocol {protocol})")
}

fn type_name(ether_type: u16) -> String {
    let name = match ether_type {
        0 => return "not IP (IEEE 802.3, or no type)".to_owned(),
        0x0806 => "ARP",
        0x8809 => "LACP",
        0x880b => "PPP, not IP",
        0x8847 | 0x8848 => "MPLS, not IP",
        0x8863 | 0x8864 => "PPPoE, not IP",
        0x888e => "EAPOL",
        0x88cc => "LLDP",
        0x88e5 => "MACsec, encrypted",
        0x88f7 => "PTP",
        0x22f0 => "AVTP",
        _ => return format!("of EtherType {ether_type:#06x}"),
    };
    format!("{name} (EtherType {ether_type:#06x})")
}
