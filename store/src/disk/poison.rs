//! A handle that failed stays failed.

use std::error::Error;

use crate::error::StoreError;

/// Whether a handle may still be used. After an error that leaves in doubt what is durable, there
/// is no next attempt: somebody opens the store again, from what is on the medium then.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    /// What failed.
    why: Option<String>,
}

impl Poison {
    /// Refuses if the handle is poisoned.
    ///
    /// # Errors
    /// [`StoreError::Failed`], with what failed earlier.
    pub(crate) fn check(&self, place: &str) -> Result<(), StoreError> {
        match &self.why {
            None => Ok(()),
            Some(why) => Err(StoreError::Failed {
                place: place.to_owned(),
                what: format!("it stopped earlier ({why}): remove the cause and open it again"),
                source: None,
            }),
        }
    }

    /// Whether the handle is poisoned.
    #[cfg(feature = "rocksdb")]
    pub(crate) fn is_set(&self) -> bool {
        self.why.is_some()
    }

    /// Poisons the handle, and gives the error back.
    pub(crate) fn by(&mut self, error: StoreError) -> StoreError {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        self.why = Some(format!("{error}{cause}"));
        error
    }

    /// Poisons the handle, unless the error goes away by itself. Gives it back.
    #[cfg(any(feature = "files", feature = "rocksdb"))]
    pub(crate) fn unless_retryable(&mut self, error: StoreError) -> StoreError {
        if error.is_retryable() { error } else { self.by(error) }
    }
}
