//! `cargo run --release -p bench -- all`: every comparison, as a table and as JSON.

use std::cell::RefCell;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bench::allocations::Counting;
use bench::comparisons::{self, Outcome};
use bench::python::Python;
use bench::receivers::{self, PeerArgs};
use bench::rig::Rig;
use bench::{os, process, servers};
use clap::{Parser, Subcommand};
use micring::sys::host;
use serde_json::{Map, Value, json};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// micring beside its peers, on the same work, in one run: ratios with their spread.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Rounds; in each, every peer gets the same work, in another order.
    #[arg(long, global = true, default_value_t = 5)]
    rounds: usize,
    /// Factor on the length of every measurement.
    #[arg(long, global = true, default_value_t = 1.0)]
    stretch: f64,
    /// Throughput (ingest, fanout, growth) with all that is under test in SCHED_FIFO: for a machine that is not quiet.
    #[arg(long, global = true)]
    isolate: bool,
    /// `arrays`: how many, each a row.
    #[arg(long, global = true, value_delimiter = ',', default_value = "1,10,100,500")]
    counts: Vec<usize>,
    /// Where results.json and the plots go; default: target/bench.
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    /// JSON on standard output instead of the table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Every comparison.
    All,
    /// A small version of each, as a test that it runs and that the answers are right; never of time.
    Quick,
    /// Packets a second on one core, CPU a packet.
    Ingest,
    /// Kernel timestamp until read, and the skew that the receiver adds.
    Delay,
    /// Kernel timestamp until a client holds the event.
    EndToEnd,
    /// Subscribers on one core, CPU a megabyte.
    Fanout,
    /// Cost against what grows (subscribers, packets, arrays, microphones, history, recordings), with plots.
    Growth,
    /// Many arrays on one core.
    Arrays,
    /// Twenty arrays beside three that are in trouble.
    Isolation,
    /// RTP out, sound and extract, each beside what it cannot be better than.
    Limits,
    /// Start-up, memory, size.
    Footprint,
    /// The pieces, and allocations a packet.
    Micro,
    /// One of the peers, as a process of its own; started by the comparisons.
    #[command(hide = true)]
    Peer {
        #[command(subcommand)]
        kind: Peer,
    },
}

#[derive(Subcommand)]
enum Peer {
    Receive(PeerArgs),
    Serve(PeerArgs),
    /// criterion, for so many milliseconds a piece.
    Sample {
        milliseconds: u64,
        folder: PathBuf,
    },
}

type Comparison = fn(&Rig) -> Result<Outcome>;

fn chosen(command: &Command) -> Vec<Comparison> {
    match command {
        Command::All | Command::Quick => vec![
            comparisons::ingest::run,
            comparisons::delay::run,
            comparisons::end_to_end::run,
            comparisons::fanout::run,
            comparisons::growth::run,
            comparisons::arrays::run,
            comparisons::isolation::run,
            comparisons::limits::run,
            comparisons::footprint::run,
            comparisons::micro::run,
        ],
        Command::Ingest => vec![comparisons::ingest::run],
        Command::Delay => vec![comparisons::delay::run],
        Command::EndToEnd => vec![comparisons::end_to_end::run],
        Command::Fanout => vec![comparisons::fanout::run],
        Command::Growth => vec![comparisons::growth::run],
        Command::Arrays => vec![comparisons::arrays::run],
        Command::Isolation => vec![comparisons::isolation::run],
        Command::Limits => vec![comparisons::limits::run],
        Command::Footprint => vec![comparisons::footprint::run],
        Command::Micro => vec![comparisons::micro::run],
        Command::Peer { .. } => Vec::new(),
    }
}

fn rig(cli: &Cli) -> Result<Rig> {
    let quick = matches!(cli.command, Command::Quick);
    let default = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("bench"));
    let out = cli.out.clone().or_else(default).context("a folder for results")?;
    std::fs::create_dir_all(&out).with_context(|| format!("{}", out.display()))?;
    let (under_test, load) = Rig::cores()?;
    if under_test == load {
        eprintln!("bench: one core only: load and receivers share it, and no figure means anything");
    }
    let mut rig = Rig {
        under_test,
        load,
        rounds: if quick { 1 } else { cli.rounds.max(1) },
        stretch: cli.stretch,
        quick,
        isolate: cli.isolate,
        counts: cli.counts.clone(),
        python: None,
        missing: RefCell::default(),
        out,
    };
    rig.python = rig.had("python", Python::find());
    Ok(rig)
}

fn run(cli: &Cli) -> Result<()> {
    if let Command::Peer { kind } = &cli.command {
        return match kind {
            Peer::Receive(args) => receivers::run(args),
            Peer::Serve(args) => servers::run(args),
            Peer::Sample { milliseconds, folder } => {
                comparisons::micro::sample(folder, *milliseconds);
                Ok(())
            }
        };
    }
    os::raise_descriptor_limit();
    process::build_micring()?;
    let rig = rig(cli)?;
    let date = String::from_utf8_lossy(&host::local_time(host::clocks().wall)).into_owned();
    let head = format!(
        "{date}, Linux {}, {} rounds{}, under test: core {}, load: core {}",
        host::kernel_release(),
        rig.rounds,
        if rig.isolate { ", throughput in SCHED_FIFO" } else { "" },
        rig.under_test,
        rig.load
    );
    eprintln!("{head}");
    let mut json = Map::new();
    json.insert("run".into(), json!({"date": date, "kernel": host::kernel_release(), "rounds": rig.rounds}));
    if !cli.json && !rig.quick {
        println!("{head}\n\nMedians over the rounds (lowest to highest); ratios are of one round.");
    }
    let mut failed = Vec::new();
    for comparison in chosen(&cli.command) {
        match comparison(&rig) {
            Ok(outcome) => {
                match (cli.json, rig.quick) {
                    (true, _) => {}
                    (false, true) => println!("{}: runs, and its answers are right", outcome.name),
                    (false, false) => println!("{}", outcome.text()),
                }
                json.insert(outcome.name.into(), outcome.json());
            }
            // The others are worth having all the same.
            Err(error) => {
                eprintln!("bench: {error:#}");
                failed.push(format!("{error:#}"));
            }
        }
    }
    let missing = rig.missing.take();
    json.insert("missing".into(), json!(missing));
    let text = serde_json::to_string_pretty(&Value::Object(json))?;
    std::fs::write(rig.out.join("results.json"), &text)?;
    if cli.json {
        println!("{text}");
    }
    // Last, where it is read: a table says nothing of who is not in it.
    for (peer, why) in &missing {
        eprintln!("bench: nothing above is compared with {peer}: {why}");
    }
    ensure!(failed.is_empty(), "{} of the comparisons failed: {}", failed.len(), failed.join("; "));
    Ok(())
}

fn main() {
    if let Err(error) = run(&Cli::parse()) {
        eprintln!("bench: {error:#}");
        std::process::exit(1);
    }
}
