//! Sampling settings that a model's authors recommend in `generation_config.json`.

use std::path::Path;

use polymath_model::{ModelError, SamplingConfig};
use polymath_tokenizer::TokenizerError;
use serde_json::Value;

use crate::ChatError;

/// Sampling settings of a model whose `generation_config.json` sets none.
const FALLBACK: SamplingConfig = SamplingConfig {
    temperature: 0.8,
    top_k: None,
    top_p: 1.0,
    repetition_penalty: 1.0,
    seed: 1,
};

/// Value of `top_k` that `transformers` uses if `generation_config.json` lacks the key.
const TRANSFORMERS_TOP_K: usize = 50;

/// Keys that change an answer in `transformers` and are not read here, each with the number that turns it off.
const UNREAD: [(&str, f64); 17] = [
    ("bad_words_ids", 0.0),
    ("begin_suppress_tokens", 0.0),
    ("encoder_repetition_penalty", 1.0),
    ("epsilon_cutoff", 0.0),
    ("eta_cutoff", 0.0),
    ("exponential_decay_length_penalty", 0.0),
    ("forced_eos_token_id", -1.0),
    ("guidance_scale", 1.0),
    ("min_length", 0.0),
    ("min_new_tokens", 0.0),
    ("min_p", 0.0),
    ("no_repeat_ngram_size", 0.0),
    ("num_beams", 1.0),
    ("sequence_bias", 0.0),
    ("stop_strings", 0.0),
    ("suppress_tokens", 0.0),
    ("typical_p", 1.0),
];

/// Returns the keys of a `generation_config.json` that would change an answer in `transformers` and are not read here,
/// as `key` = value; the file need not exist.
///
/// # Errors
/// Fails if the file can't be read.
pub(crate) fn unread_settings(path: &Path) -> Result<Vec<String>, ChatError> {
    let fields = polymath_tokenizer::read_optional_json(path).map_err(TokenizerError::from)?;
    let fields = fields.unwrap_or_default();
    let is_off = |value: &Value, off: f64| match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        value => value.as_f64() == Some(off),
    };
    let set = UNREAD
        .iter()
        .filter(|(key, off)| !is_off(&fields[*key], *off));
    Ok(set
        .map(|(key, _)| format!("`{key}` = {}", fields[*key]))
        .collect())
}

/// Reads the sampling settings of a `generation_config.json`, which need not exist. If `do_sample` is true, missing
/// keys have the defaults of `transformers`. If it is false, sampling is greedy. If it is missing, the given keys
/// replace those of a fallback with temperature 0.8.
///
/// # Errors
/// Fails if the file can't be read, or a value is of the wrong kind or out of range.
pub fn default_sampling(path: &Path) -> Result<SamplingConfig, ChatError> {
    let Some(fields) =
        polymath_tokenizer::read_optional_json(path).map_err(TokenizerError::from)?
    else {
        return Ok(FALLBACK);
    };
    let refuse = |message: String| {
        ChatError::Model(ModelError::Content {
            path: path.to_path_buf(),
            message,
        })
    };
    let mut sampling = FALLBACK;
    match &fields["do_sample"] {
        Value::Null => {}
        Value::Bool(true) => {
            sampling = SamplingConfig {
                top_k: Some(TRANSFORMERS_TOP_K),
                ..SamplingConfig::default()
            };
        }
        Value::Bool(false) => sampling.temperature = 0.0,
        other => {
            let message = format!("`do_sample` is {other}: expected true or false");
            return Err(refuse(message));
        }
    }
    let number = |key: &str| match &fields[key] {
        Value::Null => Ok(None),
        value => value
            .as_f64()
            .map(Some)
            .ok_or_else(|| refuse(format!("`{key}` is {value}: expected a number"))),
    };
    let samples = fields["do_sample"] != Value::Bool(false);
    if let Some(temperature) = number("temperature")?.filter(|_| samples) {
        sampling.temperature = temperature;
    }
    if let Some(top_p) = number("top_p")?.filter(|_| samples) {
        sampling.top_p = top_p;
    }
    if let Some(penalty) = number("repetition_penalty")? {
        sampling.repetition_penalty = penalty;
    }
    match &fields["top_k"] {
        Value::Null => {}
        // 0 disables top-k in `transformers`.
        value => match value.as_u64() {
            Some(count) => sampling.top_k = usize::try_from(count).ok().filter(|count| *count > 0),
            None => {
                let message = format!("`top_k` is {value}: expected a whole number of at least 0");
                return Err(refuse(message));
            }
        },
    }
    sampling
        .validate()
        .map_err(|error| refuse(error.to_string()))?;
    Ok(sampling)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SamplingConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("generation_config.json");
        std::fs::write(&path, text).unwrap();
        default_sampling(&path).map_err(|error| error.to_string())
    }

    /// Checks that sampling settings are read as `transformers` reads them, and that the fallback applies to missing
    /// ones.
    #[test]
    fn settings_come_from_the_file() {
        assert_eq!(default_sampling("none".as_ref()).unwrap(), FALLBACK);
        assert_eq!(read(r#"{"eos_token_id": 2}"#).unwrap(), FALLBACK);
        let sampled = read(r#"{"do_sample": true, "top_p": 0.9}"#).unwrap();
        let expected = SamplingConfig {
            temperature: 1.0,
            top_k: Some(50),
            top_p: 0.9,
            ..FALLBACK
        };
        assert_eq!(sampled, expected);
        let greedy = read(r#"{"do_sample": false, "temperature": 0.7}"#).unwrap();
        assert_eq!(greedy.temperature, 0.0);
        let all = r#"{"temperature": 0.6, "top_k": 0, "repetition_penalty": 1.1}"#;
        let expected = SamplingConfig {
            temperature: 0.6,
            repetition_penalty: 1.1,
            ..FALLBACK
        };
        assert_eq!(read(all).unwrap(), expected);
    }

    /// Checks that settings that are not read are listed, unless they are off.
    #[test]
    fn unread_settings_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("generation_config.json");
        assert_eq!(unread_settings(&path).unwrap(), [""; 0]);
        let text = r#"{"min_p": 0.1, "num_beams": 1, "typical_p": 1.0, "bad_words_ids": null, "stop_strings": ["x"],
            "suppress_tokens": [], "temperature": 0.7, "max_length": 20}"#;
        std::fs::write(&path, text).unwrap();
        let unread = unread_settings(&path).unwrap();
        assert_eq!(unread, ["`min_p` = 0.1", "`stop_strings` = [\"x\"]"]);
    }

    /// Checks that each setting that is not read is unlisted at the value of `transformers` that has no effect, and
    /// listed at every other.
    #[test]
    fn settings_without_an_effect_are_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("generation_config.json");
        let unread = |key: &str, value: &Value| {
            let text = serde_json::json!({ key: value }).to_string();
            std::fs::write(&path, text).unwrap();
            unread_settings(&path).unwrap()
        };
        let off = [
            ("encoder_repetition_penalty", 1.0),
            ("epsilon_cutoff", 0.0),
            ("eta_cutoff", 0.0),
            ("guidance_scale", 1.0),
            ("min_length", 0.0),
            ("min_new_tokens", 0.0),
            ("min_p", 0.0),
            ("no_repeat_ngram_size", 0.0),
            ("num_beams", 1.0),
            ("typical_p", 1.0),
        ];
        for (key, off) in off {
            assert_eq!(unread(key, &off.into()), [""; 0], "{key}");
            for other in [0.25, 1.0 - off] {
                assert_eq!(unread(key, &other.into()).len(), 1, "{key}: {other}");
            }
        }
        for key in [
            "bad_words_ids",
            "begin_suppress_tokens",
            "exponential_decay_length_penalty",
            "forced_eos_token_id",
            "sequence_bias",
            "stop_strings",
            "suppress_tokens",
        ] {
            let listed = unread(key, &serde_json::json!([5]));
            assert_eq!(listed, [format!("`{key}` = [5]")]);
            assert_eq!(unread(key, &serde_json::json!([])), [""; 0], "{key}");
        }
    }

    /// Checks that the error for a wrong value names the file and the key.
    #[test]
    fn wrong_values_are_named() {
        for (text, key) in [
            (r#"{"temperature": "hot"}"#, "`temperature`"),
            (r#"{"do_sample": 1}"#, "`do_sample`"),
            (r#"{"top_k": -1}"#, "`top_k`"),
            (r#"{"top_p": 2}"#, "top-p 2"),
            (r#"{"repetition_penalty": 0}"#, "repetition penalty 0"),
        ] {
            let error = read(text).unwrap_err();
            assert!(
                error.contains(key) && error.contains("generation_config.json"),
                "{error}"
            );
        }
    }
}
