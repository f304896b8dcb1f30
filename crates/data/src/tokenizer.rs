//! The tokenizer of a data set: a byte-level BPE trained on a sample, or one that is given.

use std::path::Path;

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

use crate::{DataError, TokenizerConfig};

/// Begins and ends every document; id 0 in our own tokenizers.
pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";

/// Trains a byte-level BPE on `texts`. Digits stand alone, so that numbers are read the same wherever they occur.
///
/// # Errors
/// What the tokenizer library says.
pub(crate) fn train(vocab_size: usize, texts: Vec<String>) -> Result<Tokenizer, DataError> {
    let failed = |error: tokenizers::Error| DataError::Tokenizer(error.to_string());
    let pre_tokenizer = Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
    ]);
    let mut tokenizer = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(pre_tokenizer))
        .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
        .with_decoder(Some(ByteLevel::default()))
        .build()
        .map_err(failed)?;
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab_size)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer
        .train(&mut trainer, texts.into_iter())
        .map_err(failed)?;
    let json = tokenizer.to_string(true).map_err(failed)?;
    json.parse()
        .map_err(|error: tokenizers::Error| DataError::Tokenizer(error.to_string()))
}

/// Reads a `tokenizer.json`.
///
/// # Errors
/// A file that is none.
pub(crate) fn open(path: &Path) -> Result<Tokenizer, DataError> {
    if !path.is_file() {
        return Err(DataError::content(
            path,
            "no such tokenizer: expected a `tokenizer.json`",
        ));
    }
    Tokenizer::from_file(path).map_err(|error| {
        DataError::content(path, format!("is no tokenizer that can be read: {error}"))
    })
}

/// The ids of the tokens that begin and end a document: as configured, else by the names that the field gives them.
///
/// # Errors
/// A configured token that is not in the vocabulary; or none of the known names is.
pub(crate) fn special_tokens(
    config: &TokenizerConfig,
    tokenizer: &Tokenizer,
) -> Result<(u32, u32), DataError> {
    let configured = |key: &str, name: &Option<String>| match name {
        None => Ok(None),
        Some(name) => tokenizer.token_to_id(name).map(Some).ok_or_else(|| {
            let message = format!("`{name}` is not in the tokenizer's vocabulary");
            DataError::config(format!("tokenizer.{key}"), message)
        }),
    };
    let find = |names: &[&str]| names.iter().find_map(|name| tokenizer.token_to_id(name));
    let ends = [
        END_OF_TEXT,
        "</s>",
        "<|end_of_text|>",
        "<|im_end|>",
        "<eos>",
        "[SEP]",
    ];
    let begins = ["<|begin_of_text|>", "<s>", "<bos>", "[CLS]"];
    let end = configured("eos_token", &config.eos_token)?.or_else(|| find(&ends));
    let end = end.ok_or_else(|| {
        let message = format!(
            "not given, and the tokenizer has none of `{}`: name the token that ends a document",
            ends.join("`, `")
        );
        DataError::config("tokenizer.eos_token", message)
    })?;
    let begin = configured("bos_token", &config.bos_token)?.or_else(|| find(&begins));
    Ok((begin.unwrap_or(end), end))
}
