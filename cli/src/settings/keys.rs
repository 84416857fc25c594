//! Which options are settings.

use clap::Command;

/// What every variable begins with.
pub(super) const PREFIX: &str = "TIPLINE_";

/// The options of a command that can be set in the file and the environment.
pub(super) fn settings(command: &Command) -> impl Iterator<Item = (&str, &clap::Arg)> {
    let options = command.get_arguments().filter(|arg| arg.get_env().is_some());
    options.filter_map(|arg| Some((arg.get_long()?, arg))).filter(|(key, _)| *key != "config")
}

/// The same of a command with a table in the file: the commands below it share its table.
pub(super) fn settings_of_table(command: &Command) -> impl Iterator<Item = (&str, &clap::Arg)> {
    settings(command).chain(command.get_subcommands().flat_map(settings))
}
