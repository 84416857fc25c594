//! `tipline init`: creates a log, once, on purpose.

use tipline_log::{Log, LogError, Preflight};
use tipline_proto::{Chain, ChainName, Hash, Lineage, LogIdentity};

use crate::address::LogAddress;
use crate::exit::Exit;
use crate::open::log::{LogLocation, not_durable};
use crate::options::Shared;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;

/// Copies on a cluster, if nothing else is said.
const REPLICAS: usize = 3;

/// Options of `tipline init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline init --chain testnet --genesis 6fe28c0ab6f1b372…
  tipline init --log nats://a:4222,b:4222,c:4222/mainnet --chain mainnet --genesis 6fe28c0a…
  tipline init --log nats://127.0.0.1:4222/dev --replicas 1 --accept-shortfalls \\
      --chain dev --genesis 00

Logs are created here and nowhere else, so no other command mistakes a lost log for a new one. Run
again on a log of the same chain that is still empty, it checks that log.")]
pub(crate) struct InitArgs {
    /// Name of the chain that the log replicates
    #[arg(long, env = "TIPLINE_CHAIN", value_name = "NAME", value_parser = Parsed::<ChainName>::new())]
    chain: ChainName,

    /// Hash of the chain's genesis block, in hex: the block at height 0, or the parent of block 1
    ///
    /// For Bitcoin's blk*.dat in the byte order of the file, 6fe28c0a…, which is the reverse of what
    /// explorers print.
    #[arg(long, env = "TIPLINE_GENESIS", value_name = "HEX", value_parser = Parsed::<Hash>::new())]
    genesis: Hash,

    /// Copies of the log, each on a NATS server of its own [default: 3]
    #[arg(long, env = "TIPLINE_REPLICAS", value_name = "N", value_parser = Parsed::<usize>::new())]
    replicas: Option<usize>,
}

/// Creates the log and checks how durable it is.
pub(crate) async fn run(shared: &Shared, args: InitArgs) -> Result<Exit, Failure> {
    let place = LogLocation::new(shared, "init")?;
    let replicas = replicas(shared, &args)?;
    let chain = Chain { name: args.chain, genesis: args.genesis };
    let lineage = Lineage::from_bytes(rand::random());
    let identity = LogIdentity { name: place.log_name()?, chain, lineage };
    let (log, created) = match place.create(&identity, replicas).await {
        Ok(log) => (log, true),
        Err(error @ LogError::AlreadyExists { .. }) => {
            (open_if_empty(&place, &identity.chain, error).await?, false)
        }
        Err(error) => return Err(with_advice(error.into(), replicas)),
    };
    let preflight = log.preflight().await?;
    say(&text(&place, &*log, created, &preflight, shared.accept_shortfalls))?;
    if preflight.is_durable() || shared.accept_shortfalls {
        return Ok(Exit::Ok);
    }
    Err(not_durable(&place, &[]).advise(
        "remove what falls short and run this again, the log is still empty; or accept it by \
         --accept-shortfalls, here and for the primary",
    ))
}

/// What is known to fall short before anything is created is refused before.
fn replicas(shared: &Shared, args: &InitArgs) -> Result<usize, Failure> {
    let replicas = args.replicas.unwrap_or(REPLICAS);
    match shared.log {
        LogAddress::Embedded(_) if args.replicas.is_some_and(|replicas| replicas != 1) => {
            let text = "an embedded log is one file: --replicas is for logs on NATS";
            Err(Sentence(text.into()).into())
        }
        LogAddress::Nats(_) if !(1..=5).contains(&replicas) => {
            let text = format!("NATS keeps 1 to 5 copies of a stream, not {replicas}");
            Err(Sentence(text).into())
        }
        LogAddress::Nats(_) if replicas < REPLICAS && !shared.accept_shortfalls => {
            let copies =
                tipline_ops::text::count(replicas as u64, "copy").replace("copys", "copies");
            let text = format!("{copies} of a log can be lost with the disks that it is on");
            Err(Failure::from(Sentence(text))
                .advise("use three servers and --replicas 3, or accept it by --accept-shortfalls"))
        }
        _ => Ok(replicas),
    }
}

async fn open_if_empty(
    place: &LogLocation,
    chain: &Chain,
    exists: LogError,
) -> Result<std::sync::Arc<dyn Log>, Failure> {
    let log = place.open().await?;
    let empty = log.tail().await?.position.index == 0;
    if empty && log.identity().chain == *chain { Ok(log) } else { Err(exists.into()) }
}

fn with_advice(failure: Failure, replicas: usize) -> Failure {
    if replicas == 1 || !matches!(failure.log_error(), Some(LogError::Unusable { .. })) {
        return failure;
    }
    failure.advise("on a single server: --replicas 1 --accept-shortfalls")
}

fn text(
    place: &LogLocation,
    log: &dyn Log,
    created: bool,
    preflight: &Preflight,
    accepted: bool,
) -> String {
    let LogIdentity { chain, lineage, .. } = log.identity();
    let what = if created { "created" } else { "there already, and empty:" };
    let mut text = format!(
        "{what} {}\n  chain    {}\n  genesis  {}\n  lineage  {lineage}\n\npreflight\n",
        place.address(),
        chain.name,
        chain.genesis
    );
    for line in &preflight.good {
        text.push_str(&format!("  good     {line}\n"));
    }
    let word = if accepted { "accepted" } else { "short   " };
    for shortfall in &preflight.shortfalls {
        text.push_str(&format!("  {word} {shortfall}\n"));
    }
    if preflight.is_durable() || accepted {
        let flag = place.flag();
        text.push_str(&format!("\nnext: tipline primary{flag} --source dir:PATH\n"));
    }
    text
}
