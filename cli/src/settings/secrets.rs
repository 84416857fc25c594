//! Secrets are given where others of the machine do not see them: not on the command line, and in a
//! settings file only if it is for its owner alone.

use std::ffi::OsString;
use std::path::Path;

use tipline_log::{SecretFileError, check_secret_file};

/// The options that are secret.
const SECRETS: [&str; 2] = ["nats-password", "nats-token"];

/// A secret that every user of this machine could read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretInArguments {
    #[error(
        "--{name} on the command line is seen by every user of this machine: set {variable}, or \
         give --{name}-file FILE"
    )]
    Flag { name: &'static str, variable: String },
    #[error(
        "a password in an address on the command line is seen by every user of this machine: set \
         TIPLINE_LOG to the address of a log, or give --nats-user, and --nats-password-file FILE; \
         what else a login is for takes it from the environment"
    )]
    Address,
}

/// Refuses a command line with a secret in it.
pub(super) fn check_arguments(arguments: &[OsString]) -> Result<(), SecretInArguments> {
    for argument in arguments.iter().map(|argument| argument.to_string_lossy()) {
        for name in SECRETS {
            let rest = argument.strip_prefix("--").and_then(|rest| rest.strip_prefix(name));
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('=')) {
                let variable = format!("TIPLINE_{}", name.replace('-', "_").to_uppercase());
                return Err(SecretInArguments::Flag { name, variable });
            }
        }
        if has_password(&argument) {
            return Err(SecretInArguments::Address);
        }
    }
    Ok(())
}

/// Refuses a settings file with a secret in it that others can read.
pub(super) fn check_file(path: &Path, key: &str, value: &str) -> Result<(), SecretFileError> {
    match SECRETS.contains(&key) || has_password(value) {
        true => check_secret_file(path),
        false => Ok(()),
    }
}

/// `nats://USER:PASSWORD@HOST`, or with another scheme.
fn has_password(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is_log = scheme.ends_with("nats") || scheme.ends_with("tls");
    // The password of a log may have any character. Elsewhere a path begins with the slash.
    let authority = if is_log { Some(rest) } else { rest.split('/').next() };
    let login = authority.and_then(|authority| authority.rsplit_once('@'));
    let password = login.and_then(|(login, _)| login.split_once(':'));
    password.is_some_and(|(_, password)| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(argument: &str) -> Option<String> {
        let arguments = ["tipline", "status", argument].map(OsString::from);
        check_arguments(&arguments).err().map(|error| error.to_string())
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        let secret = [
            "--nats-password",
            "--nats-password=s3cret",
            "--nats-token=s3cret",
            "nats://node:s3cret@a:4222/main",
            "--log=tls://node:s3cr@t@a:4222,b:4222/main",
            "--otlp=http://node:s3cret@a:4317",
            "--nats-monitor=https://node:s3cret@a:8222",
        ];
        for argument in secret {
            let told = refused(argument).unwrap();
            assert!(told.contains("seen by every user") && !told.contains("s3cr"), "{told}");
        }
        let fine = [
            "--nats-password-file=a",
            "--nats-token-file",
            "nats://a:4222,b:4222/main",
            "nats://node@a:4222/main",
            "s3://bucket/a:b@latest",
            "http://a:4317/b@c",
        ];
        assert_eq!(fine.map(refused), [const { None }; 6]);
    }
}
