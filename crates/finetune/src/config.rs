//! Config file of `finetune`.

use std::path::PathBuf;

use polymath_data::{FieldNames, GroupBy, NewTokens, OnBadRecord, PairForm};
use polymath_model::LoraConfig;
use polymath_train::{CheckpointConfig, EvaluationConfig, TrainingConfig};
use serde::{Deserialize, Serialize};

use crate::{FinetuneError, FrozenConfig, Method, RetentionConfig};

/// Configuration of a fine-tuning run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetuneConfig {
    /// Checkpoint to start from: a model folder, a run folder (its best checkpoint), or `owner/name` on the hub.
    #[serde(deserialize_with = "polymath_config::folder")]
    pub base: PathBuf,
    /// Prepared dataset that contains the niche. Set either `dataset` or `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<PathBuf>,
    /// Domain of `dataset` that is the niche; required if the dataset has several. With `texts`, the name of the
    /// niche; default: the name of the file or folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Files, folders or globs with raw text of the niche, like `paths` in `prepare`. They are prepared with the
    /// base's tokenizer into `<run>.dataset`. Set either `dataset` or `texts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Endings of the files to read in folders and globs, as in `prepare`. Requires `texts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Names of a record's fields by their meaning, as in `prepare`. Requires `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<FieldNames>,
    /// Form of a record with a prompt and its response, as in `prepare`. Requires `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairForm>,
    /// Separator of the documents in text files, as in `prepare`. Requires `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Treatment of records that contain no document, as in `prepare`. Requires `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_bad_record: Option<OnBadRecord>,
    /// Unit of a group of documents, as in `prepare`. Requires `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupBy>,
    /// Field that names a record's group, as in `prepare`. Requires `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_field: Option<String>,
    /// Minimum number of held-out groups, as in `prepare`. Requires `texts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout_groups: Option<u64>,
    /// Folder of the run.
    #[serde(deserialize_with = "polymath_config::folder")]
    pub run: PathBuf,
    /// Prepared dataset of the retained domains, whose forgetting is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<PathBuf>,
    /// New tokens that the base's tokenizer lacks.
    #[serde(default, skip_serializing_if = "VocabularyConfig::is_empty")]
    pub tokenizer: VocabularyConfig,
    /// Fine-tuning method, which determines the trainable parameters.
    #[serde(default = "default_method")]
    pub method: Method,
    /// Parameters to train while all others are frozen. Requires `method = "frozen"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FrozenConfig>,
    /// Adapter settings. Requires `method = "lora"` or `"dora"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// If true, trains on the text of `retain` instead of the niche's, with everything else the same. Forgetting in
    /// such a control run is an effect of the recipe (such as a restarted learning rate or other batches), not of the
    /// niche.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control: bool,
    /// Retention methods.
    #[serde(default, skip_serializing_if = "RetentionConfig::is_empty")]
    pub retention: RetentionConfig,
    /// Random seed of the order of the data.
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

/// Source of the niche's text.
pub(crate) enum Niche<'a> {
    /// Domain of a prepared dataset.
    Dataset(&'a PathBuf),
    /// Files, folders or globs of raw text.
    Texts(&'a [String]),
}

impl FinetuneConfig {
    /// Returns the source of the niche. Fails unless exactly one source is set.
    pub(crate) fn niche(&self) -> Result<Niche<'_>, FinetuneError> {
        let of_texts = [
            ("extensions", !self.extensions.is_empty()),
            ("fields", self.fields.is_some()),
            ("pairs", self.pairs.is_some()),
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

/// Tokens that the base's tokenizer lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VocabularyConfig {
    /// New tokens that are recognized anywhere in a text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// File with more new tokens, one on each line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_file: Option<PathBuf>,
    /// New special tokens. They have a meaning only where a chat template writes them, and are left out of decoded
    /// text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_special: Vec<String>,
}

impl VocabularyConfig {
    /// Returns true if no token is added.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns all new tokens, including those in the file.
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
