//! Up to where an archive is merged, so that merging does not begin from its beginning each time.
//!
//! It is written down as the name of an empty object: `merged/<index>`, with 20 digits, or
//! `merged/<index>-alone` if what the merged segments were made of is removed. **It is a help and
//! no more.** Nothing but merging looks at it. If it is not there, merging looks at everything once;
//! if it says too much, small segments stay small.

use bytes::Bytes;

use super::{Archive, ArchiveError};
use crate::destination::DestinationError;

/// The folder of these names.
pub(super) const SETTLED: &str = "merged";
const ALONE: &str = "-alone";

impl Archive {
    /// Up to which entry there is nothing left to merge; with `remove`, nor to remove.
    pub(super) async fn settled(&self, remove: bool) -> Result<u64, ArchiveError> {
        let found = self.destination.list(SETTLED, None).await?;
        let found = found.iter().filter_map(|object| parse(&object.name));
        Ok(found.filter(|(_, is_alone)| *is_alone || !remove).map(|(to, _)| to).max().unwrap_or(0))
    }

    /// Writes it down. Earlier ones go, if anything may be removed here.
    pub(super) async fn settle(&self, to: u64, remove: bool) -> Result<(), ArchiveError> {
        let name = format!("{SETTLED}/{to:020}{}", if remove { ALONE } else { "" });
        match self.destination.create(&name, Bytes::new()).await {
            Ok(()) | Err(DestinationError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if remove {
            for object in self.destination.list(SETTLED, None).await? {
                if parse(&object.name).is_some_and(|(earlier, _)| earlier < to) {
                    self.destination.remove(&object.name).await?;
                }
            }
        }
        Ok(())
    }
}

fn parse(object: &str) -> Option<(u64, bool)> {
    let name = object.strip_prefix(SETTLED)?.strip_prefix('/')?;
    let index = name.strip_suffix(ALONE);
    let is_index = |text: &&str| text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit());
    let to = Some(index.unwrap_or(name)).filter(is_index)?.parse().ok()?;
    Some((to, index.is_some()))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn other_names_say_nothing() {
        assert_eq!(parse("merged/00000000000000000017"), Some((17, false)));
        assert_eq!(parse("merged/00000000000000000017-alone"), Some((17, true)));
        for other in
            ["merged/17", "merged/", "merged/00000000000000000017-", "from/00000000000000000017"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
