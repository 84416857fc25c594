//! Reading again what was read before, where a file has changed.
//!
//! The blocks that may still be published, or rolled back, come first, as soon as a file is left
//! alone. All others come after whatever is new, one file at a time.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tipline_producer::OutboxError;
use tipline_proto::Hash;

use super::record::FRAME;
use super::rows;
use super::scan::BlkScan;
use super::tree::Node;
use super::walk::{self, Found};
use crate::files::{Look, Stamp, damaged, io_failed};

/// How much of a file is read again: its newest blocks. A node's files have 128 MiB.
const MOST_VERIFIED: u64 = 256 << 20;
/// Between two files of which old blocks are read again.
const PAUSE: Duration = Duration::from_millis(100);

impl BlkScan {
    /// Reads the known blocks of a file again, once after each change of it: what was published
    /// must still be there. A block's hash covers every byte of it.
    pub(super) fn verify_known(&self, path: &Path, name: &str) -> Result<(), OutboxError> {
        let failed = |error| io_failed(&self.place, "reading", path)(error);
        let mut file = File::open(path).map_err(failed)?;
        let mut bytes = 0;
        for (hash, node) in self.tree.in_file(name) {
            let offset = node.place.offset;
            let is_there =
                |found: &Found| matches!(found, Found::Block(head) if head.hash == *hash);
            let found = walk::at(&mut file, offset, self.files.key, self.magic).map_err(failed)?;
            if !is_there(&found) {
                return Err(damaged(&self.place, path, changed(hash, node)));
            }
            bytes += node.place.length;
            if bytes > MOST_VERIFIED {
                break;
            }
        }
        Ok(())
    }

    /// Reads all of one file again that is not what it was when that was done last: blocks that
    /// are no longer known must still be whole.
    pub(super) fn verify_next(
        &mut self,
        files: &[PathBuf],
        look: &mut Look,
    ) -> Result<(), OutboxError> {
        let is_due = |name: &str| {
            let seen = self.seen.get(name)?;
            (self.verified.get(name) != Some(seen)).then_some(*seen)
        };
        let mut due = files.iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            Some((path, name, is_due(name)?))
        });
        let Some((path, name, seen)) = due.next() else {
            return Ok(());
        };
        if due.next().is_some() {
            look.within(PAUSE);
        }
        drop(due);
        if files.last() != Some(path) {
            tracing::info!("{}: it has changed: its blocks are read again", path.display());
        }
        // One file with everything is read again only as far as its blocks are known.
        if seen.length <= MOST_VERIFIED {
            self.verify_old(path, name)?;
        }
        if Stamp::read(path).is_ok_and(|now| now == seen) {
            self.put_verified(name, seen)
        } else {
            Ok(())
        }
    }

    /// All of a file is as it was read.
    pub(super) fn put_verified(&mut self, name: &str, stamp: Stamp) -> Result<(), OutboxError> {
        self.index.write(|tx| rows::put_seen(tx, name, &stamp))?;
        self.verified.insert(name.to_owned(), stamp);
        Ok(())
    }

    /// What is known was compared already, and with its hash.
    fn verify_old(&self, path: &Path, name: &str) -> Result<(), OutboxError> {
        let failed = |error| io_failed(&self.place, "reading", path)(error);
        let known: HashMap<u64, u64> = self
            .tree
            .in_file(name)
            .into_iter()
            .map(|(_, node)| (node.place.offset, node.place.length))
            .collect();
        let gaps = self.gaps.get(name);
        let end = self.offsets.get(name).copied().unwrap_or(0);
        let mut file = File::open(path).map_err(failed)?;
        let mut offset = 0;
        while offset < end {
            if let Some(next) = gaps.and_then(|gaps| gaps.get(&offset)) {
                offset = *next;
                continue;
            }
            let length = match known.get(&offset) {
                Some(length) => *length,
                None => {
                    match walk::at(&mut file, offset, self.files.key, self.magic).map_err(failed)? {
                        Found::Block(head) => head.length,
                        _ => {
                            let why = format!(
                                "a block was at offset {offset}, and is not there any more, or not \
                                 as it was: restore the file, or let the node fetch its blocks again"
                            );
                            return Err(damaged(&self.place, path, why));
                        }
                    }
                }
            };
            offset += FRAME + length;
        }
        Ok(())
    }
}

fn changed(hash: &Hash, node: &Node) -> String {
    let height = node.height.map_or_else(String::new, |height| format!(" {height}"));
    format!(
        "block{height} with hash {hash} was at offset {}, and is not there any more, or not as it \
         was: restore the file, or let the node fetch its blocks again",
        node.place.offset
    )
}
