//! `tipline replica` and `tipline backup`: follow the log into a store.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{Destination, RestoreProgress};
use tipline_consumer::{Consumer, ConsumerSettings};
use tipline_log::{Clock, Log, system_clock};
use tipline_ops::{CheckJob, CheckSchedule, CheckpointMaker, Filled, JobBoard};
use tipline_proto::{ConsumerName, InstanceId, Role, SigningKey};
use tipline_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::address::StoreAddress;
use crate::exit::Exit;
use crate::open::admin;
use crate::open::health::{self, Served};
use crate::open::log::LogLocation;
use crate::open::store::{self, drill_store};
use crate::options::{BootstrapArgs, ChecksArgs, EveryArgs, HealthArgs, Shared};
use crate::output::consumer::{self, follow};
use crate::output::progress;
use crate::output::report::Failure;
use crate::settings::Parsed;
use crate::signal;

/// How long a checkpoint that is cancelled may take to remove its remains, here and where it was
/// being uploaded.
const CLEAN_UP: Duration = Duration::from_secs(15);

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

It resumes where the store is, and sends a receipt for what the store has fsynced. Ctrl-C or
SIGTERM applies what has arrived and ends with 0. An entry that does not follow (a fork, a gap, a
wrong link) stops it just before that entry, with exit code 2. Nothing is ever skipped. A store of
another log ends with 14.")]
pub(crate) struct ConsumeArgs {
    /// Name of this consumer, unique in its log: 1 to 32 of a-z, 0-9 and -
    #[arg(long, env = "TIPLINE_NAME", value_name = "NAME")]
    #[arg(value_parser = Parsed::<ConsumerName>::new())]
    name: ConsumerName,

    /// Where to keep what is applied: sqlite:PATH, rocksdb:PATH, files:PATH, or several at once.
    /// Created if it does not exist
    ///
    /// composite:files:PATH+sqlite:PATH applies to each in this order; the last has the cursor.
    #[arg(long, env = "TIPLINE_STORE", value_name = "STORE")]
    #[arg(value_parser = Parsed::<StoreAddress>::new())]
    store: StoreAddress,

    /// Start with a new store although the receipts say that there was one
    #[arg(long)]
    new: bool,

    #[command(flatten)]
    bootstrap: BootstrapArgs,

    #[command(flatten)]
    checkpoints: EveryArgs,

    #[command(flatten)]
    checks: ChecksArgs,

    #[command(flatten)]
    health: HealthArgs,
}

/// Follows until it is told to stop.
pub(crate) async fn run(shared: &Shared, role: Role, args: ConsumeArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let served = health::serve(&args.health, role.as_str(), args.name.as_str(), &stop).await?;
    let place = LogLocation::new(shared, &format!("{role} {}", args.name))?.signs(shared)?;
    served.measure_files(&shared.log, args.store.sqlite_files().map(|file| ("store", file)));
    served.starting("it opens the log");
    let Some(log) = stop.run_until_cancelled(place.open_patiently()).await else {
        return Ok(Exit::Ok);
    };
    let log = log.map_err(|error| place.explain(error.into()))?;
    let (board, key) = (JobBoard::default(), shared.signing.key()?);
    served.measure_jobs(&board);
    if args.bootstrap.is_given() {
        served.starting("it fills its store from what is kept elsewhere");
        fill(&args, &log, &stop).await?;
    }
    loop {
        tracing::info!(log = %place.address(), store = %args.store, "following as {role} {}", args.name);
        match consume(&args, role, (Arc::clone(&log), &board, key.clone()), &served, &stop).await {
            Err(failure) if args.bootstrap.is_given() && consumer::is_trimmed(&failure) => {
                served.starting("it brings its store forward from what is kept elsewhere");
                catch_up(&args, &log, &stop).await?;
            }
            consumed => return consumed,
        }
    }
}

/// Follows the log, makes checkpoints, and listens to its operator.
async fn consume(
    args: &ConsumeArgs,
    role: Role,
    (log, board, key): (Arc<dyn Log>, &JobBoard, Option<Arc<SigningKey>>),
    served: &Served,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let store = open(&args.store).await?;
    let job = CheckJob {
        destination: Destination::open(&args.checkpoints.place(&args.store))?,
        identity: args.bootstrap.identity.clone(),
        log: Arc::clone(&log),
        name: args.name.to_string(),
        drill_store: drill_store(),
        stop: stop.clone(),
        board: board.clone(),
    };
    let new_store = args.new;
    let mut settings =
        ConsumerSettings { new_store, ..ConsumerSettings::new(args.name.clone(), role) };
    if let Some(key) = &key {
        settings = settings.signing(key);
    }
    let instance = InstanceId::from_bytes(rand::random());
    let clock = system_clock();
    let consumer = Consumer::start(Arc::clone(&log), store, settings, instance, Arc::clone(&clock));
    let watch = served.watch(&consumer, &log, (&args.name, role), &clock);
    let maker = CheckpointMaker::new(consumer.store(), Arc::clone(&clock), stop.clone());
    let maker = maker.remembering(args.store.beside("sets")).noting(board.clone()).signing(key);
    let maker = Arc::new(maker);
    let admin = admin::start(&args.store, Arc::clone(&maker));
    let checkpoints = make_checkpoints(args, &maker, &clock);
    tokio::pin!(checkpoints);
    let followed = tokio::select! {
        followed = follow(consumer, &clock, stop) => followed,
        never = &mut checkpoints => match never {},
        () = CheckSchedule::from(args.checks.clone()).run(job, &clock) => Ok(Exit::Ok),
    };
    // An upload that is cancelled ends what it began at its destination.
    maker.cancel();
    tokio::select! {
        () = maker.idle() => {}
        never = &mut checkpoints => match never {},
        () = tokio::time::sleep(CLEAN_UP) => tracing::warn!("a checkpoint was not cleaned up in time; the next one does that"),
    }
    drop((admin, watch));
    followed
}

async fn open(address: &StoreAddress) -> Result<Box<dyn Store>, Failure> {
    let address = address.clone();
    Ok(tokio::task::spawn_blocking(move || store::open(&address)).await??)
}

/// Makes checkpoints for ever; waits for ever if none are to be made.
async fn make_checkpoints(
    args: &ConsumeArgs,
    maker: &Arc<CheckpointMaker>,
    clock: &Clock,
) -> Infallible {
    match args.checkpoints.schedule(&args.store) {
        Some(schedule) => schedule.run(maker, clock).await,
        None => std::future::pending().await,
    }
}

/// Fills a store that is not there yet; leaves one alone that is.
async fn fill(
    args: &ConsumeArgs,
    log: &Arc<dyn Log>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let bootstrap = args.bootstrap.of(log)?;
    let (sender, receiver) = watch::channel(RestoreProgress::default());
    let filled = tokio::select! {
        filled = bootstrap.fill(|| store::location(&args.store), &sender, stop) => filled,
        never = progress::show(|| progress::restoring(*receiver.borrow())) => match never {},
    };
    progress::done();
    match filled? {
        Filled::Restored(report) => {
            let (index, seconds) = (report.achieved.index, report.duration.as_secs_f64());
            tracing::info!(store = %args.store, index, seconds, "filled from what is kept");
        }
        Filled::AlreadyThere => {}
        Filled::Nothing(why) => tracing::info!("{why}"),
    }
    Ok(())
}

/// Brings a store forward that lags what the log still has.
async fn catch_up(
    args: &ConsumeArgs,
    log: &Arc<dyn Log>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let bootstrap = args.bootstrap.of(log)?;
    let store = open(&args.store).await?;
    let (sender, receiver) = watch::channel(RestoreProgress::default());
    let index = tokio::select! {
        index = bootstrap.catch_up(store, &sender, stop) => index,
        never = progress::show(|| progress::restoring(*receiver.borrow())) => match never {},
    };
    progress::done();
    match index? {
        Some(index) => {
            tracing::info!(store = %args.store, index, "brought forward from what is kept");
        }
        // Joining the log again shows how far that was.
        None => tracing::info!("the log was trimmed meanwhile"),
    }
    Ok(())
}
