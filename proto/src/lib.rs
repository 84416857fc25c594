//! The contract of Tipline: events, the digest chain, positions, receipts, policies, and the names
//! and bytes they have on the wire and at rest. Every program that reads a log agrees on it.
//! There is no I/O, no clock, no randomness and no async here. Hard limits are in [`limits`].

mod agreement;
mod decode_error;
mod digest;
mod entry;
mod event;
mod fields;
mod hash;
mod headers;
mod hex;
mod identity;
pub mod limits;
mod links;
mod name;
mod parts;
mod policy;
mod position;
mod proofs_from;
mod ranges;
mod receipt;
mod signature;
pub mod subject;
mod time;
mod tip;
mod wire;

#[rustfmt::skip]
#[path = "gen/tipline.v1.rs"]
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; the schema has the docs")]
mod generated;
#[cfg(test)]
mod tests;

pub use agreement::{Agreement, agreement};
pub use decode_error::DecodeError;
pub use digest::Digest;
pub use entry::{Entry, Head};
pub use event::{Event, InvalidLabel, Kind, Label, PayloadTooLarge};
pub use fields::{BadFields, Field, fields};
pub use hash::{Hash, InvalidBytes, Key, TransactionId};
pub use headers::{Headers, InvalidHeader};
pub use identity::{Chain, InstanceId, Lineage, LogIdentity, OutboxId};
pub use links::{LinkError, Links, LinksState};
pub use name::{ChainName, ConsumerName, InvalidName, LogName};
pub use parts::{Assembler, split};
pub use policy::{InvalidPolicy, Policy};
pub use position::{Cursor, Position};
pub use proofs_from::{InvalidProofsFrom, ProofsFrom};
pub use ranges::HeightRanges;
pub use receipt::{Announcement, Level, Reached, Receipt, Role, UnknownLevel};
pub use signature::{Predecessor, PublicKey, Seal, Signature, SignatureError, SigningKey, Trust};
pub use time::Timestamp;
pub use tip::Tip;
pub use wire::MAX_ENTRY_OVERHEAD;
