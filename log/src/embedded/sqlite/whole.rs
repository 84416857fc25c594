//! Whether the file has all of its pages, or its write-ahead log has those that it lacks.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use rusqlite::Connection;

use super::error::explain;
use crate::embedded::files::with_suffix;
use crate::error::LogError;

/// As the format of the write-ahead log has them: the salts of its header are those of every frame in
/// use.
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Where SQLite puts its locks: the page with this byte in it is never written.
const LOCKED_BYTE: u64 = 1 << 30;

/// A file ends before its last page if nobody has carried the rest into it yet: the write-ahead log has
/// that. SQLite compares the two only if there is nothing in the write-ahead log. Otherwise it takes what
/// was cut away for zeros, and says so when somebody reads there.
///
/// # Errors
/// `Corrupt` names the first page that is in neither.
pub(super) fn check(path: &Path, place: &str, connection: &Connection) -> Result<(), LogError> {
    let what = "counting its pages";
    // What is read until it ends stays in the write-ahead log, whoever writes and carries meanwhile.
    let snapshot = connection.unchecked_transaction().map_err(|e| explain(place, what, e))?;
    let ask = |name: &str| {
        let asked = snapshot.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
        asked.map(u64::from).map_err(|e| explain(place, what, e))
    };
    let (pages, size) = (ask("page_count")?, ask("page_size")?.max(1));
    let unseen = |e: io::Error| LogError::Unavailable {
        place: place.to_owned(),
        what: format!("looking at {} and its write-ahead log", path.display()),
        source: Some(e.into()),
    };
    let bytes = fs::metadata(path).map_err(unseen)?.len();
    let whole = bytes / size;
    if whole >= pages {
        return Ok(());
    }
    let logged = logged(&with_suffix(path, "-wal"), size).map_err(unseen)?;
    let is_missing = |page: &u64| !logged.contains(page) && *page != LOCKED_BYTE / size + 1;
    let Some(missing) = (whole + 1..=pages).find(is_missing) else {
        return Ok(());
    };
    let why = format!(
        "{} has {bytes} bytes, and its write-ahead log has not the rest: it was cut, or copied \
         without it; put back what was there",
        path.display()
    );
    let at = format!("page {missing} of {pages}");
    Err(LogError::Corrupt { place: place.to_owned(), at, source: Some(why.into()) })
}

/// The pages that a write-ahead log has. SQLite holds no lock on it that closing it could drop.
fn logged(wal: &Path, page: u64) -> io::Result<BTreeSet<u64>> {
    let mut pages = BTreeSet::new();
    let mut wal = match File::open(wal) {
        Ok(file) => BufReader::new(file),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(pages),
        Err(e) => return Err(e),
    };
    let Some(header) = next::<HEADER>(&mut wal)? else { return Ok(pages) };
    while let Some(frame) = next::<FRAME_HEADER>(&mut wal)? {
        // Those after the last one in use are of an earlier round.
        if frame[8..16] != header[16..24] {
            break;
        }
        let mut number = [0; 4];
        number.copy_from_slice(&frame[..4]);
        pages.insert(u64::from(u32::from_be_bytes(number)));
        wal.seek_relative(i64::try_from(page).unwrap_or(i64::MAX))?;
    }
    Ok(pages)
}

/// So many bytes; `None` if it ends before.
fn next<const N: usize>(wal: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match wal.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}
