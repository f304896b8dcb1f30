//! How sure a difference is: intervals by resampling, verdicts, a test of paired answers.

mod bootstrap;
#[cfg(test)]
mod coverage;
mod holm;
mod mcnemar;
mod mean;
pub mod proportion;
mod ratio;
mod seeds;
mod spearman;
mod student;
mod verdict;

pub(crate) use bootstrap::Random;
pub use bootstrap::{Against, Change, LEVEL, PairedBootstrap, paired_change};
pub use holm::holm;
pub use mcnemar::mcnemar;
pub use mean::mean_figure;
pub use seeds::OverSeeds;
pub use spearman::{Correlation, spearman};
pub use verdict::Verdict;
