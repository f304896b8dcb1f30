//! Streaming reader of the values in a JSON list, or of values one after the other.

use std::io::BufRead;
use std::path::Path;

use polymath_input::BYTE_ORDER_MARK;

use crate::DataError;
use crate::sources::document::LONGEST_RECORD;

/// Position and kind of a value in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoundValue {
    /// Line in which the value begins, from 1.
    pub(crate) line: u64,
    /// True if the value is longer than [`LONGEST_RECORD`] and was skipped.
    pub(crate) is_long: bool,
}

/// Reader of the values of a file. It holds one value in memory at a time, for a list of any length.
pub(crate) struct JsonValues<'a, R> {
    path: &'a Path,
    bytes: R,
    line: u64,
    /// True while reading within a list, between `[` and `]`.
    in_list: bool,
    /// Number of values read so far.
    count: u64,
}

impl<'a, R: BufRead> JsonValues<'a, R> {
    /// Opens the file and reads up to the first value.
    ///
    /// # Errors
    /// Fails if the file can't be read, or if it begins with neither a list nor an object.
    pub(crate) fn open(path: &'a Path, bytes: R) -> Result<Self, DataError> {
        let mut values = Self {
            path,
            bytes,
            line: 1,
            in_list: false,
            count: 0,
        };
        values.skip_mark()?;
        match values.next_byte()? {
            Some(b'[') => {
                values.in_list = true;
                values.bytes.consume(1);
            }
            Some(b'{') | None => {}
            Some(_) => {
                let message =
                    "is neither a JSON list of records nor an object: expected `[` or `{`";
                return Err(values.fault(message));
            }
        }
        Ok(values)
    }

    /// Reads the next value into `value`; returns `None` after the last one.
    ///
    /// # Errors
    /// Fails if the file can't be read, or is not a list of values; the error names the line.
    pub(crate) fn next(&mut self, value: &mut Vec<u8>) -> Result<Option<FoundValue>, DataError> {
        value.clear();
        let mut next = self.next_byte()?;
        if self.in_list && self.count > 0 {
            match next {
                Some(b',') => {
                    self.bytes.consume(1);
                    next = self.next_byte()?;
                    if next == Some(b']') {
                        return Err(
                            self.fault("is not JSON: a comma stands before the end of the list")
                        );
                    }
                }
                Some(b']') | None => {}
                Some(_) => {
                    return Err(self.fault("is not JSON: expected `,` or `]` after a record"));
                }
            }
        }
        match next {
            None if self.in_list => {
                Err(self.fault("is not JSON: the list does not end with `]` (if the file was cut off, fetch it again)"))
            }
            None => Ok(None),
            Some(b']') if self.in_list => {
                self.bytes.consume(1);
                self.in_list = false;
                match self.next_byte()? {
                    None => Ok(None),
                    Some(_) => Err(self.fault("is not JSON: something follows the end of the list")),
                }
            }
            Some(b'{') => self.take(value).map(Some),
            Some(_) if self.in_list => self.take(value).map(Some),
            Some(_) => Err(self.fault("is not JSON: expected a record, which begins with `{`")),
        }
    }

    /// Reads the value that begins at the current position of the file.
    fn take(&mut self, value: &mut Vec<u8>) -> Result<FoundValue, DataError> {
        let begin = self.line;
        let mut scan = Scan::default();
        let mut length = 0;
        loop {
            let chunk = self.bytes.fill_buf();
            let chunk = chunk.map_err(DataError::file("read", self.path))?;
            if chunk.is_empty() {
                return Err(DataError::line(
                    self.path,
                    begin,
                    "is not JSON: the file ends inside of the record that begins here (if it was cut off, fetch it again)",
                ));
            }
            let end = scan.end(chunk);
            let taken = &chunk[..end.unwrap_or(chunk.len())];
            length += taken.len();
            match length <= LONGEST_RECORD {
                true => value.extend(taken),
                false => value.clear(),
            }
            self.line += taken.iter().filter(|byte| **byte == b'\n').count() as u64;
            let taken = taken.len();
            self.bytes.consume(taken);
            if end.is_some() {
                self.count += 1;
                return Ok(FoundValue {
                    line: begin,
                    is_long: length > LONGEST_RECORD,
                });
            }
        }
    }

    /// Returns the next byte that is not white space, without consuming it.
    fn next_byte(&mut self) -> Result<Option<u8>, DataError> {
        loop {
            let chunk = self.bytes.fill_buf();
            let chunk = chunk.map_err(DataError::file("read", self.path))?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let blank = chunk.iter().take_while(|byte| b" \t\r\n".contains(byte));
            let blank = blank.count();
            let next = chunk.get(blank).copied();
            self.line += chunk[..blank].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.bytes.consume(blank);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    fn skip_mark(&mut self) -> Result<(), DataError> {
        let mut mark = [0; 4];
        let mark = BYTE_ORDER_MARK.encode_utf8(&mut mark).as_bytes();
        let chunk = self.bytes.fill_buf();
        if chunk
            .map_err(DataError::file("read", self.path))?
            .starts_with(mark)
        {
            self.bytes.consume(mark.len());
        }
        Ok(())
    }

    fn fault(&self, message: &str) -> DataError {
        DataError::line(self.path, self.line, message)
    }
}

/// Scanner that finds the end of a value.
#[derive(Default)]
struct Scan {
    depth: u64,
    in_string: bool,
    is_escaped: bool,
    /// True after the first byte of the value.
    begun: bool,
}

impl Scan {
    /// Returns the number of bytes of `chunk` that belong to the value if it ends in this chunk, else `None`.
    fn end(&mut self, chunk: &[u8]) -> Option<usize> {
        for (at, byte) in chunk.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                // The end of the list also ends a number or a word before it.
                b'}' | b']' if self.depth == 0 => return Some(at.max(usize::from(!self.begun))),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                b',' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 && self.begun => {
                    return Some(at);
                }
                _ => {}
            }
            self.begun = true;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Reads the values of `text` through a buffer of `size` bytes; returns each with the line that it begins in.
    fn values(text: &str, size: usize) -> Result<Vec<(u64, String)>, String> {
        let path = Path::new("a.json");
        let said = |error: DataError| error.to_string();
        let bytes = BufReader::with_capacity(size, text.as_bytes());
        let mut values = JsonValues::open(path, bytes).map_err(said)?;
        let (mut all, mut value) = (Vec::new(), Vec::new());
        while let Some(found) = values.next(&mut value).map_err(said)? {
            all.push((found.line, String::from_utf8(value.clone()).unwrap()));
        }
        Ok(all)
    }

    /// Checks that values and their lines are found wherever a buffer ends.
    #[test]
    fn values_are_found_with_their_lines() {
        let text = "\u{feff}\n[{\"a\": \"]}\\\"\n,\"}, [1,\n[2]] , 3,\"x\\\\\",null\n,{}]\n";
        let expected = [
            (2, "{\"a\": \"]}\\\"\n,\"}"),
            (3, "[1,\n[2]]"),
            (4, "3"),
            (4, "\"x\\\\\""),
            (4, "null"),
            (5, "{}"),
        ];
        // A byte order mark is found in the first three bytes.
        for size in [3, 4, 7, 1000] {
            let found = values(text, size).unwrap();
            let found: Vec<(u64, &str)> = found
                .iter()
                .map(|(line, text)| (*line, text.as_str()))
                .collect();
            assert_eq!(found, expected, "{size}");
        }
        let several = values("{\"a\": 1}\n{\n\"b\": 2}{}", 2).unwrap();
        assert_eq!(several.len(), 3);
        assert_eq!(several[1], (2, "{\n\"b\": 2}".to_owned()));
        assert_eq!(values(" ", 9), Ok(vec![]));
        assert_eq!(values("[]", 9), Ok(vec![]));
    }

    /// Checks that text that is not a list of values is refused with the line.
    #[test]
    fn faults_are_named_by_line() {
        for (text, said) in [
            ("x", "a.json:1`: is neither a JSON list"),
            ("[{}\n,{}", "a.json:2`: is not JSON: the list does not end"),
            (
                "[{},\n{\"a\": ",
                "a.json:2`: is not JSON: the file ends inside",
            ),
            ("[{},\n]", "a.json:2`: is not JSON: a comma"),
            ("[{}\n{}]", "a.json:2`: is not JSON: expected `,`"),
            ("[{}]\n{}", "a.json:2`: is not JSON: something follows"),
            ("{}\n3", "a.json:2`: is not JSON: expected a record"),
        ] {
            let error = values(text, 2).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        // These are left to the JSON parser, which reports each by its line.
        let wrong = values("[}, ,, tru]", 3).unwrap();
        let wrong: Vec<&str> = wrong.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(wrong, ["}", ",", "tru"]);
        let error = values("[{\"a\": ]}]", 3).unwrap_err();
        assert!(error.contains("expected `,`"), "{error}");
    }
}
