//! Rows: events without their payloads.
//!
//! ```text
//! kind 1 · time_us 8 · bytes 8 · payload · event
//! payload  00                                              it has none
//!          01 length 8                                     under a key of its own; none if empty
//!          02 length 8 · BLAKE3 32 · family 2+n · key 2+n  in the node's column family, at its key
//! event    height 8 and byte strings 2+n, as the kind has them, in the order of its fields
//! ```
//! `bytes` counts the payloads of all rows up to and with this one.

use bytes::Bytes;
use tipline_proto::{Event, Key, Kind, Label, Timestamp, TransactionId};

use super::bytes::{Input, InvalidValue, Output};
use super::state::hash;

/// A row without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) time: Timestamp,
    /// Payload bytes of all rows up to and with this one.
    pub(super) bytes: u64,
    pub(super) payload: Place,
    /// The event. Its payload is not part of the row, and empty when it is read.
    pub(super) event: Event,
}

/// Where the payload of a row is. The numbers are persisted: keep stable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// 0: this event has none.
    None,
    /// 1: under a key of the outbox; nowhere if it is empty.
    Own { length: u64 },
    /// 2: in a column family of the node's.
    Elsewhere { length: u64, blake3: [u8; 32], family: String, key: Vec<u8> },
}

impl Place {
    pub(super) fn length(&self) -> u64 {
        match self {
            Place::None => 0,
            Place::Own { length } | Place::Elsewhere { length, .. } => *length,
        }
    }

    fn encode(&self, output: Output) -> Output {
        match self {
            Place::None => output.byte(0),
            Place::Own { length } => output.byte(1).number(*length),
            Place::Elsewhere { length, blake3, family, key } => {
                output.byte(2).number(*length).raw(blake3).bytes(family.as_bytes()).bytes(key)
            }
        }
    }

    fn decode(input: &mut Input<'_>) -> Result<Self, InvalidValue> {
        Ok(match input.byte()? {
            0 => Place::None,
            1 => Place::Own { length: input.number()? },
            2 => Place::Elsewhere {
                length: input.number()?,
                blake3: *input.array()?,
                family: str::from_utf8(input.bytes()?)?.to_owned(),
                key: input.bytes()?.to_vec(),
            },
            found => return Err(InvalidValue::Unknown { what: "payload's place", found }),
        })
    }
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let output = Output::default().byte(self.event.kind() as u8);
        let output = output.number(self.time.as_micros()).number(self.bytes);
        put_event(self.payload.encode(output), &self.event).finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, InvalidValue> {
        let mut input = Input(value);
        let number = input.byte()?;
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == number);
        let kind = kind.ok_or(InvalidValue::Unknown { what: "kind", found: number })?;
        let time = Timestamp::from_micros(input.number()?);
        let bytes = input.number()?;
        let payload = Place::decode(&mut input)?;
        let event = take_event(&mut input, kind, payload != Place::None)?;
        input.end()?;
        Ok(Self { time, bytes, payload, event })
    }

    /// The event with its payload.
    pub(super) fn with(self, payload: Bytes) -> Event {
        let mut event = self.event;
        match &mut event {
            Event::BlockCommitted { payload: place, .. }
            | Event::BlockProven { payload: place, .. }
            | Event::TransactionValidated { payload: place, .. }
            | Event::StateRecorded { value: Some(place), .. } => *place = payload,
            Event::StateRecorded { value: None, .. }
            | Event::EpochStarted { .. }
            | Event::RolledBack { .. }
            | Event::Marked { .. } => {}
        }
        event
    }
}

fn put_event(output: Output, event: &Event) -> Output {
    match event {
        // Never enqueued: only the publisher writes it.
        Event::EpochStarted { .. } => output,
        Event::BlockCommitted { height, hash, parent_hash, .. } => {
            output.number(*height).bytes(hash.as_ref()).bytes(parent_hash.as_ref())
        }
        Event::BlockProven { height, block_hash, .. } => {
            output.number(*height).bytes(block_hash.as_ref())
        }
        Event::TransactionValidated { id, .. } => output.bytes(id.as_ref()),
        Event::StateRecorded { key, .. } => output.bytes(key.as_ref()),
        Event::RolledBack { to_height, to_hash } => {
            output.number(*to_height).bytes(to_hash.as_ref())
        }
        Event::Marked { name } => output.bytes(name.as_str().as_bytes()),
    }
}

fn take_event(input: &mut Input<'_>, kind: Kind, has_payload: bool) -> Result<Event, InvalidValue> {
    let payload = Bytes::new();
    let event = match kind {
        Kind::EpochStarted => {
            return Err(InvalidValue::Unknown { what: "kind", found: kind as u8 });
        }
        Kind::BlockCommitted => {
            let height = input.number()?;
            let (hash, parent_hash) = (hash(input)?, hash(input)?);
            Event::BlockCommitted { height, hash, parent_hash, payload }
        }
        Kind::BlockProven => {
            Event::BlockProven { height: input.number()?, block_hash: hash(input)?, payload }
        }
        Kind::TransactionValidated => {
            let id = TransactionId::new(input.bytes()?)?;
            Event::TransactionValidated { id, payload }
        }
        Kind::StateRecorded => {
            let key = Key::new(input.bytes()?)?;
            return Ok(Event::StateRecorded { key, value: has_payload.then_some(payload) });
        }
        Kind::RolledBack => Event::RolledBack { to_height: input.number()?, to_hash: hash(input)? },
        Kind::Marked => Event::Marked { name: Label::new(str::from_utf8(input.bytes()?)?)? },
    };
    if has_payload == carries_payload(&event) {
        return Ok(event);
    }
    Err(InvalidValue::Unknown { what: "payload's place", found: has_payload.into() })
}

/// Whether an event has a payload, be it an empty one.
pub(super) fn carries_payload(event: &Event) -> bool {
    match event {
        Event::BlockCommitted { .. }
        | Event::BlockProven { .. }
        | Event::TransactionValidated { .. }
        | Event::StateRecorded { value: Some(_), .. } => true,
        Event::StateRecorded { value: None, .. }
        | Event::EpochStarted { .. }
        | Event::RolledBack { .. }
        | Event::Marked { .. } => false,
    }
}
