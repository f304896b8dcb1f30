//! Reading of `.json` files: a list of records, records one after the other, or one record per line.

use std::io::{BufRead, Read};
use std::path::Path;

use polymath_input::{BYTE_ORDER_MARK, decode};

use crate::DataError;
use crate::sources::document::{DocumentSink, LONGEST_RECORD};
use crate::sources::first_look::FirstLook;
use crate::sources::json_lines::{self, record};
use crate::sources::json_values::JsonValues;
use crate::sources::notes::LayoutWatch;
use crate::sources::record::{Records, emit};

/// Calls `each` with the document of every record, or with the error of the record, and `watch` with the number of
/// bytes read from disk. A record's number is its position in the file, or its line if there is one record per line.
///
/// # Errors
/// Fails if the file can't be read or is not a list of values, or if `each` fails.
pub(crate) fn read(
    path: &Path,
    records: Records,
    watch: &dyn Fn(u64),
    each: &mut DocumentSink,
) -> Result<(), DataError> {
    if has_lines(path)? {
        return json_lines::read(path, polymath_input::open(path, watch)?, records, each);
    }
    let mut values = JsonValues::open(path, polymath_input::open(path, watch)?)?;
    let mut layouts = LayoutWatch::new(path, records.notes);
    let (mut value, mut number) = (Vec::new(), 0);
    while let Some(found) = values.next(&mut value)? {
        number += 1;
        let wrong = |message: String| {
            let message = format!("record {number} {message}");
            Err(DataError::line(path, found.line, message))
        };
        if found.is_long {
            let message =
                "is longer than 64 MB: put texts of this size into `.txt` files, one each";
            each(wrong(message.into()))?;
            continue;
        }
        let text = match decode(path, found.line, &value, true) {
            Ok(text) => text,
            Err(error) => {
                each(Err(error.into()))?;
                continue;
            }
        };
        match record(text, found.line, records) {
            Ok(record) => {
                layouts.see(&record.read_by, found.line);
                emit(record, number, each)?;
            }
            Err(message) => each(wrong(message))?,
        }
    }
    Ok(())
}

/// Returns true if the first line is a complete record; the file is then read as one record per line.
fn has_lines(path: &Path) -> Result<bool, DataError> {
    let bytes = polymath_input::open(path, &|_| ())?;
    let mut bytes = bytes.take(LONGEST_RECORD as u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = bytes.read_until(b'\n', &mut line);
        if read.map_err(DataError::file("read", path))? == 0 {
            return Ok(false);
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return Ok(false);
        };
        let text = text.trim_start_matches(BYTE_ORDER_MARK).trim();
        if !text.is_empty() {
            let is_record = |text: &str| {
                let json = polymath_input::parse_json(text);
                json.is_ok_and(|json| json.value.is_object())
            };
            return Ok(text.starts_with('{') && is_record(text));
        }
    }
}

/// Checks whether the first record has fields that make a document. A file without records counts as one with
/// documents.
pub(crate) fn first_look(path: &Path, records: Records) -> Result<FirstLook, DataError> {
    let broken = |error: DataError| match error {
        DataError::Line { .. } => Ok(FirstLook::Broken(error.to_string())),
        error => Err(error),
    };
    let mut values = match JsonValues::open(path, polymath_input::open(path, &|_| ())?) {
        Ok(values) => values,
        Err(error) => return broken(error),
    };
    let mut value = Vec::new();
    let found = match values.next(&mut value) {
        Ok(None) => return Ok(FirstLook::Documents),
        Ok(Some(found)) => found,
        Err(error) => return broken(error),
    };
    let text = String::from_utf8_lossy(&value);
    match polymath_input::parse_json(&text) {
        Ok(json) => Ok(FirstLook::of(records.layout(&json.value).is_some())),
        Err(error) => {
            let line = found.line + error.line - 1;
            let message = format!("is not JSON: {} (column {})", error.message, error.column);
            broken(DataError::line(path, line, message))
        }
    }
}
