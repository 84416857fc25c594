//! Keys of what is encrypted at a destination.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use age::x25519::{Identity, Recipient};
use tipline_log::{SecretFileError, read_secret_file};

/// The recipients that something is encrypted to, and the identities that open it. By default none.
///
/// A recipient is public: `age1…`. An identity is the secret beside it, in a file as
/// `age-keygen` makes it. A writer needs no identity. An identity opens all
/// payloads, so its file must not be kept with them.
#[derive(Clone, Default)]
pub struct Keys {
    recipients: Vec<Recipient>,
    identities: Vec<Identity>,
    files: Vec<PathBuf>,
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Give the public key that `age-keygen -y` prints.
    #[error("{given:?} is no recipient: give an age X25519 public key, age1…")]
    Recipient {
        /// What was given.
        given: String,
    },
    /// A secret key was given where a recipient or the name of a file belongs. It is not repeated
    /// here, but whoever reads the command line or the settings has seen it. Make a new one.
    #[error(
        "a secret key was given: {wanted}; it is no secret any more, so make a new one with age-keygen"
    )]
    Secret {
        /// What belongs there.
        wanted: &'static str,
    },
    /// Give a file as `age-keygen` makes it: lines that start with `AGE-SECRET-KEY-1`, comments
    /// with `#`.
    #[error("{} holds no usable identity: {why}", file.display())]
    Identity {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Others can read the file, or nobody can. It says which mode to set.
    #[error("the identity file cannot be used")]
    File(#[from] SecretFileError),
    /// A thief of the archive would have the key, too. Move it elsewhere.
    #[error("the identity file {} lies in {place}, with the data it opens: keep it elsewhere", file.display())]
    WithData {
        /// Which file.
        file: PathBuf,
        /// Which destination.
        place: String,
    },
}

impl Keys {
    /// Encrypts to this recipient too: `age1…`.
    ///
    /// # Errors
    /// [`KeyError::Recipient`], [`KeyError::Secret`].
    pub fn recipient(mut self, recipient: &str) -> Result<Self, KeyError> {
        check_public(recipient, "give its public key, age1…, which age-keygen -y prints")?;
        let parsed: Result<Recipient, _> = recipient.trim().parse();
        let parsed = parsed.map_err(|_| KeyError::Recipient { given: recipient.to_owned() })?;
        self.recipients.push(parsed);
        Ok(self)
    }

    /// Opens with the identities in this file too, which only its owner may read, and its group.
    ///
    /// # Errors
    /// [`KeyError::Identity`], [`KeyError::File`], [`KeyError::Secret`].
    pub fn identity_file(mut self, file: &Path) -> Result<Self, KeyError> {
        check_public(&file.to_string_lossy(), "give the name of the file that it is in")?;
        let text = read_secret_file(file)?;
        let found = self.identities.len();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let identity = line.parse().map_err(|why: &str| KeyError::Identity {
                file: file.to_owned(),
                why: why.to_owned(),
            });
            self.identities.push(identity?);
        }
        if self.identities.len() == found {
            let why = "there is no line with AGE-SECRET-KEY-1".to_owned();
            return Err(KeyError::Identity { file: file.to_owned(), why });
        }
        let canonical = std::fs::canonicalize(file);
        let file = file.to_owned();
        self.files.push(canonical.map_err(|source| SecretFileError::Unreadable { file, source })?);
        Ok(self)
    }

    /// The recipients, as text.
    pub fn recipients(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.recipients.iter().map(ToString::to_string).collect();
        texts.sort();
        texts.dedup();
        texts
    }

    /// Whether there is an identity to open anything with.
    pub fn can_open(&self) -> bool {
        !self.identities.is_empty()
    }

    /// These keys for an archive that names its recipients; the others that were given, if they
    /// are not the same.
    pub(crate) fn for_archive(mut self, recipients: &[String]) -> Result<Self, Vec<String>> {
        let given = self.recipients();
        if !given.is_empty() && given != recipients {
            return Err(given);
        }
        let parsed = recipients.iter().map(|recipient| recipient.parse::<Recipient>());
        self.recipients = parsed.collect::<Result<_, _>>().map_err(|_| given)?;
        Ok(self)
    }

    /// Refuses keys that lie in the directory that holds what they open.
    pub(crate) fn check_apart(&self, directory: &Path, place: &str) -> Result<(), KeyError> {
        // A directory that is not there holds no key.
        let Ok(directory) = std::fs::canonicalize(directory) else { return Ok(()) };
        match self.files.iter().find(|file| file.starts_with(&directory)) {
            None => Ok(()),
            Some(file) => Err(KeyError::WithData { file: file.clone(), place: place.to_owned() }),
        }
    }

    pub(crate) fn encrypt(&self, mut plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut sealed = Vec::with_capacity(plain.len() + plain.len() / 1024 + 512);
        self.encrypt_from(&mut plain, &mut sealed)?;
        Ok(sealed)
    }

    /// Encrypts all that can be read.
    pub(crate) fn encrypt_from(&self, from: &mut impl Read, to: impl Write) -> io::Result<()> {
        let recipients = self.recipients.iter().map(|recipient| recipient as _);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
        let mut writer = encryptor.wrap_output(to)?;
        io::copy(from, &mut writer)?;
        writer.finish().map(drop)
    }

    /// Opens what was encrypted; `None` if no identity fits. The plain bytes are fewer than the
    /// sealed ones.
    pub(crate) fn decrypt(&self, sealed: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(mut opened) = self.open_reader(sealed)? else { return Ok(None) };
        let mut plain = Vec::with_capacity(sealed.len());
        opened.read_to_end(&mut plain)?;
        Ok(Some(plain))
    }

    /// Opens what is read; `None` if no identity fits. What is changed or cut off is an error of
    /// reading, by its end at the latest.
    pub(crate) fn open_reader<R: BufRead>(
        &self,
        sealed: R,
    ) -> io::Result<Option<impl Read + use<R>>> {
        if self.identities.is_empty() {
            return Ok(None);
        }
        let opened = age::Decryptor::new_buffered(sealed).and_then(|decryptor| {
            decryptor.decrypt(self.identities.iter().map(|identity| identity as _))
        });
        match opened {
            Ok(reader) => Ok(Some(reader)),
            Err(age::DecryptError::NoMatchingKeys) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random() -> [u8; 32] {
    use age::secrecy::ExposeSecret;
    // An identity is one.
    *blake3::hash(Identity::generate().to_string().expose_secret().as_bytes()).as_bytes()
}

/// Whether something can be encrypted to it.
pub(crate) fn is_recipient(given: &str) -> bool {
    given.parse::<Recipient>().is_ok()
}

/// Refuses a secret key, which would be repeated in errors and logs. What is mistyped may still hold
/// most of one.
fn check_public(given: &str, wanted: &'static str) -> Result<(), KeyError> {
    if given.to_ascii_uppercase().contains("SECRET-KEY") {
        return Err(KeyError::Secret { wanted });
    }
    Ok(())
}

impl fmt::Debug for Keys {
    /// Without anything secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("recipients", &self.recipients())
            .field("identity_files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Writes a new identity into a file of its owner, and gives its recipient.
#[cfg(test)]
pub(crate) fn make_identity(file: &Path) -> String {
    use age::secrecy::ExposeSecret;
    let identity = Identity::generate();
    let mut new = tempfile::NamedTempFile::new_in(file.parent().unwrap()).unwrap();
    writeln!(new, "# a key\n{}", identity.to_string().expose_secret()).unwrap();
    new.persist(file).unwrap();
    identity.to_public().to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tipline_log::error_chain;

    use super::{KeyError, Keys, make_identity};

    #[cfg(unix)]
    #[test]
    fn an_identity_that_others_can_read_is_refused_and_the_mode_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("age.key");
        make_identity(&file);
        let with = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            Keys::default().identity_file(&file)
        };
        for mode in [0o644, 0o604, 0o620] {
            let error = with(mode).unwrap_err();
            assert!(matches!(error, KeyError::File(_)), "{error:?}");
            let told = error_chain(&error);
            assert!(told.contains(&format!("mode {mode:o}")), "{told}");
            assert!(told.contains(&format!("chmod 600 {}", file.display())), "{told}");
        }
        for mode in [0o600, 0o400, 0o440] {
            assert!(with(mode).unwrap().can_open());
        }
    }

    #[test]
    fn a_secret_key_given_by_mistake_is_not_repeated() {
        let secret = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQS3CRET";
        let lower = secret.to_lowercase();
        let (cut, begun_late) = (&secret[..40], &secret[4..]);
        for given in [secret, &lower, cut, begun_late, &format!("age1qq,{secret}")] {
            let refused = [
                Keys::default().recipient(given).unwrap_err(),
                Keys::default().identity_file(Path::new(given)).unwrap_err(),
            ];
            for error in refused {
                let told = error_chain(&error) + &format!("{error:?}");
                assert!(!told.to_uppercase().contains("QQQQ"), "{told}");
                assert!(told.contains("a secret key was given"), "{told}");
            }
        }
    }
}
