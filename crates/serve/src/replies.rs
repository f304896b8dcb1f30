//! JSON bodies of the responses.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use polymath_chat::{Answer, End};
use serde_json::{Value, json};

/// Kind of a request: chat completion or text completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
}

/// Fields that the response, or each event of a streamed response, repeats: the ID of the answer, its time, and the
/// model.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub kind: Kind,
    pub id: String,
    /// Time of the answer, in seconds since 1970.
    pub created: u64,
    pub model: String,
}

impl Identity {
    /// Returns the response body of an answer that is not streamed.
    pub fn whole(&self, answer: &Answer) -> Value {
        let finish = finish_reason(&answer.end);
        let (object, choice) = match self.kind {
            Kind::Chat => (
                "chat.completion",
                json!({
                    "index": 0, "message": {"role": "assistant", "content": answer.text, "refusal": null},
                    "logprobs": null, "finish_reason": finish
                }),
            ),
            Kind::Completion => (
                "text_completion",
                json!({"index": 0, "text": answer.text, "logprobs": null, "finish_reason": finish}),
            ),
        };
        let mut body = self.envelope(object, json!([choice]));
        body["usage"] = usage(answer);
        body
    }

    /// Returns the first event of a streamed answer, which has no text; `None` for a text completion, whose stream
    /// begins with text.
    pub fn opening(&self) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        (self.kind == Kind::Chat).then(|| self.delta(delta, Value::Null))
    }

    /// Returns the event of a streamed answer that carries a piece of text.
    pub fn piece(&self, text: &str) -> Value {
        match self.kind {
            Kind::Chat => self.delta(json!({"content": text}), Value::Null),
            Kind::Completion => self.text(text, Value::Null),
        }
    }

    /// Returns the event of a streamed answer that gives the reason why the answer ended.
    pub fn closing(&self, answer: &Answer) -> Value {
        let finish = json!(finish_reason(&answer.end));
        match self.kind {
            Kind::Chat => self.delta(json!({}), finish),
            Kind::Completion => self.text("", finish),
        }
    }

    /// Returns the event of a streamed answer that gives the token counts.
    pub fn usage(&self, answer: &Answer) -> Value {
        let object = match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Completion => "text_completion",
        };
        let mut body = self.envelope(object, json!([]));
        body["usage"] = usage(answer);
        body
    }

    fn delta(&self, delta: Value, finish: Value) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        self.envelope("chat.completion.chunk", json!([choice]))
    }

    fn text(&self, text: &str, finish: Value) -> Value {
        let choice = json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish});
        self.envelope("text_completion", json!([choice]))
    }

    fn envelope(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices
        })
    }
}

fn usage(answer: &Answer) -> Value {
    json!({
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.tokens,
        "total_tokens": answer.prompt_tokens + answer.tokens,
        "prompt_tokens_details": {"cached_tokens": answer.reused_tokens},
    })
}

fn finish_reason(end: &End) -> &'static str {
    match end {
        End::EndToken(_) | End::Stop(_) | End::Interrupted => "stop",
        End::MaxTokens | End::ContextFull => "length",
    }
}

/// Makes a response with a JSON body.
pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
