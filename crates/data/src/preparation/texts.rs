//! A niche out of raw text, prepared on the fly with the base model's tokenizer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use polymath_tokenizer::open;

use crate::{DataError, Dataset, DomainConfig, PrepareConfig, Progress, TokenizerConfig, prepare};

/// Domain of raw text for an existing model.
#[derive(Debug, Clone, PartialEq)]
pub struct Texts {
    /// The folder to make.
    pub output: PathBuf,
    /// The domain's name.
    pub domain: String,
    /// Files, folders or globs, as [`DomainConfig::paths`].
    pub paths: Vec<String>,
    /// The base's `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// The base's ids of the tokens that begin and end a document, as its config has them.
    pub bos_token_id: u32,
    /// See `bos_token_id`.
    pub eos_token_id: u32,
    /// The share of documents that is held out.
    pub heldout_fraction: f64,
    /// Seed of the split.
    pub seed: u64,
}

/// Prepares `texts` as a dataset of one domain. The same texts in the same folder again are left as they are.
///
/// # Errors
/// As [`prepare`]; and ids that the tokenizer does not have.
pub fn prepare_texts(
    texts: &Texts,
    force: bool,
    progress: &dyn Progress,
) -> Result<Dataset, DataError> {
    prepare_texts_as(texts, DomainConfig::default(), force, progress)
}

/// Prepares `texts` as [`prepare_texts`] does, read as `domain` says, whose `paths` are not used.
///
/// # Errors
/// As [`prepare_texts`].
pub fn prepare_texts_as(
    texts: &Texts,
    domain: DomainConfig,
    force: bool,
    progress: &dyn Progress,
) -> Result<Dataset, DataError> {
    let vocabulary = open(&texts.tokenizer)?;
    let token = |id: u32| {
        vocabulary.id_to_token(id).map(Some).ok_or_else(|| {
            let message = format!(
                "has no token {id}, which the model's config names: they do not belong together"
            );
            DataError::content(&texts.tokenizer, message)
        })
    };
    let domain = DomainConfig {
        paths: texts.paths.clone(),
        ..domain
    };
    let config = PrepareConfig {
        output: texts.output.clone(),
        heldout_fraction: texts.heldout_fraction,
        seed: texts.seed,
        tokenizer: TokenizerConfig {
            path: Some(texts.tokenizer.clone()),
            bos_token: token(texts.bos_token_id)?,
            eos_token: token(texts.eos_token_id)?,
            ..TokenizerConfig::default()
        },
        domains: BTreeMap::from([(texts.domain.clone(), domain)]),
    };
    prepare(&config, force, progress)
}
