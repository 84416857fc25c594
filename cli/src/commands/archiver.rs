//! `tipline archiver`: what a running archiver does; pausing it, and resuming.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use tipline_ops::text::{age, count, number};
use tipline_ops::{ArchiverStatus, archiver_status, pause_archiver, resume_archiver};

use crate::exit::Exit;
use crate::open::admin;
use crate::output::escape::line;
use crate::output::report::{Failure, say};
use crate::settings::Parsed;

/// Options of `tipline archiver`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline archiver status --socket /run/tipline/archive.sock
  tipline archiver pause --max 30m --socket /run/tipline/archive.sock
  tipline archiver resume --socket /run/tipline/archive.sock

It asks a running `tipline archive --socket FILE`: run it where that runs, as the same user.")]
pub(crate) struct ArchiverArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What it does, and how far it is
    Status {
        #[command(flatten)]
        socket: SocketArgs,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write nothing at the destination for a while: what comes meanwhile stays in the log
    ///
    /// It returns once what is under way is written. No segment is written after that, and no merge and
    /// no check begins; one that had begun ends.
    Pause {
        #[command(flatten)]
        socket: SocketArgs,

        /// It resumes by itself after this, 24 h at most
        #[arg(long, value_name = "TIME", default_value = "1h")]
        #[arg(value_parser = Parsed::<humantime::Duration>::new())]
        max: humantime::Duration,
    },
    /// Write again
    Resume {
        #[command(flatten)]
        socket: SocketArgs,
    },
}

#[derive(Debug, clap::Args)]
struct SocketArgs {
    /// Its admin socket, as it was started with
    #[arg(long, env = "TIPLINE_SOCKET", value_name = "FILE")]
    socket: PathBuf,
}

/// Asks it.
pub(crate) async fn run(args: ArchiverArgs) -> Result<Exit, Failure> {
    let (What::Status { socket, .. } | What::Pause { socket, .. } | What::Resume { socket }) =
        &args.what;
    let nobody = || admin::nobody("archiver", &socket.socket);
    let text = match &args.what {
        What::Status { json, .. } => {
            let asked = archiver_status(&socket.socket).await.map_err(admin::explain)?;
            let status = asked.ok_or_else(nobody)?;
            match json {
                true => serde_json::to_string(&status)? + "\n",
                false => render(&status),
            }
        }
        What::Pause { max, .. } => {
            let asked = pause_archiver(&socket.socket, **max).await.map_err(admin::explain)?;
            let index = number(asked.ok_or_else(nobody)?);
            format!("paused at entry {index}, for {} at most\n", age(**max))
        }
        What::Resume { .. } => {
            let asked = resume_archiver(&socket.socket).await.map_err(admin::explain)?;
            match asked.ok_or_else(nobody)? {
                true => "resumed\n".to_owned(),
                false => "it was not paused\n".to_owned(),
            }
        }
    };
    say(&text)?;
    Ok(Exit::Ok)
}

fn render(status: &ArchiverStatus) -> String {
    let ArchiverStatus { name, version, place, doing, .. } = status;
    let mut text = line(format_args!("{name} {version}: {doing}"));
    text += &line(format_args!("writes to {place}"));
    if let Some(left) = status.paused_ms {
        text += &format!("resumes by itself in {}\n", age(Duration::from_millis(left)));
    }
    if let Some(index) = status.index {
        let block =
            status.block.map_or("no block".to_owned(), |at| format!("block {}", number(at)));
        text += &format!("has everything up to entry {}, {block}\n", number(index));
    }
    match status.behind {
        Some(0) => text += "lacks nothing that is in the log\n",
        Some(behind) => text += &format!("lacks {} of the log\n", count(behind, "event")),
        None => {}
    }
    text
}
