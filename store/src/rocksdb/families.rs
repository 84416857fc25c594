//! The column families, and how RocksDB keeps them. [`super::RocksDbStore`] documents what is in
//! them. Keep stable.

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, Options};

/// Before the number of the format in the name of the family that makes a directory a store.
pub(super) const MARKER: &str = "tipline.store.v";
/// Number of the format below.
pub(super) const VERSION: &str = "1";
/// RocksDB has it in every directory. Nothing is in it.
pub(super) const DEFAULT: &str = "default";

/// Rows of one family that are in memory and the log only; then they are written to a file.
const BUFFER_BYTES: usize = 32 << 20;
/// A blob file is rewritten once so much of it is of rows that were removed.
const BLOB_GARBAGE: f64 = 0.5;
/// Format of the table files: read and written by every version of RocksDB that is allowed.
const TABLE_FORMAT: i32 = 6;
const BLOOM_BITS: f64 = 10.0;

/// A column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Store,
    Blocks,
    BlockPayloads,
    BlockHashes,
    Proofs,
    ProofPayloads,
    Transactions,
    TransactionPayloads,
    TransactionsByIndex,
    Records,
    RecordValues,
    Marks,
}

use Family::{
    BlockHashes, BlockPayloads, Blocks, Marks, ProofPayloads, Proofs, RecordValues, Records, Store,
    TransactionPayloads, Transactions, TransactionsByIndex,
};

/// All families. The first is made last: where it is, all of them are.
pub(super) const FAMILIES: [Family; 12] = [
    Store,
    Blocks,
    BlockPayloads,
    BlockHashes,
    Proofs,
    ProofPayloads,
    Transactions,
    TransactionPayloads,
    TransactionsByIndex,
    Records,
    RecordValues,
    Marks,
];

impl Family {
    pub(super) fn name(self) -> &'static str {
        match self {
            Store => "tipline.store.v1",
            Blocks => "blocks",
            BlockPayloads => "block_payloads",
            BlockHashes => "block_hashes",
            Proofs => "proofs",
            ProofPayloads => "proof_payloads",
            Transactions => "transactions",
            TransactionPayloads => "transaction_payloads",
            TransactionsByIndex => "transactions_by_index",
            Records => "records",
            RecordValues => "record_values",
            Marks => "marks",
        }
    }

    pub(super) fn descriptor(self, cache: &Cache) -> ColumnFamilyDescriptor {
        ColumnFamilyDescriptor::new(self.name(), self.options(cache))
    }

    fn holds_payloads(self) -> bool {
        matches!(self, BlockPayloads | ProofPayloads | TransactionPayloads | RecordValues)
    }

    /// Whether rows are looked for that most often are not there, in no order.
    fn is_searched(self) -> bool {
        matches!(self, BlockHashes | Transactions | Records | RecordValues | Marks)
    }

    /// Payloads are opaque, and hashes are random.
    fn is_compressible(self) -> bool {
        !self.holds_payloads() && self != BlockHashes
    }

    pub(super) fn options(self, cache: &Cache) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_format_version(TABLE_FORMAT);
        table.set_block_cache(cache);
        // Counted in the cache, so that they are bounded with it.
        table.set_cache_index_and_filter_blocks(true);
        if self.is_searched() {
            table.set_bloom_filter(BLOOM_BITS, false);
        }
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_max_write_buffer_number(2);
        options.set_write_buffer_size(BUFFER_BYTES);
        if self.is_compressible() {
            options.set_compression_type(DBCompressionType::Lz4);
        } else {
            options.set_compression_type(DBCompressionType::None);
        }
        if self.holds_payloads() {
            // In blob files all of them, which compaction leaves alone.
            options.set_enable_blob_files(true);
            options.set_min_blob_size(0);
            options.set_enable_blob_gc(true);
            options.set_blob_gc_force_threshold(BLOB_GARBAGE);
        }
        options
    }
}
