//! Opening: what is there is inspected before anything is changed.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, TransactionBehavior};

use super::error::store_error;
use super::journal::{BUSY, Journal, WAL_BYTES};
use super::lock;
use super::presence::Files;
use super::schema::{self, Role};
use super::whole;
use crate::disk::{Lock, failed, parent, private, sync_directory, with_suffix};
use crate::error::StoreError;

/// Pages of 8 KiB: a quarter fewer frames and overflow pointers than with 4 KiB for payloads of
/// tens of KiB, and still few bytes written for a small one.
const PAGE_BYTES: u32 = 8192;
/// What a connection keeps in memory, in KiB: a common batch stays in it until it commits.
const WRITER_CACHE_KIB: i64 = 16 << 10;
/// The same during a bulk load: what does not stay in it is flushed while the batch goes on.
const BULK_CACHE_KIB: i64 = 4 << 10;
/// Most distinct statements that a connection prepares.
const STATEMENTS: usize = 32;

/// So much of the WAL is written again at a time.
const REWRITE_BYTES: usize = 1 << 20;

/// A store's file, opened for writing.
pub(super) struct Opened {
    pub(super) place: String,
    pub(super) path: PathBuf,
    pub(super) role: Role,
    pub(super) connection: Connection,
    pub(super) files: Files,
    pub(super) lock: Lock,
}

/// Opens the file for the one writer; makes it if there is none.
pub(super) fn for_writing(path: &Path, place: String, role: Role) -> Result<Opened, StoreError> {
    let refuse = |why: &str, e: io::Error| StoreError::unusable(&place, why, Some(Box::new(e)));
    let path = resolve(path, &place)?;
    let lock = lock::acquire(&path)
        .map_err(|e| refuse("its lock file cannot be written: check the permissions", e))?
        .ok_or_else(|| StoreError::InUse { place: place.clone() })?;
    check_not_left(&path, &place)?;
    make(&path).map_err(|e| refuse("the file cannot be made: check the permissions", e))?;
    let mut connection = connect(&path, &place, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let fail = |what: &str, e: rusqlite::Error| opening(&place, what, e);
    // Whatever this file is, closing it must not change it before it is known to be a store.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|e| fail("setting up the connection", e))?;
    let found = inspect(&connection, &place, role)?;
    if connection.is_readonly(MAIN_DB).map_err(|e| fail("looking at the file", e))? {
        return Err(StoreError::unusable(
            &place,
            "the file cannot be written: check the permissions",
            None,
        ));
    }
    let journal = journal(&connection).map_err(|e| fail("reading its header", e))?;
    if found == Contents::Store && journal != "wal" {
        // A bulk load was under way.
        make_durable(&path).map_err(|e| failed(&place, "making the file durable", e))?;
    }
    if journal == "wal" {
        whole::check(&path, &place, &connection)?;
        make_wal_durable(&mut connection, &path, &place)?;
    }
    set_up_writer(&connection).map_err(|e| fail("setting up the connection", e))?;
    use_journal(&connection, &place, Journal::WriteAhead)?;
    if found == Contents::Nothing {
        create_tables(&mut connection, role).map_err(|e| fail("making the tables", e))?;
    }
    // The WAL is there by now, and stays for as long as this connection does. SQLite does this too,
    // but only for a WAL that was not there before, and without a word if it fails.
    sync_directory(parent(&path))
        .map_err(|e| failed(&place, "making the names of its files durable", e))?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map_err(|e| fail("setting up the connection", e))?;
    let files = Files::of(&path, Journal::WriteAhead)
        .map_err(|e| failed(&place, "looking at its files", e))?;
    Ok(Opened { place, path, role, connection, files, lock })
}

/// Refuses to begin a new store beside what is left of another one. Its WAL may have batches that
/// the file did not have, and what has the name of its WAL is taken for that of the new store.
fn check_not_left(path: &Path, place: &str) -> Result<(), StoreError> {
    let bytes = |path: &Path| fs::metadata(path).map(|found| found.len()).ok();
    let (found, beside) = (bytes(path), |suffix| bytes(&with_suffix(path, suffix)));
    // A creation that was cut off leaves an empty file, and a journal, but never a WAL.
    let left = match found {
        None => ["-wal", "-shm", "-journal"].into_iter().find(|suffix| beside(suffix).is_some()),
        Some(0) => Some("-wal").filter(|suffix| beside(suffix).is_some_and(|bytes| bytes > 0)),
        Some(_) => None,
    };
    let Some(left) = left else { return Ok(()) };
    let name = with_suffix(path, left);
    let (what, name) = (if found.is_some() { "empty" } else { "missing" }, name.display());
    let why = format!(
        "its file is {what}, and {name} of an earlier store is there: put the file back beside \
         it, or restore; to begin a new store, first move {name} and its like away"
    );
    Err(StoreError::unusable(place, &why, None))
}

/// Makes durable what is in the WAL: see [`make_durable`]. Nobody else may have it begin again
/// meanwhile, and write what this would write over: so the store is locked. Its file must not be
/// opened then, for to close it again drops the locks that SQLite has on it.
fn make_wal_durable(
    connection: &mut Connection,
    path: &Path,
    place: &str,
) -> Result<(), StoreError> {
    let lock = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|e| opening(place, "locking it", e))?;
    make_durable(&with_suffix(path, "-wal"))
        .map_err(|e| failed(place, "making the WAL durable", e))?;
    lock.rollback().map_err(|e| opening(place, "unlocking it", e))
}

/// Makes all durable that the store shows: a writer that was killed, or whose fsync failed, may
/// have left a batch in this file that is whole and not durable. After a failed fsync another one
/// would do nothing, for the system takes the pages for written: so they are written again.
fn make_durable(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut chunk = vec![0; REWRITE_BYTES];
    loop {
        let at = file.stream_position()?;
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return file.sync_all();
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&chunk[..length])?;
    }
}

/// Opens the file for reading. Whether nobody is taken to write to it: then what it reads is right
/// for as long as nobody does.
pub(super) fn for_reading(
    path: &Path,
    place: &str,
    role: Role,
) -> Result<(Connection, bool), StoreError> {
    if !path.is_file() {
        return Err(StoreError::unusable(place, "there is no such file: check the path", None));
    }
    match shared_for_reading(path, place, role) {
        Err(error) if cannot_open(&error) => {
            // Whoever reads makes the WAL and its index. Where that is not possible, as on a medium
            // that cannot be written, there must be nothing in them.
            check_nothing_beside(path, place, error)?;
            Ok((copy_for_reading(path, place, role)?, true))
        }
        opened => opened.map(|connection| (connection, false)),
    }
}

/// What SQLite says of a file that it cannot make.
fn cannot_open(error: &StoreError) -> bool {
    let StoreError::Unusable { source: Some(source), .. } = error else { return false };
    let code =
        source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn check_nothing_beside(path: &Path, place: &str, error: StoreError) -> Result<(), StoreError> {
    let is_used = |path: &PathBuf| {
        fs::metadata(path).map_or(true, |found| found.is_file() && found.len() > 0)
    };
    let beside = ["-wal", "-journal"].map(|suffix| with_suffix(path, suffix));
    let Some(used) = beside.iter().find(|path| path.exists() && is_used(path)) else {
        return Ok(());
    };
    let why = format!(
        "{} has some of it, and cannot be read where nothing can be written: copy it together with \
         the file to where you can write, and read the copy",
        used.display()
    );
    Err(StoreError::unusable(place, &why, Some(Box::new(error))))
}

fn shared_for_reading(path: &Path, place: &str, role: Role) -> Result<Connection, StoreError> {
    let connection = connect(path, place, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    if inspect(&connection, place, role)? == Contents::Nothing {
        return Err(StoreError::unusable(
            place,
            "it is empty: let a replica or a backup write it first",
            None,
        ));
    }
    connection
        .pragma_update(None, "cell_size_check", true)
        .map_err(|e| opening(place, "setting up the connection", e))?;
    Ok(connection)
}

/// Opens a copy that nobody writes to, without changing or adding any file.
pub(super) fn copy_for_reading(
    path: &Path,
    place: &str,
    role: Role,
) -> Result<Connection, StoreError> {
    if !path.is_file() {
        return Err(StoreError::unusable(place, "there is no such file: check the path", None));
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let name = path.as_os_str().as_encoded_bytes().iter().fold(String::new(), |name, byte| {
        if plain(byte) {
            name + &char::from(*byte).to_string()
        } else {
            format!("{name}%{byte:02X}")
        }
    });
    let uri = PathBuf::from(format!("file:{name}?immutable=1"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = connect(&uri, place, flags)?;
    if inspect(&connection, place, role)? == Contents::Nothing {
        return Err(StoreError::unusable(place, "it is empty: take another copy", None));
    }
    Ok(connection)
}

/// The store, human-readable.
pub(super) fn place(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// One name for one file, so that two writers meet at one lock.
fn resolve(path: &Path, place: &str) -> Result<PathBuf, StoreError> {
    if path.is_dir() {
        let why = "it is a directory: give the path of a file in it";
        return Err(StoreError::unusable(place, why, None));
    }
    if let Ok(found) = fs::canonicalize(path) {
        return Ok(found);
    }
    let why = "it is not the path of a file: give one";
    let name = path.file_name().ok_or_else(|| StoreError::unusable(place, why, None))?;
    let parent = fs::canonicalize(parent(path)).map_err(|e| {
        StoreError::unusable(
            place,
            "its directory cannot be opened: make it first",
            Some(Box::new(e)),
        )
    })?;
    Ok(parent.join(name))
}

/// Makes an empty file for its owner only, if there is none.
pub(super) fn make(path: &Path) -> io::Result<()> {
    match private(OpenOptions::new().write(true).create_new(true)).open(path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

fn connect(path: &Path, place: &str, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|e| opening(place, "opening the file", e))?;
    connection.busy_timeout(BUSY).map_err(|e| opening(place, "setting up the connection", e))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

#[derive(PartialEq, Eq)]
enum Contents {
    /// A new file, or an SQLite file with nothing in it.
    Nothing,
    Store,
}

fn inspect(connection: &Connection, place: &str, role: Role) -> Result<Contents, StoreError> {
    let header = "SELECT (SELECT application_id FROM pragma_application_id), \
        (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema), \
        EXISTS (SELECT 1 FROM pragma_table_info('store') WHERE name = 'proofs_from')";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let (application_id, version, tables, is_late): (i32, i32, i64, bool) = connection
        .query_row(header, [], row)
        .map_err(|e| opening(place, "reading its header", e))?;
    if (application_id, version, tables) == (0, 0, 0) {
        return Ok(Contents::Nothing);
    }
    let known = schema::VERSION..=schema::LATE_PROOFS_VERSION;
    match Role::from_application_id(application_id) {
        Some(found) if found == role && known.contains(&version) => {
            if is_late == (version == schema::LATE_PROOFS_VERSION) {
                return Ok(Contents::Store);
            }
            let why = format!(
                "its schema has version {version}, but not the columns of that version: it was \
                 altered; restore it"
            );
            Err(StoreError::unusable(place, &why, None))
        }
        Some(found) if found == role => {
            let (oldest, newest) = known.into_inner();
            let why = format!(
                "its schema has version {version}, this program knows {oldest} and {newest}: use the program that wrote it, or a newer one"
            );
            Err(StoreError::unusable(place, &why, None))
        }
        Some(Role::Store) => {
            let why = "it is a store in one SQLite file, not of block files: give it as the former";
            Err(StoreError::unusable(place, why, None))
        }
        Some(Role::FilesIndex) => {
            let why = "it is the index of a store of block files: give its directory as such";
            Err(StoreError::unusable(place, why, None))
        }
        None => {
            let why = "it is an SQLite file, but not a store of Tipline: give another path";
            Err(StoreError::unusable(place, why, None))
        }
    }
}

fn set_up_writer(connection: &Connection) -> rusqlite::Result<()> {
    // The first takes effect in an empty file only.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "synchronous", "full")?;
    // Where fsync does not reach the medium, this does.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    // SQLite hides errors of its own checkpoints, so they are made explicitly.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES as i64, |_| Ok(()))?;
    use_cache(connection, Journal::WriteAhead)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// Chooses how much is kept in memory with this journal.
pub(super) fn use_cache(connection: &Connection, journal: Journal) -> rusqlite::Result<()> {
    let kib = match journal {
        Journal::WriteAhead => WRITER_CACHE_KIB,
        Journal::Rollback => BULK_CACHE_KIB,
    };
    connection.pragma_update(None, "cache_size", -kib)
}

/// Switches, which waits for everybody who reads. What prevents a write-ahead log is no error for
/// SQLite: it continues without, and promises less.
pub(super) fn use_journal(
    connection: &Connection,
    place: &str,
    journal: Journal,
) -> Result<(), StoreError> {
    let mode = journal.mode();
    let doing = match journal {
        Journal::WriteAhead => "switching to a write-ahead log",
        Journal::Rollback => "switching to a rollback journal",
    };
    // What fails comes up only after the answer.
    let switched = || {
        let mut statement = connection.prepare(&format!("PRAGMA journal_mode = {mode}"))?;
        let answers = statement.query_map([], |row| row.get::<_, String>(0))?;
        Ok(answers.collect::<rusqlite::Result<Vec<_>>>()?.pop())
    };
    let found = switched().map_err(|e| opening(place, doing, e))?;
    if found.as_deref() != Some(mode) {
        let what = format!(
            "{doing} is refused by SQLite there: check that there is space, and that the \
             filesystem is a local one"
        );
        return Err(failed(place, what, io::Error::other(format!("its journal is {found:?}"))));
    }
    // The WAL is made with the first read only.
    let read = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    read.map_err(|e| opening(place, doing, e))
}

/// Whether the journal is still the one that was chosen: another program may have switched it. To be
/// asked in a transaction, where nobody can.
pub(super) fn check_journal(
    connection: &Connection,
    place: &str,
    chosen: Journal,
) -> Result<(), StoreError> {
    let found = journal(connection).map_err(|e| store_error(place, "looking at its journal", e))?;
    if found == chosen.mode() {
        return Ok(());
    }
    let what = format!(
        "its journal mode is {found}, not {}: another program has switched it while it was open; \
         keep that one away, and open it again",
        chosen.mode()
    );
    Err(StoreError::Failed { place: place.to_owned(), what, source: None })
}

fn journal(connection: &Connection) -> rusqlite::Result<String> {
    connection.prepare_cached("PRAGMA journal_mode")?.query_row([], |row| row.get(0))
}

fn create_tables(connection: &mut Connection, role: Role) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(schema::CREATE)?;
    transaction.pragma_update(None, "application_id", role.application_id())?;
    transaction.pragma_update(None, "user_version", schema::VERSION)?;
    transaction.commit()
}

/// An error while opening: most often it is not a store at all, or in someone's hands.
fn opening(place: &str, what: &str, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::unusable(
            place,
            "it is not an SQLite file: give another path",
            Some(Box::new(error)),
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            StoreError::unusable(
                place,
                "it cannot be opened: check the permissions",
                Some(Box::new(error)),
            )
        }
        _ => store_error(place, what, error),
    }
}
