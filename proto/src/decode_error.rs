//! Why bytes are not a message of the contract.

/// Bytes that are not what they should be: written by something else, damaged, or by a newer
/// version. Never skip them; find out where they come from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not the message at all.
    #[error("the bytes are not a Tipline {message}")]
    Malformed {
        /// What was expected.
        message: &'static str,
        /// What is wrong with them.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A field that must be there is not.
    #[error("a Tipline {message} without {field}; a newer version may have written it")]
    Missing {
        /// Which message.
        message: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// It holds more than the message: fields that this version does not know, or fields twice.
    #[error("a Tipline {message} with {bytes} bytes too many: a newer version may have written it")]
    Excess {
        /// Which message.
        message: &'static str,
        /// How many bytes are not accounted for.
        bytes: usize,
    },
    /// A field has a value that it cannot have.
    #[error("a Tipline {message} whose {field} cannot be")]
    Invalid {
        /// Which message.
        message: &'static str,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DecodeError {
    pub(crate) fn payload(why: String) -> Self {
        Self::Invalid { message: "entry", field: "payload", source: why.into() }
    }
}
