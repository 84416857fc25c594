//! `tipline audit check`

use std::path::PathBuf;

use serde_json::json;
use tipline_audit::AuditError;
use tipline_audit::tlog::VerifierKey;
use tipline_audit::tree::{Leaf, Proven, check_proof};
use tipline_backup::{TimeDigits, time_text};
use tipline_ops::text::{count, number};
use tipline_proto::Kind;

use super::read::read;
use crate::exit::Exit;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;

/// A larger file is no proof.
const MAX_BYTES: u64 = 1 << 20;

/// Options of `tipline audit check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit check 812000.tlog-proof --key logs.example.org/mainnet/4f1c…+5d7f7d9e+AZ…
  tipline audit check 812000.tlog-proof --key log… --block-file block_000c63e0.dat

It needs no network, no archive and no trust in who gave you the proof: only the log's public key,
which `tipline keys show` prints for whoever signs. It says that the entry is in the history that this
key signed; with --block-file also that the file is the block, byte for byte. Exit code 13 if anything
of that is not so.")]
pub(super) struct CheckArgs {
    /// The proof, from tipline audit prove
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The log's public key: NAME+ID+KEY
    #[arg(long, value_name = "KEY", value_parser = Parsed::<VerifierKey>::new())]
    key: VerifierKey,

    /// File of the block, or of whatever the entry carries
    #[arg(long, value_name = "FILE")]
    block_file: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: CheckArgs) -> Result<Exit, Failure> {
    tokio::task::spawn_blocking(move || check(&args)).await?
}

fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    // What is too long, or no text, is no proof.
    let bytes = read(&args.file, MAX_BYTES)?.unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    let proven = check_proof(&text, &args.key).map_err(AuditError::from)?;
    if let Some(file) = &args.block_file {
        let found = read(file, proven.leaf.payload_bytes)?;
        if !found.is_some_and(|bytes| proven.leaf.has_payload(&bytes)) {
            let index = proven.leaf.index;
            let text = format!(
                "{} is not the payload of entry {index}, which is in the history",
                file.display()
            );
            return Err(Failure::from(Sentence(text)).ending(Exit::Corrupt));
        }
    }
    let is_compared = args.block_file.is_some();
    say(&match args.json {
        true => render_json(&proven, is_compared),
        false => render(&proven, is_compared),
    })?;
    Ok(Exit::Ok)
}

fn render(proven: &Proven, is_compared: bool) -> String {
    let Proven { leaf, checkpoint } = proven;
    let time = time_text(leaf.time, TimeDigits::Micros);
    let mut text = format!(
        "proven: entry {} of {}, of {} that were signed\n  {}\n  {time}, epoch {}, digest {}\n",
        number(leaf.index),
        checkpoint.origin,
        number(checkpoint.size),
        event(leaf),
        leaf.epoch,
        leaf.digest
    );
    let (bytes, hash) = (count(leaf.payload_bytes, "byte"), hex(&leaf.payload_blake3));
    text += &format!("  payload of {bytes}, BLAKE3 {hash}\n");
    text += match is_compared {
        true => "  the file is the payload\n",
        false => "  not compared: the payload itself (--block-file)\n",
    };
    text
}

fn render_json(proven: &Proven, is_compared: bool) -> String {
    let Proven { leaf, checkpoint } = proven;
    let is_block = matches!(leaf.kind, Kind::BlockCommitted | Kind::BlockProven | Kind::RolledBack);
    let object = json!({
        "origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.to_string(),
        "index": leaf.index, "digest": leaf.digest.to_string(), "epoch": leaf.epoch,
        "time_us": leaf.time.as_micros(), "kind": leaf.kind.as_str(),
        "height": is_block.then_some(leaf.height), "hash": is_block.then(|| hex(&leaf.label)),
        "payload_bytes": leaf.payload_bytes, "payload_blake3": hex(&leaf.payload_blake3),
        "payload_compared": is_compared,
    });
    format!("{object}\n")
}

fn event(leaf: &Leaf) -> String {
    let kind = leaf.kind.as_str();
    match leaf.kind {
        Kind::BlockCommitted | Kind::BlockProven | Kind::RolledBack => {
            format!("{kind}, height {}, hash {}", number(leaf.height), hex(&leaf.label))
        }
        Kind::EpochStarted | Kind::Marked => {
            format!("{kind}, {:?}", String::from_utf8_lossy(&leaf.label))
        }
        Kind::TransactionValidated | Kind::StateRecorded => format!("{kind}, {}", hex(&leaf.label)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
