//! What a store refuses, and that nothing changes by it.

use tipline_proto::Cursor;

use super::Place;
use super::history::{History, log, log_with_lineage};
use super::model::Model;
use crate::batch::Batch;
use crate::error::StoreError;

pub(super) fn of_no_log(place: &Place) {
    let mut store = place.open();
    assert_eq!(store.identity().unwrap(), None);
    assert_eq!(store.reader().unwrap().cursor().unwrap(), None);
    let early = Model::new(&log()).batch(&History::blocks(1, 1).entries);
    assert!(store.apply(&early).is_err(), "it was not created for a log");
    store.create(&log()).unwrap();
    store.create(&log()).unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.identity().unwrap(), Some((&log()).into()));
    assert_eq!(store.reader().unwrap().cursor().unwrap(), Some(Cursor::origin(&log())));
}

pub(super) fn of_another_log(place: &Place) {
    let mut subject = place.create();
    subject.apply(&History::blocks(3, 10).entries);
    let error = subject.store.create(&log_with_lineage(8)).unwrap_err();
    assert!(matches!(error, StoreError::WrongLog { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("07070707") && message.contains("08080808"), "{message}");
    subject.check("after another log was refused");
}

/// Duplicates, gaps, and a cursor that is not that of the entries.
pub(super) fn out_of_order(place: &Place) {
    let mut subject = place.create();
    let entries = History::blocks(9, 10).entries;
    let first = subject.model.clone().batch(&entries[..4]);
    subject.apply(&entries[..4]);
    let again = subject.store.apply(&first).unwrap_err();
    assert!(matches!(again, StoreError::OutOfOrder { first: 1, .. }), "{again:?}");
    let gap = Batch { entries: entries[5..].to_vec(), ..first.clone() };
    let gap = subject.store.apply(&gap).unwrap_err();
    assert!(matches!(gap, StoreError::OutOfOrder { first: 6, .. }), "{gap:?}");
    let overlap = Batch { entries: entries[3..].to_vec(), ..first.clone() };
    let overlap = subject.store.apply(&overlap).unwrap_err();
    assert!(matches!(overlap, StoreError::OutOfOrder { first: 4, .. }), "{overlap:?}");
    let other_cursor = Batch { entries: entries[4..].to_vec(), ..first.clone() };
    let other_cursor = subject.store.apply(&other_cursor).unwrap_err();
    assert!(matches!(other_cursor, StoreError::OutOfOrder { .. }), "{other_cursor:?}");
    let empty = subject.store.apply(&Batch { entries: vec![], ..first }).unwrap_err();
    assert!(matches!(empty, StoreError::OutOfOrder { .. }), "{empty:?}");
    subject.check("after refusals");
    subject.apply(&entries[4..]);
    subject.check("after the right one");
}

pub(super) fn two_writers(place: &Place) {
    let mut subject = place.create();
    let second = (place.open)(place.directory.path()).unwrap_err();
    assert!(matches!(second, StoreError::InUse { .. }), "{second:?}");
    subject.apply(&History::blocks(3, 10).entries);
    subject.check("the first goes on");
    subject.reopened(place).check("and when it is gone there may be another");
}
