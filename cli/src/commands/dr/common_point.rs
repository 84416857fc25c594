//! `tipline dr common-point`

use std::path::PathBuf;

use serde::Serialize;
use tipline_backup::{Archive, ArchiveStore, Destination, Keys, common_point};
use tipline_ops::text::number;
use tipline_store::{ChainView, Sink};

use crate::address::StoreAddress;
use crate::exit::Exit;
use crate::open::store;
use crate::output::report::{Failure, Sentence, say};

/// Options of `tipline dr common-point`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline dr common-point sqlite:a.db rocksdb:b sqlite:c.db
  tipline dr common-point sqlite:a.db s3://backup/mainnet

Exit code 0 if there is such a block, 1 if there is none.")]
pub(crate) struct CommonPointArgs {
    /// Stores (sqlite:PATH, …) and places of archives (dir:PATH, s3://…), two or more
    #[arg(required = true, num_args = 2.., value_name = "COPY")]
    copies: Vec<String>,

    /// File with the age identity (secret key) that an encrypted archive is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    identity: Vec<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    height: Option<u64>,
    hash: Option<String>,
    copies: Vec<One>,
}

#[derive(Serialize)]
struct One {
    copy: String,
    lowest: Option<u64>,
    highest: Option<u64>,
}

/// Finds it.
pub(super) async fn run(args: CommonPointArgs) -> Result<Exit, Failure> {
    let none = Ok(Keys::default());
    let keys = args.identity.iter().fold(none, |keys, file| keys?.identity_file(file))?;
    let mut copies = Vec::new();
    for address in &args.copies {
        copies.push(open(address, &keys).await?);
    }
    let names = args.copies.clone();
    let find = move || {
        let heights = copies.iter().map(|copy| copy.heights()).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, tipline_store::StoreError>((heights, common_point(&copies)?))
    };
    let (heights, found) = tokio::task::spawn_blocking(find).await??;
    let one = |(copy, heights): (String, Option<(u64, u64)>)| {
        let (lowest, highest) = heights.unzip();
        One { copy, lowest, highest }
    };
    let answer = Answer {
        height: found.as_ref().map(|tip| tip.height),
        hash: found.as_ref().map(|tip| tip.hash.to_string()),
        copies: names.into_iter().zip(heights).map(one).collect(),
    };
    if args.json {
        say(&(serde_json::to_string(&answer)? + "\n"))?
    } else {
        say(&render(&answer))?
    }
    Ok(if answer.height.is_some() { Exit::Ok } else { Exit::Degraded })
}

async fn open(address: &str, keys: &Keys) -> Result<Box<dyn ChainView>, Failure> {
    let not_a_store = match address.parse::<StoreAddress>() {
        Ok(store) => {
            return Ok(tokio::task::spawn_blocking(move || store::open_reader(&store)).await??);
        }
        Err(error) => error,
    };
    let destination = match Destination::open(address) {
        Ok(destination) => destination,
        Err(error) if address.contains("://") => return Err(error.into()),
        Err(_) => {
            let text = format!("{address:?} is neither a store nor a place of an archive");
            return Err(Failure::from(Sentence(text)).advise(not_a_store.to_string()));
        }
    };
    // Says what is wrong if there is none.
    Archive::open(destination.clone(), keys.clone()).await?;
    let archive = ArchiveStore::new(destination, keys.clone(), 1).only_read();
    let opened = tokio::task::spawn_blocking(move || {
        archive.identity()?;
        archive.view()
    });
    Ok(opened.await??)
}

fn render(answer: &Answer) -> String {
    let mut text = match (answer.height, &answer.hash) {
        (Some(height), Some(hash)) => {
            format!("all agree up to block {} ({hash})\n", number(height))
        }
        _ => "there is no block that all of them agree on\n".to_owned(),
    };
    for One { copy, lowest, highest } in &answer.copies {
        let blocks = match lowest.zip(*highest) {
            Some((lowest, highest)) => format!("blocks {} to {}", number(lowest), number(highest)),
            None => "no blocks".to_owned(),
        };
        text += &format!("  {copy}: {blocks}\n");
    }
    text
}
