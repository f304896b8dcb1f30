//! Figures of `report`, `interpolate` and `reset`, each compared with `evaluate` on models that the test makes by hand,
//! and the effect of their flags.

mod frontiers;
mod reports;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use crate::support::fixture::{copy_of_base, finetune, polymath, prepare, read_json, succeed};

const DOMAINS: [&str; 3] = ["asked", "counting", "letters"];
const NICHE: &str = "asked";

/// Scores of each domain on a split.
type Bits = BTreeMap<String, f64>;

/// Returns what `evaluate` prints as JSON for each domain.
fn evaluated(at: &Path, model: &str, more: &[&str]) -> Value {
    let mut command = polymath(at);
    command.args(["evaluate", model, "--dataset", "data", "--json"]);
    let output = command.args(more).output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    value["domains"].clone()
}

fn bits(at: &Path, model: &str, split: &str) -> Bits {
    bits_with(at, model, split, &[])
}

/// Returns the bits per byte with these flags of scoring.
fn bits_with(at: &Path, model: &str, split: &str, scoring: &[&str]) -> Bits {
    let found = evaluated(at, model, &[&["--split", split], scoring].concat());
    let of = |name: &&str| {
        (
            (*name).to_owned(),
            found[*name]["bits_per_byte"].as_f64().unwrap(),
        )
    };
    DOMAINS.iter().map(of).collect()
}

/// Returns the mean change of the domains other than the niche.
fn mean_rise(before: &Bits, after: &Bits, niche: &str) -> f64 {
    let retained = DOMAINS.iter().filter(|name| **name != niche);
    let rises: Vec<f64> = retained.map(|name| after[*name] - before[*name]).collect();
    rises.iter().sum::<f64>() / rises.len() as f64
}

fn assert_near(found: &Value, expected: f64, what: &str) {
    let found = found.as_f64().unwrap();
    assert!(
        (found - expected).abs() < 2e-5,
        "{what}: {found} and not {expected}"
    );
}

fn assert_bits(found: &Value, expected: &Bits, what: &str) {
    assert_eq!(found.as_object().unwrap().len(), DOMAINS.len(), "{what}");
    for (name, bits) in expected {
        assert_near(&found[name], *bits, &format!("{what}, {name}"));
    }
}

/// Trains a base and a fine-tuning that forgets.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    finetune(folder.path(), "full", &[]).assert().success();
    folder
}

/// Writes a model whose every weight lies between the base and a run, at the share that `share` gives for its block.
fn mix(at: &Path, run: &str, name: &str, share: &dyn Fn(&str) -> f64) {
    let load = |run: &str| -> HashMap<String, Tensor> {
        let file = at.join(run).join("best/model.safetensors");
        candle_core::safetensors::load(file, &Device::Cpu).unwrap()
    };
    let (base, tuned) = (load("runs/base"), load(run));
    let mixed: HashMap<String, Tensor> = base
        .into_iter()
        .map(|(tensor, before)| {
            let layer = tensor
                .split("layers.")
                .nth(1)
                .and_then(|rest| rest.split('.').next());
            let block = layer.map_or("embedding and head".into(), |layer| {
                format!("layer {layer:0>3}")
            });
            let step = ((&tuned[&tensor] - &before).unwrap() * share(&block)).unwrap();
            (tensor, (before + step).unwrap())
        })
        .collect();
    let model = copy_of_base(at, name);
    candle_core::safetensors::save(&mixed, model.join("model.safetensors")).unwrap();
}

/// Checks every field of an interpolation: each point against a model mixed by hand, and the choice by its rule, for
/// the niche of the run and for a given one, which is scored with flags.
#[test]
fn interpolations_have_the_scores_of_their_mixtures() {
    let folder = prepared();
    let at = folder.path();
    let shares = [0.0, 0.25, 0.6, 1.0];
    for share in shares {
        mix(at, "runs/full", &format!("mixed-{share}"), &|_| share);
    }
    let flags = ["--max-tokens", "900", "--context", "32", "--stride", "16"];
    for (niche, limit, scoring, more) in [
        (NICHE, 0.4, &[][..], &[][..]),
        ("counting", 0.2, &flags, &["--niche", "counting"]),
    ] {
        let of_shares = shares.map(|share| {
            let name = format!("mixed-{share}");
            ["dev", "test"].map(|split| bits_with(at, &name, split, scoring))
        });
        let output = format!("interpolated-{niche}");
        let limit_text = limit.to_string();
        let arguments = [
            "interpolate",
            "runs/base",
            "runs/full",
            "--alphas",
            "0.6,0.25",
            "--limit",
            &limit_text,
        ];
        succeed(
            at,
            &[&arguments[..], &["-o", &output], scoring, more].concat(),
        );
        let found = read_json(&at.join(&output).join("interpolation.json"));
        assert_eq!(
            (&found["niche"], &found["limit"]),
            (&json!(niche), &json!(limit))
        );
        assert_eq!(found["base"], "runs/base/step-000030");
        let points = found["points"].as_array().unwrap();
        assert_eq!(points.len(), shares.len());
        let mut chosen = 0;
        for (number, (point, [dev, test])) in points.iter().zip(&of_shares).enumerate() {
            let share = shares[number];
            assert_eq!(point["alpha"], json!(share));
            let blocks =
                json!({"embedding and head": share, "layer 000": share, "layer 001": share});
            assert_eq!(point["shares"], blocks);
            let [before, before_test] = &of_shares[0];
            assert_bits(&point["dev"], dev, "dev");
            assert_bits(&point["test"], test, "test");
            assert_near(
                &point["mean_increase"],
                mean_rise(before, dev, niche),
                "mean on dev",
            );
            assert_near(
                &point["test_mean_increase"],
                mean_rise(before_test, test, niche),
                "mean on test",
            );
            let is_inside = mean_rise(before, dev, niche) <= limit;
            if is_inside && dev[niche] < of_shares[chosen][0][niche] {
                chosen = number;
            }
        }
        assert_eq!(found["chosen"], json!(chosen), "{niche}");
        // The written model is the chosen point.
        assert_bits(
            &points[chosen]["test"],
            &bits_with(at, &output, "test", scoring),
            "the written model",
        );
    }
}

/// Checks that the search per block visits the blocks from the last to the first and keeps the best share of each, by
/// models that are mixed by hand.
#[test]
fn blocks_are_searched_one_after_the_other() {
    let folder = prepared();
    let at = folder.path();
    let (limit, grid) = (0.2, [0.0, 0.4, 1.0]);
    succeed(
        at,
        &[
            "interpolate",
            "runs/base",
            "runs/full",
            "--alphas",
            "0.4",
            "--limit",
            "0.2",
            "--per-block",
            "-o",
            "searched",
        ],
    );
    let found = read_json(&at.join("searched/interpolation.json"));
    let before = ["dev", "test"].map(|split| bits(at, "runs/base", split));
    let names = ["embedding and head", "layer 000", "layer 001"];
    let mut number = 0;
    let mut scored = |shares: [f64; 3]| -> (f64, f64, String) {
        number += 1;
        let name = format!("block-{number}");
        let of = |block: &str| shares[names.iter().position(|name| *name == block).unwrap()];
        mix(at, "runs/full", &name, &of);
        let dev = bits(at, &name, "dev");
        (dev[NICHE], mean_rise(&before[0], &dev, NICHE), name)
    };
    let is_better = |one: &(f64, f64, String), best: &(f64, f64, String)| match [
        one.1 <= limit,
        best.1 <= limit,
    ] {
        [true, true] => one.0 < best.0 - 1e-9,
        [false, false] => one.1 < best.1 - 1e-9,
        [inside, _] => inside,
    };
    let mut best = [0.0; 3];
    let mut of_best = scored(best);
    for share in grid {
        let of = scored([share; 3]);
        if is_better(&of, &of_best) {
            (best, of_best) = ([share; 3], of);
        }
    }
    for block in [2, 1, 0] {
        for share in grid {
            let mut shares = best;
            shares[block] = share;
            let of = scored(shares);
            if is_better(&of, &of_best) {
                (best, of_best) = (shares, of);
            }
        }
    }
    let point = found["points"].as_array().unwrap().last().unwrap();
    let expected = json!({names[0]: best[0], names[1]: best[1], names[2]: best[2]});
    assert_eq!(
        (&point["alpha"], &point["shares"]),
        (&Value::Null, &expected)
    );
    for split in ["dev", "test"] {
        assert_bits(&point[split], &bits(at, &of_best.2, split), split);
    }
    let test = bits(at, &of_best.2, "test");
    assert_near(
        &point["test_mean_increase"],
        mean_rise(&before[1], &test, NICHE),
        "mean on test",
    );
    assert_near(&point["mean_increase"], of_best.1, "mean on dev");
    assert_eq!(found["within_limit"], json!(of_best.1 <= limit));
}

/// Checks every field of a reset: each block alone and all together against models whose layers are replaced by hand,
/// the order of the blocks, and the choice by its rule.
#[test]
fn resets_have_the_scores_of_their_models() {
    let folder = prepared();
    let at = folder.path();
    let limit = 0.35;
    succeed(
        at,
        &[
            "reset",
            "runs/base",
            "runs/full",
            "--limit",
            &limit.to_string(),
            "-o",
            "reset",
        ],
    );
    let found = read_json(&at.join("reset/reset.json"));
    let [base, tuned] =
        ["runs/base", "runs/full"].map(|run| ["dev", "test"].map(|split| bits(at, run, split)));
    let places = [
        &found["base"],
        &found["tuned"],
        &found["niche"],
        &found["limit"],
    ];
    let expected = [
        json!("runs/base/step-000030"),
        json!("runs/full/step-000020"),
        json!(NICHE),
        json!(limit),
    ];
    assert_eq!(places.map(Value::clone), expected);

    let blocks = found["blocks"].as_array().unwrap();
    let names: Vec<&str> = blocks
        .iter()
        .map(|block| block["name"].as_str().unwrap())
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["embedding and head", "layer 000", "layer 001"]);
    let mut rates = Vec::new();
    for (block, name) in blocks.iter().zip(&names) {
        let model = format!("without {name}");
        mix(at, "runs/full", &model, &|of| f64::from(of != *name));
        let dev = bits(at, &model, "dev");
        for domain in DOMAINS {
            let change = dev[domain] - tuned[0][domain];
            assert_near(
                &block["changes"][domain]["value"],
                change,
                &format!("{name} on {domain}"),
            );
        }
        let (regained, lost) = (
            -mean_rise(&tuned[0], &dev, NICHE),
            dev[NICHE] - tuned[0][NICHE],
        );
        assert_near(&block["regained"], regained, "regained");
        assert_near(&block["lost"], lost, "lost");
        assert!(regained > 0.0 && lost > 0.0, "{block}");
        rates.push(regained / lost);
    }
    assert!(rates.is_sorted_by(|one, next| one >= next), "{rates:?}");

    let steps = found["steps"].as_array().unwrap();
    assert_eq!(steps.len(), blocks.len() + 1);
    let mut places = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let model = format!("first {number}");
        mix(at, "runs/full", &model, &|of| {
            f64::from(!names[..number].contains(&of))
        });
        assert_eq!(step["reset"], json!(number));
        for (split, before) in ["dev", "test"].into_iter().zip(&base) {
            let after = bits(at, &model, split);
            let (gain, forgetting) = (
                before[NICHE] - after[NICHE],
                mean_rise(before, &after, NICHE),
            );
            assert_near(
                &step[split]["gain"],
                gain,
                &format!("gain of {number} on {split}"),
            );
            assert_near(
                &step[split]["forgetting"],
                forgetting,
                &format!("forgetting of {number} on {split}"),
            );
            for domain in DOMAINS.iter().filter(|domain| **domain != NICHE) {
                let rise = after[*domain] - before[*domain];
                let found = &step[split]["increases"][*domain];
                assert_near(found, rise, &format!("{domain} of {number} on {split}"));
            }
            if split == "dev" {
                places.push((gain, forgetting));
            }
        }
    }
    let inside = (0..places.len()).filter(|step| places[*step].1 <= limit);
    let chosen = inside
        .max_by(|one, next| places[*one].0.total_cmp(&places[*next].0))
        .unwrap();
    assert_eq!(
        (&found["chosen"], &found["within_limit"]),
        (&json!(chosen), &json!(true))
    );
    let first = format!("first {chosen}");
    for split in ["dev", "test"] {
        let (found, expected) = (bits(at, "reset", split), bits(at, &first, split));
        for domain in DOMAINS {
            assert!(
                (found[domain] - expected[domain]).abs() < 2e-5,
                "{split} {domain}"
            );
        }
    }
}
