//! Reading of `.jsonl` files, one record per line.

use std::io::{BufRead, Read};
use std::path::Path;

use polymath_input::{BYTE_ORDER_MARK, decode, parse_json};

use crate::DataError;
use crate::sources::document::{DocumentSink, LONGEST_RECORD};
use crate::sources::notes::LayoutWatch;
use crate::sources::record::{Record, Records, emit};

/// Calls `each` with the document of every line, or with the error of the line.
///
/// # Errors
/// Fails if the file can't be read, or if `each` fails.
pub(crate) fn read(
    path: &Path,
    mut lines: impl BufRead,
    records: Records,
    each: &mut DocumentSink,
) -> Result<(), DataError> {
    let mut layouts = LayoutWatch::new(path, records.notes);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = lines
            .by_ref()
            .take(LONGEST_RECORD as u64 + 1)
            .read_until(b'\n', &mut line)
            .map_err(DataError::file("read", path))?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        if line.len() > LONGEST_RECORD {
            if line.last() != Some(&b'\n') {
                lines
                    .skip_until(b'\n')
                    .map_err(DataError::file("read", path))?;
            }
            let message =
                "is longer than 64 MB: put texts of this size into `.txt` files, one each";
            each(Err(DataError::line(path, number, message)))?;
            continue;
        }
        let text = match decode(path, number, &line, true) {
            Ok(text) => text,
            Err(error) => {
                each(Err(error.into()))?;
                continue;
            }
        };
        let text = match number {
            1 => text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text),
            _ => text,
        };
        if text.trim().is_empty() {
            continue;
        }
        match record(text.trim_end(), number, records) {
            Ok(record) => {
                layouts.see(&record.read_by, number);
                emit(record, number, each)?;
            }
            Err(message) => each(Err(DataError::line(path, number, message)))?,
        }
    }
}

/// Parses a record that begins in line `begin` of its file; the error says what is wrong.
pub(crate) fn record(json: &str, begin: u64, records: Records) -> Result<Record, String> {
    let text = json;
    let json = parse_json(text).map_err(|error| {
        let column = error.column;
        let place = match error.line {
            1 => format!("column {column}"),
            line => format!("line {}, column {column}", begin + line - 1),
        };
        format!("is not JSON: {} ({place})", error.message)
    })?;
    let line = json.standard.as_deref().unwrap_or(text);
    let record = records.read(&json.value, Some(line))?;
    let is_broken = |half: char| record.parts.iter().any(|part| part.text.contains(half));
    if json.lone_surrogate.is_some_and(is_broken) {
        return Err("has a lone surrogate in its text (half of a character, such as `\\ud83d` without its partner)".into());
    }
    Ok(record)
}
