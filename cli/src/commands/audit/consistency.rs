//! `tipline audit consistency`

use std::path::{Path, PathBuf};

use tipline_audit::AuditError;
use tipline_audit::tlog::{BadNote, Checkpoint, VerifierKey};
use tipline_audit::tree::TreeError;
use tipline_ops::text::number;

use super::read;
use super::tree::TreeArgs;
use crate::exit::Exit;
use crate::output::report::{Failure, say};
use crate::settings::Parsed;

/// A larger file is no checkpoint.
const MAX_BYTES: u64 = 1 << 20;

/// Options of `tipline audit consistency`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit consistency yesterday.checkpoint today.checkpoint --archive s3://backup/mainnet \\
      --key logs.example.org/mainnet/4f1c…+5d7f7d9e+AZ…

OLD and NEW are checkpoints that were kept: copies of tlog/checkpoint, or what follows the empty line
of a proof. The tree beside the archive proves that what was signed in OLD is the beginning of what
was signed in NEW. Exit code 13 if it is not, or if the key did not sign them.")]
pub(super) struct ConsistencyArgs {
    /// File with the earlier checkpoint
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// File with the later one
    #[arg(value_name = "NEW")]
    new: PathBuf,

    #[command(flatten)]
    tree: TreeArgs,

    /// The log's public key: NAME+ID+KEY
    #[arg(long, value_name = "KEY", value_parser = Parsed::<VerifierKey>::new())]
    key: VerifierKey,
}

pub(super) async fn run(args: ConsistencyArgs) -> Result<Exit, Failure> {
    let (old, new) = (signed(&args.old, &args.key)?, signed(&args.new, &args.key)?);
    let open = args.tree.open(args.tree.keys()?).await?;
    let proven = open.place.consistency(old, new).await.map_err(AuditError::from)?;
    let (old, new) = (number(proven.old.size), number(proven.new.size));
    say(&format!(
        "consistent: the {old} entries of {} are the first of the {new} of {}\n  proven by {} hashes of {}\n",
        args.old.display(),
        args.new.display(),
        proven.hashes.len(),
        open.place.place()
    ))?;
    Ok(Exit::Ok)
}

/// A checkpoint that the key signed.
fn signed(path: &Path, key: &VerifierKey) -> Result<Checkpoint, Failure> {
    let place = || path.display().to_string();
    let note = read::read(path, MAX_BYTES)?.and_then(|bytes| String::from_utf8(bytes).ok());
    let note = note.ok_or(BadNote::Malformed("it is no text, or too long"));
    let text = note.as_ref().map_err(BadNote::clone).and_then(|note| key.open(note));
    let text = text.map_err(|source| TreeError::Note { place: place(), source });
    let checkpoint: Result<Checkpoint, _> = text.map_err(AuditError::from)?.parse();
    let checkpoint = checkpoint.map_err(|source| TreeError::Checkpoint { place: place(), source });
    let checkpoint = checkpoint.map_err(AuditError::from)?;
    if checkpoint.origin != key.name() {
        let (expected, found) = (key.name().to_owned(), checkpoint.origin);
        return Err(
            AuditError::from(TreeError::WrongOrigin { place: place(), expected, found }).into()
        );
    }
    Ok(checkpoint)
}
