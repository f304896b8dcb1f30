//! Statistics of changes and accuracies: bootstrap intervals, verdicts, and tests of paired answers.

mod bootstrap;
mod figure;
mod holm;
mod joint;
mod mcnemar;
mod mean;
pub mod proportion;
mod random;
mod ratio;
mod seeds;
mod shape;
mod spearman;
mod student;
mod verdict;

pub use bootstrap::{Change, FEWEST_GROUPS, LEVEL, PairedBootstrap, paired_change};
pub use figure::Figure;
pub use holm::holm;
pub use joint::{
    Compared, Comparison, Contrast, DomainSums, Draw, Family, FigureOfAll, Maxima, WeightedDomain,
    mean,
};
pub use mcnemar::mcnemar;
pub use mean::mean_figure;
pub use random::{GroupDraws, Random};
pub use ratio::{Pair, group_sums};
pub use seeds::OverSeeds;
pub use shape::FEWEST_EFFECTIVE;
pub use spearman::{Correlation, Dyad, spearman};
pub use student::{t_below, t_quantile};
pub use verdict::{Against, LimitVerdict, Side, Verdict};
