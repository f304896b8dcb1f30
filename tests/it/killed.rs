//! Tests of runs that are killed and resumed: with unusual settings, and after their data has changed.

use std::path::Path;

use crate::support::fixture::{
    PREPARE, finetune, kill_in_the_middle, polymath, prepare, prepare_data, records,
    sha_of_weights, succeed, write,
};

const PLACES: (&str, &str) = ("step-000003/state.json", "step-000020");
const OFTEN: [&str; 2] = ["checkpoint.every=1", "checkpoint.keep=99"];
/// Settings that change the computation: Muon, bf16 products, and steps in two accumulated parts with a clipped
/// gradient norm.
const COMPUTED: [&str; 5] = [
    "training.optimizer=muon",
    "training.precision=bf16",
    "training.accumulation_steps=2",
    "training.gradient_clip=0.3",
    "evaluation.every=5",
];

/// Asserts that the uninterrupted run `whole` and the killed and resumed one have the same weights and, apart from
/// times, the same metrics.
fn assert_same(at: &Path) {
    let [whole, killed] = ["runs/whole", "runs/killed"].map(|run| at.join(run));
    assert_eq!(sha_of_weights(&whole), sha_of_weights(&killed));
    assert_eq!(records(&whole), records(&killed));
}

#[test]
fn muon_bf16_and_accumulation_resume_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let pretrain = [
        &["pretrain", "pretrain.toml", "training.steps=20"][..],
        &COMPUTED[..],
    ]
    .concat();
    polymath(at)
        .args(&pretrain)
        .arg("run=runs/whole")
        .assert()
        .success();
    let killed = [&pretrain[..], &OFTEN, &["run=runs/killed"]].concat();
    kill_in_the_middle(at, &killed, "runs/killed", PLACES);
    polymath(at)
        .args(&killed)
        .arg("--resume")
        .assert()
        .success();
    assert_same(at);

    for run in ["whole", "killed"] {
        std::fs::remove_dir_all(at.join("runs").join(run)).unwrap();
    }
    let adapter = [
        &["method=lora", "lora.dropout=0.2", "retention.replay=0.3"][..],
        &COMPUTED[..],
    ]
    .concat();
    finetune(at, "whole", &adapter).assert().success();
    let start = ["finetune", "finetune.toml", "run=runs/killed"];
    let killed = [&start[..], &OFTEN, &adapter].concat();
    kill_in_the_middle(at, &killed, "runs/killed", PLACES);
    polymath(at)
        .args(&killed)
        .arg("--resume")
        .assert()
        .success();
    assert_same(at);
}

/// Checks that a run whose dataset was prepared again from other text is not resumed: the error names the data, and
/// the run stays unchanged, to be resumed on the original data.
#[test]
fn runs_are_not_resumed_on_other_data() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_data(at);
    let start = ["pretrain", "pretrain.toml", "training.steps=20"];
    polymath(at)
        .args(start)
        .arg("run=runs/whole")
        .assert()
        .success();
    let killed = [&start[..], &OFTEN, &["run=runs/killed"]].concat();
    kill_in_the_middle(at, &killed, "runs/killed", PLACES);

    let text = std::fs::read_to_string(at.join("raw/counting.jsonl")).unwrap();
    write(at, "raw/counting.jsonl", &text.replace("10 11", "11 10"));
    let again = || {
        std::fs::remove_dir_all(at.join("data")).unwrap();
        succeed(at, &PREPARE);
    };
    again();
    let before = records(&at.join("runs/killed"));
    let output = polymath(at).args(&killed).arg("--resume").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{error}");
    assert!(error.contains("data"), "{error}");
    assert_eq!(before, records(&at.join("runs/killed")));

    write(at, "raw/counting.jsonl", &text);
    again();
    polymath(at)
        .args(&killed)
        .arg("--resume")
        .assert()
        .success();
    assert_same(at);
}
