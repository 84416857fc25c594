//! `tipline audit check`

use std::path::PathBuf;

use clap::ArgGroup;
use serde_json::json;
use tipline_audit::AuditError;
use tipline_audit::tlog::{Certificate, Policy, SeenBy, VerifierKey};
use tipline_audit::tree::{Leaf, Proven, TreeError, check_proof, check_proof_by};
use tipline_backup::{TimeDigits, time_text};
use tipline_ops::text::{count, number};
use tipline_proto::Kind;

use super::certify;
use super::kind::OneKind;
use super::read::read;
use crate::address::TypedHash;
use crate::exit::Exit;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;

/// What the first line of a certificate begins with.
const CERTIFICATE: &str = "tipline certificate";
/// A larger file is no proof.
const MAX_BYTES: u64 = 1 << 20;

/// Options of `tipline audit check`.
#[derive(Debug, clap::Args)]
// One that names both, for whoever gives neither.
#[command(group(ArgGroup::new("by").required(true).multiple(true).args(["key", "policy"])))]
#[command(after_help = "\
Examples:
  tipline audit check 812000.tlog-proof --key logs.example.org/mainnet/4f1c…+5d7f7d9e+AZ… --block 812000
  tipline audit check 812000.tlog-proof --key log… --block 812000 --block-file block_000c63e0.dat
  tipline audit check 812000.tlog-proof --policy mainnet.policy --hash 00000000000000000002…
  tipline audit check today.certificate --policy mainnet.policy

It needs no network, no archive and no trust in who gave you the proof: only the log's public key,
which `tipline keys show` prints for whoever signs. It says that the entry is in the history that this
key signed, whichever entry that is; with --block or --hash, that it is the commit of that block, or
what else --kind says of it; with --block-file also that the file is what the entry carries, byte for byte. With --policy also that
those whom the policy names have cosigned that history. A certificate, from tipline audit certify, is
checked with the policy alone. Exit code 13 if anything of that is not so.")]
pub(super) struct CheckArgs {
    /// The proof, from tipline audit prove, or the certificate, from tipline audit certify
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The log's public key: NAME+ID+KEY
    #[arg(long, value_name = "KEY", value_parser = Parsed::<VerifierKey>::new())]
    key: Option<VerifierKey>,

    /// File with the policy: which log, who cosigns, how many of them (c2sp.org/tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Kind of the entry that is to be proven, as block_proven; with --block or --hash by default
    /// block_committed
    #[arg(long, value_name = "KIND", value_parser = Parsed::<OneKind>::new())]
    kind: Option<OneKind>,

    /// Height of the block that is to be proven
    #[arg(long, value_name = "HEIGHT")]
    block: Option<u64>,

    /// Hash of the block that is to be proven, in hex
    #[arg(long, value_name = "HEX", value_parser = Parsed::<TypedHash>::new())]
    hash: Option<TypedHash>,

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
    let policy = args.policy.as_deref().map(certify::policy_text).transpose()?;
    if text.starts_with(CERTIFICATE) {
        return certificate(args, &text, policy.as_deref());
    }
    let (proven, cosigned) = proven(args, &text, policy)?;
    if !is_wanted(args, &proven.leaf) {
        let (index, event) = (proven.leaf.index, event(&proven.leaf));
        let text = format!(
            "it proves entry {index}, {event}, which is in the history, and not what was asked for: {}",
            wanted(args)
        );
        return Err(Failure::from(Sentence(text)).ending(Exit::Corrupt));
    }
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
        true => render_json(&proven, &cosigned, is_compared),
        false => render(&proven, &cosigned, is_compared),
    })?;
    Ok(Exit::Ok)
}

/// The kind of entry that is asked for, if any.
fn wanted_kind(args: &CheckArgs) -> Option<Kind> {
    let of_block = args.block.is_some() || args.hash.is_some();
    args.kind.map(|OneKind(kind)| kind).or(of_block.then_some(Kind::BlockCommitted))
}

/// Whether the entry is the one that is asked for.
fn is_wanted(args: &CheckArgs, leaf: &Leaf) -> bool {
    let is_hash = |TypedHash(hash): &TypedHash| {
        leaf.label == hash.as_ref() || leaf.label == hash.reversed().as_ref()
    };
    let of_block = is_of_block(leaf.kind);
    wanted_kind(args).is_none_or(|kind| leaf.kind == kind)
        && args.block.is_none_or(|height| of_block && leaf.height == height)
        && args.hash.as_ref().is_none_or(|hash| of_block && is_hash(hash))
}

/// What is asked for, in words.
fn wanted(args: &CheckArgs) -> String {
    let kind = wanted_kind(args).map(|kind| kind.as_str().to_owned());
    let height = args.block.map(|height| format!("height {}", number(height)));
    let hash = args.hash.as_ref().map(|TypedHash(hash)| format!("hash {hash}"));
    kind.into_iter().chain(height).chain(hash).collect::<Vec<_>>().join(", ")
}

fn is_of_block(kind: Kind) -> bool {
    matches!(kind, Kind::BlockCommitted | Kind::BlockProven | Kind::RolledBack)
}

/// By the policy, if there is one; then the log may be known by its key alone.
fn proven(
    args: &CheckArgs,
    text: &str,
    policy: Option<String>,
) -> Result<(Proven, Vec<SeenBy>), Failure> {
    // It was read once already.
    let policy = policy.and_then(|text| text.parse::<Policy>().ok());
    let checked = match (policy, &args.key) {
        (Some(policy), key) => {
            let policy = key.iter().fold(policy, |policy, key| policy.or_log(key));
            let is_other = |key: &VerifierKey| !policy.logs().contains(key);
            if let Some(key) = key.as_ref().filter(|key| is_other(key)) {
                let text = format!("the policy does not name the log {}", key.name());
                return Err(Sentence(text).into());
            }
            check_proof_by(text, &policy).map(|(proven, accepted)| (proven, accepted.cosigned))
        }
        (None, Some(key)) => check_proof(text, key).map(|proven| (proven, Vec::new())),
        // The command line has refused that.
        (None, None) => return Err(Sentence("give --key or --policy".to_owned()).into()),
    };
    checked.map_err(|error| {
        // Nobody waits for a proof to be cosigned.
        let is_refused = matches!(error, TreeError::NotAccepted { .. });
        let failure = Failure::from(AuditError::from(error));
        if is_refused { failure.ending(Exit::Corrupt) } else { failure }
    })
}

fn certificate(args: &CheckArgs, text: &str, policy: Option<&str>) -> Result<Exit, Failure> {
    let Some(policy) = policy else {
        let text = "a certificate is checked by the policy that you trust: give --policy";
        return Err(Sentence(text.to_owned()).into());
    };
    if args.block_file.is_some() || wanted_kind(args).is_some() {
        let text = "--kind, --block, --hash and --block-file are for a proof";
        return Err(Sentence(text.to_owned()).into());
    }
    let certificate = certify::check(text, policy)?;
    say(&match args.json {
        true => certificate_json(&certificate),
        false => certificate_text(&certificate),
    })?;
    Ok(Exit::Ok)
}

fn certificate_text(certificate: &Certificate) -> String {
    let checkpoint = certificate.checkpoint();
    let size = number(checkpoint.size);
    let mut text = format!(
        "certified: entries 1 to {size} of {}\n  root {}\n",
        checkpoint.origin, checkpoint.root
    );
    for by in certificate.durable() {
        text += &format!("  durable: {} ({}), {}\n", by.name, by.key.name(), by.time());
    }
    for by in certificate.seen() {
        text += &format!("  seen: {} ({}), {}\n", by.name, by.key.name(), by.time());
    }
    text
}

fn certificate_json(certificate: &Certificate) -> String {
    let checkpoint = certificate.checkpoint();
    let all = |seen: &mut dyn Iterator<Item = &SeenBy>| seen.map(cosigner_json).collect::<Vec<_>>();
    let object = json!({
        "origin": checkpoint.origin, "first": 1, "last": checkpoint.size,
        "root": checkpoint.root.to_string(),
        "durable": all(&mut certificate.durable()), "seen": all(&mut certificate.seen()),
    });
    format!("{object}\n")
}

fn cosigner_json(by: &SeenBy) -> serde_json::Value {
    json!({ "name": by.name, "key": by.key.to_string(), "time_s": by.seconds })
}

fn render(proven: &Proven, cosigned: &[SeenBy], is_compared: bool) -> String {
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
    for by in cosigned {
        text += &format!("  cosigned: {} ({}), {}\n", by.name, by.key.name(), by.time());
    }
    text += match is_compared {
        true => "  the file is the payload\n",
        false => "  not compared: the payload itself (--block-file)\n",
    };
    text
}

fn render_json(proven: &Proven, cosigned: &[SeenBy], is_compared: bool) -> String {
    let Proven { leaf, checkpoint } = proven;
    let is_block = is_of_block(leaf.kind);
    let object = json!({
        "origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.to_string(),
        "index": leaf.index, "digest": leaf.digest.to_string(), "epoch": leaf.epoch,
        "time_us": leaf.time.as_micros(), "kind": leaf.kind.as_str(),
        "height": is_block.then_some(leaf.height), "hash": is_block.then(|| hex(&leaf.label)),
        "payload_bytes": leaf.payload_bytes, "payload_blake3": hex(&leaf.payload_blake3),
        "payload_compared": is_compared,
        "cosigned": cosigned.iter().map(cosigner_json).collect::<Vec<_>>(),
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
