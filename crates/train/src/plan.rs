//! Cost of a run: steps, operations and memory, before its first step.

use polymath_model::{EMBEDDING, HEAD, LoraConfig, ModelConfig, StepNumbers, layer_of};
use polymath_ops::Precision;

use crate::error::SMALLER_ACTIVATIONS;
use crate::{Recompute, TrainError, Training};

/// Cost of a run, computed before its first step.
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
    /// Number of positions of all batches, including padding, which are computed too.
    pub positions: u64,
    /// Floating-point operations per token, forward and backward, given the trainable parameters.
    pub flops_per_token: f64,
    /// Bytes of parameters, gradients and optimizer state.
    pub state_bytes: u64,
    /// Estimated bytes of what a step takes for the rows that are computed at once, beside the state: the activations
    /// stored for the backward pass, and scratch memory.
    pub activation_bytes: u64,
    /// [`Self::activation_bytes`] if each layer stores only its input and computes the rest again.
    pub recomputed_bytes: u64,
    /// Activations that are recomputed; `None` until it is chosen by the free memory.
    pub recompute: Option<Recompute>,
    /// Number of parts in which the rows of a step are computed.
    pub parts: usize,
    /// Bytes of the run without recomputation, where [`Self::fitted`] chose it.
    without_recompute: Option<u64>,
    /// Estimated bytes of the retention methods, such as copies of the base.
    pub retention_bytes: u64,
    /// Floating-point operations before the first step, such as those of generated text.
    pub preparation_flops: f64,
    /// Precision of the matrix products.
    pub precision: Precision,
}

impl Plan {
    /// Returns the cost of training the parameters for which `moving` is true, on rows with a share of `padding`.
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
        let step = Step::new(training, tracked_layers(model, moving), {
            let head = if model.tie_word_embeddings {
                EMBEDDING
            } else {
                HEAD
            };
            model.step_numbers(None, moving(head))
        });
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
            activation_bytes: step.bytes(training.recompute.unwrap_or_default()),
            recomputed_bytes: step.bytes(Recompute::Block),
            recompute: training.recompute,
            parts: training.accumulation_steps,
            without_recompute: None,
        }
    }

    /// Returns the cost of training an adapter with a frozen base.
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
        let layers = model.num_hidden_layers;
        let step = Step::new(training, layers, model.step_numbers(Some(adapter), false));
        Self {
            parameters: still.parameters + own,
            trainable_parameters: own,
            flops_per_token: model
                .adapter_training_flops_per_token(training.sequence_length, adapter),
            state_bytes: state_bytes(still.parameters + own, own, training),
            activation_bytes: step.bytes(training.recompute.unwrap_or_default()),
            recomputed_bytes: step.bytes(Recompute::Block),
            ..still
        }
    }

    /// Returns all bytes of the run.
    pub fn total_bytes(&self) -> u64 {
        let model = self.state_bytes.saturating_add(self.activation_bytes);
        model.saturating_add(self.retention_bytes)
    }

    /// Returns the plan with recomputation chosen, if it is not yet: where the run does not fit into the available
    /// memory otherwise. The results are the same to the last bit.
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

    /// Describes how the memory was made to suffice, if it was the program's choice.
    pub fn memory_choice(&self) -> Option<String> {
        let full = self.without_recompute?;
        Some(format!(
            "memory: activations are computed again in the backward pass, which takes about {} MB in place of {} MB and \
             changes no result (`training.recompute` sets it)",
            self.total_bytes() / 1_000_000,
            full / 1_000_000
        ))
    }

    /// Returns true if the run recomputes activations.
    pub fn recomputes(&self) -> bool {
        self.recompute == Some(Recompute::Block)
    }

    /// Checks that a run fits into memory before any work is done. `available` is in bytes; `None` if unknown.
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
        let mend = if self.state_bytes > available {
            "make the model smaller (`model.hidden_size`, `model.num_hidden_layers`, the vocabulary), or train less of it \
             (`method = \"lora\"` or `\"frozen\"`)"
        } else if model <= available {
            "choose a method of `[retention]` that keeps less of the base, such as `replay` alone"
        } else {
            SMALLER_ACTIVATIONS
        };
        Err(TrainError::Config(format!(
            "the run would take about {} MB of memory ({} MB of parameters, gradients and moments, {} MB of activations, {} MB \
             for what is retained), and {} MB are available: {mend}",
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

/// Memory of a step beside the state.
struct Step {
    numbers: StepNumbers,
    layers: u128,
    /// Tokens that are computed at once.
    tokens: u128,
}

impl Step {
    fn new(training: &Training, layers: usize, numbers: StepNumbers) -> Self {
        let rows = training.batch_size.div_ceil(training.accumulation_steps);
        Self {
            numbers,
            layers: layers as u128,
            tokens: rows as u128 * training.sequence_length as u128,
        }
    }

    fn bytes(&self, recompute: Recompute) -> u64 {
        let is_block = recompute == Recompute::Block;
        let numbers = self.numbers.total(self.layers, self.tokens, is_block);
        u64::try_from(numbers.saturating_mul(4)).unwrap_or(u64::MAX)
    }
}

/// Returns the bytes of parameters, gradients and moments. A step in parts has the gradients of a part beside the sum.
fn state_bytes(parameters: u64, trainable: u64, training: &Training) -> u64 {
    let of_trainable = 3 + u64::from(training.accumulation_steps > 1);
    4 * (parameters + of_trainable * trainable)
}

/// Returns the number of layers from the first trained one on: nothing before it is kept for the backward pass.
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
mod tests {
    use polymath_model::{ArchitectureConfig, EndTokens};

    use super::*;
    use crate::{Length, TrainingConfig, TrainingDefaults};

    const NO_ENDS: EndTokens = EndTokens { begin: 0, end: 0 };

    /// Returns a resolved `[training]` table for rows of `sequence_length` tokens.
    fn read(text: &str, sequence_length: usize) -> Training {
        let config: TrainingConfig = toml::from_str(text).unwrap();
        config.resolve(&TrainingDefaults {
            length: Length::Steps(1),
            batch_size: 16,
            sequence_length,
            learning_rate: 1e-3,
            optimizer: crate::OptimizerChoice::Adamw,
            weight_decay: crate::WEIGHT_DECAY,
            padding: 0.0,
            epoch_tokens: 1,
            tokens_at_once: None,
        })
    }

    fn plan(training: &str) -> Plan {
        let shape: ArchitectureConfig =
            toml::from_str("hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4")
                .unwrap();
        let model = shape.resolve(500, 128, NO_ENDS).unwrap();
        Plan::new(&model, &read(training, 128), 0.0, &|_| true)
    }

    /// Checks that a run that does not fit is refused with the keys that would help: batch keys if its activations
    /// are too large, and model keys if its state is.
    #[test]
    fn too_little_memory_is_refused() {
        let plan = plan("steps = 1\nbatch_size = 64");
        let all = plan.state_bytes + plan.activation_bytes;
        plan.check_memory(None).unwrap();
        plan.check_memory(Some(all)).unwrap();
        let error = plan.check_memory(Some(all - 1)).unwrap_err().to_string();
        assert!(
            error.contains("`training.accumulation_steps`") && !error.contains("model."),
            "{error}"
        );
        let error = plan
            .check_memory(Some(plan.state_bytes - 1))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`model.hidden_size`") && error.contains("MB are available"),
            "{error}"
        );
        // The memory of retention methods counts too, and is named first.
        let mut retaining = plan.clone();
        retaining.retention_bytes = 1;
        let error = retaining.check_memory(Some(all)).unwrap_err().to_string();
        assert!(error.contains("method of `[retention]`"), "{error}");
        // Accumulation and recomputation take less memory, as documented.
        let less = self::plan("steps = 1\nbatch_size = 64\naccumulation_steps = 4");
        assert!(less.activation_bytes < plan.activation_bytes / 2);
        let less = self::plan("steps = 1\nbatch_size = 64\nrecompute = \"block\"");
        assert!(less.activation_bytes < plan.activation_bytes);
    }

    /// Checks that an adapter keeps only the narrow values of its branches, with dropout or not, and that a frozen
    /// model keeps nothing before the first trained layer.
    #[test]
    fn adapters_and_frozen_layers_keep_little() {
        let shape: ArchitectureConfig =
            toml::from_str("hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4")
                .unwrap();
        let model = shape.resolve(500, 128, NO_ENDS).unwrap();
        let training = read("steps = 1\nbatch_size = 8", 128);
        let tokens = 8 * 128;
        let lora: LoraConfig = toml::from_str("rank = 2").unwrap();
        let of = |lora: &LoraConfig| Plan::of_adapter(&model, &training, 0.0, lora);
        let dropping = LoraConfig {
            dropout: 0.1,
            ..lora.clone()
        };
        let wider = LoraConfig {
            rank: 3,
            ..lora.clone()
        };
        let own = of(&lora).activation_bytes;
        assert_eq!(of(&dropping).activation_bytes, own);
        let branches = lora.modules(&model).len() as u64;
        assert_eq!(of(&wider).activation_bytes - own, 4 * tokens * branches);
        let last = |name: &str| name.starts_with("model.layers.1.");
        let whole = Plan::new(&model, &training, 0.0, &|name| name.contains("layers"));
        let frozen = Plan::new(&model, &training, 0.0, &last);
        let none = Plan::new(&model, &training, 0.0, &|_| false);
        let of_layer = whole.activation_bytes - frozen.activation_bytes;
        assert_eq!(frozen.activation_bytes - none.activation_bytes, of_layer);
        // Input twice, queries, keys and values, the attention's output, both sides of the activation, statistics.
        let numbers = 2 * 64 + 3 * 64 + 64 + 2 * model.intermediate_size as u64 + 4 + 2;
        assert_eq!(of_layer, 4 * tokens * numbers);
    }

    /// Checks that recomputation is chosen where a run does not fit otherwise, said, and never against the config.
    #[test]
    fn recomputation_is_chosen_by_the_free_memory() {
        let free = plan("steps = 1\nbatch_size = 64");
        let all = free.total_bytes();
        assert!(!free.clone().fitted(None).recomputes());
        let fits = free.clone().fitted(Some(all));
        assert!(!fits.recomputes() && fits.memory_choice().is_none());
        let short = free.clone().fitted(Some(all - 1));
        assert!(short.recomputes() && short.total_bytes() < all);
        let said = short.memory_choice().unwrap();
        assert!(said.contains("`training.recompute`"), "{said}");
        assert_eq!(short.clone().fitted(Some(1)), short);
        let given = plan("steps = 1\nbatch_size = 64\nrecompute = \"none\"");
        let given = given.fitted(Some(all - 1));
        assert!(!given.recomputes() && given.memory_choice().is_none());
        assert_eq!(given.total_bytes(), all);
    }

    /// Checks that sizes at their maximum values are counted without overflow.
    #[test]
    fn largest_sizes_do_not_overflow() {
        let shape: ArchitectureConfig = toml::from_str(
            "hidden_size = 32768\nnum_hidden_layers = 64\nnum_attention_heads = 16\nhead_dim = 16\n\
             max_position_embeddings = 16777216",
        )
        .unwrap();
        let model = shape.resolve(500, 16_777_216, NO_ENDS).unwrap();
        let training = read("steps = 7\nbatch_size = 1048576", 16_777_216);
        let plan = Plan::new(&model, &training, 0.0, &|_| true);
        assert_eq!(plan.activation_bytes, u64::MAX);
        plan.check_memory(Some(1 << 40)).unwrap_err();
    }
}
