//! Keys and values of the tokens that a model has read.

use crate::kv_cache::{Cache, empty_cache, keep_first};
use crate::{ModelError, Transformer};

/// Tokens that a model has read, with their keys and values: a text that begins with them need not be read from its
/// beginning. It belongs to one model.
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

    /// Returns the tokens that were read.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Forgets everything behind the longest common beginning with `text`, of which at least the last token stays to be
    /// read, and returns the number of tokens kept.
    ///
    /// # Errors
    /// Fails if a tensor operation does.
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
        // Layers with a sliding window have dropped keys that an earlier token sees.
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

    /// Notes that the layers have read `tokens`.
    pub(crate) fn extend(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }
}
