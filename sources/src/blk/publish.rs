//! From the blocks that are known to events in the outbox.

use tipline_producer::OutboxError;
use tipline_proto::limits::MAX_UNIT_BYTES;
use tipline_proto::{Event, Tip};

use super::check::{HEADER, check, double_sha256};
use super::record::FRAME;
use super::scan::BlkScan;
use super::tree::{Place, Step};
use crate::files::{FileSource, Item, Look, damaged, io_failed, reference, to_i64};

/// Most events that are enqueued in one transaction. Then one fsync of the index is for all.
const MOST_EVENTS: usize = 64;
/// Blocks further below the tip are forgotten. A branch that parts there is refused. A week
/// of Bitcoin.
const DEPTH: u64 = 1000;

impl BlkScan {
    /// Enqueues what is on top of what is published; answers whether that is all of it.
    pub(super) fn publish(&mut self, look: &mut Look) -> Result<bool, OutboxError> {
        loop {
            let steps = self
                .tree
                .steps(self.tip.as_ref(), MOST_EVENTS)
                .map_err(|error| damaged(&self.place, &self.files.root, error))?;
            if steps.is_empty() {
                return Ok(true);
            }
            let (items, tips) = self.items(steps)?;
            let below = tips.last().map_or(0, |tip| tip.height.saturating_sub(DEPTH));
            let taken = self.index.enqueue(&items, None, |tx, _| {
                let sql = "DELETE FROM tipline_blk_block WHERE height < ?1";
                tx.execute(sql, [to_i64(below)])?;
                Ok(())
            })?;
            if let Some(tip) = tips.into_iter().take(taken.count).next_back() {
                self.tip = Some(tip);
                self.tree.forget(below);
            }
            match taken.refused {
                None => self.warned_full = false,
                Some(full @ OutboxError::Full { .. }) => {
                    if !std::mem::replace(&mut self.warned_full, true) {
                        tracing::warn!(error = %full, "new blocks wait until there is room");
                    }
                    look.retry();
                    return Ok(false);
                }
                Some(error) => return Err(error),
            }
        }
    }

    /// The events of some steps, and the tip after each: as many as fit into memory.
    fn items(&self, steps: Vec<Step>) -> Result<(Vec<Item>, Vec<Tip>), OutboxError> {
        let (mut items, mut tips, mut bytes) = (Vec::new(), Vec::new(), 0);
        for step in steps {
            let (item, tip) = match step {
                Step::RollBack(tip) => {
                    tracing::warn!(place = self.place, to = %tip, "another branch is longer: rolled back");
                    let event =
                        Event::RolledBack { to_height: tip.height, to_hash: tip.hash.clone() };
                    (Item { event, reference: None }, tip)
                }
                Step::Block(tip) => (self.block(&tip)?, tip),
            };
            bytes += item.event.payload().len();
            items.push(item);
            tips.push(tip);
            if bytes > MAX_UNIT_BYTES {
                break;
            }
        }
        Ok((items, tips))
    }

    fn block(&self, tip: &Tip) -> Result<Item, OutboxError> {
        let Some(node) = self.tree.get(&tip.hash) else {
            let why = format!("block {tip} is not known any more");
            return Err(damaged(&self.place, &self.files.root, why));
        };
        let Place { file, offset, length } = &node.place;
        let path = self.files.root.join(file);
        let source = FileSource::with_key(self.files.root.clone(), self.files.key);
        let payload = source.bytes(file, offset + FRAME, *length);
        let payload = payload.map_err(io_failed(&self.place, "reading", &path))?;
        // It may have been noted long ago.
        let is_whole = payload.get(..HEADER).is_some_and(|header| {
            double_sha256(&[header]) == tip.hash.as_ref() && check(&payload).is_ok()
        });
        if !is_whole {
            let why = format!(
                "block {tip} was at offset {offset}, and is not there any more, or not as it was: \
                 restore the file"
            );
            return Err(damaged(&self.place, &path, why));
        }
        let reference = reference(file, offset + FRAME, *length);
        let (height, hash) = (tip.height, tip.hash.clone());
        let parent_hash = node.parent.clone();
        let event = Event::BlockCommitted { height, hash, parent_hash, payload };
        Ok(Item { event, reference: Some(reference) })
    }
}
