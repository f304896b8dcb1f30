//! Tests of text that the base generates: forgetting limits on it, and a forgetting report on it.

use super::*;

/// Checks that limits need no text from the user: the base generates text once, the run keeps its limit on the held-out
/// part of it and says so, and a killed run resumes to the same bits.
#[test]
fn limits_need_no_retained_text() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let config = std::fs::read_to_string(at.join("finetune.toml")).unwrap();
    let config = config.replace("retain = \"data\"\n", "");
    std::fs::write(at.join("finetune.toml"), config).unwrap();
    let settings = ["training.steps=24", "evaluation.max_tokens=100000"];
    let dry = || {
        let mut command = finetune(at, "dry", &settings);
        let output = command.args(["--limits", "5", "--dry-run"]).output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        let line = said.lines().find(|line| line.starts_with("operations"));
        let operations: f64 = line
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        (said, operations)
    };
    let (said, before) = dry();
    assert!(
        said.contains("the base generates 12500 tokens first"),
        "{said}"
    );
    assert!(
        said.contains("12500 tokens of text from the base"),
        "{said}"
    );
    assert!(said.contains("watched: asked, self"), "{said}");
    assert!(!at.join("runs/base/self-replay").exists());
    finetune(at, "kept", &settings)
        .args(["--limits", "5"])
        .assert()
        .success()
        .stderr(contains("generating 12500 tokens"))
        .stdout(contains("all limits kept").and(contains("text that the base generated")));
    let verdict = json(&at.join("runs/kept/limits.json"));
    assert_eq!(verdict["on_generated_text"], true);
    assert_eq!(verdict["domains"][1]["domain"], "self");
    assert_eq!(verdict["domains"][1]["verdict"], "kept");
    let texts = || std::fs::read_dir(at.join("runs/base/self-replay")).unwrap();
    assert_eq!(texts().count(), 1);
    assert!(!at.join("runs/kept.replay").exists());
    // Text that exists costs nothing.
    let (said, after) = dry();
    assert!(!said.contains("the base generates"), "{said}");
    assert!(!said.contains("of text from the base"), "{said}");
    // Each token takes a forward pass of two operations for each parameter, at half of the rate of training.
    let parameters: f64 = (said.split_once("\nparameters").unwrap().1)
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let generated = (before - after) / (12_500.0 * parameters);
    assert!(
        (generated - 4.0).abs() < 0.05,
        "{generated}: {after} {before}"
    );
    // The run evaluates as often as the estimate says, and scores the base before.
    let metrics = std::fs::read_to_string(at.join("runs/kept/metrics.jsonl")).unwrap();
    let evaluated = metrics.matches("heldout_bits_per_byte").count();
    let evaluations = format!("  {} evaluations", evaluated + 1);
    assert!(said.contains(&evaluations), "{evaluations}: {said}");
    // The run replays and distills what it measures.
    let steps = std::fs::read_to_string(at.join("runs/kept/metrics.jsonl")).unwrap();
    assert!(steps.contains("\"distill\":"), "{steps}");
    // A second run takes the same text. A run that was cut short goes on to the same bits.
    finetune(at, "cut", &settings)
        .args(["--limits", "5"])
        .assert()
        .success()
        .stderr(contains("generating").not());
    let run = at.join("runs/cut");
    std::fs::remove_dir_all(run.join("step-000024")).unwrap();
    std::fs::remove_file(run.join("limits.json")).unwrap();
    finetune(at, "cut", &settings)
        .args(["--limits", "5", "--resume"])
        .assert()
        .success();
    let weights =
        |run: &str| std::fs::read(at.join(format!("runs/{run}/latest/model.safetensors"))).unwrap();
    assert!(weights("kept") == weights("cut"));
}

/// Checks that a report on text that the base generates shows exactly no forgetting for the base and some for a tuned
/// model, and that the text is generated once.
#[test]
fn reports_measure_forgetting_without_data() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(at, "full", &["training.steps=20"])
        .assert()
        .success();
    let report = || {
        let mut command = polymath(at);
        command.args(["report", "runs/base", "runs/full", "runs/base"]);
        command.args(["--dataset", "data", "--niche", "asked", "--split", "all"]);
        command.args(["--generate", "3000", "-o", "report"]);
        command.assert().success()
    };
    report().stderr(contains("generating 3000 tokens"));
    let found = json(&at.join("report/report.json"));
    let change = |run: usize| {
        let domains = found["runs"][run]["domains"].as_array().unwrap();
        let own = domains.iter().find(|domain| domain["name"] == "self");
        own.unwrap_or_else(|| panic!("{domains:?}"))["change"].clone()
    };
    let value = |change: &Value| change.as_f64().or(change["value"].as_f64()).unwrap();
    assert!(value(&change(0)) > 0.0);
    assert_eq!(value(&change(1)), 0.0);
    report().stderr(contains("generating").not());
}
