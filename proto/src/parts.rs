//! Events that are larger than a message of the log: cut into parts, and put together.

use bytes::{Bytes, BytesMut};

use crate::decode_error::DecodeError;
use crate::entry::Entry;
use crate::limits::{MAX_PAYLOAD_BYTES, MAX_UNIT_MESSAGES};
use crate::wire::{self, MAX_ENTRY_OVERHEAD};

/// Cuts an encoded entry into messages of at most `max_message` bytes each. One message if it
/// fits. Otherwise the parts before the last are the beginning of the payload, raw, and the
/// last part is an encoded entry with the end of the payload: a reader of only the newest
/// message of a log knows its tail.
///
/// `max_message` is taken as at least twice [`MAX_ENTRY_OVERHEAD`]. What a broker adds of its
/// own, such as headers, is for the caller to subtract. So is a refusal of more than
/// [`MAX_UNIT_MESSAGES`] parts, which no [`Assembler`] takes: for the largest event that needs
/// messages of 66 KiB.
pub fn split(entry: &Entry, max_message: usize) -> Vec<Bytes> {
    let room = max_message.max(2 * MAX_ENTRY_OVERHEAD);
    let payload = entry.event.payload();
    if payload.len() + MAX_ENTRY_OVERHEAD <= room {
        return vec![wire::encode_entry(entry, payload.clone())];
    }
    let last = payload.len() - (room - MAX_ENTRY_OVERHEAD);
    let mut messages: Vec<Bytes> =
        (0..last).step_by(room).map(|start| payload.slice(start..last.min(start + room))).collect();
    messages.push(wire::encode_entry(entry, payload.slice(last..)));
    messages
}

/// Puts the parts of one event together.
#[derive(Debug, Default)]
pub struct Assembler {
    parts: Vec<Bytes>,
    bytes: usize,
}

impl Assembler {
    /// Whether parts wait for their last one.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many parts wait for their last one.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Takes a part that is not the last one.
    ///
    /// # Errors
    /// The part is empty, or with it the parts are larger or more than those of an event may
    /// be. All of them are dropped.
    pub fn push(&mut self, part: Bytes) -> Result<(), DecodeError> {
        let bytes = self.bytes.saturating_add(part.len());
        let refusal = if part.is_empty() {
            "a part of it is empty".to_owned()
        } else if bytes > MAX_PAYLOAD_BYTES {
            format!("its parts have over {MAX_PAYLOAD_BYTES} bytes together")
        } else if self.parts.len() + 1 == MAX_UNIT_MESSAGES {
            format!("it has over {MAX_UNIT_MESSAGES} parts")
        } else {
            self.bytes = bytes;
            self.parts.push(part);
            return Ok(());
        };
        *self = Self::default();
        Err(DecodeError::payload(refusal))
    }

    /// Takes the last part, or a message that is whole by itself, and gives the entry. The
    /// payload of a whole message is shared with it, not copied.
    ///
    /// # Errors
    /// The message is not an entry, or the parts do not make up its payload. The parts that
    /// were waiting are dropped in any case.
    pub fn finish(&mut self, last: Bytes) -> Result<Entry, DecodeError> {
        let Self { parts, bytes } = std::mem::take(self);
        wire::decode_entry(last, |end| {
            if parts.is_empty() {
                return end;
            }
            let mut payload = BytesMut::with_capacity(bytes + end.len());
            for part in parts {
                payload.extend_from_slice(&part);
            }
            payload.extend_from_slice(&end);
            payload.freeze()
        })
    }
}
