//! Check during a run's first two steps that the gradient reaches every trainable parameter.
//!
//! Some of Candle's operations cut the graph silently: backward succeeds, but everything before the cut gets no
//! gradient. Such a model seems to train and learns little. This check stops the run within seconds.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};

use crate::TrainError;

const LORA_A: &str = ".lora_A.weight";
const LORA_B: &str = ".lora_B.weight";

/// State of the check: a hash of every parameter's values at the beginning of the run, to find parameters that never
/// change.
pub struct GradientCheck {
    before: BTreeMap<String, u64>,
}

impl GradientCheck {
    /// Starts the check: computes the hashes of the current parameters.
    pub fn begin(parameters: &BTreeMap<String, Var>) -> Result<Self, TrainError> {
        Ok(Self {
            before: digests(parameters)?,
        })
    }

    /// Checks at step 1 that every parameter has a finite gradient that is not zero everywhere. The matrix A of an
    /// adapter may have a zero gradient while the adapter's matrix B is zero, as it is at the beginning. A is therefore
    /// checked again at step 2.
    pub fn check_gradients(
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
            if length == 0.0 && !waits_for_b(parameters, name)? {
                return refuse("is zero everywhere");
            }
        }
        Ok(())
    }

    /// Checks that every parameter's values have changed since the beginning of the run. A parameter may be unchanged
    /// if `learning_rate`, the size of Adam's first updates, is below the resolution of its f32 numbers.
    pub fn check_changed(
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

/// Returns true if `name` is the matrix A of an adapter whose matrix B is still zero. The gradient of A passes through
/// B, so it is zero too.
fn waits_for_b(parameters: &BTreeMap<String, Var>, name: &str) -> Result<bool, TrainError> {
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

/// Returns the smallest change that the parameter's smallest number can represent.
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
