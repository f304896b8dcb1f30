//! How a run is started, and what it would take.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use polymath_model::{LoraConfig, ModelConfig, available_memory};
use polymath_ops::{Implementation, Ops, Precision};

use crate::{Recompute, TrainError, TrainingConfig};

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

    /// Refuses a run that the memory beside the processor has no room for; of another device's nothing is known.
    ///
    /// # Errors
    /// As [`Plan::check_memory`].
    pub fn check_memory(&self, plan: &Plan) -> Result<(), TrainError> {
        match self.device.is_cpu() {
            true => plan.check_memory(available_memory()),
            false => Ok(()),
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
    /// Tokens of all batches, padding not counted.
    pub tokens: u64,
    /// Positions of all batches, padding among them: what is computed.
    pub positions: u64,
    /// Floating-point operations of one token, forward and backward, for what moves.
    pub flops_per_token: f64,
    /// Parameters, gradients and moments.
    pub state_bytes: u64,
    /// What the backward pass needs of the forward pass, for the rows that are computed at once; an estimate.
    pub activation_bytes: u64,
    /// Copies of the base and what else is kept or made of it, for what is retained in fine-tuning; an estimate.
    pub retention_bytes: u64,
    /// Of the matrix products.
    pub precision: Precision,
}

impl Plan {
    /// The plan of a model and a training, in which the parameters that `moving` names are trained, on rows of
    /// `sequence_length` positions of which the share `padding` holds no token.
    pub fn new(
        model: &ModelConfig,
        training: &TrainingConfig,
        (sequence_length, padding): (usize, f64),
        moving: &dyn Fn(&str) -> bool,
    ) -> Self {
        let shapes = model.parameter_shapes();
        let moved = shapes.iter().filter(|(name, _)| moving(name));
        let trainable = moved
            .map(|(_, shape)| shape.iter().product::<usize>() as u64)
            .sum();
        let steps = training.total_steps(sequence_length, padding);
        let positions = steps.saturating_mul((training.batch_size * sequence_length) as u64);
        Self {
            parameters: model.parameter_count(),
            trainable_parameters: trainable,
            steps,
            tokens: (positions as f64 * (1.0 - padding)).round() as u64,
            positions,
            flops_per_token: model.training_flops_per_token(sequence_length, moving),
            state_bytes: 4 * (model.parameter_count() + 3 * trainable),
            activation_bytes: activation_bytes(model, training, sequence_length),
            retention_bytes: 0,
            // One that is not known was refused when the config was read.
            precision: training.precision().unwrap_or(Precision::F32),
        }
    }

    /// The plan where the model stays and an adapter beside it is trained.
    pub fn of_adapter(
        model: &ModelConfig,
        training: &TrainingConfig,
        (sequence_length, padding): (usize, f64),
        adapter: &LoraConfig,
    ) -> Self {
        let still = Self::new(model, training, (sequence_length, padding), &|_| false);
        let shapes = adapter.parameter_shapes(model).into_iter();
        let own = shapes
            .map(|(_, shape)| shape.iter().product::<usize>() as u64)
            .sum::<u64>();
        Self {
            parameters: still.parameters + own,
            trainable_parameters: own,
            flops_per_token: model.adapter_training_flops_per_token(sequence_length, adapter),
            state_bytes: still.state_bytes + 4 * 4 * own,
            activation_bytes: (still.activation_bytes).saturating_add(adapter_activation_bytes(
                (model, adapter),
                training,
                sequence_length,
            )),
            ..still
        }
    }

    /// Refuses a run that memory has no room for, before any work is spent on it.
    ///
    /// # Errors
    /// What it would take, what there is, and the keys to change.
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
            "raise `training.accumulation_steps`, set `training.recompute = \"block\"`, or lower `training.batch_size` or \
             `training.sequence_length`"
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

    /// Of the whole run.
    pub fn flops(&self) -> f64 {
        self.flops_per_token * self.positions as f64
    }
}

/// What the backward pass needs of the forward pass, for the rows that are computed at once; about.
fn activation_bytes(model: &ModelConfig, training: &TrainingConfig, sequence_length: usize) -> u64 {
    let rows = training.batch_size / training.accumulation_steps;
    let tokens_at_once = rows as u128 * sequence_length as u128;
    // Of each block: its input, two norms, q, k, v, the attention's result, gate, up and their product.
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

/// What the backward pass needs of an adapter's own operations, for the rows that are computed at once; about, as measured. Of
/// each output: the base's, the adapter's, that scaled, and their sum (with DoRA also that by its magnitude); with dropout, of
/// each input: what is kept, the mask, and what the gradients of both take.
fn adapter_activation_bytes(
    (model, adapter): (&ModelConfig, &LoraConfig),
    training: &TrainingConfig,
    sequence_length: usize,
) -> u64 {
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
    let bytes = 4 * rows as u128 * sequence_length as u128 * numbers;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use polymath_model::ArchitectureConfig;

    use super::*;

    fn plan(training: &str) -> Plan {
        let shape: ArchitectureConfig =
            toml::from_str("hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4")
                .unwrap();
        let model = shape.resolve(500, 128, (0, 0)).unwrap();
        Plan::new(
            &model,
            &toml::from_str(training).unwrap(),
            (128, 0.0),
            &|_| true,
        )
    }

    /// What does not fit is refused with the keys that would help: of the batch where its activations are too many, of the
    /// model where its own state is.
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
        // What is retained counts as well, and is the first to go.
        let mut retaining = plan.clone();
        retaining.retention_bytes = 1;
        let error = retaining.check_memory(Some(all)).unwrap_err().to_string();
        assert!(error.contains("method of `[retention]`"), "{error}");
        // Parts and recomputing take less, as they are said to.
        let less = self::plan("steps = 1\nbatch_size = 64\naccumulation_steps = 4");
        assert_eq!(less.activation_bytes * 4, plan.activation_bytes);
        let less = self::plan("steps = 1\nbatch_size = 64\nrecompute = \"block\"");
        assert!(less.activation_bytes < plan.activation_bytes);
    }

    /// An adapter takes its own activations beside the model's, and dropout more of them.
    #[test]
    fn adapters_take_activations_of_their_own() {
        let shape: ArchitectureConfig =
            toml::from_str("hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4")
                .unwrap();
        let model = shape.resolve(500, 128, (0, 0)).unwrap();
        let bytes = |adapter: Option<&LoraConfig>, training: &str| {
            let training = toml::from_str(training).unwrap();
            let plan = match adapter {
                Some(adapter) => Plan::of_adapter(&model, &training, (128, 0.0), adapter),
                None => Plan::new(&model, &training, (128, 0.0), &|_| false),
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

    /// Sizes at their bounds are counted, not overflown.
    #[test]
    fn largest_sizes_do_not_overflow() {
        let shape: ArchitectureConfig = toml::from_str(
            "hidden_size = 32768\nnum_hidden_layers = 64\nnum_attention_heads = 16\nhead_dim = 16\n\
             max_position_embeddings = 16777216",
        )
        .unwrap();
        let model = shape.resolve(500, 16_777_216, (0, 0)).unwrap();
        let training = toml::from_str("steps = 7\nbatch_size = 1048576").unwrap();
        let plan = Plan::new(&model, &training, (16_777_216, 0.0), &|_| true);
        assert_eq!(plan.activation_bytes, u64::MAX);
        plan.check_memory(Some(1 << 40)).unwrap_err();
    }
}
