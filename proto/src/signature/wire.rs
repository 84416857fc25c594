//! Signatures, from and to bytes.

use bytes::Bytes;
use prost::Message;

use super::{Predecessor, PublicKey, Seal, Signature};
use crate::decode_error::DecodeError;
use crate::generated as pb;
use crate::limits::MAX_PREDECESSORS;
use crate::receipt::{Announcement, Receipt};

pub(crate) fn put_signature(signature: &Signature) -> pb::Signature {
    let link = |link: &Predecessor| pb::Predecessor {
        key: Bytes::copy_from_slice(link.key.as_bytes()),
        signature: Bytes::copy_from_slice(&link.signature),
    };
    pb::Signature {
        key: Bytes::copy_from_slice(signature.key().as_bytes()),
        signature: Bytes::copy_from_slice(signature.as_bytes()),
        predecessors: signature.predecessors().iter().map(link).collect(),
    }
}

pub(crate) fn put_seal(seal: Option<&Seal>) -> Option<pb::Signature> {
    seal.map(|seal| put_signature(&seal.signature))
}

pub(crate) fn take_signature(
    message: &'static str,
    value: pb::Signature,
) -> Result<Signature, DecodeError> {
    let count = value.predecessors.len();
    if count > MAX_PREDECESSORS {
        let why = format!("{count} keys are before its own, {MAX_PREDECESSORS} are allowed");
        return Err(wrong(message, why));
    }
    let key = |key: &[u8]| Ok::<_, DecodeError>(PublicKey::from_bytes(array(message, key)?));
    let link = |link: pb::Predecessor| {
        Ok(Predecessor { key: key(&link.key)?, signature: array(message, &link.signature)? })
    };
    let links = value.predecessors.into_iter().map(link).collect::<Result<_, DecodeError>>()?;
    Ok(Signature::new(key(&value.key)?, array(message, &value.signature)?, links))
}

/// The signature of a message of the board, which comes last, with the hash of what is before it.
/// Its bytes as they came: a newer version may have said more than this one knows.
pub(crate) fn take_seal(
    message: &'static str,
    bytes: &Bytes,
    value: Option<pb::Signature>,
) -> Result<Option<Seal>, DecodeError> {
    let Some(value) = value else { return Ok(None) };
    // The field has one number in both messages.
    let last = pb::Receipt { signature: Some(value.clone()), ..Default::default() };
    let signed = bytes.strip_suffix(&last.encode_to_vec()[..]);
    let signed = signed.ok_or_else(|| wrong(message, "it does not come last".to_owned()))?;
    let (over, signed) = (blake3::hash(signed).into(), bytes.slice(..signed.len()));
    Ok(Some(Seal { signature: take_signature(message, value)?, over, signed }))
}

/// The bytes of a message of the board that was signed, as they came.
fn original(seal: &Seal) -> Bytes {
    let signature = Some(put_signature(&seal.signature));
    let last = pb::Receipt { signature, ..Default::default() };
    [&seal.signed[..], &last.encode_to_vec()].concat().into()
}

impl Receipt {
    /// Its bytes, to be kept: as they came if it was signed, with whatever a newer version said in
    /// them, so that the signature can be verified later. If it was changed since, that is not in
    /// them.
    pub fn original(&self) -> Bytes {
        self.seal.as_ref().map_or_else(|| self.encode(), original)
    }
}

impl Announcement {
    /// The same as [`Receipt::original`].
    pub fn original(&self) -> Bytes {
        self.seal.as_ref().map_or_else(|| self.encode(), original)
    }
}

impl Signature {
    /// Its bytes, to be kept by itself.
    pub fn encode(&self) -> Bytes {
        put_signature(self).encode_to_vec().into()
    }

    /// The signature with these bytes.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let message = "signature";
        let value = pb::Signature::decode(bytes);
        let value = value.map_err(|e| DecodeError::Malformed { message, source: e.into() })?;
        take_signature(message, value)
    }
}

fn array<const N: usize>(message: &'static str, value: &[u8]) -> Result<[u8; N], DecodeError> {
    value.try_into().map_err(|_| wrong(message, format!("{} bytes, not {N}", value.len())))
}

fn wrong(message: &'static str, why: String) -> DecodeError {
    DecodeError::Invalid { message, field: "signature", source: why.into() }
}
