//! Files that were enqueued and are something else now.

use tipline_producer::OutboxError;
use tipline_proto::Event;

use super::batch::{Batch, Content, Reading};
use super::layout::{Key, Part};
use super::scan::{DirectoryScan, Known, record};
use crate::files::{FileChanges, Look, Stamp, damaged, reference};

/// No node deletes blocks so close to its newest one.
const KEPT: u64 = 256;
/// In place of the hash of a proof that was for the block that was replaced.
const OF_ANOTHER_BLOCK: [u8; 32] = [0; 32];

impl DirectoryScan {
    /// Publishes what replaced the tip or a proof. Answers whether new blocks may follow: not
    /// while the tip is being replaced.
    pub(super) fn follow_changes(
        &mut self,
        changes: &mut FileChanges,
        look: &mut Look,
    ) -> Result<bool, OutboxError> {
        let tip = self.tip.as_ref().map(|tip| Key::block(tip.height));
        self.changed.extend(tip);
        let mut settled = true;
        for key in self.changed.clone() {
            let Some(known) = self.files.get(&key).copied() else {
                self.changed.remove(&key);
                continue;
            };
            let now = Stamp::read(&self.layout.path(key));
            if now.as_ref().is_ok_and(|now| *now == known.stamp) {
                self.changed.remove(&key);
                continue;
            }
            // Which block it is for is known when the block is.
            if !settled && key.part == Part::Proof && tip == Some(Key::block(key.height)) {
                continue;
            }
            if now.is_ok_and(|now| now.length == 0) && key.part == Part::Block {
                self.say_spoiled(key, "is empty", look);
                settled &= Some(key) != tip;
                continue;
            }
            settled &= match self.read(key, changes, look)? {
                // Below the newest block, any other content stops the outbox.
                Reading::Ready(content) if key.part == Part::Block && Some(key) != tip => {
                    self.follow_change(known, content, changes, look)?
                }
                Reading::Ready(content) => match self.spoiled(known, &content)? {
                    Some(how) => {
                        self.say_spoiled(key, how, look);
                        Some(key) != tip
                    }
                    None if self.is_refused(&content, look) => false,
                    None => self.follow_change(known, content, changes, look)?,
                },
                // A node may delete what is published; what is not, reading the row will name.
                Reading::Missing => {
                    self.changed.remove(&key);
                    self.gone.insert(key);
                    Some(key) != tip
                }
                Reading::NotYet => {
                    self.say_if_open(key, changes, look);
                    Some(key) != tip
                }
            };
        }
        Ok(settled)
    }

    /// How the content of a file shows that no node wrote it: a disk or a crash did.
    fn spoiled(
        &self,
        known: Known,
        content: &Content,
    ) -> Result<Option<&'static str>, OutboxError> {
        let (length, bytes) = (known.stamp.length, &content.bytes);
        if content.known.hash == known.hash || length == 0 {
            return Ok(None);
        }
        if bytes.is_empty() {
            return Ok(Some("is empty"));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Some("has only zeros in it"));
        }
        let is_shorter = (bytes.len() as u64) < length;
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(match self.index.payload(content.key.height, content.key.part.kind())? {
            Some(was) if is_shorter && was.starts_with(bytes) => Some("is cut off"),
            Some(was) if end < was.len() && was.starts_with(&bytes[..end]) => {
                Some("has zeros in place of its end")
            }
            Some(_) => None,
            // It is logged, and no copy is left.
            None => (is_shorter && content.known.stamp.inode == known.stamp.inode)
                .then_some("is cut off"),
        })
    }

    /// Whether this newest block is not whole, by its format. The node may still write the rest.
    fn is_refused(&self, content: &Content, look: &mut Look) -> bool {
        let Key { height, part } = content.key;
        let may_be_written = part == Part::Block
            && self.format.proves_whole()
            && !self.tip_is_final
            && !self.has_successor(height);
        let refused = may_be_written.then(|| self.format.read(height, &content.bytes).err());
        let Some(why) = refused.flatten() else {
            return false;
        };
        look.wrong(|| {
            format!(
                "{}: {why}; it was published as it was before, and is waited for",
                self.layout.path(content.key).display()
            )
        });
        true
    }

    /// Names a file that was published and is being written again.
    fn say_if_open(&self, key: Key, changes: &FileChanges, look: &mut Look) {
        let path = self.layout.path(key);
        if changes.is_open(&path) {
            let path = path.display();
            look.wrong(|| {
                format!(
                    "{path} was published, and is being written again: what is in it now is read \
                     when it is closed"
                )
            });
        }
    }

    fn say_spoiled(&self, key: Key, how: &str, look: &mut Look) {
        let path = self.layout.path(key);
        look.wrong(|| {
            format!(
                "{} {how}, and it was published with more: put back what was there; nothing else \
                 of that height is published until then",
                path.display()
            )
        });
    }

    /// Names files of the newest blocks that are gone. A node has no reason to delete those.
    pub(super) fn say_what_is_gone(&mut self, look: &mut Look) {
        let tip = self.tip.as_ref().map_or(0, |tip| tip.height);
        let layout = &self.layout;
        self.gone.retain(|key| {
            key.part == Part::Block
                && key.height > tip.saturating_sub(KEPT)
                && !layout.path(*key).exists()
        });
        if let Some(key) = self.gone.last() {
            let path = layout.path(*key);
            let waits = if key.height == tip {
                "nothing is published until it is there"
            } else {
                "it may not be published yet"
            };
            look.wrong(|| format!("{} is gone: put it back; {waits}", path.display()));
        }
    }

    /// Answers whether it is done with.
    fn follow_change(
        &mut self,
        known: Known,
        content: Content,
        changes: &mut FileChanges,
        look: &mut Look,
    ) -> Result<bool, OutboxError> {
        let key = content.key;
        if content.known.hash == known.hash {
            self.index.write(|tx| record(tx, key, &content.known))?;
            self.learn(key, content.known);
            changes.done(&self.layout.path(key));
            return Ok(true);
        }
        let old = reference(&self.layout.relative(key), 0, known.stamp.length);
        let is_tip = self.tip.as_ref().is_some_and(|tip| tip.height == key.height);
        let batch = match key.part {
            Part::Proof => match self.new_proof(content)? {
                Some(batch) => batch,
                None => return Ok(true),
            },
            Part::Block if is_tip && !self.tip_is_final => self.new_tip(content)?,
            Part::Block => {
                let which = if is_tip {
                    "it is the newest block, which this node never replaces,"
                } else {
                    "it is below the newest block,"
                };
                let why = format!(
                    "{which} and has other content than was published: restore what was there, or \
                     roll back to below it and start a new log"
                );
                return Err(damaged(&self.place, &self.layout.path(key), why));
            }
        };
        self.enqueue(batch, Some(&old), changes, look)
    }

    /// `None` if its block is forgotten.
    fn new_proof(&self, content: Content) -> Result<Option<Batch>, OutboxError> {
        let height = content.key.height;
        let Some(block_hash) = self.provable(height)? else {
            return Ok(None);
        };
        let payload = content.bytes.clone();
        let mut batch = Batch::default();
        batch.add(self, content, Event::BlockProven { height, block_hash, payload });
        Ok(Some(batch))
    }

    fn new_tip(&self, content: Content) -> Result<Batch, OutboxError> {
        let height = content.key.height;
        let path = self.layout.path(content.key);
        tracing::warn!(path = %path.display(), "the newest block was replaced: it is rolled back");
        let below = height.checked_sub(1);
        let parent = below.map(|below| self.index.block(below)).transpose()?.flatten();
        let (Some(to_height), Some(to_hash)) = (below, parent) else {
            let why = "it was replaced, but the block below it is not known: a genesis cannot \
                       be rolled back";
            return Err(damaged(&self.place, &path, why));
        };
        let (_, event) = self.block(&content, Some(&to_hash))?;
        let mut batch = Batch::lead(Event::RolledBack { to_height, to_hash });
        batch.notes.extend(self.old_proof(&content));
        batch.add(self, content, event);
        Ok(batch)
    }

    /// The proof that is there is for the block that was there. One that is written from now on
    /// is for the new block, and is published even if it has the same bytes.
    fn old_proof(&self, block: &Content) -> Option<(Key, Known)> {
        let key = Key::proof(block.key.height);
        let stamp = match self.files.get(&key) {
            Some(known) => known.stamp,
            None => {
                let stamp = Stamp::read(&self.layout.path(key)).ok()?;
                (stamp.modified_ns < block.known.stamp.modified_ns).then_some(stamp)?
            }
        };
        Some((key, Known { stamp, hash: OF_ANOTHER_BLOCK }))
    }
}
