//! Tests of runs that are made longer: compared with one run of the full length, and resumed to the same bits.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use polymath_train::{
    Extension, Observer, Outcome, RunFolder, Silent, TrainError, Training, finished, verify,
};
use serde::Serialize;

use crate::support::table::{Case, StopAfter, Table, optimizer_bytes, records, saving, training};

/// Content of a `run.toml`.
#[derive(Serialize)]
struct Config<'a> {
    seed: u64,
    training: &'a Training,
}

fn text(training: &Training) -> String {
    toml::to_string(&Config { seed: 1, training }).unwrap()
}

/// Trains in the folder `path` up to `length` steps, from its newest checkpoint if there is one. Stops after the step
/// `stop`, if given.
fn train(
    path: &Path,
    (shape, length): (&str, u64),
    stop: Option<u64>,
) -> Result<Outcome, TrainError> {
    let mut case = Case::new();
    case.training = training(&format!(
        "steps = {length}\nbatch_size = 4\nsequence_length = 2\nlearning_rate = 0.05\nwarmup_steps = 3\nschedule = \"{shape}\""
    ));
    let mut run = RunFolder::open(path, &text(&case.training), true)?;
    let continued = run.lengthen(&case.training, 0.0)?;
    case.training = continued.training;
    run.keep_config(text(&case.training));
    if let Some(outcome) = run.finished_outcome(&saving())? {
        return Ok(outcome);
    }
    let table = match run.resumed() {
        Some(from) => {
            // Before the first step, and after every second one.
            case.evaluated = 1 + from.state.step / 2 - u64::from(from.state.evaluation_due);
            Table::load(&from.path)
        }
        None => Table::new(),
    };
    let flag = AtomicBool::new(stop == Some(0));
    let observer: &mut dyn Observer = match stop {
        Some(step) => &mut StopAfter(step, &flag),
        None => &mut Silent,
    };
    case.run(&run, &table, &flag, observer)
}

fn weights(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("latest/model.safetensors")).unwrap()
}

fn saved(run: &Path) -> String {
    std::fs::read_to_string(run.join("run.toml")).unwrap()
}

fn assert_same(one: &Path, other: &Path) {
    assert!(weights(one) == weights(other), "weights");
    assert!(optimizer_bytes(one) == optimizer_bytes(other), "optimizer");
    assert_eq!(records(one), records(other));
    assert_eq!(saved(one), saved(other));
}

/// Checks that an extended run that is stopped at any point, also before its first new step, and resumed ends with the
/// same bits as an extended run that is not stopped.
#[test]
fn an_extended_run_resumes_to_the_same_bits() {
    let root = tempfile::tempdir().unwrap();
    for shape in ["cosine", "wsd"] {
        let whole = root.path().join(format!("{shape}-whole"));
        train(&whole, (shape, 20), None).unwrap();
        assert!(finished(&whole).is_some());
        train(&whole, (shape, 33), None).unwrap();
        let state = finished(&whole).unwrap();
        assert_eq!((state.step, state.planned_steps), (33, Some(33)));
        for stop in [0, 21, 22, 32] {
            let cut = root.path().join(format!("{shape}-{stop}"));
            train(&cut, (shape, 20), None).unwrap();
            let outcome = train(&cut, (shape, 33), Some(stop)).unwrap();
            assert_eq!(outcome, Outcome::Interrupted { step: stop.max(20) });
            // The checkpoint of step 20 was the end of a run, and is not the end any more.
            assert!(finished(&cut).is_none(), "{shape} {stop}");
            train(&cut, (shape, 33), None).unwrap();
            assert_same(&whole, &cut);
        }
    }
}

/// Checks that with a constant learning rate, an extended run equals a run that had the longer length from its start.
/// With a cosine schedule it does not, and the user is told so.
#[test]
fn a_constant_rate_makes_the_extension_invisible() {
    let root = tempfile::tempdir().unwrap();
    for (shape, same) in [("constant", true), ("cosine", false)] {
        let [straight, extended] =
            ["straight", "extended"].map(|name| root.path().join(format!("{name}-{shape}")));
        train(&straight, (shape, 30), None).unwrap();
        train(&extended, (shape, 20), None).unwrap();
        train(&extended, (shape, 30), None).unwrap();
        assert_eq!(weights(&straight) == weights(&extended), same, "{shape}");
    }
}

/// Checks that an interrupted run can be extended too, and a run more than once. Each extension is recorded, and the
/// learning rates before it stay as they were.
#[test]
fn extensions_are_recorded() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    train(&path, ("cosine", 20), Some(7)).unwrap();
    train(&path, ("cosine", 24), Some(13)).unwrap();
    train(&path, ("cosine", 28), None).unwrap();
    let table: toml::Table = saved(&path).parse().unwrap();
    let found: Vec<Extension> = table["training"]["extensions"].clone().try_into().unwrap();
    let expected = [(7, 20), (13, 24)].map(|(after, steps)| Extension { after, steps });
    assert_eq!(found, expected);
    // Nothing is left to do, with the same length.
    let before = verify(&path.join("latest")).unwrap();
    train(&path, ("cosine", 28), None).unwrap();
    assert_eq!(verify(&path.join("latest")).unwrap(), before);
}

/// Checks that making a run shorter is refused, and so is a changed length that the caller has not compared.
#[test]
fn other_lengths_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    train(&path, ("cosine", 20), None).unwrap();
    let error = train(&path, ("cosine", 19), None).unwrap_err().to_string();
    assert!(
        error.contains("has 20 steps, and `training` asks for 19"),
        "{error}"
    );
    let mut case = Case::new();
    case.training = training(
        "steps = 30\nbatch_size = 4\nsequence_length = 2\nlearning_rate = 0.05\nwarmup_steps = 3",
    );
    let run = RunFolder::open(&path, &text(&case.training), true).unwrap();
    let never = AtomicBool::new(false);
    let error = case
        .run(&run, &Table::new(), &never, &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(error.contains("saved with another length"), "{error}");
    assert!(finished(&path).is_some());
}

/// Checks that a finished run that was made with an older rule for batches can be opened but not extended, since it
/// would continue with other data.
#[test]
fn a_run_of_an_older_rule_is_not_extended() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    train(&path, ("cosine", 20), None).unwrap();
    let state = path.join("step-000020/state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    // Version 1 of the format has no checksum of itself.
    let old: String = text
        .lines()
        .filter(|line| !line.contains("\"batch_rule\""))
        .map(|line| line.replace("\"schema\": 2", "\"schema\": 1") + "\n")
        .collect();
    assert_ne!(old, text);
    std::fs::write(&state, old).unwrap();
    train(&path, ("cosine", 20), None).unwrap();
    let error = train(&path, ("cosine", 25), None).unwrap_err().to_string();
    assert!(
        error.contains("was finished after step 20") && error.contains("makes batches by rule 1"),
        "{error}"
    );
}
