//! Tests of the run folder and of the training loop.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor, Var};
use polymath_data::Batch;
use polymath_train::{
    Best, Objective, Observer, Outcome, RunFolder, SaveModel, Score, Silent, StepMetrics,
    TrainError, TrainingTask, fit, resolve_checkpoint, verify,
};

use crate::support::table::{
    CONFIG, Case, Scores, Steps, StopAfter, Table, optimizer_bytes, records, straight, training,
};

/// Checks that 11 steps, a stop and a resumption give the same parameters, moments and metrics as 20 uninterrupted
/// steps.
#[test]
fn resuming_is_bit_exact() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let expected = straight(&whole);

    let parts = root.path().join("parts");
    let stop = AtomicBool::new(false);
    {
        let folder = RunFolder::open(&parts, CONFIG, false).unwrap();
        let outcome = Case::new()
            .run(&folder, &Table::new(), &stop, &mut StopAfter(11, &stop))
            .unwrap();
        assert_eq!(outcome, Outcome::Interrupted { step: 11 });
    }
    let folder = RunFolder::open(&parts, CONFIG, true).unwrap();
    let table = Table::load(&folder.resumed().unwrap().path);
    let mut case = Case::new();
    case.evaluated = 6; // before the first step, and after steps 2 to 10
    case.run(&folder, &table, &AtomicBool::new(false), &mut Silent)
        .unwrap();
    assert_eq!(table.bits(), expected.bits());
    assert_eq!(optimizer_bytes(&whole), optimizer_bytes(&parts));

    assert_eq!(records(&whole), records(&parts));
}

/// Observer that keeps the metrics of every step.
struct Kept(Vec<StepMetrics>);

impl Observer for Kept {
    fn after_step(&mut self, metrics: &StepMetrics) {
        self.0.push(metrics.clone());
    }
}

/// Checks the estimate of the time that is left: the remaining steps at the average pace so far, and 0 after the last.
#[test]
fn the_time_left_is_that_of_the_steps_left() {
    let root = tempfile::tempdir().unwrap();
    let folder = RunFolder::open(&root.path().join("run"), CONFIG, false).unwrap();
    let mut kept = Kept(Vec::new());
    Case::new()
        .run(&folder, &Table::new(), &AtomicBool::new(false), &mut kept)
        .unwrap();
    assert_eq!(kept.0.len(), 20);
    for step in kept.0 {
        let pace = step.seconds / step.step as f64;
        let left = pace * (20 - step.step) as f64;
        assert!((step.seconds_left - left).abs() <= 1e-6 * left, "{step:?}");
    }
}

/// Table objective that records the seed and the number of each of its steps.
struct Noting {
    table: Table,
    begun: RefCell<Vec<(u64, u64)>>,
}

impl Objective for Noting {
    fn begin_step(&self, seed: u64, step: u64) {
        self.begun.borrow_mut().push((seed, step));
    }

    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        self.table.loss(batch)
    }

    fn trainable(&self) -> &BTreeMap<String, Var> {
        self.table.trainable()
    }
}

impl SaveModel for Noting {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        self.table.save(folder)
    }
}

/// Checks that the objective gets the run's seed and the number of each step. A resumed run continues the numbers, so
/// that random numbers that depend on them are the same.
#[test]
fn steps_are_numbered_over_the_whole_run() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let run = |resume: bool, observer: &mut dyn Observer, stop: &AtomicBool| {
        let folder = RunFolder::open(&path, CONFIG, resume).unwrap();
        let table = match folder.resumed() {
            Some(from) => Table::load(&from.path),
            None => Table::new(),
        };
        let objective = Noting {
            table,
            begun: RefCell::default(),
        };
        let done = Case::new().settings(stop, |settings| {
            let settings = polymath_train::Fit {
                seed: 77,
                data_fingerprint: settings.data_fingerprint.clone(),
                ..*settings
            };
            let task = TrainingTask {
                objective: &objective,
                batches: &Steps,
            };
            fit(&settings, &folder, task, &mut Scores(0), observer)
        });
        done.unwrap();
        objective.begun.into_inner()
    };
    let stop = AtomicBool::new(false);
    let mut begun = run(false, &mut StopAfter(11, &stop), &stop);
    assert_eq!(begun.len(), 11);
    begun.extend(run(true, &mut Silent, &AtomicBool::new(false)));
    assert_eq!(begun, (0..20).map(|step| (77, step)).collect::<Vec<_>>());
}

/// Checks that the last step is evaluated and saved, even if it is not a multiple of `evaluation.every`, and whether
/// or not it is the best.
#[test]
fn the_last_step_is_evaluated_and_saved() {
    // The fifth evaluation has the lowest scores. It is that of the last step, or of the step before the first.
    for (evaluated, best, lowest) in [(0, 7, 1.0), (4, 2, 2.0)] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run");
        let mut case = Case::new();
        case.training =
            training("steps = 7\nbatch_size = 4\nsequence_length = 2\nlearning_rate = 0.05");
        case.evaluated = evaluated;
        let folder = RunFolder::open(&path, CONFIG, false).unwrap();
        let stop = AtomicBool::new(false);
        let outcome = case
            .run(&folder, &Table::new(), &stop, &mut Silent)
            .unwrap();
        let expected = Outcome::Finished {
            steps: 7,
            best: Some(Best {
                step: best,
                score: Score::within(lowest),
            }),
        };
        assert_eq!(outcome, expected);
        let lines = records(&path);
        let numbers = |kind: &str, field: &str| -> Vec<u64> {
            let lines = lines.iter().filter(|line| line.get(kind).is_some());
            lines.map(|line| line[field].as_u64().unwrap()).collect()
        };
        assert_eq!(numbers("heldout_bits_per_byte", "step"), [0, 2, 4, 6, 7]);
        assert_eq!(numbers("loss", "tokens"), [8, 16, 24, 32, 40, 48, 56]);
        let latest = std::fs::read_link(path.join("latest")).unwrap();
        assert_eq!(latest, Path::new("step-000007"));
    }
}

/// Checks that a step computed in four parts (gradient accumulation) equals a step computed in one pass.
#[test]
fn accumulation_equals_one_batch() {
    let root = tempfile::tempdir().unwrap();
    let expected = straight(&root.path().join("once"));
    let mut case = Case::new();
    case.training.accumulation_steps = 4;
    let table = Table::new();
    let folder = RunFolder::open(&root.path().join("parts"), CONFIG, false).unwrap();
    case.run(&folder, &table, &AtomicBool::new(false), &mut Silent)
        .unwrap();
    for (a, b) in expected.bits().iter().zip(table.bits()) {
        let (a, b) = (f32::from_bits(*a), f32::from_bits(b));
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

/// Checks that a folder is refused that is in use, finished, interrupted (without `--resume`), or has other files.
#[test]
fn run_folders_are_not_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let refused =
        |path: &Path, resume: bool, config: &str| match RunFolder::open(path, config, resume) {
            Ok(_) => panic!("opened"),
            Err(error) => error.to_string(),
        };
    let path = root.path().join("run");
    let held = RunFolder::open(&path, CONFIG, false).unwrap();
    assert!(refused(&path, false, CONFIG).contains("is in use"));
    let stop = AtomicBool::new(false);
    Case::new()
        .run(&held, &Table::new(), &stop, &mut StopAfter(5, &stop))
        .unwrap();
    drop(held);
    assert!(
        refused(&path, false, CONFIG)
            .contains("interrupted after step 5: continue with `--resume`")
    );
    let changed = CONFIG.replace("steps = 20", "steps = 20\nbatch_size = 7");
    assert!(refused(&path, true, &changed).contains("`training.batch_size` differs"));

    straight(&root.path().join("done"));
    assert!(refused(&root.path().join("done"), false, CONFIG).contains("is finished (20 steps)"));

    let other = root.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("thesis.tex"), "precious").unwrap();
    assert!(refused(&other, false, CONFIG).contains("is not a run folder"));
    assert_eq!(
        std::fs::read_to_string(other.join("thesis.tex")).unwrap(),
        "precious"
    );
}

/// Checks that rotation keeps the best checkpoint, and that `best` and `latest` point to the right ones.
#[test]
fn rotation_keeps_the_best_and_the_newest() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    straight(&path);
    let link = |name: &str| std::fs::read_link(path.join(name)).unwrap();
    // The fifth evaluation is after step 8, since the first one is at step 0.
    assert_eq!(link("best"), Path::new("step-000008"));
    assert_eq!(link("latest"), Path::new("step-000020"));
    let mut kept: Vec<String> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("step-"))
        .collect();
    kept.sort();
    assert_eq!(
        kept,
        ["step-000008", "step-000016", "step-000018", "step-000020"]
    );
    assert_eq!(resolve_checkpoint(&path).unwrap(), path.join("step-000008"));
}

/// Checks that a milestone is saved, and that rotation keeps it in addition to the other checkpoints.
#[test]
fn milestones_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let mut case = Case::new();
    case.keep = 1;
    case.milestones = vec![3, 5];
    let folder = RunFolder::open(&path, CONFIG, false).unwrap();
    let stop = AtomicBool::new(false);
    case.run(
        &folder,
        &Table::new(),
        &stop,
        &mut StopAfter(u64::MAX, &stop),
    )
    .unwrap();
    for step in ["step-000003", "step-000005", "step-000008", "step-000020"] {
        assert!(path.join(step).is_dir(), "{step}");
    }
    assert!(!path.join("step-000018").exists());
}

/// Checks that a truncated or altered checkpoint is reported and that the one before it is used.
#[test]
fn broken_checkpoints_are_skipped() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let stop = AtomicBool::new(false);
    {
        let folder = RunFolder::open(&path, CONFIG, false).unwrap();
        Case::new()
            .run(&folder, &Table::new(), &stop, &mut StopAfter(7, &stop))
            .unwrap();
    }
    let weights = path.join("step-000007/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    assert!(
        verify(&path.join("step-000007"))
            .unwrap_err()
            .to_string()
            .contains("`model.safetensors` was altered")
    );
    assert!(resolve_checkpoint(&path.join("step-000007")).is_err());
    // Unfinished files of a killed process are removed too.
    std::fs::create_dir(path.join(".tmp-step-000009")).unwrap();

    let folder = RunFolder::open(&path, CONFIG, true).unwrap();
    assert_eq!(folder.resumed().unwrap().state.step, 6);
    assert!(
        folder.skipped()[0].contains("step-000007"),
        "{:?}",
        folder.skipped()
    );
    assert!(!path.join(".tmp-step-000009").exists());
    let table = Table::load(&folder.resumed().unwrap().path);
    Case::new()
        .run(&folder, &table, &AtomicBool::new(false), &mut Silent)
        .unwrap();
    assert_eq!(table.bits(), straight(&root.path().join("whole")).bits());
}

/// Checks that training stops with the name of a trainable parameter that the loss does not depend on, and at a loss
/// that is not finite.
#[test]
fn unreached_parameters_and_divergence_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let mut table = Table::new();
    let unused = Var::from_vec(vec![1f32], 1, &Device::Cpu).unwrap();
    table.parameters.insert("unused".into(), unused);
    let folder = RunFolder::open(&root.path().join("dead"), CONFIG, false).unwrap();
    let error = Case::new()
        .run(&folder, &table, &AtomicBool::new(false), &mut Silent)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`unused` is to be trained but its gradient is missing"),
        "{error}"
    );

    let table = Table::new();
    let bad = Tensor::new(&[f32::NAN], &Device::Cpu).unwrap();
    table.parameters["offset"].set(&bad).unwrap();
    let folder = RunFolder::open(&root.path().join("diverged"), CONFIG, false).unwrap();
    let error = Case::new()
        .run(&folder, &table, &AtomicBool::new(false), &mut Silent)
        .unwrap_err();
    assert!(
        error.to_string().contains("step 1: the loss is NaN"),
        "{error}"
    );
}
