//! What the service manager is told (sd_notify(3)): ready, alive, stopping.
//!
//! The socket is connected at the start, before the program may open nothing more. WATCHDOG=1 leaves from the loop's own
//! timers: a loop that is stuck feeds nobody, and systemd starts it anew.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::time::{MonoTime, Span};

/// See the module's head. Without a service manager it does nothing.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    /// How often the watchdog is fed, and when next.
    watchdog: Option<(Span, MonoTime)>,
}

impl Notify {
    /// From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as systemd sets them.
    pub fn from_environment(now: MonoTime) -> Notify {
        let variable = |name| std::env::var_os(name);
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        // The watchdog may be meant for another process of the unit (sd_watchdog_enabled(3)).
        let ours = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(std::process::id().into());
        Notify::new(variable("NOTIFY_SOCKET").as_deref(), number("WATCHDOG_USEC").filter(|_| ours), now)
    }

    /// `socket`: a path, or `@` and an abstract name. `watchdog_us`: the manager's patience; it is fed in half of that, as
    /// sd_watchdog_enabled(3) asks.
    pub fn new(socket: Option<&OsStr>, watchdog_us: Option<u64>, now: MonoTime) -> Notify {
        // Who set the variable reads the socket; when not, serving matters more.
        let Some(socket) = socket.and_then(|path| connect(path).ok()) else { return Notify::default() };
        let interval = watchdog_us.and_then(|us| i64::try_from(us / 2).ok()).filter(|&us| us > 0);
        Notify { socket: Some(socket), watchdog: interval.map(|us| (Span::from_micros(us), now)) }
    }

    /// Sends one state, like `READY=1`; nobody waits for it.
    pub fn say(&self, state: &str) {
        if let Some(socket) = &self.socket {
            // A full queue: the manager is told again with the next feed; nothing else can be done here.
            let _ = socket.send(state.as_bytes());
        }
    }

    /// Feeds the watchdog when it is due.
    pub fn feed(&mut self, now: MonoTime) {
        if let Some((interval, next)) = self.watchdog
            && now >= next
        {
            self.watchdog = Some((interval, now + interval));
            self.say("WATCHDOG=1");
        }
    }

    /// When [`Notify::feed`] has to be called next.
    pub fn next_feed(&self) -> Option<MonoTime> {
        self.watchdog.map(|(_, next)| next)
    }
}

fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A manager's socket under an abstract name, and that name as the environment has it.
    fn manager(name: &str) -> (UnixDatagram, String) {
        let name = format!("micring-notify-{}-{name}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        (socket, format!("@{name}"))
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 256];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|len| String::from_utf8_lossy(&buffer[..len]).into()))
            .collect()
    }

    #[test]
    fn the_watchdog_is_fed_in_half_its_patience_and_not_more_often() {
        let (socket, name) = manager("watchdog");
        let at = |ms: i64| MonoTime::from_nanos(ms * 1_000_000);
        let mut notify = Notify::new(Some(OsStr::new(&name)), Some(2_000_000), at(0));
        notify.say("READY=1");
        notify.feed(at(0));
        notify.feed(at(999));
        assert_eq!(heard(&socket), ["READY=1", "WATCHDOG=1"]);
        assert_eq!(notify.next_feed(), Some(at(1000)));
        notify.feed(at(1000));
        notify.feed(at(1001));
        assert_eq!(heard(&socket), ["WATCHDOG=1"]);
        assert_eq!(notify.next_feed(), Some(at(2000)));
    }

    #[test]
    fn a_manager_that_has_gone_or_reads_nothing_costs_nothing() {
        let now = MonoTime::from_nanos(0);
        assert!(Notify::new(Some(OsStr::new("/nowhere/at/all")), Some(1_000_000), now).next_feed().is_none());
        let (socket, name) = manager("gone");
        let notify = Notify::new(Some(OsStr::new(&name)), None, now);
        (0..10_000).for_each(|_| notify.say("STATUS=full")); // more than its queue holds: it does not block
        drop(socket);
        notify.say("STOPPING=1");
    }
}
