//! Test of the transfer matrix: rows are the tuned domains, columns the scored ones, and each number equals the one
//! that `evaluate` gives on the test split.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use polymath_data::{BatchShape, Dataset, MixturePart, MixtureStream, Split};
use polymath_model::{LoadOptions, Ops, Precision};
use serde_json::Value;

use crate::support::fixture::{polymath, prepare, read_json, write};

const TRANSFER: &str = "output = \"transfer\"\ndatasets = [\"data\"]\nseeds = [1]\ngradient_tokens = 1000\n[shared]\n\
                        base = \"runs/base/best\"\n[shared.training]\nsteps = 6\nbatch_size = 4\nlearning_rate = 1e-2\n\
                        [shared.evaluation]\nevery = 6\nmax_tokens = 500\n";

#[test]
fn rows_are_tuned_on_and_columns_scored() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    write(at, "transfer.toml", TRANSFER);
    polymath(at)
        .args(["transfer", "transfer.toml"])
        .assert()
        .success();
    let text = std::fs::read_to_string(at.join("transfer/transfer.json")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    let names = ["asked", "counting", "letters"];
    assert_eq!(found["scored"], serde_json::json!(names));
    let bits_of = |checkpoint: &str, more: &[&str]| -> Vec<f64> {
        let mut command = polymath(at);
        command.args(["evaluate", checkpoint, "--dataset", "data"]);
        command.args(["--context", "48", "--split", "test", "--json"]);
        command.args(more);
        let scores: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let of = |name: &&str| scores["domains"][*name]["bits_per_byte"].as_f64().unwrap();
        names.iter().map(of).collect()
    };
    let bits = |checkpoint: &str| bits_of(checkpoint, &[]);
    let base = bits("runs/base/best");
    let mut apart = 0.0f64;
    for (row, tuned_on) in names.iter().enumerate() {
        let tuned = bits(&format!("transfer/{tuned_on}-1"));
        for (column, scored) in names.iter().enumerate() {
            let change = |row: usize, column: usize| {
                found["rows"][row]["changes"][column]["value"]
                    .as_f64()
                    .unwrap()
            };
            let (value, expected) = (change(row, column), tuned[column] - base[column]);
            assert!(
                (value - expected).abs() < 1e-6,
                "{tuned_on} on {scored}: {value} and not {expected}"
            );
            apart = apart.max((value - change(column, row)).abs());
        }
    }
    assert!(apart > 1e-3, "the matrix is symmetric: {apart}");
    // Cosines are those of a symmetric matrix, and 1 of a gradient with itself.
    let cosine = |row: usize, column: usize| {
        let cosines = &found["rows"][row]["gradient_cosines"];
        cosines[column].as_f64().unwrap()
    };
    for row in 0..3 {
        assert!(
            (cosine(row, row) - 1.0).abs() < 1e-6,
            "{}",
            cosine(row, row)
        );
        for column in 0..row {
            assert!((cosine(row, column) - cosine(column, row)).abs() < 1e-6);
            assert!(cosine(row, column).abs() < 0.999);
        }
    }

    // They are those of the mean gradients on the training text: 8 rows of 48 tokens a batch, at least 1000 tokens.
    let gradients = names.map(|name| gradient(at, name));
    for (row, own) in gradients.iter().enumerate() {
        for (column, other) in gradients.iter().enumerate() {
            let product = |one: &[f32], next: &[f32]| -> f64 {
                let pairs = one.iter().zip(next);
                pairs
                    .map(|(one, next)| f64::from(*one) * f64::from(*next))
                    .sum()
            };
            let expected = product(own, other) / (product(own, own) * product(other, other)).sqrt();
            let found = cosine(row, column);
            assert!(
                (found - expected).abs() < 1e-4,
                "{row} {column}: {found} {expected}"
            );
        }
    }

    // Two runs of one domain: the row has their means, and the early checkpoint is at half of the steps.
    let settings = [
        "output=two",
        "seeds=[1, 2]",
        "domains=[\"asked\"]",
        "early_share=0.5",
        "max_tokens=300",
    ];
    polymath(at)
        .args(["transfer", "transfer.toml"])
        .args(settings)
        .assert()
        .success();
    let two = read_json(&at.join("two/transfer.json"));
    let row = &two["rows"][0];
    let runs = ["two/asked-1", "two/asked-2"];
    let early = runs.map(|run| {
        assert!(at.join(run).join("step-000003/state.json").is_file());
        let early = read_json(&at.join(run).join("early.json"));
        early["nats_a_token"].as_f64().unwrap()
    });
    let mean = f64::midpoint(early[0], early[1]);
    assert!(early[0] > 0.0 && early[0] != early[1], "{early:?}");
    assert!((row["early_divergence"].as_f64().unwrap() - mean).abs() < 1e-9 * mean);
    let few = ["--max-tokens", "300"];
    let base = bits_of("runs/base/best", &few);
    let [first, second] = runs.map(|run| bits_of(run, &few));
    for column in 0..3 {
        let change = f64::midpoint(first[column], second[column]) - base[column];
        let found = row["changes"][column]["value"].as_f64().unwrap();
        assert!((found - change).abs() < 1e-6, "{found} {change}");
    }
}

/// Returns the gradient of the base on three batches of a domain's training text, all parameters in a row.
fn gradient(at: &Path, domain: &str) -> Vec<f32> {
    let options = LoadOptions {
        device: Device::Cpu,
        ops: Ops::fused(Precision::F32),
        trainable: &|_| true,
    };
    let model = polymath_model::load(&at.join("runs/base/best"), &options).unwrap();
    let dataset = Dataset::open(&at.join("data")).unwrap();
    let part = MixturePart {
        name: domain.into(),
        shard: dataset.shard(domain, Split::Train).unwrap(),
        weight: 1.0,
    };
    let shape = BatchShape {
        rows: 8,
        sequence_length: 48,
    };
    let begin = model.config().bos_token_id;
    let stream = MixtureStream::new(vec![part], shape, begin, 0).unwrap();
    let mut sums: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for step in 0..3 {
        let gradients = model.loss(&stream.batch(step)).unwrap().backward().unwrap();
        for (name, parameter) in model.trainable() {
            let Some(gradient) = gradients.get(parameter) else {
                continue;
            };
            let gradient: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
            let sum = sums
                .entry(name.clone())
                .or_insert_with(|| vec![0.0; gradient.len()]);
            sum.iter_mut()
                .zip(gradient)
                .for_each(|(sum, part)| *sum += part);
        }
    }
    sums.into_values().flatten().collect()
}
