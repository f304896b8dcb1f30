//! Joint resampling of several comparisons, and their test by the largest of their statistics.
//!
//! `family` compares models on the same document groups, `methods` compares methods of training over groups and seeds,
//! and `maxima` holds the largest statistic of each resample (max-T), from which both take their critical values.

mod family;
mod maxima;
mod methods;

pub use family::{Compared, Comparison, Family};
pub use maxima::Maxima;
pub use methods::{Contrast, DomainSums, Draw, FigureOfAll, WeightedDomain, mean};
