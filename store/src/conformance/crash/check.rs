//! What must hold of a store after it was interrupted.

use std::collections::BTreeMap;
use std::path::Path;

use tipline_proto::Entry;

use super::super::history::History;
use super::super::model::Model;
use super::copies::{self, store_in};
use super::mark::Mark;
use super::{Open, log};
use crate::spec::Store;

/// How large the payloads are at most, but for a few: some sectors and pages.
const MAX_PAYLOAD: usize = 3000;
/// Of so many states that are looked at, one has its copy looked at too.
const COPIES: usize = 3;

/// What the marks of a child promise of its store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Promise {
    /// `create` had returned.
    pub(super) created: bool,
    /// `create` may have been done.
    creating: bool,
    /// The last batch of which `apply` had returned, or that the store showed when it was opened:
    /// the primary is told of both.
    pub(super) at: u64,
    /// The batch that was under way.
    under_way: Option<u64>,
    /// The copy that is whole: of which moment, and of which kinds of stores.
    copy: Option<(u64, String)>,
}

impl Promise {
    /// Takes in a mark.
    ///
    /// # Panics
    /// The child saw what was not promised before.
    pub(super) fn hear(&mut self, mark: &Mark) {
        match mark {
            Mark::Opening | Mark::End => {}
            Mark::Opened(found) => {
                self.check(*found);
                let copy = self.copy.take();
                *self = Self { created: found.is_some(), copy, ..Self::default() };
                self.at = found.unwrap_or(0);
            }
            Mark::Creating => self.creating = true,
            Mark::Created => self.created = true,
            Mark::Applying(to) => self.under_way = Some(*to),
            Mark::Applied(to) => (self.at, self.under_way) = (*to, None),
            Mark::Copying => self.copy = None,
            Mark::Copied(of, kinds) => self.copy = Some((*of, kinds.clone())),
        }
    }

    /// Whether a store may have its cursor there.
    fn check(&self, found: Option<u64>) {
        let Some(found) = found else {
            assert!(!self.created, "it was created, and knows nothing of it: {self:?}");
            return;
        };
        assert!(self.created || self.creating, "nobody created it: {self:?}");
        let at = self.at;
        assert!(found >= at, "the store is at {found}, before {at}, which it had acknowledged");
        let may_be = found == at || Some(found) == self.under_way;
        assert!(may_be, "the store is at {found}, where no batch ends: {self:?}");
    }
}

/// A history, and what a store holds at any point of it.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) entries: Vec<Entry>,
    models: BTreeMap<u64, Model>,
    /// How many states with a copy were looked at.
    copies: usize,
}

impl Expected {
    /// A history by chance: the same seed gives the same, a longer one begins as a shorter one.
    pub(super) fn random(seed: u64, count: usize) -> Self {
        let entries = History::with_large(seed, count, MAX_PAYLOAD);
        Self { entries, models: BTreeMap::from([(0, Model::new(&log()))]), copies: 0 }
    }

    pub(super) fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    /// What a store holds whose cursor is there. Remembered: the next one may start from it.
    pub(super) fn model(&mut self, index: u64) -> Model {
        let (from, nearest) = self.models.range(..=index).next_back().unwrap();
        let mut model = nearest.clone();
        self.entries[*from as usize..index as usize].iter().for_each(|entry| model.apply(entry));
        self.models.insert(index, model.clone());
        model
    }

    /// Opens the store and checks all of its content against what was promised of it, and the copy
    /// that was made of it, if one was whole.
    ///
    /// # Panics
    /// It does not open, is at a point that was not promised, or holds something else there; nor
    /// does the copy.
    pub(super) fn check(
        &mut self,
        open: Open,
        directory: &Path,
        promise: &Promise,
    ) -> Box<dyn Store> {
        let store = open(&store_in(directory));
        let store = store.unwrap_or_else(|e| panic!("it does not open: {e:?}"));
        let reader = store.reader().unwrap();
        let found = reader.cursor().unwrap().map(|cursor| cursor.position.index);
        promise.check(found);
        assert_eq!(store.identity().unwrap(), found.map(|_| (&log()).into()));
        if let Some(found) = found {
            self.model(found).assert_is(&*reader, "what is left");
        }
        if let Some((of, kinds)) = &promise.copy
            && self.is_copy_due()
        {
            copies::check(directory, kinds, &*store, &self.model(*of));
        }
        store
    }

    fn is_copy_due(&mut self) -> bool {
        self.copies += 1;
        self.copies % COPIES == 1
    }

    /// Applies all that remains, and compares with the whole.
    pub(super) fn finish(&mut self, mut store: Box<dyn Store>, batch: usize) {
        store.create(&log()).unwrap();
        let reader = store.reader().unwrap();
        let at = reader.cursor().unwrap().unwrap().position.index;
        let mut model = self.model(at);
        for entries in self.entries[at as usize..].chunks(batch) {
            store.apply(&model.batch(entries)).unwrap();
        }
        self.model(self.end()).assert_is(&*reader, "gone on to the end");
    }
}
