//! The model: named parameters, trainable or frozen, and the computations on them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{DType, Device, Tensor, Var};
use polymath_ops::{Ops, RotaryTable, Scores};

use crate::batch::Prepared;
use crate::initialize::{self, mix};
use crate::kv_cache::Cache;
use crate::network::{Network, Pass};
use crate::{Adapter, AdapterBase, LoraConfig, ModelConfig, ModelError, TokenBatch};

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

    /// Starts a step of a run. The adapters' dropout depends only on the seed, the step, the batch and the
    /// projection, so that a resumed run drops the same inputs.
    pub fn begin_step(&self, seed: u64, step: u64) {
        self.noise
            .store(mix(mix(seed).wrapping_add(step)), Ordering::SeqCst);
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

    /// Returns the implementation and precision of the model's operations.
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

    /// Returns the sum of −ln p over the batch's targets, plus the z-loss if one is set: a scalar in the graph of the
    /// trainable parameters.
    ///
    /// # Errors
    /// Fails if the batch is longer than the context, or if a token is outside of the vocabulary.
    pub fn loss(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        let (hidden, targets) = self.tracked_states(batch)?;
        self.loss_of(&hidden, &targets)
    }

    /// Computes [`Self::loss`] for the positions of [`Self::hidden_states`] that have a target.
    ///
    /// # Shapes
    /// (tokens, hidden), `targets` tokens → ()
    ///
    /// # Errors
    /// Fails if the numbers of targets and positions differ, or if a target is outside of the vocabulary.
    pub fn loss_of(&self, hidden: &Tensor, targets: &Arc<[u32]>) -> Result<Tensor, ModelError> {
        let head = self.tracked.head();
        Ok(self.ops.cross_entropy(hidden, head, targets, self.z_loss)?)
    }

    /// Returns the output of the final norm at each position, in the graph of the trainable parameters. It is the
    /// input of the output projection ([`Self::head`]). With both, objectives other than [`Self::loss`] can be
    /// computed.
    ///
    /// # Shapes
    /// → (rows × sequence, hidden)
    ///
    /// # Errors
    /// Fails as [`Self::loss`] does.
    pub fn hidden_states(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        Ok(self.tracked_states(batch)?.0)
    }

    /// Returns the output projection in the graph of the trainable parameters: logits are `hidden · headᵀ`.
    ///
    /// # Shapes
    /// (vocabulary, hidden)
    pub fn head(&self) -> &Tensor {
        self.tracked.head()
    }

    /// Returns the weight of the z-loss, as set by [`Self::with_z_loss`].
    pub(crate) fn z_loss(&self) -> f64 {
        self.z_loss
    }

    /// Returns the output of the final norm at each position, `(tokens, hidden)`, in the graph, and the batch's
    /// targets.
    pub(crate) fn tracked_states(
        &self,
        batch: &TokenBatch,
    ) -> Result<(Tensor, Arc<[u32]>), ModelError> {
        self.check(batch)?;
        let prepared = batch.prepare(&self.device)?;
        let pass = Pass {
            noise: self.noise_for(batch),
            recompute: self.recompute,
            ..self.pass(&prepared)
        };
        let hidden = self.tracked.hidden(&pass, &prepared.input_ids, None)?; // (batch, sequence, hidden)
        Ok((hidden.flatten_to(1)?, prepared.targets))
    }

    /// Returns the output of the final norm at each position, `(tokens, hidden)`, outside of the graph.
    pub(crate) fn detached_states(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        self.check(batch)?;
        let prepared = batch.prepare(&self.device)?;
        Ok(self
            .hidden(&self.detached, &prepared, None)?
            .flatten_to(1)?)
    }

    /// Returns the output projection, outside of the graph.
    pub(crate) fn detached_head(&self) -> &Tensor {
        self.detached.head()
    }

    /// Returns −ln p of every target, and whether it is the most likely token. Tracks no gradients.
    ///
    /// # Errors
    /// Fails as [`Self::loss`] does.
    pub fn score(&self, batch: &TokenBatch) -> Result<Scores, ModelError> {
        self.check(batch)?;
        let prepared = batch.prepare(&self.device)?;
        let hidden = self
            .hidden(&self.detached, &prepared, None)?
            .flatten_to(1)?; // (tokens, hidden)
        Ok(self
            .ops
            .score(&hidden, self.detached.head(), &prepared.targets)?)
    }

    /// Returns the logits of every position: `(batch, sequence, vocabulary)`. For tests and small inputs only, since
    /// training and scoring never hold all logits in memory.
    ///
    /// # Errors
    /// Fails as [`Self::loss`] does.
    pub fn logits(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        self.check(batch)?;
        let hidden = self.hidden(&self.detached, &batch.prepare(&self.device)?, None)?;
        Ok(self.ops.linear(&hidden, self.detached.head(), None)?)
    }

    /// Returns the logits `(vocabulary)` after the last token of `prepared`, whose tokens continue those in the
    /// cache.
    pub(crate) fn next_logits(
        &self,
        prepared: &Prepared,
        cache: &mut Cache,
    ) -> Result<Tensor, ModelError> {
        let hidden = self.hidden(&self.detached, prepared, Some(cache))?;
        let last = hidden.narrow(1, hidden.dim(1)? - 1, 1)?; // (1, 1, hidden)
        let logits = self.ops.linear(&last, self.detached.head(), None)?;
        Ok(logits.flatten_all()?)
    }

    fn hidden(
        &self,
        network: &Network,
        prepared: &Prepared,
        cache: Option<&mut Cache>,
    ) -> Result<Tensor, ModelError> {
        Ok(network.hidden(&self.pass(prepared), &prepared.input_ids, cache)?)
    }

    /// Creates a forward pass without dropout.
    fn pass<'a>(&'a self, prepared: &'a Prepared) -> Pass<'a> {
        Pass {
            ops: self.ops,
            rotary: self.rotary.as_ref(),
            positions: &prepared.positions,
            segments: &prepared.segments,
            windowed: match &self.config.sliding_window {
                Some(window) => prepared.segments.windowed(window.size),
                None => prepared.segments.clone(),
            },
            noise: None,
            recompute: false,
        }
    }

    /// Returns the dropout seed of a batch in this step. It depends on the tokens, so the parts of a batch that is
    /// computed in parts have different seeds.
    fn noise_for(&self, batch: &TokenBatch) -> Option<u64> {
        let (lora, _) = self.adapter.as_ref()?;
        if lora.dropout == 0.0 {
            return None;
        }
        let step = self.noise.load(Ordering::SeqCst);
        let tokens = batch.input_ids.iter();
        Some(tokens.fold(step, |noise, token| mix(noise ^ u64::from(*token))))
    }

    fn check(&self, batch: &TokenBatch) -> Result<(), ModelError> {
        let limit = self.config.max_position_embeddings;
        if batch.sequence_length() > limit {
            return Err(ModelError::Input(format!(
                "a sequence of {} tokens is longer than the model's context, `max_position_embeddings` = {limit}",
                batch.sequence_length()
            )));
        }
        let vocabulary = self.config.vocab_size as u32;
        let stranger = |token: &&u32| **token >= vocabulary;
        let targets = batch
            .targets
            .iter()
            .filter(|token| **token != crate::IGNORED);
        if let Some(token) = batch.input_ids.iter().chain(targets).find(stranger) {
            return Err(ModelError::Input(format!(
                "token {token} is outside the model's vocabulary of {vocabulary}: was the text prepared with another \
                 tokenizer?"
            )));
        }
        Ok(())
    }
}
