//! L2-SP ([Li, Grandvalet & Davoine 2018](https://arxiv.org/abs/1802.01483)): the penalty λ/2·‖θ − θ₀‖², which is
//! weight decay towards the base instead of towards zero.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use polymath_model::Ops;
use polymath_train::{Penalty, TrainError};

use super::quadratic::{PullTarget, pull_all};

/// L2-SP penalty over the trainable parameters.
pub struct L2sp {
    /// Strength λ of the penalty.
    pub strength: f64,
    /// Parameters θ₀ of the base, by name, towards which the penalty pulls.
    pub base: BTreeMap<String, Tensor>,
    /// Implementation of the tensor operations.
    pub ops: Ops,
}

impl Penalty for L2sp {
    fn name(&self) -> &'static str {
        "l2sp"
    }

    fn add(
        &self,
        parameters: &BTreeMap<String, Var>,
        gradients: &mut BTreeMap<String, Tensor>,
        scale: f64,
    ) -> Result<f64, TrainError> {
        let firmness = |_: &str| None;
        let anchor = PullTarget {
            base: &self.base,
            firmness: &firmness,
        };
        let factor = scale * self.strength;
        let sum = pull_all(self.ops, parameters, gradients, anchor, factor)?;
        Ok(0.5 * self.strength * sum)
    }
}
