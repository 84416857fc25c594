//! May this store follow this log, and from where on? Asked whenever the two meet.

use std::time::Duration;

use tipline_log::{Extent, Log, LogError};
use tipline_proto::{ConsumerName, Cursor, Entry, Event, Level, Position};
use tipline_store::{ChainView, Sink, StoreError, StoreIdentity, StoredBlock, StoredLinks};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::ConsumerError;
use crate::progress::{Phase, Progress, report_stuck};
use crate::settings::ConsumerSettings;
use crate::store_thread::StoreThread;

/// What a store and a log that belong together start from.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) start: StartState,
    /// Index of the log's newest entry.
    pub(crate) tail: u64,
}

/// The store that is compared with the log. One that does not answer is shown.
#[derive(Clone, Copy)]
pub(crate) struct JoiningStore<'a> {
    pub(crate) thread: &'a StoreThread,
    pub(crate) progress: &'a watch::Sender<Progress>,
    /// How long it may be at one call before it counts as stalled.
    pub(crate) stuck: Duration,
}

impl JoiningStore<'_> {
    fn place(&self) -> &str {
        self.thread.place()
    }

    /// Calls it, and waits for the answer.
    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Sink) -> T + Send + 'static,
    ) -> Result<T, ConsumerError> {
        let mut answer = self.thread.call(job);
        if let Ok(answer) = timeout(self.stuck, answer.get()).await {
            return answer;
        }
        report_stuck(self.progress, self.place(), "compared with the log", self.stuck);
        let answer = answer.get().await;
        tracing::info!(store = self.place(), "store resumed");
        self.progress.send_modify(|progress| progress.phase = Phase::Joining);
        answer
    }
}

/// Compares the store with the log; makes a new one a store of this log.
pub(crate) async fn join(
    log: &dyn Log,
    store: JoiningStore<'_>,
    settings: &ConsumerSettings,
) -> Result<Joined, ConsumerError> {
    let identity = log.identity().clone();
    let expected = StoreIdentity::from(&identity);
    let found = store.call(|store| store.identity()).await??;
    let is_new = found.is_none();
    if let Some(found) = found.filter(|found| *found != expected) {
        let (found, expected) = (Box::new(found), Box::new(expected));
        return Err(
            StoreError::WrongLog { place: store.place().to_owned(), found, expected }.into()
        );
    }
    if is_new && !settings.new_store {
        check_known(log, store, &settings.name).await?;
    }
    let extent = log.extent().await.map_err(ConsumerError::Log)?;
    if is_new && extent.first > 1 {
        return Err(out_of_range(store, 1, extent));
    }
    store.call(move |store| store.create(&identity)).await??;
    let start = store.call(|store| StartState::read(store)).await??;
    check(log, store, start.cursor.position, extent).await?;
    // A part of it that has more is shown to have the log's before anything counts as durable.
    for ahead in store.call(|store| store.ahead()).await? {
        check(log, store, ahead, extent).await?;
    }
    Ok(Joined { start, tail: extent.last })
}

/// A new store is not taken for a first day if an earlier run of the same name said how far it was.
async fn check_known(
    log: &dyn Log,
    store: JoiningStore<'_>,
    consumer: &ConsumerName,
) -> Result<(), ConsumerError> {
    let board = log.board().await.map_err(ConsumerError::Log)?;
    let receipt = board.receipts.iter().find(|receipt| receipt.consumer == *consumer);
    match receipt.and_then(|receipt| receipt.reached.at(Level::Applied)) {
        Some(Position { index: known @ 1.., .. }) => Err(ConsumerError::StoreLost {
            store: store.place().to_owned(),
            consumer: consumer.clone(),
            known,
        }),
        _ => Ok(()),
    }
}

/// What a store that was created for a log starts from.
#[derive(Debug)]
pub struct StartState {
    /// Where it is.
    pub cursor: Cursor,
    /// What it remembers of the links of its chain.
    pub links: StoredLinks,
    /// For verification to look blocks up.
    pub view: Box<dyn ChainView>,
}

impl StartState {
    /// Reads it from a store.
    ///
    /// # Errors
    /// Those of reading; [`StoreError::Corrupt`] if the store has no cursor.
    pub fn read(store: &dyn Sink) -> Result<Self, StoreError> {
        let view = store.view()?;
        let cursor = view.cursor()?.ok_or_else(|| StoreError::Corrupt {
            place: store.place(),
            at: "the cursor: it is missing".to_owned(),
            source: None,
        })?;
        Ok(Self { cursor, links: view.links()?, view })
    }
}

/// Whether the log continues from the store's cursor.
async fn check(
    log: &dyn Log,
    store: JoiningStore<'_>,
    cursor: Position,
    extent: Extent,
) -> Result<(), ConsumerError> {
    if extent.first > cursor.index + 1 {
        return Err(out_of_range(store, cursor.index + 1, extent));
    }
    if extent.last < cursor.index {
        return check_tail(log, store, cursor).await;
    }
    // An entry that is no longer there is compared by the one after it, which chains to it.
    if cursor.index < extent.first {
        return Ok(());
    }
    let entry = log.entry(cursor.index).await.map_err(ConsumerError::Log)?;
    if entry.digest == cursor.digest {
        return Ok(());
    }
    let at = divergence(log, store, extent).await?;
    Err(ConsumerError::Diverged {
        store: store.place().to_owned(),
        at,
        index: cursor.index,
        stored: cursor.digest,
        found: entry.digest,
    })
}

/// The log seems to end before the cursor. Only the one who decides about appends knows; a
/// copy may lag, and catches up.
async fn check_tail(
    log: &dyn Log,
    store: JoiningStore<'_>,
    cursor: Position,
) -> Result<(), ConsumerError> {
    let tail = log.tail().await.map_err(ConsumerError::Log)?.position.index;
    if tail < cursor.index {
        let (store, cursor) = (store.place().to_owned(), cursor.index);
        return Err(ConsumerError::Ahead { store, cursor, tail });
    }
    Err(ConsumerError::Log(LogError::Unavailable {
        place: log.identity().name.to_string(),
        what: format!("it answers from a copy that does not reach entry {} yet", cursor.index),
        source: None,
    }))
}

/// The lowest block at which store and log differ. A block's index in the log grows with its
/// height, and two histories that differ once differ from there on: so it is searched by halves.
async fn divergence(
    log: &dyn Log,
    store: JoiningStore<'_>,
    extent: Extent,
) -> Result<String, ConsumerError> {
    let heights = store.call(|store| store.view()?.heights()).await??;
    let Some((mut low, mut high)) = heights else {
        return Ok("an entry that is no block; it has no blocks".to_owned());
    };
    let mut found = None;
    while low <= high {
        let middle = low + (high - low) / 2;
        match compare(log, store, middle, extent).await? {
            Some(difference) => {
                found = Some(difference);
                match middle.checked_sub(1) {
                    Some(below) => high = below,
                    None => break,
                }
            }
            None => low = middle + 1,
        }
    }
    Ok(found.unwrap_or_else(|| format!("an entry that is no block; all blocks up to {high} agree")))
}

/// How the log differs at the place of the store's block; `None` if it has the same, or no
/// longer holds it.
async fn compare(
    log: &dyn Log,
    store: JoiningStore<'_>,
    height: u64,
    extent: Extent,
) -> Result<Option<String>, ConsumerError> {
    let block = store.call(move |store| store.view()?.block(height)).await??;
    let Some(block) = block.filter(|block| block.index >= extent.first) else {
        return Ok(None);
    };
    let entry = log.entry(block.index).await.map_err(ConsumerError::Log)?;
    let StoredBlock { index, hash, .. } = &block;
    let difference = format!(
        "height {height}: as entry {index} it has block {hash}, the log has {}",
        entry.event
    );
    Ok((!is_of(&block, &entry)).then_some(difference))
}

fn is_of(block: &StoredBlock, entry: &Entry) -> bool {
    let same_event = matches!(&entry.event, Event::BlockCommitted { height, hash, parent_hash, payload }
        if *height == block.height
            && *hash == block.hash
            && *parent_hash == block.parent_hash
            && *payload == block.payload);
    same_event && entry.epoch == block.epoch && entry.time == block.time
}

fn out_of_range(store: JoiningStore<'_>, needed: u64, extent: Extent) -> ConsumerError {
    let Extent { first, last } = extent;
    ConsumerError::OutOfRange { store: store.place().to_owned(), needed, first, last }
}
