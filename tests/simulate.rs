//! `micring simulate` against plain sockets: what arrives is what it says it sent, and what does not arrive is what it says
//! it withheld.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

const SAMPLES: usize = 64;

/// Three sockets that a simulator sends to.
struct Receivers([UdpSocket; 3]);

/// What came to one microphone's socket, in order.
type Came = Vec<(SocketAddr, Vec<u8>)>;

impl Receivers {
    fn bind() -> Receivers {
        Receivers([(); 3].map(|()| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port on loopback");
            socket.set_nonblocking(true).expect("a socket can be non-blocking");
            socket
        }))
    }

    /// With 64 samples a chunk unless the options say otherwise.
    fn start(&self, options: &str) -> Child {
        let samples = if options.contains("--samples") { String::new() } else { format!("--samples {SAMPLES}") };
        let ports = self.0.each_ref().map(|socket| socket.local_addr().unwrap().port().to_string()).join(",");
        Command::new(env!("CARGO_BIN_EXE_micring"))
            .args(["simulate", "--core", "none", "--mic-ports", &ports])
            .args(samples.split_whitespace().chain(options.split_whitespace()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("micring runs")
    }

    /// Takes what has come so far.
    fn drain(&self, came: &mut [Came; 3]) {
        let mut buffer = [0; 65_536];
        for (socket, came) in self.0.iter().zip(came) {
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((length, sender)) => came.push((sender, buffer[..length].to_vec())),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("receiving failed: {error}"),
                }
            }
        }
    }

    /// Receives until the simulator has ended.
    fn run(&self, options: &str) -> ([Came; 3], Value) {
        let mut child = self.start(options);
        let mut came = Default::default();
        while child.try_wait().expect("the child can be waited for").is_none() {
            self.drain(&mut came);
            std::thread::sleep(Duration::from_millis(2));
        }
        self.drain(&mut came);
        (came, result(&child.wait_with_output().expect("the child has ended")))
    }
}

fn result(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object on standard output")
}

/// The position in the `index` signal's first sample; checks the others, and the microphone.
fn position(mic: usize, payload: &[u8]) -> i64 {
    assert_eq!(payload.len(), SAMPLES * 4);
    let samples: Vec<i32> = payload.chunks(4).map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let first = samples[0] - ((mic as i32 + 1) << 28);
    for (offset, sample) in samples.iter().enumerate() {
        assert_eq!(*sample, ((mic as i32 + 1) << 28) | (first + offset as i32));
    }
    i64::from(first)
}

fn count(result: &Value, mic: usize, key: &str) -> u64 {
    result["mics"][mic][key].as_u64().unwrap_or_else(|| panic!("mics[{mic}].{key} in {result}"))
}

const ROUGH: &str = "--cycles 600 --loss 3% --drop-cycles 5@200ms --duplicate 2% --mute 1@300ms..350ms \
                     --delay exp1 --list-withheld";

#[test]
fn what_does_not_come_is_what_was_withheld() {
    let (came, result) = Receivers::bind().run(ROUGH);
    for (mic, came) in came.iter().enumerate() {
        let positions: Vec<i64> = came.iter().map(|(_, payload)| position(mic, payload)).collect();
        let distinct: BTreeSet<i64> = positions.iter().copied().collect();
        let missing: BTreeSet<i64> =
            (0..600).map(|cycle| cycle * SAMPLES as i64).filter(|at| !distinct.contains(at)).collect();
        let withheld = result["mics"][mic]["withheld_packets"].as_array().expect("the list that was asked for");
        let withheld: BTreeSet<i64> = withheld.iter().map(|one| one["position"].as_i64().unwrap()).collect();
        assert_eq!(missing, withheld);
        assert_eq!(distinct.len() as u64, count(&result, mic, "sent"));
        assert_eq!(missing.len() as u64, count(&result, mic, "withheld"));
        assert_eq!((positions.len() - distinct.len()) as u64, count(&result, mic, "duplicated"));
        assert_eq!(count(&result, mic, "cycle_lost"), 5);
        assert!(count(&result, mic, "lost") > 0 && count(&result, mic, "duplicated") > 0);
    }
    // 50 ms are 37.5 periods of 64 samples.
    assert!((37..=38).contains(&count(&result, 1, "muted")));
    assert_eq!(count(&result, 0, "muted"), 0);
}

/// The positions of the `index` signal's whole samples in a piece that may cut one at either end.
fn positions_in(mic: usize, payload: &[u8], begins_cut: usize) -> Vec<i64> {
    let samples = payload[begins_cut..].chunks_exact(4).map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap()));
    samples.map(|sample| i64::from(sample - ((mic as i32 + 1) << 28))).collect()
}

#[test]
fn chunks_leave_in_pieces_as_arduino_sends_them_and_what_is_lost_is_told_in_pieces() {
    let (came, result) = Receivers::bind().run("--samples 512 --pieces 1460 --duration 2s --loss 5% --list-withheld");
    assert_eq!(result["pieces"], 1460);
    for (mic, came) in came.iter().enumerate() {
        let sizes: Vec<usize> = came.iter().map(|(_, payload)| payload.len()).collect();
        assert!(sizes.iter().all(|size| [1_460, 588].contains(size)));
        let there: BTreeSet<i64> = came.iter().flat_map(|(_, payload)| positions_in(mic, payload, 0)).collect();
        // 187 chunks are captured within two seconds.
        let missing: Vec<i64> = (0..187 * 512).filter(|at| !there.contains(at)).collect();
        let withheld = result["mics"][mic]["withheld_packets"].as_array().expect("the list that was asked for");
        let at = |one: &Value, key: &str| one[key].as_i64().unwrap();
        let told = withheld.iter().flat_map(|one| at(one, "position")..at(one, "position") + at(one, "samples"));
        assert_eq!(told.collect::<Vec<i64>>(), missing);
        // Whole chunks and pieces apart, by what is missing of each chunk.
        let of_chunk = |chunk: i64| missing.iter().filter(|at| **at / 512 == chunk).count();
        let (lost, pieces) = (0..187).map(of_chunk).fold((0, 0), |(lost, pieces), missing| match missing {
            0 => (lost, pieces),
            512 => (lost + 1, pieces),
            365 | 147 => (lost, pieces + 1),
            other => panic!("{other} samples of a chunk are missing"),
        });
        assert_eq!((count(&result, mic, "lost_chunks"), count(&result, mic, "lost_pieces")), (lost, pieces));
        assert!(pieces > 2, "{pieces} of some 19");
        assert_eq!(count(&result, mic, "withheld"), 2 * lost + pieces);
        assert_eq!(count(&result, mic, "sent") + count(&result, mic, "withheld"), 2 * 187);
        assert_eq!(count(&result, mic, "samples"), there.len() as u64);
    }
}

#[test]
fn pieces_of_any_size_a_read_of_two_chunks_and_a_beginning_in_the_middle() {
    let options = "--samples 512 --pieces 1458 --chunks-per-read 2 --piece-order turn --unheard 3 --cycles 40";
    let (came, _) = Receivers::bind().run(options);
    for (mic, came) in came.iter().enumerate() {
        // Of each microphone the first of all datagrams was unheard.
        let sizes: Vec<usize> = came.iter().map(|(_, payload)| payload.len()).collect();
        let wanted: Vec<usize> = [1_458, 590].into_iter().cycle().skip(1).take(4 * 40 - 1).collect();
        assert_eq!(sizes, wanted);
        let bytes: Vec<u8> = came.iter().flat_map(|(_, payload)| payload.iter().copied()).collect();
        // Two bytes are left of the sample that the edge cuts; the next one is sample 365.
        let positions = positions_in(mic, &bytes, 2);
        assert!(positions.into_iter().eq(365..80 * 512), "mic {mic}");
    }
}

#[test]
fn the_same_seed_sends_the_same_bytes() {
    let bytes = |options: &str| {
        let (came, result) = Receivers::bind().run(options);
        let payloads = came.map(|came| came.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>());
        (payloads, result["mics"].clone())
    };
    let first = bytes(&format!("{ROUGH} --signal source"));
    assert!(first == bytes(&format!("{ROUGH} --signal source")));
    assert!(first.0 != bytes(&format!("{ROUGH} --signal source --seed 43")).0);
}

#[test]
fn one_board_is_one_sender_and_three_are_three_addresses() {
    let senders = |options: &str| {
        let (came, result) = Receivers::bind().run(options);
        let senders = came.map(|came| came.iter().map(|(sender, _)| *sender).collect::<BTreeSet<SocketAddr>>());
        (senders, result)
    };
    let (one, _) = senders("--cycles 100");
    assert!(one[0].len() == 1 && one[0] == one[1] && one[1] == one[2]);

    let (three, result) = senders("--cycles 300 --ppm 20,-15,3 --reboot 1@200ms/50ms");
    let addresses = three.each_ref().map(|senders| senders.iter().map(SocketAddr::ip).collect::<Vec<IpAddr>>());
    let local = |last| IpAddr::from([127, 0, 0, last]);
    // A rebooted board sends from another port of its address.
    assert_eq!(addresses, [vec![local(1)], vec![local(2), local(2)], vec![local(3)]]);
    for (mic, ppm) in [20.0, -15.0, 3.0].into_iter().enumerate() {
        match result["mics"][mic]["mean_ppm"].as_f64() {
            Some(mean) => assert!((mean - ppm).abs() < 0.01, "mic {mic}: {mean} for {ppm}"),
            None => assert_eq!(mic, 1, "only a reboot leaves no mean rate"),
        }
    }
}

#[test]
fn a_signal_ends_it_early_with_a_result_that_is_true_so_far() {
    let receivers = Receivers::bind();
    let child = receivers.start("--loss 3% --list-withheld");
    let mut came: [Came; 3] = Default::default();
    while came[2].len() < 200 {
        receivers.drain(&mut came);
        std::thread::sleep(Duration::from_millis(2));
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let output = child.wait_with_output().expect("the child ends");
    receivers.drain(&mut came);
    let result = result(&output);
    assert_eq!(result["interrupted"], true);
    for (mic, came) in came.iter().enumerate() {
        let positions: BTreeSet<i64> = came.iter().map(|(_, payload)| position(mic, payload)).collect();
        assert_eq!(positions.len() as u64, count(&result, mic, "sent"));
        let withheld = result["mics"][mic]["withheld_packets"].as_array().expect("the list that was asked for");
        for one in withheld {
            assert!(!positions.contains(&one["position"].as_i64().unwrap()));
        }
        let last = result["mics"][mic]["last_position"].as_i64().unwrap();
        let before_last = withheld.iter().filter(|one| one["position"].as_i64().unwrap() < last).count();
        assert_eq!(last / SAMPLES as i64 + 1, (positions.len() + before_last) as i64, "each up to the last is known");
    }
}

#[test]
fn wrong_usage_exits_2_and_anything_else_1_with_one_line() {
    let run = |options: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_micring")).arg("simulate").args(options).output().expect("micring runs")
    };
    for wrong in [&["--loss", "2"][..], &["--boards", "1", "--ppm", "1,2,3"], &["--no-such-option"]] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{wrong:?}");
    }
    for failing in [&["--from", "192.0.2.1", "--cycles", "1"][..], &["--core", "1023", "--cycles", "1"]] {
        let output = run(failing);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{failing:?}: {said}");
        assert!(said.starts_with("micring: ") && said.lines().count() == 1, "{said}");
    }
}
