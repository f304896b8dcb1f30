//! Tokenizers for all crates: opening a `tokenizer.json` with the settings files next to it, begin and end tokens of
//! documents, prompts, and streaming decoding.
//!
//! ```no_run
//! use polymath_tokenizer::*;
//!
//! let path = "checkpoints/small/best/tokenizer.json".as_ref();
//! let tokenizer = open(path)?;
//! let ends = DocumentEnds::find(path, &tokenizer, ConfiguredEnds::default())?;
//! let prompt = encode_prompt(&tokenizer, "The symbol of sodium is", ends.begin)?;
//! let mut stream = TextStream::new(&tokenizer);
//! let text: String = prompt.into_iter().map(|token| stream.push(token)).collect();
//! println!("{text}{}", stream.finish());
//! # Ok::<(), TokenizerError>(())
//! ```

mod ends;
mod error;
mod json;
mod open;
mod prompt;
mod settings;
mod stream;
mod untrusted;

pub use ends::{ConfiguredEnds, DocumentEnds, EndTokens};
pub use error::TokenizerError;
pub use json::read_optional_json;
pub use open::{open, open_alone, parse};
pub use prompt::{Continuation, encode_prompt, tokens_within};
pub use settings::{NamedToken, SETTINGS_FILES, TokenizerSettings};
pub use stream::TextStream;
