//! Sampling settings that a model's authors recommend.

use std::path::Path;

use polymath_model::{ModelError, SamplingConfig};
use polymath_tokenizer::TokenizerError;
use serde_json::Value;

use crate::ChatError;

/// Settings for a model whose `generation_config.json` says nothing.
const FALLBACK: SamplingConfig = SamplingConfig {
    temperature: 0.8,
    top_k: None,
    top_p: 1.0,
    repetition_penalty: 1.0,
    seed: 1,
};

/// Top-k of `transformers` where a file that samples does not give one.
const TRANSFORMERS_TOP_K: usize = 50;

/// Reads the sampling settings of a `generation_config.json`, which need not exist. With `do_sample` true, keys that
/// are missing have the values that `transformers` gives them; with `do_sample` false the most likely token is taken;
/// without `do_sample` the keys that are there replace those of a fallback (temperature 0.8).
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
        // 0 switches it off in `transformers`.
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

    /// Reads the settings as `transformers` does, and keeps the fallback where the file says nothing.
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

    /// Names the file and the key of a wrong value.
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
