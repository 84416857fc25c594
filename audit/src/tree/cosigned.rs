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
    let notes = place.notes().await?;
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

/// A checkpoint with what the witnesses of a policy cosigned elsewhere, if the policy accepts it then.
/// A cosignature that is wrong elsewhere is passed over: whoever may write there may write anything.
pub(super) fn collect<'a>(
    policy: &Policy,
    note: &str,
    elsewhere: impl IntoIterator<Item = &'a str>,
) -> Result<Accepted, NotAccepted> {
    let text = unverified_text(note)?;
    let mut lines = String::new();
    for other in elsewhere {
        if unverified_text(other) != Ok(text) {
            continue;
        }
        for key in policy.witnesses() {
            if let Ok(Some(found)) = key.find(other)
                && ![note, &lines].iter().any(|there| there.contains(&found.line))
            {
                lines += &found.line;
            }
        }
    }
    match note.ends_with('\n') {
        true => policy.check(&format!("{note}{lines}")),
        false => Err(BadNote::Malformed("it is cut off").into()),
    }
}
