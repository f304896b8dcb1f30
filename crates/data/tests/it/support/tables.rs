//! Helpers that write parquet files.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// Values of a column, with the levels that mark nulls and the beginnings of lists.
pub enum Column {
    /// Column of optional texts, one per row.
    Texts(Vec<Option<String>>),
    /// Column of required integers, one per row.
    Numbers(Vec<i64>),
    /// Column of lists of texts, flattened.
    Nested {
        values: Vec<Option<String>>,
        /// Definition level of each value.
        definitions: Vec<i16>,
        /// Repetition level of each value: 0 at the beginning of a row.
        repetitions: Vec<i16>,
    },
}

impl Column {
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Texts(texts.into_iter().map(|text| Some(text.into())).collect())
    }
}

/// Options for writing a parquet file.
pub struct Style {
    pub compression: Compression,
    pub rows_a_group: usize,
    /// Bytes per page of the file.
    pub page: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            compression: Compression::SNAPPY,
            rows_a_group: 7,
            page: 1 << 20,
        }
    }
}

/// Writes a file of `columns` with the schema `schema` (in parquet's notation). Nested columns are written in one row
/// group.
pub fn table(schema: &str, columns: &[Column], style: &Style) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(style.compression)
        .set_data_page_size_limit(style.page)
        .set_write_batch_size(16)
        .set_dictionary_enabled(style.page >= 1 << 20)
        .build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let rows = columns.iter().map(rows).max().unwrap_or(0);
    for from in (0..rows).step_by(style.rows_a_group) {
        let to = rows.min(from + style.rows_a_group);
        let mut group = writer.next_row_group().unwrap();
        for column in columns {
            let mut open = group.next_column().unwrap().unwrap();
            match column {
                Column::Numbers(numbers) => {
                    let numbers = &numbers[from..to];
                    let typed = open.typed::<Int64Type>();
                    typed.write_batch(numbers, None, None).unwrap();
                }
                Column::Texts(texts) => {
                    let texts = &texts[from..to];
                    let levels: Vec<i16> = texts.iter().map(|text| text.is_some().into()).collect();
                    let typed = open.typed::<ByteArrayType>();
                    typed
                        .write_batch(&bytes(texts), Some(&levels), None)
                        .unwrap();
                }
                Column::Nested {
                    values,
                    definitions,
                    repetitions,
                } => {
                    let typed = open.typed::<ByteArrayType>();
                    typed
                        .write_batch(&bytes(values), Some(definitions), Some(repetitions))
                        .unwrap();
                }
            }
            open.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn rows(column: &Column) -> usize {
    match column {
        Column::Texts(texts) => texts.len(),
        Column::Numbers(numbers) => numbers.len(),
        Column::Nested { repetitions, .. } => {
            repetitions.iter().filter(|&&level| level == 0).count()
        }
    }
}

fn bytes(texts: &[Option<String>]) -> Vec<ByteArray> {
    let texts = texts.iter().flatten();
    texts.map(|text| text.as_bytes().to_vec().into()).collect()
}
