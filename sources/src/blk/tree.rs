//! Blocks by their links: which is on which height, and what to publish next. No I/O.

use std::collections::HashMap;

use tipline_proto::{Hash, Tip};

/// Where a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    /// Of its record.
    pub(super) offset: u64,
    /// Of the block.
    pub(super) length: u64,
}

/// A block that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) parent: Hash,
    /// `None` while its parent has not come.
    pub(super) height: Option<u64>,
    pub(super) place: Place,
}

/// What to publish next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    RollBack(Tip),
    Block(Tip),
}

/// The branches part too far below the tip, or the block where they do is not known.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a longer branch with block {longer} does not meet the published one within reach below block {published}"
)]
pub(super) struct TooDeep {
    longer: Tip,
    published: Tip,
}

/// Known blocks, newest and waiting.
#[derive(Debug)]
pub(super) struct Tree {
    genesis: Hash,
    nodes: HashMap<Hash, Node>,
    /// Blocks that wait, by the parent they wait for.
    waiting: HashMap<Hash, Vec<Hash>>,
    waiting_count: usize,
    /// The first that was the highest.
    best: Option<Tip>,
}

impl Tree {
    pub(super) fn new(genesis: Hash) -> Self {
        let (nodes, waiting) = (HashMap::new(), HashMap::new());
        Self { genesis, nodes, waiting, waiting_count: 0, best: None }
    }

    /// Takes in a block that was known before.
    pub(super) fn restore(&mut self, hash: Hash, node: Node) {
        match node.height {
            Some(height) => self.consider(height, &hash),
            None => self.wait(&hash, &node),
        }
        self.nodes.insert(hash, node);
    }

    pub(super) fn get(&self, hash: &Hash) -> Option<&Node> {
        self.nodes.get(hash)
    }

    /// The blocks of a file, the newest first.
    pub(super) fn in_file(&self, name: &str) -> Vec<(&Hash, &Node)> {
        let mut nodes: Vec<_> = self.nodes.iter().filter(|(_, n)| n.place.file == name).collect();
        nodes.sort_by_key(|(_, node)| std::cmp::Reverse(node.place.offset));
        nodes
    }

    /// How many blocks wait for their parents.
    pub(super) fn waiting(&self) -> usize {
        self.waiting_count
    }

    /// A parent that has not come, for messages.
    pub(super) fn missing_parent(&self) -> Option<&Hash> {
        self.waiting.keys().filter(|parent| !self.nodes.contains_key(*parent)).min()
    }

    /// Whether any block is connected to the genesis.
    pub(super) fn is_connected(&self) -> bool {
        self.best.is_some()
    }

    /// Takes in a block. Answers the blocks that have a height now that they had not before,
    /// itself included even if it waits; none if it is known already.
    pub(super) fn add(&mut self, hash: Hash, parent: Hash, place: Place) -> Vec<Hash> {
        if self.nodes.contains_key(&hash) {
            return Vec::new();
        }
        let height = self.height_on(&hash, &parent);
        let node = Node { parent, height, place };
        let Some(height) = height else {
            self.wait(&hash, &node);
            self.nodes.insert(hash.clone(), node);
            return vec![hash];
        };
        self.nodes.insert(hash.clone(), node);
        self.consider(height, &hash);
        self.connect(hash, height)
    }

    /// What to publish next, on top of what is published: at most `most` steps. Nothing if
    /// nothing is higher than that.
    pub(super) fn steps(&self, published: Option<&Tip>, most: usize) -> Result<Vec<Step>, TooDeep> {
        let Some(best) = &self.best else {
            return Ok(Vec::new());
        };
        if published.is_some_and(|published| published.height >= best.height) {
            return Ok(Vec::new());
        }
        let too_deep =
            |published: &Tip| TooDeep { longer: best.clone(), published: published.clone() };
        let mut steps = Vec::new();
        let mut at = best.clone();
        let mut old = published.cloned();
        loop {
            let met = old.as_ref().is_some_and(|old| old.hash == at.hash);
            if met {
                break;
            }
            // The old branch goes down until it is not above the new one.
            if let Some(above) = old.as_ref().filter(|old| old.height >= at.height) {
                let below = self.below(above).ok_or_else(|| too_deep(above))?;
                old = Some(below);
                continue;
            }
            if !self.nodes.contains_key(&at.hash) {
                match &old {
                    // Down to the genesis, which is not among the files.
                    None => break,
                    Some(old) => return Err(too_deep(old)),
                }
            }
            steps.push(Step::Block(at.clone()));
            match self.below(&at) {
                Some(below) => at = below,
                None => break,
            }
        }
        if let Some(fork) = old.filter(|old| Some(old) != published) {
            steps.push(Step::RollBack(fork));
        }
        steps.reverse();
        steps.truncate(most);
        Ok(steps)
    }

    /// Forgets blocks below a height, and answers which.
    pub(super) fn forget(&mut self, below: u64) -> Vec<Hash> {
        let old = |node: &Node| node.height.is_some_and(|height| height < below);
        let gone: Vec<Hash> =
            self.nodes.iter().filter(|(_, node)| old(node)).map(|(hash, _)| hash.clone()).collect();
        for hash in &gone {
            self.nodes.remove(hash);
        }
        gone
    }

    fn below(&self, tip: &Tip) -> Option<Tip> {
        let node = self.nodes.get(&tip.hash)?;
        Some(Tip { height: tip.height.checked_sub(1)?, hash: node.parent.clone() })
    }

    fn height_on(&self, hash: &Hash, parent: &Hash) -> Option<u64> {
        if *hash == self.genesis {
            return Some(0);
        }
        if *parent == self.genesis {
            return Some(1);
        }
        self.nodes.get(parent)?.height.map(|height| height + 1)
    }

    fn consider(&mut self, height: u64, hash: &Hash) {
        if self.best.as_ref().is_none_or(|best| height > best.height) {
            self.best = Some(Tip { height, hash: hash.clone() });
        }
    }

    fn wait(&mut self, hash: &Hash, node: &Node) {
        self.waiting.entry(node.parent.clone()).or_default().push(hash.clone());
        self.waiting_count += 1;
    }

    /// Gives their heights to all that waited for this block.
    fn connect(&mut self, hash: Hash, height: u64) -> Vec<Hash> {
        let mut connected = vec![(hash, height)];
        let mut at = 0;
        while let Some((parent, height)) = connected.get(at).cloned() {
            at += 1;
            let children = self.waiting.remove(&parent).unwrap_or_default();
            self.waiting_count -= children.len();
            for child in children {
                if let Some(node) = self.nodes.get_mut(&child) {
                    node.height = Some(height + 1);
                }
                self.consider(height + 1, &child);
                connected.push((child, height + 1));
            }
        }
        connected.into_iter().map(|(hash, _)| hash).collect()
    }
}
