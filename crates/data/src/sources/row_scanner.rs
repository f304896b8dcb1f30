//! Scanner of the rows of a `.csv` or `.tsv` file, which finds what the CSV reader does not report.

use std::collections::VecDeque;
use std::io::{BufRead, Error, Read};

/// State of the row scanner, by the same rules as the CSV reader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Scanner state: before the first byte of a row.
    Row,
    /// Scanner state: before the first byte of a column other than the first.
    Column,
    Plain,
    Quoted,
    /// Scanner state: after a quote in quoted text, which is either its end or the first of a doubled quote.
    Quote,
}

/// Beginning of a row, and what the scanner found in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begin {
    /// Line number of the row's first byte.
    pub(crate) line: u64,
    /// True if a quoted column goes on after its closing quote.
    goes_on: bool,
}

impl Begin {
    /// Fails for a row with text after a closing quote: the CSV reader would join both without a word.
    pub(crate) fn check(self) -> Result<(), String> {
        match self.goes_on {
            false => Ok(()),
            true => Err(
                "has text after the double quote that ends a column: a text with quotes stands in double quotes, with each \
                 quote in it doubled (`\"\"`, not `\\\"`)"
                    .into(),
            ),
        }
    }
}

/// Input of the CSV reader that tracks the line in which each row begins, whether a quote is left open, and whether
/// text follows a closing one, which the reader does not report.
pub(crate) struct Watched<R> {
    bytes: R,
    separator: u8,
    state: State,
    pub(crate) line: u64,
    /// Beginnings of the rows that were not returned yet.
    pub(crate) rows: VecDeque<Begin>,
    /// Line number of the last opening quote.
    pub(crate) quote_line: u64,
    /// Number of bytes that the current row may still have.
    pub(crate) room: usize,
    pub(crate) is_long: bool,
    pub(crate) ended: bool,
}

impl<R: BufRead> Watched<R> {
    pub(crate) fn new(bytes: R, separator: u8) -> Self {
        Self {
            bytes,
            separator,
            state: State::Row,
            line: 1,
            rows: VecDeque::new(),
            quote_line: 1,
            room: 0,
            is_long: false,
            ended: false,
        }
    }

    /// Returns true if the text so far ends inside of quotes.
    pub(crate) fn is_quoted(&self) -> bool {
        self.state == State::Quoted
    }

    fn watch(&mut self, byte: u8) {
        let is_end = byte == b'\n' || byte == b'\r';
        if self.state == State::Row && !is_end {
            let (line, goes_on) = (self.line, false);
            self.rows.push_back(Begin { line, goes_on });
        }
        let is_ended = is_end || byte == self.separator || byte == b'"';
        if self.state == State::Quote
            && !is_ended
            && let Some(row) = self.rows.back_mut()
        {
            row.goes_on = true;
        }
        self.state = match (self.state, byte) {
            (State::Quoted, b'"') => State::Quote,
            (State::Quoted, _) | (State::Quote, b'"') => State::Quoted,
            (_, b'\n' | b'\r') => State::Row,
            (_, byte) if byte == self.separator => State::Column,
            (State::Row | State::Column, b'"') => {
                self.quote_line = self.line;
                State::Quoted
            }
            _ => State::Plain,
        };
        self.line += u64::from(byte == b'\n');
    }
}

impl<R: BufRead> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.room == 0 {
            self.is_long = true;
            return Err(Error::other("a row is too long"));
        }
        let read = self.bytes.read(buffer)?;
        self.ended |= read == 0 && !buffer.is_empty();
        self.room = self.room.saturating_sub(read);
        for byte in &buffer[..read] {
            self.watch(*byte);
        }
        Ok(read)
    }
}
