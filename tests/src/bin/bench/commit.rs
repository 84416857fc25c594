//! What the outbox costs the node's commit.

use std::time::Instant;

use crate::Outcome;
use crate::node::Node;
use crate::table::Times;

/// Commits of a round, of each kind.
const COMMITS: usize = 500;

pub(crate) fn measure(rounds: usize) -> Outcome<()> {
    for bytes in [1 << 10, 64 << 10] {
        let (mut ours, mut bare) = (Times::default(), Times::default());
        for _ in 0..rounds {
            let dir = tempfile::tempdir()?;
            let mut with = Node::open(&dir.path().join("with.db"), true)?;
            let mut without = Node::open(&dir.path().join("without.db"), false)?;
            let (mut enqueueing, mut plain) = (vec![], vec![]);
            for _ in 0..COMMITS {
                enqueueing.push(time(&mut with, bytes)?);
                plain.push(time(&mut without, bytes)?);
            }
            ours.add(&enqueueing);
            bare.add(&plain);
        }
        let size = format!("{} KiB", bytes >> 10);
        let what = format!("{size}: the node's commit, of a block and its event");
        ours.print(&bare, &what, "commit of the block alone", "the node's transaction, fsynced");
    }
    Ok(())
}

fn time(node: &mut Node, bytes: usize) -> Outcome<f64> {
    let block = node.next(bytes);
    let start = Instant::now();
    node.commit(&block)?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}
