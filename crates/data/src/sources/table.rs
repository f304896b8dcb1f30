//! Reading of `.csv` and `.tsv` files: one record per row, below a row of column names.

use std::io::BufRead;
use std::path::Path;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use polymath_input::BYTE_ORDER_MARK;
use serde_json::{Map, Value};

use crate::DataError;
use crate::sources::document::{DocumentSink, LONGEST_RECORD};
use crate::sources::first_look::FirstLook;
use crate::sources::record::{Records, emit};
use crate::sources::row_scanner::{Begin, Watched};

/// Maximum number of columns of a `.csv` or `.tsv` file.
const MOST_COLUMNS: usize = 10_000;
/// Maximum bytes of the row with the column names.
const LONGEST_HEAD: usize = 1 << 20;

/// Calls `each` with the document of every row, or with the error of a row.
///
/// # Errors
/// Fails if the file can't be read, if column names are missing or not valid, if a quote is not closed, or if `each`
/// fails.
pub(crate) fn read(
    path: &Path,
    bytes: impl BufRead,
    records: Records,
    each: &mut DocumentSink,
) -> Result<(), DataError> {
    let mut table = Table::open(path, bytes)?;
    let Some(names) = table.names()? else {
        return Ok(());
    };
    let mut row = ByteRecord::new();
    while let Some(begin) = table.next(&mut row, LONGEST_RECORD)? {
        let record = begin.check().and_then(|()| named(&names, &row));
        match record.and_then(|row| records.read(&row, None)) {
            Ok(record) => emit(record, begin.line, each)?,
            Err(message) => each(Err(DataError::line(path, begin.line, message)))?,
        }
    }
    Ok(())
}

/// Checks whether the column names make a document. An empty file counts as one with documents.
pub(crate) fn first_look(path: &Path, records: Records) -> Result<FirstLook, DataError> {
    let mut table = Table::open(path, polymath_input::open(path, &|_| ())?)?;
    let names = match table.names() {
        Ok(Some(names)) => names,
        Ok(None) => return Ok(FirstLook::Documents),
        Err(error @ DataError::Line { .. }) => return Ok(FirstLook::Broken(error.to_string())),
        Err(error) => return Err(error),
    };
    let row = names
        .into_iter()
        .map(|name| (name, Value::String("a".into())));
    Ok(FirstLook::of(
        records.layout(&Value::Object(row.collect())).is_some(),
    ))
}

/// Converts a row to a record with the column names as keys.
fn named(names: &[String], row: &ByteRecord) -> Result<Value, String> {
    if row.len() != names.len() {
        return Err(format!(
            "has {} columns, expected {} as in the first line: put a text with the separator, a quote or a line end into \
             double quotes, and double the quotes in it",
            row.len(),
            names.len()
        ));
    }
    let mut record = Map::new();
    for (name, cell) in names.iter().zip(row) {
        let text = std::str::from_utf8(cell).map_err(|_| {
            format!("is not UTF-8 in its column `{name}`: convert the file, for example with `iconv -f latin1 -t utf-8`")
        })?;
        record.insert(name.clone(), Value::String(text.to_owned()));
    }
    Ok(Value::Object(record))
}

/// Reader of a `.csv` or `.tsv` table, row by row.
struct Table<'a, R: BufRead> {
    path: &'a Path,
    rows: Reader<Watched<R>>,
}

impl<'a, R: BufRead> Table<'a, R> {
    fn open(path: &'a Path, mut bytes: R) -> Result<Self, DataError> {
        let failed = DataError::file("read", path);
        let first = match bytes.fill_buf() {
            Ok(first) => first,
            Err(error) => return Err(failed(error)),
        };
        let mut mark = [0; 4];
        let mark = BYTE_ORDER_MARK.encode_utf8(&mut mark).as_bytes();
        let marked = if first.starts_with(mark) {
            mark.len()
        } else {
            0
        };
        let separator = separator(path, &first[marked..]);
        bytes.consume(marked);
        let rows = ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
            .flexible(true)
            .from_reader(Watched::new(bytes, separator));
        Ok(Self { path, rows })
    }

    /// Returns the column names; `None` for an empty file.
    fn names(&mut self) -> Result<Option<Vec<String>>, DataError> {
        let mut row = ByteRecord::new();
        let Some(begin) = self.next(&mut row, LONGEST_HEAD)? else {
            return Ok(None);
        };
        let wrong = |message: String| Err(DataError::line(self.path, begin.line, message));
        if let Err(message) = begin.check() {
            return wrong(message);
        }
        if row.len() > MOST_COLUMNS {
            return wrong(format!(
                "has {} columns: expected at most {MOST_COLUMNS}",
                row.len()
            ));
        }
        let mut names: Vec<String> = Vec::new();
        for (number, name) in row.iter().enumerate() {
            let Ok(name) = std::str::from_utf8(name) else {
                let message =
                    "is not UTF-8: convert the file, for example with `iconv -f latin1 -t utf-8`";
                return wrong(message.into());
            };
            let name = match name.trim() {
                "" => format!("column {}", number + 1),
                name => name.to_owned(),
            };
            if names.contains(&name) {
                return wrong(format!("names two columns `{name}`: rename one of them"));
            }
            names.push(name);
        }
        Ok(Some(names))
    }

    /// Reads the next row, of at most `longest` bytes; returns where it begins.
    fn next(&mut self, row: &mut ByteRecord, longest: usize) -> Result<Option<Begin>, DataError> {
        self.rows.get_mut().room = longest;
        let read = self.rows.read_byte_record(row);
        let watched = self.rows.get_mut();
        match read {
            Ok(is_row) => {
                if watched.ended && watched.is_quoted() && watched.rows.len() <= 1 {
                    return Err(DataError::line(
                        self.path,
                        watched.quote_line,
                        "has a double quote that is not closed, so that the rest of the file is one text: close it, or \
                         double it where it is meant",
                    ));
                }
                Ok(watched.rows.pop_front().filter(|_| is_row))
            }
            Err(error) => {
                let line = watched.rows.front().map_or(watched.line, |row| row.line);
                let is_long = watched.is_long;
                match error.into_kind() {
                    ErrorKind::Io(_) if is_long => Err(DataError::line(
                        self.path,
                        line,
                        format!(
                            "is longer than {} MB: is a double quote not closed?",
                            longest >> 20
                        ),
                    )),
                    ErrorKind::Io(error) => Err(DataError::file("read", self.path)(error)),
                    other => {
                        let message = format!("is not a row of a table: {other:?}");
                        Err(DataError::line(self.path, line, message))
                    }
                }
            }
        }
    }
}

/// Returns the separator of the columns, by the first line of the file. In `.tsv` it is a tab. In `.csv` it is a
/// comma, or a semicolon or a tab if the line has no comma outside of quotes.
fn separator(path: &Path, first: &[u8]) -> u8 {
    if crate::sources::kind::ends(path, &[".tsv"]) {
        return b'\t';
    }
    let (mut in_quotes, mut counts) = (false, [0; 3]);
    const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];
    for byte in first {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\n' | b'\r' if !in_quotes => break,
            _ if in_quotes => {}
            _ => {
                if let Some(at) = SEPARATORS.iter().position(|mark| mark == byte) {
                    counts[at] += 1;
                }
            }
        }
    }
    match counts {
        [0, semicolons, tabs] if semicolons > 0 && semicolons >= tabs => b';',
        [0, _, tabs] if tabs > 0 => b'\t',
        _ => b',',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(name: &str, text: &[u8]) -> Result<Vec<(u64, Vec<String>)>, String> {
        let path = Path::new(name);
        let said = |error: DataError| error.to_string();
        let mut table = Table::open(path, text).map_err(said)?;
        let names = table.names().map_err(said)?.unwrap_or_default();
        let mut rows = vec![(0, names)];
        let mut row = ByteRecord::new();
        while let Some(begin) = table.next(&mut row, 1 << 20).map_err(said)? {
            begin.check()?;
            let cells = row
                .iter()
                .map(|cell| String::from_utf8_lossy(cell).into_owned());
            rows.push((begin.line, cells.collect()));
        }
        Ok(rows)
    }

    /// Checks quotes, line breaks in quoted text, blank lines and both kinds of line breaks, and that rows are
    /// numbered by their first line.
    #[test]
    fn rows_are_known_by_their_lines() {
        for end in ["\n", "\r\n"] {
            let text = "\u{feff}q,\"a, b\"|\"one\ntwo\",2|||3\" pipe,\"say \"\"four\"\"\"|\"\",x|"
                .replace('|', end);
            let found = rows("a.csv", text.as_bytes()).unwrap();
            let row = |line, cells: [&str; 2]| (line, cells.map(str::to_owned).to_vec());
            assert_eq!(
                found,
                [
                    row(0, ["q", "a, b"]),
                    row(2, ["one\ntwo", "2"]),
                    row(6, ["3\" pipe", "say \"four\""]),
                    row(7, ["", "x"])
                ],
                "{end:?}"
            );
        }
        // A buffer of the reader holds many rows.
        let text = format!("a,b\n{}", "\"x\n\",y\n".repeat(9000));
        let found = rows("a.csv", text.as_bytes()).unwrap();
        assert_eq!((found.len(), found[9000].0), (9001, 2 * 8999 + 2));
    }

    /// Checks that the separator is found from the first line.
    #[test]
    fn the_separator_is_found() {
        for (name, text) in [
            ("a.csv", "a;b\n1;2\n"),
            ("a.csv", "a\tb\n1\t2\n"),
            ("a.csv", "a,b\n1,2\n"),
            ("a.tsv", "a\tb\n1\t2\n"),
            ("a.csv", "\"x,y\";b\n1;2"),
        ] {
            assert_eq!(
                rows(name, text.as_bytes()).unwrap()[1].1,
                ["1", "2"],
                "{text}"
            );
        }
        assert_eq!(rows("a.csv", b"text\nx; y\n").unwrap()[1].1, ["x; y"]);
    }

    /// Checks that invalid rows are refused with their line, and that an unclosed quote does not read the whole file.
    #[test]
    fn faults_are_named_by_line() {
        let long = format!("a,b\n1,2\n3,\"{}", "x".repeat(3 << 20));
        for (text, said) in [
            (
                "a,b\n1,2\n3,\"4\n5,6\n",
                "a.csv:3`: has a double quote that is not closed",
            ),
            ("a,b\n\"1\n\n2", "a.csv:2`: has a double quote"),
            ("a,a\n", "a.csv:1`: names two columns `a`"),
            (long.as_str(), "a.csv:3`: is longer than 1 MB"),
            (
                "\"a\" x,b\n1,2\n",
                "a.csv:1`: has text after the double quote",
            ),
            (
                "a,b\n1,\"say \\\"hi\\\" now\"\n",
                "has text after the double quote",
            ),
            (
                "a,b\n\"Yes,\" he said,2\n",
                "has text after the double quote",
            ),
        ] {
            let error = rows("a.csv", text.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
