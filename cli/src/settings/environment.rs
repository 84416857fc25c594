//! The environment: a variable that nobody reads is a setting that somebody believes in.

use std::ffi::OsString;

use clap::Command;

use super::former;
use super::keys::PREFIX;
use super::suggest::nearest;

/// A variable that is none of Tipline's, but looks like one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown environment variable {name}{hint}")]
pub(crate) struct UnknownVariable {
    name: String,
    hint: String,
}

/// Refuses variables `TIPLINE_…` that no option reads.
pub(super) fn check(
    command: &Command,
    variables: &[(OsString, OsString)],
) -> Result<(), UnknownVariable> {
    let known = known(command);
    for (name, _) in variables {
        let name = name.to_string_lossy();
        let ours = name.starts_with(PREFIX) && !is_service_link(&name);
        let is_former = || former::variables().any(|former| former == name);
        if ours && !known.iter().any(|known| *known == name) && !is_former() {
            let near = nearest(&name[PREFIX.len()..], known.iter().map(|k| &k[PREFIX.len()..]));
            let hint = match near {
                Some(near) => format!(": did you mean {PREFIX}{near}?"),
                None => format!(": unset it, or use one of {}", known.join(", ")),
            };
            return Err(UnknownVariable { name: name.into_owned(), hint });
        }
    }
    Ok(())
}

fn known(command: &Command) -> Vec<&str> {
    let mut known = variables_of(command);
    known.sort_unstable();
    known.dedup();
    known
}

/// Of a command and all that are below it.
fn variables_of(command: &Command) -> Vec<&str> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    own.chain(command.get_subcommands().flat_map(variables_of)).collect()
}

/// Kubernetes sets variables for every service: one that is called `tipline-primary` gives
/// `TIPLINE_PRIMARY_SERVICE_HOST`, `TIPLINE_PRIMARY_PORT_4222_TCP_ADDR` and more.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name.split_once("_PORT_").is_some_and(|(_, port)| port.starts_with(char::is_numeric))
}
