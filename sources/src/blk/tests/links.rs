//! The tree: whatever the order in which blocks come, what is published links, and ends
//! with a longest branch.

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use tipline_proto::{Event, Hash, Links, ProofsFrom, Tip};

use crate::blk::tree::{Place, Step, Tree};

fn hash(number: usize) -> Hash {
    Hash::new([number as u8 + 1]).unwrap()
}

fn place() -> Place {
    Place { file: "blk00000.dat".to_owned(), offset: 0, length: 0 }
}

/// What consumers would make of the steps.
struct Published {
    links: Links,
    blocks: HashMap<u64, Hash>,
    parents: HashMap<Hash, Hash>,
}

impl Published {
    fn apply(&mut self, step: Step) {
        let event = match step {
            Step::RollBack(Tip { height, hash }) => {
                Event::RolledBack { to_height: height, to_hash: hash }
            }
            Step::Block(Tip { height, hash }) => {
                let parent_hash = self.parents[&hash].clone();
                self.blocks.insert(height, hash.clone());
                Event::BlockCommitted { height, hash, parent_hash, payload: Bytes::new() }
            }
        };
        let referred = self.links.refers_to(&event).and_then(|height| self.blocks.get(&height));
        self.links.admit(&event, referred).unwrap();
    }
}

proptest! {
    /// Block `n` (from 1) stands on one of the blocks before it; they come in any order, some
    /// twice, and are published in portions of any size.
    #[test]
    fn published_is_always_a_longest_branch_of_what_has_come(
        parents in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        order in Just(()).prop_perturb(|(), mut random| random.random::<u64>()),
        portion in 1..5_usize,
        with_genesis in any::<bool>(),
    ) {
        let genesis = hash(0);
        let mut blocks: Vec<(usize, usize)> =
            parents.iter().enumerate().map(|(at, parent)| (at + 1, parent.index(at + 1))).collect();
        let heights = blocks.iter().fold(vec![0_u64], |mut heights, (_, parent)| {
            heights.push(heights[*parent] + 1);
            heights
        });
        // A shuffle that the seed of the case decides.
        blocks.sort_by_key(|(number, _)| (order ^ (*number as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut tree = Tree::new(genesis.clone());
        let parents = blocks.iter().map(|(n, parent)| (hash(*n), hash(*parent)));
        let mut parents: HashMap<Hash, Hash> = parents.collect();
        parents.insert(genesis.clone(), hash(99));
        let links = Links::new(genesis.clone(), ProofsFrom::default());
        let mut published = Published { links, blocks: HashMap::new(), parents };
        if with_genesis {
            prop_assert_eq!(tree.add(genesis.clone(), hash(99), place()), vec![genesis.clone()]);
        }
        let mut come = vec![true];
        come.resize(heights.len(), false);
        for (number, parent) in blocks.iter().chain(blocks.first()) {
            tree.add(hash(*number), hash(*parent), place());
            come[*number] = true;
            loop {
                let steps = tree.steps(published.links.tip(), portion).unwrap();
                prop_assert!(steps.len() <= portion);
                if steps.is_empty() {
                    break;
                }
                steps.into_iter().for_each(|step| published.apply(step));
            }
        }
        let highest = heights.iter().max().copied();
        let reached = published.links.tip().map(|tip| tip.height);
        prop_assert_eq!(reached, highest);
        prop_assert_eq!(tree.waiting(), 0, "all have come");
        prop_assert_eq!(published.blocks.contains_key(&0), with_genesis);
    }
}

#[test]
fn branches_that_part_out_of_reach_are_refused() {
    let mut tree = Tree::new(hash(0));
    for number in 1..=9 {
        tree.add(hash(number), hash(number - 1), place());
    }
    let tip = Tip { height: 9, hash: hash(9) };
    // Another branch from block 2, with one block more.
    tree.add(hash(20), hash(2), place());
    for number in 21..=27 {
        tree.add(hash(number), hash(number - 1), place());
    }
    assert_eq!(
        tree.steps(Some(&tip), 1).unwrap(),
        [Step::RollBack(Tip { height: 2, hash: hash(2) })]
    );
    let gone = tree.forget(5);
    assert!(gone.contains(&hash(2)) && !gone.contains(&hash(5)));
    assert!(tree.steps(Some(&tip), 1).is_err());
}
