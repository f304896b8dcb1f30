//! How a run is started, and what it would take.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use polymath_model::{LoraConfig, ModelConfig};
use polymath_ops::{Implementation, Ops, Precision};

use crate::{Recompute, TrainingConfig};

/// What the command line says of a run, beside its config.
#[derive(Clone)]
pub struct Launch {
    /// Where to compute.
    pub device: Device,
    /// How operations are computed.
    pub implementation: Implementation,
    /// Go on with an interrupted run.
    pub resume: bool,
    /// Set from outside to stop after the step in progress and save.
    pub stop: Arc<AtomicBool>,
}

impl Launch {
    /// A fresh run on `device`.
    pub fn on(device: Device) -> Self {
        Self {
            device,
            implementation: Implementation::default(),
            resume: false,
            stop: Arc::default(),
        }
    }

    /// How operations are computed at `precision`.
    pub fn ops(&self, precision: Precision) -> Ops {
        Ops {
            implementation: self.implementation,
            precision,
        }
    }
}

/// What a run would take, known before its first step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Of the model.
    pub parameters: u64,
    /// Those that move.
    pub trainable_parameters: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Positions of all batches.
    pub tokens: u64,
    /// Floating-point operations of one token, forward and backward, for what moves.
    pub flops_per_token: f64,
    /// Parameters, gradients and moments.
    pub state_bytes: u64,
    /// What the backward pass needs of the forward pass, for the rows that are computed at once; an estimate.
    pub activation_bytes: u64,
    /// Of the matrix products.
    pub precision: Precision,
}

impl Plan {
    /// The plan of a model and a training, in which the parameters that `moving` names are trained.
    pub fn new(
        model: &ModelConfig,
        training: &TrainingConfig,
        sequence_length: usize,
        moving: &dyn Fn(&str) -> bool,
    ) -> Self {
        let shapes = model.parameter_shapes();
        let moved = shapes.iter().filter(|(name, _)| moving(name));
        let trainable = moved
            .map(|(_, shape)| shape.iter().product::<usize>() as u64)
            .sum();
        let steps = training.total_steps(sequence_length);
        let tokens_at_once =
            (training.batch_size / training.accumulation_steps * sequence_length) as u64;
        // Of each block: its input, two norms, q, k, v, the attention's result, gate, up and their product.
        let width = model.hidden_size as u64;
        let heads = ((model.num_attention_heads * 2 + model.num_key_value_heads * 2)
            * model.head_dim) as u64;
        let block = 6 * width + 2 * heads + 4 * model.intermediate_size as u64;
        let layers = model.num_hidden_layers as u64;
        let blocks = match training.recompute {
            Recompute::None => layers * block,
            Recompute::Block => layers * width + block,
        };
        Self {
            parameters: model.parameter_count(),
            trainable_parameters: trainable,
            steps,
            tokens: steps * (training.batch_size * sequence_length) as u64,
            flops_per_token: model.training_flops_per_token(sequence_length, moving),
            state_bytes: 4 * (model.parameter_count() + 3 * trainable),
            activation_bytes: 4 * tokens_at_once * (blocks + 4 * width),
            // One that is not known was refused when the config was read.
            precision: training.precision().unwrap_or(Precision::F32),
        }
    }

    /// The plan where the model stays and an adapter beside it is trained.
    pub fn of_adapter(
        model: &ModelConfig,
        training: &TrainingConfig,
        sequence_length: usize,
        adapter: &LoraConfig,
    ) -> Self {
        let still = Self::new(model, training, sequence_length, &|_| false);
        let shapes = adapter.parameter_shapes(model).into_iter();
        let own = shapes
            .map(|(_, shape)| shape.iter().product::<usize>() as u64)
            .sum::<u64>();
        Self {
            parameters: still.parameters + own,
            trainable_parameters: own,
            flops_per_token: model.adapter_training_flops_per_token(sequence_length, adapter),
            state_bytes: still.state_bytes + 4 * 4 * own,
            ..still
        }
    }

    /// Of the whole run.
    pub fn flops(&self) -> f64 {
        self.flops_per_token * self.tokens as f64
    }
}
