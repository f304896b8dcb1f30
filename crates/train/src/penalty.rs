//! Terms added to the loss that depend on the parameters only.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::TrainError;

/// A function of the parameters with a known gradient, so that it needs no graph.
pub trait Penalty {
    /// Returns its name in the log.
    fn name(&self) -> &'static str;

    /// Returns its value, and adds `scale` times its gradient to `gradients`. Leaves a parameter without a gradient
    /// without one, so that the gradient check sees that the loss does not reach it.
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
