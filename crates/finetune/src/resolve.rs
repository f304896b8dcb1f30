//! Resolution of a fine-tuning's config: fills in the defaults, which depend on base and data.

use std::path::PathBuf;

use polymath_data::{FieldNames, GroupBy, OnBadRecord, PairForm};
use polymath_model::LoraConfig;
use polymath_train::{Checkpointing, Evaluation, Training};
use serde::Serialize;

use crate::base_facts::BaseFacts;
use crate::retention::limits;
use crate::training_defaults::length_choices;
use crate::{
    FinetuneConfig, FinetuneError, FrozenConfig, Method, RetentionConfig, VocabularyConfig,
};

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
        let evaluation = self.evaluation(&training, total, facts);
        let lora = match self.method.adapts() {
            true => Some(self.lora.clone().unwrap_or_default()),
            false => self.lora.clone(),
        };
        let checkpoint = self.checkpoint.resolve(&evaluation);
        let mut choices = self.choices(&training, facts);
        choices.extend(training.without_effect());
        choices.extend(checkpoint.unreached(total));
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
            checkpoint,
            evaluation,
            free: self.free_keys(is_limited),
            choices,
            training,
        })
    }

    /// Returns the keys that this config does not set and that affect no weight.
    fn free_keys(&self, is_limited: bool) -> Vec<&'static str> {
        let mut free = vec!["extensions", "fields"];
        if self.evaluation.every.is_none() && !is_limited {
            free.push("evaluation.every");
        }
        if self.checkpoint.every.is_none() {
            free.push("checkpoint.every");
        }
        free
    }

    /// Returns sentences for the user about the defaults of the `[training]` table that were chosen.
    fn choices(&self, training: &Training, facts: &BaseFacts) -> Vec<String> {
        let mut choices = match self.training.has_length() {
            true => Vec::new(),
            false => length_choices(training, facts),
        };
        choices.extend(self.optimization_choices(training, facts));
        choices
    }
}

#[cfg(test)]
mod tests;
