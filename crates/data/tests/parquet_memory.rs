//! Test that reading a larger parquet file takes no more memory; it is a program of its own, because it measures the
//! memory of its process.

#![cfg(all(target_os = "linux", feature = "parquet"))]

#[path = "it/support/desk.rs"]
mod desk;

use std::fs::File;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use desk::Desk;

const MEGABYTE: usize = 1 << 20;

/// Returns the peak resident memory of this process in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}

/// Checks that a row group of 128 MB (small on disk, because its texts are similar) is read with a fraction of that
/// memory.
#[test]
fn memory_does_not_grow_with_a_row_group() {
    let mut desk = Desk::new();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_size_limit(MEGABYTE / 2)
        .set_dictionary_enabled(false);
    let schema = parse_message_type("message m { required binary text (STRING); }").unwrap();
    let file = File::create(desk.file("a.parquet", "")).unwrap();
    let properties = Arc::new(properties.build());
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let long: ByteArray = "a paragraph that comes again "
        .repeat(2000)
        .into_bytes()
        .into();
    let short = (0..60).map(|number| format!("Bird {number} was seen {} times.", number * 7));
    let texts = std::iter::repeat_n(long.clone(), 128 * MEGABYTE / long.len());
    for text in texts.chain(short.map(|text| text.into_bytes().into())) {
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&[text], None, None).unwrap();
    }
    column.close().unwrap();
    assert!(group.close().unwrap().total_byte_size() > 127 * MEGABYTE as i64);
    writer.close().unwrap();

    desk.domain("d", &["a.parquet"]);
    let before = peak();
    let dataset = desk.prepare().unwrap();
    assert!(dataset.manifest().domains["d"].read > 2000);
    let grown = peak() - before;
    assert!(grown < 32 * MEGABYTE, "{} MB more", grown / MEGABYTE);
}
