//! `tipline keys`: the keys that sign.

use std::path::PathBuf;

use rand::TryRng;
use rand::rngs::SysRng;
use tipline_audit::AuditError;
use tipline_audit::tlog::SigningKey;
use tipline_audit::tree::{KeyFile, TreeError, origin};
use tipline_backup::{Archive, Destination, Keys};

use crate::exit::Exit;
use crate::output::report::{Failure, Sentence, say};

/// Options of `tipline keys`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline keys new --archive s3://backup/mainnet /etc/tipline/log.key
  tipline keys new --archive dir:/backup --prefix logs.example.org log.key
  tipline keys show log.key   # its public half, for those who check

A key signs the history of one log: `tipline audit sign`. Its file holds PRIVATE+KEY+NAME+ID+KEY, as
other programs read signed notes, and is for its owner only (mode 0600). It must not lie with the
archive. What it has signed is kept beside it, in FILE.signed: keep both together.")]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make the key that signs the history of a log, and print its public half
    New(NewArgs),
    /// Print the public half of a key
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct NewArgs {
    /// The new file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// An archive of the log: dir:PATH, s3://BUCKET/PREFIX, gs://… or az://…
    #[arg(long, value_name = "ADDRESS")]
    archive: String,

    /// What the key's name begins with; log and lineage follow. Best is where strangers find the
    /// log, without https://: logs.example.org
    #[arg(long, value_name = "PREFIX", default_value = "tipline")]
    prefix: String,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// File of the key
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Makes a key, or shows one.
pub(crate) async fn run(args: KeysArgs) -> Result<Exit, Failure> {
    match args.what {
        What::New(args) => new(args).await,
        What::Show(ShowArgs { file }) => {
            let key = tokio::task::spawn_blocking(move || KeyFile::read_verifier(&file)).await?;
            let key = key.map_err(|error| AuditError::from(TreeError::from(error)))?;
            say(&format!("{key}\n"))?;
            Ok(Exit::Ok)
        }
    }
}

async fn new(args: NewArgs) -> Result<Exit, Failure> {
    let destination = Destination::open(&args.archive).map_err(TreeError::from);
    let destination = destination.map_err(AuditError::from)?;
    let archive = Archive::open(destination.clone(), Keys::default()).await;
    let prefix = args.prefix.trim_end_matches('/');
    if prefix.is_empty() {
        // Nothing would be signed with it.
        let text = "--prefix must not be empty: the key's name is PREFIX/LOG/LINEAGE".to_owned();
        return Err(Sentence(text).into());
    }
    let name = origin(prefix, archive.map_err(AuditError::from)?.identity());
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|error| NoRandomness(error.to_string()))?;
    let key = SigningKey::from_seed(&name, &seed)?;
    let (file, verifier) = (args.file, key.verifier());
    let made = tokio::task::spawn_blocking(move || {
        if let Some(directory) = destination.directory() {
            KeyFile::check_apart(&file, &directory, destination.place())?;
        }
        KeyFile::create(&file, &key)
    });
    made.await?.map_err(|error| AuditError::from(TreeError::from(error)))?;
    say(&format!("{verifier}\n"))?;
    Ok(Exit::Ok)
}

#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers: {0}")]
struct NoRandomness(String);
