//! Former names of settings. Scripts may still use them: they work everywhere, and are shown
//! nowhere. To give a setting by both its names is an error.

use std::ffi::OsString;

use clap::{Arg, Command};

use super::keys::PREFIX;

/// The setting, and what it was called.
const FORMER: [(&str, &str); 1] = [("linger", "gather")];

/// A setting that is given twice in the environment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{former} is the former name of {current}: unset it")]
pub(crate) struct GivenTwice {
    former: String,
    current: String,
}

/// What a key is called now; `None` if it is no former name.
pub(super) fn current(key: &str) -> Option<&'static str> {
    FORMER.iter().find(|(_, former)| *former == key).map(|(current, _)| *current)
}

/// Former names of variables.
pub(super) fn variables() -> impl Iterator<Item = String> {
    FORMER.iter().map(|(_, former)| variable(former))
}

/// Lets the former flags be given, unseen.
pub(super) fn flags(command: Command) -> Command {
    FORMER.iter().fold(command, |command, (current, former)| {
        each(command, current, &|arg| arg.alias(*former))
    })
}

/// Lets the former variables count. They win over the file, as all variables do.
pub(super) fn environment(
    command: Command,
    given: &[(OsString, OsString)],
) -> Result<Command, GivenTwice> {
    let value = |name: &str| given.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    FORMER.iter().try_fold(command, |command, (current, former)| {
        let (now, before) = (variable(current), variable(former));
        match value(&before) {
            None => Ok(command),
            Some(_) if value(&now).is_some() => Err(GivenTwice { former: before, current: now }),
            Some(value) => {
                Ok(each(command, current, &|arg| arg.required(false).default_value(value.clone())))
            }
        }
    })
}

/// `linger` as `TIPLINE_LINGER`.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('-', "_"))
}

/// Changes the option of this name in a command and all that are below it.
fn each(command: Command, key: &str, change: &dyn Fn(Arg) -> Arg) -> Command {
    let changed = command.mut_args(|arg| match arg.get_long() {
        Some(long) if long == key => change(arg),
        _ => arg,
    });
    changed.mut_subcommands(|below| each(below, key, change))
}
