//! A moment of the store: the index as of the snapshot, and the files that it refers to.
//!
//! A file is written once and then only renamed, replaced or removed by name. So a hard link to
//! it is a copy that nothing changes any more. What is replaced before it is linked was retained,
//! and is found by its hash.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::ops::ControlFlow;
use std::path::Path;

use tipline_proto::Cursor;

use super::layout::{INDEX, Key, Layout, Part, Staged};
use super::read::FileReader;
use super::reference::{Mismatch, Reference};
use super::retained::RetainGuard;
use crate::disk::{changing, failed, is_one_file_system, make_directory, private, sync_directory};
use crate::error::StoreError;
use crate::reader::StoreReader;
use crate::snapshot::{Copied, Snapshot, Throttle};
use crate::sqlite::{PayloadOf, SqliteSnapshot};
use crate::stored::StoreIdentity;

/// So much is read at once.
const PIECE: usize = 1 << 20;

/// The store as its index was when the snapshot was taken.
#[derive(Debug)]
pub(super) struct FilesSnapshot {
    place: String,
    layout: Layout,
    index: SqliteSnapshot,
    retained: RetainGuard,
    /// What the store is by now, to tell what was replaced from what is damaged.
    now: FileReader,
}

/// How the copy of one file ended.
enum Ended {
    Whole,
    Cancelled,
    Overtaken,
}

impl FilesSnapshot {
    pub(super) fn new(
        place: String,
        layout: Layout,
        index: SqliteSnapshot,
        retained: RetainGuard,
    ) -> Result<Self, StoreError> {
        let now = FileReader::connect(layout.clone(), place.clone())?;
        Ok(Self { place, layout, index, retained, now })
    }

    /// Links or copies every file that the index refers to, and flushes the directories.
    fn copy_files(&self, to: &Layout, pace: &dyn Throttle) -> Result<Copied, StoreError> {
        let failed = |e| changing(&self.place, "making the directories of its copy", e);
        make_directory(&to.blocks()).map_err(failed)?;
        let mut epochs = BTreeSet::new();
        let mut ended = Copied::Whole;
        let mut piece = vec![0; PIECE];
        self.index.payloads(|of, height, index, reference| {
            let key = Key { height, part: part(of) };
            let reference = self.reference(key, reference)?;
            if epochs.insert(key.epoch()) {
                make_directory(&to.epoch(key.epoch())).map_err(failed)?;
            }
            match self.copy_file(key, index, &reference, to, &mut piece, pace)? {
                Ended::Whole => return Ok(ControlFlow::Continue(())),
                Ended::Cancelled => ended = Copied::Cancelled,
                Ended::Overtaken => {
                    let what = format!("the file of {key} was replaced before it was copied");
                    ended = Copied::Overtaken { what };
                }
            }
            Ok(ControlFlow::Break(()))
        })?;
        let directories = epochs.iter().map(|epoch| to.epoch(*epoch)).chain([to.blocks()]);
        for directory in directories {
            sync_directory(&directory).map_err(|e| self.flushing(e))?;
        }
        Ok(ended)
    }

    fn reference(&self, key: Key, bytes: &[u8]) -> Result<Reference, StoreError> {
        Reference::decode(bytes).map_err(|why| self.damaged(key, why))
    }

    /// Under its final name, or that of `staging` if it was not put in its place yet, or under
    /// the final one if it was put there between the two looks, or where it was retained.
    fn copy_file(
        &self,
        key: Key,
        index: u64,
        reference: &Reference,
        to: &Layout,
        piece: &mut [u8],
        pace: &dyn Throttle,
    ) -> Result<Ended, StoreError> {
        let last = self.layout.file(key);
        let staged = self.layout.staged(&Staged::Payload { key, index });
        let copy = to.file(key);
        let mut why = Mismatch::Missing;
        let places = [last.clone(), staged, last.clone()].into_iter();
        // The first three are tried before the last ones are asked for.
        for from in places.chain(iter::once(()).flat_map(|()| self.retained.files(key))) {
            match take(&from, &copy, reference, piece, pace) {
                Ok(Taken::Whole) => return Ok(Ended::Whole),
                Ok(Taken::Cancelled) => return Ok(Ended::Cancelled),
                Ok(Taken::Not(not)) if from == last => why = not,
                Ok(Taken::Not(_)) => {}
                Err(e) => {
                    let what = format!("copying {}", self.layout.relative(&from));
                    return Err(changing(&self.place, what, e));
                }
            }
        }
        // If the index still has this very row, nobody replaced the file. Whoever opened the store
        // again knows of no snapshot.
        if self.now.index_of(key)? == Some(index) {
            Err(self.damaged(key, why))
        } else {
            Ok(Ended::Overtaken)
        }
    }

    fn damaged(&self, key: Key, why: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        let path = self.layout.file(key);
        let at = self.layout.relative(&path).to_string();
        StoreError::Corrupt { place: self.place.clone(), at, source: Some(Box::new(why)) }
    }

    fn flushing(&self, error: io::Error) -> StoreError {
        failed(&self.place, "flushing the directories of its copy", error)
    }
}

impl Snapshot for FilesSnapshot {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn identity(&self) -> &StoreIdentity {
        self.index.identity()
    }

    fn cursor(&self) -> &Cursor {
        self.index.cursor()
    }

    fn versions(&self) -> Vec<(String, String)> {
        self.index.versions()
    }

    fn bytes(&self, into: &Path) -> Result<u64, StoreError> {
        let mut bytes = self.index.length();
        let looking = |e| failed(&self.place, "inspecting the file system of its copy", e);
        if !is_one_file_system(self.layout.root(), into).map_err(looking)? {
            self.index.payloads(|of, height, _, reference| {
                let key = Key { height, part: part(of) };
                bytes = bytes.saturating_add(self.reference(key, reference)?.length());
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(bytes)
    }

    fn copy(&mut self, into: &Path, pace: &dyn Throttle) -> Result<Copied, StoreError> {
        let to = Layout::new(into.to_owned());
        match self.copy_files(&to, pace)? {
            Copied::Whole => self.index.copy_to(&into.join(INDEX), pace),
            ended => Ok(ended),
        }
    }

    fn open(&self, copy: &Path) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(FileReader::open_copy(copy)?))
    }
}

fn part(of: PayloadOf) -> Part {
    match of {
        PayloadOf::Block => Part::Block,
        PayloadOf::Proof => Part::Proof,
    }
}

enum Taken {
    Whole,
    Cancelled,
    /// There is no such file, or it is another one.
    Not(Mismatch),
}

/// Links or copies a file, if it is what it should be; there is no copy otherwise.
fn take(
    from: &Path,
    to: &Path,
    reference: &Reference,
    piece: &mut [u8],
    pace: &dyn Throttle,
) -> io::Result<Taken> {
    match fs::metadata(from) {
        // A pipe would be waited for.
        Ok(found) if !found.is_file() => return Ok(Taken::Not(Mismatch::NotAFile)),
        _ => {}
    }
    // Looked at by its copy: whatever has the name meanwhile, the copy stays what it is.
    let linked = match fs::hard_link(from, to) {
        Ok(()) => true,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Taken::Not(Mismatch::Missing)),
        // Another file system, one without links, or too many of them.
        Err(e) if e.kind() != ErrorKind::AlreadyExists => false,
        Err(e) => return Err(e),
    };
    let mut source = match File::open(if linked { to } else { from }) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Taken::Not(Mismatch::Missing)),
        Err(e) => return Err(e),
    };
    let mut copy = if linked {
        None
    } else {
        Some(private(File::options().write(true).create_new(true)).open(to)?)
    };
    let taken = pass(&mut source, copy.as_mut(), reference, piece, pace)?;
    match (&taken, copy) {
        (Taken::Whole, Some(copy)) => copy.sync_all()?,
        (Taken::Whole, None) => {}
        _ => fs::remove_file(to)?,
    }
    Ok(taken)
}

/// Reads a file to its end, and writes it if there is a copy to write.
fn pass(
    source: &mut File,
    mut copy: Option<&mut File>,
    reference: &Reference,
    piece: &mut [u8],
    pace: &dyn Throttle,
) -> io::Result<Taken> {
    if let Err(why) = reference.check_length(source.metadata()?.len()) {
        return Ok(Taken::Not(why));
    }
    let mut hasher = blake3::Hasher::new();
    loop {
        let read = source.read(piece)?;
        if pace.moved(read as u64).is_break() {
            return Ok(Taken::Cancelled);
        }
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        if let Some(copy) = &mut copy {
            copy.write_all(&piece[..read])?;
        }
    }
    Ok(match reference.check_hash(hasher.finalize()) {
        Ok(()) => Taken::Whole,
        Err(why) => Taken::Not(why),
    })
}
