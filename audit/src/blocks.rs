//! Hashes of blocks by height, of a chain of any length, in constant memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use tipline_proto::Hash;

/// How many of the newest are kept in memory: a day of blocks every 1.3 s, and some 8 MB.
pub(crate) const IN_MEMORY: usize = 65_536;
/// Bytes of a block in the file: the length of its hash, and the hash.
const SLOT: usize = 1 + tipline_proto::limits::MAX_HASH_BYTES;

/// Hashes of consecutive blocks. The newest are in memory, the older ones in a file without a name
/// in the directory of temporary files: 65 bytes each.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Height of the lowest.
    lowest: u64,
    /// How many of the lowest are in the file.
    in_file: u64,
    file: Option<File>,
    newest: VecDeque<Hash>,
    /// How many there may be.
    in_memory: usize,
}

impl Blocks {
    /// None yet, of which `in_memory` at most will be in memory.
    pub(crate) fn new(in_memory: usize) -> Self {
        Self { lowest: 0, in_file: 0, file: None, newest: VecDeque::new(), in_memory }
    }

    fn is_empty(&self) -> bool {
        self.in_file == 0 && self.newest.is_empty()
    }

    fn count(&self) -> u64 {
        self.in_file + self.newest.len() as u64
    }

    /// Height of the lowest block; `None` if there is none.
    pub(crate) fn lowest(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.lowest)
    }

    /// Adds the block above the highest; the first one may have any height.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub(crate) fn push(&mut self, height: u64, hash: Hash) -> io::Result<()> {
        if self.is_empty() {
            self.lowest = height;
        }
        debug_assert_eq!(height, self.lowest + self.count(), "links are checked before");
        self.newest.push_back(hash);
        if self.newest.len() <= self.in_memory {
            return Ok(());
        }
        self.move_half()
    }

    /// The hash of a block; `None` if there is none at this height.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn get(&self, height: u64) -> io::Result<Option<Hash>> {
        let Some(at) = height.checked_sub(self.lowest).filter(|at| *at < self.count()) else {
            return Ok(None);
        };
        if let Some(at) = at.checked_sub(self.in_file) {
            // It is below the number of those in memory.
            return Ok(self.newest.get(at as usize).cloned());
        }
        let Some(file) = &self.file else { return Ok(None) };
        let mut slot = [0; SLOT];
        file.read_exact_at(&mut slot, at * SLOT as u64)?;
        let hash = slot.get(1..1 + usize::from(slot[0])).unwrap_or_default();
        let hash = Hash::new(hash);
        hash.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Removes every block above a height.
    pub(crate) fn roll_back(&mut self, height: u64) {
        let remaining = match height.checked_sub(self.lowest) {
            Some(above) => self.count().min(above.saturating_add(1)),
            None => 0,
        };
        // Both are at most what is in memory.
        self.newest.truncate(remaining.saturating_sub(self.in_file) as usize);
        self.in_file = self.in_file.min(remaining);
    }

    /// Moves the older half of what is in memory into the file.
    fn move_half(&mut self) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        let file = self.file.insert(file);
        let half = self.newest.len() / 2;
        let mut slots = Vec::with_capacity(half * SLOT);
        for hash in self.newest.iter().take(half) {
            let bytes: &[u8] = hash.as_ref();
            let mut slot = [0; SLOT];
            // A hash has at most 64 bytes, by its type.
            slot[0] = bytes.len() as u8;
            slot[1..=bytes.len()].copy_from_slice(bytes);
            slots.extend_from_slice(&slot);
        }
        file.write_all_at(&slots, self.in_file * SLOT as u64)?;
        self.in_file += half as u64;
        self.newest.drain(..half);
        Ok(())
    }
}
