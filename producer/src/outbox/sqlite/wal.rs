//! Whether the write-ahead log of a database is what was written to it.
//!
//! SQLite checks the checksums of its write-ahead log only when it begins with one that is there
//! already. While it runs it believes what it reads. Both formats are SQLite's own and do not
//! change: <https://sqlite.org/fileformat2.html#walformat>, <https://sqlite.org/walformat.html>.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::thread;
use std::time::{Duration, Instant};

/// Before the frames.
const HEADER: usize = 32;
/// Before the page in each frame.
const FRAME: usize = 24;
/// What the file starts with, if checksums are over little-endian words; one more if big-endian.
const MAGIC: u32 = 0x377f_0682;
/// For so long the shared memory is read again while it is being written: a matter of nanoseconds,
/// but for a writer that has to wait for a processor in the middle of it. No longer: what is harmed
/// stays so, and whoever looks must say it within seconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two reads.
const PAUSE: Duration = Duration::from_millis(1);
/// How often the log is read again if it began again meanwhile.
const TRIES: usize = 5;

/// Compares the frames that count with their checksums. Which those are, and what the last one
/// must come to, is in the shared memory beside the log. Answers what is wrong; `None` if nothing
/// is. It vouches for whatever was read before.
///
/// # Errors
/// It cannot be read, or begins again each time.
pub fn check_frames(mut wal: impl Read + Seek, shm: &File) -> io::Result<Option<String>> {
    for _ in 0..TRIES {
        let shared = Shared::read(shm)?;
        if shared.frames == 0 {
            return Ok(None);
        }
        wal.seek(SeekFrom::Start(0))?;
        let Some(wrong) = verify(BufReader::new(&mut wal), &shared)? else {
            return Ok(None);
        };
        // Whatever is committed meanwhile, frames that count stay what they are until the log
        // begins again.
        if Shared::read(shm)?.salt == shared.salt {
            return Ok(Some(wrong));
        }
    }
    Err(io::Error::other("it began again each time"))
}

/// Bytes of the frames that count. Readers may still need some of them.
///
/// # Errors
/// The shared memory cannot be read.
pub fn frames_length(shm: &File) -> io::Result<u64> {
    let shared = Shared::read(shm)?;
    Ok(u64::from(shared.frames) * shared.page)
}

/// What the shared memory says of the log.
#[derive(Debug)]
struct Shared {
    frames: u32,
    /// Bytes of a page.
    page: u64,
    /// Checksum over everything up to the last frame.
    sum: Sum,
    salt: [u8; 8],
}

impl Shared {
    fn read(shm: &File) -> io::Result<Self> {
        let mut bytes = [0; 96];
        // There are two copies, one written after the other.
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            read_at_start(shm, &mut bytes)?;
            let (one, two) = bytes.split_at(48);
            if one == two {
                return Ok(Self::new(one));
            }
            thread::sleep(PAUSE);
        }
        Err(io::Error::other("its shared memory is half written"))
    }

    fn new(one: &[u8]) -> Self {
        let native =
            |at: usize| u32::from_ne_bytes([one[at], one[at + 1], one[at + 2], one[at + 3]]);
        let page = match u16::from_ne_bytes([one[14], one[15]]) {
            1 => 65_536,
            size => u64::from(size),
        };
        let mut salt = [0; 8];
        salt.copy_from_slice(&one[32..40]);
        Self { frames: native(16), page, sum: Sum(native(24), native(28)), salt }
    }
}

/// Reads the beginning of the shared memory, whoever else reads in it by the same handle.
#[cfg(unix)]
pub(super) fn read_at_start(shm: &File, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(shm, bytes, 0)
}

#[cfg(not(unix))]
pub(super) fn read_at_start(mut shm: &File, bytes: &mut [u8]) -> io::Result<()> {
    shm.seek(SeekFrom::Start(0))?;
    shm.read_exact(bytes)
}

/// What is wrong with the frames; `None` if nothing is.
fn verify(mut wal: impl Read, shared: &Shared) -> io::Result<Option<String>> {
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
    use std::io::Cursor;

    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;

    /// A database with something in its write-ahead log, its files, and the shared memory.
    fn database() -> (TempDir, Connection, File) {
        let directory = tempfile::tempdir().unwrap();
        let conn = Connection::open(directory.path().join("index")).unwrap();
        conn.execute_batch("PRAGMA page_size = 512; PRAGMA journal_mode = WAL;").unwrap();
        conn.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(700))").unwrap();
        let shm = File::open(directory.path().join("index-shm")).unwrap();
        (directory, conn, shm)
    }

    #[test]
    fn every_byte_of_the_frames_counts() {
        let (directory, conn, shm) = database();
        let check = |wal: &[u8]| check_frames(Cursor::new(wal), &shm).unwrap();
        let whole = fs::read(directory.path().join("index-wal")).unwrap();
        assert_eq!(check(&whole), None);
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            // How large the database is after a commit has no checksum of its own but this one.
            assert_ne!(check(&flipped), None, "byte {at}");
        }
        for length in 0..whole.len() {
            assert_ne!(check(&whole[..length]), None, "cut to {length}");
        }
        // What is left of an earlier round does not count.
        conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        conn.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert_eq!(check(&fs::read(directory.path().join("index-wal")).unwrap()), None);
    }

    /// Somebody commits whenever it is read.
    struct Committing<'a, R> {
        wal: R,
        conn: &'a Connection,
    }

    impl<R: Read> Read for Committing<'_, R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.conn.execute_batch("INSERT INTO t VALUES (zeroblob(700))").unwrap();
            self.wal.read(buffer)
        }
    }

    impl<R: Seek> Seek for Committing<'_, R> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.wal.seek(to)
        }
    }

    /// A writer that is not given a processor for a while is waited for.
    #[test]
    fn a_half_written_header_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shm");
        let mut bytes = [7; 96];
        bytes[48] = 8;
        fs::write(&path, bytes).unwrap();
        let shm = File::open(&path).unwrap();
        thread::scope(|scope| {
            let read = scope.spawn(|| Shared::read(&shm));
            // Not to wait for anything: it is half written for that long.
            thread::sleep(Duration::from_millis(50));
            assert!(!read.is_finished());
            let writing = fs::OpenOptions::new().write(true).open(&path);
            io::Write::write_all(&mut writing.unwrap(), &[7; 96]).unwrap();
            assert_eq!(read.join().unwrap().unwrap().salt, [7; 8]);
        });
    }

    #[test]
    fn commits_meanwhile_hide_nothing() {
        let (directory, conn, shm) = database();
        let wal = File::open(directory.path().join("index-wal")).unwrap();
        assert_eq!(check_frames(Committing { wal, conn: &conn }, &shm).unwrap(), None);
        let mut flipped = fs::read(directory.path().join("index-wal")).unwrap();
        flipped[HEADER + FRAME] ^= 1;
        let wal = Cursor::new(flipped);
        let wrong = check_frames(Committing { wal, conn: &conn }, &shm).unwrap();
        assert_eq!(wrong.as_deref(), Some("its frame 1 is not what was written"));
    }
}
