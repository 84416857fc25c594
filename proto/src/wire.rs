//! From and to bytes. Generated types stop here. What comes out of this file cannot be in a
//! wrong state, and every input that is not exactly right is an error, never a panic.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::decode_error::DecodeError;
use crate::digest::Digest;
use crate::entry::{Entry, Head};
use crate::event::{Event, Kind, Label};
use crate::fields::fields;
use crate::generated as pb;
use crate::hash::{Hash, Key, TransactionId};
use crate::headers::Headers;
use crate::identity::{InstanceId, Lineage, OutboxId};
use crate::limits::{MAX_BOARD_MESSAGE_BYTES, MAX_INDEX, MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES};
use crate::position::{Cursor, Position};
use crate::receipt::{Announcement, Level, Reached, Receipt, Role};
use crate::signature::{put_seal, put_signature, take_seal, take_signature};
use crate::time::Timestamp;
use crate::tip::Tip;

/// Most bytes an encoded entry has besides its payload.
pub const MAX_ENTRY_OVERHEAD: usize = 1024;
/// The number of an entry's payload in its message.
const PAYLOAD: u64 = 6;

/// The fields of one message, taken out one by one.
struct Fields(&'static str);

impl Fields {
    fn need<T>(&self, field: &'static str, value: Option<T>) -> Result<T, DecodeError> {
        value.ok_or(DecodeError::Missing { message: self.0, field })
    }

    fn number(&self, field: &'static str, value: u64) -> Result<u64, DecodeError> {
        self.need(field, (value > 0).then_some(value))
    }

    fn index(&self, value: u64) -> Result<u64, DecodeError> {
        let index = self.number("index", value)?;
        let fits = (index <= MAX_INDEX).then_some(index);
        self.check("index", fits.ok_or_else(|| format!("{index} is over {MAX_INDEX}")))
    }

    fn check<T, E>(&self, field: &'static str, value: Result<T, E>) -> Result<T, DecodeError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        value.map_err(|e| DecodeError::Invalid { message: self.0, field, source: e.into() })
    }

    fn array<const N: usize>(
        &self,
        field: &'static str,
        value: &[u8],
    ) -> Result<[u8; N], DecodeError> {
        self.check(field, value.try_into().map_err(|_| format!("{} bytes, not {N}", value.len())))
    }

    fn digest(&self, value: &[u8]) -> Result<Digest, DecodeError> {
        Ok(Digest::from_bytes(self.array("digest", value)?))
    }

    fn hash(&self, field: &'static str, value: Bytes) -> Result<Hash, DecodeError> {
        self.check(field, Hash::new(value))
    }

    fn key(&self, value: Bytes) -> Result<Key, DecodeError> {
        self.check("key", Key::new(value))
    }

    fn lineage(&self, value: &[u8]) -> Result<Lineage, DecodeError> {
        Ok(Lineage::from_bytes(self.array("lineage", value)?))
    }

    fn position(
        &self,
        field: &'static str,
        value: Option<pb::Position>,
    ) -> Result<Position, DecodeError> {
        let value = self.need(field, value)?;
        Ok(Position { index: value.index, digest: self.digest(&value.digest)? })
    }

    fn tip(&self, value: Option<pb::Tip>) -> Result<Option<Tip>, DecodeError> {
        let tip = |t: pb::Tip| Ok(Tip { height: t.height, hash: self.hash("hash", t.hash)? });
        value.map(tip).transpose()
    }

    fn text(&self, field: &'static str, value: String) -> Result<String, DecodeError> {
        let length = value.len();
        let fits = (length <= MAX_TEXT_BYTES).then_some(value);
        self.check(field, fits.ok_or_else(|| format!("{length} bytes, over {MAX_TEXT_BYTES}")))
    }

    /// For what anybody may put onto the board.
    fn small(&self, bytes: &Bytes) -> Result<(), DecodeError> {
        let length = bytes.len();
        let fits = (length <= MAX_BOARD_MESSAGE_BYTES).then_some(());
        let why = || format!("{length} bytes are there, {MAX_BOARD_MESSAGE_BYTES} are allowed");
        self.check("length", fits.ok_or_else(why))
    }

    fn failure(&self, field: &'static str, value: String) -> Result<Option<String>, DecodeError> {
        Ok(Some(self.text(field, value)?).filter(|text| !text.is_empty()))
    }
}

fn decode<M: Message + Default>(message: &'static str, bytes: Bytes) -> Result<M, DecodeError> {
    M::decode(bytes).map_err(|source| malformed(message, source))
}

fn malformed(
    message: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> DecodeError {
    DecodeError::Malformed { message, source: source.into() }
}

/// For what is kept and copied on, where what this version does not know would be lost.
/// In no encoding has a message fewer bytes than in ours, so the length decides.
fn decode_exactly<M: Message + Default>(
    message: &'static str,
    bytes: Bytes,
) -> Result<M, DecodeError> {
    let length = bytes.len();
    let decoded: M = decode(message, bytes)?;
    match length.saturating_sub(decoded.encoded_len()) {
        0 => Ok(decoded),
        bytes => Err(DecodeError::Excess { message, bytes }),
    }
}

/// The reason of a failure. There always is one. An empty text says that nothing failed.
fn put_failure(failure: Option<&str>) -> String {
    match failure {
        Some("") => "no reason given".to_owned(),
        Some(reason) => shorten(reason),
        None => String::new(),
    }
}

/// Microseconds, at least one: 0 says that there is none.
fn put_duration(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn take_duration(micros: u64) -> Option<Duration> {
    (micros > 0).then(|| Duration::from_micros(micros))
}

/// Cuts a text that people read down to its limit, at a character.
fn shorten(text: &str) -> String {
    let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= MAX_TEXT_BYTES;
    text.char_indices().take_while(fits).map(|(_, c)| c).collect()
}

fn copied(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

fn put_position(position: &Position) -> pb::Position {
    pb::Position {
        index: position.index,
        digest: Bytes::copy_from_slice(position.digest.as_bytes()),
    }
}

fn put_tip(tip: &Tip) -> pb::Tip {
    pb::Tip { height: tip.height, hash: copied(&tip.hash) }
}

/// Encodes an entry with the given (end of its) payload.
pub(crate) fn encode_entry(entry: &Entry, payload: Bytes) -> Bytes {
    let message = pb::Entry {
        index: entry.index,
        epoch: entry.epoch,
        time_us: entry.time.as_micros(),
        outbox_sequence: entry.outbox_sequence,
        digest: Bytes::copy_from_slice(entry.digest.as_bytes()),
        payload,
        payload_length: entry.event.payload().len() as u64,
        signature: entry.signature.as_ref().map(put_signature),
        event: Some(put_event(&entry.event)),
    };
    message.encode_to_vec().into()
}

fn put_event(event: &Event) -> pb::entry::Event {
    use pb::entry::Event as Pb;
    match event {
        Event::EpochStarted { primary, outbox } => Pb::EpochStarted(pb::EpochStarted {
            primary: primary.as_str().to_owned(),
            outbox: Bytes::copy_from_slice(outbox.as_bytes()),
        }),
        Event::BlockCommitted { height, hash, parent_hash, .. } => {
            Pb::BlockCommitted(pb::BlockCommitted {
                height: *height,
                hash: copied(hash),
                parent_hash: copied(parent_hash),
            })
        }
        Event::BlockProven { height, block_hash, .. } => {
            Pb::BlockProven(pb::BlockProven { height: *height, block_hash: copied(block_hash) })
        }
        Event::TransactionValidated { id, .. } => {
            Pb::TransactionValidated(pb::TransactionValidated { id: copied(id) })
        }
        Event::StateRecorded { key, value } => {
            Pb::StateRecorded(pb::StateRecorded { key: copied(key), erased: value.is_none() })
        }
        Event::RolledBack { to_height, to_hash } => {
            Pb::RolledBack(pb::RolledBack { to_height: *to_height, to_hash: copied(to_hash) })
        }
        Event::Marked { name } => Pb::Marked(pb::Marked { name: name.as_str().to_owned() }),
    }
}

impl Head {
    /// Reads the last part of an event, or a message that is whole by itself. Whether its payload
    /// is complete is not checked.
    ///
    /// # Errors
    /// The message is not exactly an entry. This refuses what [`Entry::decode`] refuses, except
    /// for the length of the payload.
    pub fn decode(last: Bytes) -> Result<Self, DecodeError> {
        let mut message = decode_small(last)?;
        let part = std::mem::take(&mut message.payload);
        let entry = take_entry(message, part)?;
        let (position, Entry { epoch, time, outbox_sequence, .. }) = (entry.position(), entry);
        Ok(Head { position, epoch, time, outbox_sequence })
    }
}

/// An entry that has few bytes besides its payload. That is counted before they are decoded.
fn decode_small(bytes: Bytes) -> Result<pb::Entry, DecodeError> {
    let mut payload = 0;
    for field in fields(&bytes) {
        let field = field.map_err(|source| malformed("entry", source))?;
        if field.number == PAYLOAD {
            payload += field.value.len();
        }
    }
    match (bytes.len() - payload).saturating_sub(MAX_ENTRY_OVERHEAD) {
        0 => decode_exactly("entry", bytes),
        bytes => Err(DecodeError::Excess { message: "entry", bytes }),
    }
}

/// Decodes an entry; `complete` is given the payload of the message and answers the whole one.
pub(crate) fn decode_entry(
    bytes: Bytes,
    complete: impl FnOnce(Bytes) -> Bytes,
) -> Result<Entry, DecodeError> {
    let mut message = decode_small(bytes)?;
    let payload = complete(std::mem::take(&mut message.payload));
    let (length, said) = (payload.len() as u64, message.payload_length);
    if length != said || length > MAX_PAYLOAD_BYTES as u64 {
        return Err(DecodeError::payload(format!(
            "{length} bytes are there, {said} were written, {MAX_PAYLOAD_BYTES} are allowed"
        )));
    }
    take_entry(message, payload)
}

fn take_entry(message: pb::Entry, payload: Bytes) -> Result<Entry, DecodeError> {
    let fields = Fields("entry");
    let event = take_event(&fields, fields.need("an event", message.event)?, payload)?;
    if event.kind() != Kind::EpochStarted {
        fields.number("outbox sequence", message.outbox_sequence)?;
    }
    Ok(Entry {
        index: fields.index(message.index)?,
        epoch: fields.number("epoch", message.epoch)?,
        time: Timestamp::from_micros(message.time_us),
        outbox_sequence: message.outbox_sequence,
        digest: fields.digest(&message.digest)?,
        event,
        signature: message.signature.map(|it| take_signature("entry", it)).transpose()?,
        headers: Headers::default(),
    })
}

fn take_event(
    fields: &Fields,
    event: pb::entry::Event,
    payload: Bytes,
) -> Result<Event, DecodeError> {
    use pb::entry::Event as Pb;
    let empty = payload.is_empty();
    let event = match event {
        Pb::BlockCommitted(m) => {
            return Ok(Event::BlockCommitted {
                height: m.height,
                hash: fields.hash("hash", m.hash)?,
                parent_hash: fields.hash("parent hash", m.parent_hash)?,
                payload,
            });
        }
        Pb::BlockProven(m) => {
            let block_hash = fields.hash("block hash", m.block_hash)?;
            return Ok(Event::BlockProven { height: m.height, block_hash, payload });
        }
        Pb::TransactionValidated(m) => {
            let id = fields.check("id", TransactionId::new(&m.id))?;
            return Ok(Event::TransactionValidated { id, payload });
        }
        Pb::StateRecorded(m) if !m.erased => {
            return Ok(Event::StateRecorded { key: fields.key(m.key)?, value: Some(payload) });
        }
        Pb::StateRecorded(m) => Event::StateRecorded { key: fields.key(m.key)?, value: None },
        Pb::EpochStarted(m) => Event::EpochStarted {
            primary: fields.check("primary", Label::new(&m.primary))?,
            outbox: OutboxId::from_bytes(fields.array("outbox", &m.outbox)?),
        },
        Pb::RolledBack(m) => Event::RolledBack {
            to_height: m.to_height,
            to_hash: fields.hash("remaining hash", m.to_hash)?,
        },
        Pb::Marked(m) => Event::Marked { name: fields.check("name", Label::new(&m.name))? },
    };
    let no_payload = if empty { Ok(event) } else { Err("it has none") };
    fields.check("payload", no_payload)
}

impl Entry {
    /// The bytes of the entry, payload and all, as stores and archives keep it.
    pub fn encode(&self) -> Bytes {
        encode_entry(self, self.event.payload().clone())
    }

    /// Reads an entry. Its payload shares `bytes`, it is not copied; its hashes and keys are,
    /// so that they may be kept. Whether the digest is right is not looked at: see
    /// [`Entry::follows`].
    ///
    /// # Errors
    /// The bytes are not exactly one entry, or hold fields that this version does not know.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        decode_entry(bytes, |payload| payload)
    }
}

impl Cursor {
    /// The bytes of the cursor, as stores keep it.
    pub fn encode(&self) -> Bytes {
        let message = pb::Cursor {
            position: Some(put_position(&self.position)),
            block_tip: self.block_tip.as_ref().map(put_tip),
            proof_tip: self.proof_tip,
            epoch: self.epoch,
        };
        message.encode_to_vec().into()
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// The bytes are not exactly one cursor, or hold fields that this version does not know.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let fields = Fields("cursor");
        let message: pb::Cursor = decode_exactly("cursor", bytes)?;
        Ok(Self {
            position: fields.position("position", message.position)?,
            epoch: message.epoch,
            block_tip: fields.tip(message.block_tip)?,
            proof_tip: message.proof_tip,
        })
    }
}

impl Receipt {
    /// The bytes of the receipt. Texts over their limit are cut, and a failure without a
    /// reason is given one.
    pub fn encode(&self) -> Bytes {
        let reached = Level::ALL.into_iter().filter_map(|level| {
            let position = Some(put_position(&self.reached.reported(level)?));
            Some(pb::Reached { level: level as i32, position })
        });
        let message = pb::Receipt {
            lineage: Bytes::copy_from_slice(self.lineage.as_bytes()),
            consumer: self.consumer.as_str().to_owned(),
            role: self.role.number(),
            instance: Bytes::copy_from_slice(self.instance.as_bytes()),
            reached: reached.collect(),
            block_tip: self.block_tip.as_ref().map(put_tip),
            proof_tip: self.proof_tip,
            time_us: self.time.as_micros(),
            failure: put_failure(self.failure.as_deref()),
            store: shorten(&self.store),
            applying_us: self.applying.map_or(0, put_duration),
            frozen_us: self.frozen.map_or(0, put_duration),
            signature: put_seal(self.seal.as_ref()),
        };
        message.encode_to_vec().into()
    }

    /// Reads a receipt. What a newer version added is no error, so that consumers can be upgraded
    /// before their primary: fields and levels are left out, a role is [`Role::Unknown`].
    ///
    /// # Errors
    /// The bytes are not a receipt.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let fields = Fields("receipt");
        fields.small(&bytes)?;
        let message: pb::Receipt = decode("receipt", bytes.clone())?;
        let seal = take_seal("receipt", &bytes, message.signature)?;
        let mut reached = Reached::default();
        for said in message.reached {
            let level = Level::ALL.into_iter().find(|level| *level as i32 == said.level);
            let Some(level) = level else { continue };
            if reached.reported(level).is_some() {
                fields.check("reached", Err(format!("{level} comes twice")))?;
            }
            reached.set(level, fields.position("position", said.position)?);
        }
        Ok(Self {
            lineage: fields.lineage(&message.lineage)?,
            consumer: fields.check("consumer", message.consumer.parse())?,
            role: Role::of_number(message.role),
            instance: InstanceId::from_bytes(fields.array("instance", &message.instance)?),
            reached,
            block_tip: fields.tip(message.block_tip)?,
            proof_tip: message.proof_tip,
            time: Timestamp::from_micros(message.time_us),
            failure: fields.failure("failure", message.failure)?,
            store: fields.text("store", message.store)?,
            applying: take_duration(message.applying_us),
            frozen: take_duration(message.frozen_us),
            seal,
        })
    }
}

impl Announcement {
    /// The bytes of the announcement. Texts over their limit are cut, and a failure without
    /// a reason is given one.
    pub fn encode(&self) -> Bytes {
        let message = pb::Announcement {
            lineage: Bytes::copy_from_slice(self.lineage.as_bytes()),
            primary: self.primary.as_str().to_owned(),
            epoch: self.epoch,
            tail: Some(put_position(&self.tail)),
            block_tip: self.block_tip.as_ref().map(put_tip),
            proof_tip: self.proof_tip,
            outbox_events: self.outbox_events,
            outbox_bytes: self.outbox_bytes,
            time_us: self.time.as_micros(),
            failure: put_failure(self.failure.as_deref()),
            outbox_waiting_bytes: self.outbox_waiting_bytes,
            outbox_oldest_us: self.outbox_oldest.map_or(0, Timestamp::as_micros),
            outbox_max_events: self.outbox_max_events,
            outbox_max_bytes: self.outbox_max_bytes,
            held_up: put_failure(self.held_up.as_deref()),
            source_failure: put_failure(self.source_failure.as_deref()),
            signature: put_seal(self.seal.as_ref()),
        };
        message.encode_to_vec().into()
    }

    /// Reads an announcement. Fields that a newer version added are ignored, so that a
    /// primary can be upgraded before its consumers.
    ///
    /// # Errors
    /// The bytes are not an announcement.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let fields = Fields("announcement");
        fields.small(&bytes)?;
        let message: pb::Announcement = decode("announcement", bytes.clone())?;
        let seal = take_seal("announcement", &bytes, message.signature)?;
        Ok(Self {
            lineage: fields.lineage(&message.lineage)?,
            primary: fields.check("primary", Label::new(&message.primary))?,
            epoch: message.epoch,
            tail: fields.position("tail", message.tail)?,
            block_tip: fields.tip(message.block_tip)?,
            proof_tip: message.proof_tip,
            outbox_events: message.outbox_events,
            outbox_bytes: message.outbox_bytes,
            outbox_waiting_bytes: message.outbox_waiting_bytes,
            outbox_oldest: (message.outbox_oldest_us > 0)
                .then(|| Timestamp::from_micros(message.outbox_oldest_us)),
            outbox_max_events: message.outbox_max_events,
            outbox_max_bytes: message.outbox_max_bytes,
            held_up: fields.failure("held up", message.held_up)?,
            source_failure: fields.failure("source failure", message.source_failure)?,
            time: Timestamp::from_micros(message.time_us),
            failure: fields.failure("failure", message.failure)?,
            seal,
        })
    }
}
