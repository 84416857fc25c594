//! `tipline identity check`: which backups there are, how old, and whether they open.

use std::path::PathBuf;

use serde_json::{Value, json};
use tipline_backup::{Destination, Identities, IdentityError, IdentityName, KeyFile, Keys};
use tipline_log::{error_chain, system_clock};
use tipline_ops::text::{age, count};
use tipline_ops::{NodeBackups, backups_by_node, review_identities};

use super::show::{show, time};
use crate::exit::Exit;
use crate::options::DEFAULT_MAX_AGE;
use crate::output::escape::line;
use crate::output::report::Failure;
use crate::settings::Parsed;

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Only this node's
    #[arg(long, value_name = "NAME", value_parser = Parsed::<IdentityName>::new())]
    name: Option<IdentityName>,

    /// File with a secret key, as age-keygen makes it: the newest backups are opened, and compared
    /// with the files where they came from, if there are any
    #[arg(long = "identity", value_name = "FILE")]
    keys: Vec<PathBuf>,

    /// Older than this is old
    #[arg(long, value_name = "TIME", default_value = DEFAULT_MAX_AGE)]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    max_age: humantime::Duration,
}

/// How a node's newest backup is.
enum Opened {
    /// Nobody gave a key.
    NotTried,
    /// With each file, and how it compares with the one on this machine.
    Whole(Vec<(KeyFile, Here)>),
    Broken(IdentityError),
}

/// The file of this machine at the path that was backed up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Here {
    Same,
    Changed,
    /// Not there, or not readable: this may be another machine.
    Unknown,
}

pub(super) async fn run(at: Destination, args: CheckArgs, json: bool) -> Result<Exit, Failure> {
    let mut keys = args.keys.iter();
    let keys = keys.try_fold(Keys::default(), |keys, file| keys.identity_file(file))?;
    let has_key = keys.can_open();
    let identities = Identities::at(at.clone(), keys)?;
    let mut backups = identities.list().await?;
    if let Some(name) = &args.name {
        backups.retain(|backup| backup.name == *name);
    }
    let now = system_clock()();
    let missing = args.name.as_ref().filter(|_| backups.is_empty());
    let mut reasons = match missing {
        Some(name) => vec![format!("{} has no backup of the identity of {name}", at.place())],
        None => {
            let review = review_identities(at.place(), backups.clone(), now, args.max_age.into());
            let clocks = review.findings.into_iter().map(|finding| finding.text);
            review.reminders.into_iter().chain(clocks).collect()
        }
    };
    let mut exit = if reasons.is_empty() { Exit::Ok } else { Exit::Degraded };
    let (mut text, mut rows) = (String::new(), Vec::new());
    for kept in backups_by_node(backups) {
        let opened = if has_key { open(&identities, &kept).await? } else { Opened::NotTried };
        let age = age(kept.age(now));
        text.push_str(&row(&kept, &opened, &age));
        rows.push(object(&kept, &opened, kept.age(now).as_millis()));
        match &opened {
            Opened::Broken(error) => {
                reasons.push(error_chain(error));
                exit = Exit::Failed;
            }
            Opened::Whole(files) if files.iter().any(|(_, here)| *here == Here::Changed) => {
                reasons.push(format!("files of {} changed since: back them up again", kept.name));
                exit = if exit == Exit::Failed { exit } else { Exit::Degraded };
            }
            _ => {}
        }
    }
    let verdict = match exit {
        Exit::Ok => "well",
        Exit::Degraded => "degraded",
        _ => "broken",
    };
    let summary = if reasons.is_empty() {
        let nodes = count(rows.len() as u64, "node");
        format!("the identity of {nodes} is kept at {}", at.place())
    } else {
        reasons.join("; ")
    };
    let text = line(format_args!("{}: {summary}", verdict.to_uppercase())) + &text;
    let object = json!({ "verdict": verdict, "reasons": reasons, "identities": rows });
    show(json, &text, &object)?;
    Ok(exit)
}

/// An error of the destination itself is no answer about a backup.
async fn open(identities: &Identities, kept: &NodeBackups) -> Result<Opened, Failure> {
    let Some(newest) = kept.backups.first() else { return Ok(Opened::NotTried) };
    match identities.open(newest).await {
        Ok(files) => {
            let compared = files.into_iter().map(|file| {
                let here = match std::fs::read(&file.path) {
                    Ok(bytes) if bytes == file.bytes => Here::Same,
                    Ok(_) => Here::Changed,
                    Err(_) => Here::Unknown,
                };
                (file, here)
            });
            Ok(Opened::Whole(compared.collect()))
        }
        Err(error @ IdentityError::Destination(_)) => Err(error.into()),
        Err(error) => Ok(Opened::Broken(error)),
    }
}

fn row(kept: &NodeBackups, opened: &Opened, age: &str) -> String {
    let newest = kept.backups.first().map(|newest| time(newest.time)).unwrap_or_default();
    let number = count(kept.backups.len() as u64, "backup");
    let mut text = format!("  {}  {newest}, {age} ago, {number}", kept.name);
    match opened {
        Opened::NotTried => text.push_str("; not opened: no --identity given\n"),
        Opened::Broken(_) => text.push_str("; the newest does not open\n"),
        Opened::Whole(files) => {
            text.push_str("; opens\n");
            for (file, here) in files {
                let here = match here {
                    Here::Same => "as on this machine",
                    Here::Changed => "CHANGED on this machine since",
                    Here::Unknown => "not on this machine",
                };
                text.push_str(&line(format_args!("    {}: {here}", file.path.display())));
            }
        }
    }
    text
}

fn object(kept: &NodeBackups, opened: &Opened, age_ms: u128) -> Value {
    let newest = kept.backups.first().map(|newest| time(newest.time));
    let opens = match opened {
        Opened::NotTried => None,
        Opened::Whole(_) => Some(true),
        Opened::Broken(_) => Some(false),
    };
    let files = match opened {
        Opened::Whole(files) => files.iter().map(file).collect(),
        _ => Vec::new(),
    };
    json!({
        "name": kept.name.to_string(), "newest": newest, "age_ms": age_ms,
        "backups": kept.backups.len(), "opens": opens, "files": files,
    })
}

fn file((file, here): &(KeyFile, Here)) -> Value {
    let same = match here {
        Here::Same => Some(true),
        Here::Changed => Some(false),
        Here::Unknown => None,
    };
    json!({ "name": file.name, "path": file.path, "same_here": same })
}
