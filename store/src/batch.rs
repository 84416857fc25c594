//! What a store is given to apply.

use tipline_proto::{Cursor, Entry, Tip};

use crate::error::StoreError;

/// Entries in a row, verified, and the cursor after the last of them.
#[derive(Debug, Clone)]
pub struct Batch {
    /// At least one entry and at most
    /// [`MAX_APPLY_EVENTS`](tipline_proto::limits::MAX_APPLY_EVENTS), in the order of the log, the
    /// first directly after the store's cursor, none void, every one verified.
    pub entries: Vec<Entry>,
    /// The cursor to commit with them. Block tip and proof tip are computed by the
    /// verification, so that they are the same in every kind of store.
    pub cursor: Cursor,
    /// Parent of the first block of the log, for the store to keep: see
    /// [`tipline_proto::LinksState::base`].
    pub base: Option<Tip>,
}

impl Batch {
    /// Whether the batch starts directly after a store's cursor, and is whole: what every store
    /// checks before it applies one. Gives the cursor. `place` names the store.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`]; [`StoreError::Failed`] if the store was never created.
    pub fn check_follows<'a>(
        &self,
        cursor: Option<&'a Cursor>,
        place: &str,
    ) -> Result<&'a Cursor, StoreError> {
        let place = place.to_owned();
        let Some(cursor) = cursor else {
            let what = "it was not created for a log before a batch came".to_owned();
            return Err(StoreError::Failed { place, what, source: None });
        };
        let first = self.entries.first().map_or(0, |entry| entry.index);
        let whole = self.entries.last().map(Entry::position) == Some(self.cursor.position);
        if whole && first == cursor.position.index + 1 {
            return Ok(cursor);
        }
        Err(StoreError::OutOfOrder { place, cursor: cursor.position, first })
    }
}
