//! `tipline get`: reads something from a store, whether a consumer writes to it or not.

mod item;
mod query;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tipline_ops::text::count;
use tipline_store::{StoreReader, StoredBlock};

use self::item::Item;
use self::query::What;
use crate::address::StoreAddress;
use crate::exit::Exit;
use crate::open::store::open_reader;
use crate::output::report::{Failure, Sentence, list, say};
use crate::output::stdout::OutputError;
use crate::settings::Parsed;

/// Options of `tipline get`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline get block 170 --store sqlite:replica.db
  tipline get block tip --store rocksdb:/var/lib/replica --output tip.bin
  tipline get proof 00000000d1145790… --store files:replica --output - | sha256sum
  tipline get blocks 100..120 --store sqlite:replica.db --json
  tipline get transaction 9f3c… --store sqlite:replica.db
  tipline get record allow-list --store sqlite:replica.db
  tipline get mark before-upgrade --store sqlite:replica.db
  tipline get cursor --store composite:files:replica+sqlite:replica.db

It reads beside a running consumer, and never writes to the store. A composite store is read from
its last part. Without --output it prints what is known about the item, not its bytes.")]
pub(crate) struct GetArgs {
    #[command(subcommand)]
    what: What,

    /// The store: sqlite:PATH, rocksdb:PATH, files:PATH, or composite: and several with + between
    #[arg(long, global = true, env = "TIPLINE_STORE", value_name = "STORE")]
    #[arg(value_parser = Parsed::<StoreAddress>::new())]
    store: Option<StoreAddress>,

    /// Write the bytes themselves into this new file; - is standard output
    #[arg(long, short, global = true, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print JSON: one object, or one per line
    #[arg(long, global = true, conflicts_with = "output")]
    json: bool,
}

/// Reads it and prints it.
pub(crate) async fn run(args: GetArgs) -> Result<Exit, Failure> {
    tokio::task::spawn_blocking(move || read(&args)).await?
}

fn read(args: &GetArgs) -> Result<Exit, Failure> {
    let Some(address) = &args.store else {
        let advice =
            "for example --store sqlite:replica.db; or set it in tipline.toml: [get] store";
        return Err(Failure::from(Sentence("no store is named".to_owned())).advise(advice));
    };
    let reader = open_reader(address)?;
    if reader.cursor()?.is_none() {
        let text = format!("{} is new and empty", reader.place());
        let advice = "let a replica or a backup fill it first";
        return Err(Failure::from(Sentence(text)).advise(advice));
    }
    if let What::Blocks { heights } = &args.what {
        if args.output.is_some() {
            let advice = "give --json, or get one block with --output";
            let text = "a range of blocks is listed, not written".to_owned();
            return Err(Failure::from(Sentence(text)).advise(advice));
        }
        return blocks(&*reader, heights.clone(), args.json);
    }
    let found = args.what.find(&*reader)?;
    match &args.output {
        Some(output) => write(found, output)?,
        None if args.json => say(&format!("{}\n", found.json()))?,
        None => say(&found.text())?,
    }
    Ok(Exit::Ok)
}

fn blocks(
    reader: &dyn StoreReader,
    heights: std::ops::RangeInclusive<u64>,
    json: bool,
) -> Result<Exit, Failure> {
    let mut any = false;
    for found in reader.blocks_with_proofs(heights.clone())? {
        let (block, proof) = found?;
        any = true;
        let proven = proof.is_some_and(|proof| proof.block_hash == block.hash);
        list(&line(&block, proven, json))?;
    }
    if !any {
        let (first, last) = (heights.start(), heights.end());
        let text = format!("there are no blocks {first} to {last}: {}", query::held(reader)?);
        return Err(Sentence(text).into());
    }
    Ok(Exit::Ok)
}

fn line(block: &StoredBlock, proven: bool, json: bool) -> String {
    if json {
        return format!("{}\n", item::block(block).with("proven", proven.into()).json());
    }
    let (height, hash, bytes) = (block.height, &block.hash, block.payload.len() as u64);
    let proven = if proven { "proven" } else { "not proven" };
    format!("{height:>10}  {hash}  {:>18}  {proven}\n", count(bytes, "byte"))
}

/// Writes the bytes, and says so on standard error.
fn write(found: Item, output: &Path) -> Result<(), Failure> {
    let Some(payload) = &found.payload else {
        let text = format!("{} has no bytes to write", found.title);
        return Err(Failure::from(Sentence(text)).advise("leave out --output"));
    };
    if output == Path::new("-") {
        let written = io::stdout().write_all(payload).and_then(|()| io::stdout().flush());
        return Ok(written.map_err(OutputError::from)?);
    }
    create(output, payload).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            let text = format!("{} is there already", output.display());
            Failure::from(Sentence(text)).advise("name another file, or remove it first")
        }
        _ => Unwritten(output.display().to_string(), error).into(),
    })?;
    let (title, bytes) = (&found.title, count(payload.len() as u64, "byte"));
    tracing::info!("wrote {title}, {bytes}, to {}", output.display());
    Ok(())
}

/// A file that could not be written is not left behind in part.
fn create(path: &Path, payload: &Bytes) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written = file.write_all(payload).and_then(|()| file.sync_all());
    if written.is_err() {
        _ = std::fs::remove_file(path);
    }
    written
}

#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be written")]
struct Unwritten(String, #[source] io::Error);
