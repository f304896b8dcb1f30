//! Tokenizers: training, special tokens, adding tokens, and the bytes of each token.
//!
//! Begin with `training`. `splitter` and `words` make encoding fast, `vocabulary` adds tokens, and `token_bytes` gives
//! the bytes of each token.

pub(crate) mod special_tokens;
pub(crate) mod splitter;
pub(crate) mod token_bytes;
pub(crate) mod training;
pub(crate) mod vocabulary;
pub(crate) mod words;
