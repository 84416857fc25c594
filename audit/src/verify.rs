//! Verifying all entries of a range, and what is said about them elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tipline_backup::Sources;
use tipline_log::error_chain;
use tipline_proto::{Cursor, Digest, Entry, Event, LogIdentity};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{AuditError, Problem};
use crate::replay::{Range, Replay, replay};

/// How far a verification is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyProgress {
    /// How many entries were verified.
    pub done: u64,
    /// Of how many.
    pub of: u64,
    /// Payload bytes of those that were verified.
    pub bytes: u64,
}

/// What was verified, and what was not.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// Where the entries are.
    pub place: String,
    /// Name of the chain.
    pub chain: String,
    /// Lineage of the log.
    pub lineage: String,
    /// Whether all of the range was verified, and nothing is wrong.
    pub ok: bool,
    /// Index of the first and the last entry that was asked for.
    pub asked: (u64, u64),
    /// Index of the first and the last entry that was verified; `None` if none was.
    pub verified: Option<(u64, u64)>,
    /// Digest of the last verified entry.
    pub digest: Option<String>,
    /// Index of the entry whose digest was taken on trust; `None` if the log's origin was computed.
    pub trusted: Option<u64>,
    /// Epoch of the last verified entry.
    pub epoch: u64,
    /// Height of the newest block.
    pub block_tip: Option<u64>,
    /// Height up to which every block of the range has its proof.
    pub proof_tip: Option<u64>,
    /// How many entries of which kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Payload bytes.
    pub bytes: u64,
    /// How many claims of others about the verified entries were compared: receipts, the primary's
    /// announcement, an archive's own cursor.
    pub claims: u64,
    /// What is wrong.
    pub problems: Vec<String>,
    /// What was not verified.
    pub not_verified: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Verifies the entries of one place: a log, or an archive.
///
/// Every digest and every link, that epochs rise, that no entry is missing and none is there twice;
/// then that the primary, the consumers and the archive's segments say the same as the entries. With
/// `proven_to` also that every block up to that height has its proof.
///
/// # Errors
/// Those of [`replay`]. What is wrong with the entries is no error: it is in the report.
pub async fn verify_entries(
    sources: Arc<Sources>,
    log: &LogIdentity,
    range: Range,
    proven_to: Option<u64>,
    progress: &watch::Sender<VerifyProgress>,
    stop: CancellationToken,
) -> Result<VerifyReport, AuditError> {
    let began = Instant::now();
    // What is claimed is there by the time the entries are read.
    let mut claims = Claims::read(&sources).await?;
    let mut replay = replay(Arc::clone(&sources), log, range, stop).await?;
    let (from, to) = replay.range();
    let mut seen = Seen::default();
    let mut done = VerifyProgress { of: to + 1 - from, ..VerifyProgress::default() };
    while let Some(entries) = replay.next().await? {
        for entry in &entries {
            seen.add(entry);
            claims.compare(entry);
        }
        (done.done, done.bytes) = (seen.count(), seen.bytes);
        progress.send_replace(done);
    }
    let cursor = replay.cursor()?;
    let mut problems: Vec<String> = replay.problem().map(|p| error_chain(p)).into_iter().collect();
    problems.extend(replay.read().corrupt.iter().cloned());
    if problems.is_empty() {
        claims.compare_archives(&sources, &replay, &cursor).await?;
        if let Some(asked) =
            proven_to.filter(|asked| cursor.proof_tip.is_none_or(|tip| tip < *asked))
        {
            problems.push(Problem::Unproven { asked, found: cursor.proof_tip }.to_string());
        }
    }
    if range.to.is_none() {
        claims.compare_tail(replay.held().last);
    }
    problems.append(&mut claims.problems);
    let report = Report { replay: &replay, cursor: &cursor, seen, claims: claims.compared };
    Ok(report.finish(problems, log, range, began.elapsed().as_secs_f64()))
}

/// What went by.
#[derive(Debug, Default)]
struct Seen {
    kinds: BTreeMap<&'static str, u64>,
    first: Option<u64>,
    bytes: u64,
    first_block: Option<u64>,
}

impl Seen {
    fn add(&mut self, entry: &Entry) {
        self.first.get_or_insert(entry.index);
        *self.kinds.entry(entry.event.kind().as_str()).or_default() += 1;
        self.bytes += entry.event.payload().len() as u64;
        if let Event::BlockCommitted { height, .. } = &entry.event {
            self.first_block.get_or_insert(*height);
        }
    }

    fn count(&self) -> u64 {
        self.kinds.values().sum()
    }
}

/// What others say about the entries.
#[derive(Debug, Default)]
struct Claims {
    /// Who says which digest, by index.
    digests: BTreeMap<u64, Vec<(String, Digest)>>,
    /// The newest entry that the primary announced.
    announced: Option<u64>,
    compared: u64,
    problems: Vec<String>,
}

impl Claims {
    /// Only a log has others beside it.
    async fn read(sources: &Sources) -> Result<Self, AuditError> {
        let mut claims = Self::default();
        let Some(log) = &sources.log else { return Ok(claims) };
        let board = log.board().await.map_err(tipline_backup::RestoreError::from)?;
        for receipt in board.receipts.iter().filter(|one| one.lineage == log.identity().lineage) {
            let who = format!("the receipt of {}", receipt.consumer);
            for position in receipt.reached.positions() {
                claims
                    .digests
                    .entry(position.index)
                    .or_default()
                    .push((who.clone(), position.digest));
            }
        }
        if let Some(primary) = &board.primary {
            claims.announced = Some(primary.tail.index);
            let who = "the announcement of the primary".to_owned();
            claims.digests.entry(primary.tail.index).or_default().push((who, primary.tail.digest));
        }
        Ok(claims)
    }

    fn compare(&mut self, entry: &Entry) {
        let Some(claimed) = self.digests.remove(&entry.index) else { return };
        for (who, digest) in claimed {
            self.compared += 1;
            if digest != entry.digest {
                let (index, found) = (entry.index, entry.digest);
                let text =
                    format!("{who} has digest {digest} at entry {index}, the entry has {found}");
                self.problems.push(text);
            }
        }
    }

    /// A log that ends before what the primary knows to be in it has lost it, or withholds it.
    fn compare_tail(&mut self, last: u64) {
        if let Some(announced) = self.announced.filter(|announced| *announced > last) {
            self.problems.push(format!(
                "the log ends with entry {last}, but the primary announced entry {announced}: it was lost, or is withheld"
            ));
        }
        let beyond: Vec<u64> = self.digests.keys().copied().filter(|index| *index > last).collect();
        for index in beyond {
            for (who, _) in self.digests.remove(&index).unwrap_or_default() {
                if Some(index) != self.announced {
                    let text =
                        format!("{who} is for entry {index}, but the log ends with entry {last}");
                    self.problems.push(text);
                }
            }
        }
    }

    /// A restore goes on from what the newest segment says.
    async fn compare_archives(
        &mut self,
        sources: &Sources,
        replay: &Replay,
        found: &Cursor,
    ) -> Result<(), AuditError> {
        if found.position.index != replay.held().last || replay.trusted().is_some() {
            return Ok(());
        }
        for archive in &sources.archives {
            let said = archive.cursor().await?;
            if said.position.index != found.position.index {
                continue;
            }
            self.compared += 1;
            if said != *found {
                let text = format!(
                    "the newest segment says that the log is at {} then, its entries give {}",
                    shown(&said),
                    shown(found)
                );
                self.problems.push(text);
            }
        }
        Ok(())
    }
}

fn shown(cursor: &Cursor) -> String {
    let height =
        |height: Option<u64>| height.map_or("none".to_owned(), |height| height.to_string());
    let Cursor { position, epoch, block_tip, proof_tip } = cursor;
    let tip = height(block_tip.as_ref().map(|tip| tip.height));
    format!("{position}, epoch {epoch}, block tip {tip}, proof tip {}", height(*proof_tip))
}

struct Report<'a> {
    replay: &'a Replay,
    cursor: &'a Cursor,
    seen: Seen,
    claims: u64,
}

impl Report<'_> {
    fn finish(
        self,
        problems: Vec<String>,
        log: &LogIdentity,
        range: Range,
        seconds: f64,
    ) -> VerifyReport {
        let not_verified = self.not_verified(range);
        let Self { replay, cursor, seen, claims } = self;
        let last = cursor.position.index;
        let (from, to) = replay.range();
        let asked = (from, range.to.unwrap_or(replay.held().last).max(to));
        let verified = seen.first.map(|first| (first, last));
        VerifyReport {
            place: replay.place().to_owned(),
            chain: log.chain.name.as_str().to_owned(),
            lineage: log.lineage.to_string(),
            ok: problems.is_empty() && last == asked.1,
            asked,
            verified,
            digest: verified.map(|_| cursor.position.digest.to_string()),
            trusted: replay.trusted().map(|position| position.index),
            epoch: cursor.epoch,
            block_tip: cursor.block_tip.as_ref().map(|tip| tip.height),
            proof_tip: cursor.proof_tip,
            kinds: seen.kinds,
            bytes: seen.bytes,
            claims,
            problems,
            not_verified,
            seconds,
        }
    }

    /// What nobody may take this for.
    fn not_verified(&self, range: Range) -> Vec<String> {
        let (replay, last) = (self.replay, self.cursor.position.index);
        let (held, (from, to)) = (replay.held(), replay.range());
        let mut left_out = Vec::new();
        let mut span = |first: u64, last: u64, why: &str| {
            if first <= last {
                left_out.push(format!("entries {first} to {last}: {why}"));
            }
        };
        span(1, held.first - 1, "they are not held");
        span(held.first, from - 1, "before the range");
        let asked = range.to.unwrap_or(held.last);
        span(last + 1, asked.max(to), "after what is wrong");
        span(asked + 1, held.last, "after the range");
        if let Some(trusted) = replay.trusted() {
            left_out.push(format!("entry {}: its digest is taken on trust", trusted.index));
        }
        if replay.unchecked() > 0 {
            let count = replay.unchecked();
            left_out
                .push(format!("links of {count} proofs and rollbacks to blocks before the range"));
        }
        if replay.void() > 0 {
            left_out.push(format!(
                "{} void entries of a primary that had been fenced off",
                replay.void()
            ));
        }
        let tip = self.cursor.block_tip.as_ref().map_or(0, |tip| tip.height);
        if let Some(proven) = self.cursor.proof_tip.filter(|proven| *proven < tip) {
            left_out.push(format!("proofs of blocks {} to {tip}: not all are there", proven + 1));
        }
        let unread = held.segments.saturating_sub(replay.read().segments);
        if unread > 0 && replay.problem().is_none() {
            left_out.push(format!(
                "{unread} other segments that hold the same entries: they were not read"
            ));
        }
        left_out
    }
}
