//! Entries as a Parquet file: what is in an [`EntryRow`](super::EntryRow), as columns.

use std::mem;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType,
    Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use tipline_proto::{Entry, Timestamp};

use super::Fields;
use crate::error::AuditError;

/// Most rows of a row group.
const MAX_ROWS: usize = 65_536;
/// Most bytes of payloads in one with more than one row: twice that is in memory, packed and not.
const MAX_BYTES: usize = 32 << 20;
/// A page is looked at after so many values whether it is large enough.
const BATCH: usize = 64;

/// Numbers are below 2^63, but for `index`, `epoch` and `outbox_sequence`: those are stored by
/// their bits.
const COLUMNS: &str = "
    required int64 index (INTEGER(64,false));
    required fixed_len_byte_array(32) digest;
    required int64 epoch (INTEGER(64,false));
    required int64 time (TIMESTAMP(MICROS,true));
    required int64 outbox_sequence (INTEGER(64,false));
    required binary kind (STRING);
    optional int64 height (INTEGER(64,false));
    optional binary hash;
    optional binary parent_hash;
    optional binary transaction;
    optional binary key;
    optional boolean erased;
    optional binary name (STRING);
    optional fixed_len_byte_array(16) outbox;
    required int64 payload_bytes (INTEGER(64,false));
    required fixed_len_byte_array(32) payload_blake3;
";
const PAYLOAD: &str = "required binary payload;";
/// No value comes twice, or hardly any, and nobody asks which is the least.
const RANDOM: &[&str] =
    &["digest", "hash", "parent_hash", "transaction", "payload_blake3", "payload"];

/// Writes entries as a Parquet file. In memory is one row group, and of each that was written its
/// line in the footer, some KiB for 32 MiB of payloads.
///
/// What it gives must be written in this order, and is a Parquet file only with the footer, which
/// comes last: whoever stops before has a file that no reader takes.
#[derive(Debug)]
pub struct ParquetRows {
    writer: SerializedFileWriter<Vec<u8>>,
    rows: Rows,
    max_rows: usize,
    max_bytes: usize,
}

impl ParquetRows {
    /// Begins a file, with payloads or without.
    ///
    /// # Errors
    /// [`AuditError::Internal`].
    pub fn new(with_payload: bool) -> Result<Self, AuditError> {
        Self::with_limits(with_payload, MAX_ROWS, MAX_BYTES).map_err(failed)
    }

    pub(crate) fn with_limits(
        with_payload: bool,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Self, ParquetError> {
        let payload = if with_payload { PAYLOAD } else { "" };
        let schema = parse_message_type(&format!("message entry {{ {COLUMNS} {payload} }}"))?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_write_batch_size(BATCH)
            // An index of pages would stay in memory until the end.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true);
        for column in RANDOM {
            properties = properties
                .set_column_dictionary_enabled((*column).into(), false)
                .set_column_statistics_enabled((*column).into(), EnabledStatistics::None);
        }
        let properties = Arc::new(properties.build());
        let writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties)?;
        let payload = with_payload.then(Vec::new);
        Ok(Self { writer, rows: Rows { payload, ..Rows::default() }, max_rows, max_bytes })
    }

    /// Adds an entry, and gives the next bytes of the file, often none.
    ///
    /// # Errors
    /// [`AuditError::Internal`].
    pub fn add(&mut self, entry: &Entry) -> Result<Vec<u8>, AuditError> {
        let before = if self.rows.is_full(entry, self.max_rows, self.max_bytes) {
            self.write_group().map_err(failed)?
        } else {
            Vec::new()
        };
        self.rows.push(entry);
        Ok(before)
    }

    /// Ends the file, and gives the last bytes of it.
    ///
    /// # Errors
    /// [`AuditError::Internal`].
    pub fn finish(mut self) -> Result<Vec<u8>, AuditError> {
        let mut bytes = self.write_group().map_err(failed)?;
        bytes.append(&mut self.writer.into_inner().map_err(failed)?);
        Ok(bytes)
    }

    fn write_group(&mut self) -> Result<Vec<u8>, ParquetError> {
        if !self.rows.index.is_empty() {
            let mut group = self.writer.next_row_group()?;
            self.rows.take().write(&mut group)?;
            group.close()?;
            self.writer.flush()?;
        }
        // What was written is counted elsewhere.
        Ok(mem::take(self.writer.inner_mut()))
    }
}

/// Rows that are not written yet, column by column.
#[derive(Debug, Default)]
struct Rows {
    index: Vec<i64>,
    digest: Vec<FixedLenByteArray>,
    epoch: Vec<i64>,
    time: Vec<i64>,
    outbox_sequence: Vec<i64>,
    kind: Vec<ByteArray>,
    height: Vec<Option<i64>>,
    hash: Vec<Option<ByteArray>>,
    parent_hash: Vec<Option<ByteArray>>,
    transaction: Vec<Option<ByteArray>>,
    key: Vec<Option<ByteArray>>,
    erased: Vec<Option<bool>>,
    name: Vec<Option<ByteArray>>,
    outbox: Vec<Option<FixedLenByteArray>>,
    payload_bytes: Vec<i64>,
    payload_blake3: Vec<FixedLenByteArray>,
    payload: Option<Vec<ByteArray>>,
    /// Of all payloads that are kept.
    bytes: usize,
}

impl Rows {
    fn is_full(&self, next: &Entry, max_rows: usize, max_bytes: usize) -> bool {
        let is_large = self.payload.is_some()
            && self.bytes.saturating_add(next.event.payload().len()) > max_bytes;
        self.index.len() >= max_rows || (is_large && !self.index.is_empty())
    }

    /// What is small is copied, so that it does not keep a whole segment in memory.
    fn push(&mut self, entry: &Entry) {
        let Entry { index, epoch, time, outbox_sequence, digest, event, .. } = entry;
        let Fields { height, hash, parent_hash, transaction, key, erased, name, outbox } =
            Fields::new(event);
        let bytes = |bytes: Option<&[u8]>| bytes.map(|bytes| ByteArray::from(bytes.to_vec()));
        let payload = event.payload();
        self.index.push(index.cast_signed());
        self.digest.push(digest.as_bytes().to_vec().into());
        self.epoch.push(epoch.cast_signed());
        self.time.push(Timestamp::as_micros(*time).cast_signed());
        self.outbox_sequence.push(outbox_sequence.cast_signed());
        self.kind.push(event.kind().as_str().into());
        self.height.push(height.map(u64::cast_signed));
        self.hash.push(bytes(hash));
        self.parent_hash.push(bytes(parent_hash));
        self.transaction.push(bytes(transaction));
        self.key.push(bytes(key));
        self.erased.push(erased);
        self.name.push(name.map(ByteArray::from));
        self.outbox.push(outbox.map(|outbox| outbox.to_vec().into()));
        self.payload_bytes.push((payload.len() as u64).cast_signed());
        self.payload_blake3.push(blake3::hash(payload).as_bytes().to_vec().into());
        if let Some(payloads) = &mut self.payload {
            payloads.push(payload.clone().into());
            self.bytes += payload.len();
        }
    }

    /// All of them; none are left.
    fn take(&mut self) -> Self {
        let payload = self.payload.as_ref().map(|_| Vec::new());
        mem::replace(self, Self { payload, ..Self::default() })
    }

    /// In the order of the schema.
    fn write(self, group: &mut SerializedRowGroupWriter<'_, Vec<u8>>) -> Result<(), ParquetError> {
        required::<Int64Type>(group, &self.index)?;
        required::<FixedLenByteArrayType>(group, &self.digest)?;
        required::<Int64Type>(group, &self.epoch)?;
        required::<Int64Type>(group, &self.time)?;
        required::<Int64Type>(group, &self.outbox_sequence)?;
        required::<ByteArrayType>(group, &self.kind)?;
        optional::<Int64Type>(group, self.height)?;
        optional::<ByteArrayType>(group, self.hash)?;
        optional::<ByteArrayType>(group, self.parent_hash)?;
        optional::<ByteArrayType>(group, self.transaction)?;
        optional::<ByteArrayType>(group, self.key)?;
        optional::<BoolType>(group, self.erased)?;
        optional::<ByteArrayType>(group, self.name)?;
        optional::<FixedLenByteArrayType>(group, self.outbox)?;
        required::<Int64Type>(group, &self.payload_bytes)?;
        required::<FixedLenByteArrayType>(group, &self.payload_blake3)?;
        match self.payload {
            Some(payload) => required::<ByteArrayType>(group, &payload),
            None => Ok(()),
        }
    }
}

/// The next column, of which every row has a value.
fn required<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    write::<T>(group, values, None)
}

/// The next column, of which some rows have a value.
fn optional<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: Vec<Option<T::T>>,
) -> Result<(), ParquetError> {
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    write::<T>(group, &values, Some(&levels))
}

fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let column = group.next_column()?;
    let missing = || ParquetError::General("the schema has fewer columns".to_owned());
    let mut column = column.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

fn failed(error: ParquetError) -> AuditError {
    AuditError::Internal { what: format!("writing Parquet: {error}") }
}
