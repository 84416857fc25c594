//! The demonstration: a node, a log, two replicas and a backup in one process, one of them
//! killed in the middle, and everything compared in the end.

mod blocks;
mod check;
mod fleet;
mod node;
mod play;
mod screen;
mod summary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt as _;
use tipline_log::embedded::EmbeddedLog;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{Log, LogError, error_chain};
use tipline_proto::{Chain, Hash, InvalidName, Lineage, LogIdentity, LogName};
use tipline_sources::BlkBlocks;
use tokio_util::sync::CancellationToken;

use self::blocks::{Block, Format, Maker};
use self::play::{Play, Script};
use self::summary::Summary;
use crate::address::{BadLog, LogAddress};
use crate::exit::Exit;
use crate::options::Shared;
use crate::output::report::{Failure, Sentence};

/// The demo has its blocks in memory.
const MAX_BYTES: usize = 1 << 30;

/// Options of `tipline demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline demo
  tipline demo --blocks ~/.bitcoin/blocks/blk00000.dat
  tipline demo --nats nats://127.0.0.1:4222
  tipline demo --json | jq .commit_to_receipt_ms")]
pub(crate) struct DemoArgs {
    /// Use NATS JetStream at this address instead of the log in a file
    ///
    /// A log with a name of its own is created there, and removed at the end.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,

    /// Commit real blocks: a blk*.dat file of Bitcoin Core, or a directory of them
    #[arg(long, value_name = "FILE|DIR")]
    blocks: Option<PathBuf>,

    /// How many blocks to commit [default: 2000 generated ones, or all real ones]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    count: Option<u64>,

    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,

    /// Keep the databases in this directory, which must not exist
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs it. An error says what is wrong.
pub(crate) async fn run(shared: &Shared, args: DemoArgs) -> Result<Exit, Failure> {
    let stop = crate::signal::on_signal()?;
    let seed = rand::rng().random();
    let (chain, format, blocks) = read_blocks(&args, seed)?;
    let identity = identity(chain)?;
    let place = match &args.nats {
        None => None,
        Some(url) => Some(NatsPlace::new(shared, url, &identity.name)?),
    };
    let dir = Directory::make(args.keep.as_deref())?;
    let played = match &place {
        None => {
            let path = dir.path().join("log.db");
            let log = EmbeddedLog::create(&path, &identity).await?;
            let address = format!("embedded:{}", path.display());
            play(Arc::new(log), address, dir.path(), format, blocks, seed, stop).await
        }
        Some(place) => {
            let played = match JetStreamLog::create(&place.options, &identity, 1).await {
                Ok(log) => {
                    let (log, address) = (Arc::new(log), place.address.to_string());
                    play(log, address, dir.path(), format, blocks, seed, stop).await
                }
                Err(error) => Err(error.into()),
            };
            place.remove(identity.lineage, played).await
        }
    };
    let Some(summary) = played? else {
        return Ok(Exit::Ok);
    };
    let text = if args.json {
        format!("{}\n", serde_json::to_string(&summary)?)
    } else {
        format!("\n{summary}")
    };
    crate::output::report::say(&text)?;
    Ok(Exit::Ok)
}

async fn play(
    log: Arc<dyn Log>,
    address: String,
    dir: &Path,
    format: Format,
    blocks: Vec<Block>,
    seed: u64,
    stop: CancellationToken,
) -> Result<Option<Summary>, Failure> {
    let shortfalls = log.preflight().await?.shortfalls;
    let shortfalls = shortfalls.iter().map(ToString::to_string).collect();
    let script = Script { dir: dir.to_owned(), format, blocks, address, shortfalls, seed };
    Play::new(log, script)?.run(stop).await
}

/// Where the demo's own log is on NATS.
struct NatsPlace {
    address: LogAddress,
    options: JetStreamOptions,
}

impl NatsPlace {
    fn new(shared: &Shared, url: &str, name: &LogName) -> Result<Self, Failure> {
        let wrong = |why: String| Sentence(format!("--nats: {why}"));
        let address = format!("{}/{name}", url.trim_end_matches('/')).parse();
        let address: LogAddress = address.map_err(|error: BadLog| wrong(error.to_string()))?;
        let LogAddress::Nats(nats) = &address else {
            return Err(
                wrong(format!("{url:?} is no address of NATS: use nats://HOST:PORT")).into()
            );
        };
        let options = shared.nats.options(nats, "demo")?;
        Ok(Self { address, options })
    }

    /// Removes the log, whatever came of the demo, and of making it.
    async fn remove<T>(&self, lineage: Lineage, played: Result<T, Failure>) -> Result<T, Failure> {
        let removed = JetStreamLog::delete(&self.options, lineage).await;
        let left = |error: &LogError| {
            format!("the log {} was not removed: {}", self.address, error_chain(error))
        };
        match (played, removed) {
            (played, Ok(())) => played,
            (Ok(_), Err(error)) => Err(Sentence(left(&error)).into()),
            // It was not made, or cannot be reached, which is what the first error says.
            (Err(first), Err(LogError::NotFound { .. })) => Err(first),
            (Err(first), Err(error)) if is_away(&first) && error.is_retryable() => Err(first),
            (Err(first), Err(error)) => Err(first.list([left(&error)])),
        }
    }
}

fn is_away(failure: &Failure) -> bool {
    matches!(failure.log_error(), Some(LogError::Unavailable { .. }))
}

/// The blocks to commit, and the chain they belong to.
fn read_blocks(args: &DemoArgs, seed: u64) -> Result<(Chain, Format, Vec<Block>), Failure> {
    let Some(path) = &args.blocks else {
        let genesis = Hash::new([0; 32])?;
        let chain = Chain::new("demo".parse()?, genesis.clone());
        return Ok((
            chain,
            Format::Made,
            Maker::new(seed, genesis, args.count.unwrap_or(2000)).collect(),
        ));
    };
    let mut blocks: Vec<Block> = vec![];
    let mut bytes = 0;
    let count = args.count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    for read in BlkBlocks::open(path)?.take(count) {
        let read = read?;
        bytes += read.payload.len();
        if bytes > MAX_BYTES {
            let n = blocks.len();
            let why =
                format!("{}: more than 1 GiB of blocks; take fewer: --count {n}", path.display());
            return Err(Sentence(why).into());
        }
        let height = blocks.len() as u64 + 1;
        if let Some(tip) = blocks.last().filter(|tip| tip.hash != read.parent) {
            return Err(Sentence(format!(
                "{}: block {} names parent {}, but the block before it is {}; \
                 the demo takes blocks in the order of their chain",
                path.display(),
                read.hash,
                read.parent,
                tip.hash,
            ))
            .into());
        }
        let (hash, parent_hash) = (read.hash, read.parent);
        blocks.push(Block { height, hash, parent_hash, payload: read.payload });
    }
    let first =
        blocks.first().ok_or_else(|| Sentence(format!("{}: no block in it", path.display())))?;
    let chain = Chain::new("bitcoin".parse()?, first.parent_hash.clone());
    Ok((chain, Format::Bitcoin, blocks))
}

fn identity(chain: Chain) -> Result<LogIdentity, InvalidName> {
    let lineage: [u8; 16] = rand::rng().random();
    let name: LogName = format!("demo-{:08x}", rand::rng().random::<u32>()).parse()?;
    Ok(LogIdentity { name, chain, lineage: Lineage::from_bytes(lineage) })
}

/// Where the databases are: a temporary directory, or one that stays.
enum Directory {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn make(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(keep) = keep else {
            let made = tempfile::Builder::new().prefix("tipline-demo-").tempdir();
            return made.map(Directory::Temporary).map_err(|error| {
                Failure::from(error).advise("set TMPDIR to a directory that can be written")
            });
        };
        match std::fs::create_dir(keep) {
            Ok(()) => Ok(Directory::Kept(keep.to_owned())),
            Err(source) => Err(Failure::from(NotKept { path: keep.to_owned(), source })
                .advise("give --keep a directory that does not exist, in one that does")),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Directory::Temporary(dir) => dir.path(),
            Directory::Kept(dir) => dir,
        }
    }
}

/// The directory of `--keep`.
#[derive(Debug, thiserror::Error)]
#[error("--keep: the directory {} cannot be made", path.display())]
struct NotKept {
    path: PathBuf,
    source: std::io::Error,
}
