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
                    "the parameter `{name}` is to be trained but its gradient {what}: freeze it, or fix the operation \
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn variables(values: &[(&str, [f32; 2])]) -> BTreeMap<String, Var> {
        let variable = |values: &[f32; 2]| Var::new(values, &Device::Cpu).unwrap();
        let named = values
            .iter()
            .map(|(name, values)| ((*name).to_owned(), variable(values)));
        named.collect()
    }

    fn tensors(values: &[(&str, [f32; 2])]) -> BTreeMap<String, Tensor> {
        let tensor = |var: Var| var.as_detached_tensor();
        variables(values)
            .into_iter()
            .map(|(name, var)| (name, tensor(var)))
            .collect()
    }

    /// Checks that each fault of a gradient is named at the first step, and that a gradient may be zero in part.
    #[test]
    fn faulty_gradients_are_refused() {
        let parameters = variables(&[("one", [1.0, 2.0]), ("two", [3.0, 4.0])]);
        let check = |two: Option<[f32; 2]>, step| {
            let mut gradients = tensors(&[("one", [0.0, -0.5])]);
            gradients.extend(
                two.map(|two| tensors(&[("two", two)]))
                    .into_iter()
                    .flatten(),
            );
            GradientCheck::check_gradients(&parameters, &gradients, step)
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(Some([0.0, 1e-30]), 1), Ok(()));
        for (two, expected) in [
            (None, "its gradient is missing"),
            (Some([0.0, 0.0]), "its gradient is zero everywhere"),
            (Some([0.0, f32::INFINITY]), "its gradient is not finite"),
        ] {
            let said = check(two, 1).unwrap_err();
            assert!(said.contains("`two`") && said.contains(expected), "{said}");
            // From the second step on, only the matrices A of adapters are checked.
            assert_eq!(check(two, 2), Ok(()));
        }
    }

    /// Checks that the gradient of an adapter's matrix A may be zero while its own matrix B is, and not after that.
    #[test]
    fn a_waits_for_b() {
        let check = |b: [f32; 2], step| {
            let parameters = variables(&[
                ("up.lora_A.weight", [1.0, 2.0]),
                ("up.lora_B.weight", b),
                ("down.lora_B.weight", [0.0, 0.0]),
            ]);
            let gradients = tensors(&[
                ("up.lora_A.weight", [0.0, 0.0]),
                ("up.lora_B.weight", [1.0, 1.0]),
                ("down.lora_B.weight", [1.0, 1.0]),
            ]);
            GradientCheck::check_gradients(&parameters, &gradients, step).is_ok()
        };
        assert!(check([0.0, 0.0], 1) && check([0.0, 0.0], 2));
        assert!(!check([0.0, -0.1], 1) && !check([0.0, -0.1], 2));
        // A matrix A without any B is checked as others are.
        let alone = variables(&[("up.lora_A.weight", [1.0, 2.0])]);
        let zero = tensors(&[("up.lora_A.weight", [0.0, 0.0])]);
        assert!(GradientCheck::check_gradients(&alone, &zero, 2).is_err());
    }

    /// Checks that a parameter that stays the same is refused, unless the learning rate is below what its smallest
    /// number can resolve, 2⁻²³ of it.
    #[test]
    fn parameters_have_to_move() {
        let parameters = variables(&[("moves", [1.0, 2.0]), ("stays", [8.0, -4.0])]);
        let check = GradientCheck::begin(&parameters).unwrap();
        parameters["moves"]
            .set(&Tensor::new(&[1.0f32, 2.5], &Device::Cpu).unwrap())
            .unwrap();
        let resolution = 4.0 * 2f64.powi(-23);
        check.check_changed(&parameters, resolution).unwrap();
        let said = check
            .check_changed(&parameters, 1.001 * resolution)
            .unwrap_err();
        assert!(said.to_string().contains("`stays`"), "{said}");
        parameters["stays"]
            .set(&Tensor::new(&[-8.0f32, -4.0], &Device::Cpu).unwrap())
            .unwrap();
        check.check_changed(&parameters, 1.0).unwrap();
    }
}
