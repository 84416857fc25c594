//! Walking over what is void, which a server can make up without end.

use super::api::StreamRef;
use crate::error::LogError;

/// Most steps: each is over what somebody wrote after a newer claim, or over one of at most 999
/// parts of an event that was cut off. There are none of the first, and of the second a few.
pub(super) const MOST_STEPS: u32 = 10_000;

/// The steps of one question.
pub(super) struct Walk {
    left: u32,
}

impl Walk {
    pub(super) fn begin() -> Self {
        Self { left: MOST_STEPS }
    }

    /// Goes on from the message with this sequence.
    ///
    /// # Errors
    /// `Corrupt` after too many steps.
    pub(super) fn step(&mut self, stream: StreamRef<'_>, sequence: u64) -> Result<(), LogError> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => {
                let why = format!(
                    "it is void, and so are {MOST_STEPS} more: something other than Tipline's \
                     primary wrote them, or the server makes them up"
                );
                return Err(stream.wrong(sequence, why));
            }
        }
        Ok(())
    }
}
