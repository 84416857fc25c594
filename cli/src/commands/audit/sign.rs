//! `tipline audit sign`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tipline_audit::tlog::{Policy, VerifierKey};
use tipline_audit::tree::{KeyFile, NotCosigned, Signed, TreeError, Witnesses, sign, succeed};
use tipline_audit::{AuditError, VerifyProgress};
use tipline_backup::{Keys, Sources};
use tipline_log::error_chain;
use tipline_ops::text::number;
use tipline_proto::Trust;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::asking::{Http, witnesses};
use super::certify::policy_text;
use super::progress::shown;
use super::tree::TreeArgs;
use crate::exit::{Exit, exit_code};
use crate::options::Shared;
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
  tipline audit sign --archive s3://backup/mainnet --key new.key --after logs.example.org/mainnet/4f1c…+5d7f7d9e+AZ…

What is in the archive is read back, verified and added to a tree, which is kept below tlog/ at the
same place and signed: static files, for any web server. The tree begins with entry 1, and goes on
from what was signed last. Exit code 13, and nothing is signed, if the archive is not the one that was
signed before, has lost some of it, or its tree was changed; 12 if entries that are needed were
removed; 14 for a key of another log. With --trusted-keys, what no trusted primary has signed is not
signed here either, and if it is more than a unit: exit code 13. With --every, a place that is unavailable is tried again.
With --policy, what is signed lies in tlog/pending until those whom the policy names have cosigned it;
then it is published with their cosignatures. Nothing more is signed meanwhile. Witnesses whose line in
the policy ends with an address are asked there, side by side, as c2sp.org/tlog-witness has it; it is
published once enough of them have cosigned, and those who did not are named.")]
pub(super) struct SignArgs {
    #[command(flatten)]
    tree: TreeArgs,

    /// File of the key, from tipline keys new
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Go on where this key of the same log has ended: its public half, NAME+ID+KEY. All that it signed
    /// is verified first, from entry 1 on. Nothing must sign with it any more
    #[arg(long, value_name = "KEY", value_parser = Parsed::<VerifierKey>::new())]
    after: Option<VerifierKey>,

    /// Publish only what is cosigned as this file says (c2sp.org/tlog-policy): witnesses that it has
    /// an address of are asked, and what is signed waits for tipline audit witness of the others
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Go on until Ctrl-C, and look for new entries this often: 10s
    #[arg(long, value_name = "TIME", value_parser = Parsed::<humantime::Duration>::new())]
    every: Option<humantime::Duration>,

    /// Print one JSON object
    #[arg(long, conflicts_with = "every")]
    json: bool,
}

pub(super) async fn run(shared: &Shared, args: SignArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let trust = shared.signing.trust()?;
    let (file, keys) = (args.key.clone(), args.tree.keys()?);
    let key = tokio::task::spawn_blocking(move || KeyFile::open(&file)).await?;
    let key = Arc::new(key.map_err(|error| AuditError::from(TreeError::from(error)))?);
    let policy = args.policy.as_deref().map(policy_text).transpose()?;
    // It was read once already.
    let policy = policy.and_then(|text| text.parse::<Policy>().ok());
    let policy = policy.map(|policy| policy.or_log(&key.verifier()));
    let witnesses = policy.as_ref().map(witnesses).transpose()?.flatten();
    let (tree, policy, after) = (&args.tree, policy.as_ref(), args.after);
    let mut work = Work { tree, trust, after, policy, witnesses, key: &key, stop: &stop };
    let Some(every) = args.every else {
        let (signed, not_cosigned) = work.once(keys).await?;
        say(&render(signed.as_ref(), &not_cosigned, &key, args.json))?;
        return Ok(Exit::Ok);
    };
    // Not so often that it keeps a place busy.
    let every = Duration::max(every.into(), SHORTEST);
    loop {
        match work.once(keys.clone()).await {
            Ok((Some(signed), _)) if signed.added > 0 => {
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
    trust: Trust,
    /// The key that this one goes on after, until it does.
    after: Option<VerifierKey>,
    policy: Option<&'a Policy>,
    /// Who asks those that the policy has addresses of.
    witnesses: Option<Witnesses<Http>>,
    key: &'a Arc<KeyFile>,
    stop: &'a CancellationToken,
}

impl Work<'_> {
    /// The archive is opened each time: one that is no longer there must not pass for an empty one.
    async fn once(&mut self, keys: Keys) -> Result<(Option<Signed>, Vec<NotCosigned>), AuditError> {
        let open = self.tree.open(keys).await?;
        let trust = self.trust.clone();
        let sources = Arc::new(Sources { trust, ..(*open.sources).clone() });
        if let Some(directory) = open.destination.directory() {
            let place = open.destination.place();
            KeyFile::check_apart(self.key.path(), &directory, place).map_err(TreeError::from)?;
        }
        let (sender, receiver) = watch::channel(VerifyProgress::default());
        let Self { policy, key, stop, .. } = *self;
        if let Some(old) = &self.after {
            succeed(&sources, &open.place, key, old, stop).await?;
            self.after = None;
        }
        let work = sign(&sources, &open.place, key, policy, &sender, stop);
        let mut signed = shown("signing", receiver, work).await?;
        let (Some(witnesses), Some(policy), Some(new)) = (&mut self.witnesses, policy, &mut signed)
        else {
            return Ok((signed, Vec::new()));
        };
        if new.added == 0 && new.waits_for.is_none() {
            return Ok((signed, Vec::new()));
        }
        let asked = stop.run_until_cancelled(witnesses.ask(&open.place, policy, new)).await;
        let asked = asked.ok_or(AuditError::Cancelled { at: new.checkpoint.size })??;
        for NotCosigned { witness, why, is_final } in &asked.not_cosigned {
            match is_final {
                true => tracing::error!("the witness {witness} did not cosign: {why}"),
                false => tracing::warn!("the witness {witness} did not cosign: {why}"),
            }
        }
        new.waits_for = asked.waits_for;
        Ok((signed, asked.not_cosigned))
    }
}

fn render(
    signed: Option<&Signed>,
    not_cosigned: &[NotCosigned],
    key: &KeyFile,
    json: bool,
) -> String {
    let verifier = key.verifier();
    let size = signed.map_or(0, |signed| signed.checkpoint.size);
    let added = signed.map_or(0, |signed| signed.added);
    if json {
        let origin = verifier.name();
        let object = json!({
            "origin": origin, "size": size, "added": added, "key": verifier.to_string(),
            "root": signed.map(|signed| signed.checkpoint.root.to_string()),
            "not_cosigned": not_cosigned.iter().map(|one| {
                json!({ "witness": one.witness, "why": one.why, "final": one.is_final })
            }).collect::<Vec<_>>(),
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
