//! Settings files next to a `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::{TokenizerError, read_optional_json};

/// Names of the files that name a tokenizer's special tokens; the first one takes precedence.
pub const SETTINGS_FILES: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];
/// Keys of the settings files that name one special token each.
const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// Keys of the settings files that list further special tokens.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// Special tokens that the settings files of a tokenizer name.
#[derive(Debug, Clone, Default)]
pub struct TokenizerSettings {
    /// Special token for each key (`bos_token`, …).
    pub names: BTreeMap<&'static str, NamedToken>,
    /// Keys that a settings file sets to null.
    pub nulls: Vec<&'static str>,
    /// Tokens that a key or a list of the files names. Their flags count only for a token that the tokenizer does
    /// not have as an added one.
    pub named_tokens: Vec<AddedToken>,
    /// Tokens of `added_tokens_decoder`, whose flags take precedence over those in the tokenizer.
    pub listed_tokens: Vec<AddedToken>,
}

/// A special token, and the file that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedToken {
    /// Text of the token.
    pub token: String,
    /// Name of the file that names the token.
    pub file: &'static str,
}

impl TokenizerSettings {
    /// Reads the settings files next to the tokenizer at `path`; the settings are empty if there are none.
    ///
    /// # Errors
    /// Fails if a file exists but can't be read.
    pub fn beside(path: &Path) -> Result<Self, TokenizerError> {
        let mut settings = Self::default();
        for file in SETTINGS_FILES {
            let found = read_optional_json(&path.with_file_name(file))?;
            if let Some(Value::Object(fields)) = found {
                settings.take(file, &fields);
            }
        }
        Ok(settings)
    }

    fn take(&mut self, file: &'static str, fields: &Map<String, Value>) {
        let numbered = fields
            .get("added_tokens_decoder")
            .and_then(Value::as_object);
        let numbered = numbered.into_iter().flat_map(Map::values);
        let listed: Vec<AddedToken> = numbered.filter_map(|token| added(token, false)).collect();
        for key in NAMES {
            match fields.get(key) {
                Some(Value::Null) => self.nulls.push(key),
                Some(token) if !self.names.contains_key(key) => {
                    let Some(token) = added(token, true) else {
                        continue;
                    };
                    let named = NamedToken {
                        token: token.content.clone(),
                        file,
                    };
                    self.names.insert(key, named);
                    self.named_tokens.push(token);
                }
                _ => {}
            }
        }
        for key in LISTS {
            let tokens: Vec<&Value> = match fields.get(key) {
                Some(Value::Array(tokens)) => tokens.iter().collect(),
                Some(Value::Object(tokens)) => tokens.values().collect(),
                _ => Vec::new(),
            };
            self.named_tokens
                .extend(tokens.into_iter().filter_map(|token| added(token, true)));
        }
        self.listed_tokens.extend(listed);
    }

    /// Returns the tokens to add to a tokenizer that has the added tokens `known`, with their flags as in
    /// `transformers`: those of `added_tokens_decoder`, else those in the tokenizer, else those of the key that names
    /// the token. A named token is special.
    pub(crate) fn changes(&self, known: &[AddedToken]) -> Vec<AddedToken> {
        let has_content = |named: &&AddedToken, token: &AddedToken| named.content == token.content;
        let mut changes = self.listed_tokens.clone();
        for named in &self.named_tokens {
            if let Some(listed) = changes.iter_mut().find(|token| has_content(&named, token)) {
                listed.special = true;
                continue;
            }
            let inside = known.iter().find(|token| has_content(&named, token));
            changes.push(inside.unwrap_or(named).clone().special(true));
        }
        changes.retain(|token| !known.contains(token));
        changes
    }
}

/// Parses a special token in a settings file: a string, or an object with `content` and flags.
fn added(token: &Value, special: bool) -> Option<AddedToken> {
    let content = token.as_str().or(token["content"].as_str())?;
    let flag = |name: &str| token[name].as_bool();
    let special = special || flag("special").unwrap_or(false);
    let token = AddedToken::from(content, special)
        .normalized(flag("normalized").unwrap_or(!special))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false))
        .single_word(flag("single_word").unwrap_or(false));
    (!content.is_empty()).then_some(token)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// Creates a tokenizer of single letters, with `<e>` as an ordinary token.
    pub(crate) fn toy() -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "vocab": {"a": 0, "b": 1, "<": 2, ">": 3, "e": 4, "<e>": 5, "<s>": 6, "s": 7}, "merges": []
            }
        })
    }

    /// Checks that the first file takes precedence, and that a token's flags come from `added_tokens_decoder`.
    #[test]
    fn the_first_settings_file_takes_precedence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let write = |name: &str, json: Value| {
            std::fs::write(folder.path().join(name), json.to_string()).unwrap();
        };
        write(
            "tokenizer_config.json",
            json!({
                "bos_token": null, "eos_token": "<e>", "additional_special_tokens": ["<x>", {"content": "<y>"}],
                "added_tokens_decoder": {"5": {"content": "<e>", "lstrip": true, "special": false}}
            }),
        );
        write(
            "special_tokens_map.json",
            json!({"eos_token": "other", "pad_token": {"content": "<p>"}}),
        );
        let settings = TokenizerSettings::beside(&path).unwrap();
        assert_eq!(settings.names["eos_token"].token, "<e>");
        assert_eq!(settings.names["pad_token"].file, "special_tokens_map.json");
        assert_eq!(settings.nulls, ["bos_token"]);
        let changes = settings.changes(&[]);
        assert!(changes[0].special && changes[0].lstrip);
        let names: Vec<&str> = changes.iter().map(|token| &*token.content).collect();
        assert_eq!(names, ["<e>", "<x>", "<y>", "<p>"]);
    }

    /// Checks that a name beside the tokenizer leaves the flags of its added token as they are, as in `transformers`,
    /// and that only `added_tokens_decoder` changes them.
    #[test]
    fn names_keep_the_flags_of_added_tokens() {
        let flags = |json: Value| {
            let mut settings = TokenizerSettings::default();
            settings.take("tokenizer_config.json", json.as_object().unwrap());
            let inside = AddedToken::from("<e>", false)
                .rstrip(true)
                .normalized(false);
            let changes = settings.changes(&[inside]);
            let found: Vec<(bool, bool)> = changes
                .iter()
                .map(|token| (token.special, token.rstrip))
                .collect();
            found
        };
        let kept = [(true, true)];
        assert_eq!(flags(json!({"eos_token": "<e>"})), kept);
        let object = json!({"content": "<e>", "rstrip": false, "lstrip": true});
        assert_eq!(flags(json!({"eos_token": object})), kept);
        assert_eq!(flags(json!({"additional_special_tokens": ["<e>"]})), kept);
        let listed = json!({"3": {"content": "<e>", "rstrip": false, "special": true}});
        assert_eq!(
            flags(json!({"eos_token": "<e>", "added_tokens_decoder": listed})),
            [(true, false)]
        );
        assert_eq!(flags(json!({"eos_token": "<f>"})), [(true, false)]);
    }
}
