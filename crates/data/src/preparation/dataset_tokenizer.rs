//! Tokenizer of a dataset in preparation.

use std::path::Path;

use polymath_tokenizer::{ConfiguredEnds, DocumentEnds, open};
use tokenizers::Tokenizer;

use crate::sources::chat::ChatTemplate;
use crate::tokenizer::training;
use crate::{DataError, TokenizerConfig};

/// Tokenizer of a dataset, with the bytes of its file and its chat template. The file is read once, so the shards are
/// made with exactly the tokenizer that is saved next to them.
pub(super) struct DatasetTokenizer {
    pub(super) tokenizer: Tokenizer,
    pub(super) json: Vec<u8>,
    pub(super) ends: DocumentEnds,
    /// Template of its conversations; `None` if there is none, as for a tokenizer trained here.
    pub(super) template: Option<ChatTemplate>,
}

impl DatasetTokenizer {
    /// Reads a given tokenizer. Its bytes are kept unchanged, since datasets compare tokenizers by digest.
    pub(super) fn read(path: &Path, config: &TokenizerConfig) -> Result<Self, DataError> {
        let tokenizer = open(path)?;
        let json = polymath_base::read(path).map_err(DataError::file("read", path))?;
        let ends = document_ends(config, path, &tokenizer)?;
        // The path may contain a symbolic link that changes meanwhile, such as a run's `best`.
        if open(path)?.to_string(false).ok() != tokenizer.to_string(false).ok() {
            return Err(DataError::content(
                path,
                "was replaced while it was read: run the command again",
            ));
        }
        let template = ChatTemplate::of(path, &tokenizer, ends.tokens())?;
        Ok(Self {
            tokenizer,
            json,
            ends,
            template,
        })
    }

    pub(super) fn trained(tokenizer: Tokenizer) -> Result<Self, DataError> {
        let json = tokenizer
            .to_string(true)
            .map_err(|error| DataError::Tokenizer(error.to_string()))?;
        Ok(Self {
            tokenizer,
            json: json.into_bytes(),
            ends: training::trained_ends(),
            template: None,
        })
    }
}

/// Finds the tokens that begin and end documents, for a given tokenizer.
fn document_ends(
    config: &TokenizerConfig,
    path: &Path,
    tokenizer: &Tokenizer,
) -> Result<DocumentEnds, DataError> {
    let configured = ConfiguredEnds {
        begin: config.bos_token.as_deref(),
        end: config.eos_token.as_deref(),
    };
    Ok(DocumentEnds::find(path, tokenizer, configured)?)
}
