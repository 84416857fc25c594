//! Certifying what is durable where.

use super::cosigned::collect;
use super::error::TreeError;
use super::place::TreePlace;
use crate::tlog::{BadCertificate, Certificate, NotAccepted, Policy};

/// A certificate of the newest checkpoint that the policy accepts, with what was cosigned of it.
/// Nothing is written.
///
/// # Errors
/// [`TreeError::NotFound`] if nothing is signed; [`TreeError::NotAccepted`] with what the newest one
/// lacks; [`TreeError::Certificate`] if nobody who cosigned holds the entries.
pub async fn certify(place: &TreePlace, policy: &str) -> Result<Certificate, TreeError> {
    let parsed: Policy = policy.parse().map_err(BadCertificate::from)?;
    let mut notes = place.notes_by(&parsed).await?;
    if notes.is_empty() {
        return Err(TreeError::NotFound { place: place.place().to_owned() });
    }
    // What can be reached is the newest that enough have cosigned.
    notes.sort_by_key(|(_, checkpoint)| std::cmp::Reverse(checkpoint.size));
    let mut first: Option<NotAccepted> = None;
    for (note, _) in &notes {
        match collect(&parsed, note, notes.iter().map(|(note, _)| note.as_str())) {
            Ok(accepted) => return Ok(Certificate::issue(policy, &accepted.note)?),
            Err(error) => _ = first.get_or_insert(error),
        }
    }
    match first {
        Some(source) => Err(TreeError::NotAccepted { place: place.place().to_owned(), source }),
        None => Err(TreeError::NotFound { place: place.place().to_owned() }),
    }
}
