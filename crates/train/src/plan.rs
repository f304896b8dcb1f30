//! Estimated cost of a run before its first step: steps, floating-point operations and memory.

use polymath_model::{EMBEDDING, HEAD, LoraConfig, ModelConfig, StepBytes, layer_of};
use polymath_ops::Precision;

use crate::error::SMALLER_ACTIVATIONS;
use crate::{Recompute, TrainError, Training};

/// Estimated cost of a run: its size, floating-point operations and memory.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Number of parameters of the model.
    pub parameters: u64,
    /// Number of trainable parameters.
    pub trainable_parameters: u64,
    /// Number of optimizer steps.
    pub steps: u64,
    /// Number of tokens of all batches, without padding.
    pub tokens: u64,
    /// Number of positions of all batches, including padding: the model computes padding too.
    pub positions: u64,
    /// Floating-point operations per token, forward and backward, given the trainable parameters.
    pub flops_per_token: f64,
    /// Bytes of parameters, gradients and optimizer state.
    pub state_bytes: u64,
    /// Estimated bytes that one forward and backward pass needs in addition to [`Self::state_bytes`]: the activations
    /// stored for the backward pass, and scratch memory.
    pub activation_bytes: u64,
    /// Value of [`Self::activation_bytes`] with recomputation: each layer stores only its input, and the backward pass
    /// computes the other activations again.
    pub recomputed_bytes: u64,
    /// Activations to recompute in the backward pass; `None` until [`Self::fitted`] has chosen by the free memory.
    pub recompute: Option<Recompute>,
    /// Number of parts in which the rows of a step are computed (gradient accumulation).
    pub parts: usize,
    /// Bytes that the run would take without recomputation, if [`Self::fitted`] has chosen recomputation.
    without_recompute: Option<u64>,
    /// Estimated bytes of the retention methods, such as copies of the base.
    pub retention_bytes: u64,
    /// Floating-point operations before the first step, such as those for generating text.
    pub preparation_flops: f64,
    /// Precision of the matrix products.
    pub precision: Precision,
}

impl Plan {
    /// Returns the cost of training those parameters for whose names `moving` is true. `padding` is the share of
    /// padding among the positions of a batch.
    pub fn new(
        model: &ModelConfig,
        training: &Training,
        padding: f64,
        moving: &dyn Fn(&str) -> bool,
    ) -> Self {
        let sequence_length = training.sequence_length;
        let shapes = model.parameter_shapes();
        let moved = shapes.iter().filter(|(name, _)| moving(name));
        let trainable = moved
            .map(|(_, shape)| shape.iter().product::<usize>() as u64)
            .sum();
        let head = match model.tie_word_embeddings {
            true => EMBEDDING,
            false => HEAD,
        };
        let step = Step {
            bytes: model.step_bytes(None, moving(head), training.precision),
            layers: tracked_layers(model, moving),
            tokens: tokens_at_once(training),
            gradients: 4 * trainable,
        };
        let steps = training.total_steps(padding);
        let positions = steps.saturating_mul((training.batch_size * sequence_length) as u64);
        Self {
            parameters: model.parameter_count(),
            trainable_parameters: trainable,
            steps,
            tokens: (positions as f64 * (1.0 - padding)).round() as u64,
            positions,
            flops_per_token: model.training_flops_per_token(sequence_length, moving),
            state_bytes: state_bytes(model.parameter_count(), trainable, training),
            retention_bytes: 0,
            preparation_flops: 0.0,
            precision: training.precision,
            activation_bytes: step.total(training.recompute.unwrap_or_default()),
            recomputed_bytes: step.total(Recompute::Block),
            recompute: training.recompute,
            parts: training.accumulation_steps,
            without_recompute: None,
        }
    }

    /// Returns the cost of training an adapter on a frozen base.
    pub fn of_adapter(
        model: &ModelConfig,
        training: &Training,
        padding: f64,
        adapter: &LoraConfig,
    ) -> Self {
        let still = Self::new(model, training, padding, &|_| false);
        let shapes = adapter.parameter_shapes(model).into_iter();
        let own = shapes
            .map(|(_, shape)| shape.iter().product::<usize>() as u64)
            .sum::<u64>();
        let step = Step {
            bytes: model.step_bytes(Some(adapter), false, training.precision),
            layers: model.num_hidden_layers,
            tokens: tokens_at_once(training),
            gradients: 4 * own,
        };
        Self {
            parameters: still.parameters + own,
            trainable_parameters: own,
            flops_per_token: model
                .adapter_training_flops_per_token(training.sequence_length, adapter),
            state_bytes: state_bytes(still.parameters + own, own, training),
            activation_bytes: step.total(training.recompute.unwrap_or_default()),
            recomputed_bytes: step.total(Recompute::Block),
            ..still
        }
    }

    /// Returns the estimated memory of the whole run in bytes.
    pub fn total_bytes(&self) -> u64 {
        let model = self.state_bytes.saturating_add(self.activation_bytes);
        model.saturating_add(self.retention_bytes)
    }

    /// Decides whether to recompute activations, unless the config does: only if the run does not fit into the
    /// `available` bytes of memory otherwise. Recomputation changes no bit of the result.
    #[must_use]
    pub fn fitted(mut self, available: Option<u64>) -> Self {
        if self.recompute.is_none() {
            let fits = available.is_none_or(|available| self.total_bytes() <= available);
            self.recompute = Some(match fits {
                true => Recompute::None,
                false => Recompute::Block,
            });
            if !fits {
                self.without_recompute = Some(self.total_bytes());
                self.activation_bytes = self.recomputed_bytes;
            }
        }
        self
    }

    /// Returns a sentence for the user if recomputation was chosen to save memory, else `None`.
    pub fn memory_choice(&self) -> Option<String> {
        let full = self.without_recompute?;
        Some(format!(
            "memory: activations are computed again in the backward pass, which takes about {} MB in place of {} MB and \
             changes no result (`training.recompute` sets it)",
            self.total_bytes() / 1_000_000,
            full / 1_000_000
        ))
    }

    /// Returns true if the run recomputes activations in the backward pass.
    pub fn recomputes(&self) -> bool {
        self.recompute == Some(Recompute::Block)
    }

    /// Checks that a run fits into `available` bytes of memory, before any work is done. `None` means that the
    /// available memory is not known.
    ///
    /// # Errors
    /// Fails with the memory required, the memory available, and the keys to change.
    pub fn check_memory(&self, available: Option<u64>) -> Result<(), TrainError> {
        let needed = self.total_bytes();
        let model = needed - self.retention_bytes;
        let Some(available) = available.filter(|available| needed > *available) else {
            return Ok(());
        };
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        let advice = if self.state_bytes > available {
            "make the model smaller (`model.hidden_size`, `model.num_hidden_layers`, the vocabulary), or train less of it \
             (`method = \"lora\"` or `\"frozen\"`)"
        } else if model <= available {
            "choose a method of `[retention]` that keeps less of the base, such as `replay` alone"
        } else {
            SMALLER_ACTIVATIONS
        };
        Err(TrainError::Config(format!(
            "the run would take about {} MB of memory ({} MB of parameters, gradients and moments, {} MB of activations, {} MB \
             for what is retained), and {} MB are available: {advice}",
            megabytes(needed),
            megabytes(self.state_bytes),
            megabytes(self.activation_bytes),
            megabytes(self.retention_bytes),
            available / 1_000_000
        )))
    }

    /// Returns the floating-point operations of the whole run, including those before the first step.
    pub fn flops(&self) -> f64 {
        self.flops_per_token * self.positions as f64 + self.preparation_flops
    }
}

/// Sizes that determine the memory of one forward and backward pass.
struct Step {
    bytes: StepBytes,
    layers: usize,
    /// Number of tokens in one pass.
    tokens: usize,
    /// Bytes of the gradients that one pass computes.
    gradients: u64,
}

impl Step {
    fn total(&self, recompute: Recompute) -> u64 {
        let is_block = recompute == Recompute::Block;
        let (layers, tokens) = (self.layers as u128, self.tokens as u128);
        let gradients = u128::from(self.gradients);
        let total = self.bytes.total(layers, tokens, is_block, gradients);
        u64::try_from(total).unwrap_or(u64::MAX)
    }
}

/// Returns the number of tokens in one forward and backward pass: those of one part of a step's rows.
fn tokens_at_once(training: &Training) -> usize {
    let rows = training.batch_size.div_ceil(training.accumulation_steps);
    rows.saturating_mul(training.sequence_length)
}

/// Returns the bytes of parameters, gradients and moments. With gradient accumulation, the gradients of a part exist
/// beside their sum.
fn state_bytes(parameters: u64, trainable: u64, training: &Training) -> u64 {
    let of_trainable = 3 + u64::from(training.accumulation_steps > 1);
    4 * (parameters + of_trainable * trainable)
}

/// Returns the number of layers from the first trained layer on. The backward pass needs no activations of earlier
/// layers.
fn tracked_layers(model: &ModelConfig, moving: &dyn Fn(&str) -> bool) -> usize {
    let layers = model.num_hidden_layers;
    let shapes = model.parameter_shapes();
    let moved = shapes.iter().filter(|(name, _)| moving(name));
    let first = moved.map(|(name, _)| match layer_of(name) {
        Some(layer) => layer,
        None if name.contains("embed") => 0,
        None => layers,
    });
    layers - first.min().unwrap_or(layers).min(layers)
}

#[cfg(test)]
mod tests;
