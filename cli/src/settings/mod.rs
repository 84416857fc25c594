//! Settings: `tipline.toml`, then the environment, then flags; later ones win.
//!
//! There is one definition for all three: the command line of [`crate::args`]. A *setting* is
//! an option with an environment twin. Its key in the file is its long flag: at the top if the
//! option belongs to every command, otherwise in the table of its command. The file's values
//! become the options' defaults, so that precedence, types and help texts have one source.

mod environment;
mod file;
mod parsed;
mod suggest;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

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
}

/// Puts the three layers together.
pub(crate) fn load(
    command: Command,
    arguments: Vec<OsString>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<ArgMatches, BadSettings> {
    // Help needs neither a file nor an environment that is right.
    let first = command.clone().ignore_errors(true).try_get_matches_from(&arguments);
    let file = match first {
        Ok(matches) => matches.get_one::<PathBuf>("config").cloned(),
        Err(error) if is_help(&error) => return Err(error.into()),
        Err(_) => None,
    };
    environment::check(&command, variables)?;
    let command = match file {
        Some(file) => file::apply(command, &file)?,
        None if std::path::Path::new(FILE).exists() => file::apply(command, FILE.as_ref())?,
        None => command,
    };
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

/// The options of a command that can be set in the file and the environment.
fn settings(command: &Command) -> impl Iterator<Item = (&str, &clap::Arg)> {
    let options = command.get_arguments().filter(|arg| arg.get_env().is_some());
    options.filter_map(|arg| Some((arg.get_long()?, arg))).filter(|(key, _)| *key != "config")
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use crate::args::{Args, Command, command};

    fn loaded(file: &str, flags: &[&str]) -> Args {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.display().to_string();
        let arguments = [&["tipline", "--config", &path], flags].concat();
        let arguments = arguments.into_iter().map(Into::into).collect();
        let matches = super::load(command(), arguments, std::iter::empty()).unwrap();
        Args::from_arg_matches(&matches).unwrap()
    }

    const FILE: &str = "
        log = 'nats://a:4222/main'
        accept-shortfalls = true
        nats-user = 'node'
        nats-password = 's3cret'
        [backup]
        name = 'backup-1'
        store = 'sqlite:b.db'
    ";

    #[test]
    fn the_file_sets_what_no_flag_sets() {
        let args = loaded(FILE, &["backup", "--name", "backup-2"]);
        assert_eq!(args.shared.log.to_string(), "nats://a:4222/main");
        assert!(args.shared.accept_shortfalls);
        let told = format!("{:?}", args.command);
        assert!(matches!(args.command, Command::Backup(_)));
        assert!(told.contains("backup-2") && told.contains("b.db"), "{told}");
    }

    #[test]
    fn flags_count_on_both_sides_of_the_command() {
        for flags in [["--log", "embedded:x", "status"], ["status", "--log", "embedded:x"]] {
            assert_eq!(loaded(FILE, &flags).shared.log.to_string(), "embedded:x");
        }
    }

    #[test]
    fn a_password_is_printed_nowhere() {
        let args = loaded(FILE, &["status"]);
        assert!(!format!("{args:?}").contains("s3cret"));
    }
}
