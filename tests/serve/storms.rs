//! What a host does to its programs: stops them, takes their descriptors, memory and links away, floods and resets them.
//! Each test ends with a line of the table that `scripts/faults` prints.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use socket2::SockRef;

use crate::rig::{Board, Events, FRAMES, Serve, assert_aligned, lost_datagrams, micring, offset_of, skips, tell};
use crate::skipped::skipped;

fn options() -> Command {
    let mut command = micring();
    command.args(["serve", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0"]);
    command
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64
}

/// Reads on, each frame checked, until a complete cycle whose packets all came after `since`; how long that took.
fn until_live(events: &mut Events, offset: i64, since: i64) -> Duration {
    let start = Instant::now();
    events.until(|event| {
        assert_aligned(event, offset);
        let after = |mic: usize| event.json["arrival_us"][mic].as_i64().is_some_and(|arrival| arrival > since);
        event.is_complete() && (0..3).all(after)
    });
    start.elapsed()
}

/// The same while a board plays on, for as long as it takes.
fn play_until_live(board: &mut Board, events: &mut Events, offset: i64, since: i64) -> Duration {
    let live = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Longer than anybody waits.
            for _ in 0..20_000 {
                if live.load(Ordering::Relaxed) {
                    break;
                }
                board.cycles(1);
            }
        });
        let recovery = until_live(events, offset, since);
        live.store(true, Ordering::Relaxed);
        recovery
    })
}

fn loss(diagnostics: &Value, key: &str) -> [u64; 3] {
    [0, 1, 2].map(|mic| diagnostics["loss"][format!("mic{mic}")][key].as_u64().unwrap())
}

/// A limit of the child's own, soft and hard.
fn limited(mut command: Command, resource: libc::__rlimit_resource_t, value: u64) -> Command {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: between fork and exec this makes one plain system call, which reads `limit`.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(resource, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command
}

#[test]
fn stopped_for_two_seconds_it_loses_nothing_that_fits_the_sockets() {
    let serve = Serve::start(&["--queue", "4096"]);
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    board.cycles(50);
    let offset = offset_of(&events.next().unwrap());
    serve.signal(libc::SIGSTOP);
    board.cycles(188); // two seconds
    serve.signal(libc::SIGCONT);
    let since = now_us();
    let recovery = play_until_live(&mut board, &mut events, offset, since);
    let diagnostics = serve.diagnostics();
    assert_eq!((loss(&diagnostics, "lost"), loss(&diagnostics, "kernel_dropped")), ([0; 3], [0; 3]));
    tell("SIGSTOP 2 s, SIGCONT", "sockets keep what fits; nothing shifts", "all 188 cycles kept", 0, Some(recovery));
}

#[test]
fn stopped_for_longer_than_the_sockets_hold_the_kernels_drops_are_counted_and_positions_stay_true() {
    let serve = Serve::start(&["--queue", "4096"]);
    let mut events = serve.events("/api/stream_3ch");
    let mut child = serve.simulator(&["--duration", "20s"]).stdout(Stdio::null()).spawn().unwrap();
    let offset = offset_of(&events.next().unwrap());
    serve.signal(libc::SIGSTOP);
    thread::sleep(Duration::from_secs(14)); // 4 MiB hold some 10 s of 2048-byte datagrams, their overhead counted
    serve.signal(libc::SIGCONT);
    let recovery = until_live(&mut events, offset, now_us());
    child.wait().unwrap();
    let diagnostics = serve.diagnostics();
    let (lost, dropped) = (lost_datagrams(&diagnostics), loss(&diagnostics, "kernel_dropped"));
    assert!(dropped.iter().all(|&count| count > 0), "the sockets were full: {dropped:?}");
    assert_eq!(lost, dropped, "what the kernel dropped, and nothing else, is lost");
    let happened =
        format!("{} dropped by the kernel, {} counted lost", dropped.iter().sum::<u64>(), lost.iter().sum::<u64>());
    tell("SIGSTOP 14 s, SIGCONT", "drops counted, positions true", &happened, lost.iter().sum(), Some(recovery));
}

#[test]
fn without_descriptors_new_clients_wait_and_audio_goes_on() {
    let mut command = options();
    command.args(["--hold", "5s"]);
    let serve = Serve::spawn(limited(command, libc::RLIMIT_NOFILE, 40));
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    board.cycles(20);
    let offset = offset_of(&events.next().unwrap());
    let crowd: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(serve.http).unwrap()).collect();
    board.cycles(240);
    let got = events.until(|event| event.number() == 259);
    got.iter().for_each(|event| assert_aligned(event, offset));
    assert!(got.iter().all(|event| event.is_complete()));
    drop(crowd);
    let start = Instant::now();
    let metrics = String::from_utf8(serve.get("/metrics").body).unwrap();
    let recovery = start.elapsed();
    let ended = metrics.lines().find_map(|line| line.strip_prefix("micring_ring_rearms_total{cause=\"emfile\"} "));
    let ended: u64 = ended.unwrap().parse().unwrap();
    assert!(ended > 0, "the limit was met: {metrics}");
    // Said when it begins, at most once a second while it lasts, and when it is over: an accept fails ten times a second.
    let over = "no connection waits for a descriptor any more: accept failed";
    while !serve.stderr().contains(over) {
        assert!(start.elapsed() < crate::rig::PATIENCE, "{}", serve.stderr());
        thread::sleep(Duration::from_millis(20));
    }
    let said = serve.stderr();
    assert!(said.contains(&format!("{over} {ended} times")), "of {ended}: {said}");
    let lines = said.matches("no descriptor is left").count() as u64;
    assert!(lines >= 1 && 4 * lines <= ended, "{lines} lines for {ended} failures: {said}");
    let happened = format!("accept failed {ended} times, came back, and said so in {} lines", lines + 1);
    tell("no descriptor left (EMFILE)", "new clients wait, audio goes on", &happened, 0, Some(recovery));
}

#[test]
fn one_flooded_microphone_costs_the_others_nothing() {
    let serve = Serve::start(&["--queue", "4096"]);
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    board.cycles(50);
    let offset = offset_of(&events.next().unwrap());
    let (stop, target) = (Arc::new(AtomicBool::new(false)), serve.mics[1]);
    let until = stop.clone();
    let flood = thread::spawn(move || {
        let (socket, payload) = (UdpSocket::bind("127.0.0.1:0").unwrap(), [0x55; 2048]);
        // A full socket refuses nothing: the kernel drops, and counts.
        let mut sent = 0_u64;
        while !until.load(Ordering::Relaxed) {
            socket.send_to(&payload, target).unwrap();
            sent += 1;
        }
        sent
    });
    board.cycles(188);
    stop.store(true, Ordering::Relaxed);
    let sent = flood.join().unwrap();
    let since = now_us();
    let recovery = play_until_live(&mut board, &mut events, offset, since);
    let diagnostics = serve.diagnostics();
    let (lost, foreign) = (lost_datagrams(&diagnostics), loss(&diagnostics, "foreign")[1]);
    let dropped = loss(&diagnostics, "kernel_dropped")[1];
    assert_eq!((lost[0], lost[2]), (0, 0), "the others lost nothing");
    assert_eq!(foreign + dropped - lost[1], sent, "each of the flood's packets is accounted for");
    let happened = format!("{sent} foreign packets in 2 s: {foreign} ignored, {dropped} dropped by the kernel");
    tell("flood on one microphone", "the others lose nothing", &happened, lost.iter().sum(), Some(recovery));
}

#[test]
fn ten_thousand_connects_and_resets_leave_nothing_behind() {
    let serve = Serve::patient(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut child = serve.simulator(&[]).stdout(Stdio::null()).spawn().unwrap();
    let offset = offset_of(&events.next().unwrap());
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", serve.pid())).unwrap().count();
    let (address, before) = (serve.http, descriptors());
    let stop = Arc::new(AtomicBool::new(false));
    let until = stop.clone();
    let watcher = thread::spawn(move || {
        let mut seen = Vec::new();
        while !until.load(Ordering::Relaxed) {
            let event = events.next().unwrap();
            assert_aligned(&event, offset);
            assert!(event.is_complete());
            seen.push(event);
        }
        (events, seen)
    });
    let requests: [&[u8]; 4] =
        [b"", b"GET /api/stream_3ch HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GE", b"\0\xff\r\n\r\n"];
    for n in 0..10_000 {
        let mut stream = TcpStream::connect(address).unwrap();
        // The server may have refused it already.
        let _ = stream.write_all(requests[n % requests.len()]);
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(); // closing resets
    }
    let start = Instant::now();
    while descriptors() > before {
        assert!(start.elapsed() < crate::rig::PATIENCE, "{} descriptors, {before} before", descriptors());
        thread::sleep(Duration::from_millis(5));
    }
    let recovery = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (_events, seen) = watcher.join().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(skips(&seen), Vec::<i64>::new());
    assert!(seen.windows(2).all(|two| two[1].id == two[0].id.map(|id| id + 1)), "the reader has every event");
    let happened = format!("{} cycles whole meanwhile, {before} descriptors as before", seen.len());
    tell("10 000 connects and resets", "nothing leaks, audio goes on", &happened, 0, Some(recovery));
}

#[test]
fn under_a_memory_limit_a_crowd_that_never_reads_is_borne() {
    let size = |serve: &Serve| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", serve.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmData")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    };
    let room = 8 << 20;
    let limit = size(&Serve::start(&[])) + room;
    let mut serve = Serve::spawn(limited(options(), libc::RLIMIT_DATA, limit));
    let crowd: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(serve.http).unwrap();
            write!(stream, "GET /api/stream_3ch HTTP/1.1\r\nHost: {}\r\n\r\n", serve.http).unwrap();
            stream
        })
        .collect();
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    board.cycles(400);
    let offset = offset_of(&events.next().unwrap());
    let got = events.until(|event| event.number() == 399);
    got.iter().for_each(|event| assert_aligned(event, offset));
    assert_eq!(loss(&serve.diagnostics(), "lost"), [0; 3]);
    let used = size(&serve);
    assert_eq!(serve.stop(), Some(0));
    drop(crowd);
    let happened = format!("300 clients that never read: {} of {} KiB", used >> 10, limit >> 10);
    tell("memory limit (rlimit)", "bounded queues, nothing dies", &happened, 0, None);
}

#[test]
fn a_closed_standard_error_ends_nothing_but_the_log() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = options().stdout(Stdio::piped()).stderr(writer).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let http: SocketAddr = ready["http"].as_str().unwrap().parse().unwrap();
    let mics = [0, 1, 2].map(|mic: usize| ready["mics"][mic].as_str().unwrap().parse::<SocketAddr>().unwrap());
    let mut events = Events::open(http, "/api/stream_3ch", "");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for cycle in 0..20_usize {
        // Unequal sizes, so that lines want to be written.
        for (mic, target) in mics.iter().enumerate() {
            socket.send_to(&vec![cycle as u8 + 1; 2048 - 4 * mic], target).unwrap();
        }
        thread::sleep(Duration::from_millis(11));
        assert_eq!(events.next().unwrap().number(), cycle as u64);
    }
    // SAFETY: kill only asks the kernel to signal our own, still unreaped child.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    tell("standard error closed", "the log ends, nothing else", "20 of 20 cycles, exit code 0", 0, None);
}

#[test]
fn sigterm_under_full_load_closes_a_hundred_streams_properly() {
    let mut serve = Serve::start(&[]);
    let mut child = serve.simulator(&[]).stdout(Stdio::null()).spawn().unwrap();
    let stuck: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(serve.http).unwrap();
            write!(stream, "GET /api/stream_3ch HTTP/1.1\r\nHost: {}\r\n\r\n", serve.http).unwrap();
            stream
        })
        .collect();
    let (http, begun) = (serve.http, Arc::new(std::sync::Barrier::new(101)));
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let begun = begun.clone();
            thread::spawn(move || {
                let mut events = Events::open(http, "/api/stream_3ch", "");
                let offset = offset_of(&events.next().unwrap());
                begun.wait();
                // Every event is whole, and the end is an end, not a reset: next() fails on either.
                while let Some(event) = events.next() {
                    assert_aligned(&event, offset);
                }
            })
        })
        .collect();
    begun.wait();
    thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    assert_eq!(serve.stop(), Some(0));
    let took = start.elapsed();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stuck);
    tell(
        "SIGTERM under full load",
        "streams end properly, within 1 s",
        "100 streams ended, and 20 that nobody reads",
        0,
        Some(took),
    );
}

/// Two namespaces' worth of network, gone when dropped: a board here, the server there.
struct Link {
    namespace: String,
    there: String,
}

impl Link {
    /// `None` where this process may not make one; a failure in CI, where everything has to run.
    fn new() -> Option<Link> {
        let id = std::process::id();
        let (namespace, here, there) =
            (format!("micring-{id}"), format!("mra{}", id % 100_000), format!("mrb{}", id % 100_000));
        if !ip(&["netns", "add", &namespace]) {
            skipped("interface down and up", "no network namespaces here");
            return None;
        }
        let link = Link { namespace, there };
        let inside = ["-n", &link.namespace];
        assert!(ip(&["link", "add", &here, "type", "veth", "peer", "name", &link.there, "netns", &link.namespace]));
        assert!(ip(&["addr", "add", "10.213.77.1/30", "dev", &here]) && ip(&["link", "set", &here, "up"]));
        assert!(ip(&[&inside[..], &["addr", "add", "10.213.77.2/30", "dev", &link.there]].concat()));
        assert!(ip(&[&inside[..], &["link", "set", &link.there, "up"]].concat()));
        // Known for good, so that the sender's kernel keeps nothing back while it asks for the address anew.
        let path = format!("/sys/class/net/{}/address", link.there);
        let address =
            Command::new("ip").args(["netns", "exec", &link.namespace, "cat", &path]).output().unwrap().stdout;
        let address = String::from_utf8(address).unwrap();
        assert!(ip(&["neigh", "replace", "10.213.77.2", "lladdr", address.trim(), "dev", &here, "nud", "permanent"]));
        Some(link)
    }

    fn set(&self, state: &str) {
        assert!(ip(&["-n", &self.namespace, "link", "set", &self.there, state]));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The pair goes with the namespace.
        ip(&["netns", "del", &self.namespace]);
    }
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn an_interface_that_goes_down_and_up_skips_what_was_lost_and_no_more() {
    let Some(link) = Link::new() else { return };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &link.namespace, env!("CARGO_BIN_EXE_micring"), "serve", "--mic-ports", "0,0,0"]);
    command.args(["--udp-bind", "10.213.77.2", "--http", "10.213.77.2:0", "--queue", "4096"]);
    let serve = Serve::spawn(command);
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board_from("10.213.77.1:0");
    // The board keeps its time whatever becomes of the link; without one its own kernel may refuse the packets.
    let player = thread::spawn(move || {
        for _ in 0..350 {
            board.period(|board| (0..3).for_each(|mic| drop(board.try_send_chunk(mic))));
        }
        board.position
    });
    let offset = offset_of(&events.next().unwrap());
    events.until(|event| event.number() == 99);
    link.set("down");
    thread::sleep(Duration::from_secs(1));
    link.set("up");
    let recovery = until_live(&mut events, offset, now_us());
    let last = player.join().unwrap() - FRAMES - offset;
    events.until(|event| {
        assert_aligned(event, offset);
        event.first_frame() == last
    });
    let diagnostics = serve.diagnostics();
    let skipped = diagnostics["cycles"]["skipped"].as_u64().unwrap();
    assert!(skipped >= 90, "the link was down for 93 periods: {skipped}");
    let happened = format!("{skipped} cycles skipped, the stream's connection lived on");
    let lost = loss(&diagnostics, "lost").iter().sum();
    assert!(lost >= 3 * skipped, "whole lost cycles are packets lost: {}", diagnostics["loss"]);
    tell("interface down 1 s, up", "positions skip what was lost", &happened, lost, Some(recovery));
}
