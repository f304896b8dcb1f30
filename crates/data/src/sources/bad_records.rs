//! Records that can't be turned into documents: counted, then refused or reported together.

use crate::DataError;

/// Records that can't be turned into documents, or invalid lines of another file.
#[derive(Default)]
pub(crate) struct BadRecords {
    pub(crate) count: u64,
    /// Error messages for the first invalid records.
    first: Vec<String>,
}

impl BadRecords {
    /// Maximum number of records whose error messages are kept.
    const NAMED: usize = 10;

    pub(crate) fn take(&mut self, error: &DataError) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(error.to_string());
        }
    }

    /// Returns the error message of the first invalid record; `None` if all records are valid.
    pub(crate) fn first(self) -> Option<String> {
        self.first.into_iter().next()
    }

    pub(crate) fn refuse(self) -> Result<(), DataError> {
        let Self { count, first } = self;
        match count {
            0 => Ok(()),
            _ => Err(DataError::Records { count, first }),
        }
    }

    /// Fails if there are invalid lines; `what` is the expected kind of line.
    pub(crate) fn refuse_lines(self, what: &'static str) -> Result<(), DataError> {
        let Self { count, first } = self;
        match count {
            0 => Ok(()),
            _ => Err(DataError::Lines { count, what, first }),
        }
    }

    pub(crate) fn say(&self) {
        if self.count > 0 {
            let (count, first) = (self.count, &self.first);
            tracing::warn!(
                "{count} records make no document and are left out; the first {}:\n  {}",
                first.len(),
                first.join("\n  ")
            );
        }
    }
}
