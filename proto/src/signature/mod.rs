//! Who vouches for an entry, a receipt or an announcement: signatures, keys, and who is trusted.

mod signing;
mod trust;
mod types;
mod wire;

pub use self::signing::SigningKey;
pub use self::trust::{SignatureError, Trust};
pub use self::types::{Predecessor, PublicKey, Seal, Signature};
pub(crate) use self::wire::{put_seal, put_signature, take_seal, take_signature};
