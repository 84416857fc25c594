//! The file of a signing key, and what the key has signed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::NamedTempFile;

use crate::tlog::{BadNote, Checkpoint, SigningKey, TreeHash, VerifierKey};

/// Room for a key with a long name, many times over.
const MAX_BYTES: u64 = 64 << 10;
/// What is appended to the name of a key's file for what it has signed.
const SIGNED: &str = ".signed";

/// A key that signs the checkpoints of one log, in a file for its owner only.
///
/// Beside it, with `.signed` after its name, is the newest checkpoint that it has signed: written and
/// fsynced before the checkpoint is published, and compared before the next one is signed. Whoever
/// puts an archive back to an older state, tiles and all, does not make the key contradict itself.
/// Without it the key is refused. Keep both together: a symbolic link to the key is followed first.
/// Open, it is locked: two do not sign with one file at once.
#[derive(Debug)]
pub struct KeyFile {
    /// Without symbolic links: a key remembers at one place, whatever name it is opened by.
    path: PathBuf,
    key: SigningKey,
    /// The archive that was compared last with what was signed, and up to which entry.
    compared: Mutex<Option<(String, u64)>>,
    /// Comparing and remembering is one step.
    turn: Mutex<()>,
    /// Whether a write of what was signed failed.
    is_poisoned: AtomicBool,
    _lock: Lock,
}

/// A file of a key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Name another file: keys are not written over.
    #[error("{} is there already", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// Others can read it: they may have the key by now.
    #[error("{} can be read by others (mode {mode:04o}): chmod 600, and make a new key if others may have read it", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another process signs with it. End that one first.
    #[error("{} is in use by another process that signs with it", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// A thief of the archive would have the key, too. Move it elsewhere.
    #[error("the key {} lies in {place}, with what it signs: keep it elsewhere", path.display())]
    WithData {
        /// Which file.
        path: PathBuf,
        /// Which archive.
        place: String,
    },
    /// It holds no key.
    #[error("{} holds no key to sign with", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong, without what is in it.
        source: BadNote,
    },
    /// What was signed before is not known for certain, so nothing more is signed. Put the file back from a copy.
    #[error("{} is not what this key has signed: {what}", path.display())]
    Signed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What the key has signed is not there: with it gone, the key could contradict itself. Put it back,
    /// or make a new key that goes on [after](super::succeed()) this one.
    #[error("what this key has signed is not at {}: put it back, or make a new key, and sign with --after and the public half of this one", path.display())]
    Forgotten {
        /// Where it should be.
        path: PathBuf,
    },
    /// The same of what a key has cosigned. A new one has to be named by the policies.
    #[error("what this key has cosigned is not at {}: put it back, or make a new key, and name it in the policies", path.display())]
    ForgottenCosigned {
        /// Where it should be.
        path: PathBuf,
    },
    /// Writing what the key has signed failed before, so it is not known what is on the disk. Start
    /// again.
    #[error("{} is not used any more: writing what it has signed failed before", path.display())]
    Poisoned {
        /// The key.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("{what} the key file {} failed", path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl KeyFile {
    /// Writes a key into a new file, which only its owner may read, and beside it that it has signed a
    /// log without entries: nothing. Durable on return. Blocks the thread, as all of this does.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], [`KeyFileError::File`].
    pub fn create(path: &Path, key: &SigningKey) -> Result<(), KeyFileError> {
        let (origin, signed) = (key.verifier().name().to_owned(), signed_for(path));
        // What another key has signed is not written over, and that key may come back.
        if signed.exists() && !path.exists() {
            return Err(KeyFileError::Exists { path: signed });
        }
        let nothing = Checkpoint { origin, size: 0, root: TreeHash::empty() };
        let nothing = key.sign(&nothing.to_string());
        let nothing =
            nothing.map_err(|source| KeyFileError::Unusable { path: path.to_owned(), source })?;
        // A key without it is refused: never the other way round.
        create_text(path, key.to_secret() + "\n")?;
        create_text(&signed, nothing)
    }

    /// Opens it, and locks it for as long as this is kept. Without what it has signed beside it, it is
    /// refused: it could contradict itself.
    ///
    /// # Errors
    /// All but [`KeyFileError::Exists`].
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let path = fs::canonicalize(path).map_err(|source| KeyFileError::File {
            what: "opening",
            path: path.to_owned(),
            source,
        })?;
        let (file, key) = read(&path)?;
        let lock = Lock::acquire(file, &path)?;
        let signed = signed_for(&path);
        if !signed.is_file() {
            return Err(KeyFileError::Forgotten { path: signed });
        }
        let (compared, turn, is_poisoned) =
            (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Ok(Self { path, key, compared, turn, is_poisoned, _lock: lock })
    }

    /// The public half of the key in a file, which may be in use.
    ///
    /// # Errors
    /// Those of [`KeyFile::open`], but for [`KeyFileError::InUse`].
    pub fn read_verifier(path: &Path) -> Result<VerifierKey, KeyFileError> {
        read(path).map(|(_, key)| key.verifier())
    }

    /// The public half of the key.
    pub fn verifier(&self) -> VerifierKey {
        self.key.verifier()
    }

    /// Where it is remembered what the key has signed.
    pub fn signed_path(&self) -> PathBuf {
        signed_for(&self.path)
    }

    /// The file itself, not a symbolic link to it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the archive was compared with what was signed, up to this entry, since the key was
    /// opened.
    pub(super) fn has_compared(&self, archive: &str, size: u64) -> bool {
        let compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        compared.as_ref().is_some_and(|(place, upto)| place == archive && *upto == size)
    }

    pub(super) fn set_compared(&self, archive: &str, size: u64) {
        let mut compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        *compared = Some((archive.to_owned(), size));
    }

    /// Refuses a file, which may be there or not, in the directory of an archive.
    ///
    /// # Errors
    /// [`KeyFileError::WithData`]; it cannot be told.
    pub fn check_apart(path: &Path, directory: &Path, place: &str) -> Result<(), KeyFileError> {
        let found = fs::canonicalize(path).or_else(|_| fs::canonicalize(folder_of(path)));
        let found = found.map_err(|source| KeyFileError::File {
            what: "finding",
            path: path.to_owned(),
            source,
        })?;
        match fs::canonicalize(directory) {
            Ok(directory) if found.starts_with(&directory) => {
                let (path, place) = (path.to_owned(), place.to_owned());
                Err(KeyFileError::WithData { path, place })
            }
            // A directory that is not there holds no key, and is found out elsewhere.
            _ => Ok(()),
        }
    }

    /// The newest checkpoint that the key has signed; of no entries if it has signed nothing.
    pub(super) fn signed(&self) -> Result<Checkpoint, KeyFileError> {
        let path = self.signed_path();
        let note = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(KeyFileError::Forgotten { path });
            }
            Err(source) => return Err(KeyFileError::File { what: "reading", path, source }),
            Ok(note) => note,
        };
        let wrong = |what: String| KeyFileError::Signed { path: path.clone(), what };
        let verifier = self.verifier();
        let text = verifier.open(&note).map_err(|e| wrong(e.to_string()))?;
        let checkpoint: Checkpoint = text.parse().map_err(|e| wrong(format!("{e}")))?;
        match checkpoint.origin == verifier.name() {
            true => Ok(checkpoint),
            false => Err(wrong(format!("it is of {}", checkpoint.origin))),
        }
    }

    /// Signs, and remembers it. Durable on return: from now on nothing that contradicts it is signed.
    ///
    /// What the key remembers only grows. That the new one continues `known` is for the caller to know.
    ///
    /// # Errors
    /// No signature is given out. [`KeyFileError::Signed`] if the key remembers something else than
    /// `known`: somebody else has signed with it meanwhile. After [`KeyFileError::File`] for a write
    /// none is given out until the key is opened again.
    pub(super) fn sign(
        &self,
        known: &Checkpoint,
        checkpoint: &Checkpoint,
    ) -> Result<String, KeyFileError> {
        // A panic left nothing half done: what counts is on the disk.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_poisoned.load(Ordering::Relaxed) {
            return Err(KeyFileError::Poisoned { path: self.path.clone() });
        }
        let signed = self.signed()?;
        let (found, asked) = (signed.size, checkpoint.size);
        let wrong = |what| Err(KeyFileError::Signed { path: self.signed_path(), what });
        if signed != *known {
            let known = known.size;
            return wrong(format!(
                "it has signed {found} entries meanwhile, and {asked} were to be signed after {known}"
            ));
        }
        if asked < found || (asked == found && checkpoint.root != signed.root) {
            return wrong(format!("it has signed {found} entries, and {asked} were to be signed"));
        }
        let note = self.key.sign(&checkpoint.to_string());
        let note =
            note.map_err(|source| KeyFileError::Unusable { path: self.path.clone(), source })?;
        let kept = replace_text(&self.signed_path(), note.clone());
        if kept.is_err() {
            self.is_poisoned.store(true, Ordering::Relaxed);
        }
        kept.map(|()| note)
    }
}

/// The lock on the file of a key, held until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    pub(super) fn acquire(file: File, path: &Path) -> Result<Self, KeyFileError> {
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(KeyFileError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => {
                Err(KeyFileError::File { what: "locking", path: path.to_owned(), source })
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child process that another thread is starting has a copy of the handle until it runs
        // its program. If unlocking fails, closing will do.
        _ = self.file.unlock();
    }
}

/// Nobody but its owner may have read it.
fn read(path: &Path) -> Result<(File, SigningKey), KeyFileError> {
    let (file, text) = read_text(path)?;
    let key = text.lines().next().unwrap_or_default().trim().parse();
    let key = key.map_err(|source| KeyFileError::Unusable { path: path.to_owned(), source })?;
    Ok((file, key))
}

/// The text of a file that only its owner may read.
pub(crate) fn read_text(path: &Path) -> Result<(File, String), KeyFileError> {
    let failed = |what, source| KeyFileError::File { what, path: path.to_owned(), source };
    let mut file = File::open(path).map_err(|e| failed("opening", e))?;
    check_private(path, &file)?;
    let mut text = String::new();
    let read = (&mut file).take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(|e| failed("reading", e))?;
    Ok((file, text))
}

/// Writes a new file that only its owner may read.
pub(crate) fn create_text(path: &Path, text: String) -> Result<(), KeyFileError> {
    let named = |file: NamedTempFile| file.persist_noclobber(path).map_err(|error| error.error);
    write(path, text, named).map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
        _ => KeyFileError::File { what: "writing", path: path.to_owned(), source },
    })
}

/// Writes a file that only its owner may read, in the place of one that may be there. Durable on
/// return; after an error it is not known which of them is there.
pub(super) fn replace_text(path: &Path, text: String) -> Result<(), KeyFileError> {
    let named = |file: NamedTempFile| file.persist(path).map_err(|error| error.error);
    let failed = |source| KeyFileError::File { what: "writing", path: path.to_owned(), source };
    write(path, text, named).map_err(failed)
}

/// A file that is there as a whole or not at all, for its owner only.
fn write(
    path: &Path,
    text: String,
    name: impl FnOnce(NamedTempFile) -> io::Result<File>,
) -> io::Result<()> {
    let parent = folder_of(path);
    // A temporary file has mode 0600 from the start.
    let mut file = tempfile::Builder::new().prefix(".tipline-").tempfile_in(parent)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    name(file)?;
    OpenOptions::new().read(true).open(parent)?.sync_all()
}

fn signed_for(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(SIGNED);
    name.into()
}

pub(super) fn folder_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

#[cfg(unix)]
fn check_private(path: &Path, file: &File) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt;

    let found = file.metadata();
    let found = found.map_err(|source| KeyFileError::File {
        what: "opening",
        path: path.to_owned(),
        source,
    })?;
    let mode = found.permissions().mode() & 0o7777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(KeyFileError::Exposed { path: path.to_owned(), mode }),
    }
}

#[cfg(not(unix))]
fn check_private(_: &Path, _: &File) -> Result<(), KeyFileError> {
    Ok(())
}
