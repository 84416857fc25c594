//! Verifying all entries of a range, and what is said about them elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tipline_backup::{RestoreError, Sources};
use tipline_log::{Forged, error_chain};
use tipline_proto::{Cursor, Digest, Entry, LogIdentity, Position};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{AuditError, Problem};
use crate::replay::{Range, Replay, replay};
use crate::tree::{SignedTree, TreeCheck};

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
    /// Height up to which every block of the history has its proof; `None` if there is none, or it is not
    /// known: whether blocks from before the range have theirs.
    pub proof_tip: Option<u64>,
    /// How many entries of which kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Payload bytes.
    pub bytes: u64,
    /// How many claims of others about the verified entries were compared: receipts, the primary's
    /// announcement, an archive's own cursor.
    pub claims: u64,
    /// How many entries the named key signed, if the tree beside the archive was found to be that of the
    /// entries; `None` if no key was named, or nothing is signed, or not all of it was compared.
    pub signed: Option<u64>,
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
/// `proven_to` also that every block up to that height has its proof. With `signed` also that the tree
/// beside the archive, if there is one, is that of the entries. If a key is named there, there must be one,
/// and it must be compared if all that is held is.
///
/// # Errors
/// Those of [`replay`]. What is wrong with the entries is no error: it is in the report.
pub async fn verify_entries(
    sources: Arc<Sources>,
    log: &LogIdentity,
    range: Range,
    proven_to: Option<u64>,
    signed: Option<&SignedTree>,
    progress: &watch::Sender<VerifyProgress>,
    stop: CancellationToken,
) -> Result<VerifyReport, AuditError> {
    let began = Instant::now();
    // What is claimed, and what is signed, is there by the time it is looked what entries there are.
    let mut claims = Claims::read(&sources).await?;
    let mut tree = match signed {
        Some(signed) => TreeCheck::start(signed).await?,
        None => None,
    };
    let mut replay = match replay(Arc::clone(&sources), log, range, stop).await {
        Err(AuditError::Source(RestoreError::NotFound { .. })) if claims.is_any() => {
            claims.compare_tail(0);
            return Err(Problem::Damaged(claims.problems.join("; ")).into());
        }
        replay => replay?,
    };
    claims.compare_trusted(replay.trusted());
    if let (Some(tree), Some(trusted)) = (&mut tree, replay.trusted()) {
        tree.begin_after(trusted).await?;
    }
    let (from, to) = replay.range();
    let mut seen = Seen::default();
    let mut done = VerifyProgress { of: to + 1 - from, ..VerifyProgress::default() };
    while let Some(entries) = replay.next().await? {
        for entry in &entries {
            seen.add(entry);
            claims.compare(entry);
            if let Some(tree) = &mut tree {
                tree.add(entry).await?;
            }
        }
        (done.done, done.bytes) = (seen.count(), seen.bytes);
        progress.send_replace(done);
    }
    if let Some(tree) = &mut tree {
        tree.finish().await?;
    }
    let mut problems: Vec<String> = replay.problem().map(|p| error_chain(p)).into_iter().collect();
    problems.extend(replay.read().corrupt.iter().cloned());
    if problems.is_empty() {
        claims.compare_archives(&sources, &replay).await?;
        problems.extend(proven_to.and_then(|asked| unproven(&replay, log, asked)));
    }
    if range.to.is_none() {
        claims.compare_tail(replay.held().last);
    }
    problems.append(&mut claims.problems);
    let is_all = problems.is_empty() && range == Range::default();
    problems.extend(match (&tree, signed) {
        (Some(tree), _) => {
            let wrong = tree.problem(replay.held().last);
            wrong.or_else(|| tree.not_compared().filter(|_| is_all))
        }
        (None, signed) => signed.and_then(SignedTree::not_signed),
    });
    let report = Report { replay: &replay, seen, claims: &claims, tree };
    Ok(report.finish(problems, log, range, began.elapsed().as_secs_f64()))
}

/// Why it is not known that every block up to a height has its proof. Of blocks from before the range
/// no proof was looked at.
fn unproven(replay: &Replay, log: &LogIdentity, asked: u64) -> Option<String> {
    let (found, lowest) = (replay.cursor().proof_tip, replay.lowest_block());
    let is_missing = found.is_none_or(|tip| tip < asked);
    if is_proof_tip_known(replay, log) {
        return is_missing.then(|| Problem::Unproven { asked, found }.to_string());
    }
    match lowest {
        Some(lowest) if lowest <= asked => is_missing.then(|| {
            let first = found.map_or(lowest, |tip| tip.saturating_add(1));
            format!("block {first} has no proof, and all up to {asked} should have theirs")
        }),
        _ if !is_missing && asked < log.chain.proofs_from.height() => None,
        lowest => {
            let below = lowest.map_or(String::new(), |lowest| format!(" below {lowest}"));
            Some(format!(
                "whether block {asked} has its proof is not known: no block{below} was read"
            ))
        }
    }
}

/// Whether no proof is needed of a block from before the range. The proof tip counts from its first block
/// otherwise, and is not that of the history.
fn is_proof_tip_known(replay: &Replay, log: &LogIdentity) -> bool {
    let needed = log.chain.proofs_from.height();
    replay.trusted().is_none() || replay.lowest_block().is_some_and(|lowest| lowest <= needed)
}

/// What went by.
#[derive(Debug, Default)]
struct Seen {
    kinds: BTreeMap<&'static str, u64>,
    first: Option<u64>,
    bytes: u64,
}

impl Seen {
    fn add(&mut self, entry: &Entry) {
        self.first.get_or_insert(entry.index);
        *self.kinds.entry(entry.event.kind().as_str()).or_default() += 1;
        self.bytes += entry.event.payload().len() as u64;
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
    /// How many there are that cannot be read.
    unreadable: usize,
    /// Whether an announcement must be signed, and there is none that counts.
    is_unannounced: bool,
    /// Who has the digest that is taken on trust.
    confirmed: Vec<String>,
    compared: u64,
    problems: Vec<String>,
}

impl Claims {
    /// Only a log has others beside it.
    async fn read(sources: &Sources) -> Result<Self, AuditError> {
        let mut claims = Self::default();
        let Some(log) = &sources.log else { return Ok(claims) };
        let board = log.board().await.map_err(RestoreError::from)?;
        claims.unreadable = board.unreadable.len();
        claims.is_unannounced = sources.trust.requires_history() && board.primary.is_none();
        // What does not count may have said that there is more.
        for Forged { consumer, why } in &board.forged {
            let what = match consumer {
                Some(name) => format!("the receipt of {name}"),
                None => "the announcement of the primary".to_owned(),
            };
            claims.problems.push(format!("{what} does not count: {why}"));
        }
        for receipt in board.receipts.iter().filter(|one| one.lineage == log.identity().lineage) {
            let who = format!("the receipt of {}", receipt.consumer);
            receipt.reached.positions().for_each(|position| claims.add(&who, position));
        }
        if let Some(primary) = &board.primary {
            claims.announced = Some(primary.tail.index);
            claims.add("the announcement of the primary", primary.tail);
        }
        Ok(claims)
    }

    /// Whether anybody says that there are entries, or seems to.
    fn is_any(&self) -> bool {
        !self.digests.is_empty() || !self.problems.is_empty()
    }

    /// The origin is no entry.
    fn add(&mut self, who: &str, Position { index, digest }: Position) {
        if index > 0 {
            self.digests.entry(index).or_default().push((who.to_owned(), digest));
        }
    }

    fn compare(&mut self, entry: &Entry) {
        self.compare_at(entry.position());
    }

    /// What others say of the entry that is taken on trust makes it more than that.
    fn compare_trusted(&mut self, trusted: Option<Position>) {
        self.confirmed = trusted.map(|trusted| self.compare_at(trusted)).unwrap_or_default();
    }

    /// Gives those who say the same.
    fn compare_at(&mut self, found: Position) -> Vec<String> {
        let mut same = Vec::new();
        let Position { index, digest: found } = found;
        for (who, digest) in self.digests.remove(&index).unwrap_or_default() {
            self.compared += 1;
            if digest == found {
                same.push(who);
            } else {
                let text =
                    format!("{who} has digest {digest} at entry {index}, the entry has {found}");
                self.problems.push(text);
            }
        }
        same
    }

    /// How many were not compared: of entries that were not read.
    fn left(&self) -> usize {
        self.digests.values().map(Vec::len).sum()
    }

    /// A log that ends before what the primary knows to be in it has lost it, or withholds it.
    fn compare_tail(&mut self, last: u64) {
        let end = match last {
            0 => "the log has no entries".to_owned(),
            _ => format!("the log ends with entry {last}"),
        };
        if let Some(announced) = self.announced.filter(|announced| *announced > last) {
            self.problems.push(format!(
                "{end}, but the primary announced entry {announced}: it was lost, or is withheld"
            ));
        }
        let beyond: Vec<u64> = self.digests.keys().copied().filter(|index| *index > last).collect();
        for index in beyond {
            for (who, _) in self.digests.remove(&index).unwrap_or_default() {
                if Some(index) != self.announced {
                    self.problems.push(format!("{who} is for entry {index}, but {end}"));
                }
            }
        }
    }

    /// A restore goes on from what the newest segment says.
    async fn compare_archives(
        &mut self,
        sources: &Sources,
        replay: &Replay,
    ) -> Result<(), AuditError> {
        let found = replay.cursor();
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
    seen: Seen,
    claims: &'a Claims,
    tree: Option<TreeCheck<'a>>,
}

impl Report<'_> {
    fn finish(
        self,
        problems: Vec<String>,
        log: &LogIdentity,
        range: Range,
        seconds: f64,
    ) -> VerifyReport {
        let mut not_verified = self.not_verified(log, range);
        let held = self.replay.held().last;
        let of_tree = self.tree.as_ref().map(|tree| tree.not_verified(held));
        not_verified.extend(of_tree.unwrap_or_default());
        let Self { replay, seen, claims, tree } = self;
        let cursor = replay.cursor();
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
            proof_tip: cursor.proof_tip.filter(|_| is_proof_tip_known(replay, log)),
            kinds: seen.kinds,
            bytes: seen.bytes,
            claims: claims.compared,
            signed: tree.and_then(|tree| tree.signed()),
            problems,
            not_verified,
            seconds,
        }
    }

    /// What nobody may take this for.
    fn not_verified(&self, log: &LogIdentity, range: Range) -> Vec<String> {
        let (replay, cursor) = (self.replay, self.replay.cursor());
        let last = cursor.position.index;
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
            let confirmed = match &*self.claims.confirmed {
                [] => String::new(),
                who => format!("; {} has the same", who.join(", ")),
            };
            let index = trusted.index;
            left_out.push(format!("entry {index}: its digest is taken on trust{confirmed}"));
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
        let (unreadable, left) = (self.claims.unreadable, self.claims.left());
        if unreadable > 0 {
            left_out.push(format!("claims of others that cannot be read: {unreadable}"));
        }
        if self.claims.is_unannounced && range.to.is_none() {
            let why = "no announcement is there that a trusted primary has signed";
            left_out.push(format!("whether entries after {} are withheld: {why}", held.last));
        }
        if left > 0 {
            left_out.push(format!("claims of others about entries that were not read: {left}"));
        }
        match replay.lowest_block() {
            _ if is_proof_tip_known(replay, log) => {}
            Some(lowest) => {
                left_out.push(format!("proofs of blocks below {lowest}: they are before the range"))
            }
            None => left_out.push("proofs: no block was read".to_owned()),
        }
        let tip = cursor.block_tip.as_ref().map_or(0, |tip| tip.height);
        if let Some(proven) = cursor.proof_tip.filter(|proven| *proven < tip) {
            left_out.push(format!("proofs of blocks {} to {tip}: not all are there", proven + 1));
        }
        let unread = held.segments.saturating_sub(replay.read().segments);
        if unread > 0 && replay.problem().is_none() {
            // What is before the range was not even listed.
            let least = if replay.range().0 > held.first { "at least " } else { "" };
            left_out.push(format!(
                "{least}{unread} other segments, outside the range or with the same entries: they were not read"
            ));
        }
        left_out
    }
}
