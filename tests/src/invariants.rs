//! The invariant checker: what must hold of a log and of a store, whatever happened.

use tipline_log::Reader;
use tipline_proto::{Entry, Event, Position};
use tipline_store::StoreReader;

/// Reads the whole log, as a passing reader does, and checks that it chains.
///
/// # Panics
/// When it does not, or cannot be read.
pub async fn read_log(log: &dyn Reader) -> Vec<Entry> {
    let fail = |e: &dyn std::error::Error| -> ! { panic!("the log cannot be read: {e}") };
    let last = log.extent().await.unwrap_or_else(|e| fail(&e)).last;
    let mut subscription = log.subscribe(None, 0).await.unwrap_or_else(|e| fail(&e));
    let mut position = Position::origin(log.identity());
    let mut entries = vec![];
    while position.index < last {
        for entry in subscription.next().await.unwrap_or_else(|e| fail(&e)) {
            assert!(entry.follows(&position), "entry {} does not chain", entry.index);
            position = entry.position();
            entries.push(entry);
        }
    }
    entries
}

/// The log has every event of the node's history exactly once and in order, and nothing else
/// but the starts of epochs, each higher than the one before.
///
/// # Panics
/// When it has not. The message names the entry.
pub fn check_log(entries: &[Entry], history: &[Event]) {
    let (mut epoch, mut sequence) = (0, 0);
    for entry in entries {
        let at = entry.index;
        if matches!(entry.event, Event::EpochStarted { .. }) {
            assert!(entry.epoch > epoch, "the epoch at {at} does not rise");
            assert_eq!(entry.outbox_sequence, sequence, "the claim at {at} is wrong");
            epoch = entry.epoch;
            continue;
        }
        assert_eq!(entry.epoch, epoch, "entry {at} is of another epoch");
        assert_eq!(entry.outbox_sequence, sequence + 1, "entry {at} is out of order");
        let committed = history.get(sequence as usize);
        assert!(committed == Some(&entry.event), "entry {at} is not what the node committed");
        sequence += 1;
    }
    assert_eq!(sequence, history.len() as u64, "the log has all that the node committed");
}

/// The store holds exactly what the log says: every block and proof, byte for byte.
/// For logs without rollbacks.
///
/// # Panics
/// When it does not. The message names the height.
pub fn check_store(store: &dyn StoreReader, entries: &[Entry]) {
    let fail = |e: &dyn std::error::Error| -> ! { panic!("the store cannot be read: {e}") };
    let cursor = store.cursor().unwrap_or_else(|e| fail(&e));
    let tail = entries.last().map(Entry::position);
    assert_eq!(cursor.map(|cursor| cursor.position), tail, "the store is at the log's tail");
    let mut heights: Option<(u64, u64)> = None;
    for entry in entries {
        match &entry.event {
            Event::BlockCommitted { height, hash, parent_hash, payload } => {
                let block = store.block(*height).unwrap_or_else(|e| fail(&e));
                let block = block.unwrap_or_else(|| panic!("block {height} is missing"));
                assert_eq!((&block.hash, &block.parent_hash), (hash, parent_hash));
                assert_eq!(block.index, entry.index, "block {height} came with its entry");
                assert!(block.payload == *payload, "block {height} is the one of the log");
                heights = Some((heights.map_or(*height, |(first, _)| first), *height));
            }
            Event::BlockProven { height, block_hash, payload } => {
                let proof = store.proof(*height).unwrap_or_else(|e| fail(&e));
                let proof = proof.unwrap_or_else(|| panic!("proof {height} is missing"));
                assert_eq!(proof.block_hash, *block_hash);
                assert!(proof.payload == *payload, "proof {height} is the one of the log");
            }
            _ => {}
        }
    }
    assert_eq!(store.heights().unwrap_or_else(|e| fail(&e)), heights, "nothing else is there");
}
