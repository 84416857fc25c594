//! `tipline audit prove`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tipline_audit::tree::{Wanted, find_entry, prove_entry};
use tipline_ops::text::number;

use super::tree::TreeArgs;
use crate::address::TypedHash;
use crate::exit::Exit;
use crate::output::report::{Failure, Sentence, say};
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
is signed; 13 if archive and signed tree contradict each other.")]
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
    if let Some(output) = args.output.as_deref().filter(|output| output.exists()) {
        return Err(there(output));
    }
    let Some(wanted) = args.wanted.wanted() else {
        // The command line has refused that.
        return Err(Sentence("give --block, --hash or --index".to_owned()).into());
    };
    let open = args.tree.open(args.tree.keys()?).await?;
    let index = find_entry(&open.archive, &open.place, &wanted).await?;
    let (proof, _) = prove_entry(&open.sources, &open.place, index, &stop).await?;
    match args.output {
        None => say(&proof.to_string())?,
        Some(output) => {
            write(&output, &proof.to_string())?;
            tracing::info!("wrote a proof of entry {} to {}", number(index), output.display());
        }
    }
    Ok(Exit::Ok)
}

/// There as a whole or not at all.
fn write(output: &Path, text: &str) -> Result<(), Failure> {
    let unwritten = |error| Unwritten(output.display().to_string(), error);
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(parent.unwrap_or(Path::new("."))).map_err(unwritten)?;
    file.write_all(text.as_bytes()).map_err(unwritten)?;
    file.as_file().sync_all().map_err(unwritten)?;
    file.persist_noclobber(output).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => there(output),
        _ => unwritten(error.error).into(),
    })?;
    Ok(())
}

fn there(output: &Path) -> Failure {
    let text = format!("{} is there already", output.display());
    Failure::from(Sentence(text)).advise("name another file, or remove it first")
}

#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be written")]
struct Unwritten(String, #[source] io::Error);
