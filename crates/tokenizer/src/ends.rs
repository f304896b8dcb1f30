//! Tokens that begin and end a document.

use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::{TokenizerError, TokenizerSettings, read_optional_json};

/// Usual names of the token that ends a document.
const ENDS: [&str; 6] = [
    "<|endoftext|>",
    "</s>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<eos>",
    "[SEP]",
];
/// Usual names of the token that begins a document.
const BEGINS: [&str; 4] = ["<|begin_of_text|>", "<s>", "<bos>", "[CLS]"];

/// Names of the tokens that begin and end a document, as the `[tokenizer]` table of a config sets them.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConfiguredEnds<'a> {
    /// Value of the configuration key `bos_token`.
    pub begin: Option<&'a str>,
    /// Value of the configuration key `eos_token`.
    pub end: Option<&'a str>,
}

/// IDs of the tokens that begin and end a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTokens {
    /// ID of the token before a document.
    pub begin: u32,
    /// ID of the token that ends a document.
    pub end: u32,
}

/// Tokens that begin and end a document, each with the setting or file that named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentEnds {
    /// ID of the token before a document.
    pub begin: u32,
    /// ID of the token that ends a document.
    pub end: u32,
    /// Source of `begin`: a configuration key, a file, or the special tokens.
    pub begin_source: String,
    /// Source of `end`: a configuration key, a file, or the special tokens.
    pub end_source: String,
}

/// A token ID and its source.
type SourcedToken = Option<(u32, String)>;

impl DocumentEnds {
    /// Returns the IDs of both tokens without their sources.
    pub fn tokens(&self) -> EndTokens {
        EndTokens {
            begin: self.begin,
            end: self.end,
        }
    }

    /// Finds the begin and end tokens for the tokenizer at `path`. The first source that has them is used:
    ///
    /// 1. the `[tokenizer]` table
    /// 2. `config.json`, since the model reads these tokens
    /// 3. `tokenizer_config.json` and `special_tokens_map.json`
    /// 4. `generation_config.json`
    /// 5. a special token with a usual name; an ordinary token of that name is never used
    ///
    /// If there is no begin token, the end token is used as begin token.
    ///
    /// # Errors
    /// Fails if a named token is not in the vocabulary, if a settings file can't be read, or if no end token is
    /// found.
    pub fn find(
        path: &Path,
        tokenizer: &Tokenizer,
        configured: ConfiguredEnds,
    ) -> Result<Self, TokenizerError> {
        let finder = Finder {
            path,
            tokenizer,
            settings: TokenizerSettings::beside(path)?,
        };
        let model = finder.ids_of("config.json")?;
        let end = match finder.configured("eos_token", configured.end)? {
            Some(end) => Some(end),
            None => match &model.1 {
                Some(end) => Some(end.clone()),
                None => finder.named("eos_token", "generation_config.json", &ENDS)?,
            },
        };
        let Some((end, end_source)) = end else {
            return Err(TokenizerError::Key {
                key: "eos_token",
                message: format!(
                    "not given, no settings beside the tokenizer name it, and none of `{}` is a special token: name the \
                     token that ends a document",
                    ENDS.join("`, `")
                ),
            });
        };
        let begin = match finder.configured("bos_token", configured.begin)? {
            Some(begin) => Some(begin),
            // A model without a begin token reads its end token there.
            None if model.1.is_some() => model.0,
            None => finder.named("bos_token", "generation_config.json", &BEGINS)?,
        };
        let (begin, begin_source) = begin.unwrap_or_else(|| (end, "the end token".into()));
        Ok(Self {
            begin,
            end,
            begin_source,
            end_source,
        })
    }
}

struct Finder<'a> {
    path: &'a Path,
    tokenizer: &'a Tokenizer,
    settings: TokenizerSettings,
}

impl Finder<'_> {
    fn configured(
        &self,
        key: &'static str,
        name: Option<&str>,
    ) -> Result<SourcedToken, TokenizerError> {
        let Some(name) = name else {
            return Ok(None);
        };
        match self.tokenizer.token_to_id(name) {
            Some(id) => Ok(Some((id, format!("`tokenizer.{key}`")))),
            None => Err(TokenizerError::Key {
                key,
                message: format!("`{name}` is not in the tokenizer's vocabulary"),
            }),
        }
    }

    /// Returns the token that the settings files name, else the token ID in `file`, else a special token with a usual
    /// name.
    fn named(
        &self,
        key: &'static str,
        file: &'static str,
        usual: &[&str],
    ) -> Result<SourcedToken, TokenizerError> {
        if let Some(named) = self.settings.names.get(key) {
            let id = self.tokenizer.token_to_id(&named.token).ok_or_else(|| {
                let path = self.path.with_file_name(named.file);
                let message = format!(
                    "names `{}` as `{key}`, which is not in the vocabulary: set `tokenizer.{key}`",
                    named.token
                );
                TokenizerError::content(&path, message)
            })?;
            return Ok(Some((id, format!("`{}`", named.file))));
        }
        let (begin, end) = self.ids_of(file)?;
        let of_file = if key == "bos_token" { begin } else { end };
        if of_file.is_some() {
            return Ok(of_file);
        }
        if self.settings.nulls.contains(&key) {
            return Ok(None);
        }
        let added = self.tokenizer.get_added_tokens_decoder();
        Ok(usual.iter().find_map(|name| {
            let id = self.tokenizer.token_to_id(name)?;
            let special = added.get(&id).is_some_and(|token| token.special);
            special.then(|| (id, "the special tokens".to_owned()))
        }))
    }

    /// Returns `bos_token_id` and the first `eos_token_id` of a file next to the tokenizer, if the vocabulary has
    /// them.
    fn ids_of(&self, file: &'static str) -> Result<(SourcedToken, SourcedToken), TokenizerError> {
        let fields = read_optional_json(&self.path.with_file_name(file))?.unwrap_or_default();
        let found = |key: &str| {
            let value = &fields[key];
            let first = value
                .as_array()
                .map_or(value, |ids| ids.first().unwrap_or(&Value::Null));
            let id = u32::try_from(first.as_u64()?).ok()?;
            self.tokenizer.id_to_token(id)?;
            Some((id, format!("`{file}`")))
        };
        Ok((found("bos_token_id"), found("eos_token_id")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open;
    use crate::settings::tests::toy;
    use serde_json::json;

    struct TokenizerFolder(tempfile::TempDir);

    impl TokenizerFolder {
        fn new(special: &[(&str, u32)]) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            let mut tokenizer = toy();
            let tokens = special.iter().map(|(content, id)| {
                json!({
                    "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true
                })
            });
            tokenizer["added_tokens"] = tokens.collect();
            folder.write("tokenizer.json", tokenizer);
            folder
        }

        fn write(&self, name: &str, json: Value) {
            std::fs::write(self.0.path().join(name), json.to_string()).unwrap();
        }

        fn find(&self, configured: ConfiguredEnds) -> Result<(u32, u32, String), String> {
            let path = self.0.path().join("tokenizer.json");
            let ends = DocumentEnds::find(&path, &open(&path).unwrap(), configured);
            let ends = ends.map_err(|error| error.to_string())?;
            Ok((ends.begin, ends.end, ends.end_source))
        }
    }

    const NONE: ConfiguredEnds = ConfiguredEnds {
        begin: None,
        end: None,
    };

    /// Checks that an ordinary token `<s>` is never used as the begin token.
    #[test]
    fn ordinary_entries_are_not_begin_tokens() {
        let folder = TokenizerFolder::new(&[]);
        let error = folder.find(NONE).unwrap_err();
        assert!(error.contains("`tokenizer.eos_token`"), "{error}");
        let folder = TokenizerFolder::new(&[("[SEP]", 8)]);
        assert_eq!(folder.find(NONE), Ok((8, 8, "the special tokens".into())));
        let folder = TokenizerFolder::new(&[("[SEP]", 8), ("<s>", 6)]);
        assert_eq!(folder.find(NONE).unwrap().0, 6);
    }

    /// Checks the order of the sources: the user's choice, the model's IDs, the settings, the special tokens.
    #[test]
    fn sources_are_searched_in_order() {
        let folder = TokenizerFolder::new(&[("[SEP]", 8), ("<s>", 6)]);
        folder.write("generation_config.json", json!({"eos_token_id": [0, 1]}));
        assert_eq!(
            folder.find(NONE),
            Ok((6, 0, "`generation_config.json`".into()))
        );
        folder.write("special_tokens_map.json", json!({"eos_token": "<e>"}));
        assert_eq!(
            folder.find(NONE),
            Ok((6, 5, "`special_tokens_map.json`".into()))
        );
        folder.write(
            "tokenizer_config.json",
            json!({"eos_token": "[SEP]", "bos_token": null}),
        );
        assert_eq!(
            folder.find(NONE),
            Ok((8, 8, "`tokenizer_config.json`".into()))
        );
        folder.write(
            "config.json",
            json!({"eos_token_id": [1, 0], "bos_token_id": -1}),
        );
        assert_eq!(folder.find(NONE), Ok((1, 1, "`config.json`".into())));
        let configured = ConfiguredEnds {
            begin: Some("a"),
            end: Some("b"),
        };
        assert_eq!(
            folder.find(configured),
            Ok((0, 1, "`tokenizer.eos_token`".into()))
        );
        let unknown = ConfiguredEnds {
            begin: None,
            end: Some("<none>"),
        };
        assert!(
            folder
                .find(unknown)
                .unwrap_err()
                .contains("`<none>` is not in")
        );
    }

    /// Checks that a setting that names an unknown token is an error with the file's name.
    #[test]
    fn settings_with_unknown_tokens_are_refused() {
        let folder = TokenizerFolder::new(&[("[SEP]", 8)]);
        folder.write("tokenizer_config.json", json!({"eos_token": "<none>"}));
        let error = folder.find(NONE).unwrap_err();
        assert!(
            error.contains("tokenizer_config.json") && error.contains("<none>"),
            "{error}"
        );
    }
}
