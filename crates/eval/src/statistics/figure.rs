//! A figure with its interval.

use serde::{Deserialize, Serialize};

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Value in bits per byte; for questions and tasks, a share from 0 to 1 or a change in it.
    pub value: f64,
    /// Lower and upper end; `None` if there are too few independent groups for an interval.
    pub interval: Option<[f64; 2]>,
}
