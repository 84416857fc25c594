//! The values of the column family that there is one of.

use tipline_proto::{Hash, LinksState, OutboxId, Tip};

use super::bytes::{Input, InvalidValue, Output};
use crate::outbox::Limits;

/// Version of the keys and values. It stands first in the identity, whatever follows.
pub(super) const VERSION: u64 = 1;

/// What the outbox is, for ever: version, id, genesis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: OutboxId,
    pub(super) genesis: Hash,
}

impl Identity {
    pub(super) fn encode(&self) -> Vec<u8> {
        let output = Output::default().number(VERSION).raw(self.id.as_bytes());
        output.bytes(self.genesis.as_ref()).finish()
    }

    /// The version, whichever it is.
    pub(super) fn version(value: &[u8]) -> Result<u64, InvalidValue> {
        Input(value).number()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, InvalidValue> {
        let mut input = Input(value);
        input.number()?;
        let id = OutboxId::from_bytes(*input.array()?);
        let genesis = hash(&mut input)?;
        input.end()?;
        Ok(Self { id, genesis })
    }
}

impl Limits {
    pub(super) fn encode(&self) -> Vec<u8> {
        Output::default().number(self.events).number(self.bytes).finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, InvalidValue> {
        let mut input = Input(value);
        let limits = Self { events: input.number()?, bytes: input.number()? };
        input.end().map(|()| limits)
    }
}

/// The newest row that is gone, or that counts no more, and the payload bytes of all rows up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Trimmed {
    pub(super) sequence: u64,
    pub(super) bytes: u64,
}

impl Trimmed {
    pub(super) fn encode(&self) -> Vec<u8> {
        Output::default().number(self.sequence).number(self.bytes).finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, InvalidValue> {
        let mut input = Input(value);
        let trimmed = Self { sequence: input.number()?, bytes: input.number()? };
        input.end().map(|()| trimmed)
    }
}

/// What the next event must follow: sequence of the newest row, payload bytes of all rows up to
/// it, parent of the first block, newest block.
///
/// Bytes are counted from the first row on, trimmed ones included: what waits is the
/// difference to [`Trimmed`], and each side changes only its own number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) sequence: u64,
    pub(super) bytes: u64,
    pub(super) base: Option<Tip>,
    pub(super) tip: Option<Tip>,
}

impl Newest {
    /// Without proofs: they are many, and what depends on them [`super::proven`] knows.
    pub(super) fn links(&self) -> LinksState {
        LinksState { base: self.base.clone(), tip: self.tip.clone(), ..LinksState::default() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let output = Output::default().number(self.sequence).number(self.bytes);
        put_tip(put_tip(output, self.base.as_ref()), self.tip.as_ref()).finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, InvalidValue> {
        let mut input = Input(value);
        let newest = Self {
            sequence: input.number()?,
            bytes: input.number()?,
            base: take_tip(&mut input)?,
            tip: take_tip(&mut input)?,
        };
        input.end().map(|()| newest)
    }
}

fn put_tip(output: Output, tip: Option<&Tip>) -> Output {
    match tip {
        None => output.byte(0),
        Some(tip) => output.byte(1).number(tip.height).bytes(tip.hash.as_ref()),
    }
}

fn take_tip(input: &mut Input<'_>) -> Result<Option<Tip>, InvalidValue> {
    match input.byte()? {
        0 => Ok(None),
        1 => Ok(Some(Tip { height: input.number()?, hash: hash(input)? })),
        found => Err(InvalidValue::Unknown { what: "tip", found }),
    }
}

pub(super) fn hash(input: &mut Input<'_>) -> Result<Hash, InvalidValue> {
    Ok(Hash::new(input.bytes()?)?)
}
