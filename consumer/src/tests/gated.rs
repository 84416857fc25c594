//! A store that waits for a test.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tipline_proto::LogIdentity;
use tipline_store::{Batch, ChainView, Sink, StoreError, StoreIdentity};

/// A store whose every batch is announced, and then waits for what the test says.
#[derive(Debug)]
pub(super) struct GatedStore<S> {
    inner: S,
    arrived: SyncSender<Vec<u64>>,
    go: Receiver<Go>,
}

#[derive(Debug)]
pub(super) enum Go {
    Apply,
    Full,
    Panic,
}

/// The test's side of a gated store.
pub(super) struct Gate {
    arrived: Receiver<Vec<u64>>,
    go: SyncSender<Go>,
}

impl<S: Sink> GatedStore<S> {
    pub(super) fn new(inner: S) -> (Self, Gate) {
        let (arrived, test) = sync_channel(1);
        let (go, store) = sync_channel(1);
        (Self { inner, arrived, go: store }, Gate { arrived: test, go })
    }
}

impl Gate {
    /// Waits for the next batch; its indices.
    pub(super) fn batch(&self) -> Vec<u64> {
        self.arrived.recv_timeout(std::time::Duration::from_secs(20)).expect("a batch")
    }

    pub(super) fn go(&self, go: Go) {
        self.go.send(go).unwrap();
    }

    /// Answers the store if it may be asking; goes on without if not.
    pub(super) fn try_go(&self, go: Go) {
        drop(self.arrived.try_recv());
        drop(self.go.try_send(go));
    }
}

impl<S: Sink> Sink for GatedStore<S> {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.inner.identity()
    }
    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        self.inner.create(log)
    }
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let indices = batch.entries.iter().map(|entry| entry.index).collect();
        // When the test has gone, so has the gate.
        let go = self.arrived.send(indices).ok().and_then(|()| self.go.recv().ok());
        match go {
            None | Some(Go::Apply) => self.inner.apply(batch),
            Some(Go::Full) => Err(StoreError::NoSpace { place: self.place(), source: None }),
            Some(Go::Panic) => panic!("as the test says"),
        }
    }
    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        self.inner.view()
    }
    fn probe(&mut self) -> Result<(), StoreError> {
        self.inner.probe()
    }
}

/// A store that does not say what it is for before the other end of `held` is gone.
#[derive(Debug)]
pub(super) struct HeldStore<S> {
    pub(super) inner: S,
    pub(super) held: Receiver<()>,
}

impl<S: Sink> Sink for HeldStore<S> {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.held.recv().ok();
        self.inner.identity()
    }
    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        self.inner.create(log)
    }
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.inner.apply(batch)
    }
    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        self.inner.view()
    }
    fn probe(&mut self) -> Result<(), StoreError> {
        self.inner.probe()
    }
}
