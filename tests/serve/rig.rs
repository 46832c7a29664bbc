//! The program as its users run it: `serve` and `simulate` as processes, a plain HTTP client, and senders of our own.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::Value;

/// No test waits longer than this for one thing: four times the longest that one takes on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A running `micring serve`, stopped when dropped.
pub struct Serve {
    child: Child,
    pub http: SocketAddr,
    pub mics: [SocketAddr; 3],
    /// What it said when it was ready.
    pub ready: Value,
    stderr: Arc<Mutex<String>>,
    _stdout: BufReader<ChildStdout>,
    _mute: Option<PipeReader>,
}

pub fn micring() -> Command {
    Command::new(env!("CARGO_BIN_EXE_micring"))
}

/// Python with the packages that `scripts/test` gives it, or the host's.
pub fn python() -> String {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python3");
    if std::path::Path::new(own).exists() { own.into() } else { "python3".into() }
}

impl Serve {
    pub fn start(args: &[&str]) -> Serve {
        let mut command = micring();
        command.args(["serve", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0"]).args(args);
        Serve::spawn(command)
    }

    /// For tests that want every cycle complete. A sender that is starved in the middle of a cycle (a busy machine) is not what they are
    /// about: 40 ms later that cycle would leave without the rest.
    pub fn patient(args: &[&str]) -> Serve {
        Serve::start(&[args, &["--hold", "5s"]].concat())
    }

    pub fn spawn(mut command: Command) -> Serve {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("micring starts");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (kept, pipe) = (stderr.clone(), BufReader::new(child.stderr.take().unwrap()));
        thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                eprintln!("serve: {line}");
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Serve::ready(child, stdout, &line, stderr, None)
    }

    /// With a pipe on standard error that is full from the start and that nobody reads.
    pub fn spawn_mute(mut command: Command) -> Serve {
        let (reader, mut writer) = std::io::pipe().unwrap();
        // SAFETY: fcntl sets a flag on a descriptor that is ours.
        assert_eq!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }, 0);
        while writer.write(&[b'.'; 4096]).is_ok() {}
        // SAFETY: as above: blocking again, as the program will find it.
        assert_eq!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, 0) }, 0);
        let mut child = command.stdout(Stdio::piped()).stderr(writer).spawn().expect("micring starts");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Serve::ready(child, stdout, &line, Arc::default(), Some(reader))
    }

    fn ready(
        child: Child,
        stdout: BufReader<ChildStdout>,
        line: &str,
        stderr: Arc<Mutex<String>>,
        mute: Option<PipeReader>,
    ) -> Serve {
        let ready: Value = serde_json::from_str(line).unwrap_or_else(|error| {
            thread::sleep(Duration::from_millis(200));
            panic!("one line of JSON says ready, not {line:?} ({error}); it said: {}", stderr.lock().unwrap());
        });
        assert_eq!(ready["ready"], true);
        let address = |value: &Value| value.as_str().unwrap().parse::<SocketAddr>().unwrap();
        // An array of fewer has nothing in the other places.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mics = [0, 1, 2].map(|mic: usize| ready["mics"].get(mic).map_or(nowhere, address));
        Serve { child, http: address(&ready["http"]), mics, ready, stderr, _stdout: stdout, _mute: mute }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ports(&self) -> String {
        self.mics.map(|mic| mic.port().to_string()).join(",")
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill only asks the kernel to signal our own, still unreaped child.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(libc::SIGTERM);
        self.exit_code()
    }

    /// The exit code, once it ends by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < give_up, "it ends within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// `VmRSS` in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS is there");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn get(&self, target: &str) -> Response {
        request(self.http, &format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http))
    }

    pub fn json(&self, target: &str) -> Value {
        let response = self.get(target);
        assert_eq!(response.status, 200, "{target}: {}", String::from_utf8_lossy(&response.body));
        serde_json::from_slice(&response.body).expect("the body is JSON")
    }

    pub fn diagnostics(&self) -> Value {
        self.json("/api/diagnostics_sync")
    }

    pub fn events(&self, target: &str) -> Events {
        Events::open(self.http, target, "")
    }

    /// Three virtual microphones with these options, until they end; what they say they did.
    pub fn simulate(&self, args: &[&str]) -> Value {
        let output = self.simulator(args).stderr(Stdio::inherit()).output().expect("simulate runs");
        assert!(output.status.success(), "simulate ends well");
        serde_json::from_slice(&output.stdout).expect("simulate says what it did")
    }

    pub fn simulator(&self, args: &[&str]) -> Command {
        let mut command = micring();
        command.args(["simulate", "--mic-ports", &self.ports()]).args(args);
        if let Some(bytes) = pieces() {
            command.args(["--pieces", &bytes.to_string()]);
        }
        command
    }

    /// A board of our own.
    pub fn board(&self) -> Board {
        self.board_from("127.0.0.1:0")
    }

    pub fn board_from(&self, address: &str) -> Board {
        Board { socket: UdpSocket::bind(address).unwrap(), mics: self.mics, next: None, position: 0 }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes of the datagrams that chunks are cut into, where `scripts/faults --pieces` says so; `None` where each is one.
pub fn pieces() -> Option<usize> {
    std::env::var("MICRING_PIECES").ok().map(|bytes| bytes.parse().expect("MICRING_PIECES is a number of bytes"))
}

/// Datagrams of each microphone that were told lost, those of chunks in pieces counted each.
pub fn lost_datagrams(diagnostics: &Value) -> [u64; 3] {
    let a_chunk = pieces().map_or(1, |bytes| (FRAMES as u64 * 4).div_ceil(bytes as u64));
    [0, 1, 2].map(|mic| {
        let told = |key: &str| diagnostics["loss"][format!("mic{mic}")][key].as_u64();
        // Where nothing leaves in pieces no piece can be lost.
        told("lost").expect("always told") * a_chunk + told("lost_pieces").unwrap_or(0)
    })
}

/// One line of the table of `scripts/faults`; that no frame is misaligned was asserted before, frame by frame.
pub fn tell(fault: &str, promised: &str, happened: &str, lost: u64, recovery: Option<Duration>) {
    let recovery = recovery.map_or("-".into(), |time| format!("{} ms", time.as_millis()));
    let pieces = pieces().map_or(String::new(), |bytes| format!(", in pieces of {bytes}"));
    println!("FAULT\t{fault}{pieces}\t{promised}\t{happened}\t{lost}\t0\t{recovery}");
}

/// A whole answer.
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

/// Sends one request and reads until the server ends the connection; chunked bodies are put together.
pub fn request(address: SocketAddr, text: &str) -> Response {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("the answer ends");
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = all[end..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    Response { status, head, body }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
}

/// An event of a stream.
pub struct Event {
    pub id: Option<u64>,
    pub json: Value,
}

impl Event {
    /// Its number in the run, from 0.
    pub fn number(&self) -> u64 {
        self.id.unwrap() - self.json["run"].as_u64().unwrap()
    }
    pub fn first_frame(&self) -> i64 {
        self.json["first_frame"].as_i64().unwrap()
    }
    pub fn frames(&self) -> i64 {
        self.json["frames"].as_i64().unwrap()
    }
    pub fn mic_samples(&self) -> [i64; 3] {
        [0, 1, 2].map(|mic: usize| self.json["mic_samples"][mic].as_i64().unwrap())
    }
    pub fn is_complete(&self) -> bool {
        self.mic_samples() == [self.frames(); 3]
    }
    /// `frames` of one sample a microphone (`/api/stream`: one channel).
    pub fn samples(&self) -> Vec<i32> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(self.json["data"].as_str().unwrap()).unwrap();
        bytes.chunks_exact(4).map(|four| i32::from_le_bytes(four.try_into().unwrap())).collect()
    }
}

/// A subscriber that reads as fast as it can, on a thread of its own, whatever the test does meanwhile.
pub struct Events {
    events: Receiver<Event>,
    pub last_id: Option<u64>,
    stream: TcpStream,
}

impl Events {
    pub fn open(address: SocketAddr, target: &str, headers: &str) -> Events {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0, "a head comes: {head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("text/event-stream"), "{head}");
        let (sender, events) = channel();
        thread::spawn(move || while read_event(&mut lines).is_some_and(|event| sender.send(event).is_ok()) {});
        Events { events, last_id: None, stream }
    }

    /// The next event, `None` when the server has ended the stream.
    pub fn next(&mut self) -> Option<Event> {
        match self.events.recv_timeout(PATIENCE) {
            Ok(event) => {
                self.last_id = event.id.or(self.last_id);
                Some(event)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("an event or the end comes within {PATIENCE:?}"),
        }
    }

    /// Reads on until an event fulfils a wish, that one included.
    pub fn until(&mut self, mut wish: impl FnMut(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().expect("the stream goes on");
            let done = wish(&event);
            events.push(event);
            if done {
                return events;
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Ends the reader too.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// One event, `None` at the stream's end.
fn read_event(lines: &mut BufReader<TcpStream>) -> Option<Event> {
    let (mut id, mut data) = (None, String::new());
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end_matches(['\r', '\n']) {
            "" if !data.is_empty() => {
                return Some(Event { id, json: serde_json::from_str(&data).expect("data is JSON") });
            }
            "" => {}
            text if text.starts_with(':') || text.starts_with("retry:") => {}
            text => match text.split_once(": ") {
                Some(("id", number)) => id = Some(number.parse().unwrap()),
                Some(("data", json)) => data.push_str(json),
                _ => panic!("no such line in an event stream: {text}"),
            },
        }
    }
}

/// The sample that stands at a position of a microphone: `simulate --signal index`.
pub fn index(mic: usize, position: i64) -> i32 {
    ((mic as i64 + 1) << 28 | position.rem_euclid(1 << 28)) as i32
}

/// Checks every frame of an event against the index signal: the right sample, or a flagged zero (of chunks in pieces anywhere in
/// the cycle, else behind the packet).
/// `offset`: the sender's position minus the stream's.
pub fn assert_aligned(event: &Event, offset: i64) {
    let (samples, given) = (event.samples(), event.mic_samples());
    assert_eq!(samples.len() as i64, 3 * event.frames());
    for (frame, three) in samples.chunks_exact(3).enumerate() {
        let position = event.first_frame() + frame as i64 + offset;
        for (mic, &sample) in three.iter().enumerate() {
            let there = if pieces().is_some() { sample != 0 } else { (frame as i64) < given[mic] };
            let want = if there { index(mic, position) } else { 0 };
            assert_eq!(sample, want, "event {:?}, frame {frame}, mic {mic}: {sample:#x} is not {want:#x}", event.id);
        }
    }
}

/// The sender's position minus the stream's, from any sample that is there.
pub fn offset_of(event: &Event) -> i64 {
    let (samples, given) = (event.samples(), event.mic_samples());
    assert!(given.iter().any(|&count| count > 0), "a cycle has a microphone");
    let at = samples.iter().position(|&sample| sample != 0).expect("a sample of the index signal is never zero");
    i64::from(samples[at] & 0x0fff_ffff) - event.first_frame() - (at / 3) as i64
}

/// Positions of consecutive events touch; how many frames were skipped where they do not.
pub fn skips(events: &[Event]) -> Vec<i64> {
    let gap = |two: &[Event]| two[1].first_frame() - (two[0].first_frame() + two[0].frames());
    events.windows(2).map(gap).filter(|&gap| gap != 0).collect()
}

/// A board of our own, packet by packet, with the index signal.
pub struct Board {
    pub socket: UdpSocket,
    mics: [SocketAddr; 3],
    /// When the next period begins; `None` before the first.
    next: Option<Instant>,
    pub position: i64,
}

pub const FRAMES: i64 = 512;
const PERIOD: Duration = Duration::from_nanos(10_666_667);
/// Whoever was not asked to send for so long begins anew: the test's own pause, beyond what a busy machine takes.
const PAUSE: Duration = Duration::from_millis(500);

impl Board {
    pub fn packet(&self, mic: usize, frames: i64) -> Vec<u8> {
        (self.position..self.position + frames).flat_map(|position| index(mic, position).to_le_bytes()).collect()
    }

    pub fn send(&self, mic: usize, bytes: &[u8]) {
        self.try_send(mic, bytes).unwrap();
    }

    pub fn try_send(&self, mic: usize, bytes: &[u8]) -> std::io::Result<usize> {
        self.socket.send_to(bytes, self.mics[mic])
    }

    /// A chunk as the board's library sends it: in pieces where `scripts/faults` asks for them.
    pub fn try_send_chunk(&self, mic: usize) -> std::io::Result<()> {
        let bytes = self.packet(mic, FRAMES);
        bytes.chunks(pieces().unwrap_or(bytes.len())).try_for_each(|piece| self.try_send(mic, piece).map(drop))
    }

    /// Sleeps until the next period begins. A board's clock does not wait for a machine that stalls: what it could not send in time
    /// leaves at once, since a pause with packets at their normal spacing behind it would truly be a loss.
    pub fn wait(&mut self) {
        let now = Instant::now();
        let next = self.next.filter(|&next| now < next + PAUSE).unwrap_or(now);
        thread::sleep(next.saturating_duration_since(now));
        self.next = Some(next + PERIOD);
    }

    /// One period: what `with` sends at its start; then the position is one packet on.
    pub fn period(&mut self, with: impl FnOnce(&Board)) {
        self.wait();
        with(self);
        self.position += FRAMES;
    }

    /// Whole cycles at their normal spacing.
    pub fn cycles(&mut self, count: usize) {
        for _ in 0..count {
            self.period(|board| (0..3).for_each(|mic| board.try_send_chunk(mic).unwrap()));
        }
    }
}

/// A scratch folder of one test, which goes with it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("micring-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a scratch folder");
        Folder(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
