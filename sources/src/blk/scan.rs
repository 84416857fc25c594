//! One look at the files: which blocks they have gained.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use tipline_log::Clock;
use tipline_producer::OutboxError;
use tipline_proto::{Hash, LinkError, Timestamp, Tip};

use super::end::names;
use super::record::{self, FRAME, Head, Magic, Record};
use super::tree::{Node, Place, Tree};
use crate::files::{
    Completeness, FileChanges, Index, Look, Scan, damaged, from_i64, io_failed, sync_failed, to_i64,
};

/// Blocks that are noted before they are published, and the next are looked for.
const MOST_RECORDS: usize = 1000;
/// Blocks that may wait for their parents. A node that fetches blocks in any order has at
/// most about a thousand under way.
const MOST_WAITING: usize = 100_000;
/// How long a record may stay half written without a warning.
const HALF_WRITTEN: Duration = Duration::from_secs(60);

/// How far the files have been read, and the blocks that still matter.
pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS tipline_blk_file (
    name TEXT PRIMARY KEY,
    offset INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS tipline_blk_block (
    hash BLOB PRIMARY KEY,
    parent BLOB NOT NULL,
    height INTEGER,
    file TEXT NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS tipline_blk_height ON tipline_blk_block (height);";

/// The files of a node.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) root: PathBuf,
    /// The name of the one that is meant, if not all are.
    pub(super) only: Option<String>,
    /// With which they are XORed.
    pub(super) key: [u8; 8],
}

/// Records that were found in a file.
struct Found {
    places: Vec<(Head, Place)>,
    /// Where the next record starts.
    end: u64,
    magic: Option<Magic>,
    /// How much is missing of the record there.
    half_written: Option<u64>,
}

pub(super) struct BlkScan {
    pub(super) index: Index,
    pub(super) files: Files,
    pub(super) clock: Clock,
    pub(super) genesis: Hash,
    pub(super) place: String,
    pub(super) tree: Tree,
    /// The newest block that was enqueued.
    pub(super) tip: Option<Tip>,
    pub(super) warned_full: bool,
    offsets: BTreeMap<String, u64>,
    magic: Option<Magic>,
    /// What is in memory may not be what is in the index. Read it again first.
    stale: bool,
    warned_half: Option<(PathBuf, u64)>,
    warned_waiting: Option<Hash>,
}

impl BlkScan {
    /// Goes on from what the index remembers.
    pub(super) fn new(
        index: Index,
        files: Files,
        clock: Clock,
        genesis: Hash,
        place: String,
    ) -> Result<Self, OutboxError> {
        let tree = Tree::new(genesis.clone());
        let mut scan = Self {
            index,
            files,
            clock,
            genesis,
            place,
            tree,
            tip: None,
            warned_full: false,
            offsets: BTreeMap::new(),
            magic: None,
            stale: true,
            warned_half: None,
            warned_waiting: None,
        };
        scan.load()?;
        Ok(scan)
    }

    fn load(&mut self) -> Result<(), OutboxError> {
        self.tip = self.index.tip()?;
        let (offsets, nodes) = self.index.read(|conn| Ok((offsets(conn)?, nodes(conn)?)))?;
        self.offsets = offsets;
        self.tree = Tree::new(self.genesis.clone());
        for (hash, node) in nodes {
            self.tree.restore(hash, node);
        }
        self.stale = false;
        Ok(())
    }

    /// The files in order.
    fn list(&self) -> Result<Vec<PathBuf>, OutboxError> {
        match &self.files.only {
            Some(name) => Ok(vec![self.files.root.join(name)]),
            None => {
                names(&self.files.root).map_err(io_failed(&self.place, "listing", &self.files.root))
            }
        }
    }

    /// Notes the next blocks of a file; answers whether there may be more.
    fn note(
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
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let start = self.offsets.get(name).copied().unwrap_or(0);
        if metadata.len() < start {
            let why = format!("it was read up to offset {start}, and now it ends before that");
            return Err(damaged(&self.place, path, why));
        }
        // After a restart every record starts as the first one does.
        if self.magic.is_none() && start > 0 {
            self.magic = Some(record::magic(&mut file, self.files.key).map_err(failed)?);
        }
        let modified = metadata.modified().map(Timestamp::from).map_err(failed)?;
        let is_complete = || match changes.completeness(path, modified, (self.clock)(), || finished)
        {
            Completeness::Complete => true,
            Completeness::Writing => false,
            Completeness::Settles(left) => {
                look.within(left);
                false
            }
        };
        let found = self.records(path, &mut file, start, is_complete)?;
        if found.places.is_empty() {
            if let Some(missing) = found.half_written {
                self.warn_half_written(path, start, missing, modified);
            }
            return Ok(false);
        }
        file.sync_data().map_err(sync_failed(&self.place, path))?;
        self.remember(name, found)?;
        Ok(true)
    }

    /// The records from an offset on that are whole.
    fn records(
        &self,
        path: &Path,
        file: &mut File,
        start: u64,
        mut is_complete: impl FnMut() -> bool,
    ) -> Result<Found, OutboxError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut found =
            Found { places: Vec::new(), end: start, magic: self.magic, half_written: None };
        while found.places.len() < MOST_RECORDS {
            let offset = found.end;
            let record = record::read(file, offset, self.files.key, found.magic);
            match record.map_err(io_failed(&self.place, "reading", path))? {
                Record::Whole(head) if head.followed || is_complete() => {
                    found.magic = Some(head.magic);
                    let length = head.length;
                    found.end = offset + FRAME + length;
                    let file = name.clone().into_owned();
                    found.places.push((head, Place { file, offset, length }));
                }
                // What is whole before it comes first.
                Record::Garbage(why) if found.places.is_empty() && is_complete() => {
                    return Err(damaged(&self.place, path, format!("at offset {offset}: {why}")));
                }
                Record::Partial { missing } => {
                    found.half_written = Some(missing);
                    break;
                }
                Record::End | Record::Whole(_) | Record::Garbage(_) => break,
            }
        }
        Ok(found)
    }

    /// Writes down what was found, in one transaction with how far the file was read.
    fn remember(&mut self, name: &str, found: Found) -> Result<(), OutboxError> {
        self.stale = true;
        self.magic = found.magic;
        let offset = found.end;
        let mut news = Vec::new();
        for (head, place) in found.places {
            news.extend(self.tree.add(head.hash, head.parent, place));
        }
        let tree = &self.tree;
        self.index.write(|tx| {
            let mut known = news.iter().filter_map(|hash| Some((hash, tree.get(hash)?)));
            known.try_for_each(|(hash, node)| put(tx, hash, node))?;
            let sql = "INSERT OR REPLACE INTO tipline_blk_file VALUES (?1, ?2)";
            tx.execute(sql, (name, to_i64(offset)))?;
            Ok(())
        })?;
        self.offsets.insert(name.to_owned(), offset);
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

    fn warn_half_written(&mut self, path: &Path, offset: u64, missing: u64, modified: Timestamp) {
        let at = Some((path.to_owned(), offset));
        if (self.clock)().since(modified) >= HALF_WRITTEN && self.warned_half != at {
            tracing::warn!(
                path = %path.display(),
                offset,
                missing,
                "a block is written only in part, and nobody continues it: was the file cut off?"
            );
            self.warned_half = at;
        }
    }

    /// After all that is there: does it belong to this chain?
    fn check_links(&mut self) -> Result<(), OutboxError> {
        if self.tree.waiting() == 0 {
            return Ok(());
        }
        let Some(missing) = self.tree.missing_parent().cloned() else {
            return Ok(());
        };
        if !self.tree.is_connected() {
            let (found, genesis) = (missing, self.genesis.clone());
            let source = LinkError::WrongGenesis { height: 1, found, genesis };
            let event = format!("the first block of {}", self.place);
            return Err(OutboxError::DoesNotLink { event, source });
        }
        if self.warned_waiting.as_ref() != Some(&missing) {
            tracing::warn!(
                place = self.place,
                waiting = self.tree.waiting(),
                %missing,
                "blocks wait for a parent that is not in the files yet"
            );
            self.warned_waiting = Some(missing);
        }
        Ok(())
    }
}

impl Scan for BlkScan {
    fn scan(&mut self, changes: &mut FileChanges) -> Result<Look, OutboxError> {
        let mut look = Look::when_changed();
        if self.stale {
            self.load()?;
        }
        // Which files changed does not matter. Looking at every file's length costs little.
        changes.take_everything();
        changes.take_changed();
        let files = self.list()?;
        let last = files.len().saturating_sub(1);
        // What was noted before and not published comes first.
        if !self.publish(&mut look)? {
            return Ok(look);
        }
        for (at, path) in files.iter().enumerate() {
            while self.note(path, at < last, changes, &mut look)? {
                if !self.publish(&mut look)? {
                    return Ok(look);
                }
            }
        }
        self.check_links()?;
        Ok(look)
    }
}

fn put(tx: &Transaction<'_>, hash: &Hash, node: &Node) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO tipline_blk_block VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let Node { parent, height, place } = node;
    let Place { file, offset, length } = place;
    tx.prepare_cached(sql)?.execute((
        hash.as_ref(),
        parent.as_ref(),
        height.map(to_i64),
        file,
        to_i64(*offset),
        to_i64(*length),
    ))?;
    Ok(())
}

fn offsets(conn: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut statement = conn.prepare("SELECT name, offset FROM tipline_blk_file")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, from_i64(row.get(1)?))))?;
    rows.collect()
}

fn nodes(conn: &Connection) -> rusqlite::Result<Vec<(Hash, Node)>> {
    let sql = "SELECT hash, parent, height, file, offset, length FROM tipline_blk_block \
               ORDER BY height, hash";
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let hash = |at: usize| {
            let bytes: Vec<u8> = row.get(at)?;
            Hash::new(bytes).map_err(|error| {
                let blob = rusqlite::types::Type::Blob;
                rusqlite::Error::FromSqlConversionFailure(at, blob, Box::new(error))
            })
        };
        let (offset, length) = (from_i64(row.get(4)?), from_i64(row.get(5)?));
        let place = Place { file: row.get(3)?, offset, length };
        let height = row.get::<_, Option<i64>>(2)?.map(from_i64);
        Ok((hash(0)?, Node { parent: hash(1)?, height, place }))
    })?;
    rows.collect()
}
