//! Differences between the tokenizers, chat templates and end tokens of a base and a tuned model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use polymath_data::chat_template;
use polymath_model::ModelSource;
use polymath_report::audit::{Finding, FindingKind};
use serde_json::Value;

use crate::StudyError;

/// Maximum number of tokens that a finding names.
const NAMED: usize = 5;
/// Name of the tokenizer's file, which lies in the same folder as the chat template.
const TOKENIZER: &str = "tokenizer.json";
/// Sections of a `tokenizer.json` that do not change the tokens of a text. `transformers` rewrites them when it
/// saves a tokenizer.
const WITHOUT_EFFECT: [&str; 4] = ["padding", "post_processor", "truncation", "version"];

/// Base and tuned model whose tokenizers are compared.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub base: ModelSource<'a>,
    pub tuned: ModelSource<'a>,
    /// Tuned model as the user named it.
    pub name: &'a str,
}

impl Pair<'_> {
    /// Returns a finding for each difference in tokenizer, chat template and end tokens.
    ///
    /// # Errors
    /// Fails if a file can't be read.
    pub fn findings(&self) -> Result<Vec<Finding>, StudyError> {
        let found = [self.tokenizer()?, self.chat_template()?, self.ends()?];
        Ok(found.into_iter().flatten().collect())
    }

    fn tokenizer(&self) -> Result<Option<Finding>, StudyError> {
        let (base, tuned) = (self.base.tokenizer()?, self.tuned.tokenizer()?);
        if base == tuned {
            return Ok(None);
        }
        let open = |path: &Path| polymath_tokenizer::open(path).map_err(StudyError::refused);
        let as_json = |tokenizer| serde_json::to_value(tokenizer).map_err(StudyError::refused);
        let (base, tuned) = (open(&base)?, open(&tuned)?);
        let [of_base, of_tuned] = [&base, &tuned].map(|tokenizer| {
            let vocabulary = tokenizer.get_vocab(true).into_iter();
            vocabulary.collect::<BTreeMap<String, u32>>()
        });
        let difference = Difference::of(&of_base, &of_tuned);
        let mut what = difference.sentences(self.name);
        if what.is_empty() {
            let sections = other_sections(&as_json(&base)?, &as_json(&tuned)?);
            if sections.is_empty() {
                return Ok(None);
            }
            what.push(format!(
                "the tokenizer of `{}` has the base's tokens, but another `{}`",
                self.name,
                sections.join("`, `")
            ));
        }
        let rows = self.tuned.config()?.vocab_size;
        let size = of_tuned
            .into_values()
            .max()
            .map_or(0, |last| last as usize + 1);
        if size > rows {
            what.push(format!(
                "its highest token is {}, and the model's embedding has {rows} rows: a text with that token can't be read",
                size - 1
            ));
        }
        Ok(Some(Finding::new(
            FindingKind::Tokenizer,
            self.name,
            what.join("; "),
            "nothing if the change was meant: each model reads the same text in its own tokens, and bits per byte stay comparable. \
             Otherwise save the base's `tokenizer.json` with the tuned model",
        )))
    }

    fn chat_template(&self) -> Result<Option<Finding>, StudyError> {
        let (base, tuned) = (template(self.base)?, template(self.tuned)?);
        let what = match (&base, &tuned) {
            (Some(base), Some(tuned)) if base != tuned => {
                let place = first_difference(base, tuned);
                format!(
                    "the chat template of `{}` differs from the base's, from {place} on",
                    self.name
                )
            }
            (Some(_), None) => {
                format!("`{}` has no chat template, and the base has one", self.name)
            }
            (None, Some(_)) => {
                format!("`{}` has a chat template, and the base has none", self.name)
            }
            _ => return Ok(None),
        };
        Ok(Some(Finding::new(
            FindingKind::ChatTemplate,
            self.name,
            what,
            "nothing if the change was meant: plain text is scored without a template, and conversations are scored with the base's \
             for both. Otherwise save the base's template with the tuned model",
        )))
    }

    fn ends(&self) -> Result<Option<Finding>, StudyError> {
        let (base, tuned) = (
            self.base.config()?.document_ends(),
            self.tuned.config()?.document_ends(),
        );
        if base == tuned {
            return Ok(None);
        }
        let what = format!(
            "documents begin with token {} and end with {} in the base, and with {} and {} in `{}`: the end of each document is scored as \
             another token",
            base.begin, base.end, tuned.begin, tuned.end, self.name
        );
        Ok(Some(Finding::new(
            FindingKind::EndTokens,
            self.name,
            what,
            "restore `bos_token_id` and `eos_token_id` in the tuned model's `config.json`, and name the end of a turn in \
             `generation_config.json` only",
        )))
    }
}

/// Returns the chat template of a model; an adapter without one uses that of its base.
fn template(source: ModelSource) -> Result<Option<String>, StudyError> {
    let own = chat_template(&source.folder.join(TOKENIZER))?;
    match own {
        Some(own) => Ok(Some(own)),
        None => Ok(chat_template(&source.tokenizer()?)?),
    }
}

/// Differences between two vocabularies: added and removed tokens, and tokens with another ID.
#[derive(Default)]
struct Difference {
    added: Vec<String>,
    removed: Vec<String>,
    moved: Vec<String>,
}

impl Difference {
    fn of(base: &BTreeMap<String, u32>, tuned: &BTreeMap<String, u32>) -> Self {
        let named = |(token, id): (&String, &u32)| format!("`{token}` ({id})");
        let missing = |of: &BTreeMap<String, u32>, other: &BTreeMap<String, u32>| {
            let found = of.iter().filter(|(token, _)| !other.contains_key(*token));
            found.map(named).collect()
        };
        let moved = base.iter().filter_map(|(token, before)| {
            let after = tuned.get(token).filter(|after| *after != before)?;
            Some(format!("`{token}` ({before} → {after})"))
        });
        Self {
            added: missing(tuned, base),
            removed: missing(base, tuned),
            moved: moved.collect(),
        }
    }

    fn sentences(&self, name: &str) -> Vec<String> {
        let parts = [
            (&self.added, "more than the base's"),
            (&self.removed, "fewer than the base's"),
            (&self.moved, "with another ID than in the base's"),
        ];
        let found = parts.into_iter().filter(|(tokens, _)| !tokens.is_empty());
        found
            .map(|(tokens, how)| {
                let plural = if tokens.len() == 1 { "token" } else { "tokens" };
                let rest = if tokens.len() > NAMED {
                    " and others"
                } else {
                    ""
                };
                let named = &tokens[..tokens.len().min(NAMED)];
                format!(
                    "the tokenizer of `{name}` has {} {plural} {how}: {}{rest}",
                    tokens.len(),
                    named.join(", ")
                )
            })
            .collect()
    }
}

/// Returns the names of the sections in which two `tokenizer.json` files differ, without those that do not affect
/// tokens.
fn other_sections(base: &Value, tuned: &Value) -> Vec<String> {
    let keys = [base, tuned].into_iter().filter_map(Value::as_object);
    let keys: BTreeSet<&String> = keys.flat_map(|object| object.keys()).collect();
    keys.into_iter()
        .filter(|key| !WITHOUT_EFFECT.contains(&key.as_str()) && base[*key] != tuned[*key])
        .cloned()
        .collect()
}

/// Describes the position at which two texts begin to differ.
fn first_difference(base: &str, tuned: &str) -> String {
    let line = base.lines().zip(tuned.lines()).take_while(|(a, b)| a == b);
    let line = line.count();
    let shown = |text: &str| {
        let text = text.lines().nth(line).unwrap_or("").trim();
        let begin: String = text.chars().take(60).collect();
        begin
    };
    format!(
        "line {} (`{}` in the base, `{}` now)",
        line + 1,
        shown(base),
        shown(tuned)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vocabulary(tokens: &[(&str, u32)]) -> BTreeMap<String, u32> {
        let tokens = tokens.iter();
        tokens
            .map(|(token, id)| ((*token).to_owned(), *id))
            .collect()
    }

    /// Checks that one added, one removed and one moved token are each named with their IDs.
    #[test]
    fn tokens_that_differ_are_named() {
        let base = vocabulary(&[("a", 0), ("b", 1), ("c", 2)]);
        let added = vocabulary(&[("a", 0), ("b", 1), ("c", 2), ("<x>", 3)]);
        let said = Difference::of(&base, &added).sentences("t");
        assert_eq!(
            said,
            ["the tokenizer of `t` has 1 token more than the base's: `<x>` (3)"]
        );
        let other = vocabulary(&[("a", 0), ("b", 2)]);
        let said = Difference::of(&base, &other).sentences("t").join("; ");
        assert!(
            said.contains("1 token fewer than the base's: `c` (2)"),
            "{said}"
        );
        assert!(said.contains("`b` (1 → 2)"), "{said}");
        assert!(Difference::of(&base, &base).sentences("t").is_empty());
    }

    /// Checks that padding does not count as a difference, and that another normalizer does.
    #[test]
    fn only_parts_that_change_tokens_differ() {
        let base = json!({"padding": null, "normalizer": null});
        let padded = json!({"padding": {"strategy": "BatchLongest"}, "normalizer": null});
        assert!(other_sections(&base, &padded).is_empty());
        let lower = json!({"padding": null, "normalizer": {"type": "Lowercase"}});
        assert_eq!(other_sections(&base, &lower), ["normalizer"]);
    }

    #[test]
    fn the_first_line_that_differs_is_shown() {
        let said = first_difference("a\nb {{ x }}\nc", "a\nb {{ y }}\nc");
        assert_eq!(said, "line 2 (`b {{ x }}` in the base, `b {{ y }}` now)");
    }
}
