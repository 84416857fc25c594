//! `tipline identity`: the key files of nodes, encrypted, kept apart from their data.

mod check;
mod show;

use std::path::PathBuf;

use serde_json::{Value, json};
use tipline_backup::{Destination, Identities, IdentityBackup, IdentityError, IdentityName, Keys};
use tipline_log::system_clock;
use tipline_ops::text::{count, list};

use self::show::{show, time};
use crate::exit::Exit;
use crate::output::escape::line;
use crate::output::report::{Failure, Sentence};
use crate::settings::{Parsed, nearest};

/// Options of `tipline identity`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline identity backup --name node-1 --file /etc/node/validator.key --recipient age1… \\
      --identities s3://keys-of-the-fleet
  tipline identity check --identities s3://keys-of-the-fleet --identity /media/usb/age.key
  tipline identity restore --name node-1 --to-dir /etc/node --identity /media/usb/age.key \\
      --identities s3://keys-of-the-fleet

A backup is encrypted to the recipients, whose secret keys belong neither on the node nor where
the backup is: age-keygen makes them. `age --decrypt` and `tar -x` open it, too. With [status]
identities in tipline.toml, tipline status reminds of one that is missing or old.")]
pub(crate) struct IdentityArgs {
    #[command(subcommand)]
    action: Action,

    /// Where the backups are: dir:PATH, s3://BUCKET/PREFIX, gs://… or az://…
    #[arg(long, aliases = ["to", "from"], global = true, env = "TIPLINE_IDENTITIES")]
    #[arg(value_name = "ADDRESS")]
    identities: Option<String>,

    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Encrypt key files and keep them; earlier backups stay
    Backup(BackupArgs),
    /// Show which backups there are, how old, and with a key whether they open
    ///
    /// Exit codes: 0 well, 1 one is missing, old, or differs from the files here, 2 one does not
    /// open.
    Check(check::CheckArgs),
    /// Write the key files of a backup into a directory
    Restore(RestoreArgs),
}

#[derive(Debug, clap::Args)]
struct BackupArgs {
    /// Name of the node: 1 to 32 of a-z, 0-9 and -
    #[arg(long, value_name = "NAME", value_parser = Parsed::<IdentityName>::new())]
    name: IdentityName,

    /// A key file; several are kept together
    #[arg(long = "file", value_name = "PATH", num_args = 1.., required = true)]
    files: Vec<PathBuf>,

    /// The age public key of who can open it. With several, each of them can
    #[arg(long = "recipient", value_name = "age1…", required = true)]
    recipients: Vec<String>,

    /// Keep it even where an archive or checkpoints are, so that one theft takes both
    #[arg(long)]
    beside_data: bool,
}

#[derive(Debug, clap::Args)]
struct RestoreArgs {
    /// Name of the node
    #[arg(long, value_name = "NAME", value_parser = Parsed::<IdentityName>::new())]
    name: IdentityName,

    /// Where to write the files; made if it is not there
    #[arg(long, value_name = "DIR")]
    to_dir: PathBuf,

    /// File with the secret key, as age-keygen makes it
    #[arg(long = "identity", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,

    /// The backup of this time instead of the newest, as `check` shows it
    #[arg(long, value_name = "TIME", value_parser = Parsed::<humantime::Timestamp>::new())]
    time: Option<humantime::Timestamp>,

    /// Replace existing files
    #[arg(long)]
    force: bool,
}

/// Runs the action.
pub(crate) async fn run(args: IdentityArgs) -> Result<Exit, Failure> {
    let Some(address) = &args.identities else {
        let advice = "for example --identities s3://keys-of-the-fleet; or set it in tipline.toml: \
                      [identity] identities";
        let text = "no place for backups of identities is named".to_owned();
        return Err(Failure::from(Sentence(text)).advise(advice));
    };
    let destination = Destination::open(address)?;
    match args.action {
        Action::Backup(action) => back_up(destination, action, args.json).await,
        Action::Check(action) => check::run(destination, action, args.json).await,
        Action::Restore(action) => restore(destination, action, args.json).await,
    }
}

async fn back_up(at: Destination, args: BackupArgs, json: bool) -> Result<Exit, Failure> {
    let mut recipients = args.recipients.iter();
    let keys = recipients.try_fold(Keys::default(), |keys, given| keys.recipient(given))?;
    let identities = Identities::at(at.clone(), keys)?;
    identities.prepare().await?;
    if !args.beside_data {
        let apart = identities.check_apart().await;
        apart.map_err(|error| match &error {
            IdentityError::WithData { .. } => Failure::from(error)
                .advise("or, if everyone who can read that place may have the keys: --beside-data"),
            _ => error.into(),
        })?;
    }
    let backup = identities.back_up(&args.name, &args.files, system_clock()()).await?;
    if let Some(file) = identities.beside(&args.files) {
        tracing::warn!(
            place = at.place(),
            file = %file.display(),
            "the backup is on the same file system as the key: what destroys one may destroy both. \
             If another medium should be there, it is not mounted"
        );
    }
    let files = count(args.files.len() as u64, "file");
    let text = format!(
        "backed up {files} of {} to {}/{}, and read back: {} encrypted\n\
         only the recipients can tell that it opens: tipline identity check --identity FILE\n",
        args.name,
        at.place(),
        backup.object,
        count(backup.bytes, "byte"),
    );
    show(json, &text, &described(&backup))?;
    Ok(Exit::Ok)
}

async fn restore(at: Destination, args: RestoreArgs, json: bool) -> Result<Exit, Failure> {
    let mut keys = args.keys.iter();
    let keys = keys.try_fold(Keys::default(), |keys, file| keys.identity_file(file))?;
    let identities = Identities::at(at.clone(), keys)?;
    let all = identities.list().await?;
    let wanted_time = args.time.map(|time| tipline_proto::Timestamp::from(*time));
    let wanted =
        |b: &&IdentityBackup| b.name == args.name && wanted_time.is_none_or(|t| b.time == t);
    let Some(backup) = all.iter().find(wanted) else {
        let place = at.place().to_owned();
        let failure = Failure::from(IdentityError::NotFound { place, name: args.name.clone() });
        return Err(failure.advise(others(&all, &args.name)));
    };
    let restored = identities.restore(backup, &args.to_dir, args.force).await;
    let paths = restored.map_err(|error| explain(error, &all, backup))?;
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let text = format!("restored the identity of {} of {}\n", backup.name, time(backup.time))
        + &names.iter().map(|name| line(format_args!("  {name}"))).collect::<String>();
    let mut object = described(backup);
    object["files"] = json!(names);
    show(json, &text, &object)?;
    Ok(Exit::Ok)
}

fn explain(error: IdentityError, all: &[IdentityBackup], tried: &IdentityBackup) -> Failure {
    let advice = match &error {
        IdentityError::Corrupt { .. } | IdentityError::NeedsKey { .. } => {
            let older = all.iter().find(|b| b.name == tried.name && b.time < tried.time);
            older.map(|older| format!("try the one before it: --time {}", time(older.time)))
        }
        IdentityError::Exists { .. } => {
            Some("move them away, name another --to-dir, or replace them by --force".to_owned())
        }
        _ => None,
    };
    let failure = Failure::from(error);
    match advice {
        Some(advice) => failure.advise(advice),
        None => failure,
    }
}

/// What could have been meant.
fn others(all: &[IdentityBackup], name: &IdentityName) -> String {
    let of_name = all.iter().filter(|backup| backup.name == *name);
    let times: Vec<String> = of_name.map(|backup| time(backup.time)).collect();
    if !times.is_empty() {
        return format!("there are backups of it of {}", list(&times));
    }
    let mut names: Vec<String> = all.iter().map(|backup| backup.name.to_string()).collect();
    names.sort();
    names.dedup();
    match nearest(&name.to_string(), names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => "there are none at all: is this the right place?".to_owned(),
        None => format!("there are backups of {}", list(&names)),
    }
}

fn described(backup: &IdentityBackup) -> Value {
    json!({
        "name": backup.name.to_string(),
        "time": time(backup.time),
        "object": backup.object,
        "bytes": backup.bytes,
    })
}
