//! How the server stands on its host: what it asks for (`--low-latency`), and what it gives up once it is set up.
//!
//! Nothing here is needed to serve: each part that the host refuses is said in one line, with what would mend it.

use std::io;
use std::path::Path;

use super::event_loop::Loop;
use super::plain;
use crate::cli::{HostArgs, LowLatency};
use crate::sys::host;
use crate::sys::latency::{self, Locked, WakeUpRequest};
use crate::sys::sandbox::{self, Open};

/// Asks first, gives up after: the requests need the privileges. What is returned has to live as long as the loop.
/// `write`: the folders that stay open to writing. `config`: the file that is read again, whose ports are bound then.
pub(super) fn take(args: &HostArgs, write: &[&Path], config: Option<&Path>, run: &mut Loop) -> Option<WakeUpRequest> {
    let parts = args.low_latency.unwrap_or_default();
    let asked = ask(parts, args.busy_poll, run);
    // glibc reads the time zone's file at the first use; later no file can be opened.
    host::local_time(host::clocks().wall);
    if args.no_sandbox {
        run.say("not confined: --no-sandbox");
    } else {
        let text = |(layer, held): (&str, Result<String, String>)| match held {
            Ok(how) => format!("{layer} ({how})"),
            Err(why) => format!("NOT by {layer} ({why})"),
        };
        let layers: Vec<String> = sandbox::confine(Open { write, config }).into_iter().map(text).collect();
        run.say(format_args!("confined by {}", layers.join(", ")));
    }
    asked
}

fn ask(parts: LowLatency, spinning: bool, run: &mut Loop) -> Option<WakeUpRequest> {
    let mut said = |part: &str, result: io::Result<String>, mend: &str| match result {
        Ok(how) => run.say(format_args!("low latency: {part}: {how}")),
        Err(error) => run.say(format_args!("low latency: {part} refused: {}: {mend}", plain(&error))),
    };
    let mut request = None;
    if parts.wakeup {
        let held = WakeUpRequest::hold().map(|held| {
            request = Some(held);
            "cores do not sleep deeply (/dev/cpu_dma_latency held at 0)".to_owned()
        });
        said("wakeup", held, "give this user /dev/cpu_dma_latency (docs/deploy.md)");
    }
    if parts.mlock {
        let locked = latency::lock_memory().map(|locked| match locked {
            Locked::All => "all memory stays".to_owned(),
            Locked::Present => "memory so far stays; the limit of locked memory stands against the rest".to_owned(),
        });
        said("mlock", locked, "ulimit -l unlimited, or LimitMEMLOCK=infinity");
    }
    if parts.fifo {
        // A thread that spins never yields, so the kernel would stop it for the rest of each second.
        let bound = latency::real_time_bound().filter(|_| spinning);
        let real_time = match bound {
            Some(us) => Ok(format!(
                "left out beside --busy-poll: the kernel lets real-time threads run {} ms a second (kernel.sched_rt_runtime_us)",
                us / 1000
            )),
            None => latency::real_time().map(|()| "SCHED_FIFO".to_owned()),
        };
        said("fifo", real_time, "ulimit -r 40, or LimitRTPRIO=40");
    }
    request
}
