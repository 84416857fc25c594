//! Values as bytes: numbers big-endian, byte strings after their length in two bytes.

use tipline_proto::{InvalidBytes, InvalidLabel};

/// A value that this version did not write.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidValue {
    #[error("it ends too early")]
    Short,
    #[error("it has {0} bytes too many: a newer version may have written it")]
    Excess(usize),
    #[error("its {what} cannot be {found}: a newer version may have written it")]
    Unknown { what: &'static str, found: u8 },
    #[error("a hash, an id or a key cannot be")]
    Bytes(#[from] InvalidBytes),
    #[error("a text cannot be")]
    Text(#[from] std::str::Utf8Error),
    #[error("its name cannot be")]
    Name(#[from] InvalidLabel),
}

/// A value that is being written.
#[derive(Debug, Default)]
pub(super) struct Output(Vec<u8>);

impl Output {
    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Bytes of a fixed length.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes of a length up to 65,535: everything that is written so has a smaller limit.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(&bytes[..usize::from(length)]);
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A value that is being read.
#[derive(Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, InvalidValue> {
        Ok(u8::from_be_bytes(*self.array()?))
    }

    pub(super) fn number(&mut self) -> Result<u64, InvalidValue> {
        Ok(u64::from_be_bytes(*self.array()?))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], InvalidValue> {
        let (array, rest) = self.0.split_first_chunk().ok_or(InvalidValue::Short)?;
        self.0 = rest;
        Ok(array)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], InvalidValue> {
        let length = usize::from(u16::from_be_bytes(*self.array()?));
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(InvalidValue::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), InvalidValue> {
        if self.0.is_empty() { Ok(()) } else { Err(InvalidValue::Excess(self.0.len())) }
    }
}
