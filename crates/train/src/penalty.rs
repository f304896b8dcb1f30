//! What is minimised beside the loss and depends on the parameters only.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::TrainError;

/// A function of the parameters whose gradient is known, so that it needs no graph.
pub trait Penalty {
    /// What it is logged as.
    fn name(&self) -> &'static str;

    /// Its value; `scale` times its gradient is added to those of `gradients`. A parameter without a gradient stays
    /// without: that the loss does not reach it must be seen.
    ///
    /// # Errors
    /// Parameters that it was not made for.
    fn add(
        &self,
        parameters: &BTreeMap<String, Var>,
        gradients: &mut BTreeMap<String, Tensor>,
        scale: f64,
    ) -> Result<f64, TrainError>;
}
