//! What publishing waits for, in words for an operator.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tipline_producer::OutboxError;
use tipline_proto::{Hash, LinkError};

use super::record::{self, Magic};
use super::rows;
use super::scan::BlkScan;
use crate::files::Look;

/// A node that prunes deletes files of blocks that are further than this below its newest one.
const PRUNED: u64 = 288;
/// A node that fetches blocks in any order may wait this long for one of them.
const PATIENCE: Duration = Duration::from_secs(60);

impl BlkScan {
    /// The key must be the one that the files were read with before. Answers what records start
    /// with, if any were read.
    pub(super) fn check_key(&self) -> Result<Option<Magic>, OutboxError> {
        let known = self.index.read(rows::key)?;
        match known {
            None => Ok(None),
            Some((known, magic)) if known == self.files.key => Ok(Some(magic)),
            Some((known, _)) => Err(OutboxError::Unusable {
                place: self.place.clone(),
                why: format!(
                    "{}: restore it, its bytes are {known:02x?}",
                    self.other_key(self.files.key)
                ),
                source: None,
            }),
        }
    }

    fn other_key(&self, key: [u8; 8]) -> String {
        let path = self.files.root.join("xor.dat");
        let what = match path.exists() {
            true => format!("holds {key:02x?}"),
            false => "is not there".to_owned(),
        };
        format!("{} {what}, and the blocks were read with another key", path.display())
    }

    /// What else may be wrong with the very first record.
    pub(super) fn hint(&self, offset: u64) -> String {
        if offset > 0 || self.tip.is_some() || self.tree.waiting() > 0 {
            return String::new();
        }
        let key = self.files.root.join("xor.dat");
        if key.exists() {
            format!(" (or {} is not the key of these files: restore the node's)", key.display())
        } else {
            format!(
                " (or the file is XORed with a key that is lost: restore the node's {})",
                key.display()
            )
        }
    }

    /// After all that is there.
    pub(super) fn say_what_is_wrong(
        &mut self,
        files: &[PathBuf],
        look: &mut Look,
    ) -> Result<(), OutboxError> {
        self.say_if_the_key_changed(look);
        self.say_if_a_file_is_gone(files, look);
        self.check_links(files, look)?;
        let last = files.last().and_then(|path| path.file_name()?.to_str());
        let is_waiting = self.tree.waiting() > 0;
        let mut torn = self.torn.iter().rev();
        // What ends within a block matters where the next block is to come, or is waited for.
        if let Some((_, why)) = torn.find(|(name, _)| is_waiting || last == Some(name)) {
            look.wrong(|| why.clone());
        }
        Ok(())
    }

    fn say_if_the_key_changed(&self, look: &mut Look) {
        match record::read_key(&self.files.root) {
            Ok(key) if key == self.files.key => {}
            Ok(key) => {
                let known = self.files.key;
                look.wrong(|| {
                    format!("{}: restore it, its bytes are {known:02x?}", self.other_key(key))
                });
            }
            Err(error) => {
                let path = self.files.root.join("xor.dat");
                look.wrong(|| format!("{} cannot be read ({error}): restore it", path.display()));
            }
        }
    }

    fn say_if_a_file_is_gone(&self, files: &[PathBuf], look: &mut Look) {
        let kept = self.tip.as_ref().map_or(0, |tip| tip.height.saturating_sub(PRUNED));
        let is_there = |name: &str| files.iter().any(|path| path.ends_with(name));
        for name in self.offsets.keys().filter(|name| !is_there(name)) {
            let mut nodes = self.tree.in_file(name).into_iter();
            if let Some((_, node)) = nodes.find(|(_, node)| node.height.is_none_or(|h| h > kept)) {
                let path = self.files.root.join(name);
                let height = node.height.map_or("a block".to_owned(), |h| format!("block {h}"));
                look.wrong(|| {
                    format!(
                        "{} is gone, and {height} is in it, which no node has pruned yet: put the \
                         file back",
                        path.display()
                    )
                });
            }
        }
    }

    /// Does it belong to this chain, and is anything missing in between?
    fn check_links(&mut self, files: &[PathBuf], look: &mut Look) -> Result<(), OutboxError> {
        let missing = self.tree.missing_parent().filter(|_| self.tree.waiting() > 0).cloned();
        let Some(missing) = missing else {
            self.waiting = None;
            return Ok(());
        };
        let has_gaps = !self.torn.is_empty() || self.gaps.values().any(|gaps| !gaps.is_empty());
        if !self.tree.is_connected() && !has_gaps {
            return Err(self.not_connected(files, missing));
        }
        let now = (self.clock)();
        let since = match self.waiting.take() {
            Some((before, since)) if before == missing => since,
            _ => now,
        };
        self.waiting = Some((missing.clone(), since));
        let absent = absent(files);
        let waiting = || {
            let place = &self.place;
            format!("{place}: block {missing} is not there, and blocks on top of it wait for it")
        };
        if let Some(absent) = absent {
            look.wrong(|| format!("{}: {} is not among the files: put it back", waiting(), absent));
        } else if let Some((name, gap)) = self.first_gap() {
            look.wrong(|| format!("{}: no whole block is in {name} at offset {gap}", waiting()));
        } else if now.since(since) >= PATIENCE {
            look.wrong(waiting);
        }
        Ok(())
    }

    fn first_gap(&self) -> Option<(&str, u64)> {
        self.gaps.iter().find_map(|(name, gaps)| Some((name.as_str(), *gaps.keys().next()?)))
    }

    /// Nothing in the files is on top of the genesis.
    fn not_connected(&self, files: &[PathBuf], found: Hash) -> OutboxError {
        let first = files.first().filter(|path| number(path).is_some_and(|number| number > 0));
        let genesis = self.genesis.clone();
        if let Some(first) = first {
            let why = format!(
                "the files start with {}, and no block in them is on top of the genesis block \
                 {genesis}: the node is pruned, or earlier files are lost. Give the files of a \
                 node that keeps all blocks (prune=0), from blk00000.dat on",
                first.display()
            );
            return OutboxError::Unusable { place: self.place.clone(), why, source: None };
        }
        let event = format!("the first block of {}", self.place);
        OutboxError::DoesNotLink {
            event,
            source: Box::new(LinkError::WrongGenesis { height: 1, found, genesis }),
        }
    }
}

/// The number of a file.
fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("blk")?.strip_suffix(".dat")?.parse().ok()
}

/// The first file that is missing between others.
fn absent(files: &[PathBuf]) -> Option<String> {
    let numbers: Vec<u64> = files.iter().filter_map(|path| number(path)).collect();
    let gap = numbers.windows(2).find(|pair| pair[1] > pair[0] + 1)?;
    Some(format!("blk{:05}.dat", gap[0] + 1))
}
