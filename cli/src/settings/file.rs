//! `tipline.toml`.

use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Command, Id};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::contradictions::{self, Given};
use super::former;
use super::keys::{settings, settings_of_table};
use super::secrets;
use super::suggest::nearest;

/// Larger than any settings file: what is larger is something else.
const MAX_BYTES: u64 = 1 << 20;

/// A settings file that cannot be used. The message says which line to change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadFile {
    #[error("the settings in {} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the settings in {} have {length} bytes: is this the right file?", path.display())]
    TooLarge { path: PathBuf, length: u64 },
    #[error("{place}: not TOML: {why}")]
    Syntax { place: String, why: String },
    #[error("unknown key `{key}` in {place}: {hint}")]
    UnknownKey { key: String, place: String, hint: String },
    #[error("`{key}` in {place} cannot be used")]
    Secret { key: String, place: String, source: tipline_log::SecretFileError },
    #[error("wrong value for `{key}` in {place}: {why}")]
    WrongValue { key: String, place: String, why: String },
}

/// Makes the file's values the defaults of the options that they are for, but for those that
/// contradict what is given by flags and variables, which win. Everything in the file is checked, also
/// what this command does not use.
pub(super) fn apply(command: Command, path: &Path, given: &Given) -> Result<Command, BadFile> {
    let unreadable = |source| BadFile::Unreadable { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_BYTES {
        return Err(BadFile::TooLarge { path: path.to_owned(), length });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    File { path, name: path.display().to_string(), text: &text, given }.apply(command)
}

struct File<'a> {
    path: &'a Path,
    name: String,
    text: &'a str,
    given: &'a Given,
}

impl File<'_> {
    fn apply(&self, mut command: Command) -> Result<Command, BadFile> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            BadFile::Syntax { place: self.place(at), why: error.message().to_owned() }
        })?;
        for (key, value) in table.get_ref() {
            let name = self.current(table.get_ref(), key)?;
            command = match (value.get_ref(), command.find_subcommand(name)) {
                (DeValue::Table(section), Some(_)) => self.section(command, name, section)?,
                _ => self.set(command, None, key.span().start, name, value)?,
            };
        }
        Ok(command)
    }

    fn section(
        &self,
        mut command: Command,
        section: &str,
        table: &DeTable<'_>,
    ) -> Result<Command, BadFile> {
        let mut counting = Vec::new();
        for (key, value) in table {
            let (name, at) = (self.current(table, key)?, key.span().start);
            command = self.set(command, Some(section), at, name, value)?;
            if !matches!(value.get_ref(), DeValue::Boolean(false)) {
                counting.push((name, at));
            }
        }
        self.check_contradictions(&command, section, &counting)?;
        Ok(command)
    }

    /// Refuses two settings that must not be given together.
    fn check_contradictions(
        &self,
        command: &Command,
        section: &str,
        counting: &[(&str, usize)],
    ) -> Result<(), BadFile> {
        let Some(table) = command.find_subcommand(section) else { return Ok(()) };
        for (number, (key, at)) in counting.iter().enumerate() {
            for (other, _) in &counting[..number] {
                let mut commands = std::iter::once(table).chain(table.get_subcommands());
                if commands.any(|command| contradictions::contradict(command, key, other)) {
                    let (key, place) = ((*key).to_owned(), self.place(*at));
                    let why = format!("it contradicts `{other}`, which is given too");
                    return Err(BadFile::WrongValue { key, place, why });
                }
            }
        }
        Ok(())
    }

    /// The name of a key, which may be given by its former one, but not by both.
    fn current<'k>(
        &self,
        table: &DeTable<'_>,
        key: &'k Spanned<DeString<'_>>,
    ) -> Result<&'k str, BadFile> {
        let name = key.get_ref().as_ref();
        match former::current(name) {
            None => Ok(name),
            Some(current) if table.keys().any(|other| other.get_ref() == current) => {
                let (key, place) = (name.to_owned(), self.place(key.span().start));
                let hint = format!("it is the former name of `{current}`, which is given too");
                Err(BadFile::UnknownKey { key, place, hint })
            }
            Some(current) => Ok(current),
        }
    }

    fn set(
        &self,
        command: Command,
        section: Option<&str>,
        at: usize,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Command, BadFile> {
        let place = self.place(at);
        let table = section.and_then(|name| command.find_subcommand(name));
        let found = match table {
            Some(table) => settings_of_table(table).find(|(known, _)| *known == key),
            None => settings(&command).find(|(known, _)| *known == key),
        };
        let Some((_, arg)) = found else {
            let hint = hint(&command, table, key);
            return Err(BadFile::UnknownKey { key: key.to_owned(), place, hint });
        };
        let wrong = |why| BadFile::WrongValue { key: key.to_owned(), place, why };
        let value = text(arg, value.get_ref()).map_err(wrong.clone())?;
        check(arg, &value).map_err(wrong)?;
        secrets::check_file(self.path, key, &value).map_err(|source| BadFile::Secret {
            key: key.to_owned(),
            place: self.place(at),
            source,
        })?;
        let with_default = |command| self.with_default(command, key, &value);
        Ok(match section {
            None => with_default(command),
            Some(name) => command.mut_subcommand(name, |table| {
                let table = with_default(table);
                table.mut_subcommands(with_default)
            }),
        })
    }

    /// Makes a value the default of a command's own option.
    fn with_default(&self, command: Command, key: &str, value: &str) -> Command {
        let option = settings(&command).find(|(known, _)| *known == key);
        let Some(id) = option.map(|(_, arg)| arg.get_id().clone()) else { return command };
        if self.given.overrules(&command, key) {
            return command;
        }
        command.mut_arg(id, |arg| arg.required(false).default_value(value.to_owned()))
    }

    /// `tipline.toml line 3`
    fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or_default();
        format!("{} line {}", self.name, before.matches('\n').count() + 1)
    }
}

/// The value as it would be typed.
fn text(arg: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let may_be_bare = arg.get_num_args().is_some_and(|values| values.min_values() == 0);
    match value {
        DeValue::Boolean(value) if may_be_bare => Ok(value.to_string()),
        DeValue::Boolean(value) if is_flag => Ok(value.to_string()),
        other if is_flag => {
            Err(format!("it must be true or false, not {}", with_article(other.type_str())))
        }
        DeValue::String(value) => Ok(value.to_string()),
        DeValue::Integer(value) if value.radix() == 10 => Ok(value.to_string()),
        other => {
            Err(format!("it must be text or a number, not {}", with_article(other.type_str())))
        }
    }
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// Whether the option takes the value, found out by an option of its own.
fn check(arg: &Arg, value: &str) -> Result<(), String> {
    // What it contradicts is not there.
    let alone = arg.clone().required(false).global(false).conflicts_with(Resettable::<Id>::Reset);
    let alone = alone.env(None::<&str>).default_value(value.to_owned());
    let command = Command::new("file").no_binary_name(true).arg(alone);
    match command.try_get_matches_from([""; 0]) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            let why = line.trim_start_matches("error: ");
            let key = arg.get_long().unwrap_or_default();
            Err(why.strip_prefix(key).map_or(why, |why| why.trim_start_matches(": ")).to_owned())
        }
    }
}

/// What could be meant by an unknown key, at the top or in the table of a command.
fn hint(root: &Command, table: Option<&Command>, key: &str) -> String {
    let mut known: Vec<&str> = Vec::new();
    match table {
        Some(table) => known.extend(settings_of_table(table).map(|(key, _)| key)),
        None => {
            known.extend(settings(root).map(|(key, _)| key));
            known.extend(root.get_subcommands().map(Command::get_name));
        }
    }
    if let Some(near) = nearest(key, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let homes: Vec<String> = root
        .get_subcommands()
        .filter(|command| settings_of_table(command).any(|(known, _)| known == key))
        .map(|command| format!("[{}]", command.get_name()))
        .collect();
    if !homes.is_empty() {
        return format!("it belongs under {}", homes.join(" or "));
    }
    if table.is_some() && settings(root).any(|(known, _)| known == key) {
        return "it belongs at the top, above every [table]".to_owned();
    }
    format!("use one of {}", known.join(", "))
}
