//! What is minimised beside the loss and depends on the parameters only.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::backward::Backward;
use crate::{Objective, TrainError};

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

/// Adds the objective's penalties to the gradients of a step, and returns all that is minimised beside the loss, in
/// the unit of the mean loss.
pub(crate) fn add_penalties(
    objective: &impl Objective,
    found: &mut Backward,
) -> Result<BTreeMap<String, f64>, TrainError> {
    let mut values: BTreeMap<String, f64> = found
        .beside
        .iter()
        .map(|(name, sum)| (name.clone(), sum / found.scored))
        .collect();
    for penalty in objective.penalties() {
        // The gradients are of sums over tokens, a penalty stands beside their mean.
        let value = penalty.add(objective.trainable(), &mut found.gradients, found.scored)?;
        values.insert(penalty.name().to_owned(), value);
    }
    Ok(values)
}
