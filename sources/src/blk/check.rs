//! Whether the bytes of a block are all there, by what is in them. No I/O.
//!
//! The length in a record's frame says how long a block is, not whether it was written. A node
//! that makes space in advance leaves zeros, and a power cut leaves any part of what was written.
//! The header has proof of work over its 80 bytes, and the merkle root over the transactions; the
//! first transaction commits to the witnesses. So every byte is covered.

use sha2::{Digest, Sha256};

/// The part of a block that its hash covers.
pub(super) const HEADER: usize = 80;
/// What the output starts with that commits to the witnesses.
const COMMITMENT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

type Digest32 = [u8; 32];

/// SHA-256, twice.
pub(super) fn double_sha256(parts: &[&[u8]]) -> Digest32 {
    let mut first = Sha256::new();
    parts.iter().for_each(|part| first.update(part));
    Sha256::digest(first.finalize()).into()
}

/// Checks a block: proof of work, every transaction, merkle root, witnesses.
///
/// # Errors
/// What is not as it must be, in words that follow "the block there".
pub(crate) fn check(block: &[u8]) -> Result<(), &'static str> {
    let (header, body) = block.split_at_checked(HEADER).ok_or("has no whole header")?;
    if !has_proof_of_work(header) {
        return Err("has a header without proof of work");
    }
    let transactions =
        transactions(body).ok_or("has transactions that end before it does, or after")?;
    let ids = transactions.iter().map(|transaction| transaction.id).collect();
    let root = merkle_root(ids).ok_or("has the same transaction twice")?;
    if header[36..68] != root {
        return Err("has transactions that do not give the merkle root of its header");
    }
    check_witnesses(&transactions)
}

fn has_proof_of_work(header: &[u8]) -> bool {
    let (mantissa, exponent) = (&header[72..75], usize::from(header[75]));
    // The highest bit is a sign. No target is below zero, and none is zero.
    if mantissa[2] & 0x80 != 0 || mantissa.iter().all(|byte| *byte == 0) {
        return false;
    }
    let mut target = Digest32::default();
    for (at, byte) in mantissa.iter().enumerate() {
        match (exponent + at).checked_sub(3) {
            Some(place) if place < target.len() => target[place] = *byte,
            Some(_) if *byte != 0 => return false,
            _ => {}
        }
    }
    let hash = double_sha256(&[header]);
    hash.iter().rev().le(target.iter().rev())
}

/// What the checks need of a transaction.
pub(super) struct Transaction<'a> {
    pub(super) id: Digest32,
    /// Hash of all of it, witnesses included.
    whole: Digest32,
    has_witness: bool,
    /// Its only witness item, if it has one input, and that has one item.
    only_item: Option<&'a [u8]>,
    /// What it commits to, if it commits to witnesses.
    pub(super) commitment: Option<&'a [u8]>,
}

/// The transactions that fill `body`; `None` if they do not.
pub(super) fn transactions(body: &[u8]) -> Option<Vec<Transaction<'_>>> {
    let mut bytes = Bytes { all: body, at: 0 };
    let count = bytes.number()?;
    let mut transactions = Vec::new();
    for _ in 0..count {
        transactions.push(transaction(&mut bytes)?);
    }
    (bytes.at == body.len()).then_some(transactions)
}

fn transaction<'a>(bytes: &mut Bytes<'a>) -> Option<Transaction<'a>> {
    let start = bytes.at;
    let version = bytes.take(4)?;
    let has_witness = bytes.all.get(bytes.at) == Some(&0);
    if has_witness && bytes.take(2)? != [0, 1] {
        return None;
    }
    let base = bytes.at;
    let inputs = bytes.number()?;
    for _ in 0..inputs {
        bytes.take(36)?;
        bytes.sized()?;
        bytes.take(4)?;
    }
    let mut commitment = None;
    for _ in 0..bytes.number()? {
        bytes.take(8)?;
        let script = bytes.sized()?;
        if script.len() >= 38 && script.starts_with(&COMMITMENT) {
            commitment = script.get(6..38);
        }
    }
    let base = bytes.all.get(base..bytes.at)?;
    let mut only_item = None;
    for _ in 0..if has_witness { inputs } else { 0 } {
        let items = bytes.number()?;
        for _ in 0..items {
            let item = bytes.sized()?;
            // No hash covers more than that one of the first transaction.
            only_item = (inputs == 1 && items == 1).then_some(item);
        }
    }
    let lock_time = bytes.take(4)?;
    let id = double_sha256(&[version, base, lock_time]);
    let whole = if has_witness { double_sha256(&[bytes.all.get(start..bytes.at)?]) } else { id };
    Some(Transaction { id, whole, has_witness, only_item, commitment })
}

/// The root above these leaves. `None` if there are none, or if two that are side by side are the
/// same: other leaves give that root, too (CVE-2012-2459).
pub(super) fn merkle_root(mut level: Vec<Digest32>) -> Option<Digest32> {
    while level.len() > 1 {
        if level.chunks_exact(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        let above = |pair: &[Digest32]| double_sha256(&[&pair[0], &pair[pair.len() - 1]]);
        level = level.chunks(2).map(above).collect();
    }
    level.pop()
}

/// Witnesses are not in the ids. If there are any, the first transaction commits to all of them.
fn check_witnesses(transactions: &[Transaction<'_>]) -> Result<(), &'static str> {
    let Some(first) = transactions.first() else {
        return Err("has no transaction");
    };
    if !transactions.iter().any(|transaction| transaction.has_witness) {
        return Ok(());
    }
    let Some(commitment) = first.commitment else {
        return Err("has witnesses that it does not commit to");
    };
    if witness_commitment(transactions)? == commitment {
        Ok(())
    } else {
        Err("has witnesses that are not those that it commits to")
    }
}

/// What the first transaction must commit to.
pub(super) fn witness_commitment(
    transactions: &[Transaction<'_>],
) -> Result<Digest32, &'static str> {
    let reserved = transactions.first().and_then(|first| first.only_item);
    let reserved = reserved.ok_or("has witnesses that it does not commit to")?;
    let rest = transactions.iter().skip(1).map(|transaction| transaction.whole);
    let leaves = std::iter::once(Digest32::default()).chain(rest).collect();
    let root = merkle_root(leaves).ok_or("has the same witnesses twice")?;
    Ok(double_sha256(&[&root, reserved]))
}

/// What is left to read.
struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.all.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// A number of 1, 3, 5 or 9 bytes, as few as it needs: of some, no hash covers how they are written.
    fn number(&mut self) -> Option<u64> {
        let first = *self.take(1)?.first()?;
        let (size, least) = match first {
            0xff => (8, 1 << 32),
            0xfe => (4, 1 << 16),
            0xfd => (2, 0xfd),
            _ => return Some(u64::from(first)),
        };
        let mut number = [0; 8];
        number[..size].copy_from_slice(self.take(size)?);
        Some(u64::from_le_bytes(number)).filter(|number| *number >= least)
    }

    /// Bytes after their number.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.take(count)
    }
}
