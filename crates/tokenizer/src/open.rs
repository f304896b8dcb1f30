//! Opening of a `tokenizer.json`. No other module does this.

use std::path::Path;

use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

use crate::{TokenizerError, TokenizerSettings, untrusted};

/// Opens a `tokenizer.json` with the settings files next to it, like `transformers`: tokens that the settings mark as
/// special are special. Padding, truncation and dropout are turned off, since they are meant for the batches of another
/// program.
///
/// # Errors
/// Fails if the file is not a tokenizer, or if a settings file can't be read.
pub fn open(path: &Path) -> Result<Tokenizer, TokenizerError> {
    let mut tokenizer = open_alone(path)?;
    let known: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
    let mut changed = TokenizerSettings::beside(path)?.changes(&known);
    // A token that the vocabulary lacks has no row in the model's embedding and is ignored.
    changed.retain(|token| tokenizer.token_to_id(&token.content).is_some());
    tokenizer
        .add_tokens(changed)
        .map_err(|error| TokenizerError::content(path, error.to_string()))?;
    Ok(tokenizer)
}

/// Opens a `tokenizer.json` without the settings files next to it, to compare or change the file itself. Padding,
/// truncation and dropout are turned off.
///
/// # Errors
/// Fails if the file is not a tokenizer.
pub fn open_alone(path: &Path) -> Result<Tokenizer, TokenizerError> {
    if !path.is_file() {
        let message = "no such tokenizer: expected a `tokenizer.json`";
        return Err(TokenizerError::content(path, message));
    }
    load(path, &polymath_input::read_text(path)?)
}

/// Parses the content of a `tokenizer.json`, without the settings files next to it; `path` is used in errors only.
///
/// # Errors
/// Fails if the content is not a tokenizer.
pub fn parse(path: &Path, content: &[u8]) -> Result<Tokenizer, TokenizerError> {
    let text = polymath_input::decode(path, 1, content, true)?;
    load(
        path,
        text.trim_start_matches(polymath_input::BYTE_ORDER_MARK),
    )
}

fn load(path: &Path, text: &str) -> Result<Tokenizer, TokenizerError> {
    let mut tokenizer = untrusted::load(text).map_err(|error| {
        TokenizerError::content(
            path,
            format!("is not a tokenizer that can be read: {error}"),
        )
    })?;
    tokenizer
        .with_truncation(None)
        .map_err(|error| TokenizerError::content(path, error.to_string()))?
        .with_padding(None);
    // Dropout of merges would make the tokens of a text random.
    if let ModelWrapper::BPE(model) = tokenizer.get_model()
        && model.dropout.is_some()
    {
        let mut model = model.clone();
        model.dropout = None;
        tokenizer.with_model(model);
    }
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::toy;

    /// Checks that padding, truncation and dropout are turned off, and that tokens that the settings mark as special
    /// are special even if they are ordinary entries of the vocabulary.
    #[test]
    fn settings_beside_a_tokenizer_are_applied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let mut json = toy();
        json["padding"] = serde_json::json!({
            "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "a"
        });
        json["truncation"] = serde_json::json!({
            "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
        });
        std::fs::write(&path, json.to_string()).unwrap();
        let ids = |text: &str| {
            let tokenizer = open(&path).unwrap();
            tokenizer
                .encode_fast(text, false)
                .unwrap()
                .get_ids()
                .to_vec()
        };
        assert_eq!(ids("aabab"), [0, 0, 1, 0, 1]);
        json["model"]["vocab"]["ab"] = 8.into();
        json["model"]["merges"] = serde_json::json!([["a", "b"]]);
        json["model"]["dropout"] = 1.0.into();
        std::fs::write(&path, json.to_string()).unwrap();
        assert_eq!(ids("aabab"), [0, 8, 8]);
        assert_eq!(ids("a<e>"), [0, 2, 4, 3]);
        std::fs::write(
            folder.path().join("tokenizer_config.json"),
            r#"{"eos_token": {"content": "<e>"}, "pad_token": "<none>"}"#,
        )
        .unwrap();
        assert_eq!(ids("a<e>"), [0, 5]);
        assert!(open(&path).unwrap().token_to_id("<none>").is_none());
        assert!(
            open_alone(&path)
                .unwrap()
                .get_added_tokens_decoder()
                .is_empty()
        );
    }
}
