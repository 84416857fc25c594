//! `tipline audit witness`

mod server;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgAction;
use tipline_audit::AuditError;
use tipline_audit::tlog::{MIRROR, VerifierKey};
use tipline_audit::tree::{KeyFile, Mirror, TreeError, Witness, Witnessed, watch_tree};
use tipline_backup::Destination;
use tipline_log::system_clock;
use tipline_ops::text::number;
use tokio_util::sync::CancellationToken;

use self::server::WitnessServer;
use super::tree::{OpenTree, TreeArgs};
use crate::exit::Exit;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;
use crate::signal;

/// The shortest pause between two looks.
const SHORTEST: Duration = Duration::from_millis(100);
/// How old a cosignature of a mirror may be in what it says.
const READ_BACK_EVERY: &str = "7d";

/// Options of `tipline audit witness`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline keys new --witness witness.example.net /etc/tipline/witness.key
  tipline audit witness --archive s3://backup/mainnet --key /etc/tipline/witness.key \\
      --log-key logs.example.org/mainnet/4f1c…+5d7f7d9e+AZ… --every 10s
  tipline keys new --mirror offsite.example.org /etc/tipline/mirror.key
  tipline audit witness --archive s3://backup/mainnet --key /etc/tipline/mirror.key \\
      --log-key logs.example.org/mainnet/4f1c…+5d7f7d9e+AZ… --mirror dir:/offsite --every 1m
  tipline audit witness --listen 127.0.0.1:7380 --key /etc/tipline/witness.key --log-key logs…

It cosigns a checkpoint only if that continues the one that it cosigned before, which it keeps in
KEY.cosigned beside the key, fsynced before anybody gets the cosignature. With --mirror it first reads
back from that archive, entry by entry, that it holds all of it: all of it at the first look, at another
address, and every --read-back-every; otherwise what is new. Exit code 13, and nothing is cosigned,
if the checkpoint is smaller than the one before, or contradicts it: the first that does is kept beside
the key as evidence. 11 if the mirror is behind. With --listen it answers logs over HTTP, as
c2sp.org/tlog-witness has it.")]
pub(super) struct WitnessArgs {
    /// The archive whose signed tree is witnessed: dir:PATH, s3://BUCKET/PREFIX, gs://… or az://…
    #[arg(long, value_name = "ADDRESS", required_unless_present = "listen")]
    archive: Option<String>,

    /// File with the age identity (secret key) that an encrypted --mirror is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    identity: Vec<PathBuf>,

    /// The log's public key: NAME+ID+KEY. Several for --listen
    #[arg(long, value_name = "KEY", required = true, action = ArgAction::Append)]
    #[arg(value_parser = Parsed::<VerifierKey>::new())]
    log_key: Vec<VerifierKey>,

    /// File of the witness' own key, from tipline keys new --witness or --mirror
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Cosign only what this archive of one's own holds as well: then the cosignature says that it
    /// does. It takes a key from tipline keys new --mirror
    #[arg(long, value_name = "ADDRESS", requires = "archive", conflicts_with = "listen")]
    mirror: Option<String>,

    /// Read all of --mirror again once the last reading of all of it began so long ago: 7d, 12h. 0s is
    /// always
    #[arg(long, value_name = "TIME", requires = "mirror", default_value = READ_BACK_EVERY)]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    read_back_every: humantime::Duration,

    /// Go on until Ctrl-C, and look for new checkpoints this often: 10s
    #[arg(long, requires = "archive", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    every: Option<humantime::Duration>,

    /// Answer logs that ask for cosignatures at this address, until Ctrl-C
    #[arg(long, value_name = "IP:PORT", value_parser = Parsed::<SocketAddr>::new())]
    listen: Option<SocketAddr>,
}

pub(super) async fn run(args: WitnessArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let (file, logs) = (args.key.clone(), args.log_key.clone());
    let opened = tokio::task::spawn_blocking(move || Witness::open(&file, logs, system_clock()));
    let witness = opened.await?.map_err(|error| AuditError::from(TreeError::from(error)))?;
    let witness = Arc::new(witness);
    if witness.verifier().is_mirror() != args.mirror.is_some() {
        let text = match args.mirror {
            Some(_) => format!("--mirror takes a key whose name ends with {MIRROR}, from tipline keys new --mirror"),
            None => "a key from tipline keys new --mirror says that its owner holds the entries: give --mirror".to_owned(),
        };
        return Err(Sentence(text).into());
    }
    for place in [&args.archive, &args.mirror].into_iter().flatten() {
        check_apart(&witness, place)?;
    }
    let server = match args.listen {
        None => None,
        Some(address) => {
            let server = WitnessServer::bind(address, Arc::clone(&witness)).await?;
            tracing::info!("witness at http://{}/", server.address());
            Some(server)
        }
    };
    let Some(archive) = &args.archive else {
        stop.cancelled().await;
        drop(server);
        return Ok(Exit::Ok);
    };
    let [log] = &args.log_key[..] else {
        return Err(Sentence("--archive is of one log: give one --log-key".to_owned()).into());
    };
    let look = Look {
        tree: TreeArgs::new(archive.clone(), args.identity.clone()),
        mirror: args.mirror.clone().map(|mirror| TreeArgs::new(mirror, args.identity.clone())),
        read_back_every: args.read_back_every.into(),
        log,
        witness: &witness,
        stop: &stop,
    };
    let every = args.every.map(|every| Duration::max(every.into(), SHORTEST));
    match every.or(args.listen.map(|_| Duration::from_secs(10))) {
        None => {
            let witnessed = look.once().await?;
            say(&render(witnessed.as_ref(), &witness))?;
            Ok(Exit::Ok)
        }
        Some(every) => look.until_stopped(every).await,
    }
}

/// The tree of one archive.
struct Look<'a> {
    tree: TreeArgs,
    mirror: Option<TreeArgs>,
    read_back_every: Duration,
    log: &'a VerifierKey,
    witness: &'a Arc<Witness>,
    stop: &'a CancellationToken,
}

impl Look<'_> {
    async fn until_stopped(&self, every: Duration) -> Result<Exit, Failure> {
        loop {
            match self.once().await {
                Ok(Some(witnessed)) if witnessed.added > 0 => {
                    tracing::info!("cosigned entries 1 to {}", number(witnessed.checkpoint.size));
                }
                Ok(_) => {}
                Err(error) => match error.exit() {
                    Exit::Interrupted => return Ok(Exit::Ok),
                    Exit::Unavailable | Exit::NotYet => {
                        tracing::warn!("nothing was cosigned, trying again: {}", error.text());
                    }
                    _ => return Err(error),
                },
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(Exit::Ok),
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// The archives are opened each time: one that is no longer there must not pass for an empty one.
    async fn once(&self) -> Result<Option<Witnessed>, Failure> {
        let open = self.tree.open(self.tree.keys()?).await?;
        let mirror = match &self.mirror {
            None => None,
            Some(mirror) => {
                let OpenTree { sources, destination, .. } = mirror.open(mirror.keys()?).await?;
                let read_back_every = self.read_back_every;
                Some(Mirror { sources, destination, read_back_every })
            }
        };
        let watched = watch_tree(&open.place, self.log, self.witness, mirror.as_ref(), self.stop);
        Ok(watched.await?)
    }
}

/// A thief of an archive must not have the key, too.
fn check_apart(witness: &Witness, address: &str) -> Result<(), Failure> {
    let destination = Destination::open(address)?;
    if let Some(directory) = destination.directory() {
        let apart = KeyFile::check_apart(witness.path(), &directory, destination.place());
        apart.map_err(|error| AuditError::from(TreeError::from(error)))?;
    }
    Ok(())
}

fn render(witnessed: Option<&Witnessed>, witness: &Witness) -> String {
    let Some(Witnessed { checkpoint, added, .. }) = witnessed else {
        return "nothing is cosigned: nothing is signed there yet\n".to_owned();
    };
    format!(
        "cosigned: entries 1 to {}, {} of them new\n  origin  {}\n  root    {}\n  key     {}\n",
        number(checkpoint.size),
        number(*added),
        checkpoint.origin,
        checkpoint.root,
        witness.verifier()
    )
}
