//! Tests of `polymath tune`: from a base and text to a model that chats, also after an interruption.

mod configs;
mod told;

use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::prelude::predicate::in_iter;
use predicates::str::contains;
use serde_json::json;

use crate::support::fixture::{
    copy_of_base, files, kill_in_the_middle, polymath, prepare, read_json, sha_of_weights, write,
};

/// Settings that keep the training small.
const SMALL: [&str; 4] = [
    "training.steps=6",
    "training.batch_size=2",
    "training.learning_rate=1e-2",
    "evaluation.max_tokens=4000",
];
/// Setting that keeps the amount of text that the base generates small.
pub const FEW: &str = "retention.replay.tokens=300";

/// Writes a model folder with a chat template, and conversations.
pub fn write_base_and_chat(at: &Path) {
    prepare(at);
    copy_of_base(at, "small");
    write(
        at,
        "small/chat_template.jinja",
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|endoftext|>' }}{% endfor %}\
         {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
    );
    let talk = |number: usize| {
        let question = json!({"role": "user", "content": format!("say {number}")});
        let answer = json!({"role": "assistant", "content": format!("you said {number}")});
        json!({"messages": [question, answer]}).to_string() + "\n"
    };
    write(at, "chat.jsonl", &(0..80).map(talk).collect::<String>());
}

pub fn tune(at: &Path, arguments: &[&str]) -> Command {
    let mut command = polymath(at);
    command.arg("tune").args(arguments).args(SMALL);
    command
}

/// Returns the greedy answer of a model to the message `say 7`.
pub fn says(at: &Path, model: &str) -> String {
    let mut command = polymath(at);
    command.args(["chat", model, "--temperature", "0", "--max-tokens", "8"]);
    let said = command.write_stdin("say 7\n").assert().success();
    String::from_utf8(said.get_output().stdout.clone()).unwrap()
}

/// Returns the exit code that the verdicts in `limits.json` of a run ask for.
fn verdict_code(at: &Path, run: &str) -> i32 {
    let verdict = std::fs::read_to_string(at.join(run).join("limits.json")).unwrap();
    match (
        verdict.contains("\"broken\""),
        verdict.contains("\"undecided\""),
    ) {
        (true, _) => 3,
        (false, true) => 4,
        (false, false) => 0,
    }
}

/// Checks that two commands lead from a model and conversations to a chat, that the configs beside the run are those of
/// the ordinary commands, and that the same command again repeats no step.
#[test]
fn two_commands_lead_to_a_chat() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_base_and_chat(at);
    let arguments = ["small", "chat.jsonl", FEW];
    let ended = tune(at, &arguments).assert();
    told::check_full(
        at,
        &ended.success().stdout(
            contains("chat (niche)")
                .and(contains("\n  self "))
                .and(contains("`self` is text that the base generated")),
        ),
    );
    let answer = says(at, "small-chat");
    assert_eq!(answer, says(at, "small-chat/run"));
    // No folder is merged of a full fine-tuning.
    assert!(!at.join("small-chat/model").exists());
    let import = ["import", "small-chat/small-chat.gguf", "-o", "back"];
    polymath(at).args(import).assert().success();

    let before = files(&at.join("small-chat"));
    tune(at, &arguments)
        .assert()
        .success()
        .stderr(contains("Done steps are skipped").and(contains("nothing left to do")))
        .stdout(contains("chat (niche)"));
    assert_eq!(files(&at.join("small-chat")), before);
    polymath(at)
        .args(["prepare", "small-chat/prepare.toml"])
        .assert()
        .success();
    polymath(at)
        .args(["finetune", "small-chat/finetune.toml", "--resume"])
        .assert()
        .code(verdict_code(at, "small-chat/run"))
        .stderr(contains("nothing left to do"));
    assert_eq!(files(&at.join("small-chat")), before);
    let report = read_json(&at.join("small-chat/report/report.json"));
    let of_self = &report["runs"][0]["domains"][1];
    assert_eq!(of_self["name"], "self");
    assert_eq!(of_self["grouping"], "generated documents");
    // The default budget, given, is the same request, and its verdict is the exit code.
    tune(at, &[&arguments[..], &["--limits", "0.02"]].concat())
        .assert()
        .code(verdict_code(at, "small-chat/run"))
        .stderr(contains("Done steps are skipped"));
}

/// Checks that a GGUF file can be the base, and that an adapter is merged into a model folder.
#[test]
fn a_gguf_file_is_tuned_by_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_base_and_chat(at);
    let export = ["export", "small", "--gguf", "base.gguf", "--type", "f32"];
    polymath(at).args(export).assert().success();
    let arguments = ["base.gguf", "chat.jsonl", FEW, "--lora", "-o", "my tune"];
    told::check_adapter(at, &tune(at, &arguments).assert().success());
    assert!(at.join("my tune/model/config.json").is_file());
    assert!(!at.join("my tune/model/adapter_config.json").exists());
    assert_eq!(says(at, "my tune"), says(at, "my tune/run"));
    // Another file of the same name is another base.
    let export = ["export", "small", "--gguf", "other.gguf", "--type", "f16"];
    polymath(at).args(export).assert().success();
    std::fs::rename(at.join("other.gguf"), at.join("base.gguf")).unwrap();
    tune(at, &arguments)
        .assert()
        .code(2)
        .stderr(contains("another content of the base `base.gguf`"));
}

/// Checks that retained text sets a budget and is reported on, and that its verdict is the exit code.
#[test]
fn retained_text_sets_a_budget() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_base_and_chat(at);
    let retain = [
        "small",
        "chat.jsonl",
        "--retain",
        "raw/counting.jsonl",
        "raw/letters.jsonl",
    ];
    let texts = [&retain[..], &["--limits", "3"]].concat();
    let ended = tune(at, &texts).assert();
    let ended = ended.stdout(contains("counting").and(contains("letters")));
    let kept = ", and `raw/counting.jsonl`, `raw/letters.jsonl` to keep";
    told::check_budget(&ended, "small-chat", kept, "3");
    ended.code(verdict_code(at, "small-chat/run"));
    assert!(at.join("small-chat/report/report.html").is_file());
    assert!(at.join("small-chat/small-chat.gguf").is_file());
    let config = std::fs::read_to_string(at.join("small-chat/finetune.toml")).unwrap();
    assert!(config.contains("default = 3.0"), "{config}");
    assert!(!config.contains("[retention.replay]"), "{config}");
    // A prepared dataset is retained as it is.
    let dataset = ["small", "chat.jsonl", "-o", "other", "--retain", "data"];
    let ended = tune(at, &dataset).assert().code(in_iter([0, 3, 4]));
    told::check_budget(&ended, "other", "; `data` is to be kept", "0.02");
    let config = std::fs::read_to_string(at.join("other/finetune.toml")).unwrap();
    assert!(config.contains("retain = \"data\"\n"), "{config}");
    assert!(config.contains("default = 0.02\n"), "{config}");
    let manifest = std::fs::read_to_string(at.join("other/data/dataset.json")).unwrap();
    assert!(!manifest.contains("letters"), "{manifest}");
}

/// Checks that a killed tuning, continued by the same command, ends with the same weights.
#[test]
fn a_killed_tuning_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_base_and_chat(at);
    let settings = [
        "training.steps=20",
        "checkpoint.every=1",
        "checkpoint.keep=99",
    ];
    let common = [
        "tune",
        "small",
        "chat.jsonl",
        FEW,
        "training.batch_size=2",
        "training.learning_rate=1e-2",
        "evaluation.max_tokens=4000",
        "--limits",
        "self=0.5",
    ];
    let arguments = [&common[..], &settings].concat();
    let whole = [&arguments[..], &["-o", "whole"]].concat();
    polymath(at).args(&whole).assert().code(in_iter([0, 3, 4]));
    let report = read_json(&at.join("whole/report/report.json"));
    assert_eq!(report["settings"]["tolerance"], 0.5);
    let killed = [&arguments[..], &["-o", "killed"]].concat();
    let places = ("step-000003/state.json", "step-000020");
    kill_in_the_middle(at, &killed, "killed/run", places);
    polymath(at)
        .args(&killed)
        .assert()
        .code(in_iter([0, 3, 4]))
        .stderr(contains("resumed after step"));
    let [whole, killed] = ["whole/run", "killed/run"].map(|run| sha_of_weights(&at.join(run)));
    assert_eq!(whole, killed);
    assert!(at.join("killed/killed.gguf").is_file());
}

/// Checks that a changed request, edited configs, changed data and foreign folders are refused by name, and that
/// nothing is overwritten.
#[test]
fn other_requests_and_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_base_and_chat(at);
    let refused = |arguments: &[&str], said: &str| {
        tune(at, arguments).assert().code(2).stderr(contains(said));
    };
    refused(&["nowhere", "chat.jsonl"], "`nowhere`: there is no such");
    refused(
        &["small", "gone.jsonl"],
        "`gone.jsonl`: there is no such file",
    );
    refused(
        &["small", "chat.jsonl", "training.step=1"],
        "did you mean `steps`?",
    );
    write(at, "precious/notes.txt", "mine");
    refused(
        &["small", "chat.jsonl", "-o", "precious"],
        "holds `notes.txt`, which is not of a tuning",
    );
    refused(
        &["small", "chat.jsonl", "-o", "runs/base"],
        "not of a tuning",
    );
    assert_eq!(std::fs::read_dir(at.join("precious")).unwrap().count(), 1);

    // A failure before the text was prepared fixes nothing; before the run begins, the training may change.
    write(at, "pairs.jsonl", &(0..60).map(pair).collect::<String>());
    refused(&["small", "pairs.jsonl", FEW, "-o", "begun"], "pairs.jsonl");
    refused(
        &[
            "small",
            "chat.jsonl",
            FEW,
            "-o",
            "begun",
            "retention.distill.strength=-1",
        ],
        "retention.distill.strength",
    );
    assert!(at.join("begun/data/dataset.json").is_file());
    refused(
        &["small", "pairs.jsonl", FEW, "-o", "begun"],
        "was started with data = [\"chat.jsonl\"] and not",
    );
    let begun = ["small", "chat.jsonl", FEW, "-o", "begun"];
    tune(at, &begun).assert().success();
    let before = files(&at.join("begun"));
    let lock = std::fs::File::options()
        .write(true)
        .open(at.join("begun/.lock"))
        .unwrap();
    lock.lock().unwrap();
    refused(&begun, "works in `begun`: wait until it is done");
    drop(lock);
    refused(
        &["small", "chat.jsonl", FEW, "-o", "begun", "--lora"],
        "was started with method = \"full\" and not \"lora\"",
    );
    refused(
        &["small", "raw/asked.jsonl", FEW, "-o", "begun"],
        "was started with data = [\"chat.jsonl\"] and not [\"raw/asked.jsonl\"]",
    );
    let config = std::fs::read_to_string(at.join("begun/finetune.toml")).unwrap();
    write(
        at,
        "begun/finetune.toml",
        &(config.clone() + "\n[lora]\nrank = 2\n"),
    );
    refused(
        &begun,
        "`begun/finetune.toml` says something else than this request",
    );
    write(at, "begun/finetune.toml", &config);
    assert_eq!(files(&at.join("begun")), before);
    let chat = std::fs::read_to_string(at.join("chat.jsonl")).unwrap();
    write(at, "chat.jsonl", &chat.replace("say 7", "tell 7"));
    refused(
        &begun,
        "if it has changed since, choose another output folder",
    );
    assert_eq!(files(&at.join("begun")), before);
}

fn pair(number: usize) -> String {
    json!({"asked": format!("say {number}"), "answered": format!("you said {number}")}).to_string()
        + "\n"
}

/// Checks that `tune` reads records with fields of other names and passes over bad ones, as its settings say.
#[test]
fn settings_say_how_the_text_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_base_and_chat(at);
    let pairs: String = (0..60).map(pair).collect();
    write(at, "pairs.jsonl", &(pairs + "{\"asked\": 7}\n"));
    let read = [
        "fields.prompt=asked",
        "fields.response=answered",
        "on_bad_record=skip",
    ];
    let dry = |settings: &[&str]| {
        let mut command = tune(at, &["small", "pairs.jsonl", FEW, "--dry-run"]);
        command.args(settings).assert()
    };
    dry(&read).success();
    dry(&read[..2]).code(2).stderr(contains("pairs.jsonl"));
}

/// Checks that prompts and responses are messages of a chat where the base has a chat template: the data are those of
/// the same conversations. `pairs=text` reads them as text, and a base without a template is asked with a line break.
#[test]
fn prompts_and_responses_are_learned_as_a_chat() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_base_and_chat(at);
    let pair = |number: usize| {
        let (asked, answered) = (format!("say {number}"), format!("you said {number}"));
        json!({"prompt": asked, "response": answered}).to_string() + "\n"
    };
    write(at, "pairs.jsonl", &(0..80).map(pair).collect::<String>());
    let tuned = |name: &str, base: &str, more: &[&str]| {
        let mut command = tune(at, &[base, name, FEW, "-o", "tuned"]);
        let said = command.args(more).assert().success();
        let said = String::from_utf8(said.get_output().stdout.clone()).unwrap();
        let niche = name.strip_suffix(".jsonl").unwrap();
        let read =
            |file: &str| std::fs::read(at.join("tuned/data").join(niche).join(file)).unwrap();
        let shards = ["train.safetensors", "heldout.safetensors"].map(|file| tokens(&read(file)));
        std::fs::remove_dir_all(at.join("tuned")).unwrap();
        (said, shards)
    };
    let (said, of_pairs) = tuned("pairs.jsonl", "small", &[]);
    assert!(said.contains("polymath chat tuned small"), "{said}");
    assert_eq!(of_pairs, tuned("chat.jsonl", "small", &[]).1);
    let (said, of_text) = tuned("pairs.jsonl", "small", &["pairs=text"]);
    assert!(said.contains("polymath chat tuned small"), "{said}");
    assert_ne!(of_text, of_pairs);
    std::fs::remove_file(at.join("small/chat_template.jinja")).unwrap();
    let (said, without) = tuned("pairs.jsonl", "small", &[]);
    assert!(
        said.contains(r"polymath generate tuned --prompt $'…\n'"),
        "{said}"
    );
    assert_eq!(without, of_text);
}

/// Returns the bytes of a shard's tokens.
fn tokens(shard: &[u8]) -> Vec<u8> {
    let tensors = safetensors::SafeTensors::deserialize(shard).unwrap();
    tensors.tensor("tokens").unwrap().data().to_vec()
}

/// Checks that a dry run prints the steps and the cost, and writes nothing.
#[test]
fn a_dry_run_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_base_and_chat(at);
    let before = files(at);
    tune(at, &["small", "chat.jsonl", FEW, "--dry-run"])
        .assert()
        .success()
        .stderr(contains("2/5  Text: prepare `chat.jsonl` to learn"))
        .stdout(contains("small-chat/run:").and(contains("operations")));
    assert_eq!(files(at), before);
    // Text that the base generates has the name `self`.
    std::fs::copy(at.join("chat.jsonl"), at.join("self.jsonl")).unwrap();
    tune(at, &["small", "self.jsonl", FEW, "--dry-run"])
        .assert()
        .success()
        .stderr(contains("fine-tune all weights on self-texts, within"));
}

/// Checks that a model of the hub is downloaded and tuned by its name.
#[cfg(feature = "hub")]
#[test]
fn a_model_of_the_hub_is_tuned_by_name() {
    use crate::support::served::{Hub, output};
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_base_and_chat(at);
    let hub = Hub::start();
    hub.serve_folder("tester/tiny", &at.join("small"));
    let mut command = hub.polymath(at);
    command
        .args(["tune", "tester/tiny", "chat.jsonl", FEW])
        .args(SMALL);
    let text = output(&mut command);
    assert!(
        text.contains("polymath chat tiny-chat tester/tiny"),
        "{text}"
    );
    assert!(at.join("tiny-chat/tiny-chat.gguf").is_file());
    assert!(!says(at, "tiny-chat").is_empty());
}
