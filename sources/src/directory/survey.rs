//! Looking at everything that is there.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use tipline_producer::OutboxError;

use super::layout::{Key, Layout, Part, epoch};
use super::scan::{DirectoryScan, WINDOW};
use crate::files::{Look, Stamp, io_failed};

/// How far below the tip a file is compared on every look at everything; at the start, and when
/// notifications were lost, all are.
const NEAR: u64 = 1000;

/// So many names of a directory are looked at for a block that is named otherwise.
const NAMES: usize = 1000;

impl DirectoryScan {
    /// Lists the epochs that matter now: those that are not forgotten, and up to the one after
    /// the next block's. The ones above come when the blocks do. `lost` says whether any file may
    /// have changed.
    pub(super) fn survey(&mut self, lost: bool) -> Result<(), OutboxError> {
        // A directory of blocks that was away when this was opened is the one as soon as it is back.
        let has_nothing = || epochs(&self.layout).is_ok_and(|epochs| epochs.is_empty());
        if self.tip.is_none() || has_nothing() {
            self.layout = Layout::below(self.layout.root());
        }
        let base = self.layout.base();
        let failed = |error| io_failed(&self.place, "listing", &base)(error);
        let mut epochs = epochs(&self.layout).map_err(failed)?;
        epochs.sort_unstable();
        let tip = self.tip.as_ref().map(|tip| tip.height);
        let Some(start) =
            tip.map_or_else(|| self.first_epoch(&epochs), |tip| Ok(Some(epoch(tip))))?
        else {
            return Ok(());
        };
        let oldest = tip.map_or(start, |tip| epoch(tip.saturating_sub(WINDOW)));
        let newest = start + 1;
        let compare_from = if lost { 0 } else { tip.unwrap_or(0).saturating_sub(NEAR) };
        for number in epochs.iter().copied().filter(|number| (oldest..=newest).contains(number)) {
            for entry in self.list(number)? {
                self.survey_file(&entry, compare_from);
            }
        }
        for number in epochs.iter().rev().take_while(|number| **number > newest) {
            if self.has_block(*number)? {
                self.highest = self.highest.max(Some(number << 16));
                break;
            }
        }
        let near = self.files.range(Key::block(tip.unwrap_or(0).saturating_sub(NEAR))..);
        self.gone.extend(near.map(|(key, _)| *key));
        self.surveyed = Some(newest);
        Ok(())
    }

    /// The lowest epoch with a block in it. A node that prunes leaves empty ones.
    fn first_epoch(&self, epochs: &[u64]) -> Result<Option<u64>, OutboxError> {
        for number in epochs {
            if self.has_block(*number)? {
                return Ok(Some(*number));
            }
        }
        Ok(None)
    }

    fn has_block(&self, number: u64) -> Result<bool, OutboxError> {
        let is_block = |entry: &DirEntry| {
            self.layout.key(&entry.path()).is_some_and(|key| key.part == Part::Block)
        };
        Ok(self.list(number)?.iter().any(is_block))
    }

    fn list(&self, number: u64) -> Result<Vec<DirEntry>, OutboxError> {
        let path = self.layout.epoch(number);
        let entries = fs::read_dir(&path).and_then(Iterator::collect);
        entries.map_err(io_failed(&self.place, "listing", &path))
    }

    fn survey_file(&mut self, entry: &DirEntry, compare_from: u64) {
        let Some(key) = self.layout.key(&entry.path()) else {
            return;
        };
        let Some(known) = self.files.get(&key) else {
            // What is below the tip and was not enqueued is forgotten, or older than the outbox.
            let above = self.tip.as_ref().is_none_or(|tip| key.height > tip.height);
            let block = Key::block(key.height);
            if above || (key.part == Part::Proof && self.files.contains_key(&block)) {
                self.notice(key);
            }
            return;
        };
        if key.height >= compare_from
            && entry.metadata().is_ok_and(|metadata| Stamp::new(&metadata) != known.stamp)
        {
            self.changed.insert(key);
        }
    }

    /// Names a file that is no block by its name, if there is none: it would never be published.
    pub(super) fn say_if_it_is_named_otherwise(&self, look: &mut Look) {
        if self.next_height().is_some() {
            return;
        }
        let Some(found) = misnamed(&self.layout) else { return };
        let (found, first) = (found.display(), self.layout.path(Key::block(1)));
        look.wrong(|| {
            let first = first.display();
            format!(
                "no block is here, and {found} is not named as one: block 1 is {first}, with heights \
                 in 8 hex digits, and the height divided by 65,536 in 4"
            )
        });
    }

    /// Names the block that is missing below others.
    pub(super) fn say_if_there_is_a_gap(&self, look: &mut Look) {
        let (Some(next), Some(highest)) = (self.next_height(), self.highest) else {
            return;
        };
        let path = self.layout.path(Key::block(next));
        if highest > next && !path.exists() {
            let path = path.display();
            look.wrong(|| {
                format!(
                    "{path} is missing below other blocks: nothing is published until it is there"
                )
            });
        }
    }
}

/// A file in this directory, or in one in it, that is named as a block elsewhere.
fn misnamed(layout: &Layout) -> Option<PathBuf> {
    let listed = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.take(NAMES).map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_like_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("block_") && name.ends_with(".dat") && layout.key(path).is_none()
    };
    let here = listed(&layout.base());
    let below = here.iter().filter(|path| path.is_dir()).flat_map(|path| listed(path));
    below.chain(here.iter().cloned()).find(is_like_one)
}

fn epochs(layout: &Layout) -> io::Result<Vec<u64>> {
    let mut epochs = Vec::new();
    for entry in fs::read_dir(layout.base())? {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let number = name.to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
        let is_name = |number: &u64| name.to_str() == Some(&format!("{number:04x}"));
        epochs.extend(number.filter(|number| is_name(number) && path.is_dir()));
    }
    Ok(epochs)
}
