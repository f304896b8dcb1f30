//! A tokenizer with tokens added to it: what a fine-tuning gives a model that has to read or write signs of its own.

use std::collections::HashSet;
use std::path::Path;

use polymath_tokenizer::open_alone;
use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use crate::{DataError, Spelling};

/// Sections of a tokenizer that decide the tokens of a text, beside the added ones.
const PARTS: [&str; 4] = ["normalizer", "pre_tokenizer", "model", "decoder"];

/// Tokens for a tokenizer that lacks them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTokens {
    /// Recognized wherever they stand in a text.
    pub ordinary: Vec<String>,
    /// Meant only where a chat template writes them; the same signs in a text are text. They are silent in decoded
    /// text.
    pub special: Vec<String>,
}

/// A tokenizer with tokens added.
#[derive(Debug, Clone)]
pub struct ExtendedTokenizer {
    /// The text of its `tokenizer.json`.
    pub json: String,
    /// One more than the greatest id of the base.
    pub known: usize,
    /// The new tokens, whose ids follow from `known` on: the ordinary ones first.
    pub added: Vec<AddedToken>,
}

impl ExtendedTokenizer {
    /// The tokenizer at `path` with `new` tokens.
    ///
    /// # Errors
    /// A file that can't be read; no tokens, an empty one, one that is given twice or is there already; ids with gaps.
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
    let spelling = Spelling::of(tokenizer);
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
            None => alone(tokenizer, &spelling, token)?,
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

/// The one token that stands for just this text, if there is one.
fn alone(tokenizer: &Tokenizer, spelling: &Spelling, text: &str) -> Result<Option<u32>, DataError> {
    let encoding = tokenizer.encode_fast(text, false);
    let encoding = encoding.map_err(|error| DataError::Tokenizer(error.to_string()))?;
    Ok(match encoding.get_ids() {
        [id] if spelling.bytes(*id) == text.as_bytes() => Some(*id),
        _ => None,
    })
}

/// Returns true if the tokenizer `extended` is `tokenizer` with tokens added: each token of the one has the same id in
/// the other, and text in which none of the new tokens stands has the same tokens in both.
///
/// # Errors
/// A file that is no tokenizer.
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

    /// New ids follow the old ones, text without new tokens keeps its own, and ordinary ones are recognized in text.
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
        let spelling = Spelling::of(&after);
        assert_eq!(spelling.bytes(size + 1), " née".as_bytes());
        assert_eq!(spelling.bytes(size + 2), b"");

        let extended = saved(&after, folder.path(), "after.json");
        assert!(extends(&extended, &before).unwrap());
        assert!(extends(&path, &before).unwrap());
        assert!(!extends(&path, &after).unwrap());
        let other = train(300, vec!["sub rosa ".repeat(9)]).unwrap();
        let other = saved(&other, folder.path(), "other.json");
        assert!(!extends(&other, &before).unwrap());
    }

    /// A token that is not new is refused by its name.
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
            // Known as `Ġrose`.
            (tokens(&[" rose"], &[]), "` rose` already"),
        ] {
            let error = ExtendedTokenizer::new(&path, &new).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(error.contains("tokenizer.json"), "{error}");
        }
    }
}
