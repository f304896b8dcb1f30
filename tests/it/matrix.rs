//! Test of the transfer matrix: rows are the tuned domains, columns the scored ones, and each number equals the one
//! that `evaluate` gives on the test split.

use serde_json::Value;

use crate::support::fixture::{polymath, prepare, write};

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
    let bits = |checkpoint: &str| -> Vec<f64> {
        let mut command = polymath(at);
        command.args(["evaluate", checkpoint, "--dataset", "data"]);
        command.args(["--context", "48", "--split", "test", "--json"]);
        let scores: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let of = |name: &&str| scores["domains"][*name]["bits_per_byte"].as_f64().unwrap();
        names.iter().map(of).collect()
    };
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
}
