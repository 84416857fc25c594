//! To which events a place can be restored by itself: pure.

/// The first and the last event of the newest range in which every point can be restored from what is
/// at one place. `archive` is the first and the last event of its newest entries without a gap;
/// `checkpoints` are the events at which some were made.
///
/// An archive from the first event on needs no checkpoint. A later one needs a checkpoint to start
/// from. Without entries only the moment of a checkpoint itself can be restored.
pub fn restorable(archive: Option<(u64, u64)>, checkpoints: &[u64]) -> Option<(u64, u64)> {
    let newest = checkpoints.iter().copied().max();
    let at_checkpoint = newest.map(|index| (index, index));
    let Some((first, last)) = archive.filter(|(first, last)| *first <= *last) else {
        return at_checkpoint;
    };
    if first <= 1 {
        return Some((1, last));
    }
    let starts = |index: &u64| index.saturating_add(1) >= first && *index <= last;
    let start = checkpoints.iter().copied().filter(starts).min();
    start.map_or(at_checkpoint, |start| Some((start, last)))
}

#[cfg(test)]
mod tests {
    use super::restorable;

    #[test]
    fn an_archive_needs_a_beginning() {
        for (archive, checkpoints, expected) in [
            (None, &[][..], None),
            (None, &[7, 9][..], Some((9, 9))),
            (Some((1, 20)), &[], Some((1, 20))),
            (Some((1, 20)), &[30], Some((1, 20))),
            // It was shortened: nothing without a checkpoint, and nothing before it.
            (Some((11, 20)), &[], None),
            (Some((11, 20)), &[9], Some((9, 9))),
            (Some((11, 20)), &[10], Some((10, 20))),
            (Some((11, 20)), &[9, 12, 15], Some((12, 20))),
            (Some((11, 20)), &[20], Some((20, 20))),
            (Some((11, 20)), &[25], Some((25, 25))),
        ] {
            assert_eq!(restorable(archive, checkpoints), expected, "{archive:?} {checkpoints:?}");
        }
    }
}
