//! Bytes of a packet, bytes of a capture.

use micring::capture::{Datagrams, Writer};
use micring::engine::packet::{BadPayload, Packet, rms};
use micring::time::KernelTime;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::mutate::mutated;

proptest! {
    #![proptest_config(crate::mutate::config())]

    /// Contract section 2: empty or not a whole number of samples is malformed, longer than the limit truncated; whatever
    /// passes comes through bit for bit.
    #[test]
    fn packet(bytes in vec(any::<u8>(), 0..300), more in 0..3_usize, max in 0..300_usize) {
        let len = bytes.len() + more;
        match Packet::parse(&bytes, len, max) {
            Ok(packet) => {
                prop_assert!(more == 0 && len <= max && len > 0 && len % 4 == 0);
                prop_assert_eq!(packet.bytes(), &bytes[..]);
                prop_assert_eq!(packet.samples() as usize * 4, len);
                prop_assert!((0.0..=2_147_483_648.0).contains(&rms(packet.bytes())));
                prop_assert_eq!(packet.is_constant(), bytes.chunks(4).all(|sample| sample == &bytes[..4]));
            }
            Err(BadPayload::Truncated) => prop_assert!(len > max || more > 0),
            Err(BadPayload::Malformed) => prop_assert!(more == 0 && len <= max && (len == 0 || len % 4 != 0)),
        }
    }

    /// Any file: an answer for each record, an end, and no datagram longer than the file.
    #[test]
    fn capture(file in mutated(recordings(), WORDS)) {
        let Ok(mut datagrams) = Datagrams::new(&file[..]) else { return Ok(()) };
        let mut records = 0;
        while let Ok(Some(seen)) = datagrams.next_seen() {
            if let micring::capture::Seen::Datagram(datagram) = seen {
                prop_assert!(datagram.bytes.len() <= datagram.len && datagram.bytes.len() <= file.len());
            }
            records += 1;
            prop_assert!(records <= file.len() / 8, "a record has 8 bytes at least");
        }
        prop_assert!(datagrams.position() <= file.len() as u64);
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
];

/// One of our own, and classic pcap in both byte orders, Ethernet and raw IP, with a fragment.
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
    vec![own, classic(0xa1b2_3c4d, 101, false, &[]), classic(0xa1b2_c3d4, 1, true, &ethernet)]
}
