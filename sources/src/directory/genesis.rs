//! The genesis of the chain whose blocks are in a directory.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use tipline_producer::OutboxError;

use super::format::BlockFormat;
use super::layout::{Key, Layout};
use crate::Genesis;
use crate::files::{Stamp, damaged, io_failed};

/// How often a file may change while it is read, before that is an error.
const TRIES: usize = 3;
/// The last block is complete if it was not changed for this long.
const SETTLED: Duration = Duration::from_secs(2);

/// See [`Genesis::in_directory`].
pub(crate) fn find_genesis(root: &Path, format: &dyn BlockFormat) -> Result<Genesis, OutboxError> {
    let place = format!("dir:{}", root.display());
    let unusable = |why: String| {
        let place = place.clone();
        OutboxError::Unusable { place, why, source: None }
    };
    let layout = Layout::below(root);
    for height in [0, 1] {
        let path = layout.path(Key::block(height));
        let Some(bytes) = read(&place, &layout, height)? else {
            continue;
        };
        let header = format.read(height, &bytes).map_err(|why| damaged(&place, &path, why))?;
        let (hash, what) = match (height, header.parent) {
            (0, _) => (header.hash, "block 0 in"),
            (_, Some(parent)) => (parent, "the parent of block 1 in"),
            (_, None) => {
                let name = format.name();
                return Err(unusable(format!(
                    "it begins with block 1, and format={name} does not say what that is on top \
                     of: give the hash of the genesis block"
                )));
            }
        };
        let found = format!("{what} {} (format={})", path.display(), format.name());
        return Ok(Genesis { hash, found });
    }
    Err(unusable(format!(
        "there is neither block 0 nor block 1 in it ({}): give the node's directory, or the hash \
         of the genesis block",
        layout.path(Key::block(0)).display()
    )))
}

/// The content of a block's file; `None` if it is not there. Waits until nobody writes to it.
fn read(place: &str, layout: &Layout, height: u64) -> Result<Option<Vec<u8>>, OutboxError> {
    let path = layout.path(Key::block(height));
    let failed = |error| io_failed(place, "reading", &path)(error);
    let successor = layout.path(Key::block(height + 1));
    for _ in 0..TRIES {
        let before = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if !successor.exists() {
            // A time in the future says nothing: then it is waited for as long.
            let age = before.modified().map_err(failed)?.elapsed().unwrap_or_default();
            thread::sleep(SETTLED.saturating_sub(age));
        }
        let bytes = fs::read(&path).map_err(failed)?;
        let after = fs::metadata(&path).map_err(failed)?;
        if !bytes.is_empty() && Stamp::new(&before) == Stamp::new(&after) {
            return Ok(Some(bytes));
        }
    }
    let what = format!("reading {}: it is empty, or being written", path.display());
    Err(OutboxError::Failed { place: place.to_owned(), what, source: None })
}
