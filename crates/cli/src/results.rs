//! Printing of results to stdout. This is the only module that writes there.
//!
//! A command that only prints uses [`print`], [`line`] or [`Results`]: if the reader is closed (`| head`), it ends at
//! once and silently ([`Failure::OutputClosed`]). A command that has written files uses [`announce`], which never
//! stops it. Output that is lost for another reason, such as a full disk, is an error with exit code 1. A terminal
//! gets only printable characters ([`printable`]); a pipe or a file gets the text unchanged.

use std::io::{BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::anyhow;
use polymath_report::untrusted::printable;

use crate::failure::Failure;

/// First failure of [`announce`], other than a closed reader.
static LOST: Mutex<Option<Failure>> = Mutex::new(None);

/// Stdout of a command that prints piece by piece.
pub struct Results {
    output: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Results {
    /// Locks stdout.
    pub fn open() -> Self {
        let output = std::io::stdout().lock();
        Self {
            is_terminal: output.is_terminal(),
            output: BufWriter::new(output),
        }
    }

    /// Returns true if stdout is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes `text` to a buffer. Call [`flush`](Self::flush) at the end.
    pub fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = match self.is_terminal {
            true => self.output.write_all(printable(text).as_bytes()),
            false => self.output.write_all(text.as_bytes()),
        };
        written.map_err(failure)
    }

    /// Writes the buffered text out.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush().map_err(failure)
    }

    /// Writes text unfiltered, so that the program's own escape sequences (colors) reach the terminal.
    fn write_styled(&mut self, text: &str) -> Result<(), Failure> {
        self.output.write_all(text.as_bytes()).map_err(failure)
    }
}

fn failure(error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Failed(anyhow!("can't write to standard output: {error}")),
    }
}

/// Prints the result of a command that only prints.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut results = Results::open();
    results.write(text)?;
    results.flush()
}

/// Prints a result and a line break.
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints text unfiltered, so that the program's own escape sequences (colors) reach the terminal.
pub fn print_styled(text: &str) -> Result<(), Failure> {
    let mut results = Results::open();
    results.write_styled(text)?;
    results.flush()
}

/// Prints one or more lines about files that a command has written. The command continues even if this fails; see
/// [`lost`].
pub fn announce(text: &str) {
    let Err(failure) = line(text.trim_end_matches('\n')) else {
        return;
    };
    if !matches!(failure, Failure::OutputClosed) {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert(failure);
    }
}

/// Returns and clears the first failure of [`announce`], other than a closed reader.
pub fn lost() -> Option<Failure> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Returns true if stdout is a terminal that shows colors.
pub fn is_colored() -> bool {
    std::io::stdout().is_terminal() && crate::lines::wants_color()
}
