//! The model: named parameters, trainable or frozen.

mod forward;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{DType, Device, Tensor, Var};
use polymath_ops::{Ops, RotaryTable};

use crate::initialize::{self, mix};
use crate::network::Network;
use crate::{Adapter, AdapterBase, LoraConfig, ModelConfig, ModelError};

/// Options for loading a model: device, operations and trainable parameters.
#[derive(Clone)]
pub struct LoadOptions<'a> {
    /// Device on which the parameters are stored.
    pub device: Device,
    /// Implementation and precision of the operations.
    pub ops: Ops,
    /// Predicate: true if the parameter with this name is trainable.
    pub trainable: &'a dyn Fn(&str) -> bool,
}

impl LoadOptions<'_> {
    /// Returns options that freeze all parameters, for evaluation and generation.
    pub fn frozen(device: &Device, ops: Ops) -> Self {
        Self {
            device: device.clone(),
            ops,
            trainable: &|_| false,
        }
    }

    /// Returns options that make all parameters trainable.
    pub fn trained(device: &Device, ops: Ops) -> Self {
        Self {
            device: device.clone(),
            ops,
            trainable: &|_| true,
        }
    }
}

/// Decoder-only transformer with its parameters.
///
/// Two networks share the same storage: a tracked one for training, and a detached one for scoring and generation.
/// Candle has no other way to compute without a graph.
pub struct Transformer {
    config: ModelConfig,
    adapter: Option<(LoraConfig, AdapterBase)>,
    /// Seed of the adapters' dropout in this step.
    noise: AtomicU64,
    /// Row of the step's batch with which the current part begins, if the batch is computed in parts.
    first_row: AtomicU64,
    trainable: BTreeMap<String, Var>,
    frozen: BTreeMap<String, Tensor>,
    tracked: Network,
    detached: Network,
    /// Rotary table; `None` if positions are learned.
    rotary: Option<RotaryTable>,
    device: Device,
    ops: Ops,
    z_loss: f64,
    recompute: bool,
}

impl Transformer {
    /// Creates a new model with seeded weights.
    ///
    /// # Errors
    /// Fails if the configuration is not valid, or if the device has too little memory.
    pub fn initialize(
        config: ModelConfig,
        seed: u64,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let weights = initialize::initialize(&config, seed, &options.device)?;
        Self::from_weights(config, weights.into_iter().collect(), options)
    }

    /// Creates a model from weights, which must have the names and shapes of [`ModelConfig::parameter_shapes`].
    ///
    /// # Errors
    /// Fails if a parameter is missing or has another shape.
    pub fn from_weights(
        config: ModelConfig,
        weights: BTreeMap<String, Tensor>,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        Self::assemble(config, weights, None, options)
    }

    /// Creates a model like [`Self::from_weights`], with an adapter on its projections. The adapter's parameters have
    /// names of their own.
    ///
    /// # Errors
    /// Fails as [`Self::from_weights`] does, or if the adapter is for another architecture.
    pub fn with_adapter(
        config: ModelConfig,
        mut weights: BTreeMap<String, Tensor>,
        adapter: Adapter,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        adapter.check(&config)?;
        weights.extend(adapter.weights);
        let adapter = Some((adapter.config, adapter.base));
        Self::assemble(config, weights, adapter, options)
    }

    fn assemble(
        config: ModelConfig,
        mut weights: BTreeMap<String, Tensor>,
        adapter: Option<(LoraConfig, AdapterBase)>,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        let mut trainable = BTreeMap::new();
        let mut frozen = BTreeMap::new();
        let lora = adapter.as_ref().map(|(lora, _)| lora);
        let mut shapes = config.parameter_shapes();
        shapes.extend(lora.map_or(Vec::new(), |lora| lora.parameter_shapes(&config)));
        for (name, shape) in shapes {
            let tensor = weights.remove(&name).ok_or_else(|| {
                ModelError::Architecture(format!("the parameter `{name}` is missing"))
            })?;
            if tensor.dims() != shape {
                return Err(ModelError::Architecture(format!(
                    "the parameter `{name}` has the shape {:?}: `config.json` requires {shape:?}",
                    tensor.dims()
                )));
            }
            let tensor = tensor.to_dtype(DType::F32)?.to_device(&options.device)?;
            if (options.trainable)(&name) {
                trainable.insert(name, Var::from_tensor(&tensor)?);
            } else {
                frozen.insert(name, tensor);
            }
        }
        let tracked = Network::new(&config, lora, &|name| match trainable.get(name) {
            Some(variable) => Ok(variable.as_tensor().clone()),
            None => Ok(frozen[name].clone()),
        })?;
        let detached = Network::new(&config, lora, &|name| match trainable.get(name) {
            Some(variable) => Ok(variable.as_detached_tensor()),
            None => Ok(frozen[name].clone()),
        })?;
        let rotary = crate::rope::rotary_table(&config, &options.device)?;
        Ok(Self {
            config,
            adapter,
            noise: AtomicU64::new(0),
            first_row: AtomicU64::new(0),
            trainable,
            frozen,
            tracked,
            detached,
            rotary,
            device: options.device.clone(),
            ops: options.ops,
            z_loss: 0.0,
            recompute: false,
        })
    }

    /// Returns the configuration of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the adapter with its current parameters, if there is one.
    pub fn adapter(&self) -> Option<Adapter> {
        let (config, base) = self.adapter.clone()?;
        let names = config.parameter_shapes(&self.config);
        let all = self.parameters();
        let own = |(name, _): (String, Vec<usize>)| {
            let tensor = all[name.as_str()].clone();
            (name, tensor)
        };
        Some(Adapter {
            weights: names.into_iter().map(own).collect(),
            config,
            base,
        })
    }

    /// Starts a step of a run. The adapters' dropout depends only on the seed, the step, the row of the batch and the
    /// projection, so that a resumed run drops the same inputs.
    pub fn begin_step(&self, seed: u64, step: u64) {
        self.noise
            .store(mix(mix(seed).wrapping_add(step)), Ordering::SeqCst);
        self.begin_part(0);
    }

    /// Starts a part of the step's batch, which begins with this row: the same inputs are dropped as if the whole batch
    /// were computed at once.
    pub fn begin_part(&self, first_row: usize) {
        self.first_row.store(first_row as u64, Ordering::SeqCst);
    }

    /// Returns the trainable parameters by name.
    pub fn trainable(&self) -> &BTreeMap<String, Var> {
        &self.trainable
    }

    /// Returns the frozen parameters by name.
    pub fn frozen(&self) -> &BTreeMap<String, Tensor> {
        &self.frozen
    }

    /// Returns all parameters by name, detached from any graph.
    pub fn parameters(&self) -> BTreeMap<&str, Tensor> {
        let moving = self
            .trainable
            .iter()
            .map(|(name, variable)| (name.as_str(), variable.as_detached_tensor()));
        let staying = self
            .frozen
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.clone()));
        moving.chain(staying).collect()
    }

    /// Returns the device of the model.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the implementation and the precision of the operations.
    pub fn ops(&self) -> Ops {
        self.ops
    }

    /// Sets the z-loss: adds `z_loss`·(ln Σ e^logit)² to the loss of each target.
    #[must_use]
    pub fn with_z_loss(mut self, z_loss: f64) -> Self {
        self.z_loss = z_loss;
        self
    }

    /// Adds tokens that end generated texts to the configuration.
    #[must_use]
    pub fn with_ends(mut self, ends: &[u32]) -> Self {
        self.config.add_ends(ends);
        self
    }

    /// Turns activation checkpointing on or off. When on, a block stores only its input for the backward pass and
    /// recomputes the rest.
    #[must_use]
    pub fn with_recompute(mut self, recompute: bool) -> Self {
        self.recompute = recompute;
        self
    }
}
