//! A figure and how sure it is.

use serde::{Deserialize, Serialize};

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// In bits per byte; of questions and tasks, a share from 0 to 1 or a change in it.
    pub value: f64,
    /// Its lower and upper end; null where fewer than five groups of documents leave it unknown.
    pub interval: Option<[f64; 2]>,
}
