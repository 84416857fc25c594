//! Settings: `tipline.toml`, then the environment, then flags; later ones win.
//!
//! There is one definition for all three: the command line. A *setting* is
//! an option with an environment twin. Its key in the file is its long flag: at the top if the
//! option belongs to every command, otherwise in the table of its command, which the commands below
//! it share. The file's values
//! become the options' defaults, so that precedence, types and help texts have one source. A value that
//! contradicts a flag or a variable does not count.

mod contradictions;
mod environment;
mod file;
mod former;
mod keys;
mod parsed;
mod secrets;
mod suggest;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

use contradictions::Given;
pub(crate) use file::BadFile;
pub(crate) use parsed::Parsed;
pub(crate) use suggest::nearest;

/// Read if it is in the working directory and no other file is named.
const FILE: &str = "tipline.toml";

/// Settings that cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadSettings {
    /// The command line is wrong, or asks for help: clap prints that itself.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    #[error(transparent)]
    File(#[from] BadFile),
    #[error(transparent)]
    Environment(#[from] environment::UnknownVariable),
    #[error(transparent)]
    Secret(#[from] secrets::SecretInArguments),
    #[error(transparent)]
    GivenTwice(#[from] former::GivenTwice),
}

/// Puts the three layers together.
pub(crate) fn load(
    command: Command,
    arguments: Vec<OsString>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<ArgMatches, BadSettings> {
    let command = former::flags(command);
    // Help needs neither a file nor an environment that is right.
    let first = command.clone().ignore_errors(true).try_get_matches_from(&arguments);
    let (file, given) = match first {
        Ok(matches) => (matches.get_one::<PathBuf>("config").cloned(), Given::of(&matches)),
        Err(error) if is_help(&error) => return Err(error.into()),
        Err(_) => (None, Given::default()),
    };
    secrets::check_arguments(&arguments)?;
    let variables: Vec<_> = variables.collect();
    environment::check(&command, &variables)?;
    let command = match file {
        Some(file) => file::apply(command, &file, &given)?,
        None if std::path::Path::new(FILE).exists() => file::apply(command, FILE.as_ref(), &given)?,
        None => command,
    };
    let command = former::environment(command, &variables)?;
    Ok(command.try_get_matches_from(&arguments)?)
}

fn is_help(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}
