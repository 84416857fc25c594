//! The rule of links against a plain model: a list of blocks, each with or without its proof.

use bytes::Bytes;
use proptest::arbitrary::any;
use proptest::collection::vec;
use proptest::strategy::{Just, Strategy};
use proptest::{prop_oneof, proptest};

use super::examples::{hash, position};
use crate::limits::MAX_PROOF_RANGES;
use crate::{Cursor, Event, Hash, LinkError, Links, LinksState, ProofsFrom, Tip};

/// Hashes of one byte out of a few, so that wrong ones are often right by chance.
fn short(byte: u8) -> Hash {
    hash(byte, 1)
}

const GENESIS: u8 = 0;

struct Block {
    hash: Hash,
    proven: bool,
}

fn from(height: u64) -> ProofsFrom {
    ProofsFrom::new(height).unwrap()
}

/// What every chain begins with whose blocks above the genesis need a proof.
fn new() -> Links {
    Links::new(short(GENESIS), ProofsFrom::default())
}

/// The chain from its first block on; `blocks` may be empty again after a rollback.
#[derive(Default)]
struct Model {
    proofs_from: ProofsFrom,
    start: Option<(u64, Hash)>,
    blocks: Vec<Block>,
}

impl Model {
    fn first(&self) -> u64 {
        self.start.as_ref().map_or(0, |(first, _)| *first)
    }

    fn base(&self) -> Option<Tip> {
        let (first, parent) = self.start.as_ref()?;
        Some(Tip { height: first.checked_sub(1)?, hash: parent.clone() })
    }

    fn at(&self, height: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(height.checked_sub(self.first())?).unwrap())
    }

    fn tip(&self) -> Option<Tip> {
        let Some(last) = self.blocks.last() else { return self.base() };
        let height = self.first() + self.blocks.len() as u64 - 1;
        Some(Tip { height, hash: last.hash.clone() })
    }

    fn proof_tip(&self) -> Option<u64> {
        self.start.as_ref()?;
        let run = self.waiting().take_while(|waits| !waits).count();
        (self.first() + run as u64).checked_sub(1)
    }

    fn debt(&self) -> u64 {
        let lowest = self.waiting().position(|waits| waits);
        lowest.map_or(0, |at| (self.blocks.len() - at) as u64)
    }

    /// Of each block whether it needs a proof that it does not have.
    fn waiting(&self) -> impl Iterator<Item = bool> {
        let heights = (self.first()..).zip(&self.blocks);
        heights.map(|(height, block)| height >= self.proofs_from.height() && !block.proven)
    }

    fn links(&self) -> Links {
        Links::resume(short(GENESIS), self.proofs_from, self.state())
    }

    fn state(&self) -> LinksState {
        let proof_tip = self.proof_tip();
        let heights = (self.first()..).zip(&self.blocks).filter(|(_, block)| block.proven);
        let above = heights.map(|(height, _)| height).filter(|h| proof_tip.is_none_or(|p| *h > p));
        LinksState { base: self.base(), tip: self.tip(), proof_tip, proven_above: above.collect() }
    }

    /// Takes the event in, if it links.
    fn admit(&mut self, event: &Event) -> bool {
        match event {
            Event::BlockCommitted { height, hash, parent_hash, .. } => {
                self.admit_block(*height, hash, parent_hash)
            }
            Event::BlockProven { height, block_hash, .. } => {
                let first = self.first();
                let block = self.at(*height).is_some_and(|block| block.hash == *block_hash);
                if block {
                    self.blocks[(height - first) as usize].proven = true;
                }
                block
            }
            Event::RolledBack { to_height, to_hash } => {
                let remaining = Tip { height: *to_height, hash: to_hash.clone() };
                let block = self.at(*to_height).is_some_and(|block| block.hash == *to_hash);
                let there = block || self.base() == Some(remaining);
                let below = self.tip().is_some_and(|tip| *to_height < tip.height);
                if there && below {
                    self.blocks.truncate((to_height + 1 - self.first()) as usize);
                }
                there && below
            }
            _ => true,
        }
    }

    fn admit_block(&mut self, height: u64, hash: &Hash, parent: &Hash) -> bool {
        let links = match self.tip() {
            Some(tip) => height == tip.height + 1 && *parent == tip.hash,
            None if self.start.is_some() => unreachable!("a first block at 0 stays"),
            None if height == 0 => *hash == short(GENESIS),
            None if height == 1 => *parent == short(GENESIS),
            None => true,
        };
        if links {
            self.start.get_or_insert_with(|| (height, parent.clone()));
            self.blocks.push(Block { hash: hash.clone(), proven: false });
        }
        links
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A block that links; at the given height if it is the first.
    Next { first: u64, hash: u8 },
    /// The proof of a block that is there.
    Prove(usize),
    /// Back to a block that is there, or below the first.
    Back(usize),
    /// A proof or a rollback that names a block which was there before a rollback, or any.
    Any(Event),
    /// Forget everything but the state.
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u64, 0..4u8).prop_map(|(first, hash)| Step::Next { first, hash }),
        6 => any::<usize>().prop_map(Step::Prove),
        1 => any::<usize>().prop_map(Step::Back),
        4 => event().prop_map(Step::Any),
        1 => Just(Step::Resume),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let hash = || (0..4u8).prop_map(short);
    let height = || 0..14u64;
    prop_oneof![
        (height(), hash(), hash()).prop_map(|(height, hash, parent_hash)| {
            Event::BlockCommitted { height, hash, parent_hash, payload: Bytes::new() }
        }),
        (height(), hash()).prop_map(|(height, hash)| proof(height, &hash)),
        (height(), hash()).prop_map(|(height, hash)| rollback(height, &hash)),
        Just(Event::Marked { name: "mark".parse().unwrap() }),
        Just(Event::StateRecorded { key: crate::Key::new([1]).unwrap(), value: None }),
    ]
}

fn block(height: u64, hash: &Hash, parent: &Hash) -> Event {
    let (hash, parent_hash) = (hash.clone(), parent.clone());
    Event::BlockCommitted { height, hash, parent_hash, payload: Bytes::new() }
}

fn proof(height: u64, hash: &Hash) -> Event {
    Event::BlockProven { height, block_hash: hash.clone(), payload: Bytes::new() }
}

fn rollback(height: u64, hash: &Hash) -> Event {
    Event::RolledBack { to_height: height, to_hash: hash.clone() }
}

impl Step {
    /// The event of this step; `None` if there is nothing to prove or to go back to.
    fn event(&self, model: &Model) -> Option<Event> {
        match self {
            Step::Next { first, hash } => Some(match model.tip() {
                Some(tip) => block(tip.height + 1, &short(*hash), &tip.hash),
                None if *first == 0 => block(0, &short(GENESIS), &short(*hash)),
                None if *first == 1 => block(1, &short(*hash), &short(GENESIS)),
                None => block(*first, &short(*hash), &short(3)),
            }),
            Step::Prove(at) => {
                let at = at.checked_rem(model.blocks.len())?;
                Some(proof(model.first() + at as u64, &model.blocks[at].hash))
            }
            Step::Back(at) => {
                let heights = model.first().saturating_sub(1)..model.tip()?.height;
                let height =
                    heights.start + (*at as u64).checked_rem(heights.end - heights.start)?;
                let hash = model.at(height).map(|block| block.hash.clone());
                Some(rollback(height, &hash.or(model.base().map(|base| base.hash))?))
            }
            Step::Any(event) => Some(event.clone()),
            Step::Resume => None,
        }
    }
}

/// What a caller answers who looks up the one block that is asked for, in a store that still
/// has something at every height.
fn referred(links: &Links, model: &Model, event: &Event) -> Option<Hash> {
    match links.refers_to(event) {
        Some(height) => model.at(height).map(|block| block.hash.clone()),
        None => match event {
            Event::BlockProven { block_hash, .. } => Some(block_hash.clone()),
            Event::RolledBack { to_hash, .. } => Some(to_hash.clone()),
            _ => None,
        },
    }
}

fn check(links: &Links, model: &Model) {
    assert_eq!(*links, model.links());
    assert_eq!(links.tip(), model.tip().as_ref());
    assert_eq!(links.proof_tip(), model.proof_tip());
    let (block_tip, proof_tip) = (links.tip().cloned(), links.proof_tip());
    let cursor = Cursor { position: position(), epoch: 1, block_tip, proof_tip };
    assert_eq!(cursor.proof_debt(), model.debt());
}

proptest! {
    #[test]
    fn any_sequence_ends_where_the_model_does(
        proofs_from in 1..12u64,
        steps in vec(step(), 1..60),
    ) {
        let mut model = Model { proofs_from: from(proofs_from), ..Model::default() };
        let mut links = Links::new(short(GENESIS), model.proofs_from);
        for step in steps {
            let Some(event) = step.event(&model) else {
                links = model.links();
                continue;
            };
            let referred = referred(&links, &model, &event);
            let before = links.clone();
            let admitted = links.admit(&event, referred.as_ref());
            assert_eq!(admitted.is_ok(), model.admit(&event), "{event}: {admitted:?}");
            if let Err(error) = admitted {
                assert_eq!(links, before, "an error changes nothing");
                assert!(!error.to_string().is_empty());
            }
            check(&links, &model);
        }
    }

    /// Proofs in any order, twice or not, end in the same state.
    #[test]
    fn the_order_of_proofs_does_not_matter(
        first in 0..3u64,
        proofs_from in 1..20u64,
        order in Just((0..12u64).collect::<Vec<_>>()).prop_shuffle(),
        again in 0..12usize,
    ) {
        let mut links = Links::new(short(GENESIS), from(proofs_from));
        for height in first..first + 12 {
            links.admit(&block(height, &short(GENESIS), &short(GENESIS)), None).unwrap();
        }
        for at in order.iter().chain(&order[..again]) {
            links.admit(&proof(first + at, &short(GENESIS)), Some(&short(GENESIS))).unwrap();
        }
        assert_eq!(links.proof_tip(), Some(first + 11));
    }
}

fn chain_of(heights: std::ops::RangeInclusive<u64>) -> Links {
    let mut links = new();
    for height in heights {
        let parent = if height == 1 { GENESIS } else { height as u8 - 1 };
        links.admit(&block(height, &short(height as u8), &short(parent)), None).unwrap();
    }
    links
}

#[test]
fn each_wrong_event_has_its_own_error() {
    let refused = |event: &Event, referred: Option<&Hash>| {
        let mut links = chain_of(1..=5);
        links.admit(event, referred).unwrap_err()
    };
    let mut empty = new();
    assert_eq!(
        empty.admit(&block(1, &short(1), &short(9)), None).unwrap_err().to_string(),
        "block 1 belongs to another chain: it starts from genesis 09, this chain's is 00"
    );
    assert_eq!(
        empty.admit(&proof(1, &short(1)), None).unwrap_err().to_string(),
        "the proof names block 1 (01), which is not in the chain: there is no such height below the tip"
    );
    let cases = [
        (
            refused(&block(7, &short(7), &short(5)), None),
            "block 7 does not follow the tip at height 5: the next block is 6; to replace blocks, roll back first",
        ),
        (
            refused(&block(6, &short(6), &short(4)), None),
            "block 6 names parent 04, but the block at height 5 is 05; to replace blocks, roll back first",
        ),
        (
            refused(&proof(3, &short(9)), Some(&short(3))),
            "the proof names block 3 (09), which is not in the chain: the block at this height is 03",
        ),
        (
            refused(&rollback(3, &short(9)), Some(&short(3))),
            "cannot roll back to block 3 (09): the block at this height is 03",
        ),
        (
            refused(&rollback(5, &short(5)), Some(&short(5))),
            "cannot roll back to block 5 (05): there is no such height below the tip",
        ),
        (
            refused(&rollback(0, &short(9)), None),
            "cannot roll back to block 0 (09): the block at this height is 00",
        ),
    ];
    for (error, message) in cases {
        assert_eq!(error.to_string(), message);
    }
}

/// Whoever keeps rolled-back blocks around and looks them up must not make them count.
#[test]
fn a_block_that_was_rolled_back_cannot_be_proven() {
    let mut links = chain_of(1..=5);
    links.admit(&rollback(3, &short(3)), Some(&short(3))).unwrap();
    let error = links.admit(&proof(4, &short(4)), Some(&short(4))).unwrap_err();
    assert_eq!(error, LinkError::UnknownBlock { height: 4, block_hash: short(4), found: None });
}

#[test]
fn a_rollback_of_every_block_leaves_the_parent_of_the_first() {
    let mut links = new();
    links.admit(&block(100, &short(2), &short(1)), None).unwrap();
    links.admit(&proof(100, &short(2)), Some(&short(2))).unwrap();
    assert_eq!(links.refers_to(&rollback(99, &short(1))), None, "the base is remembered");
    links.admit(&rollback(99, &short(1)), None).unwrap();
    assert_eq!(links.tip(), Some(&Tip { height: 99, hash: short(1) }));
    assert_eq!(links.proof_tip(), Some(99));
    assert!(links.admit(&rollback(98, &short(0)), None).is_err());
    links.admit(&block(100, &short(3), &short(1)), None).unwrap();
}

/// A state with as many runs of proven blocks as there may be, of every second block.
fn full_of_gaps() -> (Links, u64) {
    let runs = MAX_PROOF_RANGES as u64;
    let highest = 2 * runs + 10;
    let state = LinksState {
        base: None,
        tip: Some(Tip { height: highest, hash: short(1) }),
        proof_tip: Some(0),
        proven_above: (1..=runs).map(|run| 2 * run).collect(),
    };
    (Links::resume(short(GENESIS), ProofsFrom::default(), state), 2 * runs)
}

#[test]
fn gaps_between_proofs_have_a_limit() {
    let (mut links, last) = full_of_gaps();
    let before = links.clone();
    let refused = links.admit(&proof(last + 2, &short(1)), Some(&short(1)));
    assert_eq!(refused, Err(LinkError::TooManyGaps { height: last + 2, lowest: 1 }));
    assert_eq!(links, before, "an error changes nothing");
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("the lowest is block 1"), "{text}");
    // What joins a run is no run more; what closes a gap is one less, and makes room.
    links.admit(&proof(last + 1, &short(1)), Some(&short(1))).unwrap();
    links.admit(&proof(last, &short(1)), Some(&short(1))).unwrap();
    links.admit(&proof(1, &short(1)), Some(&short(1))).unwrap();
    assert_eq!(links.proof_tip(), Some(2));
    links.admit(&proof(last + 3, &short(1)), Some(&short(1))).unwrap();
}

#[test]
fn the_genesis_needs_no_proof() {
    let mut links = new();
    links.admit(&block(0, &short(GENESIS), &short(9)), None).unwrap();
    assert_eq!(links.proof_tip(), Some(0));
    links.admit(&block(1, &short(1), &short(GENESIS)), None).unwrap();
    links.admit(&proof(1, &short(1)), Some(&short(1))).unwrap();
    assert_eq!(links.proof_tip(), Some(1));
    // It may have one.
    links.admit(&proof(0, &short(GENESIS)), Some(&short(GENESIS))).unwrap();
    assert_eq!(links.proof_tip(), Some(1));
}

/// An older version expected a proof of the genesis, and remembered all above it.
#[test]
fn a_state_that_waits_for_the_proof_of_the_genesis_does_so_no_longer() {
    let state = LinksState {
        base: None,
        tip: Some(Tip { height: 9, hash: short(1) }),
        proof_tip: None,
        proven_above: [1, 2, 3, 5].into_iter().collect(),
    };
    let mut links = Links::resume(short(GENESIS), ProofsFrom::default(), state);
    assert_eq!(links.proof_tip(), Some(3));
    links.admit(&proof(4, &short(4)), Some(&short(4))).unwrap();
    assert_eq!(links.proof_tip(), Some(5));
    // Of a chain that has no block yet nothing is known.
    assert_eq!(new().proof_tip(), None);
}

/// Proofs that begin in the middle: before it nothing waits, after it everything does, and a
/// rollback across it takes back only what it removes.
#[test]
fn proofs_may_begin_late() {
    let mut links = Links::new(short(GENESIS), from(4));
    let next = |links: &mut Links, height: u8| {
        let event = block(height.into(), &short(height), &short(height - 1));
        links.admit(&event, None).unwrap();
        links.proof_tip()
    };
    let prove = |links: &mut Links, height: u8| {
        links.admit(&proof(height.into(), &short(height)), Some(&short(height))).unwrap();
        links.proof_tip()
    };
    assert_eq!([1, 2, 3].map(|height| next(&mut links, height)), [Some(1), Some(2), Some(3)]);
    assert_eq!([4, 5, 6].map(|height| next(&mut links, height)), [Some(3); 3]);
    assert_eq!(prove(&mut links, 2), Some(3), "it may be proven, and nobody waits for it");
    assert_eq!(prove(&mut links, 5), Some(3));
    assert_eq!(prove(&mut links, 4), Some(5));
    links.admit(&rollback(2, &short(2)), Some(&short(2))).unwrap();
    assert_eq!(links.proof_tip(), Some(2));
    assert_eq!([3, 4].map(|height| next(&mut links, height)), [Some(3); 2]);
}

/// A log that begins above the height from which on proofs are expected.
#[test]
fn what_is_below_the_first_block_is_not_asked_for() {
    let mut links = Links::new(short(GENESIS), from(4));
    links.admit(&block(100, &short(2), &short(1)), None).unwrap();
    assert_eq!(links.proof_tip(), Some(99));
    links.admit(&rollback(99, &short(1)), None).unwrap();
    assert_eq!(links.proof_tip(), Some(99));
}
