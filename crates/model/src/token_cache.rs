//! Cache of the keys and values of tokens that a model has read.

use crate::kv_cache::{Cache, empty_cache, keep_first};
use crate::{ModelError, Transformer};

/// Tokens that a model has read, with their keys and values. A text that begins with these tokens can be continued
/// without reading them again. A cache is valid for one model.
pub struct TokenCache {
    tokens: Vec<u32>,
    pub(crate) layers: Cache,
}

impl TokenCache {
    /// Creates a cache without tokens for `model`.
    pub fn empty(model: &Transformer) -> Self {
        Self {
            tokens: Vec::new(),
            layers: empty_cache(model.config().num_hidden_layers),
        }
    }

    /// Returns the tokens whose keys and values are cached.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Keeps only the tokens of the longest common beginning with `text`, without the last token of `text`, so that
    /// at least one token remains to be read. Returns the number of tokens kept.
    ///
    /// # Errors
    /// Fails if a tensor operation fails.
    pub(crate) fn keep_common(
        &mut self,
        model: &Transformer,
        text: &[u32],
    ) -> Result<usize, ModelError> {
        let pairs = self.tokens.iter().zip(text);
        let common = pairs.take_while(|(read, given)| read == given).count();
        let kept = common.min(text.len().saturating_sub(1));
        if kept == self.tokens.len() {
            return Ok(kept);
        }
        // Layers with a sliding window have dropped keys that the tokens after a shorter beginning need.
        if model.config().sliding_window.is_some() {
            *self = Self::empty(model);
            return Ok(0);
        }
        for layer in &mut self.layers {
            keep_first(layer, kept)?;
        }
        self.tokens.truncate(kept);
        Ok(kept)
    }

    /// Records that the layers have read `tokens`.
    pub(crate) fn extend(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }
}
