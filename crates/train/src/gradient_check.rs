//! A check in a run's first two steps that training reaches what it should.
//!
//! Candle has operations that cut the graph without a word: backward returns, and everything before the cut gets no
//! gradient. A model trained so looks alive and learns little; this check refuses it within seconds.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};

use crate::TrainError;

const LORA_A: &str = ".lora_A.weight";
const LORA_B: &str = ".lora_B.weight";

/// The bits of every parameter when the run began, as digests.
pub struct GradientCheck {
    before: BTreeMap<String, u64>,
}

impl GradientCheck {
    /// Remembers where the parameters stand.
    pub fn begin(parameters: &BTreeMap<String, Var>) -> Result<Self, TrainError> {
        Ok(Self {
            before: digests(parameters)?,
        })
    }

    /// Every parameter has a gradient, and it is neither zero throughout nor infinite. An adapter's A may wait for its B,
    /// which begins at zero, and is asked again at step 2.
    pub fn gradients(
        parameters: &BTreeMap<String, Var>,
        gradients: &BTreeMap<String, Tensor>,
        step: u64,
    ) -> Result<(), TrainError> {
        for name in parameters.keys() {
            if step > 1 && !name.ends_with(LORA_A) {
                continue;
            }
            let refuse = |what: &str| {
                Err(TrainError::Diverged(format!(
                    "the parameter `{name}` is to be trained but its gradient {what}: freeze it, or mend the operation \
                     between it and the loss"
                )))
            };
            let Some(gradient) = gradients.get(name) else {
                return refuse("is missing");
            };
            let length = gradient
                .to_dtype(DType::F32)?
                .abs()?
                .max_all()?
                .to_scalar::<f32>()?;
            if !length.is_finite() {
                return refuse("is not finite");
            }
            if length == 0.0 && !waits(parameters, name)? {
                return refuse("is zero everywhere");
            }
        }
        Ok(())
    }

    /// Every parameter has moved since the beginning, unless `learning_rate`, which is what Adam's first steps move a
    /// number by, is below what its 32 bits resolve.
    pub fn moved(
        &self,
        parameters: &BTreeMap<String, Var>,
        learning_rate: f64,
    ) -> Result<(), TrainError> {
        let now = digests(parameters)?;
        for (name, parameter) in parameters {
            let still = self.before.get(name) == now.get(name);
            if still && learning_rate > resolution(parameter)? {
                return Err(TrainError::Diverged(format!(
                    "the parameter `{name}` is to be trained but two steps have not moved it: raise \
                     `training.learning_rate`, or freeze it"
                )));
            }
        }
        Ok(())
    }
}

/// Whether `name` is an adapter's A whose B is still zero, so that its gradient, which passes through B, is too.
fn waits(parameters: &BTreeMap<String, Var>, name: &str) -> Result<bool, TrainError> {
    let partner = name
        .strip_suffix(LORA_A)
        .and_then(|module| parameters.get(&format!("{module}{LORA_B}")));
    let Some(partner) = partner else {
        return Ok(false);
    };
    let largest = partner
        .as_detached_tensor()
        .abs()?
        .max_all()?
        .to_scalar::<f32>()?;
    Ok(largest == 0.0)
}

/// The smallest change that the parameter's smallest number can show.
fn resolution(parameter: &Var) -> Result<f64, TrainError> {
    let smallest = parameter
        .as_detached_tensor()
        .flatten_all()?
        .abs()?
        .min(0)?
        .to_scalar::<f32>()?;
    Ok(f64::from(smallest) * f64::from(f32::EPSILON))
}

fn digests(parameters: &BTreeMap<String, Var>) -> Result<BTreeMap<String, u64>, TrainError> {
    parameters
        .iter()
        .map(|(name, parameter)| {
            let values = parameter
                .as_detached_tensor()
                .flatten_all()?
                .to_vec1::<f32>()?;
            let digest = values
                .iter()
                .fold(0xcbf2_9ce4_8422_2325u64, |digest, value| {
                    (digest ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3)
                });
            Ok((name.clone(), digest))
        })
        .collect()
}
