//! `tipline init`: creates a log, once, on purpose.

mod nats_config;

use tipline_log::{Accepted, Log, LogError, Preflight};
use tipline_ops::text::number;
use tipline_proto::{Chain, ChainName, Hash, Lineage, LogIdentity, ProofsFrom};
use tipline_sources::Genesis;

use self::nats_config::NatsConfigArgs;
use crate::address::{LogAddress, Source, TypedHash};
use crate::exit::Exit;
use crate::open::log::{LogLocation, not_durable};
use crate::open::outbox;
use crate::options::Shared;
use crate::output::escape::line;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;

/// Copies on a cluster, if nothing else is said.
const REPLICAS: usize = 3;

/// Options of `tipline init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline init --chain testnet --genesis 6fe28c0ab6f1b372…
  tipline init --chain ethereum --source 'dir:/var/lib/node/blocks?format=ethereum-rlp'
  tipline init --log nats://a:4222,b:4222,c:4222/mainnet --chain mainnet --genesis 6fe28c0a…
  tipline init --log nats://127.0.0.1:4222/dev --replicas 1 --accept-shortfalls \\
      --chain dev --genesis 00
  tipline init --log nats://a:4222/mainnet --print-nats-config --nats-keys keys \\
      --consumer replica-1 --consumer backup-1 > accounts.conf

Logs are created here and nowhere else, so no other command mistakes a lost log for a new one. Run
again on a log of the same chain that is still empty, it checks that log.")]
pub(crate) struct InitArgs {
    /// Name of the chain that the log replicates
    #[arg(long, env = "TIPLINE_CHAIN", value_name = "NAME", value_parser = Parsed::<ChainName>::new())]
    #[arg(required_unless_present = "print_nats_config")]
    chain: Option<ChainName>,

    /// Hash of the chain's genesis block, in hex: the block at height 0, or the parent of block 1.
    /// Not needed with --source
    ///
    /// For Bitcoin in the byte order of the file, 6fe28c0a…, which is the reverse of what explorers
    /// print.
    #[arg(long, env = "TIPLINE_GENESIS", value_name = "HEX", value_parser = Parsed::<TypedHash>::new())]
    #[arg(required_unless_present_any = ["source", "print_nats_config"])]
    genesis: Option<TypedHash>,

    /// The node's blocks, as for primary: the genesis is read there. With --genesis, the two are
    /// compared
    #[arg(long, env = "TIPLINE_SOURCE", value_name = "SOURCE", value_parser = Parsed::<Source>::new())]
    source: Option<Source>,

    /// Height of the first block that is proven, of a chain that began to prove late
    ///
    /// Blocks below it count as proven. The genesis never has a proof. Written into the log for
    /// ever.
    #[arg(long, env = "TIPLINE_PROOFS_FROM", value_name = "HEIGHT", default_value = "1")]
    #[arg(value_parser = Parsed::<ProofsFrom>::new())]
    proofs_from: ProofsFrom,

    /// Copies of the log, each on a NATS server of its own [default: 3]
    #[arg(long, env = "TIPLINE_REPLICAS", value_name = "N", value_parser = Parsed::<usize>::new())]
    replicas: Option<usize>,

    #[command(flatten)]
    nats_config: NatsConfigArgs,
}

/// Creates the log and checks how durable it is.
pub(crate) async fn run(shared: &Shared, args: InitArgs) -> Result<Exit, Failure> {
    if args.nats_config.is_asked() {
        return nats_config::print(shared, &args.nats_config);
    }
    let place = LogLocation::new(shared, "init")?;
    let replicas = replicas(shared, &args)?;
    let found = genesis(args.genesis, args.source.clone()).await?;
    // The command line has refused that it is not there.
    let name = args.chain.ok_or_else(|| Sentence("give --chain".to_owned()))?;
    let genesis = found.hash.clone();
    let chain = Chain { name, genesis, proofs_from: args.proofs_from };
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
    let told = Told { created, genesis_from: &found.found, source: args.source.as_ref() };
    say(&text(&place, &*log, &told, &preflight, &shared.accept_shortfalls))?;
    let open = shared.accept_shortfalls.open(&preflight.shortfalls);
    if open.is_empty() {
        return Ok(Exit::Ok);
    }
    let names = Accepted::names(&preflight.shortfalls);
    Err(not_durable(&place, &shared.accept_shortfalls, &[]).advise(format!(
        "remove what falls short and run this again, the log is still empty; or accept it by \
         --accept-shortfalls={names}, here and for the primary"
    )))
}

/// The genesis of the chain: what was given, what the source has, or both if they are the same.
async fn genesis(given: Option<TypedHash>, source: Option<Source>) -> Result<Genesis, Failure> {
    let read = match source {
        Some(source) => Some(outbox::genesis(source).await),
        None => None,
    };
    match (given, read) {
        (Some(TypedHash(given)), Some(Ok(read))) if given != read.hash => {
            Err(contradiction(&given, &read))
        }
        (_, Some(Ok(read))) => Ok(read),
        (Some(TypedHash(hash)), Some(Err(error))) => {
            tracing::warn!("the genesis was not compared with the source: {}", error.text());
            Ok(Genesis { hash, found: "--genesis".to_owned() })
        }
        (Some(TypedHash(hash)), None) => Ok(Genesis { hash, found: "--genesis".to_owned() }),
        (None, Some(Err(error))) => Err(error),
        // The command line has refused that.
        (None, None) => Err(Sentence("give --genesis or --source".to_owned()).into()),
    }
}

fn contradiction(given: &Hash, read: &Genesis) -> Failure {
    let Genesis { hash, found } = read;
    let text = format!("--genesis is {given}, but {found} has {hash}: no log was created");
    let advice = if *given == hash.reversed() {
        "they are the same in the other byte order: leave --genesis out, and it is the source's"
    } else {
        "leave --genesis out if the source is right; otherwise give the source of that chain, or \
         the format of its blocks: 'dir:PATH?format=NAME'"
    };
    Failure::from(Sentence(text)).advise(advice)
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
        LogAddress::Nats(_)
            if replicas < REPLICAS && shared.accept_shortfalls == Accepted::Nothing =>
        {
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
    let found = log.identity().chain.clone();
    if empty && found == *chain {
        return Ok(log);
    }
    let (there, asked) = (found.proofs_from, chain.proofs_from);
    if there != asked && found == (Chain { proofs_from: there, ..chain.clone() }) {
        return Err(Failure::from(exists).advise(format!(
            "that log expects proofs from block {there} on, not from {asked}, and will for ever: \
             give --proofs-from {there} if that is right, otherwise make a log at another place"
        )));
    }
    Err(exists.into())
}

fn with_advice(failure: Failure, replicas: usize) -> Failure {
    let Some(LogError::Unusable { why, .. }) = failure.log_error() else { return failure };
    // The log has one kind of error for all that a server refuses.
    if why.contains("refuses the login") {
        return failure.advise(
            "where users have roles: --nats-nkey keys/operator.nk --nats-inbox _INBOX.operator",
        );
    }
    match replicas {
        1 => failure,
        _ => failure.advise("on a single server: --replicas 1 --accept-shortfalls"),
    }
}

/// What was done.
struct Told<'a> {
    created: bool,
    genesis_from: &'a str,
    source: Option<&'a Source>,
}

fn text(
    place: &LogLocation,
    log: &dyn Log,
    told: &Told<'_>,
    preflight: &Preflight,
    accepted: &Accepted,
) -> String {
    let LogIdentity { chain, lineage, .. } = log.identity();
    let what = if told.created { "created" } else { "there already, and empty:" };
    let mut text = format!(
        "{what} {}\n  chain    {}\n  genesis  {} from {}\n  lineage  {lineage}\n",
        place.address(),
        chain.name,
        chain.genesis,
        told.genesis_from
    );
    if let Some(height) = chain.proofs_from.late() {
        text.push_str(&format!("  proofs   from block {} on\n", number(height)));
    }
    text.push_str("\npreflight\n");
    for good in &preflight.good {
        text.push_str(&line(format_args!("  good     {good}")));
    }
    for shortfall in &preflight.shortfalls {
        let word = if accepted.covers(shortfall) { "accepted" } else { "short   " };
        text.push_str(&line(format_args!("  {word} {shortfall}")));
    }
    if *accepted == Accepted::Everything && !preflight.is_durable() {
        let names = Accepted::names(&preflight.shortfalls);
        text.push_str(&format!("\nto accept these alone: --accept-shortfalls={names}\n"));
    }
    if accepted.open(&preflight.shortfalls).is_empty() {
        let flag = place.flag();
        // A shell would take the question mark for a pattern.
        let source = told.source.map_or("dir:PATH".to_owned(), |source| match source.to_string() {
            source if source.contains(['?', ' ']) => format!("'{source}'"),
            source => source,
        });
        text.push_str(&format!("\nnext: tipline primary{flag} --source {source}\n"));
    }
    text
}
