//! `scripts/seccomp-io_uring.json` is enough for micring and keeps namespaces closed: the program runs under it here, put
//! into force as a container runtime does, before the program's first instruction.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use seccompiler::{BpfProgram, TargetArch};
use serde_json::{Value, json};

fn profile() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/seccomp-io_uring.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Calls that this architecture does not have are left out, as libseccomp does.
fn exists(name: &str) -> bool {
    let only_x86 = [
        "access",
        "arch_prctl",
        "dup2",
        "epoll_wait",
        "getrlimit",
        "lstat",
        "open",
        "pause",
        "pipe",
        "poll",
        "readlink",
        "setrlimit",
        "stat",
        "vfork",
    ];
    cfg!(target_arch = "x86_64") || !only_x86.contains(&name)
}

/// The profile as filters, in the order of their installation: what is allowed; then, since of two refusals the later
/// filter's errno counts (seccomp(2)), each rule that refuses with an errno of its own.
fn compiled() -> Vec<BpfProgram> {
    let profile = profile();
    assert_eq!((&profile["defaultAction"], &profile["defaultErrnoRet"]), (&"SCMP_ACT_ERRNO".into(), &1.into()));
    let arch: TargetArch = std::env::consts::ARCH.try_into().unwrap();
    let compile = |filter: Value| {
        let text = json!({ "micring": filter }).to_string();
        seccompiler::compile_from_json(text.as_bytes(), arch).unwrap().remove("micring").unwrap()
    };
    let (mut allowed, mut refusals) = (Vec::new(), Vec::new());
    for rule in profile["syscalls"].as_array().unwrap() {
        let argument = |one: &Value| {
            assert_eq!(one["op"], "SCMP_CMP_MASKED_EQ");
            json!({ "index": one["index"], "type": "qword", "op": { "masked_eq": one["value"] }, "val": one["valueTwo"] })
        };
        let args: Option<Vec<Value>> = rule["args"].as_array().map(|args| args.iter().map(argument).collect());
        let names = rule["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let calls: Vec<Value> =
            names.filter(|name| exists(name)).map(|name| json!({ "syscall": name, "args": args })).collect();
        match rule["action"].as_str().unwrap() {
            "SCMP_ACT_ALLOW" => allowed.extend(calls),
            "SCMP_ACT_ERRNO" => refusals.push(compile(json!({
                "mismatch_action": "allow", "match_action": { "errno": rule["errnoRet"] }, "filter": calls
            }))),
            other => panic!("no rule does {other}"),
        }
    }
    let all = json!({ "mismatch_action": { "errno": libc::EPERM }, "match_action": "allow", "filter": allowed });
    [vec![compile(all)], refusals].concat()
}

fn enforce(program: &BpfProgram) -> io::Result<()> {
    seccompiler::apply_filter(program).map_err(io::Error::other)
}

fn contained(mut command: Command) -> Command {
    let programs = compiled();
    let install = move || programs.iter().try_for_each(enforce);
    // SAFETY: between fork and exec this only makes plain system calls on memory that was made before.
    unsafe { command.pre_exec(install) };
    command
}

fn micring(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_micring"));
    command.args(args);
    contained(command)
}

#[test]
fn the_doctor_finds_a_ring_and_every_layer_of_the_sandbox_inside() {
    let output = micring(&["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let state = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}"))["state"].clone()
    };
    for name in ["multishot receive", "timestamps", "no new privileges", "landlock", "capabilities", "seccomp"] {
        assert_eq!(state(name), "ok", "{name}: {report:#}");
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_demo_plays_inside() {
    let mut child = micring(&["demo", "--mic-ports", "0,0,0", "--http", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).expect("it says ready");
    let first = Command::new("curl")
        .args(["-sN", "--max-time", "20", &format!("http://{}/api/stream_3ch", ready["http"].as_str().unwrap())])
        .stdout(Stdio::piped())
        .spawn()
        .map(|mut curl| {
            let lines = BufReader::new(curl.stdout.take().unwrap()).lines().map_while(Result::ok);
            let event = lines.filter(|line| line.starts_with("data:")).nth(20);
            curl.kill().unwrap();
            curl.wait().unwrap();
            event
        });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.unwrap().expect("events come").contains("\"mic_samples\":"), "the demo's microphones are heard");
}

#[test]
fn it_records_inside_and_knows_that_the_folder_is_its_own() {
    let folder = std::env::temp_dir().join(format!("micring-contained-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut child = micring(&["serve", "--mic-ports", "0,0,0", "--http", "127.0.0.1:0", "--record"])
        .arg(&folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.find(|line| line.contains("recording into") || line.contains("cannot")).unwrap_or_default();
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(said.ends_with("MB at most, the oldest go first") && !said.contains("of its own"), "{said}");
}

#[test]
fn namespaces_stay_closed() {
    let mut command = Command::new("unshare");
    command.args(["--user", "true"]);
    assert!(!contained(command).output().unwrap().status.success());
    let mut plain = Command::new("true");
    plain.stdout(Stdio::null());
    assert!(contained(plain).status().unwrap().success(), "and a plain program runs");
}
