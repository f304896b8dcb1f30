//! Tiny objective with known gradients, and runs of it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor, Var};
use polymath_data::Batch;
use polymath_ops::{Ops, Precision};
use polymath_train::{
    BatchSource, Checkpointing, Evaluation, Evaluator, Fit, Interval, Length, Objective, Observer,
    Outcome, RunFolder, SaveModel, Score, Silent, StepMetrics, TrainError, Training,
    TrainingConfig, TrainingDefaults, TrainingTask, fit,
};

/// Model that is a table of logits. The loss of a token is the squared distance of its entry from the target.
pub struct Table {
    pub parameters: BTreeMap<String, Var>,
}

impl Table {
    pub fn new() -> Self {
        let values: Vec<f32> = (0..8).map(|at| at as f32 * 0.1).collect();
        let table = Var::from_vec(values, (8, 1), &Device::Cpu).unwrap();
        let offset = Var::from_vec(vec![0.5f32], 1, &Device::Cpu).unwrap();
        Self {
            parameters: BTreeMap::from([("table.weight".into(), table), ("offset".into(), offset)]),
        }
    }

    pub fn load(folder: &Path) -> Self {
        let tensors =
            candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
        let parameters = tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap()))
            .collect();
        Self { parameters }
    }

    pub fn bits(&self) -> Vec<u32> {
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

pub struct Steps;

impl BatchSource for Steps {
    fn batch(&self, step: u64) -> Batch {
        let ids: Vec<u32> = (0..8).map(|at| ((at + step * 3) % 8) as u32).collect();
        Batch {
            targets: ids.iter().map(|id| (id * 5 + step as u32) % 7).collect(),
            document_starts: vec![0; 8],
            input_ids: ids,
            rows: 4,
            domains: vec![0; 4],
        }
    }
}

/// Evaluator whose scores improve until the fifth evaluation and then get worse.
pub struct Scores(pub u64);

impl Evaluator for Scores {
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        if progress(0, 1).is_break() {
            return Err(TrainError::Stopped);
        }
        self.0 += 1;
        Ok(BTreeMap::from([(
            "all".into(),
            (self.0 as f64 - 5.0).abs() + 1.0,
        )]))
    }

    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> Score {
        Score::within(bits_per_byte["all"])
    }
}

/// Observer that sets the stop flag after a step.
pub struct StopAfter<'a>(pub u64, pub &'a AtomicBool);

impl Observer for StopAfter<'_> {
    fn after_step(&mut self, metrics: &StepMetrics) {
        if metrics.step == self.0 {
            self.1.store(true, Ordering::SeqCst);
        }
    }
}

pub const CONFIG: &str = "seed = 1\n[training]\nsteps = 20\n";

/// Returns a resolved `[training]` table.
pub fn training(text: &str) -> Training {
    let config: TrainingConfig = toml::from_str(text).unwrap();
    config.resolve(&TrainingDefaults {
        length: Length::Steps(1),
        batch_size: 16,
        sequence_length: 2,
        learning_rate: 2.0,
        optimizer: polymath_train::OptimizerChoice::Adamw,
        weight_decay: polymath_train::WEIGHT_DECAY,
        padding: 0.0,
        epoch_tokens: 1,
        tokens_at_once: None,
    })
}

/// Returns checkpoint settings with a checkpoint every second step and the default number to keep.
pub fn saving() -> Checkpointing {
    Checkpointing {
        every: Interval::Steps(2),
        keep: 2,
        milestones: Vec::new(),
    }
}

pub struct Case {
    pub training: Training,
    pub keep: usize,
    pub milestones: Vec<u64>,
    /// Number of evaluations that earlier parts of the run have made.
    pub evaluated: u64,
}

impl Case {
    pub fn new() -> Self {
        Self {
            training: training(
                "steps = 20\nbatch_size = 4\nsequence_length = 2\nlearning_rate = 0.05",
            ),
            keep: 3,
            milestones: Vec::new(),
            evaluated: 0,
        }
    }

    pub fn run(
        &self,
        folder: &RunFolder,
        table: &Table,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        self.settings(stop, |settings| {
            fit(
                settings,
                folder,
                TrainingTask {
                    objective: table,
                    batches: &Steps,
                },
                &mut Scores(self.evaluated),
                observer,
            )
        })
    }

    /// Calls `with` with settings for the training loop.
    pub fn settings<T>(&self, stop: &AtomicBool, with: impl FnOnce(&Fit) -> T) -> T {
        let settings = Fit {
            training: &self.training,
            evaluation: &Evaluation {
                every: Interval::Steps(2),
                max_tokens: 1,
            },
            evaluate_first: true,
            checkpoint: &Checkpointing {
                every: Interval::Steps(2),
                keep: self.keep,
                milestones: self.milestones.clone(),
            },
            seed: 1,
            data_fingerprint: "data".into(),
            ops: Ops::fused(Precision::F32),
            stop,
        };
        with(&settings)
    }
}

pub fn straight(path: &Path) -> Table {
    let table = Table::new();
    let folder = RunFolder::open(path, CONFIG, false).unwrap();
    let outcome = Case::new()
        .run(&folder, &table, &AtomicBool::new(false), &mut Silent)
        .unwrap();
    assert!(matches!(outcome, Outcome::Finished { steps: 20, .. }));
    table
}

pub fn optimizer_bytes(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("latest/optimizer.safetensors")).unwrap()
}

/// Returns every line of the `metrics.jsonl` of a run, without the times.
pub fn records(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        for time in ["seconds", "tokens_per_second", "seconds_left"] {
            fields.remove(time);
        }
        assert!(fields.len() > 2, "{fields:?}");
        line
    };
    text.lines().map(line).collect()
}
