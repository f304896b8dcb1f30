//! Tests of a chain of fine-tunings through the binary: its lineage, and its section in the report.

use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture::{finetune, polymath, prepare, write};

/// Checks that a model tuned twice has both stages in its lineage, and that the report of base and stages has the
/// score of every domain after every stage and the measures of continual learning. Reports of runs that form no chain
/// lack them.
#[test]
fn chains_are_recognized_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    // Second niche: the text of the first in capitals.
    let sayings = std::fs::read_to_string(at.join("raw/asked.jsonl")).unwrap();
    let loud = sayings.to_uppercase().replace("\"TEXT\"", "\"text\"");
    write(at, "raw/loud.jsonl", &loud);
    let tokenizer = at.join("data/tokenizer.json");
    write(
        at,
        "loud.toml",
        &format!(
            "output = \"loud\"\nheldout_fraction = 0.2\n[tokenizer]\npath = \"{}\"\n[domains.loud]\npaths = [\"raw/loud.jsonl\"]\n",
            tokenizer.display()
        ),
    );
    polymath(at)
        .args(["prepare", "loud.toml"])
        .assert()
        .success();
    finetune(at, "first", &[]).assert().success();
    finetune(
        at,
        "second",
        &["base=runs/first/best", "dataset=loud", "domain=loud"],
    )
    .assert()
    .success();
    finetune(at, "apart", &["training.steps=10"])
        .assert()
        .success();
    let lineage = std::fs::read_to_string(at.join("runs/second/base.toml")).unwrap();
    let (own, earlier) = lineage.split_once("[[earlier]]").unwrap();
    assert!(own.contains("niche = \"loud\""), "{lineage}");
    assert!(earlier.contains("niche = \"asked\"") && earlier.contains("base = \"runs/base/best\""));

    let report = |runs: &[&str]| -> Value {
        let mut command = polymath(at);
        command.args(["report", "runs/base/best"]).args(runs);
        command.args(["--dataset", "data", "--dataset", "loud", "-o", "report"]);
        command.assert().success();
        let text = std::fs::read_to_string(at.join("report/report.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let found = report(&["runs/first", "runs/second"]);
    let chain = &found["chain"];
    assert_eq!(
        chain["domains"],
        serde_json::json!(["asked", "loud", "counting", "letters"])
    );
    assert_eq!(chain["stages"].as_array().unwrap().len(), 3);
    // The scores of each stage are those of its run. Forgetting of the niches is the negative backward transfer if
    // the first niche had its best score after its own stage.
    let bits = |stage: usize, domain: usize| {
        chain["stages"][stage]["bits_per_byte"][domain]
            .as_f64()
            .unwrap()
    };
    assert!(bits(1, 0) < bits(0, 0) && bits(2, 1) < bits(1, 1));
    let measure = |at: usize| chain["measures"][at]["value"].as_f64().unwrap();
    assert!((measure(0) - (bits(1, 0) - bits(2, 0))).abs() < 1e-9);
    assert!((measure(1) - (bits(0, 1) - bits(1, 1))).abs() < 1e-9);
    let text = std::fs::read_to_string(at.join("report/report.md")).unwrap();
    assert!(text.contains("Chain of fine-tunings") && text.contains("Chaudhry 2018"));

    let role = |report: &Value, run: usize| -> Value {
        let domains = report["runs"][run]["domains"].as_array().unwrap();
        let asked = domains.iter().find(|domain| domain["name"] == "asked");
        asked.unwrap()["role"].clone()
    };
    assert_eq!(
        (role(&found, 0), role(&found, 1)),
        ("niche".into(), "earlier".into())
    );
    // The role is the same if the run in between is missing from the report.
    assert_eq!(role(&report(&["runs/second"]), 0), "earlier");

    assert!(report(&["runs/first", "runs/apart"])["chain"].is_null());
    assert!(report(&["runs/first"])["chain"].is_null());
    // If the first run is the base of the report, its niche counts as knowledge of the base.
    let mut command = polymath(at);
    command.args(["report", "runs/first", "runs/second", "-o", "own"]);
    command.assert().success();
    let text = std::fs::read_to_string(at.join("own/report.json")).unwrap();
    assert_eq!(role(&serde_json::from_str(&text).unwrap(), 0), "retained");
    // Swapped, base and tuned model are recognized by their lineage; another base than a run's own is noted.
    let mut command = polymath(at);
    command.args(["report", "runs/second", "runs/first", "-o", "swapped"]);
    command
        .assert()
        .code(2)
        .stderr(contains("the two are swapped"));
    assert!(!at.join("swapped").exists());
    let sideways = report_of(at, "runs/apart", "runs/second");
    let note = sideways["runs"][0]["notes"][0].as_str().unwrap();
    assert!(note.contains("and not from the base"), "{note}");
    // Each run says what made it, and the base too.
    let run = &found["runs"][0]["provenance"];
    for key in ["steps", "tokens", "seconds", "seed"] {
        assert!(run[key].is_number(), "{key}: {run}");
    }
    for key in ["begun", "machine", "version"] {
        assert!(run[key].is_string(), "{key}: {run}");
    }
    assert_eq!(run["settings"]["method"], "full");
    assert!(found["base_provenance"]["step"].is_number());
    // The datasets of every stage are found without being named.
    let mut command = polymath(at);
    command.args(["report", "runs/base/best", "runs/first", "runs/second"]);
    command
        .args(["-o", "again"])
        .assert()
        .success()
        .stdout(contains("backward transfer"));
}

/// Returns the report of a tuned model against a base.
fn report_of(at: &std::path::Path, base: &str, tuned: &str) -> Value {
    let mut command = polymath(at);
    command.args(["report", base, tuned, "-o", "sideways"]);
    command.assert().success();
    let text = std::fs::read_to_string(at.join("sideways/report.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}
