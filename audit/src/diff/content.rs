//! Two stores, or checkpoints; or one of them and what the entries of a log give.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use tipline_backup::{
    RestoreProgress, RestoreSettings, Sources, StorePlace, Target, Verification, restore,
};
use tipline_proto::Cursor;
use tipline_store::{Store, StoreReader};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Depth, DiffReport};
use crate::content::changed;
use crate::error::AuditError;
use crate::names::{each_mark, each_record, each_transaction};
use crate::problems::Problems;

/// Makes the store that the entries of a log or an archive give up to an index, each of them verified
/// on the way, at a place of its own: the directory of temporary files, for example. It is as large as
/// any store of the log.
///
/// # Errors
/// Those of [`restore`]: entries before it are missing, or it is not there yet.
pub async fn content_as_of(
    sources: Arc<Sources>,
    index: u64,
    place: StorePlace,
    progress: watch::Sender<RestoreProgress>,
    stop: CancellationToken,
) -> Result<Box<dyn Store>, AuditError> {
    // Only entries: what a checkpoint says is what may be in question.
    let sources = Arc::new(Sources { checkpoints: Vec::new(), ..(*sources).clone() });
    let settings = RestoreSettings {
        target: Target::Index(index),
        exclusive: false,
        verification: Verification::None,
        force: false,
    };
    let (parts, open) = (place.parts.clone(), Arc::clone(&place.open));
    restore(sources, place, settings, progress, stop).await?;
    let paths: Vec<PathBuf> = parts.into_iter().map(|(_, path)| path).collect();
    let opened = tokio::task::spawn_blocking(move || open(&paths)).await;
    let opened = opened.map_err(|error| AuditError::Internal { what: error.to_string() })?;
    Ok(opened?)
}

/// Compares everything in two stores of one log, item by item, each with the name
/// that the report calls it. `proceed` is asked before each item.
///
/// If one is ahead, they are compared as of the earlier cursor, as far as the later store still shows
/// that: what was replaced or removed since is counted as not compared.
///
/// # Errors
/// A store cannot be read, is empty, or was applied to meanwhile; what `proceed` gives.
pub fn diff_content(
    a: (&str, &dyn StoreReader),
    b: (&str, &dyn StoreReader),
    depth: Depth,
    proceed: impl FnMut() -> Result<(), AuditError>,
) -> Result<DiffReport, AuditError> {
    let ((name_a, a), (name_b, b)) = (a, b);
    let (cursor_a, cursor_b) = (cursor(name_a, a)?, cursor(name_b, b)?);
    let earlier = cursor_a.position.index.min(cursor_b.position.index);
    let is_same_point = cursor_a.position.index == cursor_b.position.index;
    let mut diff = Diff {
        names: [name_a, name_b],
        readers: [a, b],
        cursors: [cursor_a.position.index, cursor_b.position.index],
        depth,
        problems: Problems::default(),
        items: 0,
        undecided: 0,
        proceed,
    };
    if is_same_point && cursor_a != cursor_b {
        let (a, b) = (shown(&cursor_a), shown(&cursor_b));
        diff.problems.add(format!("the cursor: {name_a} is at {a}, {name_b} at {b}"));
    }
    diff.everything()?;
    for (name, reader, before) in [(name_a, a, &cursor_a), (name_b, b, &cursor_b)] {
        if cursor(name, reader)? != *before {
            return Err(changed(name).into());
        }
    }
    let mut not_compared = Vec::new();
    if !is_same_point {
        let (newer, last) = if cursor_a.position.index > earlier {
            (name_a, cursor_a.position.index)
        } else {
            (name_b, cursor_b.position.index)
        };
        not_compared.push(format!("what entries {} to {last} made in {newer}", earlier + 1));
        not_compared
            .push("the digests of the two cursors: they are at different entries".to_owned());
    }
    if diff.undecided > 0 {
        let count = diff.undecided;
        not_compared.push(format!("{count} items that may have been replaced or removed since"));
    }
    if diff.is_done() {
        not_compared.push("whatever comes after the first difference".to_owned());
    }
    Ok(DiffReport {
        a: name_a.to_owned(),
        b: name_b.to_owned(),
        same: diff.problems.is_empty(),
        compared: format!("content as of entry {earlier}"),
        items: diff.items,
        different: diff.problems.count(),
        differences: diff.problems.into_texts(),
        not_compared,
    })
}

/// The same of two stores that may be kept on several media: of each its parts with their names, the
/// last of which has the cursor. The last two are compared, and each last one with the others beside it.
///
/// # Errors
/// Those of [`diff_content`].
pub fn diff_parts(
    a: &[(String, Box<dyn StoreReader>)],
    b: &[(String, Box<dyn StoreReader>)],
    depth: Depth,
    mut proceed: impl FnMut() -> Result<(), AuditError>,
) -> Result<DiffReport, AuditError> {
    let (Some((last_a, others_a)), Some((last_b, others_b))) = (a.split_last(), b.split_last())
    else {
        return Err(AuditError::Empty { place: "a store without parts".to_owned() });
    };
    let pairs_a = others_a.iter().map(|other| (last_a, other));
    let pairs_b = others_b.iter().map(|other| (last_b, other));
    let mut report = diff_pair(last_a, last_b, depth, &mut proceed)?;
    for (last, other) in pairs_a.chain(pairs_b) {
        if depth == Depth::First && !report.same {
            break;
        }
        let more = diff_pair(last, other, depth, &mut proceed)?;
        report.same &= more.same;
        report.items += more.items;
        report.different += more.different;
        report.differences.extend(more.differences);
        report.not_compared.extend(more.not_compared);
    }
    Ok(report)
}

fn diff_pair(
    (name_a, a): &(String, Box<dyn StoreReader>),
    (name_b, b): &(String, Box<dyn StoreReader>),
    depth: Depth,
    proceed: impl FnMut() -> Result<(), AuditError>,
) -> Result<DiffReport, AuditError> {
    diff_content((name_a, &**a), (name_b, &**b), depth, proceed)
}

fn cursor(name: &str, reader: &dyn StoreReader) -> Result<Cursor, AuditError> {
    reader.cursor()?.ok_or_else(|| AuditError::Empty { place: name.to_owned() })
}

fn shown(cursor: &Cursor) -> String {
    let height =
        |height: Option<u64>| height.map_or("none".to_owned(), |height| height.to_string());
    let Cursor { position, epoch, block_tip, proof_tip } = cursor;
    let tip = block_tip
        .as_ref()
        .map_or("none".to_owned(), |tip| format!("{} ({})", tip.height, tip.hash));
    format!("{position}, epoch {epoch}, block tip {tip}, proof tip {}", height(*proof_tip))
}

struct Diff<'a, F> {
    names: [&'a str; 2],
    readers: [&'a dyn StoreReader; 2],
    cursors: [u64; 2],
    depth: Depth,
    problems: Problems,
    items: u64,
    undecided: u64,
    proceed: F,
}

impl<F: FnMut() -> Result<(), AuditError>> Diff<'_, F> {
    fn is_done(&self) -> bool {
        self.depth == Depth::First && !self.problems.is_empty()
    }

    fn everything(&mut self) -> Result<(), AuditError> {
        self.blocks()?;
        let [a, b] = self.readers;
        // What both have is compared once, from the first.
        for (this, other, is_first) in [(a, b, true), (b, a, false)] {
            if self.is_done() {
                break;
            }
            each_transaction(this, |found| {
                (self.proceed)()?;
                let counterpart = other.transaction(&found.id)?;
                let name = format!("transaction {}", found.id);
                self.pair(name, is_first, found, counterpart, |found| found.index)
            })?;
            each_record(this, |found| {
                (self.proceed)()?;
                let counterpart = other.record(&found.key)?;
                let name = format!("record {}", found.key);
                self.pair(name, is_first, found, counterpart, |found| found.index)
            })?;
            each_mark(this, |found| {
                (self.proceed)()?;
                let counterpart = other.mark(&found.name)?;
                let name = format!("mark {}", found.name.as_str());
                self.pair(name, is_first, found, counterpart, |found| found.index)
            })?;
        }
        Ok(())
    }

    fn blocks(&mut self) -> Result<(), AuditError> {
        let [a, b] = self.readers;
        let spans = [a.heights()?, b.heights()?];
        let is_within = |side: usize, height: u64| {
            spans[side].is_some_and(|(first, last)| (first..=last).contains(&height))
        };
        let mut sorted: Vec<(u64, u64)> = spans.into_iter().flatten().collect();
        sorted.sort_unstable();
        let mut next = 0;
        for (first, last) in sorted {
            for height in first.max(next)..=last {
                if self.is_done() {
                    return Ok(());
                }
                let (one, other) = (a.block(height)?, b.block(height)?);
                // Blocks are removed from above only, whichever store is ahead.
                let holes = [(0, one.is_none()), (1, other.is_none())];
                let holes =
                    holes.into_iter().filter(|(side, none)| *none && is_within(*side, height));
                let holes: Vec<&str> = holes.map(|(side, _)| self.names[side]).collect();
                if !holes.is_empty() {
                    (self.proceed)()?;
                    self.items += 1;
                    let text = format!("block {height}: a gap in {}", holes.join(" and "));
                    if one.is_none() && other.is_none() {
                        // If the height of the highest is wrong, there is no end of them.
                        self.problems.add(format!("{text}; none above it is compared"));
                        return Ok(());
                    }
                    self.problems.add(text);
                    continue;
                }
                let is_same = one == other;
                self.item(format!("block {height}"), one, other, false, |block| block.index)?;
                let (one, other) = (a.proof(height)?, b.proof(height)?);
                // It is gone only with its block.
                let name = format!("the proof of block {height}");
                self.item(name, one, other, is_same, |proof| proof.index)?;
            }
            next = next.max(last.saturating_add(1));
        }
        Ok(())
    }

    fn pair<T: PartialEq>(
        &mut self,
        name: String,
        is_first: bool,
        found: T,
        other: Option<T>,
        index: impl Fn(&T) -> u64,
    ) -> Result<ControlFlow<()>, AuditError> {
        match (is_first, other) {
            (true, other) => self.item(name, Some(found), other, false, index)?,
            (false, None) => self.item(name, None, Some(found), false, index)?,
            (false, Some(_)) => {}
        }
        Ok(if self.is_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// `stays` is whether what one has not cannot have been removed there.
    fn item<T: PartialEq>(
        &mut self,
        name: String,
        a: Option<T>,
        b: Option<T>,
        stays: bool,
        index: impl Fn(&T) -> u64,
    ) -> Result<(), AuditError> {
        if a.is_none() && b.is_none() {
            return Ok(());
        }
        (self.proceed)()?;
        self.items += 1;
        if a == b {
            return Ok(());
        }
        let [index_a, index_b] = [&a, &b].map(|item| item.as_ref().map(&index));
        let [end_a, end_b] = self.cursors;
        // The one that is ahead may have changed it since. It shows by the entry that it is of,
        // unless it is gone.
        let newer = match end_a.cmp(&end_b) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some((index_a, end_b)),
            std::cmp::Ordering::Less => Some((index_b, end_a)),
        };
        if newer.is_some_and(|(index, earlier)| index.map_or(!stays, |index| index > earlier)) {
            self.undecided += 1;
            return Ok(());
        }
        let [place_a, place_b] = self.names;
        self.problems.add(match (index_a, index_b) {
            (Some(index), None) => {
                format!("{name}: of entry {index} in {place_a}, not in {place_b}")
            }
            (None, Some(index)) => {
                format!("{name}: of entry {index} in {place_b}, not in {place_a}")
            }
            (Some(a), Some(b)) if a != b => {
                format!("{name}: of entry {a} in {place_a}, of entry {b} in {place_b}")
            }
            (Some(index), _) => format!("{name}, of entry {index}: its content differs"),
            (None, None) => return Ok(()),
        });
        Ok(())
    }
}
