//! The end of the demo: everything is read back and compared, byte for byte.

use tipline_log::{LogError, Reader};
use tipline_proto::{Digest, Event, Hash, Position};
use tipline_store::{StoreError, StoreReader, content_digest};

use super::blocks::Format;
use super::node::{Node, NodeError};

/// What a store was found to hold.
#[derive(Debug)]
pub(super) struct StoreContent {
    pub(super) position: Position,
    pub(super) content: Digest,
    pub(super) blocks: u64,
    pub(super) proofs: u64,
    pub(super) bytes: u64,
}

/// What the log was found to hold.
#[derive(Debug, Default)]
pub(super) struct LogContent {
    pub(super) entries: u64,
    pub(super) blocks: u64,
    pub(super) proofs: u64,
}

/// Something is not as it must be. It never happens; if it does, it is named.
#[derive(Debug, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("{place}: {what}")]
    Found { place: String, what: String },
    #[error("reading a store back")]
    Store(#[from] StoreError),
    #[error("reading the log back")]
    Log(#[from] LogError),
    #[error("reading the node back")]
    Node(#[from] NodeError),
}

fn found(place: &str, what: impl Into<String>) -> Mismatch {
    Mismatch::Found { place: place.to_owned(), what: what.into() }
}

/// Reads the whole log: every digest chains up to `tail`, and every height from 1 to
/// `blocks` is committed once and proven at most once.
pub(super) async fn check_log(
    log: &dyn Reader,
    tail: Position,
    blocks: u64,
) -> Result<LogContent, Mismatch> {
    let mut content = LogContent::default();
    let mut position = Position::origin(log.identity());
    let mut proven = vec![false; usize::try_from(blocks).unwrap_or(usize::MAX)];
    let mut subscription = log.subscribe(None, 0).await?;
    while position.index < tail.index {
        for entry in subscription.next().await? {
            if !entry.follows(&position) {
                return Err(found("the log", format!("entry {} does not chain", entry.index)));
            }
            position = entry.position();
            content.entries += 1;
            match entry.event {
                Event::BlockCommitted { height, .. } => {
                    content.blocks += 1;
                    if height != content.blocks {
                        let what = format!("block {height} comes as number {}", content.blocks);
                        return Err(found("the log", what));
                    }
                }
                Event::BlockProven { height, .. } => {
                    let place = usize::try_from(height - 1).ok().and_then(|i| proven.get_mut(i));
                    if place.is_none_or(|seen| std::mem::replace(seen, true)) {
                        return Err(found("the log", format!("block {height} is proven twice")));
                    }
                    content.proofs += 1;
                }
                _ => {}
            }
        }
    }
    if position != tail || content.blocks != blocks {
        let what = format!("it ends at {position} with {} blocks", content.blocks);
        return Err(found("the log", format!("{what}, not at {tail} with {blocks}")));
    }
    Ok(content)
}

/// Reads a whole store: it is at `tail`, and every block and proof is the node's own, byte
/// for byte, with hashes and links that follow from the blocks themselves.
pub(super) fn check_store(
    name: &str,
    store: &dyn StoreReader,
    node: &Node,
    format: Format,
    genesis: &Hash,
    tail: Position,
    blocks: u64,
) -> Result<StoreContent, Mismatch> {
    let cursor = store.cursor()?.ok_or_else(|| found(name, "it is empty"))?;
    if cursor.position != tail {
        return Err(found(name, format!("it is at {}, the log at {tail}", cursor.position)));
    }
    if store.heights()? != (blocks > 0).then_some((1, blocks)) {
        return Err(found(name, format!("it has blocks {:?}", store.heights()?)));
    }
    let (mut proofs, mut bytes) = (0, 0);
    let mut parent = genesis.clone();
    for height in 1..=blocks {
        let (block, proof) = node.read(height)?;
        let stored = store.block(height)?;
        let stored = stored.ok_or_else(|| found(name, format!("block {height} is missing")))?;
        let links = format.links(&stored.payload);
        let same = stored.payload[..] == block[..]
            && links == Some((stored.hash.clone(), parent))
            && stored.parent_hash == links.map(|(_, parent)| parent).unwrap_or(stored.hash.clone());
        if !same {
            return Err(found(name, format!("block {height} is not the node's")));
        }
        let stored_proof = store.proof(height)?.map(|proof| proof.payload);
        if stored_proof.as_deref() != proof.as_deref() {
            return Err(found(name, format!("the proof of block {height} is not the node's")));
        }
        proofs += u64::from(proof.is_some());
        bytes += (block.len() + proof.map_or(0, |proof| proof.len())) as u64;
        parent = stored.hash;
    }
    let content = content_digest(store)?;
    Ok(StoreContent { position: cursor.position, content, blocks, proofs, bytes })
}
