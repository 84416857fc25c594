//! Noting the blocks that a file has gained.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use tipline_producer::OutboxError;
use tipline_proto::Timestamp;

use super::record::{self, FRAME, Head, Magic};
use super::rows::{self, Gaps};
use super::scan::BlkScan;
use super::tree::Place;
use super::walk::{self, Found};
use crate::files::{Completeness, FileChanges, Look, Stamp, damaged, io_failed, sync_failed};

/// Blocks that are noted before they are published, and the next are looked for.
const MOST_RECORDS: usize = 1000;
/// Blocks that may wait for their parents. A node that fetches blocks in any order has at
/// most about a thousand under way.
const MOST_WAITING: usize = 100_000;
/// Known blocks are read again when their file was not changed for this long.
const QUIET: Duration = Duration::from_secs(2);

/// What was found in a file.
struct Records {
    places: Vec<(Head, Place)>,
    /// Where the next record starts.
    end: u64,
    gaps: Gaps,
    magic: Option<Magic>,
    /// Why what is there is not whole.
    torn: Option<String>,
    /// Whether something whole waits until the file is closed.
    pending: bool,
}

impl BlkScan {
    /// Notes the next blocks of a file; answers whether there may be more.
    pub(super) fn note(
        &mut self,
        path: &Path,
        finished: bool,
        changes: &FileChanges,
        look: &mut Look,
    ) -> Result<bool, OutboxError> {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Ok(false);
        };
        let failed = |error| io_failed(&self.place, "reading", path)(error);
        let metadata = fs::metadata(path).map_err(failed)?;
        let stamp = Stamp::new(&metadata);
        let modified = metadata.modified().map(Timestamp::from).map_err(failed)?;
        if self.seen.get(name) == Some(&stamp) {
            return Ok(false);
        }
        let mut file = File::open(path).map_err(failed)?;
        let start = self.offsets.get(name).copied().unwrap_or(0);
        if metadata.len() < start {
            let why = format!("it was read up to offset {start}, and now it ends before that");
            return Err(damaged(&self.place, path, why));
        }
        // After a restart every record starts as the first one does.
        if self.magic.is_none() && start > 0 {
            self.magic = Some(record::magic(&mut file, self.files.key).map_err(failed)?);
        }
        let is_complete = || {
            let now = (self.clock)();
            match changes.completeness(path, modified, now, true, || finished) {
                Completeness::Complete => true,
                Completeness::Writing => false,
                Completeness::Settles(left) => {
                    look.within(left);
                    false
                }
            }
        };
        let found = self.records(path, name, &mut file, start, is_complete)?;
        match &found.torn {
            Some(why) => self.torn.insert(name.to_owned(), why.clone()),
            None => self.torn.remove(name),
        };
        if found.places.is_empty() {
            if !found.pending {
                self.read_to_the_end(path, name, stamp, modified, look)?;
            }
            return Ok(false);
        }
        file.sync_data().map_err(sync_failed(&self.place, path))?;
        if start == 0 {
            self.begun.insert(name.to_owned(), stamp);
            let root = &self.files.root;
            (self.files.sync)(root).map_err(sync_failed(&self.place, root))?;
        }
        self.remember(name, found)?;
        Ok(true)
    }

    /// The blocks from an offset on that are whole, and those that now are in the gaps before it.
    fn records(
        &self,
        path: &Path,
        name: &str,
        file: &mut File,
        start: u64,
        mut is_complete: impl FnMut() -> bool,
    ) -> Result<Records, OutboxError> {
        let key = self.files.key;
        let failed = |error| io_failed(&self.place, "reading", path)(error);
        let place =
            |offset, head: &Head| Place { file: name.to_owned(), offset, length: head.length };
        let mut found = Records {
            places: Vec::new(),
            end: start,
            gaps: self.gaps.get(name).cloned().unwrap_or_default(),
            magic: self.magic,
            torn: None,
            pending: false,
        };
        for (mut offset, next) in found.gaps.clone() {
            while offset < next
                && let Found::Block(head) =
                    walk::at(file, offset, key, found.magic).map_err(failed)?
                && is_complete()
            {
                found.gaps.remove(&offset);
                let place = place(offset, &head);
                offset += FRAME + head.length;
                found.gaps.extend((offset < next).then_some((offset, next)));
                found.places.push((head, place));
            }
        }
        while found.places.len() < MOST_RECORDS {
            let offset = found.end;
            let torn = match walk::at(file, offset, key, found.magic).map_err(failed)? {
                Found::Block(head) if head.followed || is_complete() => {
                    found.magic = Some(head.magic);
                    found.end = offset + FRAME + head.length;
                    let place = place(offset, &head);
                    found.places.push((head, place));
                    continue;
                }
                Found::Block(_) => {
                    found.pending = true;
                    break;
                }
                // What is whole before it comes first.
                Found::Garbage(why) if found.places.is_empty() && is_complete() => {
                    let why = format!("at offset {offset}: {why}{}", self.hint(offset));
                    return Err(damaged(&self.place, path, why));
                }
                Found::Garbage(_) => {
                    found.pending = true;
                    break;
                }
                Found::Blank => None,
                Found::Torn(why) => Some(why),
            };
            let next = found.magic.map(|magic| walk::next_block(file, offset + 1, key, magic));
            if let Some(next) = next.transpose().map_err(failed)?.flatten() {
                tracing::warn!(
                    "{}: no whole block from offset {offset} to {next}, where the next one is{}",
                    path.display(),
                    torn.map_or_else(String::new, |why| format!(": {why}"))
                );
                found.gaps.insert(offset, next);
                found.end = next;
                continue;
            }
            found.torn = torn.map(|why| {
                let (path, hint) = (path.display(), self.hint(offset));
                format!("{path}: at offset {offset}: {why}{hint}; it is waited for")
            });
            break;
        }
        Ok(found)
    }

    /// Writes down what was found, in one transaction with how far the file was read.
    fn remember(&mut self, name: &str, found: Records) -> Result<(), OutboxError> {
        self.stale = true;
        self.magic = found.magic;
        let mut news = Vec::new();
        for (head, place) in found.places {
            news.extend(self.tree.add(head.hash, head.parent, place));
        }
        let (tree, key, magic) = (&self.tree, self.files.key, self.magic);
        self.index.write(|tx| {
            let mut known = news.iter().filter_map(|hash| Some((hash, tree.get(hash)?)));
            known.try_for_each(|(hash, node)| rows::put(tx, hash, node))?;
            rows::put_file(tx, name, found.end, &found.gaps)?;
            magic.map_or(Ok(()), |magic| rows::put_key(tx, key, magic))
        })?;
        self.offsets.insert(name.to_owned(), found.end);
        self.gaps.insert(name.to_owned(), found.gaps);
        self.stale = false;
        if self.tree.waiting() > MOST_WAITING {
            let why = format!(
                "over {MOST_WAITING} blocks wait for parents that are not in the files, block {} \
                 among them",
                self.tree.missing_parent().map_or_else(String::new, ToString::to_string)
            );
            return Err(damaged(&self.place, &self.files.root.join(name), why));
        }
        Ok(())
    }

    /// There is nothing more in a file. Once it has been left alone it need not be read again
    /// before it changes; two changes at once have the same time.
    fn read_to_the_end(
        &mut self,
        path: &Path,
        name: &str,
        stamp: Stamp,
        modified: Timestamp,
        look: &mut Look,
    ) -> Result<(), OutboxError> {
        let quiet = (self.clock)().since(modified);
        if let Some(left) = QUIET.checked_sub(quiet).filter(|left| !left.is_zero()) {
            look.within(left);
            return Ok(());
        }
        self.verify_known(path, name)?;
        if self.begun.remove(name) == Some(stamp) {
            self.put_verified(name, stamp)?;
        }
        self.seen.insert(name.to_owned(), stamp);
        Ok(())
    }
}
