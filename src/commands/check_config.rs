//! `micring check-config`: what a configuration file says, in words; or what is wrong with it, and where.

use std::fmt::Write as _;

use super::{Failure, serve};
use crate::cli::CheckConfigArgs;
use crate::cli::config::{ArraySpec, Senders};
use crate::engine::{ClockChoice, Hold};

/// # Errors
/// The file cannot be read, or has a mistake: its line and key.
pub fn run(args: &CheckConfigArgs) -> Result<(), Failure> {
    let specs = serve::read_config(&args.file, &args.engine).map_err(Failure::new)?;
    println!("{}: {} entries\n", args.file.display(), specs.len());
    specs.iter().for_each(|spec| print!("{}", explain(spec)));
    Ok(())
}

fn explain(spec: &ArraySpec) -> String {
    let (engine, mut out) = (&spec.engine, String::new());
    let ports: Vec<String> = spec.ports.iter().map(u16::to_string).collect();
    let mut line = |what: String| writeln!(out, "  {what}").expect("a String takes everything");
    line(format!("{} channels from UDP {}", spec.layout.channels(), ports.join(", ")));
    match spec.senders {
        Senders::One => line(format!("one sender at a time for each port; routes: /api/arrays/{}/...", spec.name)),
        Senders::EachHost { forget, max_arrays } => {
            line(format!(
                "every sending address is an array, named by it: at most {max_arrays}, forgotten after {:.0} s of silence",
                forget.as_secs_f64()
            ));
        }
    }
    let clock = match engine.clock {
        ClockChoice::Auto => "one clock, or several where several addresses send",
        ClockChoice::Shared => "one clock",
        ClockChoice::Independent => "a clock for each source",
    };
    let hold = match engine.hold {
        Hold::Auto => "what is missing is waited for as long as it may come, at most 40 ms".to_owned(),
        Hold::Fixed(hold) => format!("what is missing is waited for {:.1} ms", hold.as_secs_f64() * 1e3),
    };
    line(format!(
        "{} samples a second; {clock}{}",
        engine.sample_rate,
        if engine.resample { ", resampled" } else { "" }
    ));
    line(hold);
    let bytes = engine.history.as_secs_f64() * f64::from(engine.sample_rate) * 4.0 * spec.layout.channels() as f64;
    let of = if spec.senders == Senders::One { "" } else { " for each array" };
    line(format!("history {:.1} s: {:.1} MB{of}", engine.history.as_secs_f64(), bytes / 1e6));
    format!("{}\n{out}\n", spec.name)
}
