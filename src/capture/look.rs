//! What a file that is no capture may be instead: a capture that is packed, or of another program, is often named like ours.

/// What a file that is no capture looks like, and the next step.
pub(super) fn look(bytes: &[u8]) -> &'static str {
    const UNPACK: [(&[u8], &str); 5] = [
        (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it first (zstd -dc FILE | micring analyze -)"),
        (b"\xfd7zXZ", "packed with xz: unpack it first (xz -dc FILE | micring analyze -)"),
        (b"BZh", "packed with bzip2: unpack it first (bzip2 -dc FILE | micring analyze -)"),
        (b"\x04\x22\x4d\x18", "packed with lz4: unpack it first (lz4 -dc FILE | micring analyze -)"),
        (b"PK\x03\x04", "a zip archive: unpack it first"),
    ];
    const CONVERT: [(&[u8], &str); 7] = [
        (b"snoop\0\0\0", "a capture by snoop: convert it with editcap -F pcapng FILE NEW"),
        (b"\xa1\xb2\xcd\x34", "pcap of a patched libpcap: convert it with editcap -F pcapng FILE NEW"),
        (b"\x34\xcd\xb2\xa1", "pcap of a patched libpcap: convert it with editcap -F pcapng FILE NEW"),
        (b"GMBU", "a capture by Network Monitor: convert it with editcap -F pcapng FILE NEW"),
        (b"RTSS", "a capture by Network Monitor: convert it with editcap -F pcapng FILE NEW"),
        (b"RIFF", "WAV or another sound file: a recording of datagrams is needed"),
        (b"fLaC", "a sound file: a recording of datagrams is needed"),
    ];
    let known = UNPACK.iter().chain(&CONVERT).find(|(magic, _)| bytes.starts_with(magic));
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    match known {
        Some((_, what)) => what,
        None if bytes.is_empty() => "it is empty",
        None if bytes.iter().take(64).all(is_text) => "it is text: let tcpdump write the frames with -w FILE",
        None => "Wireshark may know it: editcap -F pcapng FILE NEW converts what it can read",
    }
}
