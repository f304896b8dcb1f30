//! Preparation of a niche from raw text with the base model's tokenizer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use polymath_tokenizer::open;

use crate::{
    DataError, Dataset, DomainConfig, PreparationProgress, PrepareConfig, TokenizerConfig, prepare,
};

/// Raw text to prepare as one domain for an existing model.
#[derive(Debug, Clone, PartialEq)]
pub struct Texts {
    /// Folder of the dataset.
    pub output: PathBuf,
    /// Name of the domain.
    pub domain: String,
    /// Files, folders or globs, as in [`DomainConfig::paths`].
    pub paths: Vec<String>,
    /// `tokenizer.json` of the base model.
    pub tokenizer: PathBuf,
    /// ID of the token before each document, from the base model's config.
    pub bos_token_id: u32,
    /// ID of the token that ends each document, from the base model's config.
    pub eos_token_id: u32,
    /// Share of the documents that is held out.
    pub heldout_fraction: f64,
    /// Seed of the split.
    pub seed: u64,
}

/// Prepares `texts` as a dataset of one domain. If the folder already holds that dataset, it is left as it is.
///
/// # Errors
/// Fails as [`prepare`] does, or if the tokenizer does not have the given IDs.
pub fn prepare_texts(
    texts: &Texts,
    force: bool,
    progress: &dyn PreparationProgress,
) -> Result<Dataset, DataError> {
    prepare_texts_as(texts, DomainConfig::default(), force, progress)
}

/// Prepares `texts` like [`prepare_texts`], with the settings of `domain` (its `paths` are ignored).
///
/// # Errors
/// Fails as [`prepare_texts`] does.
pub fn prepare_texts_as(
    texts: &Texts,
    domain: DomainConfig,
    force: bool,
    progress: &dyn PreparationProgress,
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
