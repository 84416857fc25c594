//! `tipline replica` and `tipline backup`: follow the log into a store.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tipline_backup::Destination;
use tipline_consumer::{Consumer, ConsumerError, ConsumerSettings, Phase, Progress};
use tipline_log::{Clock, Log, system_clock};
use tipline_proto::{ConsumerName, InstanceId, Role};
use tipline_store::Store;
use tokio_util::sync::CancellationToken;

use crate::address::StoreAddress;
use crate::admin::Admin;
use crate::args::Shared;
use crate::bootstrap::BootstrapArgs;
use crate::checkpoint::{EveryArgs, Maker};
use crate::checks::{Checked, ChecksArgs};
use crate::place::Place;
use crate::progress::{self, Rate};
use crate::report::{Exit, Failure};
use crate::settings::Parsed;
use crate::text::{age, count, number};
use crate::{stop, store};

/// How long what has arrived may take to be applied.
const DRAIN: Duration = Duration::from_secs(10);

/// Options of `tipline replica` and `tipline backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline replica --name replica-1 --store sqlite:replica.db
  tipline replica --name replica-2 --store composite:files:/var/lib/blocks+sqlite:/var/lib/node.db
  tipline backup --name backup-1 --store sqlite:/backup/chain.db --log nats://a:4222,b:4222/mainnet
  tipline backup --name backup-1 --store rocksdb:/backup/chain --checkpoint-every 1h --keep-last 24
  tipline backup --name backup-1 --store sqlite:/backup/chain.db --checkpoint-every 1h \\
      --upload s3://backup/mainnet --verify-every 1d --sample 5% --drill-every 7d
  tipline replica --name replica-3 --store sqlite:replica.db --bootstrap s3://backup/mainnet

It goes on where the store is, and sends a receipt for what the store has fsynced. Ctrl-C or
SIGTERM applies what has arrived and ends with 0. What does not follow, fork, gap or wrong link,
stops it in front of it, with exit code 2: nothing is ever skipped.")]
pub(crate) struct ConsumeArgs {
    /// Name of this consumer, unique in its log: 1 to 32 of a-z, 0-9 and -
    #[arg(long, env = "TIPLINE_NAME", value_name = "NAME")]
    #[arg(value_parser = Parsed::<ConsumerName>::new())]
    name: ConsumerName,

    /// Where to keep what is applied: sqlite:PATH, rocksdb:PATH, files:PATH, or several at once.
    /// Created if it is not there
    ///
    /// composite:files:PATH+sqlite:PATH applies to each in this order; the last has the cursor.
    #[arg(long, env = "TIPLINE_STORE", value_name = "STORE")]
    #[arg(value_parser = Parsed::<StoreAddress>::new())]
    store: StoreAddress,

    #[command(flatten)]
    bootstrap: BootstrapArgs,

    #[command(flatten)]
    checkpoints: EveryArgs,

    #[command(flatten)]
    checks: ChecksArgs,
}

/// Follows until it is asked to stop.
pub(crate) async fn run(shared: &Shared, role: Role, args: ConsumeArgs) -> Result<Exit, Failure> {
    let stop = stop::on_signal()?;
    let place = Place::new(shared, &format!("{role} {}", args.name))?;
    let Some(log) = stop.run_until_cancelled(place.open_patiently()).await else {
        return Ok(Exit::Ok);
    };
    let log = log.map_err(|error| place.explain(error.into()))?;
    if args.bootstrap.is_given() {
        args.bootstrap.fill(&args.store, &log, &stop).await?;
    }
    loop {
        tracing::info!(log = %place.address(), store = %args.store, "following as {role} {}", args.name);
        match consume(&args, role, Arc::clone(&log), &stop).await {
            Err(failure) if args.bootstrap.is_given() && is_behind(&failure) => {
                args.bootstrap.catch_up(&args.store, &log, &stop).await?;
            }
            consumed => return consumed,
        }
    }
}

/// Follows the log, makes checkpoints, and listens to its operator.
async fn consume(
    args: &ConsumeArgs,
    role: Role,
    log: Arc<dyn Log>,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let store = open(&args.store).await?;
    let checked = Checked {
        destination: Destination::open(&args.checkpoints.place(&args.store))?,
        identity: args.bootstrap.identity.clone(),
        log: Arc::clone(&log),
        name: args.name.to_string(),
        stop: stop.clone(),
    };
    let settings = ConsumerSettings::new(args.name.clone(), role);
    let instance = InstanceId::from_bytes(rand::random());
    let clock = system_clock();
    let consumer = Consumer::start(log, store, settings, instance, Arc::clone(&clock));
    let maker = Arc::new(Maker::new(consumer.store(), Arc::clone(&clock), stop.clone()));
    let admin = Admin::start(&args.store, Arc::clone(&maker));
    let followed = tokio::select! {
        followed = follow(consumer, &clock, stop) => followed,
        () = args.checkpoints.clone().run(&args.store, &maker, &clock) => Ok(Exit::Ok),
        () = args.checks.clone().run(checked, &clock) => Ok(Exit::Ok),
    };
    drop(admin);
    followed
}

/// Whether the log no longer has what the store needs.
fn is_behind(failure: &Failure) -> bool {
    let stopped = failure.error().downcast_ref::<Stopped>();
    stopped.is_some_and(|stopped| matches!(*stopped.0, ConsumerError::OutOfRange { .. }))
}

/// Shows how a consumer fares until it ends, or drains it when it is asked to stop.
pub(crate) async fn follow(
    consumer: Consumer,
    clock: &Clock,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let progress = consumer.progress();
    let mut rate = Rate::default();
    let ended = tokio::select! {
        ended = consumer.finished() => Some(ended),
        () = stop.cancelled() => None,
        () = progress::show(|| line(&progress.borrow(), clock, &mut rate)) => None,
    };
    progress::done();
    match ended {
        Some(ended) => ended.map_err(stopped)?,
        None => drain(consumer).await?,
    }
    Ok(Exit::Ok)
}

async fn open(address: &StoreAddress) -> Result<Box<dyn Store>, Failure> {
    let address = address.clone();
    Ok(tokio::task::spawn_blocking(move || store::open(&address)).await??)
}

async fn drain(consumer: Consumer) -> Result<(), Failure> {
    tracing::info!("stopping: applying what has arrived, at most for {} s", DRAIN.as_secs());
    let progress = consumer.progress();
    match tokio::time::timeout(DRAIN, consumer.shutdown()).await {
        Ok(ended) => ended.map_err(stopped)?,
        // What is under way is atomic, with the cursor: the next start does it again.
        Err(_) => tracing::warn!("stopped before everything that has arrived was applied"),
    }
    let cursor = progress.borrow().cursor.clone();
    if let Some(cursor) = cursor {
        tracing::info!("stopped at {}: the store is durable up to there", cursor.position);
    }
    Ok(())
}

fn line(progress: &Progress, clock: &Clock, rate: &mut Rate) -> String {
    let rate = rate.note(progress.applied);
    let phase = match &progress.phase {
        Phase::Joining => "comparing the store with the log",
        Phase::Following => "following",
        Phase::LogUnavailable(_) => "waiting for the log",
        Phase::StoreStalled(_) => "waiting for the store",
        _ => "stopped",
    };
    let Some(cursor) = &progress.cursor else {
        return phase.to_owned();
    };
    let block = cursor.block_tip.as_ref();
    let block =
        block.map_or("no block yet".to_owned(), |tip| format!("block {}", number(tip.height)));
    let proof = cursor.proof_tip.filter(|height| *height > 0);
    let proof = proof.map_or(String::new(), |height| format!(", proven to {}", number(height)));
    let behind = match progress.behind() {
        None | Some(0) => "caught up".to_owned(),
        Some(events) => {
            format!("{} behind, {}", count(events, "event"), age(progress.lag(clock())))
        }
    };
    format!("{phase} · {block} durable{proof} · {behind} · {rate:.0} events/s")
}

fn stopped(error: Arc<ConsumerError>) -> Failure {
    Failure::from(Stopped(error))
}

/// A consumer's end, which several may hold.
#[derive(Debug)]
struct Stopped(Arc<ConsumerError>);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Stopped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
