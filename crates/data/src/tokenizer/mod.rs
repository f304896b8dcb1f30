//! Tokenizers: training, special tokens, extension by new tokens, and the bytes behind tokens.
//!
//! Read `training` first. `splitter` and `words` make encoding fast; `vocabulary` adds tokens; `spelling` gives the
//! bytes of every token.

pub(crate) mod special_tokens;
pub(crate) mod spelling;
pub(crate) mod splitter;
pub(crate) mod training;
pub(crate) mod vocabulary;
pub(crate) mod words;
