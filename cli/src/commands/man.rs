//! `tipline man`: a man page for the program and for each of its commands.

use std::fs;
use std::path::PathBuf;

use clap::Command;

use crate::exit::Exit;
use crate::output::report::{Failure, say};

/// Options of `tipline man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline man /usr/local/share/man/man1
  tipline man pages && man ./pages/tipline-backup.1")]
pub(crate) struct ManArgs {
    /// Directory to write them to; it is made if it is not there
    directory: PathBuf,
}

/// Writes them.
pub(crate) fn run(args: &ManArgs, line: Command) -> Result<Exit, Failure> {
    let directory = &args.directory;
    let write = || {
        fs::create_dir_all(directory)?;
        clap_mangen::generate_to(line, directory)
    };
    write().map_err(|error| {
        let advice = format!("see whether {} can be written to", directory.display());
        Failure::from(error).advise(advice)
    })?;
    say(&format!("wrote the man pages to {}\n", directory.display()))?;
    Ok(Exit::Ok)
}
