//! Whether the write-ahead log of the index is what was written to it.
//!
//! SQLite checks the checksums of its write-ahead log only when it begins with one that is there
//! already. While it runs it believes what it reads. Both formats are SQLite's own and do not
//! change: <https://sqlite.org/fileformat2.html#walformat>, <https://sqlite.org/walformat.html>.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Before the frames.
const HEADER: usize = 32;
/// Before the page in each frame.
const FRAME: usize = 24;
/// What the file starts with, if checksums are over little-endian words; one more if big-endian.
const MAGIC: u32 = 0x377f_0682;
/// How often it is read again if somebody commits meanwhile.
const TRIES: usize = 5;

/// What is known of a write-ahead log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WalCheck {
    /// Every frame is what was written.
    Whole,
    /// Somebody committed meanwhile: look again.
    Changing,
    /// What is wrong.
    Corrupt(String),
}

/// Compares the frames that count with their checksums. Which those are, and what the last one
/// must come to, is in the shared memory beside the log.
pub(super) fn check(wal: &Path, shm: &Path) -> io::Result<WalCheck> {
    for _ in 0..TRIES {
        let Some(before) = Shared::read(shm)? else {
            continue;
        };
        if before.frames == 0 {
            return Ok(WalCheck::Whole);
        }
        let verified = verify(wal, &before)?;
        if Shared::read(shm)?.as_ref() != Some(&before) {
            continue;
        }
        return Ok(verified.map_or(WalCheck::Whole, WalCheck::Corrupt));
    }
    Ok(WalCheck::Changing)
}

/// Bytes of the frames that count. Readers may still need some of them.
pub(super) fn length(shm: &Path) -> io::Result<u64> {
    let shared = Shared::read(shm)?;
    Ok(shared.map_or(0, |shared| u64::from(shared.frames) * shared.page))
}

/// What the shared memory says of the log.
#[derive(Debug, PartialEq, Eq)]
struct Shared {
    frames: u32,
    /// Bytes of a page.
    page: u64,
    /// Checksum over everything up to the last frame.
    sum: Sum,
    salt: [u8; 8],
}

impl Shared {
    /// `None` while it is being written: there are two copies, one written after the other.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut bytes = [0; 96];
        File::open(path)?.read_exact(&mut bytes)?;
        let (one, two) = bytes.split_at(48);
        if one != two {
            return Ok(None);
        }
        let native =
            |at: usize| u32::from_ne_bytes([one[at], one[at + 1], one[at + 2], one[at + 3]]);
        let page = match u16::from_ne_bytes([one[14], one[15]]) {
            1 => 65_536,
            size => u64::from(size),
        };
        let mut salt = [0; 8];
        salt.copy_from_slice(&one[32..40]);
        Ok(Some(Self { frames: native(16), page, sum: Sum(native(24), native(28)), salt }))
    }
}

/// What is wrong with the frames; `None` if nothing is.
fn verify(path: &Path, shared: &Shared) -> io::Result<Option<String>> {
    let mut wal = BufReader::new(File::open(path)?);
    let mut header = [0; HEADER];
    if let Err(error) = wal.read_exact(&mut header) {
        return cut_off(error, 0);
    }
    let big = big_endian(&header, 0);
    let is_big = match big.checked_sub(MAGIC) {
        Some(0) => false,
        Some(1) => true,
        _ => return Ok(Some("its header is not what was written".to_owned())),
    };
    let mut sum = Sum(0, 0);
    sum.add(&header[..24], is_big);
    let is_header = sum == Sum(big_endian(&header, 24), big_endian(&header, 28));
    if !is_header || header[16..24] != shared.salt {
        return Ok(Some("its header is not what was written".to_owned()));
    }
    let page = match big_endian(&header, 8) {
        1 => 65_536,
        size => usize::try_from(size).unwrap_or(0),
    };
    let mut frame = vec![0; FRAME + page];
    for number in 1..=shared.frames {
        if let Err(error) = wal.read_exact(&mut frame) {
            return cut_off(error, number);
        }
        sum.add(&frame[..8], is_big);
        sum.add(&frame[FRAME..], is_big);
        let said = Sum(big_endian(&frame, 16), big_endian(&frame, 20));
        if frame[8..16] != shared.salt || sum != said {
            return Ok(Some(format!("its frame {number} is not what was written")));
        }
    }
    let is_last = sum == shared.sum;
    Ok((!is_last).then(|| "its newest frame is not what was written".to_owned()))
}

fn cut_off(error: io::Error, number: u32) -> io::Result<Option<String>> {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Ok(Some(format!("it ends before frame {number} does"))),
        _ => Err(error),
    }
}

fn big_endian(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// SQLite's checksum, over all that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum(u32, u32);

impl Sum {
    /// `bytes` are whole pairs of words.
    fn add(&mut self, bytes: &[u8], is_big: bool) {
        let word = |bytes: &[u8]| {
            let word = [bytes[0], bytes[1], bytes[2], bytes[3]];
            if is_big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        for pair in bytes.chunks_exact(8) {
            self.0 = self.0.wrapping_add(word(&pair[..4])).wrapping_add(self.1);
            self.1 = self.1.wrapping_add(word(&pair[4..])).wrapping_add(self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::*;

    #[test]
    fn every_byte_of_the_frames_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("PRAGMA page_size = 512; PRAGMA journal_mode = WAL;").unwrap();
        conn.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(700))").unwrap();
        let (wal, shm) = (directory.path().join("index-wal"), directory.path().join("index-shm"));
        assert_eq!(check(&wal, &shm).unwrap(), WalCheck::Whole);
        let whole = fs::read(&wal).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            fs::write(&wal, flipped).unwrap();
            let found = check(&wal, &shm).unwrap();
            // How large the database is after a commit has no checksum of its own but this one.
            assert!(matches!(found, WalCheck::Corrupt(_)), "byte {at}: {found:?}");
        }
        for length in 0..whole.len() {
            fs::write(&wal, &whole[..length]).unwrap();
            assert!(matches!(check(&wal, &shm).unwrap(), WalCheck::Corrupt(_)), "cut to {length}");
        }
        fs::write(&wal, &whole).unwrap();
        assert_eq!(check(&wal, &shm).unwrap(), WalCheck::Whole);
        // What is left of an earlier round does not count.
        conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        conn.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert_eq!(check(&wal, &shm).unwrap(), WalCheck::Whole);
    }
}
