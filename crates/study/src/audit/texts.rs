//! Dataset of an audit: the bundled text and the user's own, all of it held out.

use std::collections::BTreeMap;
use std::path::Path;

use polymath_data::{Dataset, DomainConfig, NoProgress, PrepareConfig, TokenizerConfig, prepare};
use polymath_model::ModelSource;

use super::AuditOptions;
use super::bundled::Bundled;
use crate::StudyError;

/// Name of the folder with the bundled documents, in the audit's folder.
const TEXT: &str = "text";
/// Name of the dataset's folder, in the audit's folder.
const DATASET: &str = "dataset";

/// Text of the user, audited as a domain of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnText {
    /// Name of the domain.
    pub name: String,
    /// File, folder or glob, as in [`DomainConfig::paths`].
    pub path: String,
}

/// Checks the names of the user's texts and of the niche.
///
/// # Errors
/// Fails if a name is taken, or if no text has the name of the niche.
pub(super) fn check(options: &AuditOptions, bundled: &Bundled) -> Result<(), StudyError> {
    let own: Vec<&str> = options
        .texts
        .iter()
        .map(|text| text.name.as_str())
        .collect();
    for (at, name) in own.iter().enumerate() {
        if bundled.has(name) || own[..at].contains(name) {
            return Err(StudyError::refused(format!(
                "`--texts`: there is a domain `{name}` already: give the text another name, as `--texts my-{name}=<path>`"
            )));
        }
    }
    match &options.niche {
        Some(niche) if !own.contains(&niche.as_str()) => Err(StudyError::refused(format!(
            "`--niche {niche}`: no text has this name: add `--texts {niche}=<path>` with text of the niche that was not trained on"
        ))),
        _ => Ok(()),
    }
}

/// Writes the bundled documents and prepares all texts with the base's tokenizer.
///
/// # Errors
/// Fails if a text can't be read, or if the folder can't be written.
pub(super) fn prepare_all(
    base: &Path,
    bundled: &Bundled,
    options: &AuditOptions,
) -> Result<Dataset, StudyError> {
    let mut domains = BTreeMap::new();
    for files in bundled.write_domains(&options.folder.join(TEXT), options.tokens)? {
        let domain = DomainConfig {
            questions: files.questions,
            ..held_out(files.documents.display().to_string())
        };
        domains.insert(files.name.to_owned(), domain);
    }
    for text in &options.texts {
        domains.insert(text.name.clone(), held_out(text.path.clone()));
    }
    let source = ModelSource::of(base);
    let path = source.tokenizer()?;
    let ends = source.config()?.document_ends();
    let tokenizer = polymath_tokenizer::open(&path).map_err(StudyError::refused)?;
    let config = PrepareConfig {
        output: options.folder.join(DATASET),
        heldout_fraction: 0.5,
        seed: 0,
        tokenizer: TokenizerConfig {
            bos_token: tokenizer.id_to_token(ends.begin),
            eos_token: tokenizer.id_to_token(ends.end),
            path: Some(path),
            ..TokenizerConfig::default()
        },
        domains,
    };
    prepare(&config, true, &NoProgress).map_err(StudyError::refused)
}

/// Returns the settings of a domain that holds out all documents at `path`.
fn held_out(path: String) -> DomainConfig {
    DomainConfig {
        heldout_paths: vec![path],
        ..DomainConfig::default()
    }
}
