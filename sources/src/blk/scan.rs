//! One look at the files: what is known of them, and what to do in which order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tipline_log::Clock;
use tipline_producer::OutboxError;
use tipline_proto::{Hash, Label, Timestamp, Tip};

use super::end::names;
use super::record::Magic;
use super::rows::{self, Gaps};
use super::tree::Tree;
use crate::files::{FileChanges, Guard, Index, Look, Scan, Stamp, io_failed};

/// The files of a node.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) root: PathBuf,
    /// The name of the one that is meant, if not all are.
    pub(super) only: Option<String>,
    /// With which they are XORed.
    pub(super) key: [u8; 8],
    /// Makes the names in a directory durable.
    pub(super) sync: fn(&Path) -> io::Result<()>,
}

/// Fsyncs a directory.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

pub(super) struct BlkScan {
    pub(super) index: Index,
    pub(super) guard: Guard,
    pub(super) files: Files,
    pub(super) clock: Clock,
    pub(super) genesis: Hash,
    pub(super) place: String,
    pub(super) tree: Tree,
    /// The newest block that was enqueued.
    pub(super) tip: Option<Tip>,
    pub(super) warned_full: bool,
    /// How far each file has been read.
    pub(super) offsets: BTreeMap<String, u64>,
    /// Where in a file no whole block was, with blocks after it.
    pub(super) gaps: BTreeMap<String, Gaps>,
    /// Why a file is not read further, where it ends within a record.
    pub(super) torn: BTreeMap<String, String>,
    /// What each file was when all of it had been read, and its known blocks again.
    pub(super) seen: BTreeMap<String, Stamp>,
    /// What each file was when all of it was as it had been read, old blocks too.
    pub(super) verified: BTreeMap<String, Stamp>,
    /// What each file was when its first block was read, while the others are.
    pub(super) begun: BTreeMap<String, Stamp>,
    pub(super) magic: Option<Magic>,
    /// What is in memory may not be what is in the index. Read it again first.
    pub(super) stale: bool,
    /// The parent that blocks have been waiting for, and since when.
    pub(super) waiting: Option<(Hash, Timestamp)>,
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
        let guard = Guard::new(&place, vec![files.root.clone()])?;
        let mut scan = Self {
            index,
            guard,
            files,
            clock,
            genesis,
            place,
            tree,
            tip: None,
            warned_full: false,
            offsets: BTreeMap::new(),
            gaps: BTreeMap::new(),
            torn: BTreeMap::new(),
            seen: BTreeMap::new(),
            verified: BTreeMap::new(),
            begun: BTreeMap::new(),
            magic: None,
            stale: true,
            waiting: None,
        };
        scan.magic = scan.check_key()?;
        scan.load()?;
        Ok(scan)
    }

    fn load(&mut self) -> Result<(), OutboxError> {
        self.tip = self.index.tip()?;
        let (offsets, gaps, nodes) = self
            .index
            .read(|conn| Ok((rows::offsets(conn)?, rows::gaps(conn)?, rows::nodes(conn)?)))?;
        self.offsets = offsets;
        self.gaps = gaps;
        self.verified = self.index.read(rows::seen)?;
        self.seen.clear();
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
}

impl Scan for BlkScan {
    fn scan(&mut self, changes: &mut FileChanges) -> Result<Look, OutboxError> {
        let mut look = Look::when_changed();
        self.guard.check()?;
        self.index.check()?;
        if self.stale {
            self.load()?;
        }
        // Looking at every file's length costs little. What was noticed may not show in that.
        changes.take_everything();
        for path in changes.take_changed() {
            if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                self.seen.remove(name);
            }
        }
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
        self.say_what_is_wrong(&files, &mut look)?;
        // Last, because it may take long, and nothing waits for it.
        self.verify_next(&files, &mut look)?;
        Ok(look)
    }

    fn mark(&mut self, name: &Label) -> Result<(), OutboxError> {
        self.index.mark(name)
    }
}
