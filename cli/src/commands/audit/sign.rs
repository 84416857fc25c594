//! `tipline audit sign`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tipline_audit::tlog::Policy;
use tipline_audit::tree::{KeyFile, Signed, TreeError, sign};
use tipline_audit::{AuditError, VerifyProgress};
use tipline_backup::Keys;
use tipline_log::error_chain;
use tipline_ops::text::number;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::certify::policy_text;
use super::progress::shown;
use super::tree::TreeArgs;
use crate::exit::{Exit, exit_code};
use crate::output::report::{Failure, say};
use crate::settings::Parsed;
use crate::signal;

/// The shortest pause between two looks.
const SHORTEST: Duration = Duration::from_millis(100);

/// Options of `tipline audit sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline keys new --archive dir:/backup /etc/tipline/log.key
  tipline audit sign --archive dir:/backup --key /etc/tipline/log.key
  tipline audit sign --archive s3://backup/mainnet --key log.key --every 10s

What is in the archive is read back, verified and added to a tree, which is kept below tlog/ at the
same place and signed: static files, for any web server. The tree begins with entry 1, and goes on
from what was signed last. Exit code 13, and nothing is signed, if the archive is not the one that was
signed before, has lost some of it, or its tree was changed; 12 if entries that are needed were
removed; 14 for a key of another log. With --every, a place that is unavailable is tried again.
With --policy, what is signed lies in tlog/pending until those whom the policy names have cosigned it;
then it is published with their cosignatures. Nothing more is signed meanwhile.")]
pub(super) struct SignArgs {
    #[command(flatten)]
    tree: TreeArgs,

    /// File of the key, from tipline keys new
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Publish only what is cosigned as this file says (c2sp.org/tlog-policy): what is signed waits
    /// for tipline audit witness of those whom it names
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Go on until Ctrl-C, and look for new entries this often: 10s
    #[arg(long, value_name = "TIME", value_parser = Parsed::<humantime::Duration>::new())]
    every: Option<humantime::Duration>,

    /// Print one JSON object
    #[arg(long, conflicts_with = "every")]
    json: bool,
}

pub(super) async fn run(args: SignArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let (file, keys) = (args.key.clone(), args.tree.keys()?);
    let key = tokio::task::spawn_blocking(move || KeyFile::open(&file)).await?;
    let key = Arc::new(key.map_err(|error| AuditError::from(TreeError::from(error)))?);
    let policy = args.policy.as_deref().map(policy_text).transpose()?;
    // It was read once already.
    let policy = policy.and_then(|text| text.parse::<Policy>().ok());
    let policy = policy.map(|policy| policy.or_log(&key.verifier()));
    let work = Work { tree: &args.tree, policy: policy.as_ref(), key: &key, stop: &stop };
    let Some(every) = args.every else {
        let signed = work.once(keys).await?;
        say(&render(signed.as_ref(), &key, args.json))?;
        return Ok(Exit::Ok);
    };
    // Not so often that it keeps a place busy.
    let every = Duration::max(every.into(), SHORTEST);
    loop {
        match work.once(keys.clone()).await {
            Ok(Some(signed)) if signed.added > 0 => {
                let (added, size) = (number(signed.added), number(signed.checkpoint.size));
                tracing::info!("signed {added} more entries: {size} are signed");
            }
            Ok(_) => {}
            Err(AuditError::Cancelled { .. }) => return Ok(Exit::Ok),
            Err(error) if exit_code(&error) == Exit::Unavailable => {
                tracing::warn!("nothing was signed, trying again: {}", error_chain(&error));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(Exit::Ok),
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// What is done each time.
struct Work<'a> {
    tree: &'a TreeArgs,
    policy: Option<&'a Policy>,
    key: &'a Arc<KeyFile>,
    stop: &'a CancellationToken,
}

impl Work<'_> {
    /// The archive is opened each time: one that is no longer there must not pass for an empty one.
    async fn once(&self, keys: Keys) -> Result<Option<Signed>, AuditError> {
        let open = self.tree.open(keys).await?;
        if let Some(directory) = open.destination.directory() {
            let place = open.destination.place();
            KeyFile::check_apart(self.key.path(), &directory, place).map_err(TreeError::from)?;
        }
        let (sender, receiver) = watch::channel(VerifyProgress::default());
        let Self { policy, key, stop, .. } = *self;
        let work = sign(&open.sources, &open.place, key, policy, &sender, stop);
        shown("signing", receiver, work).await
    }
}

fn render(signed: Option<&Signed>, key: &KeyFile, json: bool) -> String {
    let verifier = key.verifier();
    let size = signed.map_or(0, |signed| signed.checkpoint.size);
    let added = signed.map_or(0, |signed| signed.added);
    if json {
        let origin = verifier.name();
        let object = json!({
            "origin": origin, "size": size, "added": added, "key": verifier.to_string(),
            "root": signed.map(|signed| signed.checkpoint.root.to_string()),
            "waits_for": signed.and_then(|signed| signed.waits_for.as_deref()),
        });
        return format!("{object}\n");
    }
    let Some(signed) = signed else {
        return "nothing is signed: the archive has no entries yet\n".to_owned();
    };
    let waits = signed.waits_for.as_ref().map(|names| {
        format!("  not published yet: the policy waits for the cosignatures of {names}\n")
    });
    let waits = waits.unwrap_or_default();
    format!(
        "signed: entries 1 to {}, {} of them new\n  origin  {}\n  root    {}\n  key     {verifier}\n{waits}",
        number(size),
        number(added),
        signed.checkpoint.origin,
        signed.checkpoint.root
    )
}
