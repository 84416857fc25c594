//! Random attempts at a chain, and what becomes of them by the rule.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tipline_proto::{Event, Hash, Links, ProofsFrom};

use crate::outbox::conformance::{block, genesis, hash, proof, rollback};

/// Forgotten below: small, so that random chains outgrow it.
pub(in crate::outbox) const WINDOW: u64 = 4;

/// The rule: `Links`, and the blocks that are not forgotten.
#[derive(Clone)]
pub(in crate::outbox) struct Model {
    pub(in crate::outbox) links: Links,
    pub(in crate::outbox) blocks: BTreeMap<u64, Hash>,
}

impl Default for Model {
    fn default() -> Self {
        let links = Links::new(genesis(), ProofsFrom::default());
        Self { links, blocks: BTreeMap::new() }
    }
}

impl Model {
    /// Takes the event in, if the rule does.
    pub(in crate::outbox) fn admits(&mut self, event: &Event) -> bool {
        let referred = self.links.refers_to(event).and_then(|height| self.blocks.get(&height));
        let admitted = self.links.admit(event, referred).is_ok();
        match event {
            Event::BlockCommitted { height, hash, .. } if admitted => {
                self.blocks.insert(*height, hash.clone());
                self.blocks = self.blocks.split_off(&height.saturating_sub(WINDOW));
            }
            Event::RolledBack { to_height, .. } if admitted => {
                self.blocks.split_off(&(to_height + 1));
            }
            _ => {}
        }
        admitted
    }
}

/// The runs of heights that have their proof after these events, as first and last height. What is
/// below the first block has one, and so has the genesis.
pub(in crate::outbox) fn proven(events: &[Event]) -> Vec<(u64, u64)> {
    let mut heights = BTreeSet::new();
    for event in events {
        match event {
            Event::BlockCommitted { height, .. } if heights.is_empty() => {
                heights.extend(0..=height.saturating_sub(1));
            }
            Event::BlockProven { height, .. } => drop(heights.insert(*height)),
            Event::RolledBack { to_height, .. } => heights.retain(|height| height <= to_height),
            _ => {}
        }
    }
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for height in heights {
        match runs.last_mut().filter(|(_, last)| *last + 1 == height) {
            Some((_, last)) => *last = height,
            None => runs.push((height, height)),
        }
    }
    runs
}

/// An attempt: height, variant, variant of the parent, as far as it has them.
#[derive(Debug, Clone, Copy)]
pub(in crate::outbox) enum Try {
    /// On the tip, whatever that is: keeps chains growing.
    Next(u8),
    Block(u64, u8, u8),
    Proof(u64, u8),
    Rollback(u64, u8),
}

impl Try {
    pub(in crate::outbox) fn event(self, links: &Links) -> Event {
        match self {
            Try::Next(variant) => {
                let tip = links.tip().map(|tip| (tip.height + 1, tip.hash.clone()));
                let (height, parent_hash) = tip.unwrap_or_else(|| (1, genesis()));
                let payload = vec![variant; 10].into();
                Event::BlockCommitted { height, hash: hash(height, variant), parent_hash, payload }
            }
            Try::Block(height, variant, parent) => block(height, variant, parent),
            Try::Proof(height, variant) => proof(height, variant),
            Try::Rollback(height, variant) => rollback(height, variant),
        }
    }
}

/// Some attempts.
pub(in crate::outbox) fn tries() -> impl Strategy<Value = Vec<Try>> {
    let variant = 0..2_u8;
    let one = prop_oneof![
        6 => variant.clone().prop_map(Try::Next),
        1 => (0..14_u64, variant.clone(), variant.clone()).prop_map(|(h, v, p)| Try::Block(h, v, p)),
        3 => (0..14_u64, variant.clone()).prop_map(|(h, v)| Try::Proof(h, v)),
        2 => (0..14_u64, variant).prop_map(|(h, v)| Try::Rollback(h, v)),
    ];
    prop::collection::vec(one, 1..9)
}
