//! Config file of `finetune`.

use std::path::PathBuf;

use polymath_data::{FieldNames, GroupBy, NewTokens, OnBadRecord};
use polymath_model::LoraConfig;
use polymath_train::{CheckpointConfig, EvaluationConfig, TrainingConfig};
use serde::{Deserialize, Serialize};

use crate::{FinetuneError, FrozenConfig, Method, RetentionConfig};

/// Configuration of a fine-tuning run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetuneConfig {
    /// Checkpoint to start from: a model folder, a run folder (its best checkpoint), or `owner/name` of the hub.
    pub base: PathBuf,
    /// Prepared dataset that holds the niche; or `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<PathBuf>,
    /// Domain of `dataset` that is the niche; required if it has several. With `texts`, the niche's name; default:
    /// the name of their file or folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Files, folders or globs of raw text for the niche, as `paths` in `prepare`, prepared with the base's tokenizer
    /// into `<run>.dataset`; or `dataset`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Endings of the files that are read of folders and globs, as in `prepare`; with `texts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Names of a record's fields by their meaning, as in `prepare`; with `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<FieldNames>,
    /// Separator of the documents in text files, as in `prepare`; with `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Treatment of records that make no document, as in `prepare`; with `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_bad_record: Option<OnBadRecord>,
    /// Unit of a group of documents, as in `prepare`; with `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupBy>,
    /// Field that names a record's group, as in `prepare`; with `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_field: Option<String>,
    /// Least number of groups that are held out, as in `prepare`; with `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout_groups: Option<u64>,
    /// Folder of the run.
    pub run: PathBuf,
    /// Prepared dataset whose domains are watched for forgetting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<PathBuf>,
    /// Tokens that the base lacks.
    #[serde(default, skip_serializing_if = "VocabularyConfig::is_empty")]
    pub tokenizer: VocabularyConfig,
    /// Fine-tuning method: the trainable parameters.
    #[serde(default = "default_method")]
    pub method: Method,
    /// Parameters that are trained although the rest is frozen; with `method = "frozen"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FrozenConfig>,
    /// Adapter; with `method = "lora"` or `"dora"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Trains on the text of `retain` in place of the niche's, all else the same: forgetting of such a run is an effect
    /// of the recipe (a learning rate that starts again, other batches), not of the niche.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control: bool,
    /// Retention methods.
    #[serde(default, skip_serializing_if = "RetentionConfig::is_empty")]
    pub retention: RetentionConfig,
    /// Seed of the order of the data.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Optimization: length, batches, learning rate, optimizer.
    #[serde(default)]
    pub training: TrainingConfig,
    /// Held-out measurements during the run.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    /// Checkpoints during the run.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
}

fn default_method() -> Method {
    Method::Full
}

fn default_seed() -> u64 {
    1
}

/// Source of the niche.
pub(crate) enum Niche<'a> {
    /// Domain of a prepared dataset.
    Dataset(&'a PathBuf),
    /// Globs of raw text.
    Texts(&'a [String]),
}

impl FinetuneConfig {
    /// Returns the source of the niche, which must be unique.
    pub(crate) fn niche(&self) -> Result<Niche<'_>, FinetuneError> {
        let of_texts = [
            ("extensions", !self.extensions.is_empty()),
            ("fields", self.fields.is_some()),
            ("separator", self.separator.is_some()),
            ("on_bad_record", self.on_bad_record.is_some()),
            ("group", self.group.is_some()),
            ("group_field", self.group_field.is_some()),
            ("heldout_groups", self.heldout_groups.is_some()),
        ];
        let given = of_texts.into_iter().find(|(_, is_given)| *is_given);
        if let (Some((key, _)), Some(_)) = (given, &self.dataset) {
            return Err(FinetuneError::Config(format!(
                "`{key}` is for `texts`; the `dataset` is prepared already: leave it out, or set it where that is prepared"
            )));
        }
        match (&self.dataset, self.texts.is_empty()) {
            (Some(dataset), true) => Ok(Niche::Dataset(dataset)),
            (None, false) => Ok(Niche::Texts(&self.texts)),
            (Some(_), false) => Err(FinetuneError::Config(
                "`dataset` and `texts` are both given: choose one".into(),
            )),
            (None, true) => Err(FinetuneError::Config(
                "neither `dataset` nor `texts` is given: one of them holds the niche".into(),
            )),
        }
    }
}

/// The `[tokenizer]` table: tokens that the base's tokenizer lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VocabularyConfig {
    /// New tokens that are recognized wherever they stand in a text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// File with more new tokens, one a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_file: Option<PathBuf>,
    /// New special tokens: meant only where a chat template writes them, and silent in decoded text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_special: Vec<String>,
}

impl VocabularyConfig {
    /// Returns true if nothing is added.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the new tokens, those of the file included.
    pub(crate) fn tokens(&self) -> Result<NewTokens, FinetuneError> {
        let mut ordinary = self.add.clone();
        if let Some(path) = &self.add_file {
            let text = polymath_input::read_text(path)?;
            let lines = text.lines().filter(|line| !line.is_empty());
            ordinary.extend(lines.map(str::to_owned));
        }
        Ok(NewTokens {
            ordinary,
            special: self.add_special.clone(),
        })
    }
}
