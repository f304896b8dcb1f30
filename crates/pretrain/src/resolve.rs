//! Defaults of a pretraining run, which depend on the size of its data, and the resolved configuration.

use std::path::PathBuf;

use polymath_data::MixtureConfig;
use polymath_model::{ArchitectureConfig, EndTokens, ModelConfig};
use polymath_train::{
    BATCH_SIZE, Checkpointing, EVALUATIONS, Evaluation, Length, Training, TrainingDefaults,
};
use serde::Serialize;

use crate::{PretrainConfig, PretrainError};

/// Default row length, in tokens.
pub(crate) const SEQUENCE_LENGTH: usize = 256;
/// Default peak learning rate of a run whose length is set in the config.
const LEARNING_RATE: f64 = 1e-3;
/// Maximum number of passes over the data by default. Up to it, repeated text is nearly as useful as new text
/// ([Muennighoff 2023](https://arxiv.org/abs/2305.16264)).
const EPOCHS: u64 = 4;
/// Compute-optimal number of tokens per parameter ([Hoffmann 2022](https://arxiv.org/abs/2203.15556)).
const TOKENS_PER_PARAMETER: u64 = 20;
/// Maximum floating-point operations of a run whose length is chosen automatically: about an hour on two cores.
const MOST_FLOPS: f64 = 1e15;
/// Approximate number of steps of a run whose batch size is chosen automatically.
const STEPS: u64 = 1500;
/// Minimum and maximum of the default batch size, in rows.
const ROWS: (u64, u64) = (8, 64);
/// Highest default learning rate, and the largest hidden size that has it. Beyond, the rate is inversely proportional
/// to the hidden size.
const NARROW: (f64, f64) = (3e-3, 128.0);
/// Shapes from which the default model is chosen: hidden size, number of layers, number of heads.
const SHAPES: [[usize; 3]; 10] = [
    [64, 3, 2],
    [96, 3, 3],
    [128, 4, 4],
    [192, 5, 6],
    [256, 6, 8],
    [320, 7, 10],
    [384, 8, 6],
    [512, 8, 8],
    [640, 10, 10],
    [768, 12, 12],
];

/// Properties of the dataset that the defaults depend on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DatasetFacts {
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// IDs of the tokens that begin and end a document.
    pub ends: EndTokens,
    /// Number of training tokens in the domains of the mixture.
    pub epoch_tokens: u64,
    /// Share of the positions of a batch that are padding.
    pub padding: f64,
}

/// Configuration of a pretraining run with every default filled in. It is saved with the run as `run.toml`.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "documented in `PretrainConfig`")]
pub struct ResolvedPretrain {
    pub dataset: PathBuf,
    pub run: PathBuf,
    pub seed: u64,
    pub mixture: MixtureConfig,
    pub model: ArchitectureConfig,
    pub training: Training,
    pub evaluation: Evaluation,
    pub checkpoint: Checkpointing,
    /// Complete configuration of the model, as written to its `config.json`.
    #[serde(skip)]
    pub(crate) architecture: ModelConfig,
    /// Sentences for the user about the defaults that were chosen, with the reasons.
    #[serde(skip)]
    pub(crate) choices: Vec<String>,
}

impl ResolvedPretrain {
    /// Returns the complete configuration of the model.
    pub fn architecture(&self) -> &ModelConfig {
        &self.architecture
    }

    /// Returns the configuration as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings that were TOML are TOML")
    }
}

impl PretrainConfig {
    /// Returns the configuration with every default filled in.
    ///
    /// # Errors
    /// Fails if values are out of range or contradict each other.
    pub fn resolve(&self, facts: &DatasetFacts) -> Result<ResolvedPretrain, PretrainError> {
        self.training.validate()?;
        self.evaluation.validate()?;
        self.checkpoint.validate()?;
        let mut choices = Vec::new();
        let sequence_length = self.training.sequence_length.unwrap_or(SEQUENCE_LENGTH);
        let budget = chosen_tokens(facts.epoch_tokens, MOST_FLOPS);
        // First with a batch size and learning rate for any model, to get the number of tokens.
        let mut defaults = TrainingDefaults {
            length: Length::Tokens(budget),
            batch_size: BATCH_SIZE,
            sequence_length,
            learning_rate: LEARNING_RATE,
            optimizer: polymath_train::OptimizerChoice::Adamw,
            weight_decay: polymath_train::WEIGHT_DECAY,
            padding: facts.padding,
            epoch_tokens: facts.epoch_tokens,
            tokens_at_once: None,
        };
        let tokens = tokens_of(&self.training.resolve(&defaults));
        let shape = match &self.model {
            Some(shape) => shape.clone(),
            None => {
                let shape = chosen_shape(tokens);
                choices.push(format!(
                    "model: {} wide, {} layers, since {tokens} tokens are best used by a model of about {} parameters \
                     ({TOKENS_PER_PARAMETER} tokens each; `[model]` sets another shape)",
                    shape.hidden_size,
                    shape.num_hidden_layers,
                    tokens / TOKENS_PER_PARAMETER
                ));
                shape
            }
        };
        let architecture = shape.resolve(facts.vocab_size, sequence_length, facts.ends)?;
        if !self.training.has_length() {
            defaults.batch_size = chosen_rows(tokens, sequence_length);
            defaults.learning_rate = chosen_rate(shape.hidden_size);
            choices.push(format!(
                "length: {budget} tokens, {:.1} passes over the data: the most that still teach like new text, or about an \
                 hour's work (`training.tokens` sets another)",
                budget as f64 / facts.epoch_tokens.max(1) as f64
            ));
        }
        let training = self.training.resolve(&defaults);
        training.validate()?;
        if !self.training.has_length() {
            choices.push(format!(
                "rows: {} of {} tokens in a step, learning rate {:e}",
                training.batch_size, training.sequence_length, training.learning_rate
            ));
        }
        let total = training.total_steps(facts.padding);
        let evaluation = self.evaluation.resolve(total, EVALUATIONS);
        let checkpoint = self.checkpoint.resolve(&evaluation);
        choices.extend(training.without_effect());
        choices.extend(checkpoint.unreached(total));
        Ok(ResolvedPretrain {
            dataset: self.dataset.clone(),
            run: self.run.clone(),
            seed: self.seed,
            mixture: self.mixture.filled(),
            model: shape.filled(&architecture),
            training,
            checkpoint,
            evaluation,
            architecture,
            choices,
        })
    }
}

/// Returns the number of tokens that a run trains on.
fn tokens_of(training: &Training) -> u64 {
    match training.length {
        Length::Tokens(tokens) => tokens,
        Length::Steps(steps) => {
            steps.saturating_mul((training.batch_size * training.sequence_length) as u64)
        }
    }
}

/// Size of a run: model, length, rows and learning rate.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSize {
    /// Architecture of the model: hidden size, layers, heads.
    pub model: ArchitectureConfig,
    /// Number of tokens to train on.
    pub tokens: u64,
    /// Number of rows in a step.
    pub batch_size: usize,
    /// Number of tokens in a row.
    pub sequence_length: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
}

impl RunSize {
    /// Returns the compute-optimal size of a run with `flops` floating-point operations, over data of `epoch_tokens`
    /// tokens: at most four passes. Uses the same rules as a config that sets no size.
    pub fn of(epoch_tokens: u64, flops: f64) -> Self {
        let tokens = chosen_tokens(epoch_tokens, flops);
        let model = chosen_shape(tokens);
        Self {
            tokens,
            batch_size: chosen_rows(tokens, SEQUENCE_LENGTH),
            sequence_length: SEQUENCE_LENGTH,
            learning_rate: chosen_rate(model.hidden_size),
            model,
        }
    }

    /// Returns the maximum number of training tokens over data of `epoch_tokens` tokens for which repeated text is
    /// still nearly as useful as new text.
    pub fn most_tokens(epoch_tokens: u64) -> u64 {
        epoch_tokens.saturating_mul(EPOCHS).max(1)
    }

    /// Returns the size of a run of the same model over `tokens` tokens.
    #[must_use]
    pub fn with_tokens(self, tokens: u64) -> Self {
        let tokens = tokens.max(1);
        Self {
            tokens,
            batch_size: chosen_rows(tokens, self.sequence_length),
            ..self
        }
    }
}

/// Returns the default number of training tokens over data of `epoch_tokens` tokens: four passes, or fewer if `flops`
/// operations do not suffice for them with a model of the compute-optimal size.
fn chosen_tokens(epoch_tokens: u64, flops: f64) -> u64 {
    // Training takes 6·parameters·tokens operations, with tokens = 20·parameters.
    let parameters = (flops / (6.0 * TOKENS_PER_PARAMETER as f64)).sqrt();
    let most = TOKENS_PER_PARAMETER.saturating_mul(parameters as u64);
    RunSize::most_tokens(epoch_tokens).min(most.max(1))
}

/// Returns the largest of the [`SHAPES`] whose layers have at most one parameter per 20 training tokens.
fn chosen_shape(tokens: u64) -> ArchitectureConfig {
    let most = tokens / TOKENS_PER_PARAMETER;
    // A layer has about 12·width² parameters.
    let fits = |[width, layers, _]: &[usize; 3]| (12 * width * width * layers) as u64 <= most;
    let chosen = SHAPES.iter().rev().find(|shape| fits(shape));
    let [width, layers, heads] = *chosen.unwrap_or(&SHAPES[0]);
    ArchitectureConfig::of_shape(width, layers, heads)
}

/// Returns the default batch size in rows: a power of two that gives a run of `tokens` tokens about [`STEPS`] steps.
fn chosen_rows(tokens: u64, sequence_length: usize) -> usize {
    let rows = tokens / (STEPS * sequence_length.max(1) as u64);
    rows.max(1).next_power_of_two().clamp(ROWS.0, ROWS.1) as usize
}

fn chosen_rate(width: usize) -> f64 {
    let (rate, narrow) = NARROW;
    let rate = rate * (narrow / width as f64).min(1.0);
    // Rounded to 1e-5, since a short number is easier to compare and to write.
    (rate * 1e5).round() / 1e5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, epoch_tokens: u64) -> ResolvedPretrain {
        let config: PretrainConfig =
            toml::from_str(&format!("dataset = \"d\"\nrun = \"r\"\n{text}")).unwrap();
        let facts = DatasetFacts {
            vocab_size: 500,
            ends: EndTokens { begin: 0, end: 0 },
            epoch_tokens,
            padding: 0.0,
        };
        config.resolve(&facts).unwrap()
    }

    /// Checks that the default model grows with the data, and that the run stays within its limit of floating-point
    /// operations.
    #[test]
    fn model_and_length_follow_from_the_size_of_the_data() {
        let mut width = 0;
        for tokens in [1_000, 100_000, 3_000_000, 30_000_000, 3_000_000_000] {
            let chosen = resolved("", tokens);
            assert!(chosen.model.hidden_size >= width);
            width = chosen.model.hidden_size;
            let read = tokens_of(&chosen.training);
            assert!(read <= 4 * tokens, "{read} of {tokens}");
            let flops = 6.0 * chosen.architecture.parameter_count() as f64 * read as f64;
            assert!(flops < 2.0 * MOST_FLOPS, "{flops:e}");
            assert_eq!(chosen.choices.len(), 3);
        }
        assert!(width >= 128);
    }

    /// Checks that a milestone after the last step is told at the start.
    #[test]
    fn unreached_milestones_are_told() {
        let told = |milestone: u64| {
            let text = format!("[training]\nsteps = 40\n[checkpoint]\nmilestones = [{milestone}]");
            let choices = resolved(&text, 100_000).choices;
            choices
                .iter()
                .any(|said| said.contains("checkpoint.milestones"))
        };
        assert!(told(41) && !told(40));
    }

    /// Checks every sentence about what a config leaves to the program, and the shapes at their smallest number of
    /// tokens.
    #[test]
    fn choices_are_told_whole() {
        assert_eq!(
            resolved("", 1_000_000).choices,
            [
                "model: 64 wide, 3 layers, since 4000000 tokens are best used by a model of about 200000 parameters (20 tokens \
                 each; `[model]` sets another shape)",
                "length: 4000000 tokens, 4.0 passes over the data: the most that still teach like new text, or about an hour's \
                 work (`training.tokens` sets another)",
                "rows: 16 of 256 tokens in a step, learning rate 3e-3",
            ]
        );
        for [width, layers, heads] in [[96, 3, 3], [256, 6, 8], [768, 12, 12]] {
            let fewest = (20 * 12 * width * width * layers) as u64;
            let shape = chosen_shape(fewest);
            assert_eq!(
                [
                    shape.hidden_size,
                    shape.num_hidden_layers,
                    shape.num_attention_heads
                ],
                [width, layers, heads]
            );
            assert!(chosen_shape(fewest - 1).hidden_size < width);
        }
        let rows = [1, 1500 * 256 * 8 + 256 * 1500, 1500 * 256 * 64, u64::MAX];
        assert_eq!(rows.map(|tokens| chosen_rows(tokens, 256)), [8, 16, 64, 64]);
    }

    /// Checks the rule of the learning rate: 3e-3 up to a width of 128, and beyond it less in proportion to the width.
    #[test]
    fn wider_models_learn_more_slowly() {
        let rates = [64, 128, 256, 512].map(chosen_rate);
        assert_eq!(rates, [3e-3, 3e-3, 1.5e-3, 7.5e-4]);
    }

    /// Checks that a config that sets a length gets the fixed default batch size and learning rate.
    #[test]
    fn a_given_length_keeps_rows_and_rate() {
        let given = "[model]\nhidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 2\n[training]\nsteps = 40";
        let resolved = resolved(given, 100_000);
        let training = &resolved.training;
        assert_eq!(training.length, Length::Steps(40));
        assert_eq!((training.batch_size, training.learning_rate), (16, 1e-3));
        assert!(resolved.choices.is_empty());
    }

    /// Checks that a saved config contains every default, so that resolving it again changes nothing, for data of any
    /// size.
    #[test]
    fn a_resolved_config_resolves_to_itself() {
        let first = resolved("", 300_000);
        let saved = first.to_toml();
        for key in [
            "sequence_length",
            "warmup_steps",
            "intermediate_size",
            "head_dim",
            "num_key_value_heads",
            "initializer_range",
            "temperature",
        ] {
            assert!(saved.contains(&format!("{key} = ")), "{key}: {saved}");
        }
        let again: PretrainConfig = toml::from_str(&saved).unwrap();
        let facts = DatasetFacts {
            vocab_size: 500,
            ends: EndTokens { begin: 0, end: 0 },
            epoch_tokens: 7,
            padding: 0.5,
        };
        assert_eq!(again.resolve(&facts).unwrap().to_toml(), saved);
    }

    /// Checks that a run with unlimited floating-point operations makes at most the usual four passes over the data.
    #[test]
    fn endless_operations_read_the_data_a_few_times() {
        let most = RunSize::most_tokens(1000);
        for flops in [1e40, 1e200, f64::INFINITY] {
            assert_eq!(chosen_tokens(1000, flops), most);
        }
        assert_eq!(chosen_tokens(1000, 0.0), 1);
    }
}
