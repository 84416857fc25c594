//! Signed notes, with Ed25519.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use sha2::{Digest, Sha256};

/// The type of a plain Ed25519 key, the only one here.
const ED25519: u8 = 1;
/// What begins the text of a signing key, as Go's `note` package writes it.
const PRIVATE: &str = "PRIVATE+KEY+";
/// What begins a signature line.
const DASH: &str = "\u{2014} ";
/// A larger note is none of ours. Sixteen signatures of the largest schemes, 8 KiB each, fit.
const MAX_BYTES: usize = 256 << 10;
/// At most so many signatures are looked at; the specification asks for 16.
const MAX_SIGNATURES: usize = 64;

/// A key to sign notes with. It is secret: nothing prints it but [`SigningKey::to_secret`].
pub struct SigningKey {
    name: String,
    key: ed25519_dalek::SigningKey,
}

/// A key to verify notes with. As text: `NAME+ID+KEY`, which is what is given to strangers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

/// A note, a key or a name that cannot be used, or a signature that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadNote {
    /// The name of a key is empty, or has spaces, plus signs or control characters.
    #[error(
        "{0:?} cannot be the name of a key: it must not be empty or have spaces or a plus sign"
    )]
    Name(String),
    /// The text is no verifier key of a kind that is known.
    #[error("the verifier key is not usable: {0}")]
    Key(&'static str),
    /// The text is no signing key of a kind that is known. It is not repeated.
    #[error("the signing key is not usable: {0}")]
    Secret(&'static str),
    /// It is not of the form of a signed note.
    #[error("it is no signed note: {0}")]
    Malformed(&'static str),
    /// Nobody who is trusted signed it.
    #[error("it is not signed by {name}")]
    Unsigned {
        /// The key that was asked for.
        name: String,
    },
    /// A signature says that it is of this key, and is not.
    #[error("the signature of {name} is wrong: the note was changed, or the key is another one")]
    WrongSignature {
        /// The key.
        name: String,
    },
}

impl SigningKey {
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
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// Its 32 secret bytes.
    pub fn seed(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The key as text, `PRIVATE+KEY+NAME+ID+KEY`: whoever has it signs as this key.
    pub fn to_secret(&self) -> String {
        let verifier = self.verifier();
        let key: Vec<u8> = [ED25519].iter().chain(self.key.as_bytes()).copied().collect();
        format!("{PRIVATE}{}+{}+{}", self.name, verifier.id_text(), STANDARD.encode(key))
    }

    /// A note of this text, signed.
    ///
    /// # Errors
    /// [`BadNote::Malformed`] if the text does not end with a newline, or has control characters.
    pub fn sign(&self, text: &str) -> Result<String, BadNote> {
        check_text(text)?;
        let mut signature = self.verifier().id().to_vec();
        signature.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        Ok(format!("{text}\n{DASH}{} {}\n", self.name, STANDARD.encode(signature)))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for SigningKey {
    type Err = BadNote;

    fn from_str(text: &str) -> Result<Self, BadNote> {
        let secret = BadNote::Secret;
        let rest = text.strip_prefix(PRIVATE).ok_or(secret("it does not begin as one"))?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(secret("it is not PRIVATE+KEY+NAME+ID+KEY"));
        };
        let key = STANDARD.decode(key).map_err(|_| secret("it is not base64"))?;
        let Some((&ED25519, seed)) = key.split_first() else {
            return Err(secret("it is not an Ed25519 key"));
        };
        let seed = seed.try_into().map_err(|_| secret("it does not have 32 bytes"))?;
        let key = Self::from_seed(name, seed).map_err(|_| secret("its name is not usable"))?;
        match id == key.verifier().id_text() {
            true => Ok(key),
            false => Err(secret("its ID is not that of name and key")),
        }
    }
}

impl VerifierKey {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its 32 bytes.
    pub fn bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// The key of this name with these bytes.
    ///
    /// # Errors
    /// [`BadNote::Name`]; [`BadNote::Key`] if they are no key.
    pub fn from_bytes(name: &str, bytes: &[u8; 32]) -> Result<Self, BadNote> {
        check_name(name)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| BadNote::Key("it is no key"))?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// The text of a note that this key signed. Signatures of others are passed over.
    ///
    /// # Errors
    /// The note is malformed, not signed by this key, or its signature is wrong.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, BadNote> {
        let (text, signatures) = split(note)?;
        let mut is_signed = false;
        for (number, line) in signatures.split('\n').enumerate() {
            if number == MAX_SIGNATURES {
                return Err(BadNote::Malformed("it has too many signatures"));
            }
            let (name, signature) = parse_line(line)?;
            let Some(signature) = signature.strip_prefix(&self.id()) else { continue };
            if name != self.name {
                continue;
            }
            self.check(text, signature)?;
            is_signed = true;
        }
        if is_signed { Ok(text) } else { Err(BadNote::Unsigned { name: self.name.clone() }) }
    }

    fn check(&self, text: &str, signature: &[u8]) -> Result<(), BadNote> {
        let wrong = || BadNote::WrongSignature { name: self.name.clone() };
        let signature = Signature::from_slice(signature).map_err(|_| wrong())?;
        // Strict: one text and key have one signature that is right.
        self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| wrong())
    }

    fn id_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }

    fn id(&self) -> [u8; 4] {
        let hasher = Sha256::new_with_prefix(self.name.as_bytes());
        let hash = hasher.chain_update([b'\n', ED25519]).chain_update(self.key.as_bytes());
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
        [a, b, c, d]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<u8> = [ED25519].iter().chain(self.key.as_bytes()).copied().collect();
        write!(f, "{}+{}+{}", self.name, self.id_text(), STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = BadNote;

    fn from_str(text: &str) -> Result<Self, BadNote> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadNote::Key("it is not NAME+ID+KEY"));
        };
        check_name(name)?;
        let key = STANDARD.decode(key).map_err(|_| BadNote::Key("it is not base64"))?;
        let Some((&ED25519, key)) = key.split_first() else {
            return Err(BadNote::Key("it is not an Ed25519 key"));
        };
        let key = key.try_into().map_err(|_| BadNote::Key("it does not have 32 bytes"))?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| BadNote::Key("it is no key"))?;
        let verifier = Self { name: name.to_owned(), key };
        match id == verifier.id_text() {
            true => Ok(verifier),
            false => Err(BadNote::Key("its ID is not that of name and key")),
        }
    }
}

/// The text of a note that nobody has verified: for whoever asks what it claims.
///
/// # Errors
/// [`BadNote::Malformed`].
pub fn unverified_text(note: &str) -> Result<&str, BadNote> {
    split(note).map(|(text, _)| text)
}

/// Text and signature lines.
fn split(note: &str) -> Result<(&str, &str), BadNote> {
    if note.len() > MAX_BYTES {
        return Err(BadNote::Malformed("it is too large"));
    }
    // The last empty line.
    let at = note.rfind("\n\n").ok_or(BadNote::Malformed("it has no empty line"))?;
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    check_text(text)?;
    let signatures = signatures.strip_suffix('\n').ok_or(BadNote::Malformed("it is cut off"))?;
    Ok((text, signatures))
}

fn parse_line(line: &str) -> Result<(&str, Vec<u8>), BadNote> {
    let rest = line.strip_prefix(DASH).ok_or(BadNote::Malformed("a signature has no dash"))?;
    let parts = rest.split_once(' ').ok_or(BadNote::Malformed("a signature has no name"))?;
    let (name, signature) = parts;
    check_name(name)?;
    let signature = STANDARD.decode(signature);
    let signature = signature.map_err(|_| BadNote::Malformed("a signature is not base64"))?;
    match signature.len() {
        ..=4 => Err(BadNote::Malformed("a signature is too short")),
        _ => Ok((name, signature)),
    }
}

fn check_name(name: &str) -> Result<(), BadNote> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    match name.is_empty() || name.contains(is_bad) {
        true => Err(BadNote::Name(name.to_owned())),
        false => Ok(()),
    }
}

fn check_text(text: &str) -> Result<(), BadNote> {
    if !text.ends_with('\n') {
        return Err(BadNote::Malformed("its text does not end with a newline"));
    }
    match text.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        true => Err(BadNote::Malformed("its text has control characters")),
        false => Ok(()),
    }
}
