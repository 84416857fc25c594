//! Collecting what others have cosigned, and publishing it.

use super::error::TreeError;
use super::place::{Newest, TreePlace};
use crate::tlog::{Accepted, BadNote, NotAccepted, Policy, unverified_text};

/// Publishes it with all that was cosigned of it; gives who is missing if the policy does not accept it
/// yet.
pub(super) async fn publish_cosigned(
    place: &TreePlace,
    policy: Option<&Policy>,
    newest: &Newest,
) -> Result<Option<String>, TreeError> {
    let Some(policy) = policy else {
        if !newest.is_published {
            place.publish(newest.note.clone()).await?;
        }
        return Ok(None);
    };
    let notes = place.notes_by(policy).await?;
    let accepted = collect(policy, &newest.note, notes.iter().map(|(note, _)| note.as_str()));
    match accepted {
        Ok(accepted) if newest.is_published && accepted.note == newest.note => Ok(None),
        Ok(accepted) => {
            place.publish(accepted.note).await?;
            Ok(None)
        }
        Err(NotAccepted::NoQuorum { missing }) => Ok(Some(missing)),
        Err(source) => Err(TreeError::NotAccepted { place: place.place().to_owned(), source }),
    }
}

/// A checkpoint with what the witnesses of a policy cosigned elsewhere, of each the newest, if the
/// policy accepts it then. A cosignature that is wrong elsewhere is passed over: whoever may write there
/// may write anything.
pub(super) fn collect<'a>(
    policy: &Policy,
    note: &str,
    elsewhere: impl IntoIterator<Item = &'a str>,
) -> Result<Accepted, NotAccepted> {
    let text = unverified_text(note)?;
    let same = elsewhere.into_iter().filter(|other| unverified_text(other) == Ok(text));
    let same: Vec<&str> = same.collect();
    let mut lines = String::new();
    for key in policy.witnesses().filter(|key| !matches!(key.find(note), Ok(Some(_)))) {
        let found = same.iter().filter_map(|other| key.find(other).ok().flatten());
        lines += &found.max_by_key(|found| found.seconds).map_or(String::new(), |found| found.line);
    }
    match note.ends_with('\n') {
        true => policy.check(&format!("{note}{lines}")),
        false => Err(BadNote::Malformed("it is cut off").into()),
    }
}
