//! Everything in a store that has a name, in the order of the names, a page at a time.

use std::ops::ControlFlow;

use tipline_store::{StoreError, StoreReader, StoredMark, StoredRecord, StoredTransaction};

use crate::error::AuditError;

/// How many names are asked for at once.
const PAGE: usize = 1000;

pub(crate) fn each_transaction(
    reader: &dyn StoreReader,
    each: impl FnMut(StoredTransaction) -> Result<ControlFlow<()>, AuditError>,
) -> Result<(), AuditError> {
    let page = |after: Option<&_>| reader.transaction_ids(after, PAGE);
    pages(page, |id| reader.transaction(id), each)
}

pub(crate) fn each_record(
    reader: &dyn StoreReader,
    each: impl FnMut(StoredRecord) -> Result<ControlFlow<()>, AuditError>,
) -> Result<(), AuditError> {
    pages(|after: Option<&_>| reader.keys(after, PAGE), |key| reader.record(key), each)
}

pub(crate) fn each_mark(
    reader: &dyn StoreReader,
    each: impl FnMut(StoredMark) -> Result<ControlFlow<()>, AuditError>,
) -> Result<(), AuditError> {
    pages(|after: Option<&_>| reader.marks(after, PAGE), |name| reader.mark(name), each)
}

/// What is gone by the time it is read is left out. Breaking ends it.
fn pages<N: Clone, T>(
    page: impl Fn(Option<&N>) -> Result<Vec<N>, StoreError>,
    get: impl Fn(&N) -> Result<Option<T>, StoreError>,
    mut each: impl FnMut(T) -> Result<ControlFlow<()>, AuditError>,
) -> Result<(), AuditError> {
    let mut names = page(None)?;
    while let Some(last) = names.last().cloned() {
        for name in &names {
            if let Some(found) = get(name)?
                && each(found)?.is_break()
            {
                return Ok(());
            }
        }
        names = page(Some(&last))?;
    }
    Ok(())
}
