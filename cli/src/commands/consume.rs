//! `tipline replica` and `tipline backup`: follow the log into a store.

use std::sync::Arc;

use tipline_backup::Destination;
use tipline_consumer::{Consumer, ConsumerSettings};
use tipline_log::{Log, system_clock};
use tipline_proto::{ConsumerName, InstanceId, Role};
use tipline_store::Store;
use tokio_util::sync::CancellationToken;

use crate::address::StoreAddress;
use crate::exit::Exit;
use crate::jobs::admin::Admin;
use crate::jobs::bootstrap::BootstrapArgs;
use crate::jobs::checkpoint::Maker;
use crate::jobs::checks::{Checked, ChecksArgs};
use crate::jobs::every::EveryArgs;
use crate::open::log::LogLocation;
use crate::open::store;
use crate::options::Shared;
use crate::output::consumer::{self, follow};
use crate::output::report::Failure;
use crate::settings::Parsed;
use crate::signal;

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
    let stop = signal::on_signal()?;
    let place = LogLocation::new(shared, &format!("{role} {}", args.name))?;
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
            Err(failure) if args.bootstrap.is_given() && consumer::is_trimmed(&failure) => {
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

async fn open(address: &StoreAddress) -> Result<Box<dyn Store>, Failure> {
    let address = address.clone();
    Ok(tokio::task::spawn_blocking(move || store::open(&address)).await??)
}
