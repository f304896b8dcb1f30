//! Tests of a frontier and a transfer matrix through the binary: compared, killed and resumed, and refused.

use std::path::Path;
use std::time::SystemTime;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture::{kill_in_the_middle, polymath, prepare, write};

const CONFIG: &str = "output = \"frontier\"\nseeds = [1, 2]\nlimit = 0.5\ninterpolate = [0.25]\n[shared]\nbase = \"runs/base/best\"\ndataset = \"data\"\n\
                      domain = \"asked\"\nretain = \"data\"\n[shared.training]\nsteps = 12\nbatch_size = 4\nlearning_rate = 1e-2\n\
                      [shared.evaluation]\nevery = 6\nmax_tokens = 500\n[runs.full]\n[runs.last-1]\nmethod = \"frozen\"\n\
                      frozen = { train_last_layers = 1 }\n[runs.lora]\nmethod = \"lora\"\nlora = { rank = 2, alpha = 4 }\n\
                      [runs.replay]\nretention = { replay = 0.5 }\n";

fn modified(path: &Path) -> SystemTime {
    path.metadata().unwrap().modified().unwrap()
}

/// Checks that the same command resumes a killed frontier: it keeps finished runs and ends with a comparison of every
/// method over its seeds.
#[test]
fn a_killed_frontier_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    write(at, "frontier.toml", CONFIG);
    // Once the third run has begun, two are finished.
    let places = ("last-1-1/metrics.jsonl", "frontier.json");
    kill_in_the_middle(at, &["frontier", "frontier.toml"], "frontier", places);
    let first = at.join("frontier/full-1/metrics.jsonl");
    let before = modified(&first);

    polymath(at)
        .args(["frontier", "frontier.toml"])
        .assert()
        .success()
        .stdout(contains("\n  full ").and(contains("Hypervolume")));
    assert_eq!(modified(&first), before, "a finished run is left alone");
    let text = std::fs::read_to_string(at.join("frontier/frontier.json")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    // Four methods, each as trained and as a mixture of a quarter of it with the base.
    assert_eq!(found["methods"].as_array().unwrap().len(), 8);
    assert_eq!(found["runs"].as_array().unwrap().len(), 16);
    assert!(at.join("frontier/frontier.html").is_file());
    // `interpolate` makes and scores the same mixture.
    polymath(at)
        .args([
            "interpolate",
            "runs/base/best",
            "frontier/full-1",
            "--alphas",
            "0.25",
        ])
        .args([
            "--dataset",
            "data",
            "--context",
            "48",
            "--niche",
            "asked",
            "-o",
            "mixed",
        ])
        .assert()
        .success();
    let mixed = std::fs::read_to_string(at.join("mixed/interpolation.json")).unwrap();
    let mixed: Value = serde_json::from_str(&mixed).unwrap();
    let asked = |point: usize| mixed["points"][point]["test"]["asked"].as_f64().unwrap();
    let runs = found["runs"].as_array().unwrap();
    let quarter =
        |run: &&Value| run["method"] == "full" && run["share"] == 0.25 && run["seed"] == 1;
    let gain = runs.iter().find(quarter).unwrap()["gain"]["value"]
        .as_f64()
        .unwrap();
    assert!(
        (gain - (asked(0) - asked(1))).abs() < 1e-6,
        "{gain} {mixed}"
    );
    for run in found["runs"].as_array().unwrap() {
        assert!(run["gain"]["value"].as_f64().unwrap() > 0.0, "{run}");
        assert!(run["seconds"].as_f64().unwrap() > 0.0);
        assert_eq!(run["rises"].as_object().unwrap().len(), 2);
    }
    let seeds = &found["methods"][0]["gain"]["interval"];
    assert!(seeds[0].as_f64().unwrap() < seeds[1].as_f64().unwrap());
    assert!(
        found["methods"]
            .as_array()
            .unwrap()
            .iter()
            .any(|method| method["on_the_frontier"] == true)
    );

    assert_eq!(found["reference"], "full");
    for method in found["methods"].as_array().unwrap() {
        let is_reference = method["name"] == "full";
        assert_eq!(
            method.get("against_reference").is_none(),
            is_reference,
            "{method}"
        );
    }

    // A new seed of the recommended method tests the recommendation; nothing else is trained.
    let recommended = &found["recommended"];
    assert!(recommended.get("confirmation").is_none(), "{recommended}");
    polymath(at)
        .args(["frontier", "frontier.toml", "confirm_seed=3"])
        .assert()
        .success()
        .stdout(contains("a run of the fresh seed 3: gain"));
    let confirmed = std::fs::read_to_string(at.join("frontier/frontier.json")).unwrap();
    let confirmed: Value = serde_json::from_str(&confirmed).unwrap();
    let confirmation = &confirmed["recommended"]["confirmation"];
    assert_eq!(confirmation["seed"], 3);
    assert_eq!(confirmation["rises"].as_object().unwrap().len(), 2);
    let name = confirmed["recommended"]["name"].as_str().unwrap();
    let method = name.split(" × ").next().unwrap();
    assert!(
        at.join(format!("frontier/{method}-3/best/state.json"))
            .is_file()
    );
    assert_eq!(confirmed["methods"], found["methods"]);

    // The second call has nothing to do and gives the same result.
    polymath(at)
        .args(["frontier", "frontier.toml"])
        .assert()
        .success();
    assert_eq!(
        std::fs::read_to_string(at.join("frontier/frontier.json")).unwrap(),
        text
    );
}

/// Checks that every run is checked before the first one starts, and that a finished run with other settings is
/// refused.
#[test]
fn invalid_frontiers_are_refused_before_the_first_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let refused = |config: &str, said: &str| {
        write(at, "frontier.toml", config);
        let mut command = polymath(at);
        command.args(["frontier", "frontier.toml"]);
        command.assert().code(2).stderr(contains(said));
    };
    let lora = CONFIG.replace(
        "lora = { rank = 2, alpha = 4 }",
        "lora = { targets = [\"nothing\"] }",
    );
    refused(&lora, "`runs.lora`: ");
    refused(
        &CONFIG.replace("[runs.full]", "[runs.full]\nmethd = \"full\""),
        "line 18: unknown key `methd`: did you mean `method`?",
    );
    refused(
        &CONFIG.replace("limit = 0.5", "reference = \"none\"\nlimit = 0.5"),
        "`reference` = `none`: no method has this name; there are `full`",
    );
    refused(
        &CONFIG.replace("limit = 0.5", "confirm_seed = 2\nlimit = 0.5"),
        "`confirm_seed` = `2` is among `seeds`",
    );
    refused(
        &CONFIG.replace("limit = 0.5", "limt = 0.5"),
        "did you mean `limit`",
    );
    assert!(!at.join("frontier").exists());
    let one = CONFIG
        .split("[runs.last-1]")
        .next()
        .unwrap()
        .replace("[1, 2]", "[1]");
    write(at, "frontier.toml", &one);
    polymath(at)
        .args(["frontier", "frontier.toml"])
        .assert()
        .success();
    refused(
        &one.replace("learning_rate = 1e-2", "learning_rate = 1e-3"),
        "finished with other settings",
    );
    // A run of an older program used other data in another order: it may be compared alone, but not with new ones.
    let old = at.join("frontier/full-1/step-000012/state.json");
    let text = std::fs::read_to_string(&old).unwrap();
    let rule = format!("  \"batch_rule\": {},\n", polymath_data::BATCH_RULE);
    assert!(text.contains(&rule), "{text}");
    let text = text.replace(&rule, "");
    std::fs::write(&old, text.replace("\"schema\": 2", "\"schema\": 1")).unwrap();
    write(at, "frontier.toml", &one);
    polymath(at)
        .args(["frontier", "frontier.toml"])
        .assert()
        .success();
    let two = one.replace("seeds = [1]", "seeds = [1, 2]");
    refused(
        &two,
        "1 of 2 runs were trained by an older rule of making batches: `frontier/full-1` (rule 1)",
    );
    assert!(!at.join("frontier/full-2").exists());
    let mut listed = polymath(at);
    listed.args(["frontier", "frontier.toml", "--dry-run"]);
    listed.assert().code(2).stderr(contains("older rule"));
}

const TRANSFER: &str = "output = \"transfer\"\ndatasets = [\"data\"]\nseeds = [1, 2]\ngradient_tokens = 2000\nearly_share = 0.25\n\
                        [shared]\nbase = \"runs/base/best\"\n[shared.training]\nsteps = 12\nbatch_size = 4\n\
                        learning_rate = 1e-2\n[shared.evaluation]\nevery = 12\nmax_tokens = 500\n";

/// Checks that a base is tuned on each domain separately and each result is scored on all: each gains on its own
/// domain, the forecasts are there, and a second call has nothing to do.
#[test]
fn transfer_is_measured_and_forecast() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    write(at, "transfer.toml", TRANSFER);
    let measured = || {
        let mut command = polymath(at);
        command.args(["transfer", "transfer.toml"]);
        command
            .assert()
            .success()
            .stdout(contains("Forecast by gradients"));
        let text = std::fs::read_to_string(at.join("transfer/transfer.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let found = measured();
    let scored: Vec<&str> = found["scored"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(scored, ["asked", "counting", "letters"]);
    for (at, row) in found["rows"].as_array().unwrap().iter().enumerate() {
        assert_eq!(row["domain"], scored[at]);
        let own = row["changes"][at]["value"].as_f64().unwrap();
        assert!(own < 0.0, "{row}");
        let cosines: Vec<f64> = row["gradient_cosines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cosine| cosine.as_f64().unwrap())
            .collect();
        assert!((cosines[at] - 1.0).abs() < 1e-6, "{cosines:?}");
        assert!(cosines.iter().all(|cosine| cosine.abs() < 1.0 + 1e-6));
        assert!(row["early_divergence"].as_f64().unwrap() > 0.0);
    }
    // For domains that are new to the base, the gradient cosines are symmetric; the changes need not be.
    let cosine = |row: usize, column: usize| found["rows"][row]["gradient_cosines"][column].clone();
    assert_eq!(cosine(0, 1), cosine(1, 0));
    assert!(at.join("transfer/transfer.html").is_file());
    // The second call trains, scores and forecasts nothing.
    let kept = [
        "asked-1/metrics.jsonl",
        "asked-1/early.json",
        "cosines.json",
    ];
    let times = || kept.map(|file| modified(&at.join("transfer").join(file)));
    let before = times();
    assert_eq!(measured(), found);
    assert_eq!(times(), before);

    let refused = |config: &str, said: &str| {
        write(at, "transfer.toml", config);
        let mut command = polymath(at);
        command.args(["transfer", "transfer.toml"]);
        command.assert().code(2).stderr(contains(said));
    };
    refused(
        &TRANSFER.replace("seeds = [1, 2]", "domains = [\"physics\"]"),
        "`physics`",
    );
    for share in ["1.5", "1.0", "0.0"] {
        refused(
            &TRANSFER.replace("early_share = 0.25", &format!("early_share = {share}")),
            "`early_share` = `",
        );
    }
    refused(
        &TRANSFER.replace("[shared]", "[shared]\ndomain = \"asked\""),
        "`shared.domain`",
    );
}

const DIVERGING: &str = "output = \"frontier\"\nseeds = [1, 2]\ninterpolate = []\n[shared]\nbase = \"runs/base/best\"\n\
                         dataset = \"data\"\ndomain = \"asked\"\nretain = \"data\"\n[shared.training]\nsteps = 6\n\
                         batch_size = 4\n[shared.evaluation]\nevery = 3\nmax_tokens = 500\n[runs.full]\n\
                         [runs.a-bad]\ntraining = { learning_rate = 1e8, gradient_clip = 0 }\n";

/// Checks that a diverging run is noted, that the others continue, and that the report and the exit code tell it. The
/// same command does not retry the run, and says so, until its folder is removed.
#[test]
fn a_diverging_run_does_not_end_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    write(at, "frontier.toml", DIVERGING);
    let run = || {
        let mut command = polymath(at);
        command.args(["frontier", "frontier.toml"]);
        command.assert().code(1)
    };
    run()
        .stdout(contains("\n  full ").and(contains("Diverged and left out: a-bad (seed 1:")))
        .stderr(contains("error: 2 of 4 runs diverged: a-bad, seed 1 ("));
    let text = std::fs::read_to_string(at.join("frontier/frontier.json")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["runs"].as_array().unwrap().len(), 2);
    let lost = found["diverged"].as_array().unwrap();
    assert_eq!(
        (lost.len(), &lost[1]["name"], &lost[1]["seed"]),
        (2, &"a-bad".into(), &2.into())
    );
    let page = std::fs::read_to_string(at.join("frontier/frontier.html")).unwrap();
    assert!(page.contains("Diverged and left out"));

    let note = at.join("frontier/a-bad-1/diverged.json");
    let before = modified(&note);
    run().stderr(contains(
        "a-bad, seed 1: left out, since it diverged before",
    ));
    assert_eq!(modified(&note), before, "it was trained again");
    assert_eq!(
        std::fs::read_to_string(at.join("frontier/frontier.json")).unwrap(),
        text
    );

    // With settings that do not diverge, the comparison is complete.
    for seed in [1, 2] {
        std::fs::remove_dir_all(at.join(format!("frontier/a-bad-{seed}"))).unwrap();
    }
    write(at, "frontier.toml", &DIVERGING.replace("1e8", "1e-3"));
    polymath(at)
        .args(["frontier", "frontier.toml"])
        .assert()
        .success()
        .stdout(contains("\n  a-bad ").and(contains("Diverged").not()));
}

/// Checks that a frontier gives the same numbers if a finished run was killed before its links moved.
#[test]
fn a_frontier_repairs_the_links_of_finished_runs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let one = DIVERGING.split("[runs.a-bad]").next().unwrap();
    write(at, "frontier.toml", &one.replace("[1, 2]", "[1]"));
    let compared = || {
        let mut command = polymath(at);
        command
            .args(["frontier", "frontier.toml"])
            .assert()
            .success();
        std::fs::read_to_string(at.join("frontier/frontier.json")).unwrap()
    };
    let expected = compared();
    let run = at.join("frontier/full-1");
    for name in ["best", "latest"] {
        std::fs::remove_file(run.join(name)).unwrap();
        std::os::unix::fs::symlink("step-000003", run.join(name)).unwrap();
    }
    std::fs::remove_file(run.join("split-scores.json")).unwrap();
    assert_eq!(compared(), expected);
    assert_eq!(
        std::fs::read_link(run.join("latest")).unwrap(),
        Path::new("step-000006")
    );
}
