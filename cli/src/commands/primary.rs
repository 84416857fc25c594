//! `tipline primary`: publishes a node's blocks, without a line of code in the node.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tipline_log::{Accepted, Log, LogError, system_clock};
use tipline_ops::text::{count, number};
use tipline_producer::{
    BackupStatus, EndReason, OutboxError, Producer, ProducerSettings, Progress, ResumeFrom, Stage,
};
use tipline_proto::{
    Agreement, Digest, InvalidBytes, InvalidLabel, Label, LinkError, Policy, Position,
};

use crate::address::Source;
use crate::exit::Exit;
use crate::open::log::{LogLocation, not_durable};
use crate::open::outbox;
use crate::open::{admin, health};
use crate::options::{HealthArgs, Shared};
use crate::output::progress::{self, Rate};
use crate::output::report::Failure;
use crate::settings::Parsed;
use crate::signal;

/// Time to publish what waits in the outbox.
const DRAIN: Duration = Duration::from_secs(10);
/// A consumer this close to the newest block counts as caught up.
const CLOSE: u64 = 2;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Options of `tipline primary`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline primary --source dir:/var/lib/node/blocks
  tipline primary --source 'dir:/var/lib/node/blocks?format=ethereum-rlp'
  tipline primary --source blk:/var/lib/bitcoin/blocks --name node-1
  tipline primary --source sqlite:/var/lib/node/node.db
  tipline primary --log nats://a:4222,b:4222,c:4222/mainnet --source dir:/var/lib/node/blocks

It claims the log, which fences every other primary: the other one ends with exit code 3. Ctrl-C or
SIGTERM publishes what waits, for at most 10 s, and ends with 0. What is left is published at the
next start. Nothing is lost by a crash.")]
pub(crate) struct PrimaryArgs {
    /// The node's blocks: dir:PATH for a directory of block files, blk:PATH for Bitcoin Core's
    /// blk*.dat, sqlite:PATH for a node's database with an outbox
    ///
    /// dir:PATH?format=NAME says what the hash of a block is: content (BLAKE3 of the file; the
    /// default), bitcoin (double SHA-256 of the header) or ethereum-rlp (Keccak-256 of the header's
    /// RLP). The last two know the parent, and ethereum-rlp the height: they are compared, and so
    /// is the body with its header.
    #[arg(long, env = "TIPLINE_SOURCE", value_name = "SOURCE", value_parser = Parsed::<Source>::new())]
    source: Source,

    /// Where the outbox keeps its index [default: .tipline-outbox.sqlite beside the blocks]
    ///
    /// It belongs to the blocks. If it is lost, --continue-at must say where the outbox continues.
    #[arg(long, env = "TIPLINE_INDEX", value_name = "FILE")]
    index: Option<PathBuf>,

    /// The node never replaces a block, not even its newest one: stop if it changes (dir: only)
    ///
    /// Without this a newest block that changes is rolled back, and the new one published.
    #[arg(long, env = "TIPLINE_FINAL_BLOCKS")]
    final_blocks: bool,

    /// Name of this primary, as status shows it [default: the machine's name]
    #[arg(long, env = "TIPLINE_NAME", value_name = "NAME")]
    #[arg(value_parser = Parsed::<Label>::new())]
    name: Option<Label>,

    /// Where a new outbox continues a log that has events already: the log's tail, as status
    /// shows it
    #[arg(long, value_name = "INDEX@DIGEST", value_parser = Parsed::<At>::new())]
    #[arg(requires = "continue_sequence")]
    continue_at: Option<At>,

    /// The last row of the outbox that is in the log at that place; 0 for none
    #[arg(long, value_name = "N", value_parser = Parsed::<u64>::new(), requires = "continue_at")]
    continue_sequence: Option<u64>,

    /// What counts as backed up, for the metric tipline.rpo
    #[arg(long, env = "TIPLINE_POLICY", value_name = "POLICY", help_heading = "Telemetry")]
    #[arg(value_parser = Parsed::<Policy>::new(), default_value = "any 1 of * at durable")]
    policy: Policy,

    #[command(flatten)]
    health: HealthArgs,
}

/// Publishes until it is told to stop.
pub(crate) async fn run(shared: &Shared, args: PrimaryArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let place = LogLocation::new(shared, "primary")?.signs(shared)?;
    let name = match args.name {
        Some(name) => name,
        None => machine_name()?,
    };
    let served = health::serve(&args.health, "primary", name.as_str(), &stop).await?;
    let outbox = match &args.source {
        Source::Sqlite(path) => Some(("outbox", path.clone())),
        _ => None,
    };
    served.measure_files(&shared.log, outbox);
    served.starting("it opens the log");
    let mut settings = ProducerSettings::new(name.clone());
    settings.continue_at = args
        .continue_at
        .zip(args.continue_sequence)
        .map(|(at, sequence)| ResumeFrom { position: at.0, sequence });
    let Some(log) = stop.run_until_cancelled(place.open_patiently()).await else {
        return Ok(Exit::Ok);
    };
    let log = log.map_err(|error| place.explain(error.into()))?;
    let accepted = &shared.accept_shortfalls;
    settings.accept_shortfalls = accepted.clone();
    // Every block links to the genesis, and the log knows which.
    let genesis = log.identity().chain.genesis.clone();
    let socket = admin::primary_socket(&args.source, args.index.as_deref());
    let opened = outbox::open(args.source.clone(), args.index, genesis, args.final_blocks).await?;
    let connect = connect(Arc::clone(&log), place.clone());
    let producer = Producer::start(connect, opened.outbox, settings, system_clock())?;
    tracing::info!(log = %place.address(), source = %args.source, "publishing as {name}");
    let admin = admin::start_primary(&socket, opened.marker);
    let (progress, backups) = (producer.progress(), producer.backup_status());
    let mut rate = Rate::default();
    let failure = opened.failure.clone();
    let ended = tokio::select! {
        ended = producer.ended() => Some(ended),
        () = stop.cancelled() => None,
        () = outbox::wake(&producer, opened.wake) => None,
        () = outbox::report(&producer, opened.failure) => None,
        () = served.follow_primary(&producer, &log, failure, &args.policy) => None,
        never = progress::show(|| line(&progress.borrow(), &backups.borrow(), &mut rate)) => match never {},
    };
    progress::done();
    drop(admin);
    match ended {
        Some(ended) => Err(explain(ended, &place, accepted)),
        None => drain(producer, &place, accepted).await,
    }
}

fn machine_name() -> Result<Label, InvalidLabel> {
    rustix::system::uname().nodename().to_string_lossy().parse()
}

/// Gives the log that is open already; after that, opens it again.
fn connect(
    log: Arc<dyn Log>,
    place: LogLocation,
) -> impl FnMut() -> BoxFuture<Result<Arc<dyn Log>, LogError>> + Send {
    let mut open = Some(log);
    move || {
        let (open, place) = (open.take(), place.clone());
        Box::pin(async move {
            match open {
                Some(log) => Ok(log),
                None => place.open().await,
            }
        })
    }
}

async fn drain(
    producer: Producer,
    place: &LogLocation,
    accepted: &Accepted,
) -> Result<Exit, Failure> {
    tracing::info!("stopping: publishing what waits, at most for {} s", DRAIN.as_secs());
    match producer.shutdown(DRAIN).await {
        Ok(0) => tracing::info!("stopped: the log has everything"),
        Ok(left) => {
            let left = count(left, "event");
            tracing::warn!("stopped: {left} still wait in the outbox, for the next start");
        }
        Err(ended) => return Err(explain(ended, place, accepted)),
    }
    Ok(Exit::Ok)
}

fn explain(ended: EndReason, place: &LogLocation, accepted: &Accepted) -> Failure {
    match &ended {
        EndReason::Fenced { .. } => Failure::from(ended).advise(
            "nothing is lost: what is not in the log is in the outbox. Find out which of the two \
             primaries is to continue, and start only that one",
        ),
        EndReason::NotDurable { shortfalls } => not_durable(place, accepted, shortfalls),
        EndReason::WrongOutbox { .. } | EndReason::WrongLog { .. } => {
            let flag = place.flag();
            Failure::from(ended).advise(format!(
                "if it is: --continue-at INDEX@DIGEST --continue-sequence N, with the tail that \
                 `tipline status{flag}` shows"
            ))
        }
        EndReason::Outbox(error) if is_wrong_genesis(error) => Failure::from(ended).advise(
            "if the log has the wrong genesis, make a new one: `tipline init --source …` reads it \
             where the blocks are. If the blocks have another format: --source \
             'dir:PATH?format=NAME'",
        ),
        _ => place.explain(ended.into()),
    }
}

/// Whether the first block is of another chain than the log.
fn is_wrong_genesis(error: &OutboxError) -> bool {
    let OutboxError::DoesNotLink { source, .. } = error else {
        return false;
    };
    matches!(**source, LinkError::WrongGenesis { .. })
}

fn line(progress: &Progress, backups: &BackupStatus, rate: &mut Rate) -> String {
    let tail = progress.tail.map_or(0, |tail| tail.index);
    let rate = rate.note(tail);
    let height = progress.block_tip.as_ref().map(|tip| tip.height);
    let stage = match &progress.stage {
        Stage::Starting => "reaching for the log".to_owned(),
        Stage::Retrying { attempt, .. } => format!("waiting for the log, attempt {attempt}"),
        _ => format!("epoch {}", progress.epoch),
    };
    let block = height.map_or("no block yet".to_owned(), |h| format!("block {}", number(h)));
    let waiting = count(progress.waiting_events, "event");
    let short = match &backups.unaccepted[..] {
        [] => String::new(),
        short => format!(" · the log falls short: {}", Accepted::names(short)),
    };
    format!(
        "{stage} · {block} in the log · {waiting} waiting · {rate:.0} events/s · {}{short}",
        backed_up(backups, height)
    )
}

fn backed_up(backups: &BackupStatus, height: Option<u64>) -> String {
    let all = backups.consumers.len() as u64;
    if all == 0 {
        return "no consumer yet".to_owned();
    }
    let close = backups.consumers.iter().filter(|consumer| {
        let agrees = matches!(consumer.agreement, Agreement::Agrees | Agreement::Ahead);
        let block = consumer.receipt.block_tip.as_ref().map(|tip| tip.height);
        let lag = height.unwrap_or(0).saturating_sub(block.unwrap_or(0));
        agrees && consumer.receipt.failure.is_none() && lag <= CLOSE
    });
    format!("{} of {} caught up", close.count(), count(all, "consumer"))
}

/// A position as it is typed: `1234@` and 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At(Position);

#[derive(Debug, thiserror::Error)]
enum BadPosition {
    #[error("{0:?} is no position: give index and digest, as in the tail that status shows")]
    Form(String),
    #[error("the digest is not one")]
    Digest(#[source] InvalidBytes),
}

impl FromStr for At {
    type Err = BadPosition;

    fn from_str(given: &str) -> Result<Self, BadPosition> {
        let form = || BadPosition::Form(given.to_owned());
        let (index, digest) = given.split_once('@').ok_or_else(form)?;
        let index = index.parse().map_err(|_| form())?;
        let digest: Digest = digest.parse().map_err(BadPosition::Digest)?;
        Ok(At(Position { index, digest }))
    }
}

#[cfg(test)]
mod tests {
    use super::At;

    #[test]
    fn a_position_is_what_status_prints() {
        let digest = "ab".repeat(32);
        let At(position) = format!("12@{digest}").parse().unwrap();
        assert_eq!((position.index, position.digest.to_string()), (12, digest));
        assert!("12@abcd".parse::<At>().is_err());
        assert_eq!(
            "12".parse::<At>().unwrap_err().to_string(),
            "\"12\" is no position: give index and digest, as in the tail that status shows"
        );
    }
}
