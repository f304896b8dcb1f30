//! Test of the figures of a forgetting report.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{DOMAINS, NICHE, assert_near, evaluated, prepared};
use crate::support::fixture::{read_json, records, succeed};

/// Checks the figures of a report against `evaluate`, its summary against its domains, and what it says of the runs
/// against their files, without and with each flag.
#[test]
fn reports_have_the_scores_of_their_models() {
    let folder = prepared();
    let at = folder.path();
    let scoring = ["--max-tokens", "900", "--context", "32", "--stride", "16"];
    let all = [&scoring[..], &["--split", "dev"]].concat();
    for (output, niche, scored_with, more) in [
        ("plain", NICHE, &["--split", "test"][..], &[][..]),
        (
            "flags",
            "letters",
            &all,
            &["--niche", "letters", "--tolerance", "0.5", "--seed", "3"],
        ),
    ] {
        let given: &[&str] = if more.is_empty() { &[] } else { scored_with };
        let arguments = [
            "report",
            "runs/base",
            "runs/full",
            "--dataset",
            "data",
            "-o",
            output,
        ];
        succeed(at, &[&arguments[..], given, more].concat());
        let found = read_json(&at.join(output).join("report.json"));
        let [base, tuned] = ["runs/base", "runs/full"].map(|run| evaluated(at, run, scored_with));
        let run = &found["runs"][0];
        let domains = run["domains"].as_array().unwrap();
        let names: Vec<&str> = domains
            .iter()
            .map(|domain| domain["name"].as_str().unwrap())
            .collect();
        let others = DOMAINS.into_iter().filter(|name| *name != niche);
        assert_eq!(
            names,
            std::iter::once(niche).chain(others).collect::<Vec<_>>()
        );
        let mut changes = BTreeMap::new();
        for (domain, name) in domains.iter().zip(&names) {
            let of = |scores: &Value| scores[*name]["bits_per_byte"].as_f64().unwrap();
            let (before, after) = (of(&base), of(&tuned));
            assert_near(&domain["base_bits_per_byte"], before, name);
            assert_near(&domain["tuned_bits_per_byte"], after, name);
            assert_near(&domain["change"], after - before, name);
            assert_near(&domain["relative_change"], (after - before) / before, name);
            let [low, high] = [0, 1].map(|end| domain["interval"][end].as_f64().unwrap());
            assert!(low < after - before && after - before < high, "{domain}");
            for count in ["documents", "bytes"] {
                assert_eq!(domain[count], base[*name][count], "{count} of {name}");
            }
            assert_eq!(domain["groups"], domain["documents"], "{name}");
            let role = if *name == niche { "niche" } else { "retained" };
            assert_eq!(domain["role"], role, "{name}");
            changes.insert(*name, after - before);
        }
        let summary = &run["summary"];
        let gain = -changes.remove(niche).unwrap();
        assert_near(&summary["niche_gain"]["value"], gain, "gain");
        let mean = changes.values().sum::<f64>() / changes.len() as f64;
        assert_near(&summary["mean_forgetting"]["value"], mean, "mean");
        let worst = changes
            .iter()
            .max_by(|one, next| one.1.total_cmp(next.1))
            .unwrap();
        assert_eq!(summary["worst_forgetting"]["domain"], json!(worst.0));
        assert_near(&summary["worst_forgetting"]["change"], *worst.1, "worst");

        let settings = match more.is_empty() {
            true => json!({"tolerance": 0.02, "seed": 1, "context": 48, "split": "test"}),
            false => {
                json!({"tolerance": 0.5, "seed": 3, "context": 32, "split": "dev", "max_tokens": 900})
            }
        };
        for (key, value) in settings.as_object().unwrap() {
            assert_eq!(found["settings"][key], *value, "{key}");
        }
        assert_eq!(found["settings"]["chosen_on"], "dev");
        assert_eq!(found["settings"]["max_tokens"], settings["max_tokens"]);
        assert_eq!(
            (&found["base"], &run["path"]),
            (
                &json!("runs/base/step-000030"),
                &json!("runs/full/step-000020")
            )
        );
        assert_eq!(
            (&run["name"], &run["method"]),
            (&json!("full"), &json!("full"))
        );
        for (of, run, [step, tokens]) in [
            (&found["base_provenance"], "runs/base", [30, 30 * 4 * 48]),
            (&run["provenance"], "runs/full", [20, 20 * 4 * 48]),
        ] {
            let state = read_json(&at.join(run).join("best/state.json"));
            for (key, value) in [
                ("step", json!(step)),
                ("steps", json!(step)),
                ("tokens", json!(tokens)),
            ] {
                assert_eq!(of[key], value, "{key} of {run}");
            }
            assert_eq!(
                (&of["seed"], &of["seconds"]),
                (&json!(1), &state["seconds"]),
                "{run}"
            );
            assert_eq!(of["settings"]["training.learning_rate"], "0.01");
            assert_eq!(of["settings"]["run"], run);
        }
        let curve: Vec<Value> = records(&at.join("runs/full"))
            .into_iter()
            .filter(|record| record.get("heldout_bits_per_byte").is_some())
            .map(|record| json!({"step": record["step"], "heldout_bits_per_byte": record["heldout_bits_per_byte"]}))
            .collect();
        assert_eq!((run["curve"].as_array().unwrap(), curve.len()), (&curve, 3));
    }
    // The seed decides the resamples alone.
    succeed(
        at,
        &[
            "report",
            "runs/base",
            "runs/full",
            "--seed",
            "3",
            "-o",
            "seeded",
        ],
    );
    let interval = |output: &str| {
        let found = read_json(&at.join(output).join("report.json"));
        let domain = &found["runs"][0]["domains"][0];
        (domain["change"].clone(), domain["interval"].clone())
    };
    let (plain, seeded) = (interval("plain"), interval("seeded"));
    assert_eq!(plain.0, seeded.0);
    assert_ne!(plain.1, seeded.1);
}
