//! A value with its confidence interval.

use serde::{Deserialize, Serialize};

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Measured value: bits per byte; for questions and tasks, a share from 0 to 1 or a change of such a share.
    pub value: f64,
    /// Lower and upper end; `None` if there are too few independent groups for an interval.
    pub interval: Option<[f64; 2]>,
}
