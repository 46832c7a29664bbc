//! The processes under test: our peers, the Python one, and the real `micring serve`; started, read, stopped by their id.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use micring::sys::host;
use serde_json::Value;

use crate::load::{Mics, STOP};
use crate::os;

/// Nothing is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running process, killed when dropped.
pub struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
    pub mics: Mics,
    pub http: Option<SocketAddr>,
    /// What it said when it was ready.
    pub ready: Value,
    /// From the start of the process to its ready line, in milliseconds.
    pub ready_ms: f64,
}

/// The binary beside ours: `cargo run -p bench` builds only bench.
pub fn micring_path() -> Result<PathBuf> {
    let path = env::current_exe()?.with_file_name("micring");
    anyhow::ensure!(path.exists(), "{} is missing: cargo build --release", path.display());
    Ok(path)
}

/// Builds the program under test where cargo started us, so that what is measured is what stands in the tree.
pub fn build_micring() -> Result<()> {
    let Some(cargo) = env::var_os("CARGO") else { return Ok(()) };
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "micring", "--bin", "micring"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    anyhow::ensure!(command.status()?.success(), "micring does not build");
    Ok(())
}

impl Process {
    /// Starts `command` and waits for its line of JSON.
    pub fn start(mut command: Command) -> Result<Process> {
        host::die_with_parent(&mut command);
        let start = os::mono_ns();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting a process")?;
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line)?;
        let ready_ms = (os::mono_ns() - start) as f64 / 1e6;
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{command:?} did not say that it is ready: {line:?}");
        };
        let address = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let mics = [0, 1, 2].map(|mic: usize| address(&ready["mics"][mic]));
        let [Some(a), Some(b), Some(c)] = mics else { bail!("no microphones in {ready}") };
        let http = address(&ready["http"]);
        Ok(Process { child, out, mics: [a, b, c], http, ready, ready_ms })
    }

    /// A peer of ours: this very program.
    pub fn peer(kind: &str, name: &str, core: usize, flags: &[&str]) -> Result<Process> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["peer", kind, name, "--core", &core.to_string()]).args(flags);
        command.stderr(Stdio::inherit());
        Process::start(command)
    }

    /// `micring serve` on free ports.
    pub fn micring(core: usize, flags: &[&str]) -> Result<Process> {
        let mut command = Command::new(micring_path()?);
        command.args(["serve", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0"]);
        command.args(["--core", &core.to_string(), "--max-connections-per-address", "4096"]);
        command.args(["--max-connections", "4096"]).args(flags).stderr(Stdio::null());
        Process::start(command)
    }

    /// `micring serve` with the arrays of a configuration.
    pub fn configured(core: usize, config: &std::path::Path, flags: &[&str]) -> Result<Process> {
        let mut command = Command::new(micring_path()?);
        command.args(["serve", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0", "--core", &core.to_string()]);
        command.arg("--config").arg(config).args(flags).stderr(Stdio::null());
        Process::start(command)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn cpu_s(&self) -> Result<f64> {
        os::process_cpu_s(self.pid())
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("no VmRSS")?.parse()?)
    }

    /// A JSON body of the HTTP server.
    pub fn get(&self, target: &str) -> Result<Value> {
        let address = self.http.context("no HTTP server")?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // HTTP/1.0: the body as it is, until the connection ends.
        write!(stream, "GET {target} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut all = String::new();
        stream.read_to_string(&mut all)?;
        let (_, body) = all.split_once("\r\n\r\n").context("no head")?;
        Ok(serde_json::from_str(body)?)
    }

    /// Tells a receiver to stop, and reads what it saw: sent again and again, since a full socket may drop it.
    pub fn finish(mut self) -> Result<Value> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let give_up = os::mono_ns() + PATIENCE.as_nanos() as i64;
        let status = loop {
            for mic in self.mics {
                let _ = socket.send_to(STOP, mic);
            }
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            anyhow::ensure!(os::mono_ns() < give_up, "a receiver does not stop");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut text = String::new();
        self.out.read_to_string(&mut text)?;
        anyhow::ensure!(status.success(), "a receiver failed: {status}");
        serde_json::from_str(&text).with_context(|| format!("a receiver's figures: {text:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            os::terminate(self.child.id());
            let give_up = os::mono_ns() + 1_500_000_000;
            while os::mono_ns() < give_up {
                if let Ok(Some(_)) = self.child.try_wait() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
