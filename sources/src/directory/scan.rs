//! One look at the directory: what is known of it, and what to do in which order.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Transaction};
use tipline_log::Clock;
use tipline_producer::OutboxError;
use tipline_proto::{Hash, Label, Tip};

use super::format::BlockFormat;
use super::layout::{Key, Layout, Part};
use crate::files::{FileChanges, Guard, Index, Look, Scan, Stamp, from_i64, to_i64};

/// Files further below the newest block are forgotten: 83 hours of a chain with one block
/// every 3 s. The outbox forgets the blocks themselves at the same distance.
pub(super) const WINDOW: u64 = 100_000;

/// The files that were enqueued: what they were then.
pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS tipline_file (
    height INTEGER NOT NULL,
    proof INTEGER NOT NULL,
    length INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (height, proof)
) WITHOUT ROWID;";

/// A file that was enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stamp: Stamp,
    /// BLAKE3 of its content.
    pub(super) hash: [u8; 32],
}

pub(super) struct DirectoryScan {
    pub(super) index: Index,
    pub(super) layout: Layout,
    pub(super) format: Box<dyn BlockFormat>,
    pub(super) clock: Clock,
    pub(super) genesis: Hash,
    pub(super) place: String,
    /// The newest block that was enqueued.
    pub(super) tip: Option<Tip>,
    /// What was enqueued, down to [`WINDOW`] below the tip.
    pub(super) files: BTreeMap<Key, Known>,
    /// Those of them that may be something else now.
    pub(super) changed: BTreeSet<Key>,
    /// Heights of proofs that are there and not enqueued.
    pub(super) proofs: BTreeSet<u64>,
    /// Lowest and highest block that were seen.
    pub(super) lowest: Option<u64>,
    pub(super) highest: Option<u64>,
    /// Epochs up to this one have been scanned; `None` at the start.
    pub(super) surveyed: Option<u64>,
    /// Files of new blocks that were gone when they were last looked for.
    pub(super) gone: BTreeSet<Key>,
    /// The newest block is never replaced.
    pub(super) tip_is_final: bool,
    pub(super) warned_full: bool,
    /// The newest block that was read again, because the next one is not on top of it.
    pub(super) doubted: Option<Tip>,
    guard: Guard,
}

impl DirectoryScan {
    /// Goes on from what the index remembers.
    pub(super) fn new(
        index: Index,
        layout: Layout,
        format: Box<dyn BlockFormat>,
        clock: Clock,
        genesis: Hash,
        place: String,
        tip_is_final: bool,
    ) -> Result<Self, OutboxError> {
        let guard = Guard::new(&place, vec![layout.root().to_owned(), layout.base()])?;
        let tip = index.tip()?;
        let files = index.read(load)?;
        Ok(Self {
            index,
            layout,
            format,
            clock,
            genesis,
            place,
            tip,
            files,
            changed: BTreeSet::new(),
            proofs: BTreeSet::new(),
            lowest: None,
            highest: None,
            surveyed: None,
            gone: BTreeSet::new(),
            tip_is_final,
            warned_full: false,
            doubted: None,
            guard,
        })
    }

    /// The height of the next block; `None` while there is none at all.
    pub(super) fn next_height(&self) -> Option<u64> {
        self.tip.as_ref().map_or(self.lowest, |tip| tip.height.checked_add(1))
    }

    /// Takes note of a file that is there, or was.
    pub(super) fn notice(&mut self, key: Key) {
        if self.files.contains_key(&key) {
            self.changed.insert(key);
        } else if key.part == Part::Proof {
            self.proofs.insert(key.height);
        } else {
            self.highest = self.highest.max(Some(key.height));
            self.lowest = Some(self.lowest.map_or(key.height, |lowest| lowest.min(key.height)));
        }
    }

    /// Takes note of what was enqueued.
    pub(super) fn learn(&mut self, key: Key, known: Known) {
        self.files.insert(key, known);
        self.changed.remove(&key);
        if key.part == Part::Proof {
            self.proofs.remove(&key.height);
        }
    }
}

impl Scan for DirectoryScan {
    fn scan(&mut self, changes: &mut FileChanges) -> Result<Look, OutboxError> {
        let mut look = Look::when_changed();
        self.guard.check()?;
        self.index.check()?;
        // The first block that is noticed need not be the first that is there.
        if changes.take_everything() || self.tip.is_none() {
            self.survey(changes.is_lost())?;
            changes.compared();
        }
        for path in changes.take_changed() {
            if let Some(key) = self.layout.key(&path) {
                self.notice(key);
            }
        }
        // Nothing is built on a tip that is being replaced.
        while self.follow_changes(changes, &mut look)? {
            let more_blocks = self.take_blocks(changes, &mut look)?;
            // After each portion, because a proof must come before its block is forgotten.
            while self.take_proofs(changes, &mut look)? {}
            if !more_blocks {
                break;
            }
        }
        self.say_what_is_gone(&mut look);
        self.say_if_there_is_a_gap(&mut look);
        self.say_if_it_is_named_otherwise(&mut look);
        Ok(look)
    }

    fn mark(&mut self, name: &Label) -> Result<(), OutboxError> {
        self.index.mark(name)
    }
}

fn load(conn: &Connection) -> rusqlite::Result<BTreeMap<Key, Known>> {
    let sql = "SELECT height, proof, length, modified_ns, inode, hash FROM tipline_file";
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let part = if row.get(1)? { Part::Proof } else { Part::Block };
        let key = Key { height: from_i64(row.get(0)?), part };
        let (modified_ns, inode) = (row.get(3)?, row.get(4)?);
        let stamp = Stamp { length: from_i64(row.get(2)?), modified_ns, inode };
        Ok((key, Known { stamp, hash: row.get(5)? }))
    })?;
    rows.collect()
}

/// Writes down what a file is.
pub(super) fn record(tx: &Transaction<'_>, key: Key, known: &Known) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO tipline_file VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let Stamp { length, modified_ns, inode } = known.stamp;
    let proof = key.part == Part::Proof;
    let values = (to_i64(key.height), proof, to_i64(length), modified_ns, inode, known.hash);
    tx.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Forgets files of blocks below this height.
pub(super) fn forget(tx: &Transaction<'_>, below: u64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM tipline_file WHERE height < ?1";
    tx.prepare_cached(sql)?.execute([to_i64(below)])?;
    Ok(())
}
