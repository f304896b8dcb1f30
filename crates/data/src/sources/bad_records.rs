//! Records that make no document: counted, and refused or reported together.

use crate::DataError;

/// Records that are no documents, or lines that are not what their file should hold.
#[derive(Default)]
pub(crate) struct BadRecords {
    pub(crate) count: u64,
    /// Faults of the first records.
    first: Vec<String>,
}

impl BadRecords {
    /// Records that are named at most.
    const NAMED: usize = 10;

    pub(crate) fn take(&mut self, error: &DataError) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(error.to_string());
        }
    }

    pub(crate) fn refuse(self) -> Result<(), DataError> {
        let Self { count, first } = self;
        match count {
            0 => Ok(()),
            _ => Err(DataError::Records { count, first }),
        }
    }

    /// Refuses lines of a file; `what` says what a line should be.
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
