//! `tipline checkpoint`: copies of a store as it was at one moment.

mod freeze;
mod listing;

use std::cell::RefCell;
use std::sync::Arc;

use tipline_backup::{CheckpointId, CheckpointRetention, Checkpoints, Keep, Listed, Throttle};
use tipline_consumer::StoreHandle;
use tipline_log::system_clock;
use tipline_ops::{
    CheckpointMaker, CheckpointOrder, CheckpointProgress, cancel_checkpoint, checkpoint_set,
    request_checkpoint,
};
use tipline_proto::SigningKey;
use tokio_util::sync::CancellationToken;

use crate::address::{ByteRate, StoreAddress};
use crate::exit::Exit;
use crate::open::{admin, store};
use crate::options::{Mode, SealingArgs, Shared, default_set};
use crate::output::progress;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline checkpoint`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline checkpoint create --store sqlite:/backup/chain.db
  tipline checkpoint create --store rocksdb:/var/lib/replica --upload s3://bucket/chain
  tipline checkpoint create --store rocksdb:/var/lib/replica --mode engine
  tipline checkpoint list --store sqlite:/backup/chain.db
  tipline checkpoint list --checkpoints s3://bucket/chain/checkpoints --json
  tipline checkpoint show latest --verify --store sqlite:/backup/chain.db
  tipline checkpoint keep latest --store sqlite:/backup/chain.db
  tipline checkpoint release latest --store sqlite:/backup/chain.db
  tipline checkpoint expire --keep-last 3 --keep-within 7d --store sqlite:/backup/chain.db --confirm
  tipline checkpoint cancel --store sqlite:/backup/chain.db
  tipline checkpoint freeze --store rocksdb:/backup/chain --max 10s -- lvcreate -s -n snap vg/backup
  tipline checkpoint freeze --store rocksdb:/backup/chain --max 60s --hold
  tipline checkpoint thaw 1f0c7d3a95b2e684 --store rocksdb:/backup/chain

A checkpoint is made while a consumer applies to the store. That consumer makes it, asked over the
socket PATH.admin beside the store; if none runs, this command does. What is listed is whole. Ctrl-C
cancels, and leaves nothing. Nothing is removed without --confirm.")]
pub(crate) struct CheckpointArgs {
    #[command(subcommand)]
    what: What,

    /// The store: sqlite:PATH, rocksdb:PATH, files:PATH, or composite: and several with + between
    #[arg(long, global = true, env = "TIPLINE_STORE", value_name = "STORE")]
    #[arg(value_parser = Parsed::<StoreAddress>::new())]
    store: Option<StoreAddress>,

    /// The set of checkpoints: dir:PATH; to list and verify, also s3://, gs://, az:// [default:
    /// PATH.checkpoints beside the store]
    #[arg(long, global = true, env = "TIPLINE_CHECKPOINTS", value_name = "ADDRESS")]
    checkpoints: Option<String>,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make one now
    Create {
        /// Copy it to the checkpoints of this backup location too, and read it back from there
        #[arg(long, env = "TIPLINE_UPLOAD", value_name = "ADDRESS")]
        upload: Option<String>,
        #[command(flatten)]
        sealing: SealingArgs,
        /// Move at most this many bytes per second: 50MiB
        #[arg(long, value_name = "BYTES", value_parser = Parsed::<ByteRate>::new())]
        rate: Option<ByteRate>,
        /// How a RocksDB store is copied. What is uploaded is always whole by itself
        #[arg(long, env = "TIPLINE_CHECKPOINT_MODE", value_enum, default_value_t)]
        mode: Mode,
    },
    /// List them, the newest first
    List,
    /// Show everything about one
    Show {
        /// Its name as listed, or latest
        id: String,
        /// Read every byte of it, and compare
        #[arg(long)]
        verify: bool,
    },
    /// Never let one expire
    Keep {
        /// Its name as listed, or latest
        id: String,
    },
    /// Let a kept one expire again
    Release {
        /// Its name as listed, or latest
        id: String,
    },
    /// Cancel the one that is being made
    Cancel,
    /// Freeze the store while a command makes a snapshot of its volume
    ///
    /// Nothing is applied meanwhile, and everything applied is durable. Exit codes: 0 done; 2 the
    /// command failed, or took longer than --max, so that its snapshot must not be used. With --hold
    /// it is frozen when this returns, and `thaw` says whether the snapshot is good: for hooks that
    /// are called before and after it.
    Freeze {
        /// Thaw by itself after this, 15 min at most
        #[arg(long, value_name = "TIME", default_value = "10s")]
        #[arg(value_parser = Parsed::<humantime::Duration>::new())]
        max: humantime::Duration,
        /// Return at once and leave it frozen, until `thaw` or for --max. Prints the id for `thaw`
        #[arg(long, conflicts_with = "command")]
        hold: bool,
        /// The command and its words; without one, until Ctrl-C
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Thaw the store that `freeze --hold` froze, and say whether its snapshot is good
    ///
    /// Exit codes: 0 it was frozen until now; 2 it was not, or nobody knows: throw the snapshot away.
    Thaw {
        /// What `freeze --hold` printed; without it, the only one since the last thaw
        id: Option<String>,
    },
    /// Remove old ones; without --confirm only show which
    Expire {
        /// Leave this many of the newest
        #[arg(long, value_name = "COUNT", default_value_t = 3)]
        keep_last: usize,
        /// Leave what is younger than this: 7d
        #[arg(long, value_name = "TIME", value_parser = Parsed::<humantime::Duration>::new())]
        keep_within: Option<humantime::Duration>,
        /// Do remove them
        #[arg(long)]
        confirm: bool,
    },
}

/// Does it.
pub(crate) async fn run(shared: &Shared, args: CheckpointArgs) -> Result<Exit, Failure> {
    let CheckpointArgs { what, store, checkpoints, json } = args;
    let place = Place { store, checkpoints };
    match what {
        What::Create { upload, sealing, rate, mode } => {
            let checkpoints = place.address()?;
            let rate = rate.map(|rate| rate.0);
            let (mode, sealing) = (mode.into(), sealing.into());
            let order = CheckpointOrder { checkpoints, upload, rate, mode, sealing };
            create(place.store()?, order, shared.signing.key()?, json).await
        }
        What::Cancel => cancel(place.store()?).await,
        What::Freeze { max, hold: true, .. } => freeze::hold(place.store()?, *max, json).await,
        What::Freeze { max, command, .. } => freeze::run(place.store()?, *max, command).await,
        What::Thaw { id } => freeze::thaw(place.store()?, id.as_deref()).await,
        What::List => {
            let set = place.set()?;
            let (listed, kept) = (set.list().await?, set.pinned().await?);
            let is_broken = |listed: &Listed| matches!(listed, Listed::Corrupt { .. });
            let exit = if listed.iter().any(is_broken) { Exit::Degraded } else { Exit::Ok };
            say(&listing::list(set.place(), &listed, &kept, json))?;
            Ok(exit)
        }
        What::Show { id, verify } => show(&place.set()?, &id, verify, json).await,
        What::Keep { id } => {
            let set = place.set()?;
            let id = find(&set, &id).await?;
            set.pin(&id).await?;
            say(&format!("{id} is kept until it is released\n"))?;
            Ok(Exit::Ok)
        }
        What::Release { id } => {
            let set = place.set()?;
            let id = find(&set, &id).await?;
            say(&match set.unpin(&id).await? {
                None => format!("{id} may expire\n"),
                Some(_) => format!("{id} stays for as long as the archive there starts with it\n"),
            })?;
            Ok(Exit::Ok)
        }
        What::Expire { keep_last, keep_within, confirm } => {
            let keep = Keep { last: keep_last, within: keep_within.map(|within| *within) };
            let set = place.set()?.requiring(shared.signing.trust()?);
            expire(&set, &keep, confirm, json).await
        }
    }
}

struct Place {
    store: Option<StoreAddress>,
    checkpoints: Option<String>,
}

impl Place {
    fn store(&self) -> Result<&StoreAddress, Failure> {
        let advice =
            "for example --store sqlite:replica.db; or set it in tipline.toml: [checkpoint] store";
        let none = || Failure::from(Sentence("no store is named".to_owned())).advise(advice);
        self.store.as_ref().ok_or_else(none)
    }

    fn address(&self) -> Result<String, Failure> {
        match &self.checkpoints {
            Some(address) => Ok(address.clone()),
            None => self.store().map(default_set),
        }
    }

    fn set(&self) -> Result<Checkpoints, Failure> {
        Ok(checkpoint_set(&self.address()?)?)
    }
}

/// By the consumer that has the store open, or else here.
async fn create(
    address: &StoreAddress,
    order: CheckpointOrder,
    key: Option<Arc<SigningKey>>,
    json: bool,
) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let line = listing::progress;
    let shown = RefCell::new("waiting".to_owned());
    let socket = admin::socket(address);
    let show = |at: CheckpointProgress| {
        *shown.borrow_mut() = line(&at.doing, at.moved, at.total);
    };
    let asked = tokio::select! {
        asked = request_checkpoint(&socket, &order, &stop, show) => asked.map_err(admin::explain)?,
        never = progress::show(|| shown.borrow().clone()) => match never {},
    };
    let id = match asked {
        Some(id) => id,
        None => create_here(address, &order, key, stop).await?,
    };
    progress::done();
    let set = checkpoint_set(&order.checkpoints)?;
    let manifest = set.get(&id).await?;
    say(&listing::made(set.place(), &manifest, json))?;
    Ok(Exit::Ok)
}

async fn create_here(
    address: &StoreAddress,
    order: &CheckpointOrder,
    key: Option<Arc<SigningKey>>,
    stop: CancellationToken,
) -> Result<CheckpointId, Failure> {
    let maker = Arc::new(own_maker(address, key, stop).await?);
    // So that it can be cancelled like any other.
    let _admin = admin::start(address, Arc::clone(&maker));
    let begun = maker.begin(order.clone())?;
    let job = Arc::clone(&begun.job);
    let made = tokio::select! {
        made = begun.run() => made?,
        never = progress::show(|| listing::progress(job.doing(), job.moved(), job.total())) => match never {},
    };
    Ok(made.id)
}

/// Of a store that no process has open.
async fn own_maker(
    address: &StoreAddress,
    key: Option<Arc<SigningKey>>,
    stop: CancellationToken,
) -> Result<CheckpointMaker, Failure> {
    let opening = address.clone();
    let store = tokio::task::spawn_blocking(move || store::open(&opening)).await??;
    let maker = CheckpointMaker::new(StoreHandle::new(store)?, system_clock(), stop);
    Ok(maker.remembering(address.beside("sets")).signing(key))
}

async fn cancel(address: &StoreAddress) -> Result<Exit, Failure> {
    let text = match cancel_checkpoint(&admin::socket(address)).await.map_err(admin::explain)? {
        Some(true) => "cancelled\n",
        Some(false) => "no checkpoint is being made\n",
        None => "no consumer has the store open here, so no checkpoint is being made\n",
    };
    say(text)?;
    Ok(Exit::Ok)
}

async fn show(set: &Checkpoints, id: &str, verify: bool, json: bool) -> Result<Exit, Failure> {
    let manifest = set.get(&find(set, id).await?).await?;
    if verify {
        set.verify(&manifest, &Throttle::none()).await?;
    }
    let kept = set.pinned().await?.contains(&manifest.id);
    say(&listing::one(set.place(), &manifest, kept, verify, json))?;
    Ok(Exit::Ok)
}

async fn expire(
    set: &Checkpoints,
    keep: &Keep,
    confirm: bool,
    json: bool,
) -> Result<Exit, Failure> {
    let now = system_clock()();
    let judged = if confirm {
        set.expire(keep, now, None, &Throttle::none()).await?
    } else {
        set.plan_expiry(keep, now).await?
    };
    let any = judged.iter().any(|(_, fate)| *fate == CheckpointRetention::Expired);
    say(&listing::expired(&judged, confirm, json))?;
    if any && !confirm && !json {
        say("nothing was removed: give --confirm to remove what is expired\n")?;
    }
    Ok(Exit::Ok)
}

/// A name, or `latest`: the newest that is whole.
async fn find(set: &Checkpoints, given: &str) -> Result<CheckpointId, Failure> {
    if given != "latest" {
        return Ok(given.parse::<CheckpointId>()?);
    }
    let whole = |listed: &Listed| matches!(listed, Listed::Whole(_));
    let listed = set.list().await?;
    let newest = listed.iter().find(|listed| whole(listed)).map(|listed| listed.id().clone());
    let none = || Sentence(format!("{} has no checkpoint that is whole", set.place()));
    Ok(newest.ok_or_else(none)?)
}
