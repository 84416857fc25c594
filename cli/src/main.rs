//! The program `tipline`: it puts the parts together, and decides nothing that they decide.

mod address;
mod args;
mod commands;
mod demo;
mod exit;
mod open;
mod options;
mod output;
mod settings;
mod signal;
mod telemetry;

use std::process::ExitCode;

use clap::FromArgMatches;

use crate::args::Args;
use crate::commands::Command;
use crate::exit::Exit;
use crate::options::DEFAULT_LOG_LEVEL;
use crate::output::nagios::unknown;
use crate::output::report::{Failure, say};
use crate::output::telemetry::LogFormat;
use crate::settings::BadSettings;

fn main() -> ExitCode {
    let args = match arguments() {
        Ok(args) => args,
        Err(error) if is_plugin(&error) => return plugin_failed(&error).into(),
        // Help and mistakes on the command line: clap knows how to print them, and where.
        Err(BadSettings::Arguments(error)) => error.exit(),
        Err(error) => return Failure::from(error).print().into(),
    };
    let format = args.shared.log_format;
    match start(args) {
        Ok(exit) => exit.into(),
        // Whoever reads JSON must be able to read all of it.
        Err(failure) if format == LogFormat::Json => failure.log().into(),
        Err(failure) => failure.print().into(),
    }
}

/// Whether it was called by Nagios, and not for help.
fn is_plugin(error: &BadSettings) -> bool {
    let is_help = matches!(error, BadSettings::Arguments(error) if !error.use_stderr());
    !is_help && std::env::args_os().any(|argument| argument == "--nagios")
}

/// A mistake in what Nagios was told to call.
fn plugin_failed(error: &BadSettings) -> Exit {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    match say(&unknown(first.trim_start_matches("error: "))) {
        Ok(()) => Exit::UNKNOWN,
        Err(error) => Failure::from(error).print(),
    }
}

fn arguments() -> Result<Args, BadSettings> {
    let arguments = std::env::args_os().collect();
    let matches = settings::load(args::command(), arguments, std::env::vars_os())?;
    commands::check_sources(&matches)?;
    Ok(Args::from_arg_matches(&matches)?)
}

fn start(args: Args) -> Result<Exit, Failure> {
    let Args { shared, command } = args;
    // The demo draws on standard error; what it does is in its own words there.
    let is_quiet = matches!(command, Command::Demo(_)) && shared.log_level == DEFAULT_LOG_LEVEL;
    let level = if is_quiet { "warn,async_nats=off" } else { &shared.log_level };
    output::telemetry::start(level, shared.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(commands::run(&shared, command, args::command));
    // A thread that still waits for a disk must not hold up the end.
    runtime.shutdown_background();
    exit
}
