//! Reading of parquet files, one record per row.
//!
//! Only the columns that make the text are read, page by page. Memory holds one page of each column, whose size is
//! limited, and a few rows, for files and row groups of any size.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Repetition};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::record::reader::TreeBuilder;
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor};
use polymath_input::catch_panic;
use serde_json::{Map, Value};

use crate::DataError;
use crate::sources::document::{DocumentSink, LONGEST_RECORD};
use crate::sources::notes::LayoutWatch;
use crate::sources::parquet::columns::choose;
use crate::sources::parquet::ordered::nested_in_order;
use crate::sources::parquet::pages::BoundedPages;
use crate::sources::record::{Records, emit};

/// Number of values taken out of a page at once. It is small, because a text may be long.
const VALUES_AT_ONCE: usize = 32;
/// Names of the levels that a list or a map adds to the path of a column.
const LIST_LEVELS: [&str; 7] = [
    "list",
    "element",
    "item",
    "array",
    "bag",
    "array_element",
    "key_value",
];
/// Maximum characters of an error of the parquet library, which quotes all invalid bytes.
const LONGEST_REASON: usize = 300;

/// A parquet file whose columns make documents.
pub(crate) struct ParquetFile<'a> {
    path: &'a Path,
    reader: SerializedFileReader<BoundedPages>,
    /// Length of the file in bytes.
    size: u64,
    /// Columns of the parquet file that are read.
    columns: SchemaDescPtr,
}

impl<'a> ParquetFile<'a> {
    /// Opens the file and chooses its columns, without reading rows.
    ///
    /// # Errors
    /// Fails if the file can't be opened, is truncated or is not parquet, if no column makes a document or one has a
    /// wrong type, or if the compression is not supported.
    pub(crate) fn open(path: &'a Path, records: Records) -> Result<Self, DataError> {
        polymath_input::refuse_pointer(path)?;
        let file = polymath_base::open(path).map_err(DataError::file("open", path))?;
        let size = file
            .metadata()
            .map_err(DataError::file("open", path))?
            .len();
        let reader = guarded(path, || SerializedFileReader::new(BoundedPages(file)))?;
        let reader = reader.map_err(|error| broken(path, &error))?;
        let root = reader.metadata().file_metadata().schema();
        let has_nulls = |name: &str| has_nulls(reader.metadata(), name);
        let columns = choose(root, records, &has_nulls);
        let columns = columns.map_err(|message| DataError::content(path, message))?;
        let opened = Self {
            path,
            columns: Arc::new(SchemaDescriptor::new(columns)),
            reader,
            size,
        };
        opened.check_columns()?;
        Ok(opened)
    }

    /// Calls `each` with the documents in order, or with the error of a row, and `watch` with the number of the
    /// file's bytes that are done.
    ///
    /// # Errors
    /// Fails if a page can't be read (the error gives the number of the row), or if `each` fails.
    pub(crate) fn read(
        &self,
        records: Records,
        watch: &dyn Fn(u64),
        each: &mut DocumentSink,
    ) -> Result<(), DataError> {
        let failed = |error: ParquetError| broken(self.path, &error);
        let metadata = self.reader.metadata();
        let rows = metadata.file_metadata().num_rows().max(1) as u128;
        self.note_unread(records);
        let mut layouts = LayoutWatch::new(self.path, records.notes);
        let (mut number, mut told) = (0, 0);
        let tree = TreeBuilder::new().with_batch_size(VALUES_AT_ONCE);
        for index in 0..metadata.num_row_groups() {
            let group = self.reader.get_row_group(index).map_err(failed)?;
            let found = guarded(self.path, || tree.as_iter(self.columns.clone(), &*group))?;
            let mut found = found.map_err(failed)?;
            while let Some(row) = guarded(self.path, || found.next())? {
                number += 1;
                let at_row = |message: String| {
                    DataError::content(self.path, format!("row {number}: {message}"))
                };
                let row = row.map_err(|error| at_row(reason(&error)))?;
                let in_order = nested_in_order(&row);
                let record = self.record(row);
                let record = record.and_then(|row| records.read(&row, in_order.as_deref()));
                match record {
                    Ok(record) => {
                        layouts.see(&record.read_by, number as u64);
                        emit(record, number as u64, each)?;
                    }
                    Err(message) => each(Err(at_row(message)))?,
                }
                // Progress counts the bytes of all columns of a row, including those that are not read.
                let done = (u128::from(self.size) * number / rows) as u64;
                watch(done.saturating_sub(told));
                told = told.max(done);
            }
        }
        watch(self.size.saturating_sub(told));
        Ok(())
    }

    /// Counts the columns that are not read, once per row: whole ones, and fields of those that are read, of a type
    /// that JSON lacks.
    fn note_unread(&self, records: Records) {
        let metadata = self.reader.metadata().file_metadata();
        let read = self.columns.root_schema().get_fields();
        let rows = u64::try_from(metadata.num_rows()).unwrap_or_default();
        let leaves = |schema: &SchemaDescriptor| -> Vec<Vec<String>> {
            let columns = schema.columns().iter();
            columns
                .map(|column| column.path().parts().to_vec())
                .collect()
        };
        let read_leaves = leaves(&self.columns);
        let mut unread = BTreeSet::new();
        for leaf in leaves(metadata.schema_descr()) {
            let Some((column, inner)) = leaf.split_first() else {
                continue;
            };
            if !read.iter().any(|field| field.name() == column) {
                unread.insert(column.clone());
            } else if !read_leaves.contains(&leaf) {
                let is_named = |part: &&String| !LIST_LEVELS.contains(&part.as_str());
                let inner = inner.iter().filter(is_named).map(String::as_str);
                let path: Vec<&str> = [column.as_str()].into_iter().chain(inner).collect();
                unread.insert(path.join("."));
            }
        }
        for name in unread {
            records.note_unused(&name, rows);
        }
    }

    /// Converts a row to a JSON record with the same fields. In a message, a null means that the field is absent.
    fn record(&self, row: Row) -> Result<Value, String> {
        let mut record = Map::new();
        for (name, field) in row.into_columns() {
            let length = match &field {
                Field::Str(text) => text.len(),
                Field::Bytes(bytes) => bytes.len(),
                _ => 0,
            };
            if length > LONGEST_RECORD {
                return Err(format!("is longer than 64 MB in its column `{name}`"));
            }
            let value = match field {
                Field::Str(text) => Value::String(text),
                // Some writers mark a text column only with the newer of parquet's two annotations, so the library
                // returns bytes.
                Field::Bytes(bytes) => {
                    let text = String::from_utf8(bytes.data().to_vec());
                    let text = text.map_err(|_| format!("is not UTF-8 in its column `{name}`"))?;
                    Value::String(text)
                }
                Field::Null => Value::Null,
                nested => without_nulls(nested.to_json_value()),
            };
            record.insert(name, value);
        }
        Ok(Value::Object(record))
    }

    /// Checks what the parquet library assumes of the columns, and their compression.
    fn check_columns(&self) -> Result<(), DataError> {
        let read = self.columns.root_schema().get_fields();
        for group in self.reader.metadata().row_groups() {
            for column in group.columns() {
                let name = &column.column_path().parts()[0];
                if !read.iter().any(|field| field.name() == name) {
                    continue;
                }
                if !lies_inside(column, self.size) {
                    let error = format!("column `{name}` lies outside of the file");
                    return Err(broken(self.path, &ParquetError::General(error)));
                }
                if let Some(compression) = unknown_compression(column) {
                    let message = format!(
                        "column `{name}` is compressed with {compression}, which is not read: write the file again \
                         with Zstandard, Snappy or Gzip"
                    );
                    return Err(DataError::content(self.path, message));
                }
            }
        }
        Ok(())
    }
}

/// Returns true unless the file says that no row has a null in a column.
fn has_nulls(metadata: &ParquetMetaData, name: &str) -> bool {
    let fields = metadata.file_metadata().schema().get_fields();
    let column = fields.iter().find(|field| field.name() == name);
    let is_required = column.is_some_and(|column| {
        let info = column.get_basic_info();
        info.has_repetition() && info.repetition() == Repetition::REQUIRED
    });
    let mut chunks = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    !is_required
        && chunks.any(|chunk| {
            chunk
                .column_path()
                .parts()
                .first()
                .is_some_and(|first| first == name)
                && chunk.statistics().and_then(Statistics::null_count_opt) != Some(0)
        })
}

/// Returns true if a column's pages are within a file of `size` bytes.
fn lies_inside(column: &ColumnChunkMetaData, size: u64) -> bool {
    let dictionary = column.dictionary_page_offset();
    let from = u64::try_from(dictionary.unwrap_or(column.data_page_offset()));
    let length = u64::try_from(column.compressed_size());
    let (Ok(from), Ok(length)) = (from, length) else {
        return false;
    };
    from.checked_add(length).is_some_and(|end| end <= size)
}

/// Returns the name of a column's compression if it is not supported.
fn unknown_compression(column: &ColumnChunkMetaData) -> Option<&'static str> {
    match column.compression() {
        Compression::BROTLI(_) => Some("Brotli"),
        Compression::LZO => Some("LZO"),
        Compression::LZ4 | Compression::LZ4_RAW => Some("LZ4"),
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::ZSTD(_) => None,
    }
}

/// Returns a value without its null fields.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(name, value)| (name, without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_nulls).collect()),
        value => value,
    }
}

/// Calls `read`, which uses the parquet library, and turns a panic into an error of the file: the library trusts the
/// indices in a file.
fn guarded<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T, DataError> {
    let error = || ParquetError::General("its parts contradict each other".into());
    catch_panic(read).ok_or_else(|| broken(path, &error()))
}

fn broken(path: &Path, error: &ParquetError) -> DataError {
    let message = format!(
        "can't be read as parquet: {} (if it was cut off, fetch it again)",
        reason(error)
    );
    DataError::content(path, message)
}

fn reason(error: &ParquetError) -> String {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(LONGEST_REASON));
    text
}
