//! Splits of the held-out documents: `dev` for choices, `test` for reports, `audit` for choices of method.
//!
//! A score on the documents that a choice was made on is too good. So every choice (an interpolation, a reset
//! strength, a checkpoint within forgetting limits) is made on `dev`, and the result is reported on `test`. `audit`
//! is for the developers' choices of methods and defaults: no run reads it.
//!
//! The split of a document depends on its group alone: all documents of a work are in the same split, in every run and
//! on every machine, and adding other groups changes nothing. The only exception: if few groups are held out, some
//! move to make the splits equal in size.

use serde::{Deserialize, Serialize};

/// One of the splits of the held-out documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldoutSplit {
    /// `dev`: for choices during and after a run.
    #[serde(alias = "development")]
    Dev,
    /// `test`: for reported results.
    Test,
    /// `audit`: for the developers' choices of methods and defaults; runs neither choose nor report on it.
    Audit,
}

impl HeldoutSplit {
    /// The three splits of the held-out documents.
    pub const ALL: [Self; 3] = [Self::Dev, Self::Test, Self::Audit];

    /// Returns the name of the split in configuration files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Test => "test",
            Self::Audit => "audit",
        }
    }
}
