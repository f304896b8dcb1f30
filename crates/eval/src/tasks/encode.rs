//! Items as tokens, the way lm-evaluation-harness 0.4 makes them for its `hf` models.

use std::path::Path;
use std::sync::Arc;

use polymath_data::{Task, TaskItem};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::EvalError;
use crate::rows::Row;

/// Where a tokenizer's special tokens are named, beside its `tokenizer.json`.
const SETTINGS: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// Turns items into tokens: see [`TaskEncoder::encode`].
pub struct TaskEncoder {
    tokenizer: Tokenizer,
    /// Stands before a choice whose context is empty.
    prefix: u32,
    /// The same as text.
    prefix_text: String,
    /// Tokens that the model reads at once.
    context: usize,
}

/// A task as tokens.
pub struct EncodedTask {
    pub(super) task: Arc<Task>,
    /// One an item.
    pub(super) items: Vec<EncodedItem>,
}

pub(super) struct EncodedItem {
    /// Context and choice, one a choice.
    pub choices: Vec<Row>,
    /// Tokens that were cut off the context, at most.
    pub tokens_cut: usize,
}

impl EncodedTask {
    /// The task's name.
    pub fn name(&self) -> &str {
        &self.task.name
    }
}

impl TaskEncoder {
    /// For the tokenizer of a model folder. `bos_token_id` stands before an empty context where the tokenizer's settings
    /// name neither a token that begins a text nor one that ends it; `context` is how many tokens the model reads.
    ///
    /// # Errors
    /// A tokenizer or settings that can't be read.
    pub fn open(tokenizer: &Path, bos_token_id: u32, context: usize) -> Result<Self, EvalError> {
        let mut vocabulary = Tokenizer::from_file(tokenizer)
            .map_err(|error| EvalError::Tokenizer(format!("`{}`: {error}", tokenizer.display())))?;
        // What a `tokenizer.json` says of these is not for a whole text.
        vocabulary
            .with_truncation(None)
            .map_err(|error| EvalError::Tokenizer(error.to_string()))?
            .with_padding(None);
        let named = named_prefix(tokenizer)?.and_then(|name| vocabulary.token_to_id(&name));
        let prefix = named.unwrap_or(bos_token_id);
        Ok(Self {
            prefix,
            prefix_text: vocabulary.id_to_token(prefix).unwrap_or_default(),
            tokenizer: vocabulary,
            context,
        })
    }

    /// Of each choice, the tokens of context, delimiter and choice, and how many of them are the context's.
    ///
    /// - White space at the end of the context goes over to the choice, so that words keep the tokens they have in a text.
    /// - Context and choice are encoded together, with the special tokens that the tokenizer itself adds, unless the text
    ///   begins with the prefix token already; what goes beyond the tokens of the context alone is the choice.
    /// - An empty context is the prefix token: the tokenizer's beginning of a text, else its end.
    /// - What is too long for the model loses tokens from the left.
    ///
    /// A context of white space alone, on which the harness stops, is taken for an empty one.
    ///
    /// # Errors
    /// A choice that is longer than the model's context, or of no tokens of its own; each named by file and line.
    pub fn encode(&self, task: &Arc<Task>) -> Result<EncodedTask, EvalError> {
        let items = task.items.iter().map(|item| {
            self.encode_item(item).map_err(|error| {
                let path = task.path.display();
                EvalError::Report(format!("`{path}:{}`: {error}", item.line))
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
                     take the item out"
                ));
            }
            if scored > self.context {
                return Err(format!(
                    "`choices[{number}]` has {scored} tokens, but the model's context is {}: take the item out, or \
                     score with a model of a longer context",
                    self.context
                ));
            }
            let cut = row.inputs().saturating_sub(self.context);
            row.tokens.drain(..cut);
            row.prompt -= cut;
            encoded.tokens_cut = encoded.tokens_cut.max(cut);
            encoded.choices.push(row);
        }
        Ok(encoded)
    }

    fn pair(&self, context: &str, continuation: &str) -> Result<Row, String> {
        let given = context.trim_end_matches(is_space);
        if given.is_empty() {
            let mut tokens = self.tokens(&format!("{context}{continuation}"), false)?;
            if tokens.first() != Some(&self.prefix) {
                tokens.insert(0, self.prefix);
            }
            return Ok(Row { tokens, prompt: 1 });
        }
        let special = !given.starts_with(&self.prefix_text) || self.prefix_text.is_empty();
        Ok(Row {
            tokens: self.tokens(&format!("{context}{continuation}"), special)?,
            prompt: self.tokens(given, special)?.len(),
        })
    }

    fn tokens(&self, text: &str, special: bool) -> Result<Vec<u32>, String> {
        let encoding = self.tokenizer.encode_fast(text, special);
        let encoding = encoding.map_err(|error| format!("can't be made tokens of: {error}"))?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// What Python's `str.rstrip` takes for white space: Unicode's, and four separators of ASCII.
fn is_space(sign: char) -> bool {
    sign.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&sign)
}

/// The token that begins a text, else the one that ends it, as the files beside a tokenizer name them.
fn named_prefix(tokenizer: &Path) -> Result<Option<String>, EvalError> {
    let mut settings = Vec::new();
    for name in SETTINGS {
        let path = tokenizer.with_file_name(name);
        if !path.is_file() {
            continue;
        }
        let unreadable = |error: &dyn std::fmt::Display| {
            EvalError::Tokenizer(format!("`{}` can't be read: {error}", path.display()))
        };
        let text = polymath_files::read_to_string(&path).map_err(|error| unreadable(&error))?;
        let fields: Value = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
        settings.push(fields);
    }
    let name = |key: &str| {
        settings.iter().find_map(|fields| {
            let token = &fields[key];
            token
                .as_str()
                .or(token["content"].as_str())
                .map(str::to_owned)
        })
    };
    Ok(name("bos_token").or_else(|| name("eos_token")))
}
