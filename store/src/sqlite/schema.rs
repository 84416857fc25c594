//! The schema, and the statements that depend on how it is laid out. [`super::SqliteStore`]
//! documents it. Keep stable.

/// What a file of this schema is for. One is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A store by itself.
    Store,
    /// The index of a store that keeps the payloads of blocks and proofs as files.
    FilesIndex,
}

impl Role {
    /// `TIPS` and `TIPF`, in the header of the file.
    pub(super) fn application_id(self) -> i32 {
        match self {
            Role::Store => 0x5449_5053,
            Role::FilesIndex => 0x5449_5046,
        }
    }

    pub(super) fn from_application_id(found: i32) -> Option<Self> {
        [Role::Store, Role::FilesIndex].into_iter().find(|role| role.application_id() == found)
    }
}

/// Version of the schema below.
pub(super) const VERSION: i32 = 1;
/// Version of a store of a chain that says from which height on proofs are expected. It has one
/// more column, and a program that does not know that refuses it.
pub(super) const LATE_PROOFS_VERSION: i32 = 2;

/// Blocks are found by 8 bytes out of the middle of their hash: whole hashes would make the index
/// three times as large and cost a quarter of the speed. The middle, because proof of work leaves
/// zeros at one end.
///
/// Run in the transaction that creates a store for a log.
pub(super) const CREATE: &str = "
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    lineage BLOB NOT NULL,
    chain TEXT NOT NULL,
    genesis BLOB NOT NULL,
    cursor_index INTEGER NOT NULL,
    cursor_digest BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    block_tip INTEGER,
    block_tip_hash BLOB,
    proof_tip INTEGER,
    base_height INTEGER,
    base_hash BLOB
) STRICT;
CREATE TABLE blocks (
    height INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    parent_hash BLOB NOT NULL,
    log_index INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX blocks_by_hash ON blocks (substr(hash, length(hash) / 2 + 1, 8));
CREATE TABLE proofs (
    height INTEGER PRIMARY KEY,
    block_hash BLOB NOT NULL,
    log_index INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE transactions (
    log_index INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    block_tip INTEGER,
    time_us INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE records (
    log_index INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    time_us INTEGER NOT NULL,
    value BLOB NOT NULL
) STRICT;
CREATE TABLE marks (
    log_index INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    block_tip INTEGER,
    time_us INTEGER NOT NULL
) STRICT;
";

/// Uses the index, then compares the whole hash.
pub(crate) const BLOCK_BY_HASH: &str = "SELECT \
    height, hash, parent_hash, log_index, epoch, time_us, payload FROM blocks \
    WHERE substr(hash, length(hash) / 2 + 1, 8) = substr(?1, length(?1) / 2 + 1, 8) \
    AND hash = ?1 ORDER BY height DESC LIMIT 1";

pub(super) const PUT_STORE: &str = "INSERT INTO store \
    (id, lineage, chain, genesis, cursor_index, cursor_digest, epoch) VALUES (1, ?, ?, ?, ?, ?, ?)";

/// What [`LATE_PROOFS_VERSION`] has more.
pub(super) const ADD_PROOFS_FROM: &str = "ALTER TABLE store ADD COLUMN proofs_from INTEGER";
pub(super) const PROOFS_FROM: &str = "proofs_from";
pub(super) const PUT_PROOFS_FROM: &str = "UPDATE store SET proofs_from = ?";

/// Changes no row if the cursor is not where the writer left it.
pub(super) const PUT_CURSOR: &str = "UPDATE store SET \
    cursor_index = ?, cursor_digest = ?, epoch = ?, block_tip = ?, block_tip_hash = ?, \
    proof_tip = ?, base_height = ?, base_hash = ? \
    WHERE cursor_index = ? AND cursor_digest = ?";

pub(super) const PUT_BLOCK: &str = "INSERT INTO blocks \
    (height, hash, parent_hash, log_index, epoch, time_us, payload) VALUES (?, ?, ?, ?, ?, ?, ?)";

pub(super) const PUT_PROOF: &str = "REPLACE INTO proofs \
    (height, block_hash, log_index, time_us, payload) VALUES (?, ?, ?, ?, ?)";

pub(super) const PUT_TRANSACTION: &str = "REPLACE INTO transactions \
    (log_index, id, block_tip, time_us, payload) VALUES (?, ?, ?, ?, ?)";

pub(super) const PUT_RECORD: &str =
    "REPLACE INTO records (log_index, key, time_us, value) VALUES (?, ?, ?, ?)";

pub(super) const ERASE_RECORD: &str = "DELETE FROM records WHERE key = ?";

pub(super) const PUT_MARK: &str =
    "REPLACE INTO marks (log_index, name, block_tip, time_us) VALUES (?, ?, ?, ?)";

/// What a rollback removes, given the height that remains. Transactions are inspected from the
/// newest on, down to the first that stays: along `log_index` their block tips never fall,
/// because every rollback removed those that were higher.
pub(super) const ROLL_BACK: [&str; 3] = [
    "DELETE FROM blocks WHERE height > ?1",
    "DELETE FROM proofs WHERE height > ?1",
    "DELETE FROM transactions WHERE log_index > coalesce((SELECT log_index FROM transactions \
     WHERE coalesce(block_tip, -1) <= ?1 ORDER BY log_index DESC LIMIT 1), -1)",
];
