//! Signed notes, with Ed25519.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use sha2::{Digest, Sha256};

/// The type of a plain Ed25519 key.
const ED25519: u8 = 1;
/// What begins the text of a signing key, as Go's `note` package writes it.
pub(super) const PRIVATE: &str = "PRIVATE+KEY+";
/// What begins a signature line.
const DASH: &str = "\u{2014} ";
/// Bytes of the longest policy.
pub(super) const MAX_POLICY_BYTES: usize = 256 << 10;
/// A larger note is none of ours. The names of all who sign are in the policy that names them; a line of a
/// note has some 45 bytes more than one of a policy, and the origin is there once more.
pub(crate) const MAX_NOTE_BYTES: usize = MAX_POLICY_BYTES + (64 << 10);
/// At most so many signatures are looked at; the specification asks for 16. Those of all keys that a
/// policy may name fit.
pub(super) const MAX_SIGNATURES: usize = 512;

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
        let id = self.verifier().id();
        format!("{PRIVATE}{}", key_text(&self.name, id, ED25519, self.key.as_bytes()))
    }

    /// A note of this text, signed.
    ///
    /// # Errors
    /// [`BadNote::Malformed`] if the text does not end with a newline, or has control characters.
    pub fn sign(&self, text: &str) -> Result<String, BadNote> {
        check_text(text)?;
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        Ok(format!("{text}\n{}", signature_line(&self.name, self.verifier().id(), &signature)))
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
        let (name, id, seed) = parse_secret(text, ED25519)?;
        let key = Self::from_seed(name, &seed);
        let key = key.map_err(|_| BadNote::Secret("its name is not usable"))?;
        match id == id_text(key.verifier().id()) {
            true => Ok(key),
            false => Err(BadNote::Secret("its ID is not that of name and key")),
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
        self.line(note).map(|(text, _)| text)
    }

    /// The text of a note that this key signed, and the line of its signature.
    ///
    /// # Errors
    /// Those of [`VerifierKey::open`].
    pub fn line<'a>(&self, note: &'a str) -> Result<(&'a str, String), BadNote> {
        let (text, signatures) = signatures(note)?;
        let mut line = None;
        for (name, signature) in signatures {
            let Some(signature) = signature.strip_prefix(&self.id()) else { continue };
            if name != self.name {
                continue;
            }
            self.check(text, signature)?;
            line = Some(signature_line(name, self.id(), signature));
        }
        let unsigned = || BadNote::Unsigned { name: self.name.clone() };
        Ok((text, line.ok_or_else(unsigned)?))
    }

    fn check(&self, text: &str, signature: &[u8]) -> Result<(), BadNote> {
        let wrong = || BadNote::WrongSignature { name: self.name.clone() };
        let signature = Signature::from_slice(signature).map_err(|_| wrong())?;
        // Strict: one text and key have one signature that is right.
        self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| wrong())
    }

    fn id(&self) -> [u8; 4] {
        key_id(&self.name, ED25519, self.key.as_bytes())
    }

    /// Its ID: 8 hexadecimal digits.
    pub fn id_text(&self) -> String {
        id_text(self.id())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, self.id(), ED25519, self.key.as_bytes()))
    }
}

impl FromStr for VerifierKey {
    type Err = BadNote;

    fn from_str(text: &str) -> Result<Self, BadNote> {
        let (name, id, key) = parse_key(text, ED25519)?;
        let verifier = Self { name: name.to_owned(), key };
        match id == id_text(verifier.id()) {
            true => Ok(verifier),
            false => Err(BadNote::Key("its ID is not that of name and key")),
        }
    }
}

/// The first four bytes of the hash over name, type and key.
pub(super) fn key_id(name: &str, kind: u8, key: &[u8]) -> [u8; 4] {
    let hasher = Sha256::new_with_prefix(name.as_bytes());
    let hash = hasher.chain_update([b'\n', kind]).chain_update(key).finalize();
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash);
    [a, b, c, d]
}

pub(super) fn id_text(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// `NAME+ID+KEY`
pub(super) fn key_text(name: &str, id: [u8; 4], kind: u8, key: &[u8]) -> String {
    let key: Vec<u8> = [kind].iter().chain(key).copied().collect();
    format!("{name}+{}+{}", id_text(id), STANDARD.encode(key))
}

/// Name, ID and key of the text of a verifier key of this type.
pub(super) fn parse_key(text: &str, kind: u8) -> Result<(&str, &str, VerifyingKey), BadNote> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(BadNote::Key("it is not NAME+ID+KEY"));
    };
    check_name(name)?;
    let key = STANDARD.decode(key).map_err(|_| BadNote::Key("it is not base64"))?;
    let key = match (key.split_first(), kind) {
        (Some((found, key)), _) if *found == kind => key,
        (_, ED25519) => return Err(BadNote::Key("it is not an Ed25519 key")),
        _ => return Err(BadNote::Key("it is not an Ed25519 key for cosignatures (type 4)")),
    };
    let key = key.try_into().map_err(|_| BadNote::Key("it does not have 32 bytes"))?;
    let key = VerifyingKey::from_bytes(&key).map_err(|_| BadNote::Key("it is no key"))?;
    Ok((name, id, key))
}

/// Name, ID and seed of the text of a signing key of this type.
pub(super) fn parse_secret(text: &str, kind: u8) -> Result<(&str, &str, [u8; 32]), BadNote> {
    let secret = BadNote::Secret;
    let rest = text.strip_prefix(PRIVATE).ok_or(secret("it does not begin as one"))?;
    let mut parts = rest.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(secret("it is not PRIVATE+KEY+NAME+ID+KEY"));
    };
    let key = STANDARD.decode(key).map_err(|_| secret("it is not base64"))?;
    let seed = match (key.split_first(), kind) {
        (Some((found, seed)), _) if *found == kind => seed,
        (_, ED25519) => return Err(secret("it is not an Ed25519 key, or is for cosignatures")),
        _ => return Err(secret("it is not an Ed25519 key for cosignatures (type 4)")),
    };
    let seed = seed.try_into().map_err(|_| secret("it does not have 32 bytes"))?;
    Ok((name, id, seed))
}

/// The line of a signature, with the newline at its end.
pub(super) fn signature_line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    let bytes = [&id[..], signature].concat();
    format!("{DASH}{name} {}\n", STANDARD.encode(bytes))
}

/// The signatures of a note, with the names that they give; who made them is not known.
pub(super) type Signatures<'a> = Vec<(&'a str, Vec<u8>)>;

/// The text of a note, and its signatures.
pub(super) fn signatures(note: &str) -> Result<(&str, Signatures<'_>), BadNote> {
    let (text, lines) = split(note)?;
    if lines.split('\n').nth(MAX_SIGNATURES).is_some() {
        return Err(BadNote::Malformed("it has too many signatures"));
    }
    let signatures: Result<_, _> = lines.split('\n').map(parse_line).collect();
    Ok((text, signatures?))
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
    if note.len() > MAX_NOTE_BYTES {
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

pub(super) fn check_name(name: &str) -> Result<(), BadNote> {
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
