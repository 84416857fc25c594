//! How a setting's text becomes its value, and what is said if it does not.

use std::error::Error;
use std::ffi::OsStr;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Command};
use tipline_log::error_chain;

/// Reads a `T` by its [`FromStr`]. Its message names the place that the value came from, and
/// never repeats the value: it may hold a password. `T`'s own error repeats what is harmless.
#[derive(Debug)]
pub(crate) struct Parsed<T>(PhantomData<fn() -> T>);

impl<T> Parsed<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for Parsed<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> TypedValueParser for Parsed<T>
where
    T: FromStr<Err: Error + 'static> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        self.parse_ref_(cmd, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        cmd: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<T, clap::Error> {
        let why = match value.to_str().map(T::from_str) {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) => error_chain(&error),
            None => "it is not UTF-8".to_owned(),
        };
        let place = arg.map(|arg| place(arg, source)).unwrap_or_default();
        Err(cmd.clone().error(ErrorKind::ValueValidation, format!("{place}: {why}")))
    }
}

fn place(arg: &Arg, source: ValueSource) -> String {
    let key = arg.get_long().unwrap_or(arg.get_id().as_str());
    match (source, arg.get_env()) {
        (ValueSource::EnvVariable, Some(name)) => name.display().to_string(),
        (ValueSource::DefaultValue, _) => key.to_owned(),
        _ if arg.is_positional() => key.to_uppercase(),
        _ => format!("--{key}"),
    }
}
