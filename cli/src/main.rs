//! The program `tipline`: it puts the parts together, and decides nothing that they decide.

mod address;
mod admin;
mod archive;
mod args;
mod bootstrap;
mod checkpoint;
mod checks;
mod consume;
mod demo;
mod dr;
mod drill;
mod forget;
mod get;
mod identity;
mod init;
mod nats;
mod place;
mod primary;
mod progress;
mod report;
mod restore;
mod retention;
mod settings;
mod source;
mod sources;
mod status;
mod stop;
mod store;
mod telemetry;
mod terminal;
mod text;
mod verify;

use std::process::ExitCode;

use clap::FromArgMatches;
use tipline_proto::Role;

use crate::args::{Args, Command, DEFAULT_LOG_LEVEL};
use crate::report::{Exit, Failure};
use crate::settings::BadSettings;
use crate::telemetry::LogFormat;

fn main() -> ExitCode {
    let args = match arguments() {
        Ok(args) => args,
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

fn arguments() -> Result<Args, BadSettings> {
    let arguments = std::env::args_os().collect();
    let matches = settings::load(args::command(), arguments, std::env::vars_os())?;
    Ok(Args::from_arg_matches(&matches)?)
}

fn start(args: Args) -> Result<Exit, Failure> {
    let Args { shared, command } = args;
    // The demo draws on standard error; what it does is in its own words there.
    let is_quiet = matches!(command, Command::Demo(_)) && shared.log_level == DEFAULT_LOG_LEVEL;
    let level = if is_quiet { "warn,async_nats=off" } else { &shared.log_level };
    telemetry::start(level, shared.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(async {
        match command {
            Command::Init(args) => init::run(&shared, args).await,
            Command::Primary(args) => primary::run(&shared, args).await,
            Command::Replica(args) => consume::run(&shared, Role::Replica, args).await,
            Command::Backup(args) => consume::run(&shared, Role::Backup, args).await,
            Command::Archive(args) => archive::run(&shared, args).await,
            Command::Status(args) => status::run(&shared, args).await,
            Command::Restore(args) => restore::run(&shared, args).await,
            Command::Verify(args) => verify::run(&shared, args).await,
            Command::Drill(args) => drill::run(&shared, args).await,
            Command::Dr(args) => dr::run(&shared, args).await,
            Command::Get(args) => get::run(args).await,
            Command::Checkpoint(args) => checkpoint::run(args).await,
            Command::Identity(args) => identity::run(args).await,
            Command::Forget(args) => forget::run(&shared, args).await,
            Command::Retention(args) => retention::run(&shared, args).await,
            Command::Demo(args) => demo::run(&shared, args).await,
        }
    });
    // A thread that still waits for a disk must not hold up the end.
    runtime.shutdown_background();
    exit
}
