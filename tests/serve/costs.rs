//! What a cycle costs in system calls: one enter a wake, and nothing else.

use std::process::{Command, Stdio};

use crate::rig::Serve;

#[test]
fn in_the_steady_state_the_loop_enters_the_ring_and_calls_nothing_else() {
    let serve = Serve::start(&[]);
    let mut events = serve.events("/api/stream_3ch");
    let mut child = serve.simulator(&["--duration", "8s"]).stdout(Stdio::null()).spawn().unwrap();
    let skipped = events.until(|event| event.number() >= 200);
    let trace = std::env::temp_dir().join(format!("micring-trace-{}", serve.pid()));
    let pid = serve.pid().to_string();
    let strace = Command::new("timeout")
        .args(["-s", "INT", "3", "strace", "-f", "-p", &pid, "-o"])
        .arg(&trace)
        .stderr(Stdio::null())
        .spawn()
        .expect("strace is installed: scripts/test installs it");
    let from = skipped.last().unwrap().number();
    let before = serve.diagnostics()["ring"].clone();
    let got = events.until(|event| event.number() >= from + 250);
    let after = serve.diagnostics()["ring"].clone();
    strace.wait_with_output().unwrap();
    child.wait().unwrap();

    let text = std::fs::read_to_string(&trace).expect("strace wrote what it saw");
    std::fs::remove_file(&trace).unwrap();
    let calls: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let enters = calls.iter().filter(|call| call.starts_with("io_uring_enter")).count();
    // Beside the enters: our own two requests for the diagnostics, each with an accept and a close (before which a build with
    // debug assertions asks fcntl whether the descriptor is open), and what strace itself causes.
    let allowed = [
        "io_uring_enter",
        "restart_syscall",
        "getpeername",
        "getsockopt",
        "shutdown",
        "close",
        "fcntl",
        "<...",
        "---",
        "+++",
    ];
    let others: Vec<&&str> =
        calls.iter().filter(|call| !allowed.iter().any(|allowed| call.starts_with(allowed))).collect();
    assert!(others.is_empty(), "nothing but enters: {others:?}");
    assert!(enters > 20, "strace saw the loop at work: {enters}");

    let counted = |key: &str| after[key].as_u64().unwrap() - before[key].as_u64().unwrap();
    let (enters, completions, cycles) = (counted("enters"), counted("completions"), got.len() as u64);
    println!("{enters} enters, {} turns, {completions} completions in {cycles} cycles", counted("turns"));
    // Three packets and the event's completion a cycle, each a wake at most; timers come a few times a second.
    assert!(enters <= completions + 100, "no enter without something to do: {enters} for {completions} completions");
    assert!(
        completions <= 5 * cycles + 50,
        "nothing completes but packets and events: {completions} in {cycles} cycles"
    );
}
