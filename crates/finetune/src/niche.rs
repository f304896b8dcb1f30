//! Data of the niche and of the retained domains.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_data::{
    Dataset, DomainConfig, Progress, Reading, Split, Texts, TokenShard, prepare_texts_as,
};
use polymath_model::ModelConfig;

use crate::{FinetuneConfig, FinetuneError};

/// Name of a niche that is prepared from raw text.
const TEXTS: &str = "niche";

/// Returns the folder of a niche that is prepared from raw text. It is beside the run folder, which is created only
/// after all checks.
pub(crate) fn niche_folder(config: &FinetuneConfig) -> PathBuf {
    let mut output = config.run.clone().into_os_string();
    output.push(".dataset");
    output.into()
}

/// Prepares the niche as a dataset in `output`, with the first and last token of the base's config.
pub(crate) fn prepare_niche(
    config: &FinetuneConfig,
    output: &Path,
    patterns: &[String],
    (tokenizer, model): (&Path, &ModelConfig),
    progress: &dyn Progress,
) -> Result<Dataset, FinetuneError> {
    let texts = Texts {
        output: output.to_path_buf(),
        domain: TEXTS.to_owned(),
        paths: patterns.to_vec(),
        tokenizer: tokenizer.to_path_buf(),
        bos_token_id: model.bos_token_id,
        eos_token_id: model.eos_token_id,
        heldout_fraction: 0.05,
        seed: 0,
    };
    let domain = DomainConfig {
        separator: config.separator.clone(),
        on_bad_record: config.on_bad_record,
        group: config.group,
        group_field: config.group_field.clone(),
        heldout_groups: config.heldout_groups,
        ..DomainConfig::default()
    };
    Ok(prepare_texts_as(&texts, domain, false, progress)?)
}

pub(crate) fn choose_niche(
    config: &FinetuneConfig,
    dataset: &Dataset,
) -> Result<String, FinetuneError> {
    let names = dataset.domain_names();
    match (&config.domain, &names[..]) {
        (Some(name), _) if names.contains(&name.as_str()) => Ok(name.clone()),
        (None, [only]) => Ok((*only).to_owned()),
        (given, _) => {
            let problem = match given {
                Some(name) => format!("`domain` = `{name}` is not in the dataset"),
                None => "the dataset has several domains: name the niche in `domain`".to_owned(),
            };
            Err(FinetuneError::Config(format!(
                "{problem}; it has `{}`",
                names.join("`, `")
            )))
        }
    }
}

/// Tokenizer and special tokens by which a model reads datasets.
#[derive(Clone, Copy)]
pub(crate) struct TokenReader<'a> {
    /// Path of its `tokenizer.json`.
    pub tokenizer: &'a Path,
    /// Path of the base's `tokenizer.json`, without the new tokens.
    pub base_tokenizer: &'a Path,
    /// Tokens that begin and end its documents.
    pub ends: (u32, u32),
}

impl TokenReader<'_> {
    /// Checks that a dataset is in the tokens of the reader or of its base.
    pub fn check(self, dataset: &Dataset) -> Result<(), FinetuneError> {
        if dataset.check_fits(self.tokenizer, self.ends).is_err() {
            dataset.check_fits(self.base_tokenizer, self.ends)?;
        }
        Ok(())
    }

    /// Returns a dataset in the reader's tokens.
    pub fn read(self, dataset: &Dataset) -> Result<Reading<'_>, FinetuneError> {
        Ok(dataset.read_by(self.tokenizer, self.ends)?)
    }

    /// Returns the fingerprint of a dataset's documents in the reader's tokens.
    pub fn fingerprint(self, dataset: &Dataset) -> Result<String, FinetuneError> {
        let fingerprint = dataset.fingerprint().to_owned();
        if !self.read(dataset)?.is_translated() {
            return Ok(fingerprint);
        }
        let tokenizer = polymath_train::sha256_of(self.tokenizer)?;
        Ok(format!("{fingerprint}+{tokenizer}"))
    }

    /// Returns the held-out shards of the niche and of every retained domain.
    pub fn watch(
        self,
        (dataset, niche): (&Dataset, &str),
        retained: Option<&Dataset>,
    ) -> Result<Vec<(String, Arc<TokenShard>)>, FinetuneError> {
        let shard = self.read(dataset)?.shard(niche, Split::Heldout)?;
        let mut watched = vec![(niche.to_owned(), shard)];
        let Some(retained) = retained else {
            return Ok(watched);
        };
        let reading = self.read(retained)?;
        for name in retained.domain_names() {
            if name != niche {
                watched.push((name.to_owned(), reading.shard(name, Split::Heldout)?));
            } else if retained.fingerprint() != dataset.fingerprint() {
                return Err(FinetuneError::Config(format!(
                    "the niche `{niche}` is also a domain of `retain`, with other documents: rename one of them"
                )));
            }
        }
        Ok(watched)
    }
}

/// Data of a run, open from the start: the datasets may be replaced or removed while it runs.
pub(crate) struct NicheData {
    /// Fingerprint of the niche's data in the tokens of training.
    pub fingerprint: String,
    /// Training documents of the niche.
    pub train: Arc<TokenShard>,
    /// Held-out documents, the niche's first.
    pub watched: Vec<(String, Arc<TokenShard>)>,
    /// Same documents in the base's tokens.
    pub watched_by_base: Vec<(String, Arc<TokenShard>)>,
}

impl NicheData {
    /// Opens the data, those of the base in its own tokens.
    pub fn open(
        reader: TokenReader,
        dataset: &Dataset,
        niche: &str,
        retained: Option<&Dataset>,
    ) -> Result<Self, FinetuneError> {
        let watched = reader.watch((dataset, niche), retained)?;
        let base = TokenReader {
            tokenizer: reader.base_tokenizer,
            ..reader
        };
        Ok(Self {
            fingerprint: reader.fingerprint(dataset)?,
            train: reader.read(dataset)?.shard(niche, Split::Train)?,
            watched_by_base: match reader.tokenizer == reader.base_tokenizer {
                true => watched.clone(),
                false => base.watch((dataset, niche), retained)?,
            },
            watched,
        })
    }
}
