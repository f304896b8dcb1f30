//! Result of a first look at a file of records in a folder or glob.

/// Result of looking at the first record, or at the column names, of a file of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstLook {
    /// The fields make a document.
    Documents,
    /// The fields are not known.
    Recordless,
    /// The file is not valid. The error names it and the line.
    Broken(String),
}

impl FirstLook {
    /// Returns the result for fields that make a document or do not.
    pub(crate) fn of(has_documents: bool) -> Self {
        match has_documents {
            true => Self::Documents,
            false => Self::Recordless,
        }
    }
}
