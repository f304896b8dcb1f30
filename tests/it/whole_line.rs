//! Tests of the whole pipeline through the binary on a tiny corpus, and of its errors for bad input.

mod refusals;

use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture::{
    PREPARE, PRETRAIN, copy_of_base, kill_in_the_middle, polymath, records, sha_of_weights,
    succeed, write,
};

/// Writes three different domains: counting, letters, and dialogue with prompts.
fn write_corpus(folder: &Path) {
    let mut counting = String::new();
    let mut letters = String::new();
    let mut asked = String::new();
    for number in 0..160u32 {
        let numbers: Vec<String> = (number..number + 30).map(|n| n.to_string()).collect();
        counting += &format!("{}\n", serde_json::json!({ "text": numbers.join(" ") }));
        let letter = char::from(b'a' + (number % 26) as u8);
        let words: String = (0..40)
            .map(|at| format!("{letter}{} ", "bcd".repeat(1 + (at * number as usize) % 3)))
            .collect();
        letters += &format!("{}\n", serde_json::json!({ "text": words }));
        let pair = serde_json::json!({ "prompt": format!("say {number}"), "response": format!("you said {number}, number {number} it is") });
        asked += &format!("{pair}\n");
    }
    write(folder, "raw/counting.jsonl", &counting);
    write(folder, "raw/letters.jsonl", &letters);
    write(folder, "raw/asked.jsonl", &asked);
    write(
        folder,
        "prepare.toml",
        "output = \"data\"\nheldout_fraction = 0.2\n[tokenizer]\nvocab_size = 300\n[domains.counting]\npaths = [\"raw/counting.jsonl\"]\n\
         [domains.letters]\npaths = [\"raw/letters.jsonl\"]\n[domains.asked]\npaths = [\"raw/asked.jsonl\"]\n",
    );
    write(
        folder,
        "pretrain.toml",
        "dataset = \"data\"\nrun = \"runs/base\"\n[mixture]\ndomains = [\"counting\", \"letters\"]\n[model]\nhidden_size = 32\n\
         num_hidden_layers = 2\nnum_attention_heads = 4\nnum_key_value_heads = 2\n[training]\nsteps = 30\nbatch_size = 4\n\
         sequence_length = 48\nlearning_rate = 1e-2\n[evaluation]\nevery = 10\nmax_tokens = 500\n",
    );
    write(
        folder,
        "finetune.toml",
        "base = \"runs/base/best\"\ndataset = \"data\"\ndomain = \"asked\"\nretain = \"data\"\nrun = \"runs/full\"\n[training]\n\
         steps = 20\nbatch_size = 4\nlearning_rate = 1e-2\n[evaluation]\nevery = 10\nmax_tokens = 500\n",
    );
}

fn manifest(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("data/dataset.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn tensors(checkpoint: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(checkpoint.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<(String, Vec<u8>)> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect();
    tensors.sort();
    tensors
}

/// Checks the pipeline prepare → pretrain → finetune (full and frozen) → report, evaluate, generate: each command
/// finds the results of the one before.
#[test]
fn raw_text_becomes_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_corpus(at);
    succeed(at, &PREPARE).stdout(contains("counting"));
    // The same command again has nothing to do; another config for the same folder is refused.
    succeed(at, &PREPARE);
    polymath(at)
        .args(["prepare", "prepare.toml", "tokenizer.vocab_size=400"])
        .assert()
        .code(1)
        .stderr(contains("--force"));

    polymath(at)
        .args(["pretrain", "pretrain.toml", "--dry-run"])
        .assert()
        .success()
        .stdout(contains("parameters"));
    assert!(!at.join("runs").exists(), "a dry run leaves nothing behind");
    succeed(at, &PRETRAIN).stdout(contains("30 steps done"));
    polymath(at)
        .args(["pretrain", "pretrain.toml"])
        .assert()
        .code(1)
        .stderr(contains("is finished (30 steps)"));
    succeed(at, &["finetune", "finetune.toml"]);
    let frozen = [
        "finetune",
        "finetune.toml",
        "run=runs/frozen",
        "method=frozen",
        "frozen.train_last_layers=1",
    ];
    succeed(at, &frozen);
    let head = [
        "finetune",
        "finetune.toml",
        "run=runs/head",
        "method=frozen",
        "frozen.train=[\"lm_head\"]",
    ];
    succeed(at, &head);

    // Frozen parameters stay bit-identical; trained ones change.
    let (before, after) = (
        tensors(&at.join("runs/base/best")),
        tensors(&at.join("runs/frozen/latest")),
    );
    for ((name, old), (_, new)) in before.iter().zip(&after) {
        let moves = name.starts_with("model.layers.1.") || name == "model.norm.weight";
        assert_eq!(old != new, moves, "{name}");
    }
    // A head that is trained alone is untied from the embedding, which stays unchanged.
    let head = tensors(&at.join("runs/head/latest"));
    assert_eq!(head.len(), before.len() + 1);
    let of = |tensors: &[(String, Vec<u8>)], name: &str| {
        tensors
            .iter()
            .find(|(other, _)| other == name)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(
        of(&head, "model.embed_tokens.weight"),
        of(&before, "model.embed_tokens.weight")
    );
    assert_ne!(
        of(&head, "lm_head.weight"),
        of(&before, "model.embed_tokens.weight")
    );

    let runs = [
        "report",
        "runs/base",
        "runs/full",
        "runs/frozen",
        "runs/base",
        "-o",
        "report",
        "--dataset",
        "data",
        "--niche",
        "asked",
        "--split",
        "all",
    ];
    polymath(at)
        .args(runs)
        .assert()
        .success()
        .stdout(contains("counting").and(contains("report.html")));
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(at.join("report/report.json")).unwrap())
            .unwrap();
    let change = |run: usize, domain: &str| {
        let domains = report["runs"][run]["domains"].as_array().unwrap();
        domains
            .iter()
            .find(|found| found["name"] == domain)
            .unwrap()["change"]
            .as_f64()
            .unwrap()
    };
    assert!(change(0, "asked") < 0.0, "the niche gains");
    assert!(
        change(0, "letters") > change(1, "letters"),
        "frozen forgets less than full"
    );
    // Every held-out document is searched in the text of the tuned runs, and the most forgotten words are shown.
    let full = &report["runs"][0];
    assert_eq!(full["overlaps"].as_array().unwrap().len(), 3);
    for overlap in full["overlaps"].as_array().unwrap() {
        assert_eq!(overlap["train"], "asked");
    }
    let letters = &full["evidence"]["letters"];
    let worst = &letters["documents"][0];
    let text: String = worst["pieces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|piece| piece["text"].as_str().unwrap())
        .collect();
    assert!(text.contains("bcd"), "{text}");
    assert!(worst["change"].as_f64() > Some(0.0));
    // Each held-out token is in one token group, and the groups' changes add up to the domain's.
    let heldout = manifest(at)["domains"]["letters"]["heldout"].clone();
    let groups = letters["frequencies"].as_array().unwrap();
    let sum = |value: &dyn Fn(&Value) -> f64| groups.iter().map(value).sum::<f64>();
    let tokens = sum(&|group| group["tokens"].as_f64().unwrap());
    assert_eq!(Some(tokens), heldout["tokens"].as_f64());
    let bits = sum(&|group| group["tokens"].as_f64().unwrap() * group["change"].as_f64().unwrap());
    let expected = change(0, "letters") * heldout["bytes"].as_f64().unwrap();
    assert!(
        (bits - expected).abs() < 1e-3 * expected,
        "{bits} {expected}"
    );
    // The change of the base against itself is exactly zero.
    for domain in report["runs"][2]["domains"].as_array().unwrap() {
        assert_eq!(domain["change"], 0.0);
        assert_eq!(domain["interval"], serde_json::json!([0.0, 0.0]));
    }

    let output = polymath(at)
        .args(["evaluate", "runs/full", "--dataset", "data", "--json"])
        .output()
        .unwrap();
    let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        scores["domains"]["letters"]["bits_per_byte"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    let generate = [
        "generate",
        "runs/base",
        "--echo",
        "--prompt",
        "1 2 3",
        "--max-tokens",
        "8",
        "--seed",
        "4",
    ];
    let first = polymath(at).args(generate).output().unwrap().stdout;
    assert!(first.starts_with(b"1 2 3"));
    assert_eq!(first, polymath(at).args(generate).output().unwrap().stdout);
}

/// Checks that a run that is killed and resumed ends with the same weights as an uninterrupted one.
#[test]
fn killed_and_resumed_equals_uninterrupted() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_corpus(at);
    succeed(at, &PREPARE);
    succeed(at, &PRETRAIN);

    // Killed as soon as there is a checkpoint to resume from.
    let start = ["pretrain", "pretrain.toml", "run=runs/killed"];
    let places = ("step-000010/state.json", "step-000030");
    kill_in_the_middle(at, &start, "runs/killed", places);
    polymath(at)
        .args(start)
        .assert()
        .code(1)
        .stderr(contains("--resume"));
    polymath(at).args(start).arg("--resume").assert().success();
    let [whole, killed] = ["runs/base", "runs/killed"].map(|run| at.join(run));
    assert_eq!(sha_of_weights(&whole), sha_of_weights(&killed));
    assert_eq!(records(&whole), records(&killed));
}

/// Checks that raw text of a niche ends with the end tokens of the base's config, even if the tokenizer's token names
/// suggest others, and that a dataset prepared with other end tokens is refused.
#[test]
fn niche_texts_use_the_end_tokens_of_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_corpus(at);
    succeed(at, &PREPARE);
    succeed(at, &PRETRAIN);
    // The same model in the form of another program, with other begin and end tokens.
    copy_of_base(at, "foreign");
    let config = std::fs::read_to_string(at.join("foreign/config.json")).unwrap();
    let config = config.replace("\"eos_token_id\": 0", "\"eos_token_id\": 5");
    let config = config.replace("\"bos_token_id\": 0", "\"bos_token_id\": 7");
    write(at, "foreign/config.json", &config);
    write(
        at,
        "texts.toml",
        "base = \"foreign\"\ntexts = [\"raw/asked.jsonl\"]\ngroup_field = \"prompt\"\nheldout_groups = 7\nrun = \"runs/texts\"\n\
         [training]\nsteps = 4\nbatch_size = 2\n\
         [evaluation]\nevery = 2\nmax_tokens = 200\n",
    );
    succeed(at, &["finetune", "texts.toml"]);
    let manifest = std::fs::read_to_string(at.join("runs/texts.dataset/dataset.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["tokenizer"]["eos_token_id"], 5);
    assert_eq!(manifest["tokenizer"]["bos_token_id"], 7);
    // The niche's groups are those that the config names.
    let niche = &manifest["domains"]["asked"];
    assert_eq!(
        (&niche["group"], &niche["group_field"]),
        (&"field".into(), &"prompt".into())
    );
    // At least as many groups are held out as the config asks for.
    let held_out = niche["heldout"]["groups"].as_u64().unwrap();
    assert!((7..=9).contains(&held_out), "{held_out}");
    let mut prepared = polymath(at);
    prepared.args(["finetune", "finetune.toml", "group_field=prompt"]);
    prepared
        .assert()
        .code(2)
        .stderr(contains("`group_field` is for `texts`"));

    polymath(at)
        .args([
            "finetune",
            "finetune.toml",
            "base=foreign",
            "run=runs/mixed",
        ])
        .assert()
        .code(2)
        .stderr(contains("its documents begin and end"));
    assert!(!at.join("runs/mixed").exists());
}
