//! Arguments to command to exit code: 0, 2 for wrong usage, 1 for anything else with one line that says why.

use std::process::ExitCode;

use clap::Parser;
use micring::cli::{Cli, Command};
use micring::commands::{analyze, calibrate, check_config, demo, doctor, extract, relay, replay, serve, simulate};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => {
            args.check().unwrap_or_else(|wrong_usage| wrong_usage.exit());
            serve::run(&args, |_| Ok(()))
        }
        Command::Demo(args) => {
            args.serve.check().unwrap_or_else(|wrong_usage| wrong_usage.exit());
            demo::run(&args)
        }
        Command::Replay(args) => replay::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Extract(args) => extract::run(&args),
        Command::Simulate(args) => {
            let scenario = args.scenario().unwrap_or_else(|wrong_usage| wrong_usage.exit());
            simulate::run(&args, &scenario)
        }
        Command::Calibrate(args) => calibrate::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Doctor(args) => match doctor::run(&args) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(failure) => Err(failure),
        },
        Command::Relay(args) => relay::run(&args),
        #[cfg(feature = "manual")]
        Command::Manual(args) => micring::cli::manual::write(<Cli as clap::CommandFactory>::command(), &args.folder)
            .map_err(|error| {
                micring::commands::Failure::new(format_args!("cannot write {}: {error}", args.folder.display()))
            }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("micring: {failure}");
            ExitCode::FAILURE
        }
    }
}
