//! RTP out: as the RFCs read it, as ffmpeg and GStreamer do, and where nobody listens.

use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::pcm::listen;
use crate::rig::{PATIENCE, Serve, index};
use crate::skipped::skipped;

/// A packet as RFC 3550, 5.1 draws it.
struct Packet {
    marker: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    payload: Vec<u8>,
}

fn parse(bytes: &[u8]) -> Packet {
    assert!(bytes.len() <= 1280 && bytes[0] == 0x80 && bytes[1] & 0x7f == 96, "{:x?}", &bytes[..12]);
    let u32_at = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    Packet {
        marker: bytes[1] & 0x80 != 0,
        sequence: u16::from_be_bytes([bytes[2], bytes[3]]),
        timestamp: u32_at(4),
        ssrc: u32_at(8),
        payload: bytes[12..].to_vec(),
    }
}

fn receiver() -> UdpSocket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_recv_buffer_size(8 << 20).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let socket: UdpSocket = socket.into();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    socket
}

/// A port that is free, and the one behind it, which receivers take for RTCP.
fn free_ports() -> u16 {
    (0..1000)
        .find_map(|_| {
            let one = UdpSocket::bind("127.0.0.1:0").ok()?;
            let port = one.local_addr().ok()?.port();
            (port % 2 == 0 && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok()).then_some(port)
        })
        .expect("two ports are free")
}

#[test]
fn timestamps_are_positions_and_gaps_are_jumps() {
    let socket = receiver();
    let serve = Serve::start(&["--rtp-out", &socket.local_addr().unwrap().to_string()]);
    let reader = thread::spawn(move || {
        let mut packets = Vec::new();
        let mut bytes = [0; 2048];
        // Until nothing came for a while; the senders take a moment to begin.
        let begin = Instant::now();
        loop {
            match socket.recv(&mut bytes) {
                Ok(n) => packets.push(parse(&bytes[..n])),
                Err(_) if packets.is_empty() && begin.elapsed() < PATIENCE => {}
                Err(_) => return packets,
            }
        }
    });
    let sent = serve.simulate(&["--cycles", "700", "--loss", "0.02", "--seed", "3", "--drop-cycles", "5@4s"]);
    let packets = reader.join().unwrap();
    let offset =
        i64::from(u32::from_be_bytes([0, packets[0].payload[0], packets[0].payload[1], packets[0].payload[2]]));
    assert_eq!(offset >> 16, 0x10, "mic 0, near its first sample");
    let (mut zeros, mut frames, mut jumps) = (0, 0, Vec::new());
    for two in packets.windows(2) {
        assert_eq!((two[1].sequence, two[1].ssrc), (two[0].sequence.wrapping_add(1), two[0].ssrc), "none is missing");
        let jump = two[1].timestamp.wrapping_sub(two[0].timestamp) - two[0].payload.len() as u32 / 9;
        assert_eq!(two[1].marker, jump != 0, "the marker stands behind each gap");
        jumps.extend((jump != 0).then_some(jump));
    }
    for packet in &packets {
        for (n, frame) in packet.payload.chunks_exact(9).enumerate() {
            let position = i64::from(packet.timestamp) + n as i64;
            frames += 1;
            for (mic, three) in frame.chunks_exact(3).enumerate() {
                let sample = i32::from_be_bytes([three[0], three[1], three[2], 0]);
                // Of 32 bits 24: half of what is left off rounds up.
                let want = (index(mic, position).saturating_add(0x80)) & !0xff;
                zeros += u64::from(sample == 0);
                assert!(sample == 0 || sample == want, "{position}, mic {mic}: {sample:#x} is not {want:#x}");
            }
        }
    }
    assert_eq!(jumps, [5 * 512], "the whole cycles that were lost");
    let withheld: u64 = (0..3).map(|mic| sent["mics"][mic]["withheld"].as_u64().unwrap()).sum();
    assert_eq!(zeros, (withheld - 3 * 5) * 512, "what one microphone alone lost is zeros");
    // But for what is less than a packet at the end.
    assert!((695 * 512 - 135..=695 * 512).contains(&frames), "{frames}");
    let told = &serve.json("/api/arrays")["arrays"][0]["rtp"];
    assert_eq!((&told["format"], &told["sent"]["packets"]), (&"L24".into(), &packets.len().into()), "{told}");
    assert_eq!((&told["sent"]["refused"], &told["sent"]["dropped"]), (&0.into(), &0.into()), "{told}");
}

/// Until somebody has bound a port: before that, packets are refused.
fn listened_to(port: u16) {
    let give_up = Instant::now() + PATIENCE;
    let local = format!(":{port:04X} ");
    let bound = || {
        ["udp", "udp6"]
            .iter()
            .any(|name| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap().contains(&local))
    };
    while !bound() {
        assert!(Instant::now() < give_up, "port {port} is bound");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Everything that a listener of HTTP got, until it is asked for.
fn gather(mut stream: TcpStream) -> impl FnOnce() -> Vec<u8> {
    let (stop, stopped) = mpsc::channel::<()>();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        let mut bytes = [0; 65_536];
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let n = stream.read(&mut bytes).unwrap_or(0);
            all.extend_from_slice(&bytes[..n]);
        }
        all
    });
    move || {
        drop(stop);
        reader.join().unwrap()
    }
}

/// What a program makes of the stream that an SDP file describes stands, without a break, in what HTTP gave; both of three channels
/// of s24be. `program`: is given the file's name, and writes to standard output.
fn hears_what_was_sent(port: u16, encoding: &str, format: &str, program: impl FnOnce(&str) -> Command) {
    let to = format!("127.0.0.1:{port}");
    let serve = Serve::start(&["--rtp-out", &to, "--rtp-format", encoding]);
    let file = std::env::temp_dir().join(format!("micring-{}-{port}.sdp", std::process::id()));
    std::fs::write(&file, serve.get("/api/arrays/default/stream.sdp").body).unwrap();
    let whole = gather(listen(&serve, &format!("/api/stream.pcm?format={format}")));
    let mut child: Child =
        program(file.to_str().unwrap()).stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("it is installed");
    listened_to(port);
    let mut sender =
        serve.simulator(&["--signal", "noise", "--duration", "120s"]).stdout(Stdio::null()).spawn().unwrap();
    // Four seconds of its output.
    let frame = if format == "s24be" { 9 } else { 6 };
    let mut heard = vec![0; 4 * 48_000 * frame];
    let result = child.stdout.take().unwrap().read_exact(&mut heard);
    let _ = child.kill();
    child.wait().unwrap();
    let whole = whole();
    sender.kill().unwrap();
    sender.wait().unwrap();
    std::fs::remove_file(file).unwrap();
    result.expect("it hears the stream");
    let begin = whole.chunks_exact(frame).position(|there| *there == heard[..frame]).expect("its first frame was sent");
    let sent = &whole[begin * frame..];
    let same = heard.chunks_exact(frame).zip(sent.chunks_exact(frame)).take_while(|(a, b)| a == b).count();
    assert_eq!(same, heard.len() / frame, "frames are those that were sent");
}

#[test]
fn ffmpeg_hears_what_was_sent() {
    for (encoding, format) in [("L24", "s24be"), ("L16", "s16be")] {
        hears_what_was_sent(free_ports(), encoding, format, |sdp| {
            let mut ffmpeg = Command::new("ffmpeg");
            let codec = format!("pcm_{format}");
            ffmpeg.args(["-v", "error", "-protocol_whitelist", "file,udp,rtp", "-i", sdp]);
            ffmpeg.args(["-c:a", &codec, "-f", format, "-"]);
            ffmpeg
        });
    }
}

#[test]
fn gstreamer_hears_what_was_sent() {
    hears_what_was_sent(free_ports(), "L24", "s24be", |sdp| {
        let mut gst = Command::new("gst-launch-1.0");
        let location = format!("location={sdp}");
        gst.args(["-q", "filesrc", &location, "!", "sdpdemux", "!", "rtpL24depay", "!", "fdsink", "fd=1"]);
        gst
    });
}

#[test]
fn where_nobody_listens_sending_rests_and_audio_goes_on() {
    let port = free_ports();
    let serve = Serve::patient(&["--rtp-out", &format!("127.0.0.1:{port}")]);
    let mut sender = serve.simulator(&["--duration", "120s"]).stdout(Stdio::null()).spawn().unwrap();
    let told = || serve.json("/api/arrays")["arrays"][0]["rtp"]["sent"].clone();
    let count = |figures: &serde_json::Value, key: &str| figures[key].as_u64().unwrap();
    let give_up = Instant::now() + PATIENCE;
    // Several seconds of rest.
    while count(&told(), "frames_at_rest") < 150_000 {
        assert!(Instant::now() < give_up, "it is refused: {}", told());
        thread::sleep(Duration::from_millis(50));
    }
    let figures = told();
    // 150,000 frames are 1111 packets; a few are sent in each second.
    assert!(count(&figures, "refused") > 2 && count(&figures, "packets") < 100, "{figures}");
    assert!(serve.stderr().contains("nobody listens there"), "{}", serve.stderr());
    assert_eq!(serve.diagnostics()["cycles"]["incomplete"], 0);
    let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = [0; 2048];
    for _ in 0..1000 {
        let n = socket.recv(&mut bytes).expect("packets come again");
        parse(&bytes[..n]);
    }
    assert!(serve.stderr().contains("goes on"), "{}", serve.stderr());
    sender.kill().unwrap();
    sender.wait().unwrap();
}

#[test]
fn without_rtp_there_is_no_description() {
    let serve = Serve::start(&[]);
    let response = serve.get("/api/stream.sdp");
    assert_eq!(response.status, 404);
    assert!(String::from_utf8_lossy(&response.body).contains("--rtp-out"));
    assert!(serve.json("/api/arrays")["arrays"][0]["rtp"].is_null());
}

/// In a network of this thread's own, with a cable: what leaves at one end is looked at by tcpdump at the other.
#[test]
fn a_multicast_is_on_the_wire_with_its_group_and_hops() {
    // SAFETY: takes a flag, and gives this thread alone (and what it starts) a network of its own.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        skipped("RTP multicast", "no network namespaces here");
        return;
    }
    let ip = |args: &str| assert!(Command::new("ip").args(args.split(' ')).status().unwrap().success(), "ip {args}");
    for args in [
        "link set lo up",
        "link add here type veth peer name there",
        "addr add 10.77.0.1/24 dev here",
        "link set here up",
        "link set there up",
        "route add 239.0.0.0/8 dev here",
    ] {
        ip(args);
    }
    let serve = Serve::start(&["--rtp-out", "239.1.2.3:5004", "--rtp-ttl", "7"]);
    let sdp = String::from_utf8(serve.get("/api/stream.sdp").body).unwrap();
    assert!(sdp.contains("c=IN IP4 239.1.2.3/7\r\n"), "{sdp}");
    let file = std::env::temp_dir().join(format!("micring-wire-{}.pcap", std::process::id()));
    let mut tcpdump = Command::new("tcpdump")
        .args(["-i", "there", "-U", "-c", "200", "-w", file.to_str().unwrap(), "udp", "and", "dst", "239.1.2.3"])
        .stderr(Stdio::null())
        .spawn()
        .expect("tcpdump is installed: see scripts/test");
    let mut sender = serve.simulator(&["--duration", "120s"]).stdout(Stdio::null()).spawn().unwrap();
    assert!(tcpdump.wait().unwrap().success(), "200 packets came");
    sender.kill().unwrap();
    sender.wait().unwrap();
    let fields = ["eth.dst", "ip.ttl", "udp.dstport", "rtp.p_type", "rtp.seq", "rtp.timestamp", "udp.length"];
    let output = Command::new("tshark")
        .args(["-d", "udp.port==5004,rtp", "-T", "fields", "-E", "separator=;", "-r", file.to_str().unwrap()])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .expect("tshark is installed: see scripts/test");
    std::fs::remove_file(&file).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let packets: Vec<Vec<&str>> = text.lines().map(|line| line.split(';').collect()).collect();
    assert_eq!(packets.len(), 200);
    let number = |packet: &[&str], field: usize| packet[field].parse::<i64>().unwrap();
    for packet in &packets {
        // RFC 1112, 6.4: the group's last 23 bits.
        assert_eq!(packet[..4], ["01:00:5e:01:02:03", "7", "5004", "96"], "{packet:?}");
    }
    for two in packets.windows(2) {
        let frames = (number(&two[0], 6) - 8 - 12) / 9;
        assert_eq!(number(&two[1], 5) - number(&two[0], 5), frames, "nothing is missing");
        assert_eq!((number(&two[1], 4) - number(&two[0], 4)).rem_euclid(65_536), 1);
    }
}
