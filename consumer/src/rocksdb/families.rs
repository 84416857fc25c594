//! The column families, and how each is tuned.

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, Options};

pub(super) const BLOCKS: &str = "blocks";
pub(super) const BLOCK_PAYLOADS: &str = "block_payloads";
pub(super) const BLOCK_HASHES: &str = "block_hashes";
pub(super) const PROOFS: &str = "proofs";
pub(super) const PROOF_PAYLOADS: &str = "proof_payloads";
pub(super) const TRANSACTIONS: &str = "transactions";
pub(super) const TRANSACTION_PAYLOADS: &str = "transaction_payloads";
pub(super) const TRANSACTIONS_BY_INDEX: &str = "transactions_by_index";
pub(super) const RECORDS: &str = "records";
pub(super) const MARKS: &str = "marks";

/// RocksDB's own, which always is there: format, identity, cursor.
pub(super) const META: &str = "default";

/// All of them.
pub(super) const ALL: [&str; 11] = [
    META,
    BLOCKS,
    BLOCK_PAYLOADS,
    BLOCK_HASHES,
    PROOFS,
    PROOF_PAYLOADS,
    TRANSACTIONS,
    TRANSACTION_PAYLOADS,
    TRANSACTIONS_BY_INDEX,
    RECORDS,
    MARKS,
];

/// Values from this size on lie in blob files, so that compactions do not copy them again and again.
const MIN_BLOB_BYTES: u64 = 4 << 10;
const BLOB_FILE_BYTES: u64 = 256 << 20;
/// What all write buffers together hold before they are flushed, roughly; a larger batch comes on top.
const WRITE_BUFFERS_BYTES: usize = 64 << 20;
const WRITE_BUFFER_BYTES: usize = 32 << 20;
const CACHE_BYTES: usize = 32 << 20;
const WAL_BYTES: u64 = 256 << 20;
const OPEN_FILES: i32 = 512;
/// RocksDB's own log, which is for its developers.
const INFO_LOG_BYTES: usize = 4 << 20;

/// Options of the database as a whole.
pub(super) fn database() -> Options {
    let mut options = Options::default();
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_max_open_files(OPEN_FILES);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_stats_dump_period_sec(0);
    options
}

/// The families with their options, to open the database with.
pub(super) fn descriptors() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    let describe = |name: &&str| ColumnFamilyDescriptor::new(*name, family(name, &cache));
    ALL.iter().map(describe).collect()
}

fn family(name: &str, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    if [BLOCK_HASHES, TRANSACTIONS].contains(&name) {
        table.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_compression_type(DBCompressionType::Lz4);
    if [BLOCK_PAYLOADS, PROOF_PAYLOADS, TRANSACTION_PAYLOADS, RECORDS].contains(&name) {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(MIN_BLOB_BYTES);
        options.set_blob_file_size(BLOB_FILE_BYTES);
        options.set_enable_blob_gc(true);
    }
    options
}
