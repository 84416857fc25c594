//! `tipline audit prove`

use std::path::PathBuf;

use tipline_audit::tree::{Wanted, prove_entry};
use tipline_ops::text::number;

use super::tree::TreeArgs;
use crate::address::TypedHash;
use crate::exit::Exit;
use crate::output::file::Output;
use crate::output::report::{Failure, Sentence};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline audit prove`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit prove --archive s3://backup/mainnet --block 812000 -o 812000.tlog-proof
  tipline audit prove --archive dir:/backup --hash 0x6fe28c0a…
  tipline audit prove --archive dir:/backup --index 1 | less

The proof says that an entry is in the history that `tipline audit sign` signed, at its place. It has
what the entry says, without the payload, and is checked with the log's public key and nothing else:
`tipline audit check`. Exit code 11 if there is no such entry, or it is not signed yet; 2 if nothing
is signed; 13 if the archive, its indexes and the signed tree contradict each other.")]
pub(super) struct ProveArgs {
    #[command(flatten)]
    tree: TreeArgs,

    #[command(flatten)]
    wanted: WantedArgs,

    /// Write into this new file; standard output by default
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct WantedArgs {
    /// The newest block at this height
    #[arg(long, value_name = "HEIGHT")]
    block: Option<u64>,

    /// The block with this hash, in hex
    #[arg(long, value_name = "HEX", value_parser = Parsed::<TypedHash>::new())]
    hash: Option<TypedHash>,

    /// The entry with this index
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
    index: Option<u64>,
}

impl WantedArgs {
    /// Exactly one of them is given.
    fn wanted(self) -> Option<Wanted> {
        let block = self.block.map(Wanted::Height);
        let hash = self.hash.map(|hash| Wanted::Hash(hash.0));
        block.or(hash).or(self.index.map(Wanted::Index))
    }
}

pub(super) async fn run(args: ProveArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    Output::check(args.output.as_deref())?;
    let Some(wanted) = args.wanted.wanted() else {
        // The command line has refused that.
        return Err(Sentence("give --block, --hash or --index".to_owned()).into());
    };
    let open = args.tree.open(args.tree.keys()?).await?;
    let (proof, entry) = prove_entry(&open.archive, &open.place, &wanted, &stop).await?;
    let mut out = Output::create(args.output.as_deref())?;
    out.write(proof.to_string().as_bytes())?;
    out.finish()?;
    if let Some(output) = args.output {
        tracing::info!("wrote a proof of entry {} to {}", number(entry.index), output.display());
    }
    Ok(Exit::Ok)
}
