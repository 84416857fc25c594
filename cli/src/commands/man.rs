//! `tipline man`: a man page for the program and for each of its commands.

use std::path::PathBuf;
use std::{fs, io};

use clap::Command;

use crate::exit::Exit;
use crate::output::report::{Failure, Sentence, say};

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
    write().map_err(|error: io::Error| {
        let text = format!("the man pages cannot be written to {}: {error}", directory.display());
        Failure::from(Sentence(text)).advise("check the directory and its permissions")
    })?;
    say(&format!("wrote the man pages to {}\n", directory.display()))?;
    Ok(Exit::Ok)
}
