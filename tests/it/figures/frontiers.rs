//! Test of the figures of a frontier.

use serde_json::{Value, json};

use super::{Bits, NICHE, assert_near, bits, mean_rise, mix};
use crate::support::fixture::{polymath, prepare, read_json, succeed, write};

const CONFIG: &str = "output = \"frontier\"\nseeds = [1, 2]\nlimit = 0.5\ninterpolate = [0.5]\n[shared]\nbase = \"runs/base/best\"\n\
                      dataset = \"data\"\ndomain = \"asked\"\nretain = \"data\"\n[shared.training]\nsteps = 12\nbatch_size = 4\n\
                      learning_rate = 1e-2\n[shared.evaluation]\nevery = 6\nmax_tokens = 500\n[runs.full]\n[runs.last-1]\n\
                      method = \"frozen\"\nfrozen = { train_last_layers = 1 }\n";
/// Retained domains.
const RETAINED: [&str; 2] = ["counting", "letters"];

/// Gain and rises of a model on both splits.
struct Scored {
    dev: Bits,
    test: Bits,
}

/// Checks every run of a frontier and every mixture against `evaluate`, every method against the mean of its runs, and
/// what the frontier says of its settings and groups. Nothing is noted on runs of this version.
#[test]
fn frontiers_have_the_scores_of_their_runs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    write(at, "frontier.toml", CONFIG);
    polymath(at)
        .args(["frontier", "frontier.toml"])
        .assert()
        .success();
    let found = read_json(&at.join("frontier/frontier.json"));
    for (key, value) in [
        ("niche", json!(NICHE)),
        ("limit", json!(0.5)),
        ("reference", json!("full")),
    ] {
        assert_eq!(found[key], value, "{key}");
    }
    assert!(found.get("notes").is_none(), "{}", found["notes"]);
    let scored = |model: &str| Scored {
        dev: bits(at, model, "dev"),
        test: bits(at, model, "test"),
    };
    let base = scored("runs/base");
    let rise = |after: &Bits, before: &Bits, domain: &str| after[domain] - before[domain];
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 8);
    for method in ["full", "last-1"] {
        for share in [None, Some(0.5)] {
            let mut of_method = Vec::new();
            let mut seconds = 0.0;
            for seed in [1, 2] {
                let path = format!("frontier/{method}-{seed}");
                let model = match share {
                    None => path.clone(),
                    Some(share) => {
                        let name = format!("mixed-{method}-{seed}");
                        mix(at, &path, &name, &|_| share);
                        name
                    }
                };
                let model = scored(&model);
                let is_it = |run: &&Value| {
                    run["method"] == method
                        && run["seed"] == seed
                        && run.get("share").and_then(Value::as_f64) == share
                };
                let run = runs.iter().find(is_it).unwrap();
                assert_near(
                    &run["gain"]["value"],
                    -rise(&model.test, &base.test, NICHE),
                    "gain",
                );
                assert_near(
                    &run["dev_gain"],
                    -rise(&model.dev, &base.dev, NICHE),
                    "gain on dev",
                );
                for domain in RETAINED {
                    assert_near(
                        &run["rises"][domain]["value"],
                        rise(&model.test, &base.test, domain),
                        domain,
                    );
                }
                assert_near(
                    &run["mean_rise"]["value"],
                    mean_rise(&base.test, &model.test, NICHE),
                    "mean",
                );
                let on_dev = RETAINED.map(|domain| rise(&model.dev, &base.dev, domain));
                assert_near(&run["dev_worst"], on_dev[0].max(on_dev[1]), "worst on dev");
                assert_eq!(run["tokens"], 12 * 4 * 48);
                let state = read_json(&at.join(&path).join("best/state.json"));
                let last = read_json(&at.join(&path).join("latest/state.json"));
                assert_eq!(last["step"], 12, "{state}");
                assert_eq!(run["seconds"], last["seconds"]);
                seconds += last["seconds"].as_f64().unwrap() / 2.0;
                of_method.push(model);
            }
            let mean = |of: &dyn Fn(&Scored) -> f64| of_method.iter().map(of).sum::<f64>() / 2.0;
            let name = share.map_or(method.to_owned(), |share| format!("{method} × {share}"));
            let methods = found["methods"].as_array().unwrap();
            let shown = methods
                .iter()
                .find(|shown| shown["name"] == json!(name))
                .unwrap();
            assert_near(
                &shown["gain"]["value"],
                mean(&|run| -rise(&run.test, &base.test, NICHE)),
                &name,
            );
            let forgetting = mean(&|run| mean_rise(&base.test, &run.test, NICHE));
            assert_near(&shown["mean_forgetting"]["value"], forgetting, &name);
            let rises = RETAINED.map(|domain| {
                let on_test = mean(&|run| rise(&run.test, &base.test, domain));
                assert_near(&shown["rises"][domain]["value"], on_test, domain);
                (
                    mean(&|run| rise(&run.dev, &base.dev, domain)),
                    on_test,
                    domain,
                )
            });
            let worst = if rises[0].0 > rises[1].0 {
                rises[0]
            } else {
                rises[1]
            };
            assert_eq!(shown["worst"]["domain"], worst.2, "{name}");
            assert_near(&shown["worst"]["value"], worst.1, &name);
            assert_eq!(
                (&shown["seeds"], &shown["tokens"]),
                (&json!(2), &json!(12 * 4 * 48))
            );
            assert!(
                (shown["seconds"].as_f64().unwrap() - seconds).abs() < 1e-9,
                "{shown}"
            );
        }
    }
    let groups = found["groups"].as_array().unwrap();
    for split in ["dev", "test"] {
        let scores = super::evaluated(at, "runs/base", &["--split", split]);
        for domain in super::DOMAINS {
            let is_it = |of: &&Value| of["domain"] == domain && of["split"] == split;
            let of = groups.iter().find(is_it).unwrap();
            assert_eq!(
                of["groups"], scores[domain]["documents"],
                "{domain}, {split}"
            );
        }
    }
    // A reference of one's own is what the others are compared with.
    succeed(at, &["frontier", "frontier.toml", "reference=last-1"]);
    let again = read_json(&at.join("frontier/frontier.json"));
    assert_eq!(again["reference"], "last-1");
    let of = |found: &Value, name: &str, key: &str| -> Value {
        let methods = found["methods"].as_array().unwrap();
        let method = methods
            .iter()
            .find(|method| method["name"] == name)
            .unwrap();
        method["against_reference"][key]["value"].clone()
    };
    for key in ["gain", "mean_forgetting"] {
        let there = of(&found, "last-1", key).as_f64().unwrap();
        assert_near(&of(&again, "full", key), -there, key);
    }
}
