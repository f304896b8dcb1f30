//! Tests of the packing of examples with prompts, through the binary: its report, and the counted tokens.

use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_match};
use serde_json::{Value, json};

use crate::support::fixture::{PREPARE, PRETRAIN, polymath, read_json, records, succeed, write};

/// Prepares text for pretraining, and questions with prompts of up to about 100 tokens. Every tenth prompt is far
/// longer than the base's context.
fn prepare(at: &Path) {
    let mut counting = String::new();
    let mut asked = String::new();
    for number in 0..120u32 {
        let numbers: Vec<String> = (number..number + 30).map(|n| n.to_string()).collect();
        counting += &format!("{}\n", json!({ "text": numbers.join(" ") }));
        let words = if number % 10 == 0 { 900 } else { number % 40 };
        let prompt = format!("{number}: {}say", "no ".repeat(words as usize));
        asked += &format!(
            "{}\n",
            json!({ "prompt": prompt, "response": format!(" {number}") })
        );
    }
    write(at, "raw/counting.jsonl", &counting);
    write(at, "raw/letters.jsonl", &counting.replace('1', "b"));
    write(at, "raw/asked.jsonl", &asked);
    write(
        at,
        "prepare.toml",
        "output = \"data\"\nheldout_fraction = 0.2\n[tokenizer]\nvocab_size = 300\n[domains.counting]\npaths = [\"raw/counting.jsonl\"]\n\
         [domains.letters]\npaths = [\"raw/letters.jsonl\"]\n[domains.asked]\npaths = [\"raw/asked.jsonl\"]\n",
    );
    write(
        at,
        "pretrain.toml",
        "dataset = \"data\"\nrun = \"base\"\n[mixture]\ndomains = [\"counting\", \"letters\"]\n[model]\nhidden_size = 32\n\
         num_hidden_layers = 1\nnum_attention_heads = 2\n[training]\nsteps = 6\nbatch_size = 4\n\
         sequence_length = 200\nlearning_rate = 1e-2\n[evaluation]\nevery = 2\nmax_tokens = 500\n",
    );
    write(
        at,
        "finetune.toml",
        "base = \"base\"\ndataset = \"data\"\ndomain = \"asked\"\nrun = \"tuned\"\n[training]\ntokens = 6000\n\
         batch_size = 4\nlearning_rate = 1e-2\n[evaluation]\nevery = 100\n",
    );
}

/// Checks that the packing is reported when the examples are prepared, in a dry run and at the start; that rows are
/// as long as the base allows; and that padding does not count as tokens.
#[test]
fn packing_is_reported_and_tokens_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    succeed(at, &PREPARE).stdout(
        contains("asked: ")
            .and(contains("rows of 256 cut"))
            .and(is_match("counting: [0-9]+ examples").unwrap().not()),
    );
    // Each domain has its own best value. The mean has another, which chooses the checkpoint.
    succeed(at, &PRETRAIN).stderr(
        contains("counting ")
            .and(contains("  mean "))
            .and(contains("; best checkpoint, by mean")),
    );

    // A pretraining counts the tokens of a domain with prompts that its rows hold: 9 of the prompts are cut to 200.
    let mixed = [
        "pretrain",
        "pretrain.toml",
        "mixture.domains=[\"asked\", \"counting\"]",
        "--dry-run",
    ];
    let mixed = succeed(at, &mixed);
    let mixed = String::from_utf8(mixed.get_output().stdout.clone()).unwrap();
    assert!(mixed.contains("rows of 200 cut 9 of them"), "{mixed}");
    let manifest = read_json(&at.join("data/dataset.json"));
    let tokens = |name: &str| {
        manifest["domains"][name]["train"]["tokens"]
            .as_f64()
            .unwrap()
    };
    let asked = tokens("asked") - 9.0 * (910.0 - 200.0);
    let share = 100.0 * asked / (asked + tokens("counting"));
    let line = mixed
        .lines()
        .find(|line| line.starts_with("asked "))
        .unwrap();
    let shown: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(
        (shown - share).abs() < 0.5,
        "{shown} % and not {share:.1}: {mixed}"
    );

    let said = [
        "rows of 200 tokens, the whole context of the base",
        "asked: ",
        "padding",
    ];
    let dry = polymath(at)
        .args(["finetune", "finetune.toml", "--dry-run"])
        .assert()
        .success();
    let dry = String::from_utf8(dry.get_output().stdout.clone()).unwrap();
    let run = succeed(at, &["finetune", "finetune.toml"]);
    let run = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    for said in said {
        assert!(dry.contains(said), "{dry}");
        assert!(run.contains(said), "{run}");
    }
    let saved = std::fs::read_to_string(at.join("tuned/run.toml")).unwrap();
    assert!(saved.contains("sequence_length = 200"), "{saved}");
    let steps: Vec<Value> = records(&at.join("tuned"));
    let steps: Vec<&Value> = steps
        .iter()
        .filter(|line| line.get("loss").is_some())
        .collect();
    let count = steps.len() as u64;
    let tokens = steps[steps.len() - 1]["tokens"].as_u64().unwrap();
    let padded = count * 4 * 200 - tokens;
    assert!(padded > 0, "{tokens} tokens in {count} steps");
    assert!(
        (5200..7000).contains(&tokens),
        "{tokens} tokens in {count} steps, expected about 6000"
    );
    assert!(
        steps
            .iter()
            .all(|step| step["loss"].as_f64().unwrap() > 0.0)
    );

    // A configured row length is used.
    polymath(at)
        .args([
            "finetune",
            "finetune.toml",
            "training.sequence_length=64",
            "--dry-run",
        ])
        .assert()
        .success()
        .stdout(contains("rows of 64 cut").and(contains("in which the examples").not()));
}
