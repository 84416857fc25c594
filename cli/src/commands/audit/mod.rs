//! `tipline audit`: reads a log, an archive, a checkpoint or a store, and says what is in it and what
//! is wrong with it.

mod asking;
mod certify;
mod check;
mod consistency;
mod diff;
mod export;
mod kind;
mod progress;
mod prove;
mod read;
mod receipts;
mod sign;
mod stats;
mod tail;
mod tree;
mod verify;
mod witness;

use tipline_audit::Range;

use self::certify::CertifyArgs;
use self::check::CheckArgs;
use self::consistency::ConsistencyArgs;
use self::diff::DiffArgs;
use self::export::ExportArgs;
use self::prove::ProveArgs;
use self::receipts::ReceiptsArgs;
use self::sign::SignArgs;
use self::stats::StatsArgs;
use self::tail::TailArgs;
use self::verify::VerifyArgs;
use self::witness::WitnessArgs;
use crate::exit::Exit;
use crate::options::Shared;
use crate::output::report::Failure;

/// Options of `tipline audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What can be audited:
  log                            the log of --log
  embedded:PATH, nats://HOST/NAME    another log
  dir:PATH, s3://BUCKET/PREFIX, …    an archive
  dir:PATH@latest, s3://…@ID         a checkpoint: the newest, or the one of this name
  sqlite:PATH, rocksdb:PATH, …       a store

Nothing that is audited is changed; sign adds a signed tree beside an archive, which prove and
consistency read and check needs not even that. Exit code 13 if anything is wrong or differs, 12 if the entries
asked for are not held, 14 if two are of different logs, 16 if a place is unavailable.")]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Verify every digest, link, epoch and proof; of a store, that it contradicts itself nowhere
    Verify(VerifyArgs),
    /// Show where two differ: the first difference, or all
    Diff(DiffArgs),
    /// Print the newest entries, and new ones as they come
    Tail(TailArgs),
    /// Count events and bytes, and measure rates, proof delays and rollbacks
    Stats(StatsArgs),
    /// Write all entries as rows, for other programs
    Export(ExportArgs),
    /// Show what consumers had acknowledged at a past time
    Receipts(ReceiptsArgs),
    /// Sign the history in an archive, so that strangers can check it with one public key
    Sign(SignArgs),
    /// Prove that a block, or any entry, is in the signed history
    Prove(ProveArgs),
    /// Check such a proof, or a certificate, without asking anybody
    Check(CheckArgs),
    /// Prove that one signed checkpoint continues another
    Consistency(ConsistencyArgs),
    /// Cosign the signed history, for as long as it is only added to
    Witness(WitnessArgs),
    /// Certify which entries are durable where, by what others cosigned
    Certify(CertifyArgs),
}

/// Which entries.
#[derive(Debug, Clone, Copy, clap::Args)]
struct RangeArgs {
    /// Index of the first entry; the oldest that is held by default
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,

    /// Index of the last entry; the newest by default
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
}

impl From<RangeArgs> for Range {
    fn from(RangeArgs { from, to }: RangeArgs) -> Self {
        Range { from, to }
    }
}

/// Audits.
pub(crate) async fn run(shared: &Shared, args: AuditArgs) -> Result<Exit, Failure> {
    match args.what {
        What::Verify(args) => verify::run(shared, args).await,
        What::Diff(args) => diff::run(shared, args).await,
        What::Tail(args) => tail::run(shared, args).await,
        What::Stats(args) => stats::run(shared, args).await,
        What::Export(args) => export::run(shared, args).await,
        What::Receipts(args) => receipts::run(shared, args).await,
        What::Sign(args) => sign::run(shared, args).await,
        What::Prove(args) => prove::run(args).await,
        What::Check(args) => check::run(args).await,
        What::Consistency(args) => consistency::run(args).await,
        What::Witness(args) => witness::run(args).await,
        What::Certify(args) => certify::run(args).await,
    }
}
