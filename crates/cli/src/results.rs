//! Prints results to standard output: the only place that writes there.
//!
//! A command that only prints uses [`print`], [`line`] or [`Results`]: if its reader has left (`| head`), it ends at
//! once and silently ([`Failure::OutputClosed`]). A command that has made something uses [`announce`], which never
//! stops it. Output that is lost for another reason, such as a full disk, ends in an error and exit code 1. A terminal
//! gets only printable characters ([`printable`]); a pipe or a file gets the text unchanged.

use std::io::{BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::anyhow;
use polymath_report::untrusted::printable;

use crate::failure::Failure;

/// First lost announcement, except those whose reader had left.
static LOST: Mutex<Option<Failure>> = Mutex::new(None);

/// Standard output of a command that prints piece by piece.
pub struct Results {
    output: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Results {
    /// Locks standard output.
    pub fn open() -> Self {
        let output = std::io::stdout().lock();
        Self {
            is_terminal: output.is_terminal(),
            output: BufWriter::new(output),
        }
    }

    /// Returns true if standard output is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes `text`; call [`flush`](Self::flush) at the end.
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

    /// Writes text that may contain escape sequences of this program.
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

/// Prints the result and a line break.
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints text with escape sequences of this program.
pub fn print_styled(text: &str) -> Result<(), Failure> {
    let mut results = Results::open();
    results.write_styled(text)?;
    results.flush()
}

/// Prints one or more lines about the output of a command. The command continues in any case; see [`lost`].
pub fn announce(text: &str) {
    let Err(failure) = line(text.trim_end_matches('\n')) else {
        return;
    };
    if !matches!(failure, Failure::OutputClosed) {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert(failure);
    }
}

/// Takes the failure of a lost announcement, unless its reader had left.
pub fn lost() -> Option<Failure> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Returns true if standard output is a terminal that accepts colors.
pub fn is_colored() -> bool {
    std::io::stdout().is_terminal() && crate::lines::wants_color()
}
