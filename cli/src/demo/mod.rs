//! The demonstration: a node, a log, two replicas and a backup in one process, one of them
//! killed in the middle, and everything compared in the end.

mod blocks;
mod check;
mod fleet;
mod node;
mod play;
mod screen;
mod summary;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt as _;
use tipline_log::embedded::EmbeddedLog;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{Log, system_clock};
use tipline_producer::BlkBlocks;
use tipline_proto::{Chain, Hash, InvalidName, Lineage, LogIdentity, LogName};

use self::blocks::{Block, Format, Maker};
use self::play::{Play, Script};
use crate::report::{Exit, Failure, Sentence};

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
    /// A log with a name of its own is made there, and removed in the end.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,

    /// Commit real blocks: a blk*.dat file of Bitcoin Core, or a directory of them
    #[arg(long, value_name = "FILE|DIR")]
    blocks: Option<PathBuf>,

    /// How many blocks to commit: 2000 if they are made up, all of real ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    count: Option<u64>,

    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,

    /// Keep the databases in this directory, which must not exist
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs it. An error says what is not as it must be.
pub(crate) async fn run(args: DemoArgs) -> Result<Exit, Failure> {
    let stop = crate::stop::on_signal()?;
    let seed = rand::rng().random();
    let (chain, format, blocks) = read_blocks(&args, seed)?;
    let dir = Directory::make(args.keep.as_deref())?;
    let identity = identity(chain)?;
    let (log, address, shortfalls) = make_log(&args, &identity, dir.path()).await?;

    let script = Script { dir: dir.path().to_owned(), format, blocks, address, shortfalls, seed };
    let played = Play::new(Arc::clone(&log), script)?.run(stop).await;
    drop(log);
    if let Some(url) = &args.nats {
        let options = JetStreamOptions::new(url, identity.name.clone());
        JetStreamLog::delete(&options, identity.lineage).await?;
    }
    let Some(summary) = played? else {
        return Ok(Exit::Ok);
    };
    let text = if args.json {
        format!("{}\n", serde_json::to_string(&summary)?)
    } else {
        format!("\n{summary}")
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// The blocks to commit, and the chain they belong to.
fn read_blocks(args: &DemoArgs, seed: u64) -> Result<(Chain, Format, Vec<Block>), Failure> {
    let Some(path) = &args.blocks else {
        let genesis = Hash::new(vec![0; 32])?;
        let chain = Chain { name: "demo".parse()?, genesis: genesis.clone() };
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
    let chain = Chain { name: "bitcoin".parse()?, genesis: first.parent_hash.clone() };
    Ok((chain, Format::Bitcoin, blocks))
}

fn identity(chain: Chain) -> Result<LogIdentity, InvalidName> {
    let lineage: [u8; 16] = rand::rng().random();
    let name: LogName = format!("demo-{:08x}", rand::rng().random::<u32>()).parse()?;
    Ok(LogIdentity { name, chain, lineage: Lineage::from_bytes(lineage) })
}

async fn make_log(
    args: &DemoArgs,
    identity: &LogIdentity,
    dir: &Path,
) -> Result<(Arc<dyn Log>, String, Vec<String>), Failure> {
    let (log, address): (Arc<dyn Log>, String) = match &args.nats {
        None => {
            let path = dir.join("log.db");
            let log = EmbeddedLog::create(&path, identity).await?;
            (Arc::new(log), format!("embedded:{}", path.display()))
        }
        Some(url) => {
            let options = JetStreamOptions::new(url, identity.name.clone()).purpose("demo");
            let log = JetStreamLog::create(&options, identity, 1).await?;
            (Arc::new(log), format!("{url}/{}", identity.name))
        }
    };
    let shortfalls = log.preflight().await?.shortfalls;
    Ok((log, address, shortfalls.iter().map(ToString::to_string).collect()))
}

/// Where the databases are: a temporary directory, or one that stays.
enum Directory {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn make(keep: Option<&Path>) -> std::io::Result<Self> {
        let Some(keep) = keep else {
            return Ok(Directory::Temporary(
                tempfile::Builder::new().prefix("tipline-demo-").tempdir()?,
            ));
        };
        std::fs::create_dir(keep)?;
        Ok(Directory::Kept(keep.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Directory::Temporary(dir) => dir.path(),
            Directory::Kept(dir) => dir,
        }
    }
}

/// The clock of everything in the demo.
fn clock() -> tipline_log::Clock {
    system_clock()
}
