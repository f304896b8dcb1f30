//! Optimizer of named parameters: parameter groups, optimizer state and its serialization.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use polymath_ops::{AdamW, AdamWUpdate, Moments, Muon, MuonUpdate, Ops, UpdateAt};
use safetensors::{Dtype, View};

use crate::checkpoint::OPTIMIZER;
use crate::{OptimizerChoice, TrainError, Training};

/// Optimizer with its state for every trainable parameter.
pub struct Optimizer {
    ops: Ops,
    adamw: AdamW,
    muon: Muon,
    states: BTreeMap<String, ParameterState>,
}

/// Optimizer state of one parameter. The variant tells whether AdamW or Muon updates the parameter.
enum ParameterState {
    Adamw(Moments),
    Muon(Tensor),
}

impl Optimizer {
    /// Makes an optimizer for the trainable parameters, with moments of zero.
    ///
    /// # Errors
    /// Fails if the device has no memory left.
    pub fn new(
        config: &Training,
        parameters: &BTreeMap<String, Var>,
        ops: Ops,
    ) -> Result<Self, TrainError> {
        let muon = config.optimizer == OptimizerChoice::Muon;
        let states = parameters
            .iter()
            .map(|(name, parameter)| {
                let state = if muon && is_inner_matrix(name, parameter) {
                    ParameterState::Muon(parameter.as_detached_tensor().zeros_like()?)
                } else {
                    ParameterState::Adamw(Moments::zeros(parameter)?)
                };
                Ok((name.clone(), state))
            })
            .collect::<Result<_, TrainError>>()?;
        Ok(Self {
            ops,
            adamw: AdamW {
                learning_rate: 0.0,
                beta1: config.beta1,
                beta2: config.beta2,
                epsilon: config.epsilon,
                weight_decay: config.weight_decay,
            },
            muon: Muon {
                learning_rate: 0.0,
                momentum: config.momentum,
                weight_decay: config.weight_decay,
            },
            states,
        })
    }

    /// Returns the L2 norm of all gradients together.
    ///
    /// # Errors
    /// Fails if a tensor operation on the device fails.
    pub fn gradient_norm(&self, gradients: &BTreeMap<String, Tensor>) -> Result<f64, TrainError> {
        let gradients: Vec<&Tensor> = gradients.values().collect();
        Ok(polymath_ops::gradient_norm(self.ops, &gradients)?)
    }

    /// Updates every parameter that has a gradient.
    ///
    /// # Errors
    /// Fails if a gradient has another shape than its parameter.
    pub fn step(
        &mut self,
        parameters: &BTreeMap<String, Var>,
        gradients: &BTreeMap<String, Tensor>,
        at: UpdateAt,
        learning_rate: f64,
    ) -> Result<(), TrainError> {
        debug_assert!(gradients.keys().all(|name| self.states.contains_key(name)));
        let (mut matrices, mut others) = (Vec::new(), Vec::new());
        for (name, state) in &mut self.states {
            let Some(gradient) = gradients.get(name) else {
                continue;
            };
            let parameter = &parameters[name];
            match state {
                ParameterState::Muon(momentum) => matrices.push(MuonUpdate {
                    parameter,
                    gradient,
                    momentum,
                }),
                ParameterState::Adamw(moments) => others.push(AdamWUpdate {
                    parameter,
                    gradient,
                    moments,
                    weight_decay: match decays(name, parameter) {
                        true => self.adamw.weight_decay,
                        false => 0.0,
                    },
                }),
            }
        }
        let adamw = AdamW {
            learning_rate,
            ..self.adamw
        };
        adamw.step_all(self.ops, at, others)?;
        let muon = Muon {
            learning_rate,
            ..self.muon
        };
        Ok(muon.step(self.ops, at, matrices)?)
    }

    /// Writes the optimizer state to a safetensors file.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let mut tensors = BTreeMap::new();
        for (name, state) in &self.states {
            let [first_name, second_name] =
                ["first", "second"].map(|moment| format!("{name}.{moment}_moment"));
            match state {
                ParameterState::Muon(momentum) => {
                    tensors.insert(format!("{name}.momentum"), Stored::new(momentum.clone()));
                }
                ParameterState::Adamw(moments) => match moments.on_host() {
                    Some(on_host) => {
                        let stored = |values| Stored::Host(values, on_host.dims);
                        tensors.insert(first_name, stored(on_host.first));
                        tensors.insert(second_name, stored(on_host.second));
                    }
                    None => {
                        let (first, second) = moments.to_tensors()?;
                        tensors.insert(first_name, Stored::new(first));
                        tensors.insert(second_name, Stored::new(second));
                    }
                },
            }
        }
        polymath_model::write_safetensors(path, tensors, None)
            .map_err(|error| TrainError::file("write", path)(std::io::Error::other(error)))
    }

    /// Reads the optimizer state from a file that [`Self::save`] wrote.
    ///
    /// # Errors
    /// Fails if the file can't be read or belongs to other parameters.
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
        for (name, state) in &mut self.states {
            let parameter = &parameters[name];
            match state {
                ParameterState::Muon(momentum) => {
                    let saved = of(format!("{name}.momentum"))?;
                    if saved.dims() != parameter.dims() {
                        return Err(TrainError::Run(format!(
                            "`{}` has a `{name}.momentum` of another shape than the parameter",
                            path.display()
                        )));
                    }
                    *momentum = saved.to_device(parameter.device())?;
                }
                ParameterState::Adamw(moments) => {
                    let first = of(format!("{name}.first_moment"))?;
                    let second = of(format!("{name}.second_moment"))?;
                    *moments = Moments::from_tensors(parameter, first, second)?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the optimizer (AdamW or Muon) whose state a checkpoint's folder contains, or `None` if it contains none.
pub fn optimizer_of_state(checkpoint: &Path) -> Option<OptimizerChoice> {
    let names = polymath_model::tensor_names(&checkpoint.join(OPTIMIZER)).ok()?;
    let is = |end: &str| names.iter().any(|name| name.ends_with(end));
    match (is(".momentum"), is(".first_moment")) {
        (true, _) => Some(OptimizerChoice::Muon),
        (false, true) => Some(OptimizerChoice::Adamw),
        (false, false) => None,
    }
}

/// Tensor of the optimizer state to be written. Tensors in main memory are not copied, since the state takes twice the
/// memory of the trained parameters.
enum Stored<'a> {
    Host(&'a [f32], &'a [usize]),
    Tensor { values: Tensor, dims: Vec<usize> },
}

impl Stored<'_> {
    fn new(values: Tensor) -> Self {
        let dims = values.dims().to_vec();
        Self::Tensor { values, dims }
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Host(_, dims) => dims,
            Self::Tensor { dims, .. } => dims,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Host(values, _) => Cow::Borrowed(bytemuck::cast_slice(values)),
            Self::Tensor { values, .. } => values.data(),
        }
    }

    fn data_len(&self) -> usize {
        4 * self.shape().iter().product::<usize>()
    }
}

/// Returns true for the parameters that Muon updates: the matrices in the layers, other than those of adapters.
fn is_inner_matrix(name: &str, parameter: &Var) -> bool {
    parameter.rank() == 2 && name.starts_with("model.layers.") && !name.contains(".lora_")
}

/// Returns true for parameters with weight decay: matrices, but not norms, biases or embeddings (of tokens or
/// positions), as in nanoGPT and Llama. A tied embedding counts as an embedding.
fn decays(name: &str, parameter: &Var) -> bool {
    parameter.rank() >= 2 && !name.contains("embed_tokens") && !name.contains("embed_positions")
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
        assert!(!decays("model.embed_positions.weight", &matrix));
        assert!(!is_inner_matrix("model.embed_positions.weight", &matrix));
        assert!(is_inner_matrix(
            "model.layers.0.mlp.up_proj.weight",
            &matrix
        ));
        assert!(!decays("model.norm.weight", &vector));
    }
}
