//! Whether a store contradicts itself. It keeps no entries, so more cannot be said of it alone.

use std::ops::ControlFlow;

use serde::Serialize;
use tipline_log::error_chain;
use tipline_proto::limits::MAX_APPLY_EVENTS;
use tipline_proto::{Cursor, Hash, HeightRanges, ProofsFrom, Tip};
use tipline_store::{StoreError, StoreReader, StoredBlock, StoredProof};

use crate::error::AuditError;
use crate::names::{each_mark, each_record, each_transaction};
use crate::problems::Problems;

/// What a store holds, and whether it fits together.
#[derive(Debug, Clone, Serialize)]
pub struct ContentReport {
    /// Where the store is.
    pub place: String,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Index of the entry up to which it is durable, as its cursor says.
    pub index: u64,
    /// Digest there, as its cursor says.
    pub digest: String,
    /// Height of the newest block.
    pub block_tip: Option<u64>,
    /// Height up to which every block has its proof.
    pub proof_tip: Option<u64>,
    /// How many blocks were read.
    pub blocks: u64,
    /// How many proofs.
    pub proofs: u64,
    /// How many transactions.
    pub transactions: u64,
    /// How many records.
    pub records: u64,
    /// How many marks.
    pub marks: u64,
    /// Payload bytes of all of them.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<String>,
    /// What was not verified.
    pub not_verified: Vec<String>,
}

/// Reads all of a store, or of a checkpoint of one. Blocks are linked by their parents, without a gap
/// from the first to the block tip of the cursor; every block up to the proof tip has its proof, which
/// names it, but for those that need none (`proofs_from`, of the log); no block, proof, transaction,
/// record or mark is from after the cursor. `proceed` is asked before each item. Blocks the thread.
///
/// `name` is what the report calls it. A checkpoint's manifest says what its cursor is `expected` to be.
///
/// # Errors
/// The store cannot be read, was never created for a log, or was applied to meanwhile; what
/// `proceed` gives. What is wrong with its content is no error: it is in the report.
pub fn verify_content(
    name: &str,
    reader: &dyn StoreReader,
    proofs_from: ProofsFrom,
    expected: Option<&Cursor>,
    mut proceed: impl FnMut() -> Result<(), AuditError>,
) -> Result<ContentReport, AuditError> {
    let Some(cursor) = reader.cursor()? else {
        return Err(AuditError::Empty { place: name.to_owned() });
    };
    let mut content = Content::new(name, reader, proofs_from, cursor.clone());
    if expected.is_some_and(|expected| *expected != cursor) {
        content.problems.add("its cursor is not the one that its manifest names".to_owned());
    }
    // What is corrupt by its own word ends the reading.
    match content.read(&mut proceed) {
        Ok(()) => {}
        Err(AuditError::Store(error @ StoreError::Corrupt { .. })) => {
            content.problems.add(error_chain(&error));
        }
        Err(error) => return Err(error),
    }
    if reader.cursor()?.as_ref() != Some(&cursor) {
        return Err(changed(name).into());
    }
    let Content { mut report, problems, .. } = content;
    report.problems = problems.into_texts();
    report.ok = report.problems.is_empty();
    Ok(report)
}

/// The same of a store that is kept on several media: `parts`, each with its name, in the order of the
/// store. Each is read by itself, and is where the last one is, or ahead of it by one batch, which was
/// cut off. The figures are those of the last.
///
/// # Errors
/// Those of [`verify_content`].
pub fn verify_parts(
    name: &str,
    parts: &[(String, Box<dyn StoreReader>)],
    proofs_from: ProofsFrom,
    expected: Option<&Cursor>,
    mut proceed: impl FnMut() -> Result<(), AuditError>,
) -> Result<ContentReport, AuditError> {
    let Some(((last, reader), others)) = parts.split_last() else {
        return Err(AuditError::Empty { place: name.to_owned() });
    };
    let mut report = verify_content(name, &**reader, proofs_from, expected, &mut proceed)?;
    if !others.is_empty() {
        report.problems.iter_mut().for_each(|problem| *problem = format!("{last}: {problem}"));
    }
    for (part, reader) in others {
        match verify_content(part, &**reader, proofs_from, expected, &mut proceed) {
            Ok(found) => {
                let wrong = found.problems.iter().map(|problem| format!("{part}: {problem}"));
                report.problems.extend(wrong);
                check_step(&mut report, part, &found);
            }
            Err(AuditError::Empty { .. }) => {
                report.problems.push(format!("{part} is new and empty"));
            }
            Err(error) => return Err(error),
        }
    }
    report.ok = report.problems.is_empty();
    Ok(report)
}

/// Whether a part of a store is where the last one is.
fn check_step(last: &mut ContentReport, part: &str, found: &ContentReport) {
    let (at, of) = (found.index, last.index);
    if at < of {
        last.problems.push(format!("{part} is at entry {at}, the store at entry {of}: it lags"));
    } else if at == of && found.digest != last.digest {
        last.problems.push(format!("{part} holds another history: digest {}", found.digest));
    } else if at > of + MAX_APPLY_EVENTS as u64 {
        last.problems.push(format!(
            "{part} is at entry {at}, the store at entry {of}: that is more than one batch"
        ));
    } else if at > of {
        last.not_verified.push(format!(
            "that {part} has the same history as the store: it is at entry {at}, as a batch was cut off"
        ));
    }
}

/// A store that a consumer applies to shows no one moment.
pub(crate) fn changed(name: &str) -> StoreError {
    let what =
        "entries were applied while it was read: stop its consumer, or audit a checkpoint of it";
    StoreError::Failed { place: name.to_owned(), what: what.to_owned(), source: None }
}

struct Content<'a> {
    reader: &'a dyn StoreReader,
    proofs_from: ProofsFrom,
    cursor: Cursor,
    report: ContentReport,
    problems: Problems,
}

impl<'a> Content<'a> {
    fn new(
        name: &str,
        reader: &'a dyn StoreReader,
        proofs_from: ProofsFrom,
        cursor: Cursor,
    ) -> Self {
        let not_verified = vec![
            "payloads: a store has no digest of them; compare it with a log or an archive by `tipline audit diff`".to_owned(),
            "that its cursor's digest is one of the log".to_owned(),
        ];
        let report = ContentReport {
            place: name.to_owned(),
            ok: false,
            index: cursor.position.index,
            digest: cursor.position.digest.to_string(),
            block_tip: cursor.block_tip.as_ref().map(|tip| tip.height),
            proof_tip: cursor.proof_tip,
            blocks: 0,
            proofs: 0,
            transactions: 0,
            records: 0,
            marks: 0,
            bytes: 0,
            problems: Vec::new(),
            not_verified,
        };
        Self { reader, proofs_from, cursor, report, problems: Problems::default() }
    }

    fn read(
        &mut self,
        proceed: &mut impl FnMut() -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        self.blocks(proceed)?;
        let (reader, highest) = (self.reader, self.report.block_tip);
        each_transaction(reader, |found| {
            proceed()?;
            self.report.transactions += 1;
            self.add(found.payload.len());
            let name = format!("transaction {}", found.id);
            self.check_index(&name, found.index);
            if found.block_tip > highest {
                let text =
                    |height: Option<u64>| height.map_or("none".to_owned(), |at| at.to_string());
                let (after, tip) = (text(found.block_tip), text(highest));
                self.problems
                    .add(format!("{name} is from after block {after}, the block tip is {tip}"));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        each_record(reader, |found| {
            proceed()?;
            self.report.records += 1;
            self.add(found.value.len());
            self.check_index(&format!("record {}", found.key), found.index);
            Ok(ControlFlow::Continue(()))
        })?;
        each_mark(reader, |found| {
            proceed()?;
            self.report.marks += 1;
            self.check_index(&format!("mark {}", found.name.as_str()), found.index);
            Ok(ControlFlow::Continue(()))
        })
    }

    fn blocks(
        &mut self,
        proceed: &mut impl FnMut() -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        let links = self.reader.links()?;
        let mut below = links.base.clone();
        let mut before = 0;
        // Up to where every block has the proof that it needs.
        let (mut proven, mut is_gapless) = (below.as_ref().map(|base| base.height), true);
        for found in self.reader.blocks_with_proofs(0..=u64::MAX)? {
            let (block, proof) = found?;
            proceed()?;
            self.report.blocks += 1;
            self.add(block.payload.len());
            self.check_block(&block, below.as_ref(), before);
            before = block.index;
            self.check_proof(&block, proof.as_ref(), &links.proven_above);
            is_gapless &= proof.is_some() || !self.needs_proof(block.height);
            proven = if is_gapless { Some(block.height) } else { proven };
            if let Some(proof) = proof {
                self.report.proofs += 1;
                self.add(proof.payload.len());
            }
            below = Some(Tip { height: block.height, hash: block.hash });
        }
        if below != self.cursor.block_tip {
            let (found, said) = (shown(below.as_ref()), shown(self.cursor.block_tip.as_ref()));
            self.problems
                .add(format!("the highest block is {found}, the cursor's block tip is {said}"));
        }
        // It would count for whatever block comes there.
        let highest = links.proven_above.ranges().last().map(|range| *range.end());
        if let Some(height) =
            highest.filter(|height| below.as_ref().is_none_or(|tip| *height > tip.height))
        {
            self.problems.add(format!("block {height} is not there, and has a proof"));
        }
        // One that an older version wrote may have none yet.
        if let Some(tip) = self.cursor.proof_tip.filter(|tip| Some(*tip) != proven) {
            let proven = proven.map_or("none".to_owned(), |height| height.to_string());
            self.problems.add(format!(
                "the proof tip is {tip}, but every block up to {proven} has its proof"
            ));
        }
        Ok(())
    }

    fn check_block(&mut self, block: &StoredBlock, below: Option<&Tip>, before: u64) {
        let StoredBlock { height, hash, parent_hash, index, epoch, .. } = block;
        match below {
            Some(below) if below.height.checked_add(1) != Some(*height) => {
                self.problems.add(format!("block {height} comes after block {}", below.height));
            }
            Some(below) if below.hash != *parent_hash => self.problems.add(format!(
                "block {height} ({hash}) names parent {parent_hash}, but block {} is {}",
                below.height, below.hash
            )),
            None if *height != 0 => {
                self.problems
                    .add(format!("block {height} is the lowest, and its parent is not known"));
            }
            _ => {}
        }
        let name = format!("block {height}");
        self.check_index(&name, *index);
        if *index <= before {
            self.problems
                .add(format!("{name} is of entry {index}, the block below it of entry {before}"));
        }
        if *epoch > self.cursor.epoch {
            let newest = self.cursor.epoch;
            self.problems.add(format!("{name} is of epoch {epoch}, the cursor's is {newest}"));
        }
    }

    fn needs_proof(&self, height: u64) -> bool {
        height >= self.proofs_from.height()
    }

    fn check_proof(
        &mut self,
        block: &StoredBlock,
        proof: Option<&StoredProof>,
        above: &HeightRanges,
    ) {
        let height = block.height;
        let is_proven =
            self.cursor.proof_tip.is_some_and(|tip| height <= tip) || above.contains(height);
        match proof {
            None if is_proven && self.needs_proof(height) => {
                self.problems.add(format!(
                    "block {height} should have its proof, by the proof tip, and has none"
                ));
            }
            None => {}
            Some(_) if !is_proven => {
                self.problems.add(format!("block {height} has a proof that is not counted"));
            }
            Some(proof) if proof.block_hash != block.hash => {
                self.wrong_proof(height, &proof.block_hash, &block.hash);
            }
            Some(proof) => {
                self.check_index(&format!("the proof of block {height}"), proof.index);
                if proof.index <= block.index {
                    self.problems.add(format!(
                        "the proof of block {height} is of entry {}, the block of entry {}",
                        proof.index, block.index
                    ));
                }
            }
        }
    }

    fn wrong_proof(&mut self, height: u64, names: &Hash, is: &Hash) {
        self.problems.add(format!("the proof of block {height} names {names}, the block is {is}"));
    }

    fn check_index(&mut self, name: &str, index: u64) {
        let newest = self.cursor.position.index;
        if index == 0 || index > newest {
            self.problems
                .add(format!("{name} is of entry {index}, the cursor is at entry {newest}"));
        }
    }

    fn add(&mut self, bytes: usize) {
        self.report.bytes += bytes as u64;
    }
}

fn shown(tip: Option<&Tip>) -> String {
    tip.map_or("none".to_owned(), |tip| format!("{} ({})", tip.height, tip.hash))
}
