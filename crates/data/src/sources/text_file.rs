//! Reading of text files: a file is one document, or has several with a separator between them.

use std::io::{BufRead, Read};
use std::path::Path;

use polymath_input::{BYTE_ORDER_MARK, decode};

use crate::DataError;
use crate::sources::document::{DocumentSink, SourceDocument};
use crate::sources::pieces::{LONGEST, cut, first_cut};

/// Bytes of text that are examined together: enough to determine the first piece of a long document.
const WINDOW: usize = 3 * LONGEST;

/// Streams a file and calls `each` with its documents; a very long one is passed in pieces. Returns the number of
/// separators that were found.
///
/// # Errors
/// Fails if the file can't be read, if a long document has bytes that are not UTF-8 after its first piece, or if
/// `each` fails.
pub(crate) fn read(
    path: &Path,
    mut bytes: impl BufRead,
    separator: Option<&str>,
    each: &mut DocumentSink,
) -> Result<u64, DataError> {
    let mut cutter = Cutter {
        separator: separator.map(str::to_owned),
        found: 0,
        record: u64::from(separator.is_some()),
        piece: 0,
        each,
    };
    let mut window = Vec::new();
    let (mut line, mut is_start) = (1, true);
    loop {
        let room = WINDOW.saturating_sub(window.len()) as u64;
        let read = bytes.by_ref().take(room).read_to_end(&mut window);
        let ended = (read.map_err(DataError::file("read", path))? as u64) < room;
        let text = match decode(path, line, &window, ended) {
            Ok(text) => text,
            // No piece of this document was passed on yet, so the rest of the file can be skipped as a bad record.
            Err(error) if cutter.piece == 0 => {
                (cutter.each)(Err(error.into()))?;
                return Ok(cutter.found);
            }
            Err(error) => return Err(error.into()),
        };
        if is_start && has_many_zeros(text) {
            let message = "has zero bytes throughout: it is UTF-16 without a byte order mark, or no text; convert it, for \
                           example with `iconv -f utf-16le -t utf-8`, or leave it out";
            (cutter.each)(Err(DataError::line(path, line, message)))?;
            return Ok(cutter.found);
        }
        let text = match is_start {
            true => text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text),
            false => text,
        };
        if let Some(mark) = separator.filter(|_| is_start) {
            cutter.separator = Some(with_line_breaks_of(text, mark));
        }
        is_start = false;
        let from = text.as_ptr() as usize - window.as_ptr() as usize;
        let taken = from + cutter.take(text, ended)?;
        if ended {
            return Ok(cutter.found);
        }
        line += window[..taken]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count() as u64;
        window.drain(..taken);
    }
}

/// Returns a separator with the kind of line breaks (`\n` or `\r\n`) with which the text contains it.
fn with_line_breaks_of(text: &str, separator: &str) -> String {
    let unix = separator.replace("\r\n", "\n");
    let dos = unix.replace('\n', "\r\n");
    let mut forms = [separator.to_owned(), unix, dos].into_iter();
    let found = forms.find(|form| text.contains(form));
    found.unwrap_or_else(|| separator.to_owned())
}

/// Returns true if a tenth of the bytes are zero: text in UTF-16 is half zeros where it is English, and a text has
/// hardly any.
fn has_many_zeros(text: &str) -> bool {
    let zeros = text.bytes().filter(|byte| *byte == 0).count();
    zeros > 0 && zeros >= text.len() / 10
}

/// Cutter of streamed text into documents and pieces.
struct Cutter<'a, 'b> {
    separator: Option<String>,
    /// Number of separators found so far.
    found: u64,
    /// Number of the current text between separators, from 1; 0 if the file is one document.
    record: u64,
    /// Number of pieces of the current document that were passed on.
    piece: u64,
    each: &'a mut DocumentSink<'b>,
}

impl Cutter<'_, '_> {
    /// Passes on those documents and pieces that `text` completes; returns the number of bytes consumed.
    fn take(&mut self, text: &str, ended: bool) -> Result<usize, DataError> {
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let found = self
                .separator
                .as_deref()
                .and_then(|mark| Some((rest.find(mark)?, mark.len())));
            if let Some((end, length)) = found {
                self.found += 1;
                self.finish(&rest[..end])?;
                at += end + length;
            } else if ended {
                self.finish(rest)?;
                return Ok(text.len());
            } else if rest.len() > 2 * LONGEST {
                let end = first_cut(rest, LONGEST);
                self.hand_on(&rest[..end])?;
                at += end;
            } else {
                return Ok(at);
            }
        }
    }

    /// Passes on the last piece of a document.
    fn finish(&mut self, text: &str) -> Result<(), DataError> {
        let text = match &self.separator {
            Some(_) => text.trim_end_matches(['\n', '\r']),
            None => text,
        };
        let between = self.separator.is_some() && self.piece == 0 && text.trim().is_empty();
        if !between {
            for piece in cut(text, LONGEST) {
                self.hand_on(piece)?;
            }
            self.record += u64::from(self.separator.is_some());
        }
        self.piece = 0;
        Ok(())
    }

    fn hand_on(&mut self, text: &str) -> Result<(), DataError> {
        let text = match &self.separator {
            Some(_) if self.piece == 0 => text.trim_start_matches(['\n', '\r']),
            _ => text,
        };
        let document = SourceDocument::plain(text.to_owned(), self.piece, self.record);
        (self.each)(Ok(document))?;
        self.piece += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a separator with line breaks is found in text with the other kind of line breaks, and that those
    /// found are counted.
    #[test]
    fn a_separator_is_found_with_any_line_breaks() {
        for mark in ["\n---\n", "\r\n---\r\n"] {
            for (text, expected) in [
                ("one\ntwo\n---\nthree\n---\n", &["one\ntwo", "three"][..]),
                (
                    "one\r\ntwo\r\n---\r\nthree\r\n---\r\n",
                    &["one\r\ntwo", "three"],
                ),
                ("one --- two\r\n", &["one --- two"]),
            ] {
                let mut documents = Vec::new();
                let found = read(
                    Path::new("a.txt"),
                    text.as_bytes(),
                    Some(mark),
                    &mut |document| {
                        documents.push(document.unwrap().text());
                        Ok(())
                    },
                );
                assert_eq!(documents, expected, "{mark:?} in {text:?}");
                assert_eq!(found.unwrap(), text.matches("\n---").count() as u64);
            }
        }
    }

    /// Checks that UTF-16 without a byte order mark is refused, and that a text with a stray zero byte is not.
    #[test]
    fn text_of_zero_bytes_is_refused() {
        let documents = |bytes: &[u8]| {
            let mut found = Vec::new();
            read(Path::new("a.txt"), bytes, None, &mut |document| {
                found.push(document.map(|document| document.text()));
                Ok(())
            })
            .unwrap();
            found
        };
        for text in ["one two\nthree", "x"] {
            let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let [Err(error)] = &documents(&utf16)[..] else {
                panic!("`{text}` is not refused");
            };
            let error = error.to_string();
            assert!(
                error.contains("a.txt:1`: has zero bytes") && error.contains("UTF-16"),
                "{error}"
            );
        }
        let stray = documents(b"a text of more than ten bytes\0 and more");
        assert_eq!(stray.len(), 1);
        assert!(stray[0].is_ok());
        assert!(documents(b"")[0].is_ok());
    }
}
