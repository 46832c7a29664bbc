//! What came with the second floor, each beside what it cannot be better than: RTP out beside a plain send loop, `extract` beside reading and writing
//! as many bytes, listening to the sound beside not listening.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use micring::sys::host;

use super::Outcome;
use super::arrays::{self as many, Config};
use super::growth::Folder;
use crate::load::Mics;
use crate::os::{self, Epoll};
use crate::process::{Process, micring_path};
use crate::rig::Rig;
use crate::stats::{Claim, Sheet};

/// Arrays that are sent as RTP: one alone costs less than a measurement is off by.
const SENT: usize = 20;
/// Three channels of L24: 135 frames and a header of 12 bytes (docs/out.md).
const RTP_BYTES: usize = 12 + 135 * 9;
/// Arrays of three free boards that are listened to.
const HEARD: usize = 4;
/// Share of a core that an array may cost while it is decided about (issue 17).
const DECIDING: f64 = 0.6;
/// Of the recording that `extract` reads.
const RECORDED_S: f64 = 300.0;

pub fn run(rig: &Rig) -> Result<Outcome> {
    let (mut rtp, mut sound, mut disk) = (Sheet::default(), Sheet::default(), Sheet::default());
    for round in 0..rig.rounds {
        rig.progress(format_args!("limits {round}: RTP out"));
        rtp_out(rig, &mut rtp, round)?;
        rig.progress(format_args!("limits {round}: sound"));
        listening(rig, &mut sound, round)?;
        rig.progress(format_args!("limits {round}: extract"));
        extract(rig, &mut disk, round)?;
    }
    let claims = vec![Claim::at_most("listening to an array, % of a core", sound.get("an array", "CPU %"), DECIDING)];
    let about = "RTP out: what it adds to twenty arrays, a packet, beside a loop that wakes as often and sends as many packets of the size with \
                 sendmsg. Sound: four arrays of three free boards, speech in a room, paths `queue` with 1 % loss, beside --no-sound. extract: a \
                 recording, beside reading and writing as many bytes as it reads and writes, a MiB at a time."
        .into();
    let sheets = vec![
        ("RTP out beside a plain loop".into(), rtp),
        ("sound beside --no-sound".into(), sound),
        ("extract beside the disk".into(), disk),
    ];
    Ok(Outcome { name: "limits", about, sheets, claims })
}

fn rtp_out(rig: &Rig, sheet: &mut Sheet, round: usize) -> Result<()> {
    let sink = Sink::new(rig)?;
    let arrays = many::of_their_own_ports(SENT);
    let (without, _) = twenty(rig, &arrays)?;
    let mut entries = arrays.split_inclusive("history = \"2s\"\n");
    let sent: String =
        sink.addresses.iter().map(|to| format!("{}rtp_out = \"{to}\"\n", entries.next().unwrap_or_default())).collect();
    let (with, packets) = twenty(rig, &sent)?;
    ensure!(packets > 0.0, "no RTP was sent");
    let plain = plain_loop(rig, &sink.addresses)?;
    let ours = (with - without) * 1e6 / packets;
    sheet.put(round, "micring serve", "CPU us a packet", ours);
    sheet.put(round, "micring serve", "packets a second", packets);
    sheet.put(round, "plain loop", "CPU us a packet", plain);
    sheet.put(round, "micring serve", "beside the plain loop", ours / plain);
    Ok(())
}

/// CPU seconds a second of a server with twenty arrays, and RTP packets a second.
fn twenty(rig: &Rig, config: &str) -> Result<(f64, f64)> {
    let config = Config::new(config)?;
    let serve = Process::configured(rig.under_test, &config.0, &[])?;
    let boards = many::on_loopback(&many::listed(&serve)?);
    let (cpu, _) = many::load(rig, &serve, boards)?;
    let told = serve.get("/api/arrays")?;
    let sent = told["arrays"]
        .as_array()
        .context("a list")?
        .iter()
        .filter_map(|array| array["rtp"]["sent"]["packets"].as_u64());
    Ok((cpu, sent.sum::<u64>() as f64 / (rig.seconds(many::WARM_UP_S) + rig.seconds(many::MEASURED_S))))
}

/// CPU microseconds a packet of a loop that does nothing else.
fn plain_loop(rig: &Rig, to: &[SocketAddr]) -> Result<f64> {
    let (core, to, seconds) = (rig.under_test, to.to_vec(), rig.seconds(many::MEASURED_S));
    let sender = thread::spawn(move || -> Result<f64> {
        host::pin_to(core)?;
        let socket = |to: &SocketAddr| -> Result<UdpSocket> {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(to)?;
            Ok(socket)
        };
        let sockets = to.iter().map(socket).collect::<Result<Vec<UdpSocket>>>()?;
        let packet = [0x5a; RTP_BYTES];
        let step_ns = 10_666_667 / sockets.len() as i64;
        let (start, before, mut sent) = (os::mono_ns(), os::thread_cpu_s(), 0_u64);
        for step in 0..(seconds * 1e9) as i64 / step_ns {
            os::sleep_until(start + step * step_ns);
            let socket = &sockets[step as usize % sockets.len()];
            // 512 frames are 3.8 packets.
            for _ in 0..if step % 5 == 0 { 3 } else { 4 } {
                socket.send(&packet).context("a packet")?;
                sent += 1;
            }
        }
        Ok((os::thread_cpu_s() - before) * 1e6 / sent as f64)
    });
    sender.join().expect("the loop does not panic")
}

/// Sockets that take what is sent, emptied by a thread on the load's core until it goes.
struct Sink {
    addresses: Vec<SocketAddr>,
    ended: Arc<AtomicBool>,
}

impl Sink {
    fn new(rig: &Rig) -> Result<Sink> {
        let bind = |_| UdpSocket::bind("127.0.0.1:0").context("a sink's socket");
        let sockets = (0..SENT).map(bind).collect::<Result<Vec<UdpSocket>>>()?;
        let addresses = sockets.iter().map(UdpSocket::local_addr).collect::<std::io::Result<_>>()?;
        let ended = Arc::new(AtomicBool::new(false));
        let epoll = Epoll::new()?;
        for (token, socket) in sockets.iter().enumerate() {
            socket.set_nonblocking(true)?;
            epoll.add(socket.as_raw_fd(), token as u64, libc::EPOLLIN)?;
        }
        let flag = ended.clone();
        // It ends with the flag: a tenth of a second later at the latest.
        let _ = rig.on_load(None, move || {
            let mut ready = Vec::with_capacity(SENT);
            while !flag.load(Ordering::Relaxed) {
                epoll.wait(&mut ready, 100);
                for &(token, _) in &ready {
                    while os::discard(sockets[token as usize].as_raw_fd()).is_ok() {}
                }
            }
        });
        Ok(Sink { addresses, ended })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn listening(rig: &Rig, sheet: &mut Sheet, round: usize) -> Result<()> {
    let (heard, busy_us) = free_boards(rig, &[])?;
    let (unheard, _) = free_boards(rig, &["--no-sound"])?;
    let an_array = 100.0 * (heard - unheard) / HEARD as f64;
    sheet.put(round, "an array", "CPU %", an_array);
    sheet.put(round, "an array", "told by the server (busy_us_per_s), %", busy_us / 1e4 / HEARD as f64);
    sheet.put(round, "four arrays, --no-sound", "CPU %", 100.0 * unheard);
    sheet.put(round, "four arrays, heard", "CPU %", 100.0 * heard);
    Ok(())
}

/// CPU seconds a second of a server of arrays of free boards in a room, and what it tells that listening took, us a second.
fn free_boards(rig: &Rig, flags: &[&str]) -> Result<(f64, f64)> {
    let config = Config::new(&many::of_their_own_ports(HEARD))?;
    let serve = Process::configured(rig.under_test, &config.0, flags)?;
    let (warm_up, measured) = (rig.seconds(10.0), rig.seconds(30.0));
    let mics = many::listed(&serve)?;
    let boards = mics.iter().zip(1..).map(|(mics, seed)| simulate(rig, mics, seed, warm_up + measured + 1.0));
    let boards = boards.collect::<Result<Vec<_>>>()?;
    sleep(Duration::from_secs_f64(warm_up));
    let before = serve.cpu_s()?;
    sleep(Duration::from_secs_f64(measured));
    let cpu = (serve.cpu_s()? - before) / measured;
    let mut busy = 0.0;
    for nth in 0..HEARD {
        let figures = serve.get(&format!("/api/arrays/a{nth}/diagnostics"))?;
        busy += figures["sound"]["busy_us_per_s"].as_f64().unwrap_or(0.0);
    }
    for mut board in boards {
        ensure!(board.wait()?.success(), "simulate failed");
    }
    Ok((cpu, busy))
}

fn simulate(rig: &Rig, mics: &Mics, seed: u64, seconds: f64) -> Result<std::process::Child> {
    let ports = mics.map(|mic| mic.port().to_string()).join(",");
    let mut command = Command::new(micring_path()?);
    command.args(["simulate", "--mic-ports", &ports, "--boards", "each", "--ppm", "20,-15,3", "--delay", "queue"]);
    command.args(["--loss", "1%", "--signal", "speech", "--seed", &seed.to_string(), "--core", &rig.load.to_string()]);
    command.args(["--duration", &format!("{seconds:.0}s")]);
    host::die_with_parent(&mut command);
    let quiet = std::process::Stdio::null;
    command.stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().context("boards")
}

fn extract(rig: &Rig, sheet: &mut Sheet, round: usize) -> Result<()> {
    let folder = Folder::new()?;
    let (file, audio) = (folder.0.join("day.pcapng"), folder.0.join("audio"));
    let duration = format!("{:.0}s", if rig.quick { 2.0 } else { RECORDED_S * rig.stretch });
    let mut record = Command::new(micring_path()?);
    record.args(["simulate", "--loss", "1%", "--duration", &duration, "--record"]).arg(&file);
    os::spend(&mut record, rig.under_test)?;
    // What was just written is in memory for both.
    let mut command = Command::new(micring_path()?);
    let spent = os::spend(command.arg("extract").arg(&file).arg("--to").arg(&audio), rig.under_test)?;
    let written = std::fs::read_dir(&audio)?.map(|entry| Ok(entry?.metadata()?.len())).sum::<std::io::Result<u64>>()?;
    let (core, to) = (rig.under_test, folder.0.join("copy"));
    let copying =
        thread::spawn(move || host::pin_to(core).map_err(anyhow::Error::from).and_then(|()| copy(&file, &to, written)));
    let disk_s = copying.join().expect("copying does not panic")?;
    sheet.put(round, "micring extract", "s", spent.wall_s);
    sheet.put(round, "reading and writing as much", "s", disk_s);
    sheet.put(round, "micring extract", "beside the disk", spent.wall_s / disk_s);
    sheet.put(round, "micring extract", "most MiB", spent.most_mib);
    Ok(())
}

/// Reads a file whole and writes so many bytes of it, or fewer where it has fewer: seconds.
fn copy(from: &Path, to: &Path, written: u64) -> Result<f64> {
    let start = os::mono_ns();
    let (mut from, mut to, mut left) = (File::open(from)?, File::create(to)?, written);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok((os::mono_ns() - start) as f64 / 1e9);
        }
        let part = left.min(count as u64);
        to.write_all(&buffer[..part as usize])?;
        left -= part;
    }
}
