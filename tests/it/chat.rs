//! Tests of conversations through the binary: from `messages` in a dataset to a model that answers and stops.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::json;

use crate::support::fixture::{copy_of_base, polymath, prepare, read_json as read, write};
use crate::tune::{FEW, says, tune, write_base_and_chat};

/// Checks that a tuned model stops after its answer, although its base ends texts with another token than the chat
/// template ends turns with. The end token is written where other programs look for it, for a model and for an
/// adapter. Also checks the reported roles, weights and keys.
#[test]
fn a_tuned_model_ends_its_answers() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    copy_of_base(at, "model");
    write(
        at,
        "model/chat_template.jinja",
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<stop>' }}{% endfor %}",
    );
    write(
        at,
        "model/generation_config.json",
        r#"{"eos_token_id": 0, "temperature": 0.6}"#,
    );
    let talk = |number: usize| {
        let question = json!({"role": "human", "content": format!("say {number}")});
        let mut answer = json!({"role": "assistant", "content": "yes it is", "id": number});
        if number == 3 {
            answer["weight"] = json!(0);
        }
        json!({"messages": [question, answer]}).to_string() + "\n"
    };
    write(at, "raw/chat.jsonl", &(0..80).map(talk).collect::<String>());
    let config = "base = \"model\"\ntexts = [\"raw/chat.jsonl\"]\nrun = \"runs/chat\"\n\
                  [tokenizer]\nadd = [\"<stop>\"]\n[training]\nsteps = 60\nbatch_size = 8\nlearning_rate = 1e-2\n\
                  [evaluation]\nevery = 30\nmax_tokens = 500\n";
    write(at, "chat.toml", config);
    polymath(at)
        .args(["finetune", "chat.toml"])
        .assert()
        .success();
    let stop = read(&at.join("runs/chat/best/tokenizer.json"))["added_tokens"][1]["id"].clone();
    let best = at.join("runs/chat/best");
    assert_eq!(
        read(&best.join("config.json"))["eos_token_id"],
        json!([0, stop])
    );
    let generation = read(&best.join("generation_config.json"));
    assert_eq!(generation["eos_token_id"], json!([0, stop]));
    assert_eq!(generation["temperature"], 0.6);
    // The space before the answer may be in the prompt or generated; the begin token may be part of the prompt's
    // text.
    for prompt in [
        "user: say 7<stop>assistant: ",
        "<|endoftext|>user: say 7<stop>assistant:",
    ] {
        let output = polymath(at)
            .args([
                "generate",
                "runs/chat",
                "--raw",
                "--echo",
                "--temperature",
                "0",
                "--prompt",
                prompt,
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, format!("{} yes it is\n", prompt.trim_end()));
    }
    polymath(at)
        .args(["dataset", "info", "runs/chat.dataset"])
        .assert()
        .success()
        .stdout(contains("`human` as `user` 80").and(contains("(`weight` 0 or `train` false): 1")))
        .stdout(contains("keys of messages that are not used: `id` 80"))
        .stdout(contains(
            "begin with `<|endoftext|>` (0, from `tokenizer.bos_token`)",
        ));

    let adapter = [
        "base=runs/chat/best",
        "run=runs/adapter",
        "method=lora",
        "tokenizer.add=[]",
        "training.steps=2",
    ];
    polymath(at)
        .args(["finetune", "chat.toml"])
        .args(adapter)
        .assert()
        .success();
    let generation = read(&at.join("runs/adapter/best/generation_config.json"));
    assert_eq!(generation["eos_token_id"], json!([0, stop]));
}

/// Checks that a chat template that would need too much time, memory or stack is an error that names it.
#[test]
fn exhausting_templates_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    copy_of_base(at, "model");
    let talk = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]});
    write(at, "raw/chat.jsonl", &talk.to_string());
    write(
        at,
        "chat.toml",
        "output = \"chat\"\n[tokenizer]\npath = \"model/tokenizer.json\"\n[domains.chat]\npaths = [\"raw/chat.jsonl\"]\n",
    );
    for template in [
        "{{ messages | tojson(indent=99999999999) }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        &format!("{{{{ {}true }}}}", "not ".repeat(100_000)),
    ] {
        write(at, "model/chat_template.jinja", template);
        polymath(at)
            .args(["prepare", "chat.toml"])
            .assert()
            .code(1)
            .stderr(contains("chat_template.jinja"));
    }
}

/// Checks that a base without a chat template gets one from conversations, and that the command to chat is printed.
#[test]
fn a_base_without_a_template_learns_to_chat() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_base_and_chat(at);
    std::fs::remove_file(at.join("small/chat_template.jinja")).unwrap();
    tune(at, &["small", "chat.jsonl", FEW])
        .assert()
        .success()
        .stdout(contains("polymath chat small-chat\n"))
        .stdout(contains("polymath generate").not());
    assert_eq!(says(at, "small-chat"), says(at, "small-chat/run"));
    let template = std::fs::read_to_string(at.join("small-chat/best/chat_template.jinja")).unwrap();
    assert!(template.starts_with("{{ bos_token }}"), "{template}");
}
