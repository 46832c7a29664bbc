//! The options that concern the host: what is asked of it, what is given up, and the doctor's.

use std::net::IpAddr;

use clap::Args;

use super::engine::parse_datagram;
use super::{Core, PortList, parse_core, parse_port_list};

#[derive(Args, Clone, Debug)]
pub struct HostArgs {
    /// Ask the host for low latency: no deep sleep of cores (wakeup: holds /dev/cpu_dma_latency), real-time priority (fifo:
    /// SCHED_FIFO) and memory that stays (mlock); all, or those named. What is refused is said, and the rest still done.
    #[arg(
        long,
        value_name = "wakeup,fifo,mlock",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "wakeup,fifo,mlock",
        value_parser = parse_low_latency
    )]
    pub low_latency: Option<LowLatency>,
    /// Never sleep: look for packets again and again. Takes the whole core.
    #[arg(long)]
    pub busy_poll: bool,
    /// Keep privileges and system calls that the loop does not need (for strace -f, debuggers and profilers inside).
    #[arg(long)]
    pub no_sandbox: bool,
}

/// The parts of `--low-latency`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LowLatency {
    pub wakeup: bool,
    pub fifo: bool,
    pub mlock: bool,
}

#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Core that the loop would be pinned to: auto (the last one allowed), a number, or none.
    #[arg(long, value_name = "auto|N|none", default_value = "auto", value_parser = parse_core)]
    pub core: Core,
    /// Interface that faces the microphones; by default that of the default route.
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Bytes of samples in a packet, to be held against the MTU.
    #[arg(long, value_name = "BYTES", default_value_t = 2048, value_parser = parse_datagram)]
    pub packet_bytes: usize,
    /// Listen on the microphones' ports for so many seconds instead, and say what comes, from whom, and which options it needs.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub listen: Option<u32>,
    /// UDP ports to listen on; 0 lets the kernel choose.
    #[arg(long, value_name = "A,B,C", default_value = "30001,30002,30003", value_parser = parse_port_list, requires = "listen")]
    pub mic_ports: PortList,
    /// Address that they are bound to.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0", requires = "listen")]
    pub udp_bind: IpAddr,
    /// Nominal sample rate, where the format does not say it.
    #[arg(long, value_name = "HZ", default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(1_000..=768_000), requires = "listen")]
    pub sample_rate: u32,
    /// One JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
}

fn parse_low_latency(text: &str) -> Result<LowLatency, String> {
    let mut parts = LowLatency::default();
    for part in text.split(',') {
        match part {
            "wakeup" => parts.wakeup = true,
            "fifo" => parts.fifo = true,
            "mlock" => parts.mlock = true,
            _ => return Err(format!("`{part}` is neither wakeup, fifo nor mlock")),
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        host: HostArgs,
    }

    #[test]
    fn low_latency_is_all_of_it_or_the_parts_named() {
        let parts =
            |args: &[&str]| Only::try_parse_from([&["micring"], args].concat()).ok().map(|only| only.host.low_latency);
        assert_eq!(parts(&[]), Some(None));
        let all = LowLatency { wakeup: true, fifo: true, mlock: true };
        assert_eq!(parts(&["--low-latency"]), Some(Some(all)));
        assert_eq!(parts(&["--low-latency=wakeup"]), Some(Some(LowLatency { fifo: false, mlock: false, ..all })));
        assert_eq!(parts(&["--low-latency=fast"]), None);
        assert_eq!(parts(&["--low-latency", "wakeup"]), None, "a value needs =");
    }
}
