//! How the server stands on its host: confined once it is set up, watched by the service manager, low latency where it may.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;

use crate::rig::{PATIENCE, Serve, assert_aligned, micring, offset_of};

const ROUTES: [&str; 7] = [
    "/",
    "/metrics",
    "/api/diagnostics",
    "/api/diagnostics_sync",
    "/api/latest",
    "/api/download_buffer",
    "/api/download_buffer_text",
];

/// A field of the process's /proc/PID/status.
fn status(serve: &Serve, key: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/status", serve.pid())).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("{key} is there")).trim().to_owned()
}

/// Plays 60 cycles and asks every route.
fn works(serve: &Serve) {
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board();
    board.cycles(60);
    let first = events.next().unwrap();
    let offset = offset_of(&first);
    (1..60).for_each(|_| assert_aligned(&events.next().unwrap(), offset));
    for route in ROUTES {
        assert_eq!(serve.get(route).status, 200, "{route}");
    }
}

#[test]
fn a_confined_server_has_no_privileges_and_still_does_all_of_its_work() {
    let mut serve = Serve::start(&[]);
    works(&serve);
    let held = ["NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapInh", "CapAmb"].map(|key| status(&serve, key));
    let none = "0000000000000000";
    assert_eq!(held, ["1", "2", none, none, none, none]);
    let metrics = String::from_utf8(serve.get("/metrics").body).unwrap();
    for figure in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
        let known =
            |line: &str| line.strip_prefix(figure).is_some_and(|rest| rest.trim().parse::<f64>().unwrap() > 0.0);
        assert!(metrics.lines().any(known), "{figure} is still known");
    }
    assert_eq!(serve.stop(), Some(0));
    let said = serve.stderr();
    assert!(said.contains("confined by no new privileges (set), landlock ("), "{said}");
    assert!(!said.contains("NOT by"), "{said}");
}

#[test]
fn no_sandbox_leaves_everything_as_it_was() {
    let mut serve = Serve::start(&["--no-sandbox"]);
    works(&serve);
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = own.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    assert_eq!(["NoNewPrivs", "Seccomp", "CapEff"].map(|key| status(&serve, key)), ["0", "0", line]);
    assert_eq!(serve.stop(), Some(0));
    assert!(serve.stderr().contains("not confined: --no-sandbox"));
}

#[test]
fn the_service_manager_hears_ready_alive_and_stopping_and_nothing_from_a_stuck_loop() {
    let path = std::env::temp_dir().join(format!("micring-manager-{}", std::process::id()));
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut command = micring();
    command.args(["serve", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut serve = Serve::spawn(command);
    std::fs::remove_file(&path).unwrap(); // as a manager of a private folder: the connection stands
    let hear_within = |time: Duration| {
        let mut text = [0; 64];
        manager.set_read_timeout(Some(time)).unwrap();
        manager.recv(&mut text).map(|len| String::from_utf8_lossy(&text[..len]).into_owned()).ok()
    };
    let hear = || hear_within(PATIENCE);
    let hear_soon = || hear_within(Duration::from_millis(500));
    assert_eq!(hear().as_deref(), Some("READY=1"));
    // Fed with nothing to do, and under load.
    (0..5).for_each(|_| assert_eq!(hear().as_deref(), Some("WATCHDOG=1")));
    serve.board().cycles(30);
    (0..5).for_each(|_| assert_eq!(hear().as_deref(), Some("WATCHDOG=1")));
    serve.signal(libc::SIGSTOP);
    while hear_soon().is_some() {} // what was under way; then half a second of silence
    serve.signal(libc::SIGCONT);
    assert_eq!(hear().as_deref(), Some("WATCHDOG=1"));
    assert_eq!(serve.stop(), Some(0));
    let last: Vec<String> = std::iter::from_fn(hear_soon).collect();
    assert!(last.iter().any(|state| state == "STOPPING=1"), "{last:?}");
}

#[test]
fn low_latency_is_had_or_said_to_be_refused_part_by_part() {
    let mut serve = Serve::start(&["--low-latency"]);
    works(&serve);
    let process = format!("/proc/{}", serve.pid());
    // Field 41 of stat is the policy; the name, which may hold blanks, ends with the last bracket (proc(5)).
    let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap();
    let policy = stat.rsplit(')').next().unwrap().split_whitespace().nth(38).unwrap().to_owned();
    let locked = status(&serve, "VmLck") != "0 kB";
    let open = std::fs::read_dir(format!("{process}/fd")).unwrap().flatten();
    let device = std::path::Path::new("/dev/cpu_dma_latency");
    let held = open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target == device);
    assert_eq!(serve.stop(), Some(0));
    let said = serve.stderr();
    for (part, had) in [("wakeup", held), ("fifo", policy == libc::SCHED_FIFO.to_string()), ("mlock", locked)] {
        let refused = said.contains(&format!("low latency: {part} refused"));
        assert!(said.contains(&format!("low latency: {part}")), "{part} is spoken of: {said}");
        assert_ne!(had, refused, "{part}: {said}");
    }
}

#[test]
fn a_spinning_loop_serves_and_is_never_real_time_where_the_kernel_would_stop_it() {
    let bound = std::fs::read_to_string("/proc/sys/kernel/sched_rt_runtime_us").unwrap();
    let mut serve = Serve::start(&["--busy-poll", "--low-latency=fifo"]);
    works(&serve);
    assert_eq!(serve.stop(), Some(0));
    if bound.trim() != "-1" {
        assert!(serve.stderr().contains("left out beside --busy-poll"), "{}", serve.stderr());
    }
}

/// Runs under a filter that forbids io_uring, as a container's does.
fn without_io_uring(mut command: Command) -> Command {
    let forbidden = BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let program: BpfProgram =
        SeccompFilter::new(forbidden, SeccompAction::Allow, refuse, arch).unwrap().try_into().unwrap();
    // SAFETY: between fork and exec this makes two plain system calls on memory that was made before.
    unsafe {
        command.pre_exec(move || seccompiler::apply_filter(&program).map_err(std::io::Error::other));
    }
    command
}

#[test]
fn where_io_uring_is_forbidden_the_doctor_fails_and_serve_says_why() {
    let mut doctor = micring();
    doctor.args(["doctor", "--json", "--core", "none"]);
    let output = without_io_uring(doctor).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["state"], "fail");
    let checks = report["checks"].as_array().unwrap();
    let tried = checks.iter().find(|check| check["name"] == "multishot receive").unwrap();
    assert_eq!(tried["state"], "fail");
    assert!(tried["mend"].as_str().unwrap().contains("kernel.io_uring_disabled"), "{tried}");

    let mut serve = micring();
    serve.args(["serve", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0"]);
    let output = without_io_uring(serve).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("micring: cannot set up io_uring") && said.lines().count() == 1, "{said}");
}

#[test]
fn the_doctor_looks_at_everything_and_passes_where_micring_runs() {
    let output = micring().args(["doctor", "--json"]).stderr(Stdio::inherit()).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let failed: Vec<&Value> = checks.iter().filter(|check| check["state"] == "fail").collect();
    assert_eq!(failed, Vec::<&Value>::new());
    assert_eq!(output.status.code(), Some(0));
    for name in [
        "kernel",
        "io_uring allowed",
        "multishot receive",
        "timestamps",
        "receive buffer",
        "locked memory",
        "core isolation",
        "frequency governor",
        "clock source",
        "clock discipline",
        "reassembly",
        "wake-up latency",
        "landlock",
        "seccomp",
    ] {
        assert!(checks.iter().any(|check| check["name"] == name), "{name}");
    }
    // Whatever is not well says what mends it.
    assert!(checks.iter().all(|check| (check["state"] == "ok") == check["mend"].is_null()));
    let wrong = micring().args(["doctor", "--interface", "nosuch0"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(1));
}

/// Sends a packet each 10.667 ms for so long, from a socket of its own: a counter in front for the first address, samples alone for
/// the second.
fn two_microphones(to: [SocketAddr; 2], packets: u32) {
    let sockets = to.map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let (start, period) = (Instant::now(), Duration::from_nanos(10_666_667));
    let mut noise = 1_u32;
    for n in 0..packets {
        thread::sleep((start + period * n).saturating_duration_since(Instant::now()));
        for (mic, socket) in sockets.iter().enumerate() {
            let samples = (0..512).flat_map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((noise as i32 >> 6) & !0xff).to_le_bytes()
            });
            let header = (mic == 0).then(|| n.to_le_bytes()).into_iter().flatten();
            socket.send_to(&header.chain(samples).collect::<Vec<u8>>(), to[mic]).unwrap();
        }
    }
}

#[test]
fn the_doctor_listens_and_tells_what_comes_and_which_options_it_needs() {
    let mut doctor = micring()
        .args(["doctor", "--listen", "5", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(doctor.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let list = line.strip_prefix("listening on ").expect("it says where").split(" for ").next().unwrap();
    let ports: Vec<SocketAddr> = list.split(", ").map(|port| port.parse().unwrap()).collect();
    two_microphones([ports[0], ports[1]], 420);
    let output = doctor.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let heard = |mic: usize| &report["ports"][mic];
    assert_eq!(heard(0)["senders"][0]["longest_bytes"], 2052, "{report}");
    assert_eq!(heard(0)["faults"][0]["fault"], "header_in_audio", "{report}");
    assert_eq!((&heard(1)["format"], &heard(1)["channels"]), (&"raw:s32le".into(), &1.into()), "{report}");
    assert!(heard(1)["senders"][0]["datagrams"].as_u64().unwrap() > 300, "{report}");
    assert_eq!(heard(2)["senders"], serde_json::json!([]));
    let serve = report["serve"].as_str().unwrap();
    assert!(serve.contains(" --format 0=raw:s32le,skip=4,seq=u32le@0"), "{serve}");
    assert!(serve.contains(&format!("--mic-ports {},{},{}", ports[0].port(), ports[1].port(), ports[2].port())));
    assert_eq!(output.status.code(), Some(1), "something is wrong");
    let alone = micring().args(["doctor", "--mic-ports", "1,2,3"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(2), "ports are for listening");
}
