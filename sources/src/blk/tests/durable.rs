//! What the outbox knows is on the node's disk.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;

use tipline_log::{error_chain, system_clock};
use tipline_producer::OutboxError;

use super::node::{Node, append, branch, genesis, settle};
use super::{record, write};
use crate::blk::rows;
use crate::files::{FileChanges, Scan};

thread_local! {
    static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn the_name_of_a_file_is_durable_before_its_blocks_count() {
    let node = Node::new();
    let blocks = branch(&genesis(), &["one", "two", "three"]);
    let first = write(node.path(), "blk00000.dat", &record(&blocks[0]));
    settle(&first);
    let mut scan = node.scan(genesis(), system_clock());
    scan.files.sync = |_| Err(io::Error::other("the disk says no"));
    let failure = scan.scan(&mut FileChanges::new()).unwrap_err();
    assert!(matches!(failure, OutboxError::Corrupt { .. }), "{failure:?}");
    assert!(error_chain(&failure).contains("the disk says no"), "{failure:?}");
    assert_eq!(scan.index.tip().unwrap(), None);
    assert!(scan.index.read(rows::offsets).unwrap().is_empty(), "and nothing is noted");
    drop(scan);

    // Once for each file.
    let mut scan = node.scan(genesis(), system_clock());
    scan.files.sync = |path| {
        SYNCED.with_borrow_mut(|synced| synced.push(path.to_owned()));
        Ok(())
    };
    let mut look = |files: usize, tip: u64| {
        scan.scan(&mut FileChanges::new()).unwrap();
        assert_eq!(scan.index.tip().unwrap().unwrap().height, tip);
        SYNCED.with_borrow(|synced| assert_eq!(*synced, vec![node.path().to_owned(); files]));
    };
    look(1, 1);
    append(&first, &record(&blocks[1]));
    settle(&first);
    look(1, 2);
    settle(&write(node.path(), "blk00001.dat", &record(&blocks[2])));
    look(2, 3);
}
