//! Conversion of a dataset to the tokens of another model.
//!
//! Bits per byte of two models with different tokenizers are compared on the same text: each model reads the
//! documents in its own tokens. If the stored tokens are of another tokenizer, they are detokenized, and the text is
//! tokenized again.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use polymath_tokenizer::{EndTokens, open};
use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::preparation::encode::Encoder;
use crate::sources::document::Part;
use crate::{DataError, Dataset, Document, ShardWriter, Split, TokenBytes, TokenShard};

/// Documents per batch: enough to keep all cores busy.
const CHUNK: usize = 512;

/// Dataset, seen through the tokenizer of a given model.
pub struct RetokenizedDataset<'a> {
    dataset: &'a Dataset,
    /// Conversion to the model's tokens; `None` if the dataset already has these.
    translation: Option<Translation>,
}

/// Conversion of stored tokens to the model's tokens.
struct Translation {
    stored: Tokenizer,
    token_bytes: TokenBytes,
    /// Special tokens of the stored tokenizer, by ID. They come from a chat template.
    special: HashMap<u32, String>,
    /// True if the stored tokenizer adds a space before every text between special tokens, not only before the first.
    spaces_stretches: bool,
    encoder: Encoder,
}

impl Dataset {
    /// Returns the dataset as seen by a model with the tokenizer at `path`. Documents begin with token `bos` and end
    /// with token `eos`.
    ///
    /// # Errors
    /// Fails if a tokenizer can't be read.
    pub fn read_by(
        &self,
        path: &Path,
        ends: EndTokens,
    ) -> Result<RetokenizedDataset<'_>, DataError> {
        let stored_end = self.manifest().tokenizer.eos_token_id;
        if self.was_made_with(path)? && stored_end == ends.end {
            return Ok(RetokenizedDataset {
                dataset: self,
                translation: None,
            });
        }
        let stored = self.tokenizer()?;
        let added = stored.get_added_tokens_decoder().into_iter();
        let special = added.filter(|(_, token)| token.special);
        let mut special: HashMap<u32, String> =
            special.map(|(id, token)| (id, token.content)).collect();
        // Tokens that end turns belong to the template even if the tokenizer does not mark them as special.
        for domain in self.domain_names() {
            for end in self.turn_ends(domain)? {
                if let Some(name) = stored.id_to_token(end) {
                    special.entry(end).or_insert(name);
                }
            }
        }
        let token_bytes = TokenBytes::of(&stored);
        Ok(RetokenizedDataset {
            dataset: self,
            translation: Some(Translation {
                spaces_stretches: spaces_stretches(&stored, &token_bytes, &special)?,
                token_bytes,
                special,
                stored,
                encoder: Encoder::new(open(path)?, ends)?,
            }),
        })
    }
}

impl RetokenizedDataset<'_> {
    /// Returns the underlying dataset.
    pub fn dataset(&self) -> &Dataset {
        self.dataset
    }

    /// Returns true if the model's tokens differ from the stored ones.
    pub fn is_translated(&self) -> bool {
        self.translation.is_some()
    }

    /// Returns a split of `domain` in the model's tokens. That is the stored shard, or a temporary one with the same
    /// documents in the same order. Document selection, groups and the [dev and test splits](crate::HeldoutSplit) are
    /// those of the stored shard, so that they are the same for every model.
    ///
    /// # Errors
    /// Fails if the stored shard can't be opened (see [`Dataset::shard`]), if the stored tokens do not decode back to
    /// the text, or if the disk is full.
    pub fn shard(&self, domain: &str, split: Split) -> Result<Arc<TokenShard>, DataError> {
        let stored = self.dataset.shard(domain, split)?;
        match &self.translation {
            None => Ok(stored),
            Some(translation) => Ok(Arc::new(translation.shard(stored)?)),
        }
    }
}

impl Translation {
    fn shard(&self, stored: Arc<TokenShard>) -> Result<TokenShard, DataError> {
        let folder =
            tempfile::tempdir().map_err(DataError::file("write into", &std::env::temp_dir()))?;
        let path = folder.path().join("translated.safetensors");
        let mut writer = ShardWriter::create(&path, self.encoder.vocab_size())?;
        for start in (0..stored.documents()).step_by(CHUNK) {
            let end = (start + CHUNK).min(stored.documents());
            let translated: Vec<(Vec<u32>, Vec<bool>)> = (start..end)
                .into_par_iter()
                .map(|index| self.document(&stored, index))
                .collect::<Result<_, DataError>>()?;
            for (index, (tokens, scored)) in (start..end).zip(translated) {
                writer.push(&tokens, &scored, stored.document(index).bytes)?;
            }
        }
        writer.finish()?;
        Ok(TokenShard::open(&path)?.translated_from(stored, folder))
    }

    /// Returns the model's tokens of a stored document, and their loss mask.
    fn document(
        &self,
        stored: &TokenShard,
        index: usize,
    ) -> Result<(Vec<u32>, Vec<bool>), DataError> {
        let document = stored.document(index);
        let parts = self.parts(&document)?;
        if !self.gives_back(&document, &parts) {
            let message = format!(
                "the tokens of document {index} do not give its text back, so that it can't be tokenized again: prepare \
                 the dataset with the model's tokenizer, in `tokenizer.path`"
            );
            return Err(DataError::content(stored.path(), message));
        }
        let mut encoded = self.encoder.encode(&parts)?;
        if encoded.scored.is_empty() {
            encoded.scored.resize(encoded.tokens.len(), true);
        }
        if let Some(last) = encoded.scored.last_mut()
            && encoded.end_added
        {
            *last = document.scored(document.len() - 1);
        }
        Ok((encoded.tokens, encoded.scored))
    }

    /// Returns true if the scored text has the stored number of bytes, so that detokenizing lost nothing.
    /// Conversations can't be checked, since the template's text is not counted. A scored token across the end of a
    /// prompt may bring some bytes of the prompt.
    fn gives_back(&self, document: &Document<'_>, parts: &[Part]) -> bool {
        if parts.iter().any(|part| part.from_template) {
            return true;
        }
        let own = parts.iter().filter(|part| part.scored);
        let bytes: u64 = own.map(|part| part.text.len() as u64).sum();
        let mut tokens = Vec::with_capacity(document.len());
        document.copy_tokens(0..document.len(), &mut tokens);
        let begins =
            (1..document.len()).filter(|&at| document.scored(at) && !document.scored(at - 1));
        let over: usize = begins
            .map(|at| self.token_bytes.bytes(tokens[at]).len().saturating_sub(1))
            .sum();
        (document.bytes..=document.bytes + over as u64).contains(&bytes)
    }

    /// Splits a document, without its end token, into special tokens and runs of text that are either scored or not.
    fn parts(&self, document: &Document<'_>) -> Result<Vec<Part>, DataError> {
        let mut tokens = Vec::with_capacity(document.len());
        document.copy_tokens(0..document.len() - 1, &mut tokens);
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(first) = tokens.get(at) {
            let scored = document.scored(at);
            let from = at;
            at += 1;
            if let Some(name) = self.special.get(first) {
                parts.extend(Part::template(name, scored));
                continue;
            }
            while at < tokens.len()
                && document.scored(at) == scored
                && !self.special.contains_key(&tokens[at])
            {
                at += 1;
            }
            let after_special = from > 0 && self.special.contains_key(&tokens[from - 1]);
            let begins = from == 0 || (after_special && self.spaces_stretches);
            parts.push(Part::text(self.text(&tokens[from..at], begins)?, scored));
        }
        Ok(parts)
    }

    /// Returns the text of these tokens. Some tokenizers add a space before the text and remove it when decoding:
    /// `begins` is true if the tokens stand where such a space may have been added.
    fn text(&self, tokens: &[u32], begins: bool) -> Result<String, DataError> {
        let spelt = |token: &u32| self.token_bytes.bytes(*token);
        let bytes: Vec<u8> = tokens.iter().flat_map(spelt).copied().collect();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(rest) = text.strip_prefix(' ').filter(|_| begins) {
            let first = self.stored.decode(&tokens[..1], false);
            let first = first.map_err(|error| DataError::Tokenizer(error.to_string()))?;
            if !first.starts_with(' ') {
                return Ok(rest.to_owned());
            }
        }
        Ok(text)
    }
}

/// Returns true if a tokenizer adds a space before text that follows a special token.
fn spaces_stretches(
    tokenizer: &Tokenizer,
    token_bytes: &TokenBytes,
    special: &HashMap<u32, String>,
) -> Result<bool, DataError> {
    let Some((id, name)) = special.iter().min() else {
        return Ok(false);
    };
    let encoding = tokenizer.encode_fast(format!("{name}a"), false);
    let encoding = encoding.map_err(|error| DataError::Tokenizer(error.to_string()))?;
    let ids = encoding.get_ids();
    Ok(ids.first() == Some(id)
        && ids
            .get(1)
            .is_some_and(|next| token_bytes.bytes(*next).starts_with(b" ")))
}
