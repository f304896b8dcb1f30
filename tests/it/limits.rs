//! Tests of forgetting limits through the binary: kept, broken, killed and resumed, and refused.

mod generated;
mod sampled;

use std::collections::BTreeMap;
use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture;
use crate::support::fixture::{PRETRAIN, finetune, polymath, read_json as json, succeed};

/// Returns the controller's record at each evaluation of a run.
fn controls(run: &Path) -> Vec<BTreeMap<String, f64>> {
    std::fs::read_to_string(run.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .filter_map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            serde_json::from_value(value.get("control")?.clone()).ok()
        })
        .collect()
}

/// Prepares a base, a niche, and enough held-out documents to show that a limit is kept.
pub fn prepare(at: &Path) {
    fixture::write_corpus(at);
    // No two documents are near-duplicates: those would form one group.
    let counting = (0..160u32).map(|number| {
        let numbers = (10 * number..10 * number + 30).map(|number| number.to_string());
        let line = serde_json::json!({ "text": numbers.collect::<Vec<_>>().join(" ") });
        format!("{line}\n")
    });
    fixture::write(at, "raw/counting.jsonl", &counting.collect::<String>());
    succeed(at, &["prepare", "prepare.toml", "heldout_fraction=0.5"]);
    succeed(at, &PRETRAIN);
}

/// Exit codes of a run whose limits are kept (0), or neither kept nor broken significantly (4).
const NOT_BROKEN: &[i32] = &[0, 4];

const LONG: [&str; 2] = ["training.steps=60", "evaluation.max_tokens=100000"];

/// Checks a run with `--limits` alone: it replays, raises the retention strength after a violation, and reports the
/// verdict on the test split. Kept limits give exit code 0 and a `best`; broken ones give exit code 3, the domain,
/// and the closest checkpoint.
#[test]
fn limits_are_kept_or_reported_as_broken() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);

    finetune(at, "wide", &LONG)
        .args(["--limits", "5"])
        .assert()
        .success()
        .stdout(contains("all limits kept").and(contains("counting")));
    let verdict = json(&at.join("runs/wide/limits.json"));
    assert_eq!(
        (&verdict["kept"], &verdict["verdict"]),
        (&true.into(), &"kept".into())
    );
    for domain in &verdict["domains"].as_array().unwrap()[1..] {
        assert_eq!(
            (&domain["verdict"], &domain["limit"]),
            (&"kept".into(), &5.0.into())
        );
        assert!(
            domain["effective_groups"].as_f64().unwrap() >= 15.0,
            "{domain}"
        );
    }
    assert!(
        verdict["domains"][0]["change"].as_f64().unwrap() < 0.0,
        "the niche gains"
    );
    assert!(verdict["domains"][0].get("limit").is_none());
    assert!(at.join("runs/wide/best/config.json").is_file());
    // The limit is far from violated, so less is replayed than at the beginning.
    let wide = controls(&at.join("runs/wide"));
    assert_eq!(wide[0]["replay_share"], 1.0 / 3.0);
    assert!(wide.last().unwrap()["replay_share"] < 0.2);
    // The niche has as many rows as without limits: replayed rows come in addition.
    let metrics = std::fs::read_to_string(at.join("runs/wide/metrics.jsonl")).unwrap();
    let tokens = metrics.lines().filter_map(|line| {
        let value: Value = serde_json::from_str(line).unwrap();
        value["tokens"].as_u64()
    });
    assert!(tokens.max().unwrap() > 60 * 4 * 48 * 11 / 10);
    // Scoring the test split again gives the numbers of the verdict.
    let bits = |checkpoint: &str, domain: &str| {
        let mut command = polymath(at);
        command.args(["evaluate", checkpoint, "--dataset", "data"]);
        command.args(["--context", "48", "--split", "test", "--json"]);
        let scores: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        scores["domains"][domain]["bits_per_byte"].as_f64().unwrap()
    };
    for domain in verdict["domains"].as_array().unwrap() {
        let name = domain["domain"].as_str().unwrap();
        let change = bits("runs/wide", name) - bits("runs/base", name);
        let said = domain["change"].as_f64().unwrap();
        assert!((change - said).abs() < 1e-6, "{domain}");
    }

    finetune(
        at,
        "narrow",
        &["training.steps=5", "evaluation.max_tokens=100000"],
    )
    .args(["--limits", "default=5,counting=0.0001"])
    .assert()
    .code(3)
    .stdout(contains("no model was within the limits").and(contains("counting by ")));
    let run = at.join("runs/narrow");
    let verdict = json(&run.join("limits.json"));
    assert_eq!(
        (&verdict["kept"], &verdict["verdict"]),
        (&false.into(), &"broken".into())
    );
    assert!(run.join("closest/config.json").is_file());
    assert!(!run.join("best").exists());
    let narrow = controls(&run);
    assert_eq!(narrow.last().unwrap()["replay_share"], 0.5, "{narrow:?}");
    assert!(narrow.last().unwrap()["worst_share_of_limit"] > 1.0);
}

/// Checks that for a niche that is learned too fast for any retention, a mix of base and last checkpoint is found
/// within the limits; it becomes `best` and still gains on the niche.
#[test]
fn a_run_outside_its_limits_is_mixed_with_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let settings = [
        "training.steps=5",
        "evaluation.max_tokens=100000",
        "checkpoint.every=1",
    ];
    finetune(at, "back", &settings)
        .args(["--limits", "0.01"])
        .assert()
        .code(NOT_BROKEN)
        .stdout(contains("of their change in the run").and(contains("1000000").not()));
    let run = at.join("runs/back");
    let verdict = json(&run.join("limits.json"));
    assert_ne!(verdict["verdict"], "broken");
    assert_eq!(verdict["inside_on_the_way"], false);
    // The mix uses up the limit.
    let changes = verdict["domains"].as_array().unwrap()[1..].iter();
    let worst = changes.map(|domain| domain["change"].as_f64().unwrap());
    assert!(worst.fold(0.0, f64::max) > 0.2 * 0.01, "{verdict}");
    let said = match verdict["verdict"].as_str().unwrap() {
        "kept" => "all limits kept",
        _ => "undecided: within the limits on the dev split",
    };
    let shares = verdict["mixed"].as_object().unwrap();
    let shares: Vec<f64> = shares
        .values()
        .map(|share| share.as_f64().unwrap())
        .collect();
    // Two layers, and the embedding with the head.
    assert_eq!(shares.len(), 3);
    assert!(shares.iter().all(|share| *share > 0.0 && *share <= 2.0));
    assert!(shares.iter().any(|share| *share < 1.0), "{verdict}");
    let niche = verdict["domains"][0]["change"].as_f64().unwrap();
    assert!(niche < 0.0, "{verdict}");
    assert!(run.join("best/model.safetensors").is_file());
    assert!(run.join("closest/model.safetensors").is_file());

    // Killed just before the verdict is written, the run is not finished, and resumes to the same verdict.
    std::fs::remove_file(run.join("limits.json")).unwrap();
    let again = |resume: &[&str]| {
        let mut command = finetune(at, "back", &settings);
        command.args(["--limits", "0.01"]).args(resume);
        command.assert()
    };
    again(&[])
        .code(1)
        .stderr(contains("stopped before the verdict on its limits"));
    again(&["--resume"]).code(NOT_BROKEN).stdout(contains(said));
    assert_eq!(json(&run.join("limits.json")), verdict);
    let ended = fixture::files(&run);
    again(&["--resume"])
        .code(NOT_BROKEN)
        .stderr(contains("nothing left to do"))
        .stdout(contains(said));
    assert_eq!(fixture::files(&run), ended);

    // Killed after the last checkpoint got its name and before the links moved: the result is mixed from the base and
    // the last checkpoint, not from an older one.
    let older = "step-000004";
    for name in ["limits.json", "best", "latest", "closest"] {
        std::fs::remove_file(run.join(name)).unwrap();
    }
    std::fs::remove_dir_all(run.join("mixed")).unwrap();
    let steps = std::fs::read_dir(&run).unwrap();
    assert!(steps.count() > 3, "{ended:?}");
    for name in ["best", "latest"] {
        std::os::unix::fs::symlink(older, run.join(name)).unwrap();
    }
    again(&["--resume"]).code(NOT_BROKEN);
    assert_eq!(fixture::files(&run), ended);
}

/// Checks that the limits of all runs of a frontier are judged, also of one that was killed before.
#[test]
fn frontiers_judge_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let config = "output = \"frontier\"\nseeds = [1]\ninterpolate = []\n[shared]\nbase = \"runs/base/best\"\n\
                  dataset = \"data\"\ndomain = \"asked\"\nretain = \"data\"\n[shared.training]\nsteps = 6\n\
                  batch_size = 4\nlearning_rate = 1e-2\n[runs.limits]\nretention.limits = { default = 0.0001 }\n";
    std::fs::write(at.join("frontier.toml"), config).unwrap();
    let compared = || {
        let mut command = polymath(at);
        command.args(["frontier", "frontier.toml"]);
        command.assert().success().stdout(contains("\n  limits "));
        json(&at.join("frontier/frontier.json"))
    };
    let found = compared();
    let run = at.join("frontier/limits-1");
    let verdict = json(&run.join("limits.json"));
    assert_eq!(verdict["kept"], false);
    let metrics = std::fs::read(run.join("metrics.jsonl")).unwrap();
    std::fs::remove_file(run.join("limits.json")).unwrap();
    assert_eq!(compared(), found);
    assert_eq!(json(&run.join("limits.json")), verdict);
    assert_eq!(std::fs::read(run.join("metrics.jsonl")).unwrap(), metrics);
}

/// Checks that a run with limits that is stopped and resumed ends with the same bits: checkpoints contain the
/// controller's history.
#[test]
fn resuming_restores_the_controller() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let settings = [
        "training.steps=24",
        "evaluation.max_tokens=100000",
        "retention.l2sp=0.01",
        "retention.replay.share=0.1",
        "retention.replay.beside=true",
    ];
    let limits = ["--limits", "0.05"];
    let weights =
        |run: &str| std::fs::read(at.join(format!("runs/{run}/latest/model.safetensors"))).unwrap();
    let done = |code: Option<i32>| matches!(code, Some(0 | 3 | 4));
    let whole = finetune(at, "whole", &settings)
        .args(limits)
        .output()
        .unwrap();
    assert!(
        done(whole.status.code()),
        "{}",
        String::from_utf8_lossy(&whole.stderr)
    );

    // Leaves the folder as if the run had been killed after this step: everything later is gone.
    let cut = finetune(at, "cut", &settings)
        .args(limits)
        .output()
        .unwrap();
    assert!(done(cut.status.code()));
    let run = at.join("runs/cut");
    let mut steps: Vec<_> = std::fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("step-"))
        .collect();
    steps.sort();
    assert!(steps.len() > 1, "{steps:?}");
    for step in &steps[1..] {
        std::fs::remove_dir_all(run.join(step)).unwrap();
    }
    for link in ["latest", "best", "closest"] {
        let _ = std::fs::remove_file(run.join(link));
    }
    let resumed = finetune(at, "cut", &settings)
        .args(limits)
        .arg("--resume")
        .output()
        .unwrap();
    assert!(
        done(resumed.status.code()),
        "{}",
        String::from_utf8_lossy(&resumed.stderr)
    );
    assert_eq!(controls(&run), controls(&at.join("runs/whole")));
    assert!(weights("whole") == weights("cut"));
}

/// Checks that impossible limits are refused before any work.
#[test]
fn impossible_limits_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let refused = |limits: &str, said: &str| {
        finetune(at, "refused", &[])
            .args(["--limits", limits])
            .assert()
            .code(2)
            .stderr(contains(said));
    };
    refused(
        "default=0.02,history=0.1",
        "no retained domain has this name; there is `counting`, `letters`",
    );
    refused("asked=0.1", "no retained domain has this name");
    refused("default=-1", "expected a number of bits per byte above 0");
    refused("0.02,0.03", "two limits for `default`, 0.02 and 0.03");
    // A name may have a dot, which is in quotes in a key.
    refused(
        "v1.2=0.1",
        "`retention.limits.\"v1.2\"`: no retained domain",
    );
    let config = std::fs::read_to_string(at.join("finetune.toml")).unwrap();
    std::fs::write(
        at.join("finetune.toml"),
        config.replace("retain = \"data\"\n", ""),
    )
    .unwrap();
    refused("counting=0.1", "there is `self`");
    assert!(!at.join("runs/refused").exists());
}
