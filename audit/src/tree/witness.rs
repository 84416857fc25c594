//! A witness: it cosigns a checkpoint only if that continues what it cosigned before, which it keeps on
//! its own disk.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tipline_log::Clock;

use super::key_file::{KeyFileError, Lock, create_text, folder_of, read_text, replace_text};
use super::read_back::ReadBack;
use crate::tlog::{
    AddCheckpoint, BadCheckpoint, BadNote, Checkpoint, Cosigned, CosignerKey, CosigningKey,
    NotContinued, VerifierKey, check_continues, lines_by_any, unverified_text,
};

/// What is appended to the name of a key's file for what it has cosigned.
const COSIGNED: &str = ".cosigned";
/// What is appended to the name of what was cosigned for the first checkpoint that contradicts it.
const CONTRADICTS: &str = ".contradicts";

/// What is appended to it for what a mirror has read back.
const READ_BACK: &str = ".read-back";

/// For so many seconds a checkpoint that was cosigned is not cosigned again: it is public, and whoever
/// has it could make the witness sign and fsync without end.
const SAME_FOR: u64 = 10;

/// Whoever cosigns checkpoints of logs that it knows, with a key in a file for its owner only.
///
/// In a directory beside the key, with `.cosigned` after its name, is the newest checkpoint of each log
/// that it has cosigned: written and fsynced before the cosignature is given out. Without the directory
/// the key is refused: a witness that has forgotten what it cosigned would contradict itself. Keep both
/// together. Open, the key is locked. Everything here blocks the thread.
#[derive(Debug)]
pub struct Witness {
    /// Without symbolic links.
    path: PathBuf,
    key: CosigningKey,
    logs: Vec<VerifierKey>,
    clock: ClockOf,
    /// Comparing and keeping is one step.
    turn: Mutex<()>,
    is_poisoned: AtomicBool,
    _lock: Lock,
}

/// What was cosigned, and kept.
pub(super) struct Kept {
    /// The checkpoint with the log's signatures and the cosignature.
    pub(super) note: String,
    /// The line of the cosignature.
    line: String,
}

struct ClockOf(Clock);

impl std::fmt::Debug for ClockOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// A checkpoint that is not cosigned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// It is no checkpoint, or the log's key did not sign it.
    #[error("the checkpoint cannot be cosigned")]
    Note(#[from] BadNote),
    /// What was signed is no checkpoint.
    #[error("the checkpoint cannot be cosigned")]
    Checkpoint(#[from] BadCheckpoint),
    /// The witness does not know the log. Nobody has verified what it is called.
    #[error("the log {} is not known to this witness", origin.escape_debug())]
    UnknownLog {
        /// The log.
        origin: String,
    },
    /// It does not continue what was cosigned before. If the log's key signed both, this is the
    /// evidence of a fraud, or of a log that lost what it had signed.
    #[error("{origin} is not cosigned")]
    NotContinued {
        /// The log.
        origin: String,
        /// Why.
        source: NotContinued,
    },
    /// The key, or what it has cosigned, cannot be read or written. Nothing was given out.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

impl Witness {
    /// Writes a key into a new file, and the empty directory for what it cosigns. Durable on return.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], [`KeyFileError::File`].
    pub fn create(path: &Path, key: &CosigningKey) -> Result<(), KeyFileError> {
        create_text(path, key.to_secret() + "\n")?;
        let folder = folder_for(path);
        let failed = |source| KeyFileError::File { what: "writing", path: folder.clone(), source };
        make_private(&folder).map_err(failed)?;
        File::open(folder_of(path)).and_then(|parent| parent.sync_all()).map_err(failed)
    }

    /// Opens the key in a file, and locks it for as long as this is kept. It cosigns what these logs
    /// sign.
    ///
    /// # Errors
    /// All but [`KeyFileError::Exists`].
    pub fn open(path: &Path, logs: Vec<VerifierKey>, clock: Clock) -> Result<Self, KeyFileError> {
        let opening =
            |source| KeyFileError::File { what: "opening", path: path.to_owned(), source };
        let path = fs::canonicalize(path).map_err(opening)?;
        let (file, key) = read(&path)?;
        let lock = Lock::acquire(file, &path)?;
        let folder = folder_for(&path);
        if !folder.is_dir() {
            return Err(KeyFileError::ForgottenCosigned { path: folder });
        }
        // What is read there is given out again: it stays there, whatever kept its write from ending.
        let synced = File::open(&folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| KeyFileError::File { what: "opening", path: folder, source })?;
        let (turn, is_poisoned) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { path, key, logs, clock: ClockOf(clock), turn, is_poisoned, _lock: lock })
    }

    /// The public half of the key in a file, which may be in use.
    ///
    /// # Errors
    /// Those of [`Witness::open`], but for [`KeyFileError::InUse`].
    pub fn read_verifier(path: &Path) -> Result<CosignerKey, KeyFileError> {
        read(path).map(|(_, key)| key.verifier())
    }

    /// The public half of the key.
    pub fn verifier(&self) -> CosignerKey {
        self.key.verifier()
    }

    /// The file of the key itself, not a symbolic link to it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest checkpoint of a log that was cosigned, as it was given out; `None` if there is none.
    ///
    /// # Errors
    /// What is there is not what this key has cosigned, or cannot be read.
    pub fn kept(&self, origin: &str) -> Result<Option<(String, Checkpoint)>, KeyFileError> {
        Ok(self.found(origin)?.map(|(note, checkpoint, _)| (note, checkpoint)))
    }

    /// The same, with the cosignature in it.
    fn found(&self, origin: &str) -> Result<Option<(String, Checkpoint, Cosigned)>, KeyFileError> {
        let path = self.place_of(origin);
        let note = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeyFileError::File { what: "reading", path, source }),
            Ok(note) => note,
        };
        let wrong = |what: String| KeyFileError::Signed { path: path.clone(), what };
        let found = self.key.verifier().find(&note).map_err(|error| wrong(error.to_string()))?;
        let found = found.ok_or_else(|| wrong("it has no cosignature of it".to_owned()))?;
        let text = unverified_text(&note).map_err(|error| wrong(error.to_string()))?;
        let checkpoint: Checkpoint = text.parse().map_err(|error| wrong(format!("{error}")))?;
        match checkpoint.origin == origin {
            true => Ok(Some((note, checkpoint, found))),
            false => Err(wrong(format!("it is of {}", checkpoint.origin))),
        }
    }

    /// Cosigns a checkpoint that continues what was cosigned before. Gives the line of the
    /// cosignature, once it is durable that it was given out. For one that it cosigned less than 10 s
    /// ago, by its clock, that is the same line again.
    ///
    /// # Errors
    /// See [`WitnessError`].
    pub fn add(&self, request: &AddCheckpoint) -> Result<String, WitnessError> {
        self.cosign(request).map(|cosigned| cosigned.line)
    }

    /// The same, with the note that was kept.
    pub(super) fn cosign(&self, request: &AddCheckpoint) -> Result<Kept, WitnessError> {
        let claimed: Checkpoint = unverified_text(&request.note)?.parse()?;
        let origin = claimed.origin;
        let named = self.logs.iter().filter(|log| log.name() == origin);
        let Some((text, lines)) = lines_by_any(named, &request.note)? else {
            return Err(WitnessError::UnknownLog { origin });
        };
        let checkpoint: Checkpoint = text.parse()?;
        // A panic left nothing half done: what counts is on the disk.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_poisoned.load(Ordering::Relaxed) {
            return Err(KeyFileError::Poisoned { path: self.path.clone() }.into());
        }
        let found = self.found(&origin)?;
        let kept = found.as_ref().map(|(_, kept, _)| kept);
        let continues = check_continues(kept, request, &checkpoint);
        if let Err(source) = continues {
            if matches!(source, NotContinued::Forked { .. }) {
                self.keep_evidence(&origin, &request.note)?;
            }
            return Err(WitnessError::NotContinued { origin, source });
        }
        let seconds = self.seconds();
        if let Some((note, _, cosigned)) = found
            && unverified_text(&note)? == text
            && seconds.checked_sub(cosigned.seconds).is_some_and(|age| age < SAME_FOR)
        {
            return Ok(Kept { note, line: cosigned.line });
        }
        let cosignature = self.key.cosign(&request.note, seconds)?;
        let note = format!("{text}\n{lines}{cosignature}");
        let kept = replace_text(&self.place_of(&origin), note.clone());
        if kept.is_err() {
            self.is_poisoned.store(true, Ordering::Relaxed);
        }
        kept?;
        Ok(Kept { note, line: cosignature })
    }

    /// Seconds since 1970, by its clock.
    pub(super) fn seconds(&self) -> u64 {
        (self.clock.0)().as_micros() / 1_000_000
    }

    /// What a mirror has read back of a log; `None` if that is not known.
    pub(super) fn read_back(&self, origin: &str) -> Result<Option<ReadBack>, KeyFileError> {
        let path = self.beside(origin, READ_BACK);
        match fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8(bytes).ok().and_then(|text| text.parse().ok())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeyFileError::File { what: "reading", path, source }),
        }
    }

    /// Keeps it. Durable on return; after an error it is one or the other, and both are so.
    pub(super) fn keep_read_back(&self, read: &ReadBack) -> Result<(), KeyFileError> {
        replace_text(&self.beside(&read.upto.origin, READ_BACK), read.to_string())
    }

    /// Keeps a checkpoint that the log signed, and that is proven to contradict what was cosigned. The
    /// first one is enough, and is never replaced: whoever has the log's key can make more of them.
    pub(super) fn keep_evidence(&self, origin: &str, note: &str) -> Result<(), KeyFileError> {
        let path = self.beside(origin, CONTRADICTS);
        if path.is_file() {
            return Ok(());
        }
        match create_text(&path, note.to_owned()) {
            Err(KeyFileError::Exists { .. }) => Ok(()),
            kept => kept,
        }
    }

    /// Where the newest checkpoint of a log is kept.
    fn place_of(&self, origin: &str) -> PathBuf {
        folder_for(&self.path).join(blake3::hash(origin.as_bytes()).to_hex().as_str())
    }

    /// Where something else of it is kept.
    fn beside(&self, origin: &str, what: &str) -> PathBuf {
        let mut path = self.place_of(origin).into_os_string();
        path.push(what);
        path.into()
    }
}

fn read(path: &Path) -> Result<(File, CosigningKey), KeyFileError> {
    let (file, text) = read_text(path)?;
    let key = text.lines().next().unwrap_or_default().trim().parse();
    let key = key.map_err(|source| KeyFileError::Unusable { path: path.to_owned(), source })?;
    Ok((file, key))
}

fn folder_for(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(COSIGNED);
    name.into()
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new().mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)
}
