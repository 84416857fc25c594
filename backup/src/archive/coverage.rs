//! What segments hold in all. Pure: their names are enough.

use super::name::SegmentName;

/// Segments do not continue each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathError {
    /// No segment holds the entries from the first to the second index.
    Gap(u64, u64),
    /// Two segments end with different entries of one index.
    Fork(SegmentName, SegmentName),
}

/// The fewest segments that hold everything that all of them hold, in order. `names` are in the
/// order of [`super::Archive::segments`].
pub(super) fn path(names: &[SegmentName]) -> Result<Vec<&SegmentName>, PathError> {
    check_forks(names)?;
    let mut path: Vec<&SegmentName> = Vec::new();
    let mut rest = names.iter().peekable();
    let mut last = names.first().map_or(0, |name| name.first - 1);
    loop {
        let mut farthest: Option<&SegmentName> = None;
        while let Some(name) = rest.next_if(|name| name.first - 1 <= last) {
            if name.last > farthest.map_or(last, |farthest| farthest.last) {
                farthest = Some(name);
            }
        }
        match (farthest, rest.peek()) {
            (Some(name), _) => {
                last = name.last;
                path.push(name);
            }
            (None, Some(next)) => return Err(PathError::Gap(last + 1, next.first - 1)),
            (None, None) => return Ok(path),
        }
    }
}

fn check_forks(names: &[SegmentName]) -> Result<(), PathError> {
    let mut ends: Vec<&SegmentName> = names.iter().collect();
    ends.sort_by_key(|name| name.last);
    for pair in ends.windows(2) {
        if let [a, b] = pair
            && a.last == b.last
            && a.digest != b.digest
        {
            return Err(PathError::Fork((*a).clone(), (*b).clone()));
        }
    }
    Ok(())
}
