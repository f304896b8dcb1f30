//! The held-out documents in parts: `dev` to choose by, `test` to report on, `audit` for the last look.
//!
//! What is chosen on some documents looks better on them than it is. So every choice (an interpolation, a strength, a
//! checkpoint inside limits) is made on `dev`, and reported on `test`. `audit` is for choices of method: nothing of a
//! run reads it. A document's part follows from its group alone: all documents of a work are in one part, which is the
//! same in every run, on every machine, and whatever other groups come or go. Only where few groups are held out are
//! the parts evened out.

use serde::{Deserialize, Serialize};

/// A part of the held-out documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldoutSplit {
    /// To choose by.
    #[serde(alias = "development")]
    Dev,
    /// To report on.
    Test,
    /// To choose methods and defaults by: no run chooses or reports on it.
    Audit,
}

impl HeldoutSplit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dev, Self::Test, Self::Audit];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Test => "test",
            Self::Audit => "audit",
        }
    }
}
