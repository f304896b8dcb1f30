//! Tests of the parameters of a request.

use super::*;

fn read(kind: Kind, body: Value) -> Result<Parameters, ApiError> {
    let body = body.to_string();
    Parameters::read(kind, body.as_bytes(), "tiny", SamplingConfig::default())
}

/// Checks that the requests of OpenAI's client are parsed.
#[test]
fn requests_are_read() {
    let body = json!({
        "model": "tiny", "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
        ],
        "temperature": 0, "max_completion_tokens": 5, "stop": "x", "stream": true, "n": 1, "user": "me",
        "stream_options": {"include_usage": true}, "logprobs": null, "presence_penalty": 0.0
    });
    let read = read(Kind::Chat, body).unwrap();
    let messages = vec![
        ChatMessage::new("system", "s"),
        ChatMessage::new("user", "a\nb"),
    ];
    assert_eq!(read.question, Question::Messages(messages));
    assert_eq!(read.request.sampling.temperature, 0.0);
    assert_eq!(read.request.max_tokens, Some(5));
    assert_eq!(read.request.stop, ["x"]);
    assert!(read.stream && read.stream_usage);
}

/// Checks that a completion has 16 tokens if the request sets no maximum, and that a list with one prompt is
/// accepted.
#[test]
fn completions_have_a_default_length() {
    let read = read(Kind::Completion, json!({"prompt": ["once"]})).unwrap();
    assert_eq!(read.question, Question::Text("once".into()));
    assert_eq!(read.request.max_tokens, Some(16));
}

/// Checks that parameters without an effect have the values of OpenAI's defaults and no others, and that those
/// about the caller may have any.
#[test]
fn parameters_without_an_effect_have_their_defaults() {
    let with = |kind, key: &str, value: &Value| {
        let mut body = match kind {
            Kind::Chat => json!({"messages": [{"role": "user", "content": "a"}]}),
            Kind::Completion => json!({"prompt": "a"}),
        };
        body[key] = value.clone();
        read(kind, body).map_err(|error| (error.parameter.unwrap(), error.code.unwrap()))
    };
    let all = [
        ("n", vec![json!(1), json!(1.0)]),
        ("best_of", vec![json!(1)]),
        ("frequency_penalty", vec![json!(0), json!(0.0)]),
        ("presence_penalty", vec![json!(0)]),
        ("logprobs", vec![json!(false)]),
        ("echo", vec![json!(false)]),
        ("logit_bias", vec![json!({})]),
        ("tools", vec![json!([])]),
        ("functions", vec![json!([])]),
        ("tool_choice", vec![json!("none"), json!("auto")]),
        ("function_call", vec![json!("none"), json!("auto")]),
        ("response_format", vec![json!({"type": "text"})]),
        ("modalities", vec![json!(["text"])]),
        ("top_logprobs", Vec::new()),
        ("suffix", Vec::new()),
    ];
    let others = [
        json!(2),
        json!(0.5),
        json!(true),
        json!("required"),
        json!("text"),
        json!(["audio"]),
        json!({"type": "json_object"}),
        json!({"5": 1}),
    ];
    for kind in [Kind::Chat, Kind::Completion] {
        for (key, values) in &all {
            for value in values {
                assert!(with(kind, key, value).is_ok(), "{key}: {value}");
            }
            for value in &others {
                let refused = Err(((*key).to_owned(), "unsupported_parameter"));
                assert_eq!(with(kind, key, value).map(drop), refused, "{key}: {value}");
            }
            assert!(with(kind, key, &Value::Null).is_ok(), "{key}");
        }
        for key in [
            "user",
            "metadata",
            "store",
            "service_tier",
            "safety_identifier",
            "prompt_cache_key",
            "parallel_tool_calls",
        ] {
            assert!(with(kind, key, &json!({"a": 1})).is_ok(), "{key}");
        }
    }
}

/// Checks the numbers of a request that its defaults and limits give.
#[test]
fn numbers_have_their_defaults_and_limits() {
    let defaults = SamplingConfig {
        temperature: 0.3,
        top_k: Some(7),
        top_p: 0.6,
        repetition_penalty: 1.25,
        seed: 11,
    };
    let read = |kind, body: Value| {
        let body = body.to_string();
        Parameters::read(kind, body.as_bytes(), "tiny", defaults)
    };
    let plain = read(Kind::Completion, json!({"prompt": "a"})).unwrap();
    assert_eq!(plain.request.sampling, defaults);
    assert!(!plain.stream && !plain.stream_usage);
    let chat = json!({"messages": [{"role": "user", "content": "a"}]});
    assert_eq!(read(Kind::Chat, chat).unwrap().request.max_tokens, None);
    let seed = |seed: Value| {
        let read = read(Kind::Completion, json!({"prompt": "a", "seed": seed})).unwrap();
        read.request.sampling.seed
    };
    assert_eq!([seed(json!(5)), seed(json!(-1))], [5, u64::MAX]);
    let stops = |count: usize| {
        let stop = vec!["x"; count];
        read(Kind::Completion, json!({"prompt": "a", "stop": stop})).is_ok()
    };
    assert_eq!([stops(0), stops(16), stops(17)], [true, true, false]);
}

/// Checks that the error for a wrong parameter names it.
#[test]
fn wrong_parameters_are_named() {
    let chat = |key: &str, value: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "a"}]});
        body[key] = value;
        let error = read(Kind::Chat, body).unwrap_err();
        (error.parameter, error.message, error.status.as_u16())
    };
    for (key, value, part) in [
        ("n", json!(2), "expected `1`"),
        ("tools", json!([{}]), "not supported"),
        ("color", json!(1), "unknown parameter"),
        ("prompt", json!("a"), "unknown parameter"),
        ("stream", json!("yes"), "true or false"),
        ("max_tokens", json!(0), "at least 1"),
        ("stop", json!(["a", ""]), "none of them empty"),
        ("stream_options", json!(true), "an object"),
        ("seed", json!(0.5), "a whole number"),
        ("messages", json!([]), "at least one message"),
    ] {
        let (parameter, message, status) = chat(key, value);
        assert_eq!((parameter.as_deref(), status), (Some(key), 400));
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(chat("model", json!("other")).2, 404);
    let (parameter, ..) = chat("stream_options", json!({"include_usage": true, "speed": 1}));
    assert_eq!(parameter.unwrap(), "stream_options.speed");
    assert!(chat("temperature", json!(-1)).1.contains("temperature -1"));
    let (parameter, ..) = chat("messages", json!([{"role": "user", "content": 1}]));
    assert_eq!(parameter.unwrap(), "messages[0].content");
    assert!(Parameters::read(Kind::Chat, b"[", "tiny", SamplingConfig::default()).is_err());
}
