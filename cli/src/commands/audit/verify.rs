//! `tipline audit verify`

use std::time::Duration;

use indicatif::HumanBytes;
use tipline_audit::tlog::VerifierKey;
use tipline_audit::tree::{SignedTree, TreePlace};
use tipline_audit::{
    AuditError, ContentReport, VerifyProgress, VerifyReport, verify_entries, verify_parts,
};
use tipline_backup::{Destination, RestoreError};
use tipline_ops::text::{age, count, number};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::RangeArgs;
use super::progress::shown;
use crate::address::Audited;
use crate::exit::Exit;
use crate::open::audited::{Content, Entries, Opened};
use crate::options::{AuditedArgs, Shared};
use crate::output::escape::line;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit verify   # the log of --log
  tipline audit verify s3://backup/mainnet --proven-to 812000
  tipline audit verify dir:/backup --from 500000 --json
  tipline audit verify dir:/backup --key logs.example.org/mainnet/4f1c…+5d7f7d9e+AZ…
  tipline audit verify dir:/backup@latest   # a checkpoint
  tipline audit verify sqlite:replica.db   # a store, with nothing writing to it

The result says which entries were verified, and what was not. An entry that is corrupt in one
segment and whole in another is a finding, too. A store has no entries: what is said of it is that it
contradicts itself nowhere; `tipline audit diff` compares it with entries. If the archive's history
was signed, the tree is compared, too; with --key it must be signed, and by that key.
Exit code 13 if anything is wrong, 12 if the entries asked for are not held.")]
pub(super) struct VerifyArgs {
    /// What to verify
    #[arg(value_name = "SOURCE", default_value = "log", value_parser = Parsed::<Audited>::new())]
    source: Audited,

    #[command(flatten)]
    range: RangeArgs,

    /// Every block up to this height must have its proof
    #[arg(long, value_name = "HEIGHT")]
    proven_to: Option<u64>,

    /// The public key that must have signed the archive's history: NAME+ID+KEY
    #[arg(long, value_name = "KEY", value_parser = Parsed::<VerifierKey>::new())]
    key: Option<VerifierKey>,

    #[command(flatten)]
    opening: AuditedArgs,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(shared: &Shared, args: VerifyArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    match args.opening.open(shared, &args.source, &stop).await? {
        Opened::Entries(entries) => verify(entries, args, stop).await,
        Opened::Content(content) => check(content, args, stop).await,
    }
}

async fn verify(
    entries: Entries,
    args: VerifyArgs,
    stop: CancellationToken,
) -> Result<Exit, Failure> {
    let (sender, receiver) = watch::channel(VerifyProgress::default());
    let Entries { sources, identity } = entries;
    let (range, proven_to) = (args.range.into(), args.proven_to);
    let signed = match &args.source {
        Audited::Archive(address) => {
            let destination = Destination::open(address).map_err(RestoreError::from)?;
            Some(SignedTree { place: TreePlace::new(&destination, &identity), key: args.key })
        }
        _ if args.key.is_some() => return Err(no_tree()),
        _ => None,
    };
    let signed = signed.as_ref();
    let work = verify_entries(sources, &identity, range, proven_to, signed, &sender, stop);
    let report = shown("verifying", receiver, work).await?;
    let text = match args.json {
        true => serde_json::to_string(&report)? + "\n",
        false => render(&report),
    };
    say(&text)?;
    Ok(if report.ok { Exit::Ok } else { Exit::Corrupt })
}

fn no_tree() -> Failure {
    Sentence("--key is for an archive, whose history can be signed".to_owned()).into()
}

async fn check(
    content: Content,
    args: VerifyArgs,
    stop: CancellationToken,
) -> Result<Exit, Failure> {
    if args.range.from.is_some() || args.range.to.is_some() {
        let text = format!("{} has no entries, so --from and --to say nothing there", content.name);
        return Err(Sentence(text).into());
    }
    if args.key.is_some() {
        return Err(no_tree());
    }
    let mut report = tokio::task::spawn_blocking(move || {
        let proceed =
            || if stop.is_cancelled() { Err(AuditError::Cancelled { at: 0 }) } else { Ok(()) };
        let Content { name, parts, unread, expected, .. } = &content;
        let proofs_from = content.proofs_from();
        let mut report = verify_parts(name, parts, proofs_from, expected.as_ref(), proceed)?;
        let unread = unread.iter().map(|part| format!("{part}: this program cannot read it"));
        report.not_verified.extend(unread);
        Ok::<_, AuditError>(report)
    })
    .await??;
    if let Some(asked) =
        args.proven_to.filter(|asked| report.proof_tip.is_none_or(|tip| tip < *asked))
    {
        let found = report.proof_tip;
        report.problems.push(tipline_audit::Problem::Unproven { asked, found }.to_string());
        report.ok = false;
    }
    let text = match args.json {
        true => serde_json::to_string(&report)? + "\n",
        false => render_content(&report),
    };
    say(&text)?;
    Ok(if report.ok { Exit::Ok } else { Exit::Corrupt })
}

fn render(report: &VerifyReport) -> String {
    let VerifyReport { ok, place, verified, asked, chain, lineage, .. } = report;
    let verdict = if *ok { "verified" } else { "NOT verified" };
    // What was taken on trust is not verified, although it was asked for.
    let (from, to) = verified.filter(|_| *ok).unwrap_or(*asked);
    let (from, to) = (number(from), number(to));
    let took = age(Duration::from_secs_f64(report.seconds));
    let mut text = format!("{verdict}: entries {from} to {to} of {place}, {took}\n");
    text += &format!("  chain {chain:?}, lineage {lineage}\n");
    if let (Some((first, last)), Some(digest)) = (verified, &report.digest) {
        let (first, last) = (number(*first), number(*last));
        text += &format!(
            "  one unbroken history: entries {first} to {last}, epoch {}, digest {digest}\n",
            report.epoch
        );
    }
    // It may need proofs of blocks from before the range.
    let is_known = report.trusted.is_none() || report.proof_tip.is_some();
    let tips = tips(report.block_tip, report.proof_tip, is_known);
    text += &format!("  {tips}, {}\n", HumanBytes(report.bytes));
    let kinds = report.kinds.iter().map(|(kind, events)| format!("{} {kind}", number(*events)));
    let kinds: Vec<String> = kinds.collect();
    if !kinds.is_empty() {
        text += &format!("  {}\n", kinds.join(", "));
    }
    if let Some(signed) = report.signed.filter(|_| *ok) {
        text += &format!("  entries 1 to {} are signed\n", number(signed));
    }
    if report.claims > 0 {
        text += &format!("  compared with {} of others\n", count(report.claims, "claim"));
    }
    text + &ends(&report.not_verified, &report.problems)
}

fn render_content(report: &ContentReport) -> String {
    let ContentReport { ok, place, index, digest, .. } = report;
    let verdict = if *ok { "consistent" } else { "NOT consistent" };
    let mut text = format!("{verdict}: {place}, at entry {}, digest {digest}\n", number(*index));
    let tips = tips(report.block_tip, report.proof_tip, true);
    text += &format!("  {tips}, {}\n", HumanBytes(report.bytes));
    text += &format!(
        "  {}, {}, {}, {}, {}\n",
        count(report.blocks, "block"),
        count(report.proofs, "proof"),
        count(report.transactions, "transaction"),
        count(report.records, "record"),
        count(report.marks, "mark")
    );
    text + &ends(&report.not_verified, &report.problems)
}

fn tips(block: Option<u64>, proof: Option<u64>, is_proof_known: bool) -> String {
    let shown = |height: Option<u64>| height.map_or("none".to_owned(), number);
    let proof = if is_proof_known { shown(proof) } else { "not known".to_owned() };
    format!("block tip {}, proof tip {proof}", shown(block))
}

fn ends(not_verified: &[String], problems: &[String]) -> String {
    let left_out = not_verified.iter().map(|what| line(format_args!("  not verified: {what}")));
    left_out.chain(problems.iter().map(|what| line(format_args!("  wrong: {what}")))).collect()
}

#[cfg(test)]
mod tests;
