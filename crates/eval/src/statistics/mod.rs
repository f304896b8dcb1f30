//! How sure a difference is: intervals by resampling, verdicts, a test of paired answers.

mod bootstrap;
mod holm;
mod mcnemar;
mod verdict;

pub use bootstrap::{Change, paired_change};
pub use holm::holm;
pub use mcnemar::mcnemar;
pub use verdict::Verdict;
