//! Whether the file has all of its pages, or its WAL has those that it lacks.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use rusqlite::Connection;

use super::error::store_error;
use crate::disk::{failed, with_suffix};
use crate::error::StoreError;

/// As the format of the WAL has them: the salts of the header are those of every frame in use.
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Where SQLite puts its locks: the page with this byte in it is never written.
const LOCKED_BYTE: u64 = 1 << 30;

/// A file ends before its last page if a crash kept it from growing: then the WAL has the rest. SQLite
/// compares the two only if there is nothing in the WAL. Otherwise it takes what was cut away for zeros,
/// and says so when somebody reads there.
///
/// # Errors
/// [`StoreError::Corrupt`] names the first page that is in neither.
pub(super) fn check(path: &Path, place: &str, connection: &Connection) -> Result<(), StoreError> {
    let ask = |sql: &str| {
        let asked = connection.query_row(sql, [], |row| row.get::<_, u32>(0));
        asked.map(u64::from).map_err(|e| store_error(place, "counting its pages", e))
    };
    let (size, pages) = (ask("PRAGMA page_size")?.max(1), ask("PRAGMA page_count")?);
    let found = fs::metadata(path).map_err(|e| failed(place, "looking at its length", e))?;
    let whole = found.len() / size;
    if whole >= pages {
        return Ok(());
    }
    // SQLite holds no lock on this one that closing it could drop.
    let logged = logged(&with_suffix(path, "-wal"), size);
    let logged = logged.map_err(|e| failed(place, "reading its WAL", e))?;
    let is_missing = |page: &u64| !logged.contains(page) && *page != LOCKED_BYTE / size + 1;
    let Some(missing) = (whole + 1..=pages).find(is_missing) else {
        return Ok(());
    };
    let why = format!("the file has {} bytes, and its WAL has not the rest", found.len());
    let at = format!("page {missing} of {pages}");
    Err(StoreError::Corrupt { place: place.to_owned(), at, source: Some(why.into()) })
}

/// The pages that a WAL has.
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
