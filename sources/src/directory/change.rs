//! Files that were enqueued and are something else now.

use std::fs;

use tipline_producer::OutboxError;
use tipline_proto::Event;

use super::batch::{Batch, Content, Reading};
use super::layout::{Key, Part};
use super::scan::{DirectoryScan, Known, record};
use super::survey::stamp;
use crate::files::{FileChanges, Look, damaged, reference};

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
            let now = fs::metadata(self.layout.path(key));
            if now.is_ok_and(|metadata| stamp(&metadata) == known.stamp) {
                self.changed.remove(&key);
                continue;
            }
            settled &= match self.read(key, changes, look)? {
                Reading::Ready(content) => self.follow_change(known, content, changes, look)?,
                // A node may delete what is published; what is not, reading the row will name.
                Reading::Missing => {
                    self.changed.remove(&key);
                    Some(key) != tip || self.wait_for_tip(key)
                }
                Reading::NotYet => Some(key) != tip,
            };
        }
        Ok(settled)
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
            Part::Block if is_tip => self.new_tip(content)?,
            Part::Block => {
                let why = "it is below the newest block, and has other content than was \
                           published: restore what was there, or roll back to below it and start \
                           a new log";
                return Err(damaged(&self.place, &self.layout.path(key), why));
            }
        };
        self.enqueue(batch, Some(&old), changes, look)
    }

    /// The tip is expected to come back, and nothing is built on it until then.
    fn wait_for_tip(&mut self, tip: Key) -> bool {
        if self.warned_missing != Some(tip.height) {
            let path = self.layout.path(tip);
            tracing::warn!(path = %path.display(), "the newest block's file is gone: nothing is published until it is there");
            self.warned_missing = Some(tip.height);
        }
        false
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
        batch.add(self, content, event);
        Ok(batch)
    }
}
