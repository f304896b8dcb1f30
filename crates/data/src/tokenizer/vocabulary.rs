//! Adding tokens to a tokenizer, for a fine-tuned model that has to read or write symbols of its own.

use std::collections::HashSet;
use std::path::Path;

use polymath_tokenizer::open_alone;
use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use crate::{DataError, TokenBytes};

/// Sections of `tokenizer.json` that decide the tokens of a text, besides the added tokens.
const PARTS: [&str; 4] = ["normalizer", "pre_tokenizer", "model", "decoder"];

/// Tokens to add to a tokenizer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTokens {
    /// Ordinary tokens, which are recognized anywhere in a text.
    pub ordinary: Vec<String>,
    /// Special tokens: recognized only where a chat template writes them, plain text elsewhere, and left out of
    /// decoded text.
    pub special: Vec<String>,
}

/// A tokenizer with added tokens.
#[derive(Debug, Clone)]
pub struct ExtendedTokenizer {
    /// Content of the extended tokenizer's `tokenizer.json`.
    pub json: String,
    /// Number of IDs of the base tokenizer: its highest ID plus one.
    pub known: usize,
    /// Added tokens, whose IDs begin at `known`; ordinary ones come first.
    pub added: Vec<AddedToken>,
}

impl ExtendedTokenizer {
    /// Adds the tokens `new` to the tokenizer at `path`.
    ///
    /// # Errors
    /// Fails if the file can't be read, if there are no new tokens, if one is empty, repeated or already in the
    /// vocabulary, or if the base's IDs have gaps.
    pub fn new(path: &Path, new: &NewTokens) -> Result<Self, DataError> {
        let mut tokenizer = open_alone(path)?;
        check(path, &tokenizer, new)?;
        let ids = tokenizer.get_vocab(true).into_values();
        let known = ids.max().map_or(0, |id| id as usize + 1);
        let kinds = [(&new.ordinary, false), (&new.special, true)];
        let added: Vec<AddedToken> = kinds
            .into_iter()
            .flat_map(|(tokens, special)| {
                tokens
                    .iter()
                    .map(move |token| AddedToken::from(token, special))
            })
            .collect();
        let failed = |error: tokenizers::Error| DataError::Tokenizer(error.to_string());
        tokenizer
            .add_tokens(added.iter().cloned())
            .map_err(failed)?;
        let follows = |(token, id): (&AddedToken, usize)| {
            tokenizer.token_to_id(&token.content) == Some(id as u32)
        };
        if !added.iter().zip(known..).all(follows) {
            let message = "its ids have gaps, which new tokens would fill: number them without, then add tokens";
            return Err(DataError::content(path, message));
        }
        Ok(Self {
            json: tokenizer.to_string(true).map_err(failed)?,
            known,
            added,
        })
    }
}

fn check(path: &Path, tokenizer: &Tokenizer, new: &NewTokens) -> Result<(), DataError> {
    let refuse = |message: String| Err(DataError::content(path, message));
    let token_bytes = TokenBytes::of(tokenizer);
    let mut seen = HashSet::new();
    for token in new.ordinary.iter().chain(&new.special) {
        if token.trim().is_empty() {
            return refuse(format!(
                "can't take the new token `{token}`, which is empty: leave it out"
            ));
        }
        if !seen.insert(token) {
            return refuse(format!(
                "can't take the new token `{token}` twice: give it once"
            ));
        }
        let known = match tokenizer.token_to_id(token) {
            Some(id) => Some(id),
            None => alone(tokenizer, &token_bytes, token)?,
        };
        if let Some(id) = known {
            return refuse(format!(
                "has the new token `{token}` already (token {id}): leave it out"
            ));
        }
    }
    if seen.is_empty() {
        return refuse("no new tokens are given for it".into());
    }
    Ok(())
}

/// Returns the ID of the single token that stands for exactly this text, if there is one.
fn alone(
    tokenizer: &Tokenizer,
    token_bytes: &TokenBytes,
    text: &str,
) -> Result<Option<u32>, DataError> {
    let encoding = tokenizer.encode_fast(text, false);
    let encoding = encoding.map_err(|error| DataError::Tokenizer(error.to_string()))?;
    Ok(match encoding.get_ids() {
        [id] if token_bytes.bytes(*id) == text.as_bytes() => Some(*id),
        _ => None,
    })
}

/// Returns true if the tokenizer `extended` is `tokenizer` with added tokens: all tokens of `tokenizer` have the same
/// IDs in both, and text without new tokens gives the same tokens in both.
///
/// # Errors
/// Fails if the file is not a valid tokenizer.
pub(crate) fn extends(extended: &Path, tokenizer: &Tokenizer) -> Result<bool, DataError> {
    let value = |tokenizer: &Tokenizer| {
        serde_json::to_value(tokenizer)
            .map_err(|error| DataError::content(extended, error.to_string()))
    };
    let (before, after) = (value(tokenizer)?, value(&open_alone(extended)?)?);
    if PARTS.iter().any(|part| before[part] != after[part]) {
        return Ok(false);
    }
    let added = |value: &Value| {
        value["added_tokens"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let after = added(&after);
    Ok(added(&before).iter().all(|token| after.contains(token)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::training::{END_OF_TEXT, train};

    fn saved(tokenizer: &Tokenizer, folder: &Path, name: &str) -> std::path::PathBuf {
        let path = folder.join(name);
        tokenizer.save(&path, true).unwrap();
        path
    }

    fn tokens(ordinary: &[&str], special: &[&str]) -> NewTokens {
        let owned = |tokens: &[&str]| tokens.iter().map(|&token| token.to_owned()).collect();
        NewTokens {
            ordinary: owned(ordinary),
            special: owned(special),
        }
    }

    /// Checks that new IDs follow the old ones, that text without new tokens keeps its tokens, and that ordinary new
    /// tokens are recognized in text.
    #[test]
    fn new_tokens_follow_the_old_ones() {
        let folder = tempfile::tempdir().unwrap();
        let before = train(300, vec!["a rose is a rose ".repeat(9)]).unwrap();
        let size = before.get_vocab_size(true);
        let path = saved(&before, folder.path(), "before.json");
        let new = tokens(&["⟨qed⟩", " née"], &["<|tool|>"]);
        let extended = ExtendedTokenizer::new(&path, &new).unwrap();
        assert_eq!(extended.known, size);
        let after: Tokenizer = extended.json.parse().unwrap();
        let ids: Vec<Option<u32>> = ["⟨qed⟩", " née", "<|tool|>", END_OF_TEXT]
            .iter()
            .map(|token| after.token_to_id(token))
            .collect();
        let size = size as u32;
        assert_eq!(ids, [Some(size), Some(size + 1), Some(size + 2), Some(0)]);
        let ids = |tokenizer: &Tokenizer, text: &str| {
            tokenizer
                .encode_fast(text, false)
                .unwrap()
                .get_ids()
                .to_vec()
        };
        assert_eq!(ids(&after, "a rose is née"), {
            let mut all = ids(&before, "a rose is");
            all.push(size + 1);
            all
        });
        assert_eq!(ids(&after, "is a rose"), ids(&before, "is a rose"));
        let token_bytes = TokenBytes::of(&after);
        assert_eq!(token_bytes.bytes(size + 1), " née".as_bytes());
        assert_eq!(token_bytes.bytes(size + 2), b"");

        let extended = saved(&after, folder.path(), "after.json");
        assert!(extends(&extended, &before).unwrap());
        assert!(extends(&path, &before).unwrap());
        assert!(!extends(&path, &after).unwrap());
        let other = train(300, vec!["sub rosa ".repeat(9)]).unwrap();
        let other = saved(&other, folder.path(), "other.json");
        assert!(!extends(&other, &before).unwrap());
    }

    /// Checks that a token that is empty or not new is refused by its name.
    #[test]
    fn old_and_empty_tokens_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let before = train(300, vec!["a rose is a rose ".repeat(9)]).unwrap();
        let path = saved(&before, folder.path(), "tokenizer.json");
        for (new, said) in [
            (tokens(&[], &[]), "no new tokens"),
            (tokens(&["fine", ""], &[]), "``, which is empty"),
            (tokens(&["\t"], &[]), "which is empty"),
            (tokens(&["fine"], &["fine"]), "`fine` twice"),
            (
                tokens(&[], &[END_OF_TEXT]),
                "`<|endoftext|>` already (token 0)",
            ),
            // The vocabulary has it as `Ġrose`.
            (tokens(&[" rose"], &[]), "` rose` already"),
        ] {
            let error = ExtendedTokenizer::new(&path, &new).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(error.contains("tokenizer.json"), "{error}");
        }
    }
}
