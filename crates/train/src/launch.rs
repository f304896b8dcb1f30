//! Launch settings of a run, and an estimate of its cost.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use polymath_model::{LoraConfig, ModelConfig, available_memory, device_memory};
use polymath_ops::{Implementation, Ops, Precision};

use crate::error::SMALLER_ACTIVATIONS;
use crate::{Recompute, TrainError, Training};

/// Launch settings, which come from the command line and are not part of the config.
#[derive(Clone)]
pub struct Launch {
    /// Device to compute on.
    pub device: Device,
    /// Implementation of the tensor operations.
    pub implementation: Implementation,
    /// True to resume an interrupted run.
    pub resume: bool,
    /// Flag that is set from outside to stop the run after the current step and save.
    pub stop: Arc<AtomicBool>,
}

impl Launch {
    /// Returns the settings of a new run on `device`.
    pub fn on(device: Device) -> Self {
        Self {
            device,
            implementation: Implementation::default(),
            resume: false,
            stop: Arc::default(),
        }
    }

    /// Checks that a run fits into the memory of its device.
    ///
    /// # Errors
    /// Fails like [`Plan::check_memory`].
    pub fn check_memory(&self, plan: &Plan) -> Result<(), TrainError> {
        plan.check_memory(memory_of(&self.device))
    }

    /// Returns the chosen implementation of the operations, at `precision`.
    pub fn ops(&self, precision: Precision) -> Ops {
        Ops {
            implementation: self.implementation,
            precision,
        }
    }
}

/// Returns the available memory of a device in bytes: main memory for the CPU. `None` if it is not known.
pub fn memory_of(device: &Device) -> Option<u64> {
    match device.is_cpu() {
        true => available_memory(),
        false => device_memory(device).map(|memory| memory.available),
    }
}

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
    /// Estimated bytes of the activations stored for the backward pass, for the rows that are computed at once.
    pub activation_bytes: u64,
    /// Estimated bytes of the retention methods, such as copies of the base.
    pub retention_bytes: u64,
    /// Floating-point operations before the first step, such as those of generated text, at the rate of training.
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
        let steps = training.total_steps(padding);
        let positions = steps.saturating_mul((training.batch_size * sequence_length) as u64);
        Self {
            parameters: model.parameter_count(),
            trainable_parameters: trainable,
            steps,
            tokens: (positions as f64 * (1.0 - padding)).round() as u64,
            positions,
            flops_per_token: model.training_flops_per_token(sequence_length, moving),
            state_bytes: 4 * (model.parameter_count() + 3 * trainable),
            activation_bytes: activation_bytes(model, training),
            retention_bytes: 0,
            preparation_flops: 0.0,
            precision: training.precision,
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
        Self {
            parameters: still.parameters + own,
            trainable_parameters: own,
            flops_per_token: model
                .adapter_training_flops_per_token(training.sequence_length, adapter),
            state_bytes: still.state_bytes + 4 * 4 * own,
            activation_bytes: (still.activation_bytes)
                .saturating_add(adapter_activation_bytes(model, adapter, training)),
            ..still
        }
    }

    /// Checks that a run fits into memory before any work is done. `available` is in bytes; `None` if unknown.
    ///
    /// # Errors
    /// Fails with the memory required, the memory available, and the keys to change.
    pub fn check_memory(&self, available: Option<u64>) -> Result<(), TrainError> {
        let model = self.state_bytes.saturating_add(self.activation_bytes);
        let needed = model.saturating_add(self.retention_bytes);
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

/// Estimates the bytes of activations stored for the backward pass, for the rows that are computed at once.
fn activation_bytes(model: &ModelConfig, training: &Training) -> u64 {
    let rows = training.batch_size / training.accumulation_steps;
    let tokens_at_once = rows as u128 * training.sequence_length as u128;
    // Each layer stores its input, two norms, q, k, v, the attention's output, gate, up and their product.
    let width = model.hidden_size as u128;
    let heads = (model.num_attention_heads + model.num_key_value_heads) as u128 * 2;
    let block =
        6 * width + 2 * heads * model.head_dim as u128 + 4 * model.intermediate_size as u128;
    let layers = model.num_hidden_layers as u128;
    let blocks = match training.recompute {
        Recompute::None => layers * block,
        Recompute::Block => layers * width + block,
    };
    let bytes = 4 * tokens_at_once * (blocks + 4 * width);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Estimates the bytes of an adapter's own activations, for the rows that are computed at once. The terms follow
/// measurements. For each output: the base's, the adapter's, the scaled one and their sum (with DoRA also the output
/// times its magnitude). With dropout, for each input: the kept values, the mask, and the buffers of both gradients.
fn adapter_activation_bytes(model: &ModelConfig, adapter: &LoraConfig, training: &Training) -> u64 {
    let of_input = if adapter.dropout > 0.0 { 7 } else { 0 };
    let numbers = |(name, shape): (String, Vec<usize>)| match shape[..] {
        [_, inputs] if name.contains("lora_A") => of_input * inputs as u128,
        [outputs, _] => 4 * outputs as u128,
        [outputs] => outputs as u128,
        _ => 0,
    };
    let shapes = adapter.parameter_shapes(model).into_iter();
    let mut numbers: u128 = shapes.map(numbers).sum();
    if training.recompute == Recompute::Block {
        numbers /= model.num_hidden_layers.max(1) as u128;
    }
    let rows = training.batch_size / training.accumulation_steps;
    let bytes = 4 * rows as u128 * training.sequence_length as u128 * numbers;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use polymath_model::{ArchitectureConfig, EndTokens};

    use super::*;
    use crate::{Length, TrainingConfig, TrainingDefaults};

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
        })
    }

    fn plan(training: &str) -> Plan {
        let shape: ArchitectureConfig =
            toml::from_str("hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4")
                .unwrap();
        let model = shape
            .resolve(500, 128, EndTokens { begin: 0, end: 0 })
            .unwrap();
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
        assert_eq!(less.activation_bytes * 4, plan.activation_bytes);
        let less = self::plan("steps = 1\nbatch_size = 64\nrecompute = \"block\"");
        assert!(less.activation_bytes < plan.activation_bytes);
    }

    /// Checks that an adapter's own activations are counted in addition to the model's, and more of them with
    /// dropout.
    #[test]
    fn adapter_activations_are_counted() {
        let shape: ArchitectureConfig =
            toml::from_str("hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4")
                .unwrap();
        let model = shape
            .resolve(500, 128, EndTokens { begin: 0, end: 0 })
            .unwrap();
        let bytes = |adapter: Option<&LoraConfig>, training: &str| {
            let training = read(training, 128);
            let plan = match adapter {
                Some(adapter) => Plan::of_adapter(&model, &training, 0.0, adapter),
                None => Plan::new(&model, &training, 0.0, &|_| false),
            };
            plan.activation_bytes
        };
        let all = "steps = 1\nbatch_size = 8";
        let mut adapter: LoraConfig = toml::from_str("rank = 2\nalpha = 4.0").unwrap();
        let mut sums = [0, 0];
        for (name, shape) in adapter.parameter_shapes(&model) {
            match name.contains("lora_A") {
                true => sums[0] += shape[1] as u64,
                false => sums[1] += shape[0] as u64,
            }
        }
        adapter.dropout = 0.0;
        let own = bytes(Some(&adapter), all) - bytes(None, all);
        assert_eq!(own, 4 * 8 * 128 * 4 * sums[1]);
        adapter.dropout = 0.1;
        let dropped = bytes(Some(&adapter), all) - bytes(None, all);
        assert_eq!(dropped, own + 4 * 8 * 128 * 7 * sums[0]);
        let parts = "steps = 1\nbatch_size = 8\naccumulation_steps = 4";
        assert_eq!(
            bytes(Some(&adapter), parts) - bytes(None, parts),
            dropped / 4
        );
        let blocks = "steps = 1\nbatch_size = 8\nrecompute = \"block\"";
        assert_eq!(
            bytes(Some(&adapter), blocks) - bytes(None, blocks),
            dropped / 2
        );
    }

    /// Checks that sizes at their maximum values are counted without overflow.
    #[test]
    fn largest_sizes_do_not_overflow() {
        let shape: ArchitectureConfig = toml::from_str(
            "hidden_size = 32768\nnum_hidden_layers = 64\nnum_attention_heads = 16\nhead_dim = 16\n\
             max_position_embeddings = 16777216",
        )
        .unwrap();
        let model = shape
            .resolve(500, 16_777_216, EndTokens { begin: 0, end: 0 })
            .unwrap();
        let training = read("steps = 7\nbatch_size = 1048576", 16_777_216);
        let plan = Plan::new(&model, &training, 0.0, &|_| true);
        assert_eq!(plan.activation_bytes, u64::MAX);
        plan.check_memory(Some(1 << 40)).unwrap_err();
    }
}
