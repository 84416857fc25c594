//! `tipline keys`: the keys that sign.

use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use tipline_audit::tlog::{CosigningKey, MIRROR, SigningKey};
use tipline_audit::tree::{KeyFile, KeyFileError, TreeError, Witness, origin};
use tipline_audit::{AuditError, SignerKey};
use tipline_backup::{Archive, Destination, Keys};

use crate::exit::Exit;
use crate::output::report::{Failure, Sentence, say};

/// Options of `tipline keys`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline keys new --archive s3://backup/mainnet /etc/tipline/log.key
  tipline keys new --archive dir:/backup --prefix logs.example.org log.key
  tipline keys new --name primary-1 /etc/tipline/primary.key
  tipline keys new --witness witness.example.net /etc/tipline/witness.key
  tipline keys new --mirror offsite.example.org /etc/tipline/mirror.key
  tipline keys show log.key   # its public half, for those who check
  tipline keys rotate /etc/tipline/primary.key /etc/tipline/primary-2.key

A key with --archive signs the history of one log: `tipline audit sign`. One with --name signs what a
primary or a consumer says: --signing-key. Its file holds PRIVATE+KEY+NAME+ID+KEY, as
other programs read signed notes, and is for its owner only (mode 0600). It must not lie with the
archive. What it has signed is kept beside it, in FILE.signed: keep both together. One with --witness
or --mirror cosigns: `tipline audit witness`. What it has cosigned is kept in FILE.cosigned, and the key
is worth nothing without.")]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a key, and print its public half
    ///
    /// With --archive it signs the tree of that archive, with --name what a primary or a consumer says,
    /// with --witness or --mirror it cosigns trees.
    New(NewArgs),
    /// Print the public half of a key
    Show(ShowArgs),
    /// Make the key that succeeds the key of a primary or a consumer, and print its public half
    ///
    /// Start the primary or the consumer with the new one: whoever trusts the old key believes the new
    /// one by the old one's signature, and the old one no more.
    Rotate(RotateArgs),
}

#[derive(Debug, clap::Args)]
struct NewArgs {
    /// The new file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// An archive of the log: dir:PATH, s3://BUCKET/PREFIX, gs://… or az://…
    #[arg(long, value_name = "ADDRESS")]
    #[arg(required_unless_present_any = ["name", "witness", "mirror"])]
    archive: Option<String>,

    /// Who signs with it: a name of a primary or a consumer
    #[arg(long, value_name = "NAME", conflicts_with_all = ["archive", "prefix"])]
    name: Option<String>,

    /// Who cosigns with it. Best is where strangers find the witness, without https://
    #[arg(long, value_name = "NAME", conflicts_with_all = ["archive", "prefix", "name", "mirror"])]
    witness: Option<String>,

    /// Who cosigns with it what he holds in an archive of his own: the key's name is NAME/mirror
    #[arg(long, value_name = "NAME", conflicts_with_all = ["archive", "prefix", "name"])]
    mirror: Option<String>,

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

#[derive(Debug, clap::Args)]
struct RotateArgs {
    /// File of the key that is in use
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The new file
    #[arg(value_name = "NEW")]
    new: PathBuf,
}

/// Makes a key, or shows one.
pub(crate) async fn run(args: KeysArgs) -> Result<Exit, Failure> {
    match args.what {
        What::New(NewArgs { file, archive: Some(archive), prefix, .. }) => {
            new(file, &archive, &prefix).await
        }
        What::New(NewArgs { file, witness: Some(name), .. }) if name.ends_with(MIRROR) => {
            let text = format!("{} is for mirrors: give another name, or --mirror", file.display());
            Err(Sentence(text).into())
        }
        What::New(NewArgs { file, witness: Some(name), .. }) => cosigner(file, &name).await,
        What::New(NewArgs { file, mirror: Some(name), .. }) => {
            cosigner(file, &format!("{}{MIRROR}", name.trim_end_matches('/'))).await
        }
        What::New(NewArgs { file, name, .. }) => {
            let (name, seed) = (name.unwrap_or_default(), seed()?);
            made(move || SignerKey::create(&file, &name, &seed)).await
        }
        What::Rotate(RotateArgs { old, new }) => {
            let seed = seed()?;
            made(move || SignerKey::read(&old)?.rotate(&new, &seed)).await
        }
        What::Show(ShowArgs { file }) => {
            let key = tokio::task::spawn_blocking(move || public_half(&file)).await?;
            let key = key.map_err(|error| AuditError::from(TreeError::from(error)))?;
            say(&format!("{key}\n"))?;
            Ok(Exit::Ok)
        }
    }
}

/// Of a key that cosigns, or of any other.
fn public_half(file: &Path) -> Result<String, KeyFileError> {
    match Witness::read_verifier(file) {
        Err(KeyFileError::Unusable { .. }) => {
            KeyFile::read_verifier(file).map(|key| key.to_string())
        }
        read => read.map(|key| key.to_string()),
    }
}

/// A key that cosigns.
async fn cosigner(file: PathBuf, name: &str) -> Result<Exit, Failure> {
    let key = CosigningKey::from_seed(name, &seed()?)?;
    let verifier = key.verifier();
    let made = tokio::task::spawn_blocking(move || Witness::create(&file, &key)).await?;
    made.map_err(|error| AuditError::from(TreeError::from(error)))?;
    say(&format!("{verifier}\n"))?;
    Ok(Exit::Ok)
}

/// A key of a primary or a consumer.
async fn made(
    make: impl FnOnce() -> Result<SignerKey, KeyFileError> + Send + 'static,
) -> Result<Exit, Failure> {
    let key = tokio::task::spawn_blocking(make).await?;
    let key = key.map_err(|error| AuditError::from(TreeError::from(error)))?;
    say(&format!("{}\n", key.verifier()))?;
    Ok(Exit::Ok)
}

fn seed() -> Result<[u8; 32], NoRandomness> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|error| NoRandomness(error.to_string()))?;
    Ok(seed)
}

async fn new(file: PathBuf, archive: &str, prefix: &str) -> Result<Exit, Failure> {
    let destination = Destination::open(archive).map_err(TreeError::from);
    let destination = destination.map_err(AuditError::from)?;
    let archive = Archive::open(destination.clone(), Keys::default()).await;
    let prefix = prefix.trim_end_matches('/');
    if prefix.is_empty() {
        // Nothing would be signed with it.
        let text = "--prefix must not be empty: the key's name is PREFIX/LOG/LINEAGE".to_owned();
        return Err(Sentence(text).into());
    }
    let name = origin(prefix, archive.map_err(AuditError::from)?.identity());
    let key = SigningKey::from_seed(&name, &seed()?)?;
    let verifier = key.verifier();
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
