//! `micring doctor`: what this host needs for low latency, line by line: ok, warn or fail, the figure, and the command
//! that mends it. [`files`] reads what the kernel's files say; what can be tried is tried here, through `sys::probe`.

mod check;
mod files;
mod listen;

use std::fmt::Write as _;
use std::io::{self, Write as _};

use self::check::{Check, State};
use self::files::Host;
use super::Failure;
use super::serve::{RECEIVE_BUFFER, choose_core, plain, ring_advice};
use crate::cli::DoctorArgs;
use crate::sys::latency::{self, WakeUpRequest};
use crate::sys::probe::{self, Limit};
use crate::sys::sandbox;
use crate::time::Span;

/// Numbers in include/uapi/linux/capability.h.
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_NICE: u32 = 23;
/// A wake-up later than this at the 99th percentile is worth mending: it is what an untuned idle core costs, twice over.
const LATE: Span = Span::from_micros(200);
/// Milliseconds, one wake each, for each of the two measurements.
const WAKES: usize = 500;
/// What a locked program needs at most: code, history of a minute, buffers.
const LOCKED_BYTES: u64 = 64 << 20;

/// Looks at the host and prints what it saw on standard output. `false`: something failed.
///
/// # Errors
/// The chosen core or interface does not exist; with `--listen`, a port cannot be had.
pub fn run(args: &DoctorArgs) -> Result<bool, Failure> {
    if let Some(seconds) = args.listen {
        return listen::run(args, seconds);
    }
    let core = choose_core(args.core)?;
    let host = Host::new("/");
    let interface = match &args.interface {
        Some(name) if !host.has_interface(name) => {
            return Err(Failure::new(format_args!("there is no interface {name}: see `ip link`")));
        }
        Some(name) => Some(name.clone()),
        None => host.default_interface(),
    };
    let mut checks = vec![host.kernel(), host.io_uring_allowed(), host.filtered()];
    checks.extend(receiving());
    checks.extend(limits(&host));
    checks.extend([host.isolation(core), host.governor(core), host.clock_source(), clock_discipline()]);
    match &interface {
        Some(name) => checks.extend([host.interrupts(name, core), host.mtu(name, args.packet_bytes as u64)]),
        None => checks.push(Check::warn("interface", "there is no default route", "name it: --interface NAME")),
    }
    checks.extend(host.network_losses());
    checks.push(wake_up(core));
    checks.extend(confinement());

    let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    let text = if args.json { json(&checks, core, interface.as_deref(), worst) } else { lines(&checks) };
    // A reader that has gone needs no answer.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(worst != State::Fail)
}

fn json(checks: &[Check], core: Option<usize>, interface: Option<&str>, worst: State) -> String {
    let all = serde_json::json!({ "state": worst, "core": core, "interface": interface, "checks": checks });
    format!("{all:#}\n")
}

fn lines(checks: &[Check]) -> String {
    let mut text = String::new();
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    for check in checks {
        let state = match check.state {
            State::Ok => "ok  ",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{state}  {:<20} {}", check.name, check.found);
        if let Some(mend) = &check.mend {
            let _ = writeln!(text, "{:26} -> {mend}", "");
        }
    }
    let _ = writeln!(text, "{} ok, {} warn, {} fail", count(State::Ok), count(State::Warn), count(State::Fail));
    text
}

/// The ring, multishot receive, the kernel's timestamps and the receive buffer, all by one datagram.
fn receiving() -> Vec<Check> {
    let ring = "multishot receive";
    let received = match probe::receive_one(RECEIVE_BUFFER) {
        Ok(received) => received,
        Err(error) => return vec![Check::fail(ring, format!("tried: {}", plain(&error)), ring_advice(&error))],
    };
    let stamp = match received.stamped_after {
        Some(after) => Check::ok("timestamps", format!("tried: stamped {} us after sending", after.as_micros())),
        None => Check::fail(
            "timestamps",
            "tried: a datagram came without its kernel timestamp",
            "SO_TIMESTAMPNS is missing here (an emulated network stack?): run on a Linux kernel of its own",
        ),
    };
    // The kernel counts its own overhead in, and grants twice what is asked (socket(7)).
    let granted = received.receive_buffer / 2;
    let buffer = Check::ok_if(
        granted >= RECEIVE_BUFFER,
        "receive buffer",
        format!("{} KiB granted a microphone, {} KiB asked", granted >> 10, RECEIVE_BUFFER >> 10),
        format!("sysctl -w net.core.rmem_max={RECEIVE_BUFFER}"),
    );
    vec![Check::ok(ring, "tried: a datagram came through a ring like the server's"), stamp, buffer]
}

fn limits(host: &Host) -> Vec<Check> {
    let text = |limit: Option<u64>, unit: &str| limit.map_or("unlimited".into(), |limit| format!("{limit}{unit}"));
    let memory = probe::limit(Limit::LockedMemory);
    let lockable = host.capable(CAP_IPC_LOCK) || memory.is_none_or(|bytes| bytes >= LOCKED_BYTES);
    let descriptors = probe::limit(Limit::Descriptors);
    let priority = probe::limit(Limit::RealTimePriority);
    let fifo = host.capable(CAP_SYS_NICE) || priority.is_none_or(|priority| priority >= 40);
    vec![
        Check::ok_if(
            lockable,
            "locked memory",
            format!("limit {}", text(memory.map(|bytes| bytes >> 10), " KiB")),
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity), for --low-latency",
        ),
        Check::ok_if(
            fifo,
            "real-time priority",
            format!(
                "{} (limit {}), at most {} each second",
                if fifo { "SCHED_FIFO may be had" } else { "SCHED_FIFO is refused" },
                text(priority, ""),
                latency::real_time_bound().map_or("1 s".into(), |us| format!("{} ms", us / 1000)),
            ),
            "ulimit -r 40 (systemd: LimitRTPRIO=40), for --low-latency",
        ),
        match WakeUpRequest::hold() {
            Ok(_) => Check::ok("wake-up request", "/dev/cpu_dma_latency can be held"),
            Err(error) => Check::warn(
                "wake-up request",
                format!("/dev/cpu_dma_latency: {}", plain(&error)),
                "chgrp micring /dev/cpu_dma_latency && chmod 660 /dev/cpu_dma_latency, for --low-latency",
            ),
        },
        Check::ok_if(
            descriptors.is_none_or(|limit| limit >= 2112),
            "descriptors",
            format!("limit {}", text(descriptors, "")),
            "ulimit -n 4096 (systemd: LimitNOFILE=4096): 2048 connections and some for micring",
        ),
    ]
}

fn clock_discipline() -> Check {
    let name = "clock discipline";
    match probe::clock_state() {
        Ok(state) => {
            let leap = if state.leap_pending { ", a leap second is pending" } else { "" };
            let by = format!("slewed by {:+.3} ppm{leap}", state.frequency_ppm);
            if state.synchronised {
                let error = state.max_error.as_micros();
                Check::ok(name, format!("synchronised, {by}, at most {error} us off by its own account"))
            } else {
                Check::warn(name, format!("not synchronised, {by}"), "timedatectl set-ntp true")
            }
        }
        Err(error) => Check::warn(name, format!("unknown: {}", plain(&error)), "timedatectl set-ntp true"),
    }
}

/// How late the chosen core wakes, as it is and with the wake-up request held.
fn wake_up(core: Option<usize>) -> Check {
    let name = "wake-up latency";
    let measure = |held| probe::wake_up(core, WAKES, held);
    let late = match measure(false) {
        Ok(late) => late,
        Err(error) => return Check::warn(name, format!("not measured: {}", plain(&error)), "--core N: one of `nproc`"),
    };
    let figures = |late: &[Span]| {
        let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize].as_micros();
        format!("p50 {}, p99 {}, max {} us", at(0.50), at(0.99), at(1.0))
    };
    let held = measure(true).map_or("not to be had".into(), |held| figures(&held));
    let found = format!("{} in {WAKES} wakes; with the wake-up request held: {held}", figures(&late));
    let p99 = late[(late.len() - 1) * 99 / 100];
    Check::ok_if(
        p99 <= LATE,
        name,
        found,
        "micring serve --low-latency; or keep other programs off the core (scripts/tune-host)",
    )
}

/// What the server gives up once it is set up.
fn confinement() -> Vec<Check> {
    sandbox::available()
        .into_iter()
        .map(|(name, available)| match available {
            Ok(how) => Check::ok(name, how),
            Err(why) => Check::warn(
                name,
                why,
                "a newer kernel, or one with CONFIG_SECCOMP_FILTER and CONFIG_SECURITY_LANDLOCK (lsm=landlock,...)",
            ),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_a_line_with_what_mends_it_below() {
        let checks = [
            Check::ok("kernel", "Linux 6.18"),
            Check::warn("MTU", "1500", "smaller packets"),
            Check::fail("ring", "no", "yes"),
        ];
        let want = "ok    kernel               Linux 6.18\n\
                    warn  MTU                  1500\n                           -> smaller packets\n\
                    FAIL  ring                 no\n                           -> yes\n\
                    1 ok, 1 warn, 1 fail\n";
        assert_eq!(lines(&checks), want);
        let json: serde_json::Value = serde_json::from_str(&json(&checks, Some(1), None, State::Fail)).unwrap();
        assert_eq!(
            (&json["state"], &json["core"], &json["checks"][1]["mend"]),
            (&"fail".into(), &1.into(), &"smaller packets".into())
        );
        assert_eq!(json["checks"][0]["mend"], serde_json::Value::Null);
    }
}
