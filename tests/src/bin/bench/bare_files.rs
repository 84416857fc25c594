//! Writing block files as one would with the standard library alone.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tipline_proto::{Entry, Event};

use crate::Outcome;

/// A directory of blocks, and a small file for the cursor.
pub(crate) struct Directory {
    root: PathBuf,
    blocks: PathBuf,
    handle: File,
}

impl Directory {
    pub(crate) fn new(root: &Path) -> Outcome<Self> {
        let blocks = root.join("blocks").join("0000");
        fs::create_dir_all(&blocks)?;
        let handle = File::open(root)?;
        Ok(Self { root: root.to_owned(), blocks, handle })
    }

    /// Writes blocks under temporary names, makes them durable all at once, renames them, and
    /// replaces the cursor, last.
    pub(crate) fn store(&self, batch: &[Entry]) -> Outcome<()> {
        let mut renames = vec![];
        for entry in batch {
            let Event::BlockCommitted { height, payload, .. } = &entry.event else { continue };
            let path = self.blocks.join(format!("block_{height:08x}.dat"));
            let temporary = path.with_extension("tmp");
            File::create_new(&temporary)?.write_all(payload)?;
            renames.push((temporary, path));
        }
        rustix::fs::syncfs(&self.handle)?;
        for (temporary, path) in renames {
            fs::rename(temporary, path)?;
        }
        File::open(&self.blocks)?.sync_all()?;
        let Some(last) = batch.last() else { return Ok(()) };
        let temporary = self.root.join("cursor.tmp");
        let mut cursor = File::create(&temporary)?;
        writeln!(cursor, "{} {}", last.index, last.digest)?;
        cursor.sync_all()?;
        fs::rename(temporary, self.root.join("cursor"))?;
        self.handle.sync_all()?;
        Ok(())
    }
}
