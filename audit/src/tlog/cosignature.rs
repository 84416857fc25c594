//! Cosignatures: that somebody else has seen a checkpoint, and when. With Ed25519.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, VerifyingKey};

use super::note::{
    BadNote, PRIVATE, check_name, id_text, key_id, key_text, parse_key, parse_secret,
    signature_line, signatures,
};

/// The type of a key that cosigns with Ed25519.
const COSIGNATURE: u8 = 4;
/// Length of the time before the signature.
const TIME_BYTES: usize = 8;
/// What the name of a key ends with whose cosignature says more: that its owner durably holds every
/// entry of the checkpoint. The specifications leave it open how that is known; here it is the name.
pub const MIRROR: &str = "/mirror";

/// A key to cosign checkpoints with. It is secret: nothing prints it but [`CosigningKey::to_secret`].
pub struct CosigningKey {
    name: String,
    key: ed25519_dalek::SigningKey,
}

/// A key to verify cosignatures with. As text: `NAME+ID+KEY`, with type 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    key: VerifyingKey,
}

/// A cosignature of a note that was found to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// When, in seconds since 1970, by its maker's clock.
    pub seconds: u64,
    /// Its line, with the newline at its end.
    pub line: String,
}

impl CosigningKey {
    /// The key of this name with this seed.
    ///
    /// # Errors
    /// [`BadNote::Name`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, BadNote> {
        check_name(name)?;
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        Ok(Self { name: name.to_owned(), key })
    }

    /// Its public half.
    pub fn verifier(&self) -> CosignerKey {
        CosignerKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The key as text, `PRIVATE+KEY+NAME+ID+KEY` with type 4. So no other program here takes it for a
    /// key of a log, a primary or a consumer.
    pub fn to_secret(&self) -> String {
        let id = self.verifier().id();
        format!("{PRIVATE}{}", key_text(&self.name, id, COSIGNATURE, self.key.as_bytes()))
    }

    /// The line that cosigns the text of a note at this time, in seconds since 1970.
    ///
    /// # Errors
    /// [`BadNote::Malformed`]: the note is none.
    pub fn cosign(&self, note: &str, seconds: u64) -> Result<String, BadNote> {
        let (text, _) = signatures(note)?;
        let signature = self.key.sign(message(text, seconds).as_bytes());
        let bytes = [&seconds.to_be_bytes()[..], &signature.to_bytes()].concat();
        Ok(signature_line(&self.name, self.verifier().id(), &bytes))
    }
}

impl fmt::Debug for CosigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CosigningKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for CosigningKey {
    type Err = BadNote;

    fn from_str(text: &str) -> Result<Self, BadNote> {
        let (name, id, seed) = parse_secret(text, COSIGNATURE)?;
        let key = Self::from_seed(name, &seed);
        let key = key.map_err(|_| BadNote::Secret("its name is not usable"))?;
        match id == id_text(key.verifier().id()) {
            true => Ok(key),
            false => Err(BadNote::Secret("its ID is not that of name and key")),
        }
    }
}

impl CosignerKey {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its 32 bytes.
    pub fn bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Whether its cosignature says that its owner durably holds all of it.
    pub fn is_mirror(&self) -> bool {
        self.name.strip_suffix(MIRROR).is_some_and(|rest| !rest.is_empty())
    }

    /// Its ID, 8 hex digits.
    pub fn id_text(&self) -> String {
        id_text(self.id())
    }

    /// The newest cosignature of this key below a note; `None` if there is none.
    ///
    /// # Errors
    /// The note is malformed, or a cosignature says that it is of this key, and is not.
    pub fn find(&self, note: &str) -> Result<Option<Cosigned>, BadNote> {
        let (text, signatures) = signatures(note)?;
        let mut newest: Option<Cosigned> = None;
        for (name, bytes) in signatures {
            let Some(bytes) = bytes.strip_prefix(&self.id()) else { continue };
            if name != self.name {
                continue;
            }
            let seconds = self.check(text, bytes)?;
            if newest.as_ref().is_none_or(|newest| newest.seconds < seconds) {
                let line = signature_line(name, self.id(), bytes);
                newest = Some(Cosigned { seconds, line });
            }
        }
        Ok(newest)
    }

    fn check(&self, text: &str, bytes: &[u8]) -> Result<u64, BadNote> {
        let wrong = || BadNote::WrongSignature { name: self.name.clone() };
        let (time, signature) = bytes.split_first_chunk::<TIME_BYTES>().ok_or_else(wrong)?;
        let seconds = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature).map_err(|_| wrong())?;
        // What the specification allows.
        if seconds > i64::MAX as u64 {
            return Err(wrong());
        }
        let message = message(text, seconds);
        self.key.verify_strict(message.as_bytes(), &signature).map_err(|_| wrong())?;
        Ok(seconds)
    }

    fn id(&self) -> [u8; 4] {
        key_id(&self.name, COSIGNATURE, self.key.as_bytes())
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, self.id(), COSIGNATURE, self.key.as_bytes()))
    }
}

impl FromStr for CosignerKey {
    type Err = BadNote;

    fn from_str(text: &str) -> Result<Self, BadNote> {
        let (name, id, key) = parse_key(text, COSIGNATURE)?;
        let verifier = Self { name: name.to_owned(), key };
        match id == id_text(verifier.id()) {
            true => Ok(verifier),
            false => Err(BadNote::Key("its ID is not that of name and key")),
        }
    }
}

fn message(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}
