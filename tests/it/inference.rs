//! Tests of `generate` and `chat` through the binary: the text on stdout and stderr, and that both commands give the
//! same answers.
#![cfg(unix)]

mod talk;

use std::path::Path;
use std::sync::OnceLock;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::support::fixture;
use crate::support::fixture::polymath;

const TEMPLATE: &str = "{% for m in messages %}{{ m.content + '<|endoftext|>' }}{% endfor %}";

/// Returns a folder with a base in `runs/base` and a copy with a chat template in `chatty`. No test changes it.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fixture::prepare(at);
        let chatty = fixture::copy_of_base(at, "chatty");
        std::fs::write(chatty.join("chat_template.jinja"), TEMPLATE).unwrap();
        folder
    });
    folder.path()
}

/// Returns stdout and stderr of a command that succeeds.
pub fn told(arguments: &[&str], input: &str) -> (String, String) {
    let output = polymath(folder())
        .args(arguments)
        .write_stdin(input)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (said, noted) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {noted}");
    (said, noted)
}

pub const GREEDY: [&str; 4] = ["--temperature", "0", "--max-tokens", "6"];

/// Checks that stdout has the answer alone and stderr the speed, and that the prompt may come from a file or stdin.
#[test]
fn the_answer_goes_to_standard_output_alone() {
    let plain = |more: &[&str], input: &str| {
        told(
            &[
                &[
                    "generate",
                    "runs/base",
                    "--temperature",
                    "1",
                    "--max-tokens",
                    "9",
                ],
                more,
            ]
            .concat(),
            input,
        )
    };
    let (answer, noted) = plain(&["--prompt", "1 2 3"], "");
    assert!(
        !answer.contains("1 2 3") && !answer.trim().is_empty(),
        "{answer}"
    );
    assert!(
        noted.contains("tokens/s") && noted.contains("`--max-tokens`"),
        "{noted}"
    );
    std::fs::write(folder().join("prompt.txt"), "1 2 3\n").unwrap();
    assert_eq!(plain(&["--prompt-file", "prompt.txt"], "").0, answer);
    assert_eq!(plain(&["--prompt-file", "-"], "1 2 3\n").0, answer);
    assert_eq!(plain(&["--prompt", "-"], "1 2 3").0, answer);
    // A pipe, as the shell's `<(command)` is one.
    #[cfg(unix)]
    assert_eq!(plain(&["--prompt-file", "/dev/stdin"], "1 2 3\n").0, answer);
    // A byte order mark and line ends of Windows are no part of the prompt.
    assert_eq!(plain(&["--prompt", "-"], "\u{feff}1 2 3\r\n").0, answer);
    let (echoed, _) = plain(&["--echo", "--prompt", "1 2 3"], "");
    assert_eq!(echoed, format!("1 2 3{answer}"));
    // A stop text that occurs in the answer ends it.
    let stop: String = answer.chars().skip(1).take(2).collect();
    let (stopped, _) = plain(&["--prompt", "1 2 3", "--stop", &stop], "");
    assert_eq!(
        stopped,
        format!("{}\n", answer.split(&stop).next().unwrap())
    );
}

/// Checks that the chat template is applied if the model has one, and left out with `--raw`.
#[test]
fn the_template_is_rendered() {
    let answer = |more: &[&str]| told(&[&["generate", "chatty"], &GREEDY[..], more].concat(), "").0;
    let base = |prompt: &str| {
        told(
            &[&["generate", "runs/base", "--prompt", prompt], &GREEDY[..]].concat(),
            "",
        )
        .0
    };
    assert_eq!(answer(&["--prompt", "1 2 3"]), base("1 2 3<|endoftext|>"));
    assert_eq!(answer(&["--prompt", "1 2 3", "--raw"]), base("1 2 3"));
    assert_eq!(
        answer(&["--prompt", "1 2", "--system", "3"]),
        base("3<|endoftext|>1 2<|endoftext|>")
    );
    polymath(folder())
        .args(["generate", "runs/base", "--prompt", "a", "--system", "b"])
        .assert()
        .code(2)
        .stderr(contains("no chat template"));
}

/// Checks that an empty answer, and one that was cut off, is explained.
#[test]
fn empty_and_cut_answers_are_explained() {
    let at = folder();
    // With the answer's first character as a stop text, the answer is empty.
    let (answer, _) = told(
        &[&["generate", "runs/base", "--prompt", "1 2 3"], &GREEDY[..]].concat(),
        "",
    );
    let first: String = answer.chars().take(1).collect();
    let stop = [
        "generate",
        "runs/base",
        "--prompt",
        "1 2 3",
        "--stop",
        &first,
    ];
    let (nothing, noted) = told(&[&stop[..], &GREEDY[..]].concat(), "");
    assert_eq!(nothing, "\n");
    assert!(noted.contains("the answer is empty"), "{noted}");

    let ending = at.join("ending");
    fixture::copy_of_base(at, "ending");
    // Makes every token an end token.
    let ends: Vec<u32> = (0..300).collect();
    let config = json!({"eos_token_id": ends}).to_string();
    std::fs::write(ending.join("generation_config.json"), config).unwrap();
    let (nothing, noted) = told(&["generate", "ending", "--prompt", "1 2 3"], "");
    assert_eq!(nothing, "\n");
    assert!(noted.contains("the model ended at once"), "{noted}");

    // Makes a byte that no text contains the end token: the model writes until the context is full.
    let endless = fixture::copy_of_base(at, "endless").join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&endless).unwrap()).unwrap();
    config["eos_token_id"] = 200.into();
    std::fs::write(&endless, config.to_string()).unwrap();
    let (_, noted) = told(
        &[
            "generate",
            "endless",
            "--prompt",
            "1 2 3",
            "--temperature",
            "0",
        ],
        "",
    );
    assert!(noted.contains("the context is full: "), "{noted}");
    polymath(at)
        .args(["generate", "runs/base", "--prompt", &"a b ".repeat(60)])
        .assert()
        .code(2)
        .stderr(contains("the context is full: the prompt has"));
}

/// Checks that the settings of `generation_config.json` are used and that flags override them.
#[test]
fn sampling_settings_come_from_the_model() {
    let at = folder();
    let given = fixture::copy_of_base(at, "sampled");
    let settle = |text: &str| std::fs::write(given.join("generation_config.json"), text).unwrap();
    let base = |more: &[&str]| {
        let begin = [
            "generate",
            "runs/base",
            "--prompt",
            "1 2 3",
            "--max-tokens",
            "12",
        ];
        told(&[&begin[..], more].concat(), "").0
    };
    let sampled = |more: &[&str]| {
        let begin = [
            "generate",
            "sampled",
            "--prompt",
            "1 2 3",
            "--max-tokens",
            "12",
        ];
        told(&[&begin[..], more].concat(), "").0
    };
    settle(r#"{"do_sample": false, "repetition_penalty": 1.5}"#);
    let penalized = ["--temperature", "0", "--repetition-penalty", "1.5"];
    assert_eq!(sampled(&[]), base(&penalized));
    assert_ne!(base(&penalized), base(&["--temperature", "0"]));
    assert_eq!(
        sampled(&["--repetition-penalty", "1"]),
        base(&["--temperature", "0"])
    );
    settle(r#"{"temperature": 2.0, "top_k": 7}"#);
    assert_eq!(sampled(&[]), base(&["--temperature", "2", "--top-k", "7"]));
    settle(r#"{"top_p": "all"}"#);
    polymath(at)
        .args(["generate", "sampled"])
        .assert()
        .failure()
        .stderr(contains("generation_config.json").and(contains("`top_p`")));
}

/// Checks that the messages on stdin are answered in turn, and by two models side by side.
#[test]
fn messages_are_answered_in_turn() {
    let talk =
        |models: &[&str], input: &str| told(&[&["chat"], models, &GREEDY[..]].concat(), input);
    let (answers, noted) = talk(
        &["chatty"],
        "1 2 3\n\n/help\n1 2 3\n/reset\n1 2 3\n/quit\nnever\n",
    );
    let first = told(
        &[&["generate", "chatty", "--prompt", "1 2 3"], &GREEDY[..]].concat(),
        "",
    )
    .0;
    assert!(
        answers.starts_with(&first) && answers.ends_with(&first),
        "{answers}"
    );
    assert!(answers.len() > 2 * first.len(), "{answers}");
    assert_eq!(talk(&["chatty"], "\u{feff}1 2 3\r\n").0, first);
    assert!(
        noted.contains("/save FILE") && noted.contains("a new conversation"),
        "{noted}"
    );

    let (both, noted) = talk(&["chatty", "runs/base"], "1 2 3\n");
    assert!(
        both.starts_with(&format!("[chatty]\n{first}[runs/base]\n")),
        "{both}"
    );
    assert!(
        noted.contains("has no chat template: it continues your text"),
        "{noted}"
    );

    let (_, noted) = talk(&["chatty"], "1 2 3\n/save talk.jsonl\n");
    assert!(noted.contains("saved `talk.jsonl`"), "{noted}");
    let saved = std::fs::read_to_string(folder().join("talk.jsonl")).unwrap();
    let record: Value = serde_json::from_str(saved.trim()).unwrap();
    assert_eq!(record["messages"][0]["content"], "1 2 3");
    for (input, message) in [
        ("/save talk.jsonl\n", "exists already"),
        ("/save\n", "expected a file name"),
        ("/dance\n", "`/dance`: unknown command"),
    ] {
        let mut command = polymath(folder());
        command.args(["chat", "chatty"]).write_stdin(input);
        command.assert().failure().stderr(contains(message));
    }
    let long = "1 2 3 ".repeat(40) + "\n";
    let mut command = polymath(folder());
    command.args(["chat", "chatty"]).write_stdin(long);
    command
        .assert()
        .code(2)
        .stderr(contains("the context is full"));
}
