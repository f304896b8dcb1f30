//! How sure a difference is: intervals by resampling, verdicts, a test of paired answers.

mod bootstrap;
mod mcnemar;
mod verdict;

pub use bootstrap::{Change, paired_change};
pub use mcnemar::mcnemar;
pub use verdict::Verdict;
