//! Every field of the server's answers, whole and streamed, and the effect of every parameter and flag.
//!
//! The prompts have letters that the texts of the fixture do not: each is a token of its own, so tokens are counted by
//! hand.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Server, events};
use crate::inference::{folder, told};
use crate::support::fixture::read_json;

/// Tokens of "ZQ<|endoftext|>X\n%<|endoftext|>" after the begin token.
const CHAT_TOKENS: u64 = 8;
/// Tokens of "ZQX%" after the begin token.
const TEXT_TOKENS: u64 = 5;

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Returns what `generate` answers, with 6 tokens unless `more` says otherwise.
fn generated(more: &[&str]) -> String {
    let most: &[&str] = match more.contains(&"--max-tokens") {
        true => &[],
        false => &["--max-tokens", "6"],
    };
    let (text, _) = told(&[&["generate"], more, most].concat(), "");
    text.strip_suffix('\n').unwrap().to_owned()
}

fn chat_body() -> Value {
    let parts = json!([{"type": "text", "text": "X"}, {"type": "text", "text": "%"}]);
    let messages = json!([{"role": "system", "content": "ZQ"}, {"role": "user", "content": parts}]);
    json!({"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 6})
}

fn text_body() -> Value {
    json!({"prompt": "ZQX%", "temperature": 0, "max_tokens": 6})
}

fn usage(prompt: u64, cached: u64) -> Value {
    json!({
        "prompt_tokens": prompt, "completion_tokens": 6, "total_tokens": prompt + 6,
        "prompt_tokens_details": {"cached_tokens": cached}
    })
}

/// Sends a request that is to be answered; returns the head of the response and its body.
fn post(server: &Server, path: &str, body: &Value) -> (String, String) {
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json");
    server.exchange(&head, &body.to_string())
}

/// Takes the time of an answer out of it, which is that of the request.
fn without_time(answer: &mut Value, began: u64) {
    let created = answer["created"].as_u64().unwrap();
    assert!((began..=now()).contains(&created), "{answer}");
    answer.as_object_mut().unwrap().remove("created");
}

/// Checks every field of the list of models and of whole answers: those of a chat and of a completion, and of a prompt
/// that the cache holds already.
#[test]
fn whole_answers_have_every_field() {
    let before = now();
    let server = Server::start_with("chatty", &["--name", "tiny"]);
    let get = |path: &str| -> Value {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost");
        serde_json::from_str(&server.ask(&head, "").1).unwrap()
    };
    let mut models = get("/v1/models");
    let began = models["data"][0]["created"].as_u64().unwrap();
    assert!((before..=now()).contains(&began), "{models}");
    let described =
        json!({"id": "tiny", "object": "model", "created": began, "owned_by": "polymath"});
    assert_eq!(get("/v1/models/tiny"), described);
    assert_eq!(
        models.take(),
        json!({"object": "list", "data": [described]})
    );

    let text = generated(&[
        "chatty",
        "--system",
        "ZQ",
        "--prompt",
        "X\n%",
        "--temperature",
        "0",
    ]);
    for (number, cached) in [(0, 0), (1, CHAT_TOKENS - 1)] {
        let (head, body) = post(&server, "/v1/chat/completions", &chat_body());
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        without_time(&mut answer, began);
        let expected = json!({
            "id": format!("chatcmpl-{began:x}-{number}"), "object": "chat.completion", "model": "tiny",
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null, "finish_reason": "length"
            }],
            "usage": usage(CHAT_TOKENS, cached)
        });
        assert_eq!(answer, expected);
    }

    let text = generated(&["chatty", "--raw", "--prompt", "ZQX%", "--temperature", "0"]);
    let (_, body) = post(&server, "/v1/completions", &text_body());
    let mut answer: Value = serde_json::from_str(&body).unwrap();
    without_time(&mut answer, began);
    // The begin token and "ZQ" are those of the chat.
    let expected = json!({
        "id": format!("cmpl-{began:x}-2"), "object": "text_completion", "model": "tiny",
        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": "length"}],
        "usage": usage(TEXT_TOKENS, 3)
    });
    assert_eq!(answer, expected);
}

/// Checks every event of streamed answers in order, with and without the token counts.
#[test]
fn streams_have_every_event() {
    let began = now();
    let server = Server::start_with("chatty", &["--name", "tiny"]);
    let text = generated(&[
        "chatty",
        "--system",
        "ZQ",
        "--prompt",
        "X\n%",
        "--temperature",
        "0",
    ]);
    let raw = generated(&["chatty", "--raw", "--prompt", "ZQX%", "--temperature", "0"]);
    let chat = |delta: Value, end: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": end}]);
    let piece = |text: &str, end: Value| json!([{"index": 0, "text": text, "logprobs": null, "finish_reason": end}]);
    for is_chat in [true, false] {
        for with_usage in [true, false] {
            let (path, object, mut body) = match is_chat {
                true => ("/v1/chat/completions", "chat.completion.chunk", chat_body()),
                false => ("/v1/completions", "text_completion", text_body()),
            };
            body["stream"] = true.into();
            if with_usage {
                body["stream_options"] = json!({"include_usage": true});
            }
            let (head, body) = post(&server, path, &body);
            assert!(head.contains("content-type: text/event-stream"), "{head}");
            assert!(head.contains("cache-control: no-cache"), "{head}");
            let mut said = events(&body);
            assert_eq!(said.pop(), Some("[DONE]"));
            let mut said: Vec<Value> = said
                .iter()
                .map(|event| serde_json::from_str(event).unwrap())
                .collect();
            let id = said[0]["id"].clone();
            for event in &mut said {
                assert_eq!(
                    (&event["id"], &event["object"], &event["model"]),
                    (&id, &object.into(), &"tiny".into())
                );
                without_time(event, began);
            }
            if with_usage {
                let last = said.pop().unwrap();
                let tokens = if is_chat { CHAT_TOKENS } else { TEXT_TOKENS };
                let cached = last["usage"]["prompt_tokens_details"]["cached_tokens"]
                    .as_u64()
                    .unwrap();
                assert_eq!(
                    (&last["choices"], &last["usage"]),
                    (&json!([]), &usage(tokens, cached))
                );
            }
            assert!(
                said.iter().all(|event| event.get("usage").is_none()),
                "{said:?}"
            );
            let mut choices: Vec<Value> =
                said.iter().map(|event| event["choices"].clone()).collect();
            let (end, whole) = match is_chat {
                true => (chat(json!({}), "length".into()), &text),
                false => (piece("", "length".into()), &raw),
            };
            assert_eq!(choices.pop(), Some(end));
            if is_chat {
                let opening = json!({"role": "assistant", "content": "", "refusal": null});
                assert_eq!(choices.remove(0), chat(opening, Value::Null));
            }
            let mut joined = String::new();
            for choice in choices {
                let part = match is_chat {
                    true => &choice[0]["delta"]["content"],
                    false => &choice[0]["text"],
                };
                let part = part.as_str().unwrap();
                joined += part;
                let expected = match is_chat {
                    true => chat(json!({"content": part}), Value::Null),
                    false => piece(part, Value::Null),
                };
                assert_eq!(choice, expected);
            }
            assert_eq!(joined, *whole);
        }
    }
}

/// Checks that every parameter of a request has the effect of the flag of `generate`, and that the flags of the server
/// are what a request leaves out.
#[test]
fn parameters_and_flags_have_their_effect() {
    let server = Server::start("runs/base");
    let answer = |server: &Server, more: Value| -> (String, Value) {
        let mut body = json!({"prompt": "ZQX%"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let (head, body) = post(server, "/v1/completions", &body);
        assert!(head.contains(" 200 "), "{head}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        (
            body["choices"][0]["text"].as_str().unwrap().to_owned(),
            body,
        )
    };
    let plain = |flags: &[&str]| {
        generated(
            &[
                &["runs/base", "--prompt", "ZQX%", "--max-tokens", "16"],
                flags,
            ]
            .concat(),
        )
    };
    let mut texts = Vec::new();
    for (parameters, flags) in [
        (json!({"temperature": 1.5}), &["--temperature", "1.5"][..]),
        (
            json!({"temperature": 1.5, "top_k": 3}),
            &["--temperature", "1.5", "--top-k", "3"],
        ),
        (
            json!({"temperature": 1.5, "top_p": 0.3}),
            &["--temperature", "1.5", "--top-p", "0.3"],
        ),
        (
            json!({"temperature": 1.5, "repetition_penalty": 3.0}),
            &["--temperature", "1.5", "--repetition-penalty", "3"],
        ),
    ] {
        for seed in [9, 10] {
            let mut seeded = parameters.clone();
            seeded["seed"] = seed.into();
            let (text, _) = answer(&server, seeded);
            assert_eq!(
                text,
                plain(&[flags, &["--seed", &seed.to_string()]].concat()),
                "{flags:?}"
            );
            texts.push(text);
        }
    }
    let different: std::collections::BTreeSet<&String> = texts.iter().collect();
    assert_eq!(
        different.len(),
        texts.len(),
        "a parameter has no effect: {texts:?}"
    );

    let (whole, body) = answer(&server, json!({"temperature": 0}));
    assert_eq!(body["usage"]["completion_tokens"], 16);
    let (_, body) = answer(&server, json!({"temperature": 0, "max_tokens": 5}));
    assert_eq!(body["usage"]["completion_tokens"], 5);
    let both = json!({"temperature": 0, "max_tokens": 5, "max_completion_tokens": 3});
    assert_eq!(answer(&server, both).1["usage"]["completion_tokens"], 3);
    let stop: String = whole.chars().skip(2).take(2).collect();
    for stop_texts in [json!(stop), json!(["never", stop])] {
        let (text, body) = answer(&server, json!({"temperature": 0, "stop": stop_texts}));
        assert_eq!(text, whole.split(&stop).next().unwrap());
        assert_eq!(body["choices"][0]["finish_reason"], "stop");
    }

    // Without a seed, each request has the next one.
    let flags = [
        "--temperature",
        "1.3",
        "--top-k",
        "9",
        "--top-p",
        "0.9",
        "--repetition-penalty",
        "1.2",
    ];
    let server = Server::start_with("runs/base", &[&flags[..], &["--seed", "4"]].concat());
    for seed in ["4", "5", "6"] {
        let (text, _) = answer(&server, json!({}));
        assert_eq!(
            text,
            plain(&[&flags[..], &["--seed", seed]].concat()),
            "seed {seed}"
        );
    }
}

/// Checks every field of errors, and that a prompt may be a token shorter than the context and not as long.
#[test]
fn errors_have_every_field() {
    let server = Server::start_with("chatty", &["--name", "tiny"]);
    let error = |path: &str, body: Value| -> (u64, Value) {
        let (head, body) = post(&server, path, &body);
        assert!(head.contains("content-type: application/json"), "{head}");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(&body).unwrap())
    };
    let refused = |message: &str, parameter: Value, code: Value| json!({"error": {"message": message, "type": "invalid_request_error", "param": parameter, "code": code}});
    let mut colored = text_body();
    colored["color"] = 1.into();
    let unknown = refused(
        "`color`: unknown parameter",
        "color".into(),
        "unknown_parameter".into(),
    );
    assert_eq!(error("/v1/completions", colored), (400, unknown));
    let mut several = text_body();
    several["n"] = 2.into();
    let one = refused(
        "`n` is not supported: expected `1`",
        "n".into(),
        "unsupported_parameter".into(),
    );
    assert_eq!(error("/v1/completions", several), (400, one));
    let mut other = text_body();
    other["model"] = "other".into();
    let message = "the model \"other\" is not here: this server has `tiny`";
    let absent = refused(message, "model".into(), "model_not_found".into());
    assert_eq!(error("/v1/completions", other), (404, absent));
    let missing = refused("`prompt` is missing", "prompt".into(), Value::Null);
    assert_eq!(error("/v1/completions", json!({})), (400, missing));

    let context = read_json(&folder().join("chatty/config.json"))["max_position_embeddings"]
        .as_u64()
        .unwrap();
    let of_length =
        |tokens: u64| json!({"prompt": "Z".repeat(tokens as usize - 1), "temperature": 0});
    let (status, body) = error("/v1/completions", of_length(context));
    let message = body["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&context.to_string()), "{message}");
    let full = refused(&message, Value::Null, "context_length_exceeded".into());
    assert_eq!((status, body), (400, full));
    let (status, body) = error("/v1/completions", of_length(context - 1));
    assert_eq!(
        (status, &body["usage"]["prompt_tokens"]),
        (200, &(context - 1).into()),
        "{body}"
    );
    assert_eq!(body["choices"][0]["finish_reason"], "length");
}
