//! Every command line that somebody may copy is one that the program takes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use crate::args::command;
use crate::settings;

/// A command line, and where it is.
#[derive(Debug)]
struct Line {
    at: String,
    text: String,
    /// It is to be copied, not only named: nothing that is required is missing.
    whole: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Pages for those who run and embed it.
fn pages() -> Vec<(String, String)> {
    let mut paths = vec![root().join("README.md"), root().join("SECURITY.md")];
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    paths.extend(docs.filter(|path| path.extension().is_some_and(|is| is == "md")));
    let page = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(page).collect()
}

/// Those of a page: in blocks of shell, and in the text.
fn of_page(page: &str, text: &str) -> Vec<Line> {
    let (mut lines, mut in_block, mut continued) = (Vec::new(), None, String::new());
    for (number, line) in text.lines().enumerate() {
        let at = format!("{page}:{}", number + 1);
        if let Some(language) = line.trim_start().strip_prefix("```") {
            in_block = if in_block.is_none() { Some(language.trim().to_owned()) } else { None };
            continue;
        }
        match in_block.as_deref() {
            Some("sh") => {
                continued.push_str(line);
                if let Some(begun) = continued.strip_suffix('\\') {
                    continued = begun.to_owned();
                    continue;
                }
                let text = std::mem::take(&mut continued);
                let text = text.trim_start();
                if text.starts_with("tipline ") {
                    lines.push(Line { at, text: text.to_owned(), whole: true });
                }
            }
            Some(_) => {}
            None => {
                let quoted = line.split('`').skip(1).step_by(2);
                let named = quoted.filter(|text| text.starts_with("tipline "));
                lines.extend(named.map(|text| Line {
                    at: at.clone(),
                    text: text.to_owned(),
                    whole: false,
                }));
            }
        }
    }
    lines
}

/// The examples in the help of a command and of those below it.
fn of_help(command: &clap::Command, lines: &mut Vec<Line>) {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let after = after.replace("\\\n", " ");
    for line in after.lines().filter(|line| line.starts_with("  tipline ")) {
        let at = format!("{} --help", command.get_name());
        lines.push(Line { at, text: line.trim().to_owned(), whole: true });
    }
    command.get_subcommands().for_each(|below| of_help(below, lines));
}

/// What the shell would hand over: without what is after a comment, a pipe or a redirection.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | '>' | '&' | ';') => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words.retain(|word| word != "…");
    words
}

/// Why the program would not take it.
fn refused(line: &Line) -> Option<String> {
    let error = command().try_get_matches_from(words(&line.text)).err()?;
    let is_pattern = line.text.contains('…') || !line.whole;
    match error.kind() {
        // A word that stands for any command.
        ErrorKind::InvalidSubcommand if !line.whole && line.text.contains("COMMAND") => None,
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        // A value that is left out.
        ErrorKind::ValueValidation if is_pattern => None,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::InvalidValue
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            if !line.whole =>
        {
            None
        }
        _ => Some(format!("{}: {}\n{error}", line.at, line.text)),
    }
}

#[test]
fn every_command_line_in_the_documentation_is_taken() {
    let mut lines: Vec<Line> =
        pages().iter().flat_map(|(page, text)| of_page(page, text)).collect();
    let on_pages = lines.len();
    of_help(&command(), &mut lines);
    assert!(on_pages > 60 && lines.len() > on_pages + 40, "{on_pages} of {}", lines.len());
    let refused: Vec<_> = lines.iter().filter_map(refused).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// The units of systemd, with the settings that are beside them.
#[test]
fn every_unit_of_systemd_starts_what_there_is() {
    let folder = root().join("deploy/systemd");
    let config = folder.join("tipline.toml");
    let mut units = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let Some(start) = text.lines().find_map(|line| line.strip_prefix("ExecStart=")) else {
            assert_eq!(path, config);
            continue;
        };
        units += 1;
        let start = start.replace("%%", "%").replace("%i", "backup-1");
        let start = start.replace("/etc/tipline/tipline.toml", config.to_str().unwrap());
        let arguments = words(&start).into_iter().map(Into::into).collect();
        let taken = settings::load(command(), arguments, std::iter::empty());
        assert!(taken.is_ok(), "{}: {start}\n{}", path.display(), taken.unwrap_err());
    }
    assert!(units >= 4, "{units}");
}

/// The manifests of Kubernetes and their hooks, with the settings that are in them, and the services
/// of the composition.
#[test]
fn every_container_starts_what_there_is() {
    let manifests = fs::read_to_string(root().join("deploy/kubernetes/tipline.yaml")).unwrap();
    let composition = fs::read_to_string(root().join("compose.yaml")).unwrap();
    let settings = manifests.split("tipline.toml: |\n").nth(1).unwrap();
    let settings = settings.lines().take_while(|line| line.starts_with("    "));
    let settings: String = settings.map(|line| format!("{}\n", line.trim())).collect();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tipline.toml");
    fs::write(&config, settings).unwrap();
    let mut lists = 0;
    for line in manifests.lines().chain(composition.lines()) {
        let marks = ["args: ", "/command: '", "    command: "];
        let list = marks.into_iter().find_map(|mark| line.split_once(mark)).map(|(_, list)| list);
        let Some(list) = list.map(|list| list.trim_end_matches('\'')) else { continue };
        let words: Vec<String> = serde_json::from_str(list).unwrap();
        let is_ours = line.contains("args: ") || words[0] == "tipline";
        let words = words.iter().filter(|word| *word != "tipline").map(|word| {
            let word = word.replace("$(POD_NAME)", "tipline-replica-0");
            word.replace("/etc/tipline/tipline.toml", config.to_str().unwrap()).into()
        });
        if is_ours {
            lists += 1;
            let arguments = std::iter::once("tipline".into()).chain(words).collect();
            let taken = settings::load(command(), arguments, std::iter::empty());
            assert!(taken.is_ok(), "{line}\n{}", taken.unwrap_err());
        }
    }
    assert!(lists >= 13, "{lists}");
    // Nothing stops for a backup.
    assert!(!manifests.contains("replicas: 0"));
}

/// Somebody who looks at the help of a command finds a line to begin with.
#[test]
fn every_command_has_an_example() {
    fn each(command: &clap::Command, path: &str, without: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        let mut below = command.get_subcommands().peekable();
        if below.peek().is_none() {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if !after.contains(path.trim()) {
                without.push(path.clone());
            }
        }
        below.for_each(|command| each(command, &path, without));
    }
    let mut without = Vec::new();
    each(&command(), "", &mut without);
    assert!(without.is_empty(), "no example: {without:#?}");
}

#[test]
fn words_are_the_shells() {
    let line = "tipline get blocks 1..9 --store \"sqlite:a b.db\" --json | head -1   # one";
    let expected = ["tipline", "get", "blocks", "1..9", "--store", "sqlite:a b.db", "--json"];
    assert_eq!(words(line), expected);
    assert_eq!(words("tipline status   # now"), ["tipline", "status"]);
}
