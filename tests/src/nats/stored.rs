//! What the files of a stream hold, and what a power cut leaves of them.
//!
//! A file of messages is `N.blk`, a row of records: length, with the highest bit set if there are
//! headers (4 bytes), sequence (8), time (8), length of the subject (2), subject, length of the headers
//! (4) and headers if there are any, payload, checksum (8). All numbers are little-endian.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Rng;

/// Length, sequence, time and length of the subject.
const RECORD_HEADER: usize = 22;
const CHECKSUM: usize = 8;
const HAS_HEADERS: u32 = 1 << 31;
/// Sequences of what is no message, such as the note that one was removed, have one of these.
const NO_MESSAGE: u64 = 0b11 << 62;

/// A message in the files of a stream.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// The atomic batch that it is of.
    pub batch: Option<StoredBatch>,
    /// Where its record ends in its file.
    pub end: u64,
    block: PathBuf,
    start: u64,
}

/// What a message says of its atomic batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBatch {
    /// The batch's name.
    pub id: String,
    /// The number of the message in it, from 1.
    pub number: u64,
    /// Whether it is the last one.
    pub commits: bool,
}

/// Every message that the files in a stream's directory hold, in order.
///
/// # Panics
/// When they cannot be read.
pub fn stored(stream: &Path) -> Vec<Stored> {
    blocks(stream).iter().flat_map(|(_, block)| records(block)).collect()
}

/// Takes away what a power cut may have taken of a stream whose server does not run: everything after
/// some message of its newest atomic batch that is not the last one. The file then ends anywhere in the
/// next record. Gives the last message that is left; `None`, and nothing is taken, if there is no batch
/// of several messages.
///
/// # Panics
/// When the files cannot be read or changed.
pub fn cut_within_batch(stream: &Path, rng: &mut Rng) -> Option<Stored> {
    let messages = stored(stream);
    let several = |batch: &StoredBatch| batch.commits && batch.number > 1;
    let last = messages.iter().rposition(|message| message.batch.as_ref().is_some_and(several))?;
    let number = messages[last].batch.as_ref()?.number;
    let left = rng.within(1..=number - 1);
    let at = last - usize::try_from(number - left).ok()?;
    let (kept, next) = (messages[at].clone(), &messages[at + 1]);
    let torn = if next.block == kept.block { rng.within(0..=next.end - next.start - 1) } else { 0 };
    truncate(stream, &kept, torn);
    Some(kept)
}

/// Cuts the files off `more` bytes after a message.
fn truncate(stream: &Path, kept: &Stored, more: u64) {
    let file = fs::File::options().write(true).open(&kept.block);
    let cut = file.and_then(|file| file.set_len(kept.end + more));
    cut.unwrap_or_else(|error| panic!("cannot cut {}: {error}", kept.block.display()));
    let newer = blocks(stream).into_iter().rev().take_while(|(_, block)| *block != kept.block);
    for (_, block) in newer {
        fs::remove_file(&block)
            .unwrap_or_else(|error| panic!("cannot remove {}: {error}", block.display()));
    }
    // It is written now and then, and says how far the blocks went.
    drop(fs::remove_file(stream.join("msgs/index.db")));
    // A batch that was being stored is there too, and was not synced either: from it the server would
    // store the rest.
    drop(fs::remove_dir_all(stream.join("batches")));
}

/// The files of a stream's messages, in order.
fn blocks(stream: &Path) -> Vec<(u64, PathBuf)> {
    let messages = stream.join("msgs");
    let found = fs::read_dir(&messages)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", messages.display()));
    let block = |path: PathBuf| {
        let number = path.file_name()?.to_str()?.strip_suffix(".blk")?.parse().ok()?;
        Some((number, path))
    };
    let mut blocks: Vec<_> = found.filter_map(|entry| block(entry.ok()?.path())).collect();
    blocks.sort();
    blocks
}

fn records(block: &Path) -> Vec<Stored> {
    let bytes =
        fs::read(block).unwrap_or_else(|error| panic!("cannot read {}: {error}", block.display()));
    let (mut found, mut start) = (Vec::new(), 0);
    while let Some((length, sequence, batch)) = record(&bytes[start..]) {
        let (from, end) = (start as u64, (start + length) as u64);
        if sequence & NO_MESSAGE == 0 {
            found.push(Stored { sequence, batch, end, block: block.to_owned(), start: from });
        }
        start += length;
    }
    found
}

/// Length, sequence and batch of the first record; `None` if it is not whole.
fn record(bytes: &[u8]) -> Option<(usize, u64, Option<StoredBatch>)> {
    let word = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(word & !HAS_HEADERS).ok()?;
    let record = bytes.get(..length).filter(|_| length >= RECORD_HEADER + CHECKSUM)?;
    let sequence = u64::from_le_bytes(record[4..12].try_into().ok()?);
    let subject = usize::from(u16::from_le_bytes(record[20..22].try_into().ok()?));
    if word & HAS_HEADERS == 0 {
        return Some((length, sequence, None));
    }
    let headers = record.get(RECORD_HEADER + subject..)?;
    let size = u32::from_le_bytes(headers.get(..4)?.try_into().ok()?);
    let headers = headers.get(4..4 + usize::try_from(size).ok()?)?;
    Some((length, sequence, batch(&String::from_utf8_lossy(headers))))
}

fn batch(headers: &str) -> Option<StoredBatch> {
    let value = |name: &str| {
        let mut lines = headers.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    };
    let number = value("Nats-Batch-Sequence")?.parse().ok()?;
    let commits = value("Nats-Batch-Commit").is_some();
    Some(StoredBatch { id: value("Nats-Batch-Id")?.to_owned(), number, commits })
}
