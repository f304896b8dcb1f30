//! Encoding of prompts.

use tokenizers::Tokenizer;

use crate::TokenizerError;

/// Encodes a prompt: the token `begin` (unless the text begins with it already), then the tokens of `text`. Special
/// tokens in the text are recognized.
///
/// # Errors
/// Fails if the tokenizer library can't encode the text.
pub fn encode_prompt(
    tokenizer: &Tokenizer,
    text: &str,
    begin: u32,
) -> Result<Vec<u32>, TokenizerError> {
    let encoding = tokenizer
        .encode_fast(text, false)
        .map_err(|error| TokenizerError::Text(error.to_string()))?;
    let mut tokens = encoding.get_ids().to_vec();
    if tokens.first() != Some(&begin) {
        tokens.insert(0, begin);
    }
    Ok(tokens)
}

/// Tokens of a prompt and its continuation, encoded as one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// Begin token, and the tokens of prompt and continuation.
    pub tokens: Vec<u32>,
    /// Number of tokens that belong to the prompt, including the begin token. A token that spans the end of the prompt
    /// belongs to the continuation.
    pub given: usize,
}

impl Continuation {
    /// Encodes `prompt` and `continuation` as one text after the token `begin` (unless the text begins with it
    /// already).
    ///
    /// # Errors
    /// Fails if the tokenizer library can't encode the text.
    pub fn encode(
        tokenizer: &Tokenizer,
        begin: u32,
        prompt: &str,
        continuation: &str,
    ) -> Result<Self, TokenizerError> {
        let encoding = tokenizer
            .encode(format!("{prompt}{continuation}"), false)
            .map_err(|error| TokenizerError::Text(error.to_string()))?;
        let mut tokens = encoding.get_ids().to_vec();
        let mut given = tokens_within(encoding.get_offsets(), prompt.len());
        if tokens.first() != Some(&begin) || given == 0 {
            tokens.insert(0, begin);
            given += 1;
        }
        Ok(Self { tokens, given })
    }
}

/// Counts the leading tokens that end within the first `length` bytes of their text; `offsets` are the tokens' byte
/// ranges.
pub fn tokens_within(offsets: &[(usize, usize)], length: usize) -> usize {
    let beyond = offsets.iter().position(|(_, to)| *to > length);
    beyond.unwrap_or(offsets.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Creates a tokenizer of single letters that has a token ` b` with a leading space, and a begin token.
    fn tokenizer() -> Tokenizer {
        let begin = json!({
            "id": 5, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true
        });
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [begin], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "vocab": {"a": 0, "b": 1, " ": 2, ":": 3, " b": 4}, "merges": [[" ", "b"]]
            }
        });
        json.to_string().parse().unwrap()
    }

    /// Checks that a token that spans prompt and continuation belongs to the continuation, whether the space is in the
    /// prompt or in the continuation.
    #[test]
    fn a_token_across_the_boundary_belongs_to_the_continuation() {
        let encode = |prompt, continuation| {
            let found = Continuation::encode(&tokenizer(), 5, prompt, continuation).unwrap();
            (found.tokens, found.given)
        };
        let expected = (vec![5, 0, 3, 4], 3);
        assert_eq!(encode("a:", " b"), expected);
        assert_eq!(encode("a: ", "b"), expected);
        assert_eq!(encode("<s>a: ", "b"), expected);
        assert_eq!(encode("", "a"), (vec![5, 0], 1));
        assert_eq!(encode("", "<s>a"), (vec![5, 5, 0], 1));
    }

    /// Checks that the begin token is added only once.
    #[test]
    fn the_begin_token_is_not_doubled() {
        let tokens = |text| encode_prompt(&tokenizer(), text, 5).unwrap();
        assert_eq!(tokens("a b"), [5, 0, 4]);
        assert_eq!(tokens("<s>a b"), [5, 0, 4]);
        assert_eq!(tokens(""), [5]);
    }
}
