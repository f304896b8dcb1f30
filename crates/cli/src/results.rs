//! Results on standard output: the only place that writes there.
//!
//! A command that only prints uses [`print`], [`line`] or [`Results`]: when its reader has left (`| head`), it ends at once
//! and without a word ([`Failure::OutputClosed`]). A command that has made something uses [`announce`], which never stops
//! it. Either way, output that is lost for another reason, such as a full disk, ends in an error and exit code 1.
//! To a terminal, only characters that it shows are written ([`printable`]); a pipe or a file gets the text as it is.

use std::io::{BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::anyhow;
use polymath_report::untrusted::printable;

use crate::failure::Failure;

/// The first announcement that was lost, but for those whose reader had left.
static LOST: Mutex<Option<Failure>> = Mutex::new(None);

/// Standard output of a command that prints piece by piece.
pub struct Results {
    output: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Results {
    /// Takes standard output.
    pub fn open() -> Self {
        let output = std::io::stdout().lock();
        Self {
            is_terminal: output.is_terminal(),
            output: BufWriter::new(output),
        }
    }

    /// Writes `text`; [`flush`](Self::flush) makes sure that it is out.
    pub fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = match self.is_terminal {
            true => self.output.write_all(printable(text).as_bytes()),
            false => self.output.write_all(text.as_bytes()),
        };
        written.map_err(failure)
    }

    /// Waits until everything is written.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush().map_err(failure)
    }

    /// Writes text that may hold escape sequences of our own.
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

/// Prints the result of a command that does nothing else.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut results = Results::open();
    results.write(text)?;
    results.flush()
}

/// The same with a line break after it.
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints text whose escape sequences are our own.
pub fn print_styled(text: &str) -> Result<(), Failure> {
    let mut results = Results::open();
    results.write_styled(text)?;
    results.flush()
}

/// Prints a line, or several, about what a command has made. The command goes on whatever happens to it; see [`lost`].
pub fn announce(text: &str) {
    let Err(failure) = line(text.trim_end_matches('\n')) else {
        return;
    };
    if !matches!(failure, Failure::OutputClosed) {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert(failure);
    }
}

/// Takes the failure of an announcement, if one was lost other than by a reader that had left.
pub fn lost() -> Option<Failure> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Whether standard output is a terminal that may be sent colors.
pub fn is_colored() -> bool {
    std::io::stdout().is_terminal() && crate::lines::wants_color()
}
