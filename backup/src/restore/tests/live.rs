//! What is restored from a checkpoint and what came after it is what a store is that applied
//! everything live.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_store::{Store, content_digest};

use super::super::Target;
use super::{KINDS, Kept, open, place};

/// How many histories; `TIPLINE_RESTORES` in the environment overrides it.
fn cases() -> u64 {
    std::env::var("TIPLINE_RESTORES").map_or(25, |text| text.parse().unwrap())
}

/// A history in which what was there is replaced and erased, before and after any point.
fn turbulent(seed: u64, random: &mut StdRng) -> History {
    let mut history = History::random_of(seed, random.random_range(5..60), 500);
    for _ in 0..random.random_range(5..60) {
        let id = random.random_range(0..5);
        match random.random_range(0..10) {
            0 => history.record_of(id, Some(vec![id; 30].into())),
            1 => history.record_of(id, None),
            2 => history.transaction_of(id),
            3 => history.replace_tip(),
            4 => history.rollback(),
            5 | 6 => history.proof(),
            7 => history.mark(),
            _ => history.step(),
        }
        // The same proof again, of another payload.
        if let Some(height) = history.model.proofs.keys().next_back().copied()
            && random.random_bool(0.1)
        {
            history.proof_of(height, 40);
        }
    }
    history
}

/// A store that applies everything, in batches of any size.
fn live(kept: &Kept, kinds: &[&str], to: u64, random: &mut StdRng) -> Box<dyn Store> {
    let directory = kept.directory.path().join(format!("live-{}", rand::random::<u64>()));
    std::fs::create_dir(&directory).unwrap();
    let mut store = open(&place(kinds, &directory));
    store.create(&log()).unwrap();
    let (mut model, mut rest) = (Model::new(&log()), &kept.entries()[..to as usize]);
    while !rest.is_empty() {
        let (batch, more) = rest.split_at(random.random_range(1..=rest.len()));
        store.apply(&model.batch(batch)).unwrap();
        rest = more;
    }
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_and_what_came_after_it_is_what_was_live() {
    let first: u64 = rand::random_range(0..1 << 40);
    for case in 0..cases() {
        let seed = first + case;
        let mut random = StdRng::seed_from_u64(seed);
        let kept = Kept::of(turbulent(seed, &mut random)).await;
        let end = kept.entries().len() as u64;
        // The same of both by turns: every kind of store with every kind of checkpoint.
        let into = KINDS[case as usize % KINDS.len()];
        let of = KINDS[case as usize / KINDS.len() % KINDS.len()];
        let at = random.random_range(1..=end);
        kept.checkpoint(of, at).await;
        if at < end {
            kept.segment(at + 1, end).await;
        }
        let to = random.random_range(at..=end);
        let context = format!("seed {seed}: {of:?} at {at} into {into:?} to {to} of {end}");
        let found = kept.restore(into, Target::Index(to), false).await;
        let found = found.unwrap_or_else(|error| panic!("{context}: {error}"));
        let mut restored = found.open();
        let mut live = live(&kept, into, to, &mut random);
        let same = |live: &dyn Store, restored: &dyn Store, context: &str| {
            let (live, restored) = (live.reader().unwrap(), restored.reader().unwrap());
            assert_eq!(live.cursor().unwrap(), restored.cursor().unwrap(), "{context}");
            assert_eq!(live.links().unwrap(), restored.links().unwrap(), "{context}");
            let digests = [content_digest(&*live).unwrap(), content_digest(&*restored).unwrap()];
            assert_eq!(digests[0], digests[1], "{context}");
        };
        same(&*live, &*restored, &context);
        // They go on alike.
        if to < end {
            let mut model = kept.model(to);
            let batch = model.batch(&kept.entries()[to as usize..]);
            live.apply(&batch).unwrap();
            restored.apply(&batch).unwrap();
            same(&*live, &*restored, &format!("{context}, continued"));
        }
    }
}
