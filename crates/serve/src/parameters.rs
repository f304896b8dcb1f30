//! Parameters of a request's JSON body.

use axum::http::StatusCode;
use polymath_chat::{ChatMessage, Request};
use polymath_model::SamplingConfig;
use serde_json::{Map, Value, json};

use crate::api_error::{ApiError, wrong};
use crate::messages::messages;
use crate::replies::Kind;

/// Maximum number of stop texts in a request.
const MOST_STOPS: usize = 16;
/// Maximum length of a completion, in tokens, if the request does not set it; the same as in OpenAI's API.
const COMPLETION_TOKENS: usize = 16;

/// Names of request parameters that describe the caller and do not affect the answer. The server accepts and ignores
/// them.
const NOTES: [&str; 7] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
];

/// Names of the request parameters that chat completions and text completions both accept.
const COMMON: [&str; 11] = [
    "model",
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "seed",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "stream",
    "stream_options",
];

/// Names of the keys of `stream_options`. Padding against eavesdroppers (`include_obfuscation`) is never added, which
/// affects no answer.
const STREAM_OPTIONS: [&str; 2] = ["include_usage", "include_obfuscation"];

/// Prompt of a request: a conversation or a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    Messages(Vec<ChatMessage>),
    Text(String),
}

/// Parameters of a request, parsed and checked.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    pub question: Question,
    pub request: Request,
    /// True if the answer is streamed.
    pub stream: bool,
    /// True if the last event of the streamed answer gives the token counts.
    pub stream_usage: bool,
}

/// Returns the accepted values of a request parameter that this server does not implement, such as `n = 1`. Returns
/// `None` for parameters that it implements or does not know.
fn fixed(name: &str) -> Option<Vec<Value>> {
    let values = match name {
        "n" | "best_of" => vec![json!(1)],
        "frequency_penalty" | "presence_penalty" => vec![json!(0)],
        "logprobs" | "echo" => vec![json!(false)],
        "logit_bias" => vec![json!({})],
        "tools" | "functions" => vec![json!([])],
        "tool_choice" | "function_call" => vec![json!("none"), json!("auto")],
        "response_format" => vec![json!({"type": "text"})],
        "modalities" => vec![json!(["text"])],
        "top_logprobs" | "suffix" => Vec::new(),
        _ => return None,
    };
    Some(values)
}

/// Returns true if two JSON values are equal, with `1` equal to `1.0`.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

impl Parameters {
    /// Parses the body of a request. `name` is the name of the served model, and `defaults` are its sampling
    /// settings.
    ///
    /// # Errors
    /// Fails with the first parameter that is missing, unknown, of the wrong kind, or set to a value that would have
    /// no effect.
    pub fn read(
        kind: Kind,
        body: &[u8],
        name: &str,
        defaults: SamplingConfig,
    ) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                format!("the body is not JSON: {error}"),
            )
        })?;
        let Value::Object(mut fields) = value else {
            let message = "the body is not a JSON object";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, message));
        };
        fields.retain(|_, value| !value.is_null());
        check_names(kind, &fields)?;
        check_model(&fields, name)?;
        let stream_usage = match fields.get("stream_options") {
            None => false,
            Some(Value::Object(options)) => {
                if let Some(name) = options
                    .keys()
                    .find(|name| !STREAM_OPTIONS.contains(&name.as_str()))
                {
                    let name = format!("stream_options.{name}");
                    let message = format!("`{name}`: unknown parameter");
                    return Err(ApiError::parameter(&name, message).with_code("unknown_parameter"));
                }
                flag(options, "include_usage")?
            }
            Some(other) => return Err(wrong("stream_options", other, "an object")),
        };
        Ok(Self {
            question: match kind {
                Kind::Chat => Question::Messages(messages(fields.get("messages"))?),
                Kind::Completion => Question::Text(text(fields.get("prompt"))?),
            },
            request: Request {
                sampling: sampling(&fields, defaults)?,
                max_tokens: max_tokens(kind, &fields)?,
                stop: stops(fields.get("stop"))?,
            },
            stream: flag(&fields, "stream")?,
            stream_usage,
        })
    }
}

fn check_names(kind: Kind, fields: &Map<String, Value>) -> Result<(), ApiError> {
    let own = match kind {
        Kind::Chat => "messages",
        Kind::Completion => "prompt",
    };
    for (name, value) in fields {
        if name == own || COMMON.contains(&name.as_str()) || NOTES.contains(&name.as_str()) {
            continue;
        }
        let Some(values) = fixed(name) else {
            let message = format!("`{name}`: unknown parameter");
            return Err(ApiError::parameter(name, message).with_code("unknown_parameter"));
        };
        if !values.iter().any(|known| equal(known, value)) {
            let known: Vec<String> = values.iter().map(|known| format!("`{known}`")).collect();
            let expected = match known.is_empty() {
                true => "nothing".to_owned(),
                false => known.join(" or "),
            };
            let message = format!("`{name}` is not supported: expected {expected}");
            return Err(ApiError::parameter(name, message).with_code("unsupported_parameter"));
        }
    }
    Ok(())
}

fn check_model(fields: &Map<String, Value>, name: &str) -> Result<(), ApiError> {
    match fields.get("model") {
        None => Ok(()),
        Some(Value::String(model)) if model == name => Ok(()),
        Some(model) => {
            let message = format!("the model {model} is not here: this server has `{name}`");
            Err(ApiError {
                status: StatusCode::NOT_FOUND,
                ..ApiError::parameter("model", message).with_code("model_not_found")
            })
        }
    }
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, ApiError> {
    match fields.get(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(value) => Err(wrong(name, value, "true or false")),
    }
}

fn number(fields: &Map<String, Value>, name: &str, default: f64) -> Result<f64, ApiError> {
    let Some(value) = fields.get(name) else {
        return Ok(default);
    };
    value.as_f64().ok_or_else(|| wrong(name, value, "a number"))
}

fn count(fields: &Map<String, Value>, name: &str) -> Result<Option<usize>, ApiError> {
    let Some(value) = fields.get(name) else {
        return Ok(None);
    };
    let count = value.as_u64().filter(|count| *count > 0);
    match count.and_then(|count| usize::try_from(count).ok()) {
        Some(count) => Ok(Some(count)),
        None => Err(wrong(name, value, "a whole number of at least 1")),
    }
}

fn sampling(
    fields: &Map<String, Value>,
    defaults: SamplingConfig,
) -> Result<SamplingConfig, ApiError> {
    let seed = match fields.get("seed") {
        None => defaults.seed,
        Some(value) => match (value.as_u64(), value.as_i64()) {
            (Some(seed), _) => seed,
            (None, Some(negative)) => negative.cast_unsigned(),
            _ => return Err(wrong("seed", value, "a whole number")),
        },
    };
    let sampling = SamplingConfig {
        temperature: number(fields, "temperature", defaults.temperature)?,
        top_p: number(fields, "top_p", defaults.top_p)?,
        top_k: count(fields, "top_k")?.or(defaults.top_k),
        repetition_penalty: number(fields, "repetition_penalty", defaults.repetition_penalty)?,
        seed,
    };
    let checked = sampling.validate();
    checked.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok(sampling)
}

fn max_tokens(kind: Kind, fields: &Map<String, Value>) -> Result<Option<usize>, ApiError> {
    let (older, newer) = (
        count(fields, "max_tokens")?,
        count(fields, "max_completion_tokens")?,
    );
    Ok(match kind {
        Kind::Chat => newer.or(older),
        Kind::Completion => newer.or(older).or(Some(COMPLETION_TOKENS)),
    })
}

fn stops(value: Option<&Value>) -> Result<Vec<String>, ApiError> {
    let expected = format!("a text or a list of at most {MOST_STOPS} texts, none of them empty");
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let texts = match value {
        Value::Array(texts) => texts.iter().collect(),
        text => vec![text],
    };
    let texts: Option<Vec<String>> = texts
        .into_iter()
        .map(|text| {
            text.as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        })
        .collect();
    texts
        .filter(|texts| texts.len() <= MOST_STOPS)
        .ok_or_else(|| wrong("stop", value, &expected))
}

fn text(value: Option<&Value>) -> Result<String, ApiError> {
    let Some(value) = value else {
        return Err(ApiError::parameter("prompt", "`prompt` is missing"));
    };
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(one) if one.len() == 1 && one[0].is_string() => text(one.first()),
        value => Err(wrong("prompt", value, "one text")),
    }
}

#[cfg(test)]
mod tests;
