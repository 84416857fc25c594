//! Reading lists only what it needs, and finds what it needs all the same.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tipline_proto::Entry;
use tipline_store::Sink;
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tokio::runtime::Runtime;

use super::{open, runtime, store};
use crate::Sources;

/// More than is listed before the entry that is looked for.
const LONG: usize = 1_210;
const REST: usize = 10;

/// An archive whose segments end after these numbers of entries.
fn cut(runtime: &Runtime, directory: &Path, entries: &[Entry], lengths: &[usize]) {
    let (mut store, mut model) = (store(runtime, directory), Model::new(&log()));
    assert_eq!(store.identity().unwrap(), None);
    store.create(&log()).unwrap();
    let mut rest = entries;
    for length in lengths {
        let (batch, remaining) = rest.split_at(*length);
        store.apply(&model.batch(batch)).unwrap();
        rest = remaining;
    }
    assert_eq!(rest, []);
}

async fn read(sources: &Arc<Sources>, after: u64, to: u64) -> (Vec<Entry>, Vec<String>) {
    let mut entries = sources.entries(after, to).await.unwrap();
    let mut found = Vec::new();
    while let Some(next) = entries.next().await {
        found.extend(next);
    }
    (found, entries.finish().await.unwrap().corrupt)
}

/// Two archivers wrote to the place, and cut differently. The short segment is corrupt, and the one
/// that has its entries as well begins long before.
#[test]
fn what_begins_long_before_is_found_where_the_nearer_one_is_corrupt() {
    let (runtime, dir) = (runtime(), TempDir::new().unwrap());
    let history = History::blocks((LONG + REST) as u64, 10);
    let entries = &history.entries[..LONG + REST];
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    cut(&runtime, &one, entries, &[LONG, REST]);
    cut(&runtime, &other, entries, &[LONG - 11, 11, REST]);
    runtime.block_on(async {
        let short = open(&other).await.segments().await.unwrap()[1].clone();
        assert_eq!((short.first, short.last), (LONG as u64 - 10, LONG as u64));
        let mut bytes = std::fs::read(other.join(short.to_string())).unwrap();
        let at = one.join(short.to_string());
        let (after, to) = (LONG as u64 - 5, LONG as u64 + 5);
        let wanted = &entries[after as usize..to as usize];
        let sources = || async {
            Arc::new(Sources { archives: vec![open(&one).await], ..Sources::default() })
        };
        std::fs::write(&at, &bytes).unwrap();
        assert_eq!(read(&sources().await, after, to).await, (wanted.to_vec(), vec![]));
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&at, &bytes).unwrap();
        let (found, corrupt) = read(&sources().await, after, to).await;
        assert_eq!(found, wanted);
        assert!(corrupt.len() == 1 && corrupt[0].contains(&short.to_string()), "{corrupt:?}");
        // Of what an entry was taken from it is said whether it is damaged.
        let sources_now = sources().await;
        let mut entries = sources_now.entries(after, to).await.unwrap();
        entries.next().await.unwrap();
        let damage = entries.damage_at(&sources_now, after + 1).await.unwrap();
        assert!(damage.len() == 1 && damage[0].contains(&short.to_string()), "{damage:?}");
        assert_eq!(sources().await.newest_entry().await.unwrap(), (LONG + REST) as u64);
    });
}
