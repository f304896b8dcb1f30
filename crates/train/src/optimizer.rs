//! AdamW over named parameters: which ones decay, their moments, and how those are saved.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use polymath_ops::{AdamW, Moments, Ops, UpdateAt};

use crate::{TrainError, TrainingConfig};

/// The optimizer's state for every trainable parameter.
pub struct Optimizer {
    ops: Ops,
    settings: AdamW,
    moments: BTreeMap<String, Moments>,
}

impl Optimizer {
    /// Moments at zero.
    ///
    /// # Errors
    /// No memory on the device.
    pub fn new(
        config: &TrainingConfig,
        parameters: &BTreeMap<String, Var>,
        ops: Ops,
    ) -> Result<Self, TrainError> {
        let moments = parameters
            .iter()
            .map(|(name, parameter)| Ok((name.clone(), Moments::zeros(parameter)?)))
            .collect::<Result<_, TrainError>>()?;
        Ok(Self {
            ops,
            settings: AdamW {
                learning_rate: 0.0,
                beta1: config.beta1,
                beta2: config.beta2,
                epsilon: config.epsilon,
                weight_decay: config.weight_decay,
            },
            moments,
        })
    }

    /// Moves one parameter.
    ///
    /// # Errors
    /// A gradient of another shape.
    pub fn step(
        &mut self,
        name: &str,
        parameter: &Var,
        gradient: &Tensor,
        at: (UpdateAt, f64),
    ) -> Result<(), TrainError> {
        let (at, learning_rate) = at;
        let settings = AdamW {
            learning_rate,
            weight_decay: if decays(name, parameter) {
                self.settings.weight_decay
            } else {
                0.0
            },
            ..self.settings
        };
        let moments = self
            .moments
            .get_mut(name)
            .expect("the moments were made for these parameters");
        Ok(settings.step(self.ops, parameter, gradient, moments, at)?)
    }

    /// Writes all moments to a safetensors file.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let mut tensors = BTreeMap::new();
        for (name, moments) in &self.moments {
            let (first, second) = moments.to_tensors()?;
            tensors.insert(format!("{name}.first_moment"), first);
            tensors.insert(format!("{name}.second_moment"), second);
        }
        safetensors::serialize_to_file(tensors, None, path)
            .map_err(|error| TrainError::file("write", path)(std::io::Error::other(error)))
    }

    /// Reads all moments from such a file.
    ///
    /// # Errors
    /// The file can't be read, or is of other parameters.
    pub fn load(
        &mut self,
        path: &Path,
        parameters: &BTreeMap<String, Var>,
    ) -> Result<(), TrainError> {
        let tensors = candle_core::safetensors::load(path, &Device::Cpu)?;
        let of = |name: String| {
            tensors.get(&name).ok_or_else(|| {
                TrainError::Run(format!(
                    "`{}` has no `{name}`: it was saved by a run that trained other parameters",
                    path.display()
                ))
            })
        };
        for (name, parameter) in parameters {
            let first = of(format!("{name}.first_moment"))?;
            let second = of(format!("{name}.second_moment"))?;
            let moments = Moments::from_tensors(parameter, first, second)?;
            self.moments.insert(name.clone(), moments);
        }
        Ok(())
    }
}

/// Matrices decay; norms, biases and embeddings don't: pulling those to zero helps nothing (nanoGPT, Llama). A tied
/// embedding counts as an embedding.
fn decays(name: &str, parameter: &Var) -> bool {
    parameter.rank() >= 2 && !name.contains("embed_tokens")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_matrices_decay() {
        let matrix = Var::zeros((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let vector = Var::zeros(2, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(decays("model.layers.0.mlp.up_proj.weight", &matrix));
        assert!(decays("lm_head.weight", &matrix));
        assert!(!decays("model.embed_tokens.weight", &matrix));
        assert!(!decays("model.norm.weight", &vector));
    }
}
