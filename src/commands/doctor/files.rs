//! What the kernel's own files say of this host: procfs and sysfs below a root, so that tests can bring a host of theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::check::Check;

/// A host as its files show it.
pub struct Host {
    root: PathBuf,
}

/// IP and UDP headers (RFC 791, RFC 768): what a datagram needs of the MTU beside its payload.
const HEADERS: u64 = 28;
/// Arduino's WiFiUDP (NetworkUDP) sends a datagram whenever so many bytes were written (arduino-esp32, libraries/WiFi/src/WiFiUdp.cpp).
const ARDUINO_BUFFER: u64 = 1460;

impl Host {
    pub fn new(root: impl Into<PathBuf>) -> Host {
        Host { root: root.into() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    pub fn kernel(&self) -> Check {
        let release = self.text("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into());
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        match version {
            (0, _) => Check::warn("kernel", "its version cannot be read", "uname -r: 6.1 or newer is needed"),
            version if version < (6, 1) => {
                Check::fail("kernel", format!("Linux {release}"), "boot Linux 6.1 or newer (multishot receive)")
            }
            version if version < (6, 15) => {
                Check::ok("kernel", format!("Linux {release} (a wait shows as iowait; not from 6.15 on)"))
            }
            _ => Check::ok("kernel", format!("Linux {release}")),
        }
    }

    /// Who may make rings (Documentation/admin-guide/sysctl/kernel.rst, since 6.6).
    pub fn io_uring_allowed(&self) -> Check {
        let name = "io_uring allowed";
        let enable = "sysctl -w kernel.io_uring_disabled=0";
        match self.text("/proc/sys/kernel/io_uring_disabled").as_deref() {
            None => Check::ok(name, "this kernel has no switch against it"),
            Some("0") => Check::ok(name, "kernel.io_uring_disabled = 0"),
            Some("1") => Check::warn(
                name,
                "kernel.io_uring_disabled = 1: only for CAP_SYS_ADMIN and members of kernel.io_uring_group",
                "sysctl -w kernel.io_uring_group=$(id -g micring)",
            ),
            Some(value) => Check::fail(name, format!("kernel.io_uring_disabled = {value}: for nobody"), enable),
        }
    }

    /// Whether this process already runs under a filter: that of a container, say.
    pub fn filtered(&self) -> Check {
        let name = "seccomp around us";
        match self.status("Seccomp").as_deref() {
            Some("0") => Check::ok(name, "none"),
            Some(_) => Check::ok(
                name,
                "a filter is on: if io_uring fails below, allow its calls (scripts/seccomp-io_uring.json)",
            ),
            None => Check::warn(name, "this kernel has no seccomp", "build the kernel with CONFIG_SECCOMP_FILTER"),
        }
    }

    fn status(&self, key: &str) -> Option<String> {
        let status = self.text("/proc/self/status")?;
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    }

    /// Whether a capability (its number in include/uapi/linux/capability.h) is in effect.
    pub fn capable(&self, capability: u32) -> bool {
        let set = self.status("CapEff").and_then(|text| u64::from_str_radix(&text, 16).ok());
        set.is_some_and(|set| set >> capability & 1 == 1)
    }

    /// Whether the scheduler keeps other programs off the core.
    pub fn isolation(&self, core: Option<usize>) -> Check {
        let name = "core isolation";
        let Some(core) = core else { return Check::ok(name, "no core is chosen (--core none)") };
        let in_list = |path: &str| self.text(path).is_some_and(|list| cpu_list(&list).contains(&core));
        let isolated = in_list("/sys/devices/system/cpu/isolated");
        let tickless = in_list("/sys/devices/system/cpu/nohz_full");
        let found = match (isolated, tickless) {
            (true, true) => return Check::ok(name, format!("core {core} is isolated and without the tick")),
            (true, false) => format!("core {core} is isolated, with the scheduler's tick"),
            (false, true) => format!("core {core} is without the tick, but other programs may run there"),
            (false, false) => format!("other programs may run on core {core}"),
        };
        let mend = format!(
            "kernel command line: isolcpus=managed_irq,domain,{core} nohz_full={core} rcu_nocbs={core}; or, for programs only: scripts/tune-host --apply"
        );
        Check::warn(name, found, mend)
    }

    pub fn governor(&self, core: Option<usize>) -> Check {
        let name = "frequency governor";
        let file = format!("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", core.unwrap_or(0));
        match self.text(&file) {
            None => Check::ok(name, "the kernel does not scale this core's frequency"),
            Some(governor) => {
                Check::ok_if(governor == "performance", name, governor, format!("echo performance > {file}"))
            }
        }
    }

    pub fn clock_source(&self) -> Check {
        let name = "clock source";
        let file = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        // Those that the vDSO reads without a system call (arch/*/include/asm/vdso/clocksource.h).
        let quick = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];
        match self.text(file) {
            Some(source) if quick.contains(&source.as_str()) => Check::ok(name, source),
            Some(source) => Check::warn(
                name,
                format!("{source}: each look at the clock is a system call"),
                format!("echo tsc > {file} (dmesg | grep -i tsc says why it was not taken)"),
            ),
            None => Check::ok(name, "unknown: sysfs does not say"),
        }
    }

    /// The interface that carries the default route, where no other was named.
    pub fn default_interface(&self) -> Option<String> {
        let routes = self.text("/proc/net/route")?;
        let default = |line: &str| {
            let mut fields = line.split_whitespace();
            let (name, destination) = (fields.next()?, fields.next()?);
            (destination == "00000000").then(|| name.to_owned())
        };
        routes.lines().skip(1).find_map(default)
    }

    pub fn has_interface(&self, interface: &str) -> bool {
        !interface.contains('/') && self.path(&format!("/sys/class/net/{interface}")).exists()
    }

    /// Whether a packet fits one frame of the link.
    pub fn mtu(&self, interface: &str, packet: u64) -> Check {
        let name = "MTU";
        let Some(mtu) = self.number::<u64>(&format!("/sys/class/net/{interface}/mtu")) else {
            return Check::warn(name, format!("{interface} does not say its MTU"), "ip link show");
        };
        if packet + HEADERS <= mtu {
            return Check::ok(name, format!("{mtu} bytes on {interface}: a packet of {packet} bytes is one frame"));
        }
        // Every fragment but the last carries a multiple of 8 bytes (RFC 791, 3.2); 20 of the frame are the IP header.
        let share = mtu.saturating_sub(20) / 8 * 8;
        let fragments = (packet + 8).div_ceil(share.max(8));
        let cut = if packet > ARDUINO_BUFFER {
            format!("; Arduino's WiFiUDP sends it as datagrams of {} bytes", arduino_pieces(packet))
        } else {
            String::new()
        };
        // A round number of samples.
        let samples = mtu.saturating_sub(HEADERS).min(ARDUINO_BUFFER) / 4 / 8 * 8;
        Check::warn(
            name,
            format!(
                "{mtu} bytes on {interface}: a packet of {packet} bytes, sent as one datagram (ESP-IDF, ESPHome), is \
                 {fragments} fragments, and losing one loses all{cut}"
            ),
            format!("send {samples} samples a packet ({} bytes): one datagram, one frame", samples * 4),
        )
    }

    /// Whether interrupts of the interface are served by the loop's core.
    pub fn interrupts(&self, interface: &str, core: Option<usize>) -> Check {
        let name = "interrupts";
        let Some(core) = core else { return Check::ok(name, "no core is chosen (--core none)") };
        let numbers = self.interrupts_of(interface);
        if numbers.is_empty() {
            return Check::ok(name, format!("{interface} has none of its own"));
        }
        let on_core = |number: &&u32| {
            let read = |file: &str| self.text(&format!("/proc/irq/{number}/{file}")).filter(|list| !list.is_empty());
            let list = read("effective_affinity_list").or_else(|| read("smp_affinity_list"));
            list.is_some_and(|list| cpu_list(&list).contains(&core))
        };
        let there: Vec<String> = numbers.iter().filter(on_core).map(u32::to_string).collect();
        if there.is_empty() {
            return Check::ok(name, format!("none of the {} of {interface} is served by core {core}", numbers.len()));
        }
        let found = format!("{interface}: interrupts {} are served by core {core}, the loop's", there.join(", "));
        Check::warn(name, found, "scripts/tune-host --apply (writes /proc/irq/N/smp_affinity_list)")
    }

    /// MSI vectors of the device, or of its parent (virtio: the PCI device above); else those that bear its name.
    fn interrupts_of(&self, interface: &str) -> Vec<u32> {
        let device = fs::canonicalize(self.path(&format!("/sys/class/net/{interface}/device"))).ok();
        let listed = |folder: &Path| {
            let entries = fs::read_dir(folder.join("msi_irqs")).ok()?;
            Some(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<u32>>())
        };
        let of_device = device.as_deref().and_then(|device| listed(device).or_else(|| listed(device.parent()?)));
        let mut numbers = of_device.unwrap_or_else(|| {
            let table = self.text("/proc/interrupts").unwrap_or_default();
            let named = |line: &str| {
                let (number, rest) = line.split_once(':')?;
                let of_it = rest.split_whitespace().last()?.split('-').next() == Some(interface);
                if of_it { number.trim().parse().ok() } else { None }
            };
            table.lines().filter_map(named).collect()
        });
        numbers.sort_unstable();
        numbers
    }

    /// Fragments that never became a datagram, and datagrams that found a full socket, since boot.
    pub fn network_losses(&self) -> [Check; 2] {
        let table = self.text("/proc/net/snmp").unwrap_or_default();
        let field = |protocol, key| snmp(&table, protocol, key);
        let reassembly = match (field("Ip", "ReasmReqds"), field("Ip", "ReasmFails")) {
            (Some(fragments), Some(failed)) => Check::ok_if(
                failed == 0,
                "reassembly",
                format!("{failed} failed of {fragments} fragments since boot"),
                "send packets that fit the MTU (see there); or sysctl -w net.ipv4.ipfrag_high_thresh=16777216",
            ),
            _ => Check::ok("reassembly", "unknown: /proc/net/snmp does not say"),
        };
        let sockets = match (field("Udp", "RcvbufErrors"), field("Udp", "InDatagrams")) {
            (Some(full), Some(received)) => Check::ok_if(
                full == 0,
                "UDP drops",
                format!("{full} datagrams found a full socket since boot (any program's), {received} were read"),
                "loss.micN.kernel_dropped of /api/diagnostics_sync tells micring's; sysctl -w net.core.rmem_max=2097152",
            ),
            _ => Check::ok("UDP drops", "unknown: /proc/net/snmp does not say"),
        };
        [reassembly, sockets]
    }
}

/// What Arduino's library makes of a packet, in bytes: "1460 + 588".
fn arduino_pieces(packet: u64) -> String {
    let full = (0..packet / ARDUINO_BUFFER).map(|_| ARDUINO_BUFFER);
    let rest = Some(packet % ARDUINO_BUFFER).filter(|rest| *rest > 0);
    let pieces: Vec<String> = full.chain(rest).map(|bytes| bytes.to_string()).collect();
    pieces.join(" + ")
}

/// CPUs of a list as the kernel writes it: `0-3,8,10-11`; nothing for an empty one.
fn cpu_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// A counter of /proc/net/snmp: a line of names and a line of numbers, both begun by the protocol.
fn snmp(table: &str, protocol: &str, key: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| *name == protocol);
    let (names, values) = (lines.next()?.1, lines.next()?.1);
    let at = names.split_whitespace().position(|name| name == key)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    /// A host of these files; its folder goes with it.
    struct Fake(PathBuf);

    impl Fake {
        fn of(name: &str, files: &[(&str, &str)]) -> Fake {
            let root = std::env::temp_dir().join(format!("micring-doctor-{}-{name}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, format!("{text}\n")).unwrap();
            }
            Fake(root)
        }

        fn host(&self) -> Host {
            Host::new(&self.0)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn cpu_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(cpu_list("0-3,8,10-11"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(cpu_list(""), Vec::<usize>::new());
    }

    #[test]
    fn kernels_before_6_1_fail() {
        for (release, want) in [
            ("5.15.0-91-generic", State::Fail),
            ("6.0.19", State::Fail),
            ("6.1.0-18-amd64", State::Ok),
            ("10.0", State::Ok),
        ] {
            let fake = Fake::of(release, &[("proc/sys/kernel/osrelease", release)]);
            let check = fake.host().kernel();
            assert_eq!((check.state, check.mend.is_some()), (want, want != State::Ok), "{release}");
        }
    }

    #[test]
    fn the_switch_against_io_uring_is_named() {
        for (value, want) in [("0", State::Ok), ("1", State::Warn), ("2", State::Fail)] {
            let fake = Fake::of(&format!("io{value}"), &[("proc/sys/kernel/io_uring_disabled", value)]);
            assert_eq!(fake.host().io_uring_allowed().state, want, "{value}");
        }
    }

    #[test]
    fn a_packet_beyond_the_mtu_is_a_warning_that_says_what_each_kind_of_sender_makes_of_it() {
        let fake = Fake::of("mtu", &[("sys/class/net/eth0/mtu", "1500"), ("sys/class/net/tun0/mtu", "1280")]);
        let check = fake.host().mtu("eth0", 2048);
        assert_eq!(check.state, State::Warn);
        // lwIP hands IP the datagram whole; Arduino's WiFiUDP sends whenever its buffer of 1460 bytes is full.
        for told in ["2 fragments", "losing one loses all", "WiFiUDP", "1460 + 588"] {
            assert!(check.found.contains(told), "{told}: {check:?}");
        }
        // One datagram by either: within 1460 bytes.
        assert_eq!(check.mend.as_deref(), Some("send 360 samples a packet (1440 bytes): one datagram, one frame"));
        assert!(fake.host().mtu("eth0", 4096).found.contains("1460 + 1460 + 1176"));
        // 1280 less 28 bytes of headers are 313 samples.
        assert!(fake.host().mtu("tun0", 2048).mend.is_some_and(|mend| mend.starts_with("send 312 samples")));
        let short = fake.host().mtu("tun0", 1440);
        assert!(short.state == State::Warn && !short.found.contains("WiFiUDP"), "{short:?}");
        // 1472 bytes and 28 of headers are 1500 (RFC 791, RFC 768).
        assert_eq!(fake.host().mtu("eth0", 1472).state, State::Ok);
        assert_eq!(fake.host().mtu("eth0", 1473).state, State::Warn);
    }

    #[test]
    fn interrupts_on_the_loops_core_are_found() {
        let fake = Fake::of(
            "irq",
            &[
                ("sys/class/net/eth0/device/msi_irqs/38", "msix"),
                ("sys/class/net/eth0/device/msi_irqs/39", "msix"),
                ("proc/irq/38/effective_affinity_list", "1"),
                ("proc/irq/39/effective_affinity_list", ""),
                ("proc/irq/39/smp_affinity_list", "0,2-3"),
                ("proc/interrupts", "CPU0 CPU1\n 7: 0 1 edge eth9-rx-0\n 8: 1 0 edge eth1-rx-0"),
                ("proc/irq/7/smp_affinity_list", "0"),
                ("sys/class/net/eth9/mtu", "1500"),
            ],
        );
        let found = |core| fake.host().interrupts("eth0", Some(core));
        assert!(found(1).found.contains("38"), "{:?}", found(1));
        assert!(found(3).found.contains("39"), "{:?}", found(3));
        assert_eq!([1, 2, 3, 4].map(|core| found(core).state), [State::Warn, State::Warn, State::Warn, State::Ok]);
        assert_eq!(fake.host().interrupts("eth9", Some(0)).state, State::Warn, "by its name in /proc/interrupts");
    }

    #[test]
    fn isolation_governor_and_clock_source_are_judged() {
        let fake = Fake::of(
            "cpu",
            &[
                ("sys/devices/system/cpu/isolated", "2-3"),
                ("sys/devices/system/cpu/nohz_full", "3"),
                ("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "performance"),
                ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave"),
                ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
            ],
        );
        let host = fake.host();
        assert_eq!([1, 2, 3].map(|core| host.isolation(Some(core)).state), [State::Warn, State::Warn, State::Ok]);
        assert_eq!([1, 2, 3].map(|core| host.governor(Some(core)).state), [State::Ok, State::Warn, State::Ok]);
        assert_eq!(host.clock_source().state, State::Warn);
    }

    #[test]
    fn losses_since_boot_are_read_by_their_names() {
        let table = "Ip: Forwarding ReasmReqds ReasmFails\nIp: 1 20 3\nUdp: InDatagrams RcvbufErrors\nUdp: 500 0";
        let fake = Fake::of("snmp", &[("proc/net/snmp", table)]);
        let [reassembly, sockets] = fake.host().network_losses();
        assert_eq!((reassembly.state, reassembly.found.as_str()), (State::Warn, "3 failed of 20 fragments since boot"));
        assert_eq!(sockets.state, State::Ok);
        assert_eq!(snmp(table, "Ip", "NoSuch"), None);
    }

    #[test]
    fn the_default_route_names_the_interface() {
        let table = "Iface\tDestination\tGateway\neth1\t000200C0\t0\neth0\t00000000\t010200C0";
        let fake = Fake::of("route", &[("proc/net/route", table), ("sys/class/net/eth0/mtu", "1500")]);
        assert_eq!(fake.host().default_interface().as_deref(), Some("eth0"));
        assert!(fake.host().has_interface("eth0") && !fake.host().has_interface("eth7"));
        assert!(!fake.host().has_interface("../net/eth0"));
    }

    #[test]
    fn capabilities_are_bits_of_the_effective_set() {
        let fake = Fake::of("caps", &[("proc/self/status", "Name: x\nCapEff:\t0000000000804000\nSeccomp:\t2")]);
        assert_eq!([14, 23, 12].map(|bit| fake.host().capable(bit)), [true, true, false]);
        assert!(fake.host().filtered().found.contains("a filter is on"));
    }
}
