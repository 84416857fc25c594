//! What a store refuses, and that nothing changes by it.

use super::Place;
use super::history::History;
use crate::error::StoreError;

pub(super) fn two_writers(place: &Place) {
    let mut subject = place.create();
    let second = (place.open)(place.directory.path()).unwrap_err();
    assert!(matches!(second, StoreError::InUse { .. }), "{second:?}");
    subject.apply(&History::blocks(3, 10).entries);
    subject.check("the first continues");
    subject.reopened(place).check("and when it is gone there may be another");
}
