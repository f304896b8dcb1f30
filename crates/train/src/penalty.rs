//! Penalties: terms added to the loss that depend on the parameters only.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::TrainError;

/// Function of the parameters that is added to the loss. Its gradient is computed directly, without a graph.
pub trait Penalty {
    /// Returns the penalty's name in the log.
    fn name(&self) -> &'static str;

    /// Returns the penalty's value, and adds `scale` times its gradient to `gradients`. A parameter without a
    /// gradient is skipped, so that the gradient check notices that the loss does not reach it.
    ///
    /// # Errors
    /// Fails if the parameters are not those that the penalty was made for.
    fn add(
        &self,
        parameters: &BTreeMap<String, Var>,
        gradients: &mut BTreeMap<String, Tensor>,
        scale: f64,
    ) -> Result<f64, TrainError>;
}
