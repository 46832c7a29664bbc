//! PipeWire's RTP sink: a daemon of its own without any session manager, a file played into it. (Its VBAN module came with 0.3.76, and
//! Debian 12 has 0.3.65.)

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::audio::{RATE, SECONDS, sample};
use super::route::Route;
use super::serve::Serve;
use super::{finish, folder, start};

const CONFIG: &str = r#"
context.properties = { core.daemon = true  core.name = pipewire-0  default.clock.rate = 48000
  default.clock.quantum = 256  default.clock.min-quantum = 64 }
context.spa-libs = { audio.convert.* = audioconvert/libspa-audioconvert  support.* = support/libspa-support }
context.modules = [
  { name = libpipewire-module-protocol-native }
  { name = libpipewire-module-client-node }
  { name = libpipewire-module-adapter }
  { name = libpipewire-module-link-factory }
  { name = libpipewire-module-metadata }
  { name = libpipewire-module-spa-node-factory }
  { name = libpipewire-module-access }
  { name = libpipewire-module-rtp-sink args = {
      local.ifname = lo  destination.ip = "127.0.0.1"  destination.port = PORT
      sess.min-ptime = 2  sess.max-ptime = 5
      audio.format = S24BE  audio.rate = 48000  audio.channels = 2  audio.position = [ FL FR ]
      stream.props = { node.name = rtp-sink  media.class = Audio/Sink  node.autoconnect = false } } }
]
context.objects = [ { factory = spa-node-factory args = {
  factory.name = support.node.driver  node.name = driver  node.group = pipewire.dummy  priority.driver = 20000 } } ]
"#;

/// What a session manager says: ports of so many channels.
fn ports(direction: &str) -> String {
    format!(
        "{{ direction: {direction} mode: dsp format: {{ mediaType: audio mediaSubtype: raw format: F32P rate: 48000 channels: 2 \
         position: [ FL FR ] }} }}"
    )
}

/// A daemon, and its tools in its own run folder.
struct Daemon<'a> {
    folder: &'a Path,
    daemon: Child,
}

impl Daemon<'_> {
    fn start(folder: &Path, port: u16) -> Daemon<'_> {
        let config = folder.join("pipewire.conf");
        std::fs::write(&config, CONFIG.replace("PORT", &port.to_string())).expect("a file");
        let mut command = Command::new("pipewire");
        let daemon = start(command.arg("-c").arg(&config).env("XDG_RUNTIME_DIR", folder));
        Daemon { folder, daemon }
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("XDG_RUNTIME_DIR", self.folder).stdin(Stdio::null());
        command
    }

    /// The id of the node of this name, once it is there.
    fn node(&self, name: &str) -> String {
        self.wait(name, || {
            let listed = self.tool("pw-cli").args(["ls", "Node"]).output().expect("it runs");
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            let node = listed.split("\tid ").find(|node| node.contains(&format!("node.name = \"{name}\"")))?;
            node.split(',').next().map(str::to_owned)
        })
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begin.elapsed() < Duration::from_secs(120), "PipeWire has no {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn give_ports(&self, node: &str, direction: &str) {
        let id = self.node(node);
        let said = self.tool("pw-cli").args(["set-param", &id, "PortConfig", &ports(direction)]).output();
        assert!(said.expect("it runs").status.success(), "{node} gets ports");
    }

    fn link(&self, from: &str, to: &str) {
        self.wait(from, || {
            let linked = self.tool("pw-link").args([from, to]).output().expect("it runs");
            linked.status.success().then_some(())
        });
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// The samples as a WAV file of 24 bits.
fn wav(path: &Path) {
    let data: Vec<u8> = (0..SECONDS * RATE)
        .flat_map(|position| (0..2).map(move |channel| sample(channel, position, 3)))
        .flat_map(|sample| sample.to_le_bytes()[1..].to_vec())
        .collect();
    let mut out = Vec::from(*b"RIFF");
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
    out.extend((RATE as u32).to_le_bytes());
    out.extend((RATE as u32 * 6).to_le_bytes());
    out.extend(b"\x06\0\x18\0data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    std::fs::write(path, out).expect("a file");
}

/// What was sent, by the time that its packets carry: RFC 3550 5.1, a header of twelve bytes, and L24 of RFC 3190. A player that does not
/// keep up on a busy machine leaves gaps and jumps in it: the truth is what the sink sent.
struct Sent {
    /// Both channels, left-justified; `None` where the packet was lost, or nothing was sent.
    frames: Vec<Option<[i32; 2]>>,
}

impl Sent {
    fn new(datagrams: &[(Vec<u8>, bool)]) -> Sent {
        let time = |datagram: &[u8]| u32::from_be_bytes(datagram[4..8].try_into().expect("four bytes"));
        let first = time(&datagrams[0].0);
        let mut frames = Vec::new();
        for (datagram, lost) in datagrams {
            let at = time(datagram).wrapping_sub(first) as usize;
            assert!(at < 2 * SECONDS * RATE, "its time goes on with its samples");
            let words = datagram[12..].chunks_exact(3).map(|word| i32::from_be_bytes([word[0], word[1], word[2], 0]));
            let words: Vec<i32> = words.collect();
            frames.resize(frames.len().max(at + words.len() / 2), None);
            for (nth, frame) in words.chunks_exact(2).enumerate().filter(|_| !lost) {
                frames[at + nth] = Some([frame[0], frame[1]]);
            }
        }
        Sent { frames }
    }

    /// Every frame of the history is the one that was sent, or silence where none came. How many sounded.
    fn compare(&self, history: &[Vec<i32>]) -> usize {
        const ALIKE: usize = 64;
        let sounds = |frame: &Vec<i32>| frame.iter().all(|sample| *sample != 0);
        let from = (0..history.len() - ALIKE).find(|&at| history[at..at + ALIKE].iter().all(sounds)).expect("sound");
        let same =
            |at: usize| (0..ALIKE).all(|nth| self.frames[at + nth].is_some_and(|sent| history[from + nth] == sent));
        let base = (0..self.frames.len() - ALIKE).find(|&at| same(at)).expect("it was sent");
        let pairs = history[from..].iter().zip(&self.frames[base..]);
        pairs
            .enumerate()
            .map(|(at, (heard, sent))| {
                assert_eq!(heard[..], sent.unwrap_or_default(), "frame {at}");
                usize::from(sounds(heard))
            })
            .sum()
    }

    /// Frames that are the file's: both channels at one position.
    fn of_the_file(&self) -> usize {
        let of_file = |[left, right]: &[i32; 2]| {
            let position = (*left as u32 as usize & 0x3fff_ffff) >> 8;
            *left == sample(0, position, 3) && *right == sample(1, position, 3)
        };
        self.frames.iter().flatten().filter(|frame| of_file(frame)).count()
    }
}

#[test]
fn pipewire_s_rtp_sink_is_heard_to_the_sample_and_its_losses_are_told() {
    let folder = folder("pipewire");
    let file = folder.join("samples.wav");
    wav(&file);
    let serve = Serve::start_on("0", &["--format", "rtp:L24/48000/2"]);
    let route = Route::keeping(serve.ports[0], 9);
    let daemon = Daemon::start(&folder, route.port);
    daemon.give_ports("rtp-sink", "Input");
    let player = start(daemon.tool("pw-cat").args(["--playback", "--target", "0"]).arg(&file));
    daemon.give_ports("pw-cat", "Output");
    for side in ["FL", "FR"] {
        daemon.link(&format!("pw-cat:output_{side}"), &format!("rtp-sink:playback_{side}"));
    }
    finish("pw-cat", player);
    drop(daemon);
    std::thread::sleep(Duration::from_millis(300));
    let carried = route.end();
    let told = &serve.json("/api/diagnostics_sync")["loss"]["mic0"];
    println!("{} passed, {} lost, {} twice; told {told}", carried.passed, carried.lost, carried.duplicated);
    assert!(carried.passed > 1_000 && carried.lost > 10, "it sent {carried:?}");
    assert_eq!((&told["known"], &told["lost"]), (&true.into(), &carried.lost.into()), "{told}");
    assert_eq!(told["duplicate"], carried.duplicated, "{told}");
    for key in ["malformed", "truncated", "number_jumps", "corrected", "slips"] {
        assert_eq!(told[key], 0, "{key}: {told}");
    }
    let (sent, frames) = (Sent::new(&carried.sent), serve.history());
    let found = sent.compare(&frames);
    println!("{found} frames are as they were sent, of {}", sent.frames.len());
    assert!(found > (SECONDS - 6) * RATE, "{found}");
    assert!(sent.of_the_file() > (SECONDS - 6) * RATE, "it is the file that was played");
    std::fs::remove_dir_all(&folder).expect("what was made can be removed");
}
