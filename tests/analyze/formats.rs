//! What captures come as: packed, through tunnels; and what is said of those that hold nothing for us.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::frames::{Stamped, ethernet, gzip, ipv4, pcap, session, udp};
use crate::skipped::skipped;
use crate::support::{Scratch, analyze, json};

fn found(args: &[&str]) -> Value {
    let mut seen = json(&analyze(&[&["--json"], args].concat()));
    seen.as_object_mut().unwrap().remove("recording");
    seen
}

fn complaint(args: &[&str]) -> String {
    let output = analyze(args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    errors
}

#[test]
fn a_gzipped_capture_is_read_also_from_a_pipe_and_of_several_members() {
    let scratch = Scratch::new("gzip");
    let plain = pcap(101, &session(600));
    let whole = found(&[&scratch.file("a.pcap", &plain)]);
    assert_eq!(whole["cycles"]["complete"], 600);
    let (first, second) = plain.split_at(plain.len() / 3);
    let members = [gzip(first), gzip(b""), gzip(second)].concat();
    // Padding to a whole block, as tapes and some tools leave it.
    let padded = [&gzip(&plain)[..], &[0; 512]].concat();
    for (name, bytes) in [("a.pcap.gz", gzip(&plain)), ("no-ending", members), ("padded.gz", padded)] {
        assert_eq!(found(&[&scratch.file(name, &bytes)]), whole, "{name}");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_micring"))
        .args(["analyze", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("micring starts");
    let mut input = child.stdin.take().unwrap();
    let packed = gzip(&plain);
    // A pipe that gives a byte at first.
    let writer = std::thread::spawn(move || {
        for part in [&packed[..1], &packed[1..]] {
            // One that refuses the file has closed it.
            let _ = input.write_all(part);
            let _ = input.flush();
        }
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(json(&output)["cycles"], whole["cycles"]);
}

#[test]
fn a_gzip_that_is_cut_off_is_told_and_read_up_to_there() {
    let scratch = Scratch::new("gzip-cut");
    let frames = session(600);
    // Cut inside a record, and between two: the gzip file is cut off in both.
    let plain = pcap(101, &frames);
    let packed = gzip(&plain);
    let whole_records = gzip(&pcap(101, &frames[..900]));
    for (name, bytes) in [("half", &packed[..packed.len() / 2]), ("trailer", &whole_records[..whole_records.len() - 8])]
    {
        let output = analyze(&["--json", &scratch.file(name, bytes)]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains("gzip file is cut off"), "{name}: {errors}");
        let received = json(&output)["packet_stats"]["packets_received"][0].as_u64().unwrap();
        assert!((200..=400).contains(&received), "{name}: {received}");
    }
    let mut broken = packed.clone();
    broken[packed.len() / 2..packed.len() / 2 + 64].fill(0xff);
    let errors = complaint(&[&scratch.file("broken.gz", &broken)]);
    assert!(errors.contains("at byte"), "{errors}");
}

type Around = fn(&[u8]) -> Vec<u8>;

/// Headers by their RFCs, around an IP packet.
fn tunnels() -> Vec<(&'static str, Around)> {
    fn ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
        ethernet(0x0800, &ipv4(protocol, 1, 0, payload))
    }
    vec![
        // RFC 7348 section 5, and the port that Linux used before it had one.
        ("VXLAN", |p| ip(17, &udp(4_789, &[&[8, 0, 0, 0, 0, 0, 42, 0], &ethernet(0x0800, p)[..]].concat()))),
        ("VXLAN at 8472", |p| ip(17, &udp(8_472, &[&[8, 0, 0, 0, 0, 0, 42, 0], &ethernet(0x0800, p)[..]].concat()))),
        // RFC 8926 3.4: four bytes of options.
        ("Geneve", |p| {
            ip(17, &udp(6_081, &[&[1, 0, 0x65, 0x58, 0, 0, 42, 0, 9, 9, 9, 9], &ethernet(0x0800, p)[..]].concat()))
        }),
        // RFC 2784, RFC 2890: bare, and with checksum, key and sequence number.
        ("GRE", |p| ip(47, &[&[0, 0, 8, 0], p].concat())),
        ("GRE, all fields", |p| ip(47, &[&[0xb0, 0, 8, 0, 1, 2, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9], p].concat())),
        ("GRE of Ethernet", |p| ip(47, &[&[0, 0, 0x65, 0x58], &ethernet(0x0800, p)[..]].concat())),
        // draft-foschiano-erspan: types I, II, III.
        ("ERSPAN I", |p| ip(47, &[&[0, 0, 0x88, 0xbe], &ethernet(0x0800, p)[..]].concat())),
        ("ERSPAN II", |p| {
            ip(47, &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 1, 0, 0, 0, 0], &ethernet(0x0800, p)[..]].concat())
        }),
        ("ERSPAN III", |p| {
            let header = [0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            ip(47, &[&header, &ethernet(0x0800, p)[..]].concat())
        }),
        // RFC 2516 section 4, with padding; on an interface behind the modem the frame has a VLAN tag, too.
        ("PPPoE", |p| {
            let length = (p.len() as u16 + 2).to_be_bytes();
            ethernet(0x8864, &[&[0x11, 0, 0, 1, length[0], length[1], 0, 0x21], p, &[0; 9]].concat())
        }),
        ("PPPoE in a VLAN", |p| {
            let length = (p.len() as u16 + 2).to_be_bytes();
            ethernet(0x8100, &[&[0, 7, 0x88, 0x64, 0x11, 0, 0, 1, length[0], length[1], 0, 0x21], p].concat())
        }),
        // RFC 2003; RFC 3032: two labels, the second with the bottom of the stack.
        ("IP in IP", |p| ip(4, p)),
        ("MPLS", |p| ethernet(0x8847, &[&[0, 1, 0, 64, 0, 2, 1, 64], p].concat())),
        ("GRE in VXLAN", |p| {
            let inner = ip(47, &[&[0, 0, 8, 0], p].concat());
            ip(17, &udp(4_789, &[&[8, 0, 0, 0, 0, 0, 42, 0], &inner[..]].concat()))
        }),
    ]
}

#[test]
fn tunnels_are_seen_through() {
    let scratch = Scratch::new("tunnels");
    let bare = session(300);
    let whole = found(&[&scratch.file("bare.pcap", &pcap(101, &bare))]);
    assert_eq!(whole["cycles"]["complete"], 300);
    for (name, around) in tunnels() {
        let frames: Vec<Stamped> = bare.iter().map(|(ns, packet)| (*ns, around(packet))).collect();
        assert_eq!(found(&[&scratch.file("tunnel.pcap", &pcap(1, &frames))]), whole, "{name}");
    }
}

/// The headers above are what they are called, says a second opinion: tshark finds the same datagram in each.
#[test]
fn tshark_sees_the_same_datagrams_in_the_tunnels() {
    if Command::new("tshark").arg("--version").output().is_err() {
        return skipped("tshark", "it is not installed");
    }
    let scratch = Scratch::new("tshark-tunnels");
    let (session, tunnels) = (session(1), tunnels());
    let frames: Vec<Stamped> =
        tunnels.iter().flat_map(|(_, around)| session.iter().map(|(ns, packet)| (*ns, around(packet)))).collect();
    let output = Command::new("tshark")
        .args(["-n", "-d", "udp.port==8472,vxlan", "-T", "fields", "-E", "occurrence=l"])
        .args(["-e", "udp.dstport", "-e", "udp.length", "-r", &scratch.file("tunnels.pcap", &pcap(1, &frames))])
        .output()
        .expect("tshark starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen: Vec<&str> = seen.lines().collect();
    assert_eq!(seen.len(), 3 * tunnels.len());
    for ((name, _), seen) in tunnels.iter().zip(seen.chunks(3)) {
        assert_eq!(seen, ["30001\t1448", "30002\t1448", "30003\t1448"], "{name}");
    }
}

/// 1440 bytes and three pairs of headers are more than 1500: the outer packet travels in two fragments, 50 us apart, and is there with the second.
#[test]
fn a_tunnel_whose_packets_are_fragments_is_put_together_first() {
    let scratch = Scratch::new("tunnel-fragments");
    let bare = session(300);
    let whole = found(&[&scratch.file("bare.pcap", &pcap(101, &bare))]);
    let mut frames: Vec<Stamped> = Vec::new();
    for (id, (ns, packet)) in bare.iter().enumerate() {
        let datagram = udp(4_789, &[&[8, 0, 0, 0, 0, 0, 42, 0], &ethernet(0x0800, packet)[..]].concat());
        let (first, second) = datagram.split_at(1_480);
        frames.push((ns - 50_000, ethernet(0x0800, &ipv4(17, id as u16, 0x2000, first))));
        frames.push((*ns, ethernet(0x0800, &ipv4(17, id as u16, 185, second))));
    }
    frames.sort_by_key(|(ns, _)| *ns);
    assert_eq!(found(&[&scratch.file("tunnel.pcap", &pcap(1, &frames))]), whole);
}

#[test]
fn a_tunnels_port_that_is_a_microphones_is_not_opened() {
    let scratch = Scratch::new("own-port");
    let frames: Vec<Stamped> = session(300)
        .into_iter()
        .map(|(ns, mut packet)| {
            if packet[22..24] == 30_001u16.to_be_bytes() {
                packet[22..24].copy_from_slice(&4_789u16.to_be_bytes());
            }
            (ns, packet)
        })
        .collect();
    let file = scratch.file("a.pcap", &pcap(101, &frames));
    assert_eq!(found(&["--ports", "4789,30002,30003", &file])["cycles"]["complete"], 300);
}

#[test]
fn what_the_frames_were_is_said_where_there_is_nothing_for_us() {
    let scratch = Scratch::new("nothing");
    let at = |n: i64| crate::frames::START + n * 1_000_000;
    let frames = |count: i64, frame: &[u8]| (0..count).map(|n| (at(n), frame.to_vec())).collect::<Vec<Stamped>>();
    let tcp = ethernet(0x0800, &ipv4(6, 1, 0, &[0; 20]));
    let arp = ethernet(0x0806, &[0; 28]);
    let mixed = [frames(5, &arp), frames(7, &tcp), frames(3, &ethernet(0x0800, &ipv4(17, 1, 0, &udp(5_004, &[1; 8]))))]
        .concat();
    let first_fragments = frames(9, &ethernet(0x0800, &ipv4(17, 1, 0x2000, &udp(30_001, &[1; 1_472]))));
    let first_fragments: Vec<Stamped> = first_fragments
        .into_iter()
        .zip(1u8..)
        .map(|((ns, mut frame), id)| {
            frame[19] = id;
            (ns, frame)
        })
        .collect();
    // RFC 768 inside a frame of which 30 bytes were kept.
    let mut cut = pcap(1, &frames(4, &tcp[..30]));
    for frame in 0..4 {
        cut[24 + frame * 46 + 12..][..4].copy_from_slice(&1_500u32.to_le_bytes());
    }
    let cases: [(&str, Vec<u8>, &[&str]); 7] = [
        (
            "mixed",
            pcap(1, &mixed),
            &["15 frames", "Ethernet", "5 ARP", "0x0806", "7 TCP", "IP protocol 6", "5004 (3)", "--ports A,B,C"],
        ),
        ("no frame", pcap(1, &[]), &["no frame"]),
        (
            "encrypted",
            pcap(1, &frames(6, &ethernet(0x0800, &ipv4(50, 1, 0, &[0; 40])))),
            &["6 ESP", "IP protocol 50", "encrypted"],
        ),
        ("air", pcap(127, &frames(8, &[0; 60])), &["8 frames", "802.11", "link type 127", "receive"]),
        ("unknown", pcap(147, &frames(2, &[0; 60])), &["2 frames", "link type 147"]),
        ("cut", cut, &["4 cut off", "-s"]),
        ("first fragments", pcap(1, &first_fragments), &["9", "fragment", "filter"]),
    ];
    for (name, bytes, says) in cases {
        let errors = complaint(&[&scratch.file("a.pcap", &bytes)]);
        for words in says {
            assert!(errors.contains(words), "{name}: {words:?} in: {errors}");
        }
    }
    // Beside files that do hold some, it is a word on standard error; so it is where one microphone has none.
    let good = session(300);
    let of_two: Vec<Stamped> = good.into_iter().filter(|(_, packet)| packet[23] != 0x33).collect();
    let files = [scratch.file("good.pcap", &pcap(101, &of_two)), scratch.file("arp.pcap", &pcap(1, &frames(5, &arp)))];
    let output = analyze(&["--json", &files[0], &files[1]]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("arp.pcap: no datagram for a microphone") && errors.contains("5 ARP"), "{errors}");
    assert!(errors.contains("no datagram for mic 2") && errors.contains("30001 (300)"), "{errors}");
    let seen = json(&output);
    assert_eq!(
        seen["recording"]["files"][0]["frames"]["udp_ports"]["30002"]
            .as_u64()
            .or(seen["recording"]["files"][1]["frames"]["udp_ports"]["30002"].as_u64()),
        Some(300)
    );
}

#[test]
fn a_file_that_is_no_capture_is_named_with_the_next_step() {
    let scratch = Scratch::new("refused");
    let cases: [(&str, &[u8], &[&str]); 9] = [
        ("empty", b"", &["it is empty"]),
        ("zstd", b"\x28\xb5\x2f\xfd\x04\x00", &["zstd", "unpack"]),
        ("xz", b"\xfd7zXZ\0\0\x04", &["xz", "unpack"]),
        ("bzip2", b"BZh91AY&SY", &["bzip2", "unpack"]),
        ("zip", b"PK\x03\x04\x14\0", &["zip", "unpack"]),
        ("snoop", b"snoop\0\0\0\0\0\0\x02", &["snoop", "editcap -F pcapng"]),
        ("patched", b"\x34\xcd\xb2\xa1\x02\0\x04\0", &["pcap", "editcap -F pcapng"]),
        ("wav", b"RIFF\0\0\0\0WAVEfmt ", &["WAV"]),
        ("text", b"12:00:01.5 IP 10.0.0.1.9 > 10.0.0.2.30001: UDP, length 2048\n", &["text", "-w"]),
    ];
    for (name, bytes, says) in cases {
        let errors = complaint(&[&scratch.file(name, bytes)]);
        for words in [&["neither a pcapng nor a pcap file"], says].concat() {
            assert!(errors.contains(words), "{name}: {words:?} in: {errors}");
        }
    }
}
