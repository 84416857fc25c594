//! Keys of those who take part in a log, and the file that says whose are trusted.
//!
//! A key's file is that of a key that signs trees, `PRIVATE+KEY+NAME+ID+KEY`. One that has succeeded
//! others has a line more for each, the oldest first: `succeeds NAME+ID+KEY SIGNATURE`, with the old
//! key's signature of the next one in base64.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tipline_log::{SecretFileError, check_trusted_file};
use tipline_proto::{ConsumerName, Predecessor, PublicKey, Trust};

use crate::tlog::{BadNote, SigningKey, VerifierKey};
use crate::tree::{KeyFileError, create_text, read_text};

/// What begins the line of a key that was succeeded.
const SUCCEEDS: &str = "succeeds";
/// More than all that a fleet has.
const MAX_BYTES: u64 = 1 << 20;

/// The key of a primary or a consumer, in a file for its owner only.
#[derive(Debug)]
pub struct SignerKey {
    name: String,
    key: SigningKey,
    predecessors: Vec<Predecessor>,
}

impl SignerKey {
    /// Reads it.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let (_, text) = read_text(path)?;
        Self::parse(&text)
            .map_err(|source| KeyFileError::Unusable { path: path.to_owned(), source })
    }

    /// Of the text of its file.
    pub(crate) fn parse(text: &str) -> Result<Self, BadNote> {
        let mut lines = text.lines();
        let key: SigningKey = lines.next().unwrap_or_default().trim().parse()?;
        let rest = lines.map(str::trim).filter(|line| !line.is_empty());
        let predecessors = rest.map(predecessor).collect::<Result<_, _>>()?;
        Ok(Self { name: key.verifier().name().to_owned(), key, predecessors })
    }

    /// Writes a new key with this seed into a new file. Durable on return.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn create(path: &Path, name: &str, seed: &[u8; 32]) -> Result<Self, KeyFileError> {
        let key = SigningKey::from_seed(name, seed);
        let key = key.map_err(|source| KeyFileError::Unusable { path: path.to_owned(), source })?;
        let made = Self { name: name.to_owned(), key, predecessors: vec![] };
        made.write(path)?;
        Ok(made)
    }

    /// Writes the key with this seed, which succeeds this one, into a new file: of the same name, and
    /// vouched for by this key. Durable on return. This one stays as it is.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn rotate(&self, path: &Path, seed: &[u8; 32]) -> Result<Self, KeyFileError> {
        let next = self.signing().succeeded_by(tipline_proto::SigningKey::from_seed(seed));
        let key = SigningKey::from_seed(&self.name, seed);
        let key = key.map_err(|source| KeyFileError::Unusable { path: path.to_owned(), source })?;
        let predecessors = next.predecessors().to_vec();
        let made = Self { name: self.name.clone(), key, predecessors };
        made.write(path)?;
        Ok(made)
    }

    fn write(&self, path: &Path) -> Result<(), KeyFileError> {
        let text = self.to_text();
        let unusable = |source| KeyFileError::Unusable { path: path.to_owned(), source };
        create_text(path, text.map_err(unusable)?)
    }

    /// The text of its file.
    pub(crate) fn to_text(&self) -> Result<String, BadNote> {
        let mut text = self.key.to_secret() + "\n";
        for link in &self.predecessors {
            let key = VerifierKey::from_bytes(&self.name, link.key.as_bytes())?;
            let signature = STANDARD.encode(link.signature);
            text += &format!("{SUCCEEDS} {key} {signature}\n");
        }
        Ok(text)
    }

    /// Its public half, as text for those who are to trust it.
    pub fn verifier(&self) -> VerifierKey {
        self.key.verifier()
    }

    /// What signs entries, receipts and announcements.
    pub fn signing(&self) -> tipline_proto::SigningKey {
        let key = tipline_proto::SigningKey::from_seed(self.key.seed());
        key.with_predecessors(self.predecessors.clone())
    }
}

fn predecessor(line: &str) -> Result<Predecessor, BadNote> {
    let wrong = BadNote::Secret("a line after the first is not `succeeds NAME+ID+KEY SIGNATURE`");
    let mut words = line.split_whitespace();
    let (Some(SUCCEEDS), Some(key), Some(signature), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(wrong);
    };
    let signature = STANDARD.decode(signature).map_err(|_| wrong.clone())?;
    let signature = signature.try_into().map_err(|_| wrong)?;
    Ok(Predecessor { key: public(&key.parse()?), signature })
}

/// A key as entries, receipts and announcements name it.
fn public(key: &VerifierKey) -> PublicKey {
    PublicKey::from_bytes(key.bytes())
}

/// A file of trusted keys that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadTrust {
    /// It cannot be read.
    #[error("the trusted keys in {} cannot be read", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Others can change it.
    #[error(transparent)]
    Open(SecretFileError),
    /// A line is none of the two that there are.
    #[error(
        "line {line} of the trusted keys in {} is not `primary KEY` or `consumer NAME KEY`, with KEY as \
         `tipline keys show` prints it: {why}",
        path.display()
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody is trusted: then nothing would be required.
    #[error("{} has no trusted key: add a line `primary KEY`", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// Reads a file of trusted keys: `primary KEY` or `consumer NAME KEY` in each line, several of one
/// kind or name if there are several keys. What is after a `#` is a comment.
///
/// # Errors
/// See [`BadTrust`].
pub fn read_trust(path: &Path) -> Result<Trust, BadTrust> {
    let failed = |source| BadTrust::File { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_BYTES {
        let why = format!("it has {length} bytes, over {MAX_BYTES}");
        return Err(failed(io::Error::other(why)));
    }
    check_trusted_file(path).map_err(BadTrust::Open)?;
    parse_trust(path, &fs::read_to_string(path).map_err(failed)?)
}

/// The text of such a file.
pub(crate) fn parse_trust(path: &Path, text: &str) -> Result<Trust, BadTrust> {
    let (mut primaries, mut consumers) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let wrong = |why: String| BadTrust::Line { path: path.to_owned(), line: number + 1, why };
        let key = |key: &str| match key.parse() {
            Ok(key) => Ok(public(&key)),
            Err(error) => Err(wrong(BadNote::to_string(&error))),
        };
        match words[..] {
            [] => {}
            ["primary", trusted] => primaries.push(key(trusted)?),
            ["consumer", name, trusted] => {
                let name: Result<ConsumerName, _> = name.parse();
                consumers.push((name.map_err(|error| wrong(error.to_string()))?, key(trusted)?));
            }
            _ => return Err(wrong(format!("it has {} words", words.len()))),
        }
    }
    match primaries.is_empty() && consumers.is_empty() {
        true => Err(BadTrust::Empty { path: path.to_owned() }),
        false => Ok(Trust::new(primaries, consumers)),
    }
}
