//! The values that rows are made of, as bytes. Keep stable.
//!
//! Numbers are 8 bytes, big-endian, so that keys are in the order of the numbers.

use bytes::Bytes;
use tipline_proto::{Hash, Timestamp, Tip};

/// Payloads from this length on are apart from their row, in a family of their own: reading the
/// row does not read them. Shorter ones are in it, which saves a row.
const APART_BYTES: usize = 4 << 10;
/// About the length of a row without its payload.
const ROW_BYTES: usize = 256;
const HERE: u8 = 0;
const APART: u8 = 1;

/// Why bytes are not the row that they should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("the row ends before its last value")]
    TooShort,
    #[error("the row has {0} bytes after its last value")]
    TooLong(usize),
    #[error("a byte of the row is {0}, where only 0 or 1 can be")]
    Flag(u8),
    #[error("a value of the row cannot be")]
    Value(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("its payload, which is apart from it, is not there")]
    NoPayload,
    #[error("its payload has {found} bytes instead of {expected}")]
    PayloadLength { expected: u64, found: u64 },
}

pub(super) fn wrong(error: impl std::error::Error + Send + Sync + 'static) -> RowError {
    RowError::Value(Box::new(error))
}

/// Writes values one after the other.
pub(super) struct Writing(pub(super) Vec<u8>);

impl Default for Writing {
    fn default() -> Self {
        Self(Vec::with_capacity(ROW_BYTES))
    }
}

impl Writing {
    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn time(self, time: Timestamp) -> Self {
        self.number(time.as_micros())
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// At most 64 bytes, so their count fits a byte.
    pub(super) fn hash(mut self, hash: &Hash) -> Self {
        self.0.push(hash.as_ref().len() as u8);
        self.bytes(hash.as_ref())
    }

    pub(super) fn option<T>(
        mut self,
        value: Option<T>,
        write: impl FnOnce(Self, T) -> Self,
    ) -> Self {
        self.0.push(u8::from(value.is_some()));
        match value {
            Some(value) => write(self, value),
            None => self,
        }
    }

    /// The last value of a row.
    pub(super) fn payload(mut self, payload: &[u8]) -> Self {
        let is_apart = is_apart(payload);
        self.0.push(if is_apart { APART } else { HERE });
        let written = self.number(payload.len() as u64);
        if is_apart { written } else { written.bytes(payload) }
    }
}

/// Reads values one after the other.
pub(super) struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    pub(super) fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], RowError> {
        let (found, rest) = self.0.split_first_chunk().ok_or(RowError::TooShort)?;
        self.0 = rest;
        Ok(*found)
    }

    pub(super) fn number(&mut self) -> Result<u64, RowError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, RowError> {
        self.number().map(Timestamp::from_micros)
    }

    pub(super) fn hash(&mut self) -> Result<Hash, RowError> {
        let [length] = self.array()?;
        Hash::new(self.bytes(length.into())?).map_err(wrong)
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, RowError>,
    ) -> Result<Option<T>, RowError> {
        match self.array()? {
            [0] => Ok(None),
            [1] => read(self).map(Some),
            [other] => Err(RowError::Flag(other)),
        }
    }

    pub(super) fn tip(&mut self) -> Result<Tip, RowError> {
        Ok(Tip { height: self.number()?, hash: self.hash()? })
    }

    pub(super) fn payload(&mut self) -> Result<Payload, RowError> {
        let ([place], length) = (self.array()?, self.number()?);
        match place {
            HERE => {
                let length = usize::try_from(length).map_err(wrong)?;
                self.bytes(length).map(|payload| Payload::Here(Bytes::copy_from_slice(payload)))
            }
            APART => Ok(Payload::Apart(length)),
            other => Err(RowError::Flag(other)),
        }
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], RowError> {
        let (found, rest) = self.0.split_at_checked(length).ok_or(RowError::TooShort)?;
        self.0 = rest;
        Ok(found)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn end(self) -> Result<(), RowError> {
        if self.0.is_empty() { Ok(()) } else { Err(RowError::TooLong(self.0.len())) }
    }
}

/// Reads a whole row: nothing may be left.
pub(super) fn whole<T>(
    row: &[u8],
    read: impl FnOnce(&mut Reading<'_>) -> Result<T, RowError>,
) -> Result<T, RowError> {
    let mut reading = Reading(row);
    let found = read(&mut reading)?;
    reading.end()?;
    Ok(found)
}

/// Whether a payload is apart from its row.
pub(super) fn is_apart(payload: &[u8]) -> bool {
    payload.len() >= APART_BYTES
}

/// Where the payload of a row is.
pub(super) enum Payload {
    Here(Bytes),
    /// In the family of the payloads, with this length.
    Apart(u64),
}
