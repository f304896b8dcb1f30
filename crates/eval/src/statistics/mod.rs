//! How sure a difference is: intervals by resampling, verdicts, a test of paired answers.

mod bootstrap;
#[cfg(test)]
mod coverage;
mod holm;
mod mcnemar;
mod student;
mod verdict;

pub use bootstrap::{Against, Change, LEVEL, PairedBootstrap, paired_change};
pub use holm::holm;
pub use mcnemar::mcnemar;
pub use verdict::Verdict;
