//! What a run folder and the loop promise, on a tiny objective whose gradients are known.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor, Var};
use polymath_data::Batch;
use polymath_ops::{Ops, Precision};
use polymath_train::{
    BatchSource, CheckpointConfig, EvaluationConfig, Evaluator, Fit, Objective, Observer, Outcome,
    RunFolder, SaveModel, Silent, StepMetrics, TrainError, TrainingConfig, fit, resolve_checkpoint,
    verify,
};

/// Learns a table of logits: the loss of a token is the squared distance of its entry from the target.
struct Table {
    parameters: BTreeMap<String, Var>,
}

impl Table {
    fn new() -> Self {
        let values: Vec<f32> = (0..8).map(|at| at as f32 * 0.1).collect();
        let table = Var::from_vec(values, (8, 1), &Device::Cpu).unwrap();
        let offset = Var::from_vec(vec![0.5f32], 1, &Device::Cpu).unwrap();
        Self {
            parameters: BTreeMap::from([("table.weight".into(), table), ("offset".into(), offset)]),
        }
    }

    fn load(folder: &Path) -> Self {
        let tensors =
            candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
        let parameters = tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap()))
            .collect();
        Self { parameters }
    }

    fn bits(&self) -> Vec<u32> {
        self.parameters
            .values()
            .flat_map(|parameter| parameter.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .map(f32::to_bits)
            .collect()
    }
}

impl Objective for Table {
    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        let count = batch.input_ids.len();
        let ids = Tensor::from_slice(&batch.input_ids, count, &Device::Cpu)?;
        let targets: Vec<f32> = batch.targets.iter().map(|target| *target as f32).collect();
        let targets = Tensor::from_vec(targets, (count, 1), &Device::Cpu)?;
        let found = self.parameters["table.weight"]
            .index_select(&ids, 0)?
            .broadcast_add(&self.parameters["offset"])?;
        Ok((found - targets)?.sqr()?.sum_all()?)
    }

    fn trainable(&self) -> &BTreeMap<String, Var> {
        &self.parameters
    }
}

impl SaveModel for Table {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        let tensors: BTreeMap<&String, Tensor> = self
            .parameters
            .iter()
            .map(|(name, parameter)| (name, parameter.as_detached_tensor()))
            .collect();
        safetensors::serialize_to_file(tensors, None, &folder.join("model.safetensors")).unwrap();
        Ok(())
    }
}

struct Steps;

impl BatchSource for Steps {
    fn batch(&self, step: u64) -> Batch {
        let ids: Vec<u32> = (0..8).map(|at| ((at + step * 3) % 8) as u32).collect();
        Batch {
            targets: ids.iter().map(|id| (id * 5 + step as u32) % 7).collect(),
            document_starts: vec![0; 8],
            input_ids: ids,
            rows: 4,
            sequence_length: 2,
            domains: vec![0; 4],
        }
    }
}

/// Scores that get better until the fifth evaluation, then worse.
struct Scores(u64);

impl Evaluator for Scores {
    fn evaluate(
        &mut self,
        _: &mut dyn FnMut(u64, u64),
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        self.0 += 1;
        Ok(BTreeMap::from([(
            "all".into(),
            (self.0 as f64 - 5.0).abs() + 1.0,
        )]))
    }

    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> f64 {
        bits_per_byte["all"]
    }
}

/// Sets the stop flag after a step.
struct StopAfter<'a>(u64, &'a AtomicBool);

impl Observer for StopAfter<'_> {
    fn after_step(&mut self, metrics: &StepMetrics) {
        if metrics.step == self.0 {
            self.1.store(true, Ordering::SeqCst);
        }
    }
}

const CONFIG: &str = "seed = 1\n[training]\nsteps = 20\n";

fn training(text: &str) -> TrainingConfig {
    toml::from_str(text).unwrap()
}

struct Case {
    training: TrainingConfig,
    keep: usize,
}

impl Case {
    fn new() -> Self {
        Self {
            training: training(
                "steps = 20\nbatch_size = 4\nsequence_length = 2\nlearning_rate = 0.05",
            ),
            keep: 3,
        }
    }

    fn run(
        &self,
        folder: &RunFolder,
        table: &Table,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        let settings = Fit {
            training: &self.training,
            sequence_length: 2,
            learning_rate: self.training.learning_rate.unwrap(),
            evaluation: &EvaluationConfig {
                every: 2,
                max_tokens: 1,
            },
            checkpoint: &CheckpointConfig {
                every: None,
                keep: self.keep,
            },
            seed: 1,
            data_fingerprint: "data".into(),
            ops: Ops::for_device(&Device::Cpu, Precision::F32),
            stop,
        };
        fit(&settings, folder, (table, &Steps), &mut Scores(0), observer)
    }
}

fn straight(path: &Path) -> Table {
    let table = Table::new();
    let folder = RunFolder::open(path, CONFIG, false).unwrap();
    let outcome = Case::new()
        .run(&folder, &table, &AtomicBool::new(false), &mut Silent)
        .unwrap();
    assert!(matches!(outcome, Outcome::Finished { steps: 20, .. }));
    table
}

fn optimizer_bytes(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("latest/optimizer.safetensors")).unwrap()
}

/// 20 steps straight equal 11 steps, a stop and a resumption: parameters, moments and metrics.
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
    Case::new()
        .run(&folder, &table, &AtomicBool::new(false), &mut Silent)
        .unwrap();
    assert_eq!(table.bits(), expected.bits());
    assert_eq!(optimizer_bytes(&whole), optimizer_bytes(&parts));

    let steps = |run: &Path| -> Vec<(u64, bool)> {
        std::fs::read_to_string(run.join("metrics.jsonl"))
            .unwrap()
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                (line["step"].as_u64().unwrap(), line.get("loss").is_some())
            })
            .collect()
    };
    assert_eq!(steps(&whole), steps(&parts));
}

/// A step computed in four parts is the step computed at once.
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

/// A folder is refused while in use, when finished, when interrupted without `--resume`, and when it holds other files.
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
        refused(&path, false, CONFIG).contains("interrupted after step 5: go on with `--resume`")
    );
    let changed = CONFIG.replace("steps = 20", "steps = 30");
    assert!(refused(&path, true, &changed).contains("`training.steps` differs"));

    straight(&root.path().join("done"));
    assert!(refused(&root.path().join("done"), false, CONFIG).contains("is finished (20 steps)"));

    let other = root.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("thesis.tex"), "precious").unwrap();
    assert!(refused(&other, false, CONFIG).contains("is no run folder"));
    assert_eq!(
        std::fs::read_to_string(other.join("thesis.tex")).unwrap(),
        "precious"
    );
}

/// The best checkpoint outlives the rotation, and `best` and `latest` point where they should.
#[test]
fn rotation_keeps_the_best_and_the_newest() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    straight(&path);
    let link = |name: &str| std::fs::read_link(path.join(name)).unwrap();
    // The fifth evaluation (the first is at step 0) is after step 8.
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
    assert_eq!(resolve_checkpoint(&path).unwrap(), path.join("best"));
}

/// A checkpoint that was cut off or altered is named and passed over for the one before.
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
    // What a killed process left half-written goes too.
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

/// A trainable parameter that the loss does not reach, and a loss that is no number, stop the run by name.
#[test]
fn dead_parameters_and_divergence_are_refused() {
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
