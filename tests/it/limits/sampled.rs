//! Tests of the sample of held-out documents that the evaluations of a run with limits score.

use super::*;

/// Returns the scores of one domain by `polymath evaluate` in the run's context.
fn scores(at: &Path, arguments: &[&str]) -> Value {
    let mut command = polymath(at);
    command.args(["evaluate", "runs/base", "--dataset", "data"]);
    command.args(["--context", "48", "--json"]).args(arguments);
    let scores: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    scores["domains"]["counting"].clone()
}

/// Checks that the evaluations of a run with limits score a quarter of the dev split if that is enough groups, and that
/// the verdict is on all of the test split.
#[test]
fn evaluations_score_a_quarter_of_the_dev_split() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fixture::write_corpus(at);
    let counting = (0..400u32).map(|number| {
        let numbers = (10 * number..10 * number + 30).map(|number| number.to_string());
        let line = serde_json::json!({ "text": numbers.collect::<Vec<_>>().join(" ") });
        format!("{line}\n")
    });
    fixture::write(at, "raw/counting.jsonl", &counting.collect::<String>());
    succeed(at, &["prepare", "prepare.toml", "heldout_fraction=0.5"]);
    succeed(at, &PRETRAIN);
    let settings = ["training.steps=2", "evaluation.max_tokens=100000"];
    finetune(at, "short", &settings)
        .args(["--limits", "counting=5"])
        .assert()
        .success();

    let run = at.join("runs/short");
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let first: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    let found = first["heldout_bits_per_byte"]["counting"].as_f64().unwrap();
    let whole = scores(at, &["--split", "dev"]);
    let quarter = (whole["tokens"].as_u64().unwrap() / 4).to_string();
    let sample = scores(at, &["--split", "dev", "--max-tokens", &quarter]);
    let bits = |scores: &Value| scores["bits_per_byte"].as_f64().unwrap();
    assert!((found - bits(&sample)).abs() < 1e-9, "{found} {sample}");
    assert!((found - bits(&whole)).abs() > 1e-6, "{found} {whole}");

    let verdict = json(&run.join("limits.json"));
    let counting = &verdict["domains"].as_array().unwrap()[1];
    let test = scores(at, &["--split", "test"]);
    assert_eq!(counting["groups"], test["documents"], "{counting} {test}");
}
