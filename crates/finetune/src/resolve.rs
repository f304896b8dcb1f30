//! Resolution of a fine-tuning's config: fills in the defaults, which depend on base and data.

use std::path::PathBuf;

use polymath_data::{FieldNames, GroupBy, OnBadRecord, PairForm};
use polymath_model::LoraConfig;
use polymath_train::{
    BATCH_SIZE, Checkpointing, Evaluation, Length, OptimizerChoice, Training, TrainingDefaults,
};
use serde::Serialize;

use crate::recipe::{WEIGHT_DECAY, default_optimizer, learning_rate};
use crate::retention::limits;
use crate::{
    FinetuneConfig, FinetuneError, FrozenConfig, Method, RetentionConfig, VocabularyConfig,
};

/// Default row length in tokens for text without prompts. The base's own context may be far longer than a CPU can train
/// on in reasonable time.
pub(crate) const DEFAULT_SEQUENCE: usize = 256;
/// Default number of passes over the niche, as (maximum number of tokens in the niche, passes). Larger niches get one
/// pass.
const EPOCHS: [(u64, u64); 2] = [(1_000_000, 3), (5_000_000, 2)];
/// Number of steps that a run should have at least. The default batch size is lowered to reach it, as far as possible.
const STEPS: u64 = 100;
/// Lower bound of the default batch size, in rows.
const FEWEST_ROWS: u64 = 4;

/// Number of tokens that an adapter's training computes in one pass (gradient accumulation adds up the rest): enough
/// for fast matrix products.
const ADAPTER_TOKENS: usize = 2048;

/// Properties of the base and of the niche's data that determine the defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BaseFacts {
    /// Maximum context of the base in tokens.
    pub context: usize,
    /// Number of parameters of the base.
    pub parameters: u64,
    /// Optimizer that the base was trained with, if known.
    pub optimizer: Option<OptimizerChoice>,
    /// Row length in tokens that fits the niche's examples, if these have prompts.
    pub fitting: Option<usize>,
    /// Number of training tokens in the niche.
    pub epoch_tokens: u64,
    /// Share of padding among the positions of a batch.
    pub padding: f64,
}

/// Configuration of a fine-tuning with every default filled in. It is saved as the run's `run.toml`.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "documented in `FinetuneConfig`")]
pub struct ResolvedFinetune {
    pub base: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_bad_record: Option<OnBadRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heldout_groups: Option<u64>,
    pub run: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain: Option<PathBuf>,
    pub method: Method,
    pub control: bool,
    pub seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<FieldNames>,
    #[serde(skip_serializing_if = "VocabularyConfig::is_empty")]
    pub tokenizer: VocabularyConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FrozenConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    #[serde(skip_serializing_if = "RetentionConfig::is_empty")]
    pub retention: RetentionConfig,
    pub training: Training,
    pub evaluation: Evaluation,
    pub checkpoint: Checkpointing,
    /// Keys that the config does not set and that affect no weight. A finished run counts as the same run for any
    /// values of these keys.
    #[serde(skip)]
    pub(crate) free: Vec<&'static str>,
    /// Sentences for the user about the defaults that were chosen, with the reasons.
    #[serde(skip)]
    pub(crate) choices: Vec<String>,
}

impl ResolvedFinetune {
    /// Returns the configuration as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings that were TOML are TOML")
    }
}

impl FinetuneConfig {
    /// Returns the `[training]` table with every default filled in. It is not validated yet.
    pub(crate) fn training(&self, facts: &BaseFacts) -> Training {
        let sequence_length = match facts.fitting {
            Some(fitting) => fitting,
            None => facts.context.min(DEFAULT_SEQUENCE),
        };
        let chosen = default_optimizer(self.method, facts.optimizer);
        let optimizer = self.training.optimizer.unwrap_or(chosen);
        let mut defaults = TrainingDefaults {
            length: Length::Tokens(chosen_tokens(facts.epoch_tokens)),
            batch_size: BATCH_SIZE,
            sequence_length,
            learning_rate: learning_rate(facts.parameters, self.method, optimizer),
            optimizer: chosen,
            weight_decay: WEIGHT_DECAY,
            padding: facts.padding,
            epoch_tokens: facts.epoch_tokens,
            // Frozen weights have no gradients to sum, so that parts of an adapter's step cost little time.
            tokens_at_once: self.method.adapts().then_some(ADAPTER_TOKENS),
        };
        let passes = self.training.epochs;
        if passes.is_some() || !self.training.has_length() {
            let length = self.training.sequence_length.unwrap_or(sequence_length);
            let tokens = match passes {
                Some(passes) => (facts.epoch_tokens as f64 * passes) as u64,
                None => chosen_tokens(facts.epoch_tokens),
            };
            defaults.batch_size = chosen_rows(tokens, length);
        }
        self.training.resolve(&defaults)
    }

    /// Returns the configuration with every default filled in.
    ///
    /// # Errors
    /// Fails if values are out of range or contradict each other.
    pub fn resolve(&self, facts: &BaseFacts) -> Result<ResolvedFinetune, FinetuneError> {
        self.training.validate()?;
        self.evaluation.validate()?;
        self.checkpoint.validate()?;
        let training = self.training(facts);
        if training.sequence_length > facts.context {
            return Err(FinetuneError::Config(format!(
                "`training.sequence_length` = {} is longer than the base's context of {}",
                training.sequence_length, facts.context
            )));
        }
        training.validate()?;
        let mut retention = self.retention.clone();
        limits::fill_in_method(&mut retention, self.retain.is_some());
        let total = training.total_steps(facts.padding);
        retention.fill_in_tokens(&training, total);
        let is_limited = retention.limits.is_some();
        let evaluation = match is_limited {
            true => limits::schedule(&self.evaluation, total),
            false => self.evaluation.resolve(total),
        };
        let mut free = vec!["extensions", "fields"];
        if self.evaluation.every.is_none() && !is_limited {
            free.push("evaluation.every");
        }
        if self.checkpoint.every.is_none() {
            free.push("checkpoint.every");
        }
        let lora = match self.method.adapts() {
            true => Some(self.lora.clone().unwrap_or_default()),
            false => self.lora.clone(),
        };
        Ok(ResolvedFinetune {
            base: self.base.clone(),
            dataset: self.dataset.clone(),
            domain: self.domain.clone(),
            texts: self.texts.clone(),
            extensions: self.extensions.clone(),
            fields: self.fields.clone(),
            pairs: self.pairs,
            separator: self.separator.clone(),
            on_bad_record: self.on_bad_record,
            group: self.group,
            group_field: self.group_field.clone(),
            heldout_groups: self.heldout_groups,
            run: self.run.clone(),
            retain: self.retain.clone(),
            method: self.method,
            control: self.control,
            seed: self.seed,
            tokenizer: self.tokenizer.clone(),
            frozen: self.frozen.clone(),
            lora,
            retention,
            checkpoint: self.checkpoint.resolve(&evaluation),
            evaluation,
            free,
            choices: match self.training.has_length() {
                true => self.optimization_choices(&training, facts),
                false => {
                    let mut choices = length_choices(&training, facts);
                    choices.extend(self.optimization_choices(&training, facts));
                    choices
                }
            },
            training,
        })
    }
}

/// Returns sentences for the user about the run length and batch size that were chosen by default.
fn length_choices(training: &Training, facts: &BaseFacts) -> Vec<String> {
    let Length::Tokens(tokens) = training.length else {
        return Vec::new();
    };
    let passes = tokens as f64 / facts.epoch_tokens.max(1) as f64;
    vec![
        format!(
            "length: {tokens} tokens, {passes:.0} passes over {} of the niche (`training.epochs` sets another)",
            facts.epoch_tokens
        ),
        format!(
            "rows: {} of {} tokens in a step (`training.batch_size` sets another number)",
            training.batch_size, training.sequence_length
        ),
    ]
}

/// Returns the default number of training tokens for a niche of `epoch_tokens` tokens.
fn chosen_tokens(epoch_tokens: u64) -> u64 {
    let found = EPOCHS.iter().find(|(most, _)| epoch_tokens <= *most);
    (epoch_tokens * found.map_or(1, |(_, epochs)| *epochs)).max(1)
}

/// Returns the default batch size in rows: a power of two that gives a run of `tokens` tokens enough steps.
fn chosen_rows(tokens: u64, sequence_length: usize) -> usize {
    let most = (tokens / (STEPS * sequence_length.max(1) as u64)).max(1);
    let rows = (most / 2 + 1).next_power_of_two();
    rows.clamp(FEWEST_ROWS, BATCH_SIZE as u64) as usize
}

#[cfg(test)]
mod tests;
