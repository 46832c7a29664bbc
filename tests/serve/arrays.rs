//! Many arrays in one server: side by side, an array for each address, and a configuration that is read again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{Event, Folder, PATIENCE, Serve, index, micring};

const FRAMES: i64 = 512;
const PERIOD: Duration = Duration::from_nanos(10_666_667);

/// As [`Serve::patient`].
const PATIENT: &str = "hold = \"5s\"\n";

/// A configuration file of this test alone.
struct Config {
    folder: Folder,
    file: PathBuf,
}

impl Config {
    fn new(name: &str, text: &str) -> Config {
        let folder = Folder::new(name);
        let file = Path::new(folder.path()).join("arrays.toml");
        let config = Config { folder, file };
        config.write(text);
        config
    }

    /// As an editor does it: another file takes its place.
    fn write(&self, text: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }

    fn serve(&self) -> Serve {
        self.serve_with(&[])
    }

    fn serve_with(&self, options: &[&str]) -> Serve {
        let mut command = micring();
        command.args(["serve", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0", "--config", self.path()]);
        command.args(options);
        Serve::spawn(command)
    }
}

/// Where an array listens, as the ready line has it.
fn ports_of(serve: &Serve, name: &str) -> Vec<SocketAddr> {
    let arrays = serve.ready["arrays"].as_array().expect("arrays are named");
    let array = arrays.iter().find(|array| array["name"] == name).expect("the array is there");
    array["mics"].as_array().unwrap().iter().map(|mic| mic.as_str().unwrap().parse().unwrap()).collect()
}

/// Ports that nobody has at present.
fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

/// A board with a microphone for each of these addresses.
struct Board {
    socket: UdpSocket,
    mics: Vec<SocketAddr>,
    position: i64,
}

impl Board {
    fn new(from: &str, mics: Vec<SocketAddr>) -> Board {
        Board { socket: UdpSocket::bind((from, 0)).unwrap(), mics, position: 0 }
    }

    fn cycle(&mut self) {
        for (mic, to) in self.mics.iter().enumerate() {
            let range = self.position..self.position + FRAMES;
            let bytes: Vec<u8> = range.flat_map(|position| index(mic, position).to_le_bytes()).collect();
            self.socket.send_to(&bytes, to).unwrap();
        }
        self.position += FRAMES;
    }
}

/// Cycles of all boards at their normal spacing, side by side.
fn play(boards: &mut [&mut Board], cycles: usize) {
    let mut next = Instant::now();
    for _ in 0..cycles {
        boards.iter_mut().for_each(|board| board.cycle());
        next += PERIOD;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Every sample of an event stands at its place, or is a flagged zero; the sender's position minus the stream's.
fn aligned(event: &Event, channels: usize) -> i64 {
    let samples = event.samples();
    assert_eq!(samples.len() as i64, channels as i64 * event.frames());
    let given: Vec<i64> = event.json["mic_samples"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
    assert_eq!(given.len(), channels);
    let at = samples.iter().position(|&sample| sample != 0).expect("a cycle has a microphone");
    let offset = i64::from(samples[at] & 0x0fff_ffff) - event.first_frame() - (at / channels) as i64;
    for (frame, all) in samples.chunks_exact(channels).enumerate() {
        for (mic, &sample) in all.iter().enumerate() {
            let position = event.first_frame() + frame as i64 + offset;
            let want = if (frame as i64) < given[mic] { index(mic, position) } else { 0 };
            assert_eq!(sample, want, "event {:?}, frame {frame}, mic {mic}", event.id);
        }
    }
    offset
}

/// Until a wish is fulfilled.
fn until(what: &str, mut wish: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !wish() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn names(serve: &Serve) -> Vec<String> {
    let arrays = serve.json("/api/arrays");
    arrays["arrays"].as_array().unwrap().iter().map(|array| array["name"].as_str().unwrap().to_owned()).collect()
}

const TWO: &str = "[[array]]\nname = \"roof\"\nports = [0, 0, 0]\n\n[[array]]\nname = \"door\"\nports = [0, 0]\n";

#[test]
fn two_arrays_of_unlike_channels_are_aligned_each_by_itself() {
    let config = Config::new("two", TWO);
    let serve = config.serve();
    assert_eq!(names(&serve), ["roof", "door"]);
    let mut roof = Board::new("127.0.0.1", ports_of(&serve, "roof"));
    let mut door = Board::new("127.0.0.1", ports_of(&serve, "door"));
    door.position = 77 * FRAMES;
    let mut streams = [("roof", 3), ("door", 2)]
        .map(|(name, channels)| (serve.events(&format!("/api/arrays/{name}/stream")), channels));
    let mut old = serve.events("/api/stream_3ch");
    play(&mut [&mut roof, &mut door], 60);
    for (stream, channels) in &mut streams {
        let mut offset = None;
        for _ in 0..50 {
            let event = stream.next().expect("it goes on");
            assert_eq!(event.json["channels"], *channels);
            assert_eq!(event.json["device_id"], format!("{channels}ch-assembled"));
            let here = aligned(&event, *channels);
            assert_eq!(*offset.get_or_insert(here), here, "it never moves");
        }
    }
    // The old routes are those of the first.
    aligned(&old.next().unwrap(), 3);
    for (name, received) in [("roof", 3), ("door", 2)] {
        let told = serve.json(&format!("/api/arrays/{name}/diagnostics"));
        assert_eq!(told["packet_stats"]["packets_received"].as_array().unwrap(), &vec![Value::from(60); received]);
        assert_eq!(told["loss"]["mic0"]["lost"], 0);
        let csv = serve.get(&format!("/api/arrays/{name}/download.csv"));
        let head = if received == 3 { "frame,mic0,mic1,mic2\n" } else { "frame,mic0,mic1\n" };
        assert!(csv.body.starts_with(head.as_bytes()));
        let wav = serve.get(&format!("/api/arrays/{name}/download")).body;
        assert_eq!(u16::from_le_bytes([wav[22], wav[23]]), received as u16);
    }
    assert_eq!(serve.get("/api/arrays/cellar/stream").status, 404);
    assert_eq!(serve.get("/api/arrays/roof/nothing").status, 404);
}

/// The index signal's sample among so many channels: the channel above, the position below.
fn index_among(channels: usize, channel: usize, position: i64) -> i32 {
    let bits = if channels > 15 { 24 } else { 28 };
    ((channel as i32 + 1) << bits) | (position & ((1 << bits) - 1)) as i32
}

/// Interleaved samples that follow one another without a hole, the channels of a board in step: boards of their own begin at any sample.
fn in_step(samples: &[i32], channels: usize, of_a_board: usize, what: &str) {
    let bits = if channels > 15 { 24 } else { 28 };
    for (frame, all) in samples.chunks_exact(channels).enumerate() {
        for (channel, &sample) in all.iter().enumerate() {
            let begin = i64::from(samples[channel - channel % of_a_board]) & ((1 << bits) - 1);
            assert_eq!(sample, index_among(channels, channel, begin + frame as i64), "{what}, {frame}, {channel}");
        }
    }
}

/// Two boards of two channels there, else one board.
fn of_a_board(name: &str, channels: usize) -> usize {
    if name == "boards" { 2 } else { channels }
}

#[test]
fn arrays_of_sixteen_eight_four_and_one_channels_are_aligned_streamed_and_downloaded() {
    const ARRAYS: [(&str, usize, usize); 4] = [("sixteen", 16, 16), ("eight", 1, 8), ("boards", 2, 4), ("one", 1, 1)];
    let entry = |(name, ports, channels): (&str, usize, usize)| {
        format!("[[array]]\nname = \"{name}\"\nports = {:?}\nchannels = {channels}\n", vec![0; ports])
    };
    let config = Config::new("sizes", &ARRAYS.map(entry).join("\n"));
    let serve = config.serve();
    let play = |(name, _, channels): (&str, usize, usize)| {
        let ports: Vec<String> = ports_of(&serve, name).iter().map(|mic| mic.port().to_string()).collect();
        let mut command = micring();
        // Of eight channels so many are one datagram.
        let samples = if name == "eight" { "128" } else { "512" };
        command.args(["simulate", "--core", "none", "--mic-ports", &ports.join(","), "--samples", samples]);
        command.args(["--channels", &channels.to_string(), "--duration", "4s"]);
        command.args(["--boards", if name == "boards" { "each" } else { "1" }]);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut streams = ARRAYS.map(|(name, ..)| serve.events(&format!("/api/arrays/{name}/stream")));
    let mut senders = ARRAYS.map(play);
    for (stream, (name, _, channels)) in streams.iter_mut().zip(ARRAYS) {
        let mut complete = 0;
        while complete < 100 {
            let event = stream.next().expect("it goes on");
            assert_eq!(event.json["channels"], channels, "{name}");
            let given = event.json["mic_samples"].as_array().unwrap();
            if given.len() == channels && given.iter().all(|n| *n == event.frames()) {
                in_step(&event.samples(), channels, of_a_board(name, channels), name);
                complete += 1;
            }
        }
    }
    for sender in &mut senders {
        assert!(sender.wait().unwrap().success());
    }
    for (name, _, channels) in ARRAYS {
        let wav = serve.get(&format!("/api/arrays/{name}/download?seconds=1")).body;
        assert_eq!(usize::from(u16::from_le_bytes([wav[22], wav[23]])), channels, "{name}");
        let samples: Vec<i32> = wav[44..].chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(samples.len(), channels * 48_000, "{name}");
        // Of two boards one ends first.
        in_step(&samples[..channels * 46_000], channels, of_a_board(name, channels), name);
        let told = serve.json(&format!("/api/arrays/{name}/diagnostics"));
        for mic in 0..channels {
            assert_eq!(told["loss"][format!("mic{mic}")]["lost"], 0, "{name}, {mic}");
        }
    }
}

#[test]
fn one_that_is_flooded_one_that_nobody_reads_and_one_that_stops_cost_the_others_nothing() {
    let array = |name: &str| format!("[[array]]\nname = \"{name}\"\nports = [0, 0, 0]\n{PATIENT}");
    let config = Config::new("flood", &["flooded", "unread", "stopped", "well"].map(array).concat());
    let serve = config.serve();
    let mut boards =
        ["flooded", "unread", "stopped", "well"].map(|name| Board::new("127.0.0.1", ports_of(&serve, name)));
    let flooded = ports_of(&serve, "flooded")[1];
    // Who never read.
    let unread: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(serve.http).unwrap();
            write!(stream, "GET /api/arrays/unread/stream HTTP/1.1\r\nHost: {}\r\n\r\n", serve.http).unwrap();
            stream
        })
        .collect();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                for _ in 0..64 {
                    let _ = stranger.send_to(b"odd", flooded);
                }
                std::thread::yield_now();
            }
        });
        let [a, b, c, d] = &mut boards;
        play(&mut [a, b, c, d], 100);
        // One board stops; the others go on.
        play(&mut [a, b, d], 100);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for name in ["unread", "well"] {
        let told = serve.json(&format!("/api/arrays/{name}/diagnostics"));
        let loss = |mic: &str, key: &str| told["loss"][mic][key].as_u64();
        for mic in ["mic0", "mic1", "mic2"] {
            assert_eq!((loss(mic, "lost"), loss(mic, "kernel_dropped")), (Some(0), Some(0)), "{name}, {mic}");
        }
        assert_eq!(told["packet_stats"]["packets_received"], serde_json::json!([200, 200, 200]), "{name}");
        assert_eq!(told["cycles"]["incomplete"], 0, "{name}");
    }
    assert_eq!(serve.get("/api/arrays/well/health").status, 200);
    until("the one that stopped is told", || serve.get("/api/arrays/stopped/health").status == 503);
    let worst = serve.get("/healthz");
    assert!(worst.status == 503 && String::from_utf8_lossy(&worst.body).contains("stopped"), "{:?}", worst.body);
    drop(unread);
}

#[test]
fn every_address_is_an_array_made_when_it_is_heard_and_forgotten() {
    let text = "[[array]]\nports = [0, 0, 0]\nsenders = \"each-host\"\nforget = \"2s\"\nmax_arrays = 2\n";
    let config = Config::new("hosts", &[text, PATIENT].concat());
    let serve = config.serve();
    assert_eq!(names(&serve), Vec::<String>::new());
    assert_eq!((serve.get("/api/stream_3ch").status, serve.get("/healthz").status), (404, 503));
    let mics: Vec<SocketAddr> = serve.mics.to_vec();
    let [mut first, mut second, mut third] =
        ["127.0.3.1", "127.0.3.2", "127.0.3.3"].map(|from| Board::new(from, mics.clone()));
    second.position = 1_000 * FRAMES;
    play(&mut [&mut first, &mut second], 10);
    until("both are there", || names(&serve).len() == 2);
    let mut listed = names(&serve);
    listed.sort();
    assert_eq!(listed, ["127.0.3.1", "127.0.3.2"]);
    let mut streams = ["127.0.3.1", "127.0.3.2"].map(|name| serve.events(&format!("/api/arrays/{name}/stream")));
    play(&mut [&mut first, &mut second, &mut third], 100);
    for stream in &mut streams {
        let mut offset = None;
        for _ in 0..90 {
            let event = stream.next().expect("it goes on");
            let here = aligned(&event, 3);
            assert_eq!(*offset.get_or_insert(here), here, "another address's packets are nothing to it");
            assert!(event.is_complete());
        }
    }
    assert_eq!(names(&serve).len(), 2, "max_arrays");
    let metrics = String::from_utf8(serve.get("/metrics").body).unwrap();
    assert!(metrics.contains("\nmicring_strange_datagrams_total 300\n"), "the third's, counted");
    assert!(serve.stderr().contains("127.0.3.3 is not taken in"), "{}", serve.stderr());
    // They fall silent: forgotten, and their streams end.
    until("they are forgotten", || names(&serve).is_empty());
    for stream in &mut streams {
        while stream.next().is_some() {}
    }
    assert_eq!(serve.get("/api/arrays/127.0.3.1/stream").status, 404);
    play(&mut [&mut third], 10);
    until("there is room again", || names(&serve) == ["127.0.3.3"]);
}

#[test]
fn many_addresses_heard_in_one_turn_lose_nothing_while_their_arrays_are_made() {
    const HOSTS: usize = 24;
    let config = Config::new("at-once", "[[array]]\nports = [0, 0, 0]\nsenders = \"each-host\"\n");
    let serve = config.serve();
    let board = |host: usize| Board::new(&format!("127.0.4.{}", host + 1), serve.mics.to_vec());
    let mut boards: Vec<Board> = (0..HOSTS).map(board).collect();
    boards.iter_mut().for_each(Board::cycle);
    until("all are there", || names(&serve).len() == HOSTS);
    for host in 1..=HOSTS {
        let told = || serve.json(&format!("/api/arrays/127.0.4.{host}/diagnostics"))["packet_stats"].clone();
        until("its first datagrams count", || told()["packets_received"] == serde_json::json!([1, 1, 1]));
    }
    // A body about so many is made piece by piece.
    let metrics = String::from_utf8(serve.get("/metrics").body).unwrap();
    let lines = |begin: &str| metrics.lines().filter(|line| line.starts_with(begin)).count();
    assert_eq!(lines("# TYPE micring_packets_received_total "), 1);
    assert_eq!(lines("micring_packets_received_total{"), 3 * (HOSTS + 1), "the first under its plain name too");
}

#[test]
fn sighup_reads_the_file_again_and_leaves_alone_what_has_not_changed() {
    let ports: [u16; 7] = free_ports();
    let array = |name: &str, ports: &[u16]| format!("[[array]]\nname = \"{name}\"\nports = {ports:?}\n{PATIENT}");
    let config = Config::new("hup", &(array("stays", &ports[..3]) + &array("goes", &ports[3..6])));
    let serve = config.serve();
    let to = |ports: &[u16]| ports.iter().map(|&port| SocketAddr::from(([127, 0, 0, 1], port))).collect::<Vec<_>>();
    let mut stays = Board::new("127.0.0.1", to(&ports[..3]));
    let mut goes = Board::new("127.0.0.1", to(&ports[3..6]));
    let mut staying = serve.events("/api/arrays/stays/stream");
    let mut going = serve.events("/api/arrays/goes/stream");
    play(&mut [&mut stays, &mut goes], 20);
    // Another array takes over two of its ports, and one that is new.
    let next = [ports[4], ports[6], ports[3]];
    config.write(&(array("comes", &next) + &array("stays", &ports[..3])));
    serve.signal(libc::SIGHUP);
    until("it is read", || names(&serve) == ["comes", "stays"]);
    let mut comes = Board::new("127.0.0.1", to(&next));
    let mut coming = serve.events("/api/arrays/comes/stream");
    play(&mut [&mut stays, &mut comes], 60);
    aligned(&coming.next().unwrap(), 3);
    while going.next().is_some() {}
    assert_eq!(serve.get("/api/arrays/goes/stream").status, 404);
    // A mistake costs a line, and nothing changes.
    config.write("[[array]]\nname = \"stays\"\nports = [1, 2\nclock = \"none\"\n");
    serve.signal(libc::SIGHUP);
    until("the mistake is told", || serve.stderr().contains("nothing was changed"));
    assert!(serve.stderr().contains(&format!("{}, line ", config.path())), "{}", serve.stderr());
    play(&mut [&mut stays], 20);
    let mut ids = Vec::new();
    for _ in 0..90 {
        let event = staying.next().expect("its stream goes on");
        // From one to the next positions may be skipped: the test's own pauses are longer than a cycle.
        aligned(&event, 3);
        ids.push(event.id.unwrap());
    }
    assert!(ids.windows(2).all(|two| two[1] == two[0] + 1), "nothing is missing");
    let told = serve.json("/api/arrays/stays/diagnostics");
    assert_eq!(told["packet_stats"]["packets_received"], serde_json::json!([100, 100, 100]));
    assert_eq!(told["cycles"]["incomplete"], 0);
}

#[test]
fn a_recording_holds_all_arrays_and_each_is_analysed_by_its_name() {
    let config = Config::new(
        "recorded",
        "[[array]]\nname = \"roof\"\nports = [0, 0, 0]\n\n\
         [[array]]\nname = \"door\"\nport = 0\nchannels = 2\nformat = \"raw:s16le*2\"\n\n\
         [[array]]\nname = \"fleet\"\nport = 0\nsenders = \"each-host\"\n",
    );
    let folder = config.folder.0.join("recordings");
    let mut serve = config.serve_with(&["--record", folder.to_str().unwrap()]);
    let mut roof = Board::new("127.0.0.1", ports_of(&serve, "roof"));
    let mut door = Board::new("127.0.0.1", ports_of(&serve, "door"));
    let mut first = Board::new("127.0.1.1", ports_of(&serve, "fleet"));
    let mut second = Board::new("127.0.1.2", ports_of(&serve, "fleet"));
    play(&mut [&mut roof, &mut door, &mut first, &mut second], 40);
    play(&mut [&mut roof, &mut first], 20);
    until("all is there", || {
        let received = |name: &str| {
            serve.json(&format!("/api/arrays/{name}/diagnostics"))["packet_stats"]["packets_received"].clone()
        };
        received("roof") == serde_json::json!([60, 60, 60]) && received("door") == serde_json::json!([40, 40])
    });
    assert_eq!(serve.stop(), Some(0));
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let analyzed = |options: &[&str]| {
        let output = micring().args(["analyze", "--json"]).arg(&file).args(options).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{errors}")), errors)
    };
    let received = |options: &[&str]| analyzed(options).0["packet_stats"]["packets_received"].clone();
    let (found, errors) = analyzed(&[]);
    assert_eq!(found["packet_stats"]["packets_received"], serde_json::json!([60, 60, 60]));
    assert!(errors.contains("roof is read; there are door, fleet too"), "{errors}");
    let (door, _) = analyzed(&["--array", "door"]);
    assert_eq!(door["packet_stats"]["packets_received"], serde_json::json!([40, 40]));
    assert_eq!(door["server"]["format"]["mic1"], "raw:s16le*2");
    assert_eq!(received(&["--array", "fleet", "--from", "127.0.1.1"]), serde_json::json!([60]));
    assert_eq!(received(&["--array", "fleet", "--from", "127.0.1.2"]), serde_json::json!([40]));
}

#[test]
fn a_mistake_names_file_line_and_key() {
    let config = Config::new("wrong", "[[array]]\nname = \"a\"\nport = 5\nchanels = 2\n");
    for arguments in [vec!["check-config", config.path()], vec!["serve", "--config", config.path()]] {
        let output = micring().args(&arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.starts_with(&format!("micring: {}, line 4, `chanels`: unknown field", config.path())), "{text}");
    }
    config.write(TWO);
    let output = micring().args(["check-config", config.path()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("roof\n  3 channels") && text.contains("door\n  2 channels"),
        "{text}"
    );
}

/// A record of `stream.bin`: its header and its samples.
fn record(stream: &mut TcpStream) -> (Value, Vec<u8>) {
    let part = |stream: &mut TcpStream| {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    };
    let header = part(stream);
    (serde_json::from_slice(&header).expect("a header is JSON"), part(stream))
}

fn records(serve: &Serve, query: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(serve.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = serve.http;
    write!(stream, "GET /api/arrays/default/stream.bin{query} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    stream
}

#[test]
fn the_binary_stream_says_what_the_events_say_and_goes_on_after_an_id() {
    let serve = Serve::start(&[]);
    let mut board = Board::new("127.0.0.1", serve.mics.to_vec());
    let mut events = serve.events("/api/arrays/default/stream");
    let mut stream = records(&serve, "", "");
    let (first, none) = record(&mut stream);
    assert_eq!((&first["array"], &first["channels"], none.len()), (&"default".into(), &3.into(), 0));
    play(&mut [&mut board], 40);
    let mut seen = Vec::new();
    for _ in 0..30 {
        let (header, samples) = record(&mut stream);
        let event = events.next().unwrap();
        assert_eq!(header["id"].as_u64(), event.id);
        let same =
            ["run", "device_id", "sample_rate", "channels", "bits", "format", "first_frame", "frames", "mic_samples"];
        for key in same.into_iter().chain(["arrival_us", "timestamp"]) {
            assert_eq!(header[key], event.json[key], "{key}");
        }
        assert!(header["emitted_us"].as_i64() > header["arrival_us"][2].as_i64());
        let of_event: Vec<u8> = event.samples().into_iter().flat_map(i32::to_le_bytes).collect();
        assert_eq!(samples, of_event);
        seen.push(header["id"].as_u64().unwrap());
    }
    for (query, headers) in
        [(format!("?from={}", seen[10]), String::new()), (String::new(), format!("Last-Event-ID: {}\r\n", seen[10]))]
    {
        let mut again = records(&serve, &query, &headers);
        record(&mut again);
        let ids: Vec<u64> = (0..19).map(|_| record(&mut again).0["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, seen[11..]);
    }
}
