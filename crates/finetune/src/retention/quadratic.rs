//! Quadratic penalty on the distance of the parameters from the base's, shared by L2-SP and EWC.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use polymath_model::Ops;
use polymath_ops::Pull;
use polymath_train::TrainError;

/// Point towards which a quadratic penalty pulls the parameters, with the importance of each element.
pub struct PullTarget<'a> {
    /// Parameters θ₀ of the base, by name.
    pub base: &'a BTreeMap<String, Tensor>,
    /// Function from a parameter's name to the importance F of each of its elements; `None` stands for F = 1 (L2-SP).
    pub firmness: &'a dyn Fn(&str) -> Option<&'a Tensor>,
}

/// Adds the gradient factor·F(θ − θ₀) of the penalty to the gradients of the parameters θ. Returns ΣF(θ − θ₀)² over all
/// parameters that have a gradient.
pub fn pull_all(
    ops: Ops,
    parameters: &BTreeMap<String, Var>,
    gradients: &mut BTreeMap<String, Tensor>,
    anchor: PullTarget,
    factor: f64,
) -> Result<f64, TrainError> {
    let mut sums = Vec::new();
    for (name, gradient) in gradients.iter_mut() {
        let target = anchor.base.get(name).ok_or_else(|| {
            TrainError::Config(format!("the parameter `{name}` is not one of the base's"))
        })?;
        let pull = Pull {
            parameter: &parameters[name].as_detached_tensor(),
            anchor: target,
            weight: (anchor.firmness)(name),
        };
        let (moved, sum) = ops.pull(gradient, &pull, factor)?;
        *gradient = moved;
        sums.push(sum);
    }
    if sums.is_empty() {
        return Ok(0.0);
    }
    // One transfer to the host for all sums.
    Ok(Tensor::stack(&sums, 0)?.to_vec1::<f64>()?.into_iter().sum())
}
