//! A digest of everything in a store, to compare stores with each other.

use tipline_proto::{Cursor, Digest, Hash, Timestamp};

use crate::error::StoreError;
use crate::reader::StoreReader;

const TAG: &[u8] = b"tipline.content.v1";
/// How many keys are asked for at once.
const PAGE: usize = 1000;

/// BLAKE3 over everything in a store, read back from it one item at a time. Two stores of one
/// log that stand at the same cursor have the same, of whatever kind they are.
///
/// # Preimage
/// All numbers are 8 bytes, big-endian. `bytes` is their length as a number and then they
/// themselves. `option` is a byte 0, or a byte 1 and then the value.
///
/// 1. ASCII `tipline.content.v1`
/// 2. The cursor: index, digest (32 bytes), epoch, option of the block tip's height and
///    bytes of its hash, option of the proof tip. Nothing at all follows if there is no cursor.
/// 3. Every block by height: `B`, height, bytes of its hash, bytes of its parent's hash, index, epoch,
///    time in microseconds, bytes of its payload; after each, if there is one, its proof: `P`, height,
///    bytes of the block's hash, index, time, bytes of its payload.
/// 4. Every transaction by id: `T`, bytes of its id, option of the block tip's height, index, time,
///    bytes of its payload.
/// 5. Every record by key: `R`, bytes of its key, index, time, bytes of its value.
/// 6. Every mark by name: `M`, bytes of its name, option of the block tip's height, index, time.
///
/// # Errors
/// Those of reading; [`StoreError::Failed`] if the store was applied to meanwhile.
pub fn content_digest(reader: &dyn StoreReader) -> Result<Digest, StoreError> {
    content_digest_while(reader, || Ok(()))
}

/// [`content_digest`], which asks before each item whether to continue.
///
/// # Errors
/// The same errors as [`content_digest`], and what `proceed` gives.
pub fn content_digest_while<E: From<StoreError>>(
    reader: &dyn StoreReader,
    proceed: impl FnMut() -> Result<(), E>,
) -> Result<Digest, E> {
    let mut content = Content { hasher: blake3::Hasher::new(), proceed };
    content.hasher.update(TAG);
    let cursor = reader.cursor()?;
    if let Some(cursor) = &cursor {
        content.cursor(cursor);
        content.blocks(reader)?;
        content.transactions(reader)?;
        content.records(reader)?;
        content.marks(reader)?;
    }
    if reader.cursor()? == cursor {
        return Ok(Digest::from_bytes(content.hasher.finalize().into()));
    }
    Err(E::from(StoreError::Failed {
        place: reader.place(),
        what: "entries were applied while it was read: read it while nothing is applied".to_owned(),
        source: None,
    }))
}

struct Content<F> {
    hasher: blake3::Hasher,
    proceed: F,
}

impl<E: From<StoreError>, F: FnMut() -> Result<(), E>> Content<F> {
    fn cursor(&mut self, cursor: &Cursor) {
        self.number(cursor.position.index);
        self.hasher.update(cursor.position.digest.as_bytes());
        self.number(cursor.epoch);
        self.option(cursor.block_tip.as_ref().map(|tip| tip.height));
        if let Some(tip) = &cursor.block_tip {
            self.hash(&tip.hash);
        }
        self.option(cursor.proof_tip);
    }

    fn blocks(&mut self, reader: &dyn StoreReader) -> Result<(), E> {
        for found in reader.blocks_with_proofs(0..=u64::MAX)? {
            let (block, proof) = found?;
            (self.proceed)()?;
            self.hasher.update(b"B");
            self.number(block.height);
            self.hash(&block.hash);
            self.hash(&block.parent_hash);
            self.number(block.index);
            self.number(block.epoch);
            self.time(block.time);
            self.bytes(&block.payload);
            if let Some(proof) = proof {
                self.hasher.update(b"P");
                self.number(proof.height);
                self.hash(&proof.block_hash);
                self.number(proof.index);
                self.time(proof.time);
                self.bytes(&proof.payload);
            }
        }
        Ok(())
    }

    fn transactions(&mut self, reader: &dyn StoreReader) -> Result<(), E> {
        let mut ids = reader.transaction_ids(None, PAGE)?;
        while let Some(last) = ids.last().cloned() {
            for found in ids.iter().map(|id| reader.transaction(id)) {
                let Some(found) = found? else { continue };
                (self.proceed)()?;
                self.hasher.update(b"T");
                self.bytes(found.id.as_ref());
                self.option(found.block_tip);
                self.number(found.index);
                self.time(found.time);
                self.bytes(&found.payload);
            }
            ids = reader.transaction_ids(Some(&last), PAGE)?;
        }
        Ok(())
    }

    fn records(&mut self, reader: &dyn StoreReader) -> Result<(), E> {
        let mut keys = reader.keys(None, PAGE)?;
        while let Some(last) = keys.last().cloned() {
            for found in keys.iter().map(|key| reader.record(key)) {
                let Some(found) = found? else { continue };
                (self.proceed)()?;
                self.hasher.update(b"R");
                self.bytes(found.key.as_ref());
                self.number(found.index);
                self.time(found.time);
                self.bytes(&found.value);
            }
            keys = reader.keys(Some(&last), PAGE)?;
        }
        Ok(())
    }

    fn marks(&mut self, reader: &dyn StoreReader) -> Result<(), E> {
        let mut names = reader.marks(None, PAGE)?;
        while let Some(last) = names.last().cloned() {
            for found in names.iter().map(|name| reader.mark(name)) {
                let Some(found) = found? else { continue };
                (self.proceed)()?;
                self.hasher.update(b"M");
                self.bytes(found.name.as_str().as_bytes());
                self.option(found.block_tip);
                self.number(found.index);
                self.time(found.time);
            }
            names = reader.marks(Some(&last), PAGE)?;
        }
        Ok(())
    }

    fn number(&mut self, number: u64) {
        self.hasher.update(&number.to_be_bytes());
    }

    fn option(&mut self, number: Option<u64>) {
        self.hasher.update(&[u8::from(number.is_some())]);
        if let Some(number) = number {
            self.number(number);
        }
    }

    fn time(&mut self, time: Timestamp) {
        self.number(time.as_micros());
    }

    fn hash(&mut self, hash: &Hash) {
        self.bytes(hash.as_ref());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hasher.update(bytes);
    }
}
