//! Documents out of text files: a file is one, or what stands between separators.

use std::io::{BufRead, Read};
use std::path::Path;

use polymath_input::{BYTE_ORDER_MARK, decode};

use crate::DataError;
use crate::sources::document::{Each, SourceDocument};
use crate::sources::pieces::{LONGEST, cut, first_cut};

/// Text that is looked at together: enough for the first piece of a huge document to be known.
const WINDOW: usize = 3 * LONGEST;

/// Calls `each` with the documents of a file as it streams by, a huge one in pieces.
///
/// # Errors
/// A file that can't be read; bytes in the middle of a huge document that are not UTF-8; what `each` says.
pub(crate) fn read(
    path: &Path,
    mut bytes: impl BufRead,
    separator: Option<&str>,
    each: &mut Each,
) -> Result<(), DataError> {
    let mut cutter = Cutter {
        separator,
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
            // The file, or what is left of it, is no document.
            Err(error) if cutter.piece == 0 => return (cutter.each)(Err(error.into())),
            Err(error) => return Err(error.into()),
        };
        let text = match is_start {
            true => text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text),
            false => text,
        };
        is_start = false;
        let from = text.as_ptr() as usize - window.as_ptr() as usize;
        let taken = from + cutter.take(text, ended)?;
        if ended {
            return Ok(());
        }
        line += window[..taken]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count() as u64;
        window.drain(..taken);
    }
}

/// Cuts text that streams by into documents and their pieces.
struct Cutter<'a, 'b> {
    separator: Option<&'a str>,
    /// The text between separators that is being read, from 1; 0 where the file is one document.
    record: u64,
    /// Pieces of the current document that are handed on.
    piece: u64,
    each: &'a mut Each<'b>,
}

impl Cutter<'_, '_> {
    /// Hands on what is known of `text`, and returns how much of it was taken.
    fn take(&mut self, text: &str, ended: bool) -> Result<usize, DataError> {
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let found = self
                .separator
                .and_then(|mark| Some((rest.find(mark)?, mark)));
            if let Some((end, mark)) = found {
                self.finish(&rest[..end])?;
                at += end + mark.len();
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

    /// Hands on the last text of a document.
    fn finish(&mut self, text: &str) -> Result<(), DataError> {
        let text = match self.separator {
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
        let text = match self.separator {
            Some(_) if self.piece == 0 => text.trim_start_matches(['\n', '\r']),
            _ => text,
        };
        let document = SourceDocument::plain(text.to_owned(), self.piece, self.record);
        (self.each)(Ok(document))?;
        self.piece += 1;
        Ok(())
    }
}
