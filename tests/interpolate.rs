//! Interpolation through the binary.

mod held;

use held::{finetune, polymath, prepare};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

/// Interpolation chooses on one half, reports both, and writes a model that scores as its curve says.
#[test]
fn interpolation_writes_the_chosen_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(at, "full", &[]).assert().success();
    let interpolate = ["interpolate", "runs/base", "runs/full", "-o", "mixed"];
    polymath(at)
        .args(interpolate)
        .args(["--alphas", "0.25,0.5", "--limit", "0.3"])
        .assert()
        .success()
        .stdout(contains("chosen").and(contains("| 0.25 |")));
    let curve = std::fs::read_to_string(at.join("mixed/interpolation.json")).unwrap();
    let curve: Value = serde_json::from_str(&curve).unwrap();
    let points = curve["points"].as_array().unwrap();
    assert_eq!(points.len(), 4);
    assert_eq!(points[0]["mean_increase"], 0.0);
    let chosen = &points[curve["chosen"].as_u64().unwrap() as usize];
    assert!(chosen["mean_increase"].as_f64().unwrap() <= 0.3);
    // Both halves together are the whole held-out side, so its score lies between theirs.
    let output = polymath(at)
        .args(["evaluate", "mixed", "--dataset", "data", "--json"])
        .output()
        .unwrap();
    let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
    for domain in ["asked", "counting", "letters"] {
        let whole = scores["domains"][domain]["bits_per_byte"].as_f64().unwrap();
        let halves = ["development", "test"].map(|half| chosen[half][domain].as_f64().unwrap());
        let (low, high) = (halves[0].min(halves[1]), halves[0].max(halves[1]));
        assert!(
            low - 1e-6 <= whole && whole <= high + 1e-6,
            "{domain}: {whole} {halves:?}"
        );
    }
    // `forget` finds the niche by itself.
    polymath(at)
        .args(["forget", "runs/base", "mixed", "-o", "report"])
        .assert()
        .success()
        .stdout(contains("interpolated at"));

    let refused = |arguments: &[&str], sentence: &str| {
        let mut command = polymath(at);
        command
            .args(arguments)
            .assert()
            .code(2)
            .stderr(contains(sentence));
    };
    refused(
        &["interpolate", "runs/base", "runs/full", "-o", "data"],
        "choose another `--output`",
    );
    refused(&[&interpolate[..], &["--alphas", "2"]].concat(), "`2`");
    refused(&[&interpolate[..], &["--limit=-1"]].concat(), "--limit");
    refused(
        &[&interpolate[..], &["--niche", "cooking"]].concat(),
        "`asked`, `counting`, `letters`",
    );
}
