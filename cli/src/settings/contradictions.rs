//! Settings that must not be given together. The command line refuses two of them; clap does not
//! see those that come from the file.

use std::collections::BTreeSet;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::keys::settings;

/// The options that flags and variables give.
#[derive(Debug, Default)]
pub(super) struct Given(BTreeSet<String>);

impl Given {
    /// Of a command and the one below it that was called.
    pub(super) fn of(mut matches: &ArgMatches) -> Self {
        let mut given = BTreeSet::new();
        loop {
            let ids = matches.ids().map(clap::Id::as_str);
            given.extend(ids.filter(|id| is_given(matches, id)).map(str::to_owned));
            match matches.subcommand() {
                Some((_, below)) => matches = below,
                None => return Self(given),
            }
        }
    }

    /// Whether a setting of the file contradicts one of these.
    pub(super) fn overrules(&self, command: &Command, key: &str) -> bool {
        let mut given = settings(command).filter(|(_, arg)| self.0.contains(arg.get_id().as_str()));
        given.any(|(given, _)| contradict(command, given, key))
    }
}

/// What is empty, or off, is not given.
fn is_given(matches: &ArgMatches, id: &str) -> bool {
    use ValueSource::{CommandLine, EnvVariable};
    // Options of every command are among those of the one below, which does not know them by itself.
    let Ok(Some(mut values)) = matches.try_get_raw(id) else { return false };
    if !matches!(matches.value_source(id), Some(CommandLine | EnvVariable)) {
        return false;
    }
    match matches.try_get_one::<bool>(id) {
        Ok(flag) => flag.is_some_and(|is_on| *is_on),
        Err(_) => values.any(|value| !value.is_empty()),
    }
}

/// Whether a command refuses two of its settings together, whichever of them says so.
pub(super) fn contradict(command: &Command, one: &str, other: &str) -> bool {
    let find = |key: &str| settings(command).find(|(known, _)| *known == key).map(|(_, arg)| arg);
    let (Some(one), Some(other)) = (find(one), find(other)) else { return false };
    let refuses = |arg: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(arg).iter().any(|found| found.get_id() == other.get_id())
    };
    refuses(one, other) || refuses(other, one)
}
