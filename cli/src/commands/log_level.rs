//! `tipline log-level`: what a running process logs, changed while it runs.

use std::path::PathBuf;

use tipline_ops::{LevelRequest, LoggedLevel, log_level};

use crate::address::{Source, StoreAddress};
use crate::exit::Exit;
use crate::open::admin;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;

/// The level that stands for what a process began with.
const RESET: &str = "reset";

/// Options of `tipline log-level`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline log-level debug --store sqlite:/backup/chain.db
  tipline log-level info,tipline_log=trace --source dir:/var/lib/node/blocks
  tipline log-level --store sqlite:/backup/chain.db
  tipline log-level reset --store sqlite:/backup/chain.db
  tipline log-level debug --socket /run/tipline/archive.sock

It asks the process that has the store or the outbox open, by its admin socket: run it where that
runs, as the same user. The level lasts until it is changed or reset, or the process ends.")]
pub(crate) struct LogLevelArgs {
    /// error, warn, info, debug, trace or off, per module as in RUST_LOG, or `reset`: what the process
    /// began with. Without one it is only shown
    level: Option<String>,

    /// The store of the replica or backup
    #[arg(long, env = "TIPLINE_STORE", value_name = "STORE")]
    #[arg(value_parser = Parsed::<StoreAddress>::new())]
    store: Option<StoreAddress>,

    /// What the primary reads, as it was started with
    #[arg(long, env = "TIPLINE_SOURCE", value_name = "SOURCE", value_parser = Parsed::<Source>::new())]
    source: Option<Source>,

    /// Where the outbox keeps its index, if the primary was started with that
    #[arg(long, env = "TIPLINE_INDEX", value_name = "FILE")]
    index: Option<PathBuf>,

    /// The admin socket itself: of an archiver, as it was started with
    #[arg(long, env = "TIPLINE_SOCKET", value_name = "FILE")]
    socket: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Shows or changes it.
pub(crate) async fn run(args: LogLevelArgs) -> Result<Exit, Failure> {
    let socket = socket(&args)?;
    let request = match args.level {
        None => LevelRequest::Show,
        Some(level) if level == RESET => LevelRequest::Reset,
        Some(level) => LevelRequest::To(level),
    };
    let logged = log_level(&socket, request).await.map_err(admin::explain)?;
    let logged = logged.ok_or_else(|| admin::nobody("process", &socket))?;
    if args.json {
        say(&(serde_json::to_string(&logged)? + "\n"))?;
    } else {
        let LoggedLevel { level, started } = logged;
        say(&format!("it logs {level}; it began with {started}\n"))?;
    }
    Ok(Exit::Ok)
}

fn socket(args: &LogLevelArgs) -> Result<PathBuf, Failure> {
    match (&args.socket, &args.store, &args.source) {
        (Some(socket), _, _) => Ok(socket.clone()),
        (None, Some(store), None) => Ok(admin::socket(store)),
        (None, None, Some(source)) => Ok(admin::primary_socket(source, args.index.as_deref())),
        _ => {
            let text = "which process is meant is not said, or said twice".to_owned();
            Err(Failure::from(Sentence(text)).advise("give one of --store, --source and --socket"))
        }
    }
}
