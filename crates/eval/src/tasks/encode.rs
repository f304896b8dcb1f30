//! Encoding of task items like lm-evaluation-harness 0.4 for its `hf` models.

use std::path::Path;
use std::sync::Arc;

use polymath_data::{Task, TaskItem};
use polymath_tokenizer::{TokenizerSettings, tokens_within};
use tokenizers::Tokenizer;

use crate::EvalError;
use crate::rows::Row;

/// Encoder that turns the items of tasks into rows of tokens; see [`TaskEncoder::encode`].
pub struct TaskEncoder {
    tokenizer: Tokenizer,
    /// Token that replaces an empty context.
    prefix: u32,
    /// Text of the token that replaces an empty context.
    prefix_text: String,
    /// Context length of the model in tokens.
    context: usize,
}

/// A task in tokens.
pub struct EncodedTask {
    pub(super) task: Arc<Task>,
    /// Encoded items in the order of the task.
    pub(super) items: Vec<EncodedItem>,
}

pub(super) struct EncodedItem {
    /// Context and choice as one row per choice.
    pub choices: Vec<Row>,
    /// Number of tokens cut from the context, for the choice that needed most.
    pub tokens_cut: usize,
}

impl EncodedTask {
    /// Returns the name of the task.
    pub fn name(&self) -> &str {
        &self.task.name
    }
}

impl TaskEncoder {
    /// Creates an encoder for the tokenizer of a model folder. `context` is the model's context length in tokens. The
    /// token that replaces an empty context is the tokenizer's beginning-of-text token, else its end-of-text token,
    /// else `bos_token_id`.
    ///
    /// # Errors
    /// Fails if the tokenizer or its settings can't be read.
    pub fn open(tokenizer: &Path, bos_token_id: u32, context: usize) -> Result<Self, EvalError> {
        let vocabulary = polymath_tokenizer::open(tokenizer)?;
        // The beginning-of-text token, else the end-of-text token, as named in the files next to the tokenizer.
        let names = TokenizerSettings::beside(tokenizer)?.names;
        let named = names.get("bos_token").or(names.get("eos_token"));
        let named = named.and_then(|named| vocabulary.token_to_id(&named.token));
        let prefix = named.unwrap_or(bos_token_id);
        Ok(Self {
            prefix,
            prefix_text: vocabulary.id_to_token(prefix).unwrap_or_default(),
            tokenizer: vocabulary,
            context,
        })
    }

    /// Encodes each choice of each item as one row: context, delimiter and choice.
    ///
    /// - White space at the end of the context moves to the choice, so that words keep their usual tokens.
    /// - Context and choice are encoded together, with the special tokens that the tokenizer adds, unless the text
    ///   already begins with the prefix token. Tokens that end within the context belong to it, all others to the
    ///   choice. (The harness counts the tokens of the context alone, which is the same if no token crosses the
    ///   boundary.)
    /// - An empty context becomes the prefix token: the tokenizer's beginning-of-text, else its end-of-text.
    /// - A row that is too long loses tokens on the left.
    ///
    /// A context of white space alone, on which the harness fails, counts as empty.
    ///
    /// # Errors
    /// Fails if a choice is longer than the model's context or has no tokens of its own; the error names the file and
    /// the line.
    pub fn encode(&self, task: &Arc<Task>) -> Result<EncodedTask, EvalError> {
        let items = task.items.iter().map(|item| {
            self.encode_item(item).map_err(|error| {
                let path = task.path.display();
                EvalError::Scores(format!("`{path}:{}`: {error}", item.line))
            })
        });
        Ok(EncodedTask {
            task: task.clone(),
            items: items.collect::<Result<_, _>>()?,
        })
    }

    fn encode_item(&self, item: &TaskItem) -> Result<EncodedItem, String> {
        let mut encoded = EncodedItem {
            choices: Vec::new(),
            tokens_cut: 0,
        };
        for (number, choice) in item.choices.iter().enumerate() {
            let mut row = self.pair(&item.context, &format!("{}{choice}", item.delimiter))?;
            let scored = row.tokens.len().saturating_sub(row.prompt);
            if scored == 0 {
                return Err(format!(
                    "`choices[{number}]` has no tokens of its own after its context: give it a `target_delimiter`, or \
                     remove the item"
                ));
            }
            if scored > self.context {
                return Err(format!(
                    "`choices[{number}]` has {scored} tokens, but the model's context is {}: remove the item, or \
                     use a model with a longer context",
                    self.context
                ));
            }
            let cut = row.inputs().saturating_sub(self.context);
            row.tokens.drain(0..cut);
            row.prompt -= cut;
            encoded.tokens_cut = encoded.tokens_cut.max(cut);
            encoded.choices.push(row);
        }
        Ok(encoded)
    }

    fn pair(&self, context: &str, continuation: &str) -> Result<Row, String> {
        let given = context.trim_end_matches(is_space);
        let text = format!("{context}{continuation}");
        if given.is_empty() {
            let (mut tokens, _) = self.tokens(&text, false, 0)?;
            if tokens.first() != Some(&self.prefix) {
                tokens.insert(0, self.prefix);
            }
            return Ok(Row { tokens, prompt: 1 });
        }
        let special = !given.starts_with(&self.prefix_text) || self.prefix_text.is_empty();
        let (tokens, prompt) = self.tokens(&text, special, given.len())?;
        Ok(match prompt {
            // The first token crosses the boundary, but a row needs a prompt, so it gets the prefix token.
            0 => Row {
                tokens: [&[self.prefix], &tokens[..]].concat(),
                prompt: 1,
            },
            prompt => Row { tokens, prompt },
        })
    }

    /// Returns the tokens of a text, and the number of them that end within its first `given` bytes.
    fn tokens(&self, text: &str, special: bool, given: usize) -> Result<(Vec<u32>, usize), String> {
        let encoding = self.tokenizer.encode(text, special);
        let encoding = encoding.map_err(|error| format!("can't be tokenized: {error}"))?;
        let within = tokens_within(encoding.get_offsets(), given);
        Ok((encoding.get_ids().to_vec(), within))
    }
}

/// Returns true if Python's `str.rstrip` treats a character as white space: Unicode's white space, and four ASCII
/// separators.
fn is_space(sign: char) -> bool {
    sign.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&sign)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Creates an encoder whose tokens are letters, ` b` and `ab`. Its truncation and padding settings must have no
    /// effect.
    fn encoder(folder: &Path) -> TaskEncoder {
        let begin = json!({
            "id": 6, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true
        });
        let json = json!({
            "version": "1.0",
            "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
            "padding": {
                "strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 0,
                "pad_type_id": 0, "pad_token": "a"
            },
            "added_tokens": [begin], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
            "decoder": {"type": "Fuse"},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "vocab": {"a": 0, "b": 1, " ": 2, ":": 3, " b": 4, "ab": 5},
                "merges": [[" ", "b"], ["a", "b"]]
            }
        });
        let path = folder.join("tokenizer.json");
        std::fs::write(&path, json.to_string()).unwrap();
        TaskEncoder::open(&path, 6, 16).unwrap()
    }

    /// Checks that a token across the boundary belongs to the choice, and that nothing is truncated or padded.
    #[test]
    fn tokens_across_the_boundary_belong_to_the_choice() {
        let folder = tempfile::tempdir().unwrap();
        let encoder = encoder(folder.path());
        let pair = |context: &str, continuation: &str| {
            let row = encoder.pair(context, continuation).unwrap();
            (row.tokens, row.prompt)
        };
        assert_eq!(pair("a:", " b"), (vec![0, 3, 4], 2));
        assert_eq!(pair("a: ", "b"), (vec![0, 3, 4], 2));
        // The harness would drop `ab`, because the context alone also has one token.
        assert_eq!(pair(":a", "b"), (vec![3, 5], 1));
        assert_eq!(pair("a", "ba"), (vec![6, 5, 0], 1));
        assert_eq!(pair("", "ab"), (vec![6, 5], 1));
        assert_eq!(pair("<s>a:", " b"), (vec![6, 0, 3, 4], 3));
    }

    /// Checks that a context that is too long loses its beginning, for each choice separately, while the choice stays
    /// whole and the row is as long as the model allows.
    #[test]
    fn long_contexts_lose_their_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let encoder = encoder(folder.path());
        let item = |context: &str| TaskItem {
            line: 1,
            context: context.to_owned(),
            choices: vec![":::".into(), "a".into()],
            answer: 0,
            delimiter: " ".into(),
        };
        let rows = |context: &str| {
            let encoded = encoder.encode_item(&item(context)).unwrap();
            let rows = encoded
                .choices
                .into_iter()
                .map(|row| (row.tokens, row.prompt));
            (rows.collect::<Vec<_>>(), encoded.tokens_cut)
        };
        let context = [3, 3, 0, 0, 0, 3, 0, 3, 0, 0, 3, 3, 3, 0, 3, 0, 0, 0, 3, 0];
        let text = |tokens: &[u32]| -> String {
            tokens
                .iter()
                .map(|token| if *token == 0 { 'a' } else { ':' })
                .collect()
        };
        // The model reads 16 tokens and predicts one more, so 17 remain of 20 + 2 and of 20 + 4.
        let expected = vec![
            ([&context[7..], &[2, 3, 3, 3]].concat(), 13),
            ([&context[5..], &[2, 0]].concat(), 15),
        ];
        assert_eq!(rows(&text(&context)), (expected, 7));
        let expected = vec![
            ([&context[7..], &[2, 3, 3, 3]].concat(), 13),
            ([&context[5..], &[2, 0]].concat(), 15),
        ];
        assert_eq!(rows(&text(&context[5..])), (expected, 2));
    }
}
