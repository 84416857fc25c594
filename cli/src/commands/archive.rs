//! `tipline archive`: follow the log into segments at a destination.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use tipline_backup::{ArchiveStore, Destination, DestinationError, Keys};
use tipline_consumer::{Consumer, ConsumerSettings};
use tipline_log::system_clock;
use tipline_ops::{
    Archiver, CheckJob, CheckSchedule, JobBoard, ReceiptRecorder, merge_segments, note_archived,
    tidy_archive,
};
use tipline_proto::{ConsumerName, InstanceId, Level, Receipt, Role};
use tipline_store::Sink;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::open::log::{LogLocation, patiently};
use crate::open::store::drill_store;
use crate::open::{admin, health};
use crate::options::{ChecksArgs, HealthArgs, Shared};
use crate::output::consumer::follow;
use crate::output::report::Failure;
use crate::settings::Parsed;
use crate::signal;

/// A segment holds what arrives within this time. In object storage each costs a request, in a
/// directory a file.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_IN_DIRECTORY: Duration = Duration::from_millis(200);

/// Options of `tipline archive`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline archive --to dir:/backup/mainnet
  tipline archive --to s3://backups/mainnet --offsite --recipient age1…
  tipline archive --name archive-2 --to gs://backups/mainnet --no-merge
  tipline archive --to s3://backups/mainnet --verify-every 1d --sample 5% --drill-every 7d

Everything that is ever in the log is kept, in segments: at least one a second while there are
events. A segment is written, read back and hashed before its receipt says `verified`, or
`offsite`. It resumes where the archive ends. While the destination is unavailable or refuses the
credentials, it tries again, and status says so.

Credentials of object storage come from the environment: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL; GOOGLE_APPLICATION_CREDENTIALS;
AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY. They must allow to list, read and create,
and with --remove-merged to delete.")]
pub(crate) struct ArchiveArgs {
    /// Where to keep it: dir:PATH, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX
    #[arg(long, env = "TIPLINE_TO", value_name = "ADDRESS")]
    #[arg(value_parser = Parsed::<To>::new())]
    to: To,

    /// Name of this consumer, unique in its log: 1 to 32 of a-z, 0-9 and -
    #[arg(long, env = "TIPLINE_NAME", value_name = "NAME", default_value = "archive")]
    #[arg(value_parser = Parsed::<ConsumerName>::new())]
    name: ConsumerName,

    /// Collect what arrives within this time into one segment. What is not written yet is lost if
    /// node, log and archiver are lost together [default: 200ms for a directory, 1s elsewhere]
    #[arg(long, env = "TIPLINE_LINGER", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    linger: Option<humantime::Duration>,

    /// The destination fails independently of this machine and the log: receipts say offsite
    #[arg(long, env = "TIPLINE_OFFSITE", value_parser = BoolishValueParser::new())]
    offsite: bool,

    /// Encrypt to this age public key, age1…; separate several by commas. Fixed when the archive
    /// is started
    #[arg(long, env = "TIPLINE_RECIPIENT", value_name = "KEY")]
    recipient: Option<String>,

    /// File of the age identity that opens the archive. Only merging and
    /// checking an encrypted one need it
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    identity: Option<PathBuf>,

    /// Start a new archive although the receipts say that there was one
    #[arg(long)]
    new: bool,

    /// Leave small segments as they are
    #[arg(long, env = "TIPLINE_NO_MERGE", value_parser = BoolishValueParser::new())]
    no_merge: bool,

    /// Remove segments that merged ones hold. Needs the permission to delete
    #[arg(long, env = "TIPLINE_REMOVE_MERGED", value_parser = BoolishValueParser::new())]
    #[arg(conflicts_with = "no_merge")]
    remove_merged: bool,

    /// Open an admin socket here, for `tipline archiver` and `tipline log-level`. For this user only
    #[arg(long, env = "TIPLINE_SOCKET", value_name = "FILE")]
    socket: Option<PathBuf>,

    #[command(flatten)]
    checks: ChecksArgs,

    #[command(flatten)]
    health: HealthArgs,
}

/// A destination, of its address.
#[derive(Debug, Clone)]
struct To(Destination);

impl FromStr for To {
    type Err = DestinationError;
    fn from_str(address: &str) -> Result<Self, DestinationError> {
        Destination::open(address).map(Self)
    }
}

/// Archives until it is told to stop.
pub(crate) async fn run(shared: &Shared, args: ArchiveArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let (name, role) = (args.name.clone(), Role::Archive);
    let served = health::serve(&args.health, role.as_str(), name.as_str(), &stop).await?;
    served.measure_files(&shared.log, None);
    served.starting("it opens the log");
    let keys = keys(&args)?;
    let To(destination) = &args.to;
    let place = LogLocation::new(shared, &format!("archive {}", args.name))?.signs(shared)?;
    let Some(log) = stop.run_until_cancelled(place.open_patiently()).await else {
        return Ok(Exit::Ok);
    };
    let log = log.map_err(|error| place.explain(error.into()))?;
    let Some(board) = stop.run_until_cancelled(patiently(async || log.board().await)).await else {
        return Ok(Exit::Ok);
    };
    let seen = board?;
    let receipts = &seen.receipts;
    let known = if args.new { 0 } else { known(receipts, &args.name) };
    tracing::info!(log = %place.address(), to = destination.place(), "archiving as {}", args.name);
    let level = if args.offsite { Level::Offsite } else { Level::Verified };
    let usual = if destination.directory().is_some() { LINGER_IN_DIRECTORY } else { LINGER };
    let board = JobBoard::default();
    served.measure_jobs(&board);
    let job = CheckJob {
        destination: destination.clone(),
        identity: args.identity.iter().cloned().collect(),
        log: Arc::clone(&log),
        name: args.name.to_string(),
        drill_store: drill_store(),
        stop: stop.clone(),
        board: board.clone(),
    };
    let mut settings = ConsumerSettings {
        level,
        linger: args.linger.map_or(usual, Duration::from),
        new_store: args.new,
        ..ConsumerSettings::new(args.name, role)
    };
    if let Some(key) = shared.signing.key()? {
        settings = settings.signing(&key);
    }
    let store = ArchiveStore::new(destination.clone(), keys.clone(), known);
    let read_to = read_to(receipts, &store.place());
    let store = Box::new(store.read_back_to(read_to));
    let instance = InstanceId::from_bytes(rand::random());
    let clock = system_clock();
    let recorder = ReceiptRecorder::new(
        Arc::clone(&log),
        &seen,
        destination.clone(),
        keys.clone(),
        board.clone(),
        Arc::clone(&clock),
    );
    let recorded = CancellationToken::new();
    let recorder = tokio::spawn(recorder.run(recorded.clone()));
    if !args.no_merge {
        let (board, clock) = (board.clone(), Arc::clone(&clock));
        tokio::spawn(merge_segments(destination.clone(), keys, args.remove_merged, board, clock));
    }
    tokio::spawn(tidy_archive(destination.clone(), board.clone(), Arc::clone(&clock)));
    let consumer = Consumer::start(Arc::clone(&log), store, settings, instance, Arc::clone(&clock));
    let _watch = served.watch(&consumer, &log, (&name, role), &clock);
    tokio::spawn(note_archived(consumer.progress(), board.clone(), Arc::clone(&clock)));
    let own = (consumer.store(), consumer.progress());
    let archiver = Archiver::new(name, env!("CARGO_PKG_VERSION"), own, board, stop.clone());
    let _admin = args.socket.and_then(|socket| admin::start_archiver(&socket, archiver));
    let followed = tokio::select! {
        followed = follow(consumer, &clock, &stop) => followed,
        () = CheckSchedule::from(args.checks).run(job, &clock) => Ok(Exit::Ok),
    };
    // Its last receipts are part of the history.
    recorded.cancel();
    recorder.await?;
    followed
}

fn keys(args: &ArchiveArgs) -> Result<Keys, Failure> {
    let recipients = args.recipient.iter().flat_map(|keys| keys.split(','));
    let mut keys = Keys::default();
    for recipient in recipients.map(str::trim).filter(|key| !key.is_empty()) {
        keys = keys.recipient(recipient)?;
    }
    match &args.identity {
        Some(file) => Ok(keys.identity_file(file)?),
        None => Ok(keys),
    }
}

/// Up to which entry this archive has said that it holds everything.
fn known(receipts: &[Receipt], name: &ConsumerName) -> u64 {
    let receipt = receipts.iter().find(|receipt| receipt.consumer == *name);
    let reached = receipt.and_then(|receipt| receipt.reached.at(Level::Applied));
    reached.map_or(0, |position| position.index)
}

/// Up to which entry any archiver has said that it read everything back there.
fn read_to(receipts: &[Receipt], place: &str) -> u64 {
    let of_it = receipts.iter().filter(|receipt| receipt.store == place);
    let reached = of_it.filter_map(|receipt| receipt.reached.at(Level::Verified));
    reached.map(|position| position.index).max().unwrap_or(0)
}
