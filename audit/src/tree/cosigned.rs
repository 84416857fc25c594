//! Collecting what others have cosigned.

use crate::tlog::{Accepted, BadNote, NotAccepted, Policy, unverified_text};

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
