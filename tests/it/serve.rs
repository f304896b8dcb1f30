//! Tests of `serve` through the binary: it gives the answers of `generate`, and refuses invalid and foreign requests.
#![cfg(unix)]

mod answers;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use predicates::str::contains;
use serde_json::{Value, json};

use crate::inference::{GREEDY, folder, told};
use crate::support::fixture;
use crate::support::fixture::polymath;

/// Running server, stopped when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(model: &str) -> Self {
        Self::start_with(model, &[])
    }

    fn start_with(model: &str, more: &[&str]) -> Self {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("polymath"));
        command.args([
            "--device",
            &fixture::device(),
            "serve",
            model,
            "--port",
            "0",
            "--quiet",
        ]);
        command.args(more).current_dir(folder());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.find(|line| line.as_ref().unwrap().contains("serving"));
        let line = line.unwrap().unwrap();
        let from = line.find("127.0.0.1:").unwrap();
        let address = line[from..].split('/').next().unwrap().to_owned();
        // Reads the rest of the server's output, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// Sends a request and returns the status and the body of the response.
    fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let (head, body) = self.exchange(head, body);
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// Sends a request and returns the head and the body of the response.
    fn exchange(&self, head: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut bytes = Vec::new();
        // A server that refuses the body may close the connection before the body is read.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json");
        let (status, body) = self.ask(&head, &body.to_string());
        (status, serde_json::from_str(&body).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn chat(content: &str) -> Value {
    json!({"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 6})
}

/// Returns the data of a stream's events, without the sizes of the HTTP chunks.
fn events(body: &str) -> Vec<&str> {
    body.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect()
}

/// Checks that greedy answers of the server equal those of `chat` and `generate`, whole and streamed.
#[test]
fn the_server_answers_as_the_chat() {
    let server = Server::start("chatty");
    let first = told(
        &[&["generate", "chatty", "--prompt", "1 2 3"], &GREEDY[..]].concat(),
        "",
    )
    .0;
    let expected = first.trim_end_matches('\n');
    let (status, body) = server.post("/v1/chat/completions", &chat("1 2 3"));
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["choices"][0]["message"]["content"], expected);
    assert_eq!(body["model"], "chatty");

    let mut streamed = chat("1 2 3");
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Type: application/json";
    let (status, body) = server.ask(head, &streamed.to_string());
    assert_eq!(status, 200);
    let events = events(&body);
    assert_eq!(events.last(), Some(&"[DONE]"));
    let pieces: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let text: String = pieces
        .iter()
        .filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, expected);
    assert!(pieces.last().unwrap()["usage"]["completion_tokens"].as_u64() > Some(0));

    let (raw, _) = told(
        &[
            &["generate", "chatty", "--raw", "--prompt", "1 2 3"],
            &GREEDY[..],
        ]
        .concat(),
        "",
    );
    let ask = json!({"prompt": "1 2 3", "temperature": 0, "max_tokens": 6});
    let (_, body) = server.post("/v1/completions", &ask);
    assert_eq!(body["choices"][0]["text"], raw.trim_end_matches('\n'));
}

/// Checks that errors have OpenAI's JSON form, and that foreign hosts, large bodies and other content types are
/// refused.
#[test]
fn the_server_refuses_in_json() {
    let server = Server::start("chatty");
    let long = chat(&"1 2 3 ".repeat(60));
    let (status, body) = server.post("/v1/chat/completions", &long);
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    let mut other = chat("a");
    other["model"] = "other".into();
    assert_eq!(server.post("/v1/chat/completions", &other).0, 404);
    let mut streamed = long;
    streamed["stream"] = true.into();
    assert_eq!(server.post("/v1/chat/completions", &streamed).0, 400);
    let (_, body) = server.post("/v1/chat/completions", &json!({"messages": 1}));
    assert_eq!(body["error"]["param"], "messages");
    assert_eq!(body["error"]["type"], "invalid_request_error");

    let json_type = "Content-Type: application/json";
    let large = "x".repeat((1 << 20) + 1);
    for (head, body, status) in [
        (
            format!("POST /v1/completions HTTP/1.1\r\nHost: evil.example\r\n{json_type}"),
            "{}",
            403,
        ),
        (
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain".into(),
            "{}",
            415,
        ),
        (
            format!("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{json_type}"),
            &large,
            413,
        ),
        (
            format!("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{json_type}"),
            "{",
            400,
        ),
        (
            "GET /v1/completions HTTP/1.1\r\nHost: localhost".into(),
            "",
            405,
        ),
        (
            "GET /../../etc/passwd HTTP/1.1\r\nHost: localhost".into(),
            "",
            404,
        ),
    ] {
        let (found, body) = server.ask(&head, body);
        assert_eq!(found, status, "{head}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"]["message"].is_string(), "{body}");
    }
    let (status, body) = server.ask("GET /v1/models HTTP/1.1\r\nHost: localhost", "");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["data"][0]["id"]), (200, &json!("chatty")));
}

/// Checks that SIGTERM ends the server with exit code 0. SIGINT is not tested, since a shell's background jobs ignore
/// it.
#[test]
fn a_signal_ends_the_server() {
    let mut server = Server::start("chatty");
    let id = server.child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert!(sent.success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let port = server.address.rsplit(':').next().unwrap();
    let taken = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    polymath(folder())
        .args(["serve", "chatty", "--port", port])
        .assert()
        .code(2)
        .stderr(contains("can't listen there"));
    drop(taken);
}

/// Checks that as many requests wait as `--queue` says, and that those beyond it are refused at once.
#[test]
fn a_full_queue_refuses() {
    let ask = json!({"prompt": "1 2 3", "temperature": 0, "max_tokens": 40});
    for (queue, may_refuse) in [("1", true), ("40", false)] {
        let server = Server::start_with("runs/base", &["--queue", queue]);
        let round = || -> Vec<(u16, Value)> {
            std::thread::scope(|scope| {
                let asked = (0..32).map(|_| scope.spawn(|| server.post("/v1/completions", &ask)));
                let asked: Vec<_> = asked.collect();
                asked
                    .into_iter()
                    .map(|asked| asked.join().unwrap())
                    .collect()
            })
        };
        let mut refused = 0;
        for _ in 0..if may_refuse { 20 } else { 2 } {
            for (status, body) in round() {
                if status == 503 {
                    assert_eq!(body["error"]["code"], "queue_full", "{body}");
                    assert_eq!(body["error"]["type"], "server_error", "{body}");
                    refused += 1;
                } else {
                    assert_eq!(status, 200, "{body}");
                }
            }
            if refused > 0 {
                break;
            }
        }
        assert_eq!(refused > 0, may_refuse, "--queue {queue}");
    }
}

/// Checks that a model without a chat template serves completions but not chats.
#[test]
fn a_model_without_a_template_serves_completions() {
    let server = Server::start("runs/base");
    let (status, body) = server.post("/v1/chat/completions", &chat("1"));
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("no_chat_template"))
    );
    let (status, body) = server.post(
        "/v1/completions",
        &json!({"prompt": "1 2 3", "model": "base"}),
    );
    assert_eq!(status, 200, "{body}");
}
