//! Bytes of a packet, bytes of a capture.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use micring::capture::{Datagrams, Merge, Next, Seen, Source, Writer};
use micring::engine::intake::packet::{BadPayload, Packet, rms};
use micring::time::KernelTime;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::mutate::mutated;

proptest! {
    #![proptest_config(crate::mutate::config())]

    /// Contract section 2: empty or not a whole number of samples is malformed, longer than the limit truncated; whatever
    /// passes comes through bit for bit.
    #[test]
    fn packet(bytes in vec(any::<u8>(), 0..300), more in 0..3_usize, max in 0..300_usize, channels in 1..9_usize) {
        let len = bytes.len() + more;
        match Packet::parse(&bytes, len, max, channels) {
            Ok(packet) => {
                prop_assert!(more == 0 && len <= max && len > 0 && len % (4 * channels) == 0);
                prop_assert_eq!(packet.bytes(), &bytes[..]);
                prop_assert_eq!(packet.samples() as usize * 4 * channels, len);
                prop_assert!((0.0..=2_147_483_648.0).contains(&rms(packet.bytes())));
            }
            Err(BadPayload::Truncated) => prop_assert!(len > max || more > 0),
            Err(BadPayload::Malformed) => prop_assert!(more == 0 && len <= max && (len == 0 || len % (4 * channels) != 0)),
        }
    }

    /// Any file: an answer for each record, an end, and no datagram longer than the file.
    #[test]
    fn capture(file in mutated(recordings(), WORDS)) {
        let Ok(mut datagrams) = Datagrams::new(&file[..]) else { return Ok(()) };
        let mut records = 0;
        while let Ok(Some(seen)) = datagrams.next_seen() {
            if let Seen::Datagram(datagram) = seen {
                prop_assert!(datagram.bytes.len() <= datagram.len && datagram.bytes.len() <= file.len());
            }
            records += 1;
            prop_assert!(records <= file.len() / 8, "a record has 8 bytes at least");
        }
        prop_assert!(datagrams.position() <= file.len() as u64);
        let census = datagrams.census();
        prop_assert!(census.frames <= records as u64);
        prop_assert!(!census.describe().is_empty() && !census.next_step(&[1, 2, 3]).is_empty());
    }

    /// A packed one, with changes to what is packed or to the packing: an answer as well, and never more read than there is.
    #[test]
    fn gzipped(inside in mutated(recordings(), WORDS), packed in mutated(vec![gzip(&recordings()[0])], &[b"\x1f\x8b\x08"])) {
        for file in [gzip(&inside), [gzip(&inside[..inside.len() / 2]), gzip(&inside[inside.len() / 2..])].concat(), packed] {
            let Ok(mut datagrams) = Datagrams::new(&file[..]) else { continue };
            // Deflate packs 1032 to 1 at best.
            let most = file.len() * 1_032 / 8;
            let mut records = 0;
            while let Ok(Some(_)) = datagrams.next_seen() {
                records += 1;
                prop_assert!(records <= most);
            }
            prop_assert!(datagrams.position() <= file.len() as u64);
        }
    }

    /// Two files side by side: what each of them gives alone, once, and in its order.
    #[test]
    fn merged(files in vec(mutated(recordings(), WORDS), 1..4)) {
        let of = |seen: Seen<'_>| match seen {
            Seen::Datagram(d) => format!("{d:?}"),
            Seen::Statistics(s) => format!("{s:?}"),
            Seen::Nothing => String::new(),
        };
        let (mut merge, mut alone, mut together) = (Merge::default(), Vec::new(), Vec::new());
        for (id, file) in files.iter().enumerate() {
            alone.push(Vec::new());
            together.push(Vec::new());
            let Ok(mut datagrams) = Datagrams::new(&file[..]) else { continue };
            while let Ok(Some(seen)) = datagrams.next_seen() {
                alone[id].extend(Some(of(seen)).filter(|seen| !seen.is_empty()));
            }
            if let Ok(source) = Source::new(Datagrams::new(&file[..]).expect("it was begun once")) {
                merge.add(id, source);
            }
        }
        loop {
            match merge.next_record() {
                Next::Record(id) => together[id].push(of(merge.seen().expect("it was just found"))),
                Next::Ended(..) => {}
                Next::Empty => break,
            }
        }
        prop_assert_eq!(together, alone);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).expect("a Vec takes everything");
    packer.finish().expect("a Vec takes everything")
}

/// Each member of the corpus is read to a datagram, or the corpus is of no use: the last two of classic ones are one in two fragments.
#[test]
fn the_corpus_is_read() {
    for (i, file) in recordings().iter().enumerate() {
        let (mut datagrams, mut count) = (Datagrams::new(&file[..]).unwrap(), 0);
        while let Some(seen) = datagrams.next_seen().unwrap() {
            count += usize::from(matches!(seen, Seen::Datagram(d) if d.to.port() > 30_000));
        }
        assert_eq!(count, if i == 0 { 6 } else { 3 }, "member {i}: {}", datagrams.census().describe());
    }
}

/// Magic numbers of both formats, block types, options.
const WORDS: &[&[u8]] = &[
    b"\x0a\x0d\x0d\x0a",
    b"\x1a\x2b\x3c\x4d",
    b"\x4d\x3c\x2b\x1a",
    b"\x01\0\0\0",
    b"\x05\0\0\0",
    b"\x06\0\0\0",
    b"\x03\0\0\0",
    b"\x09\0\x01\0\x09\0\0\0",
    b"\x09\0\x01\0\xff\0\0\0",
    b"\x0e\0\x08\0",
    b"\xff\xff\xff\xff",
    b"\x45\0\x08\x1c\0\x01\x20\0\x40\x11",
    b"\x60\0\0\0\0\x10\x11\x40",
    // Tunnels: the ports of VXLAN and Geneve with a length, GRE's flags and types, PPPoE, MPLS.
    b"\x12\xb5\0\x40\0\0\x08\0\0\0\0\0\x2a\0",
    b"\x17\xc1\0\x40\0\0\x01\0\x65\x58",
    b"\xb0\0\x65\x58",
    b"\x10\0\x88\xbe",
    b"\x10\0\x22\xeb",
    b"\x88\x64\x11\0\0\x01\0\x2e\0\x21",
    b"\x88\x47\0\x01\x01\x40",
    b"\x81\0\0\x07",
];

/// One of our own, and classic pcap in both byte orders, Ethernet and raw IP, with a fragment; and in each tunnel.
fn recordings() -> Vec<Vec<u8>> {
    let mut own = Vec::new();
    let writer = Writer::new(None);
    writer.begin(
        &mut own,
        ["0.0.0.0:30001", "0.0.0.0:30002", "[::]:30003"].map(|mic| mic.parse().unwrap()),
        "micring",
        "6.1",
    );
    for n in 0..6_u8 {
        let (from, to) =
            if n % 2 == 0 { ("192.0.2.1:9", "192.0.2.2:30001") } else { ("[2001:db8::1]:9", "[::1]:30003") };
        let stamp = KernelTime::from_nanos(1_795_341_900_000_000_000 + i64::from(n) * 10_666_667);
        let payload = vec![n; usize::from(n) * 12];
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        writer.datagram(&mut own, usize::from(n % 3), stamp, from, to, &payload, payload.len());
    }
    let classic = |magic: u32, link: u32, big: bool, prefix: &[u8]| {
        let word = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
        let version = if big { 0x0002_0004 } else { 0x0004_0002 };
        let mut file = [magic, version, 0, 0, 65_535, link].map(word).concat();
        for n in 0..4_u8 {
            // Fields of RFC 791; the last two packets are one datagram in two fragments.
            let (flags, id) = match n {
                2 => ([0x20, 0], 7),
                3 => ([0, 3], 7),
                _ => ([0, 0], n),
            };
            let mut packet = prefix.to_vec();
            packet.extend([0x45, 0, 0, 44, 0, id, flags[0], flags[1], 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
            packet.extend([0, 9, 0x75, 0x31, 0, if n == 2 { 48 } else { 24 }, 0, 0]);
            packet.extend([n; 16]);
            file.extend(
                [1_795_341_900, 500 * u32::from(n), packet.len() as u32, packet.len() as u32].map(word).concat(),
            );
            file.extend(packet);
        }
        file
    };
    let ethernet = [[2; 6], [4; 6]].concat().into_iter().chain([8, 0]).collect::<Vec<u8>>();
    let in_ip = |protocol: u8, inside: &[u8]| {
        let length = 20 + inside.len() as u8 + 44;
        [&ethernet[..], &[0x45, 0, 0, length, 0, 1, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 3, 192, 0, 2, 4], inside]
            .concat()
    };
    let in_udp = |port: [u8; 2], inside: &[u8]| {
        let length = 8 + inside.len() as u8 + 44;
        in_ip(17, &[&[0, 9, port[0], port[1], 0, length, 0, 0], inside].concat())
    };
    let addresses = &ethernet[..12];
    let tunnels = [
        in_udp([0x12, 0xb5], &[&[8, 0, 0, 0, 0, 0, 42, 0], &ethernet[..]].concat()),
        in_udp([0x17, 0xc1], &[&[1, 0, 0x65, 0x58, 0, 0, 42, 0, 9, 9, 9, 9], &ethernet[..]].concat()),
        in_ip(47, &[0xb0, 0, 8, 0, 1, 2, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9]),
        in_ip(47, &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 1, 0, 0, 0, 0], &ethernet[..]].concat()),
        in_ip(47, &[&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], &ethernet[..]].concat()),
        in_ip(4, &[]),
        [addresses, &[0x88, 0x64, 0x11, 0, 0, 1, 0, 46, 0, 0x21]].concat(),
        [addresses, &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64]].concat(),
    ];
    let through = tunnels.iter().map(|prefix| classic(0xa1b2_3c4d, 1, false, prefix));
    [own, classic(0xa1b2_3c4d, 101, false, &[]), classic(0xa1b2_c3d4, 1, true, &ethernet)]
        .into_iter()
        .chain(through)
        .collect()
}
