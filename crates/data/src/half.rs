//! Held-out documents in two halves: one to choose by, one to report on.
//!
//! What is chosen on some documents looks better on them than it is. So every choice (an interpolation, a strength, a
//! checkpoint inside limits) is made on the development half, and reported on the test half. A document's half follows
//! from its own tokens: it is the same in every run, on every machine, and whatever other documents come or go.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::TokenShard;

/// A half of the held-out documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// To choose by.
    Development,
    /// To report on.
    Test,
}

impl Half {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Half::Development => "development",
            Half::Test => "test",
        }
    }
}

impl TokenShard {
    /// The half that the `index`-th document is in: the lowest bit of the XXH3 hash of its tokens, each as four
    /// little-endian bytes, is 0 for development. Of a translated shard, the stored tokens count.
    ///
    /// # Panics
    /// Where `index` is not below [`TokenShard::documents`].
    pub fn half_of(&self, index: usize) -> Half {
        let document = self.stored().document(index);
        let mut tokens = Vec::with_capacity(document.len());
        document.copy_tokens(0..document.len(), &mut tokens);
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| token.to_le_bytes())
            .collect();
        match xxh3_64(&bytes) & 1 {
            0 => Half::Development,
            _ => Half::Test,
        }
    }
}
