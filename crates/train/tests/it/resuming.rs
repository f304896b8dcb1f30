//! Tests of stopped and resumed runs of a transformer: with Muon, in bf16, computed in parts, and on changed data.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use polymath_data::{Batch, IGNORED};
use polymath_model::{
    ArchitectureConfig, EndTokens, LoadOptions, ModelConfig, Ops, Precision, Transformer,
};
use polymath_train::{
    BatchSource, Fit, Observer, Outcome, RunFolder, Silent, TrainError, TrainingTask, fit,
};

use crate::support::bare::Bare;
use crate::support::table::{CONFIG, Case, Scores, StopAfter, optimizer_bytes, records, training};

const STEPS: u64 = 9;
const STOPPED: u64 = 5;

/// Batch source with a growing number of ignored targets.
struct Rows;

impl BatchSource for Rows {
    fn batch(&self, step: u64) -> Batch {
        let token = |at: u32| (at * at + at * (step as u32 + 2)) % 29;
        Batch {
            input_ids: (0..48).map(token).collect(),
            targets: (0..48)
                .map(|at| {
                    if at % (at / 12 + 2) == 0 {
                        IGNORED
                    } else {
                        token(at + 1)
                    }
                })
                .collect(),
            document_starts: (0..48).map(|at| if at % 12 < 5 { 0 } else { 5 }).collect(),
            rows: 4,
            domains: vec![0; 4],
        }
    }
}

/// Optimizer, precision and number of gradient-accumulation parts with which a test run is trained.
#[derive(Clone, Copy, Debug)]
struct Kind {
    optimizer: &'static str,
    precision: Precision,
    parts: usize,
}

impl Kind {
    fn config() -> ModelConfig {
        let architecture: ArchitectureConfig = serde_json::from_str(
            r#"{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.2}"#,
        )
        .unwrap();
        architecture
            .resolve(29, 12, EndTokens { begin: 0, end: 1 })
            .unwrap()
    }

    fn fresh(self) -> Bare {
        let options = LoadOptions::trained(&Device::Cpu, Ops::fused(self.precision));
        Bare(Transformer::initialize(Self::config(), 2, &options).unwrap())
    }

    fn load(self, folder: &Path) -> Bare {
        let options = LoadOptions::trained(&Device::Cpu, Ops::fused(self.precision));
        let file = folder.join("model.safetensors");
        let weights = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let weights = weights.into_iter().collect();
        Bare(Transformer::from_weights(Self::config(), weights, &options).unwrap())
    }

    /// Trains `model` in `run`, on data with the given fingerprint.
    fn train(
        self,
        run: &RunFolder,
        model: &Bare,
        data: &str,
        (stop, observer): (&AtomicBool, &mut dyn Observer),
    ) -> Result<Outcome, TrainError> {
        let Self {
            optimizer,
            parts,
            precision,
        } = self;
        let mut case = Case::new();
        case.training = training(&format!(
            "steps = {STEPS}\nbatch_size = 4\nsequence_length = 12\nlearning_rate = 0.02\noptimizer = \"{optimizer}\"\n\
             accumulation_steps = {parts}\ngradient_clip = 0.5"
        ));
        // Evaluations happen before the first step and after every second one.
        let mut scores = Scores(run.resumed().map_or(0, |from| 1 + from.state.step / 2));
        case.settings(stop, |settings| {
            let settings = Fit {
                data_fingerprint: data.to_owned(),
                ops: Ops::fused(precision),
                ..*settings
            };
            let batches: &dyn BatchSource = &Rows;
            fit(
                &settings,
                run,
                TrainingTask {
                    objective: model,
                    batches,
                },
                &mut scores,
                observer,
            )
        })
    }

    /// Makes a run folder whose run was stopped in the middle.
    fn stopped(self, path: &Path) {
        let run = RunFolder::open(path, CONFIG, false).unwrap();
        let stop = AtomicBool::new(false);
        let observer = (&stop, &mut StopAfter(STOPPED, &stop) as &mut dyn Observer);
        let outcome = self.train(&run, &self.fresh(), "data", observer).unwrap();
        assert_eq!(outcome, Outcome::Interrupted { step: STOPPED });
    }
}

/// Checks that a resumed run ends with the same weights, optimizer state and metrics (except times) as an uninterrupted
/// run, for several combinations of optimizer, precision and number of parts.
#[test]
fn every_configuration_resumes_to_the_same_bits() {
    let root = tempfile::tempdir().unwrap();
    for (number, (optimizer, precision, parts)) in [
        ("muon", Precision::F32, 1),
        ("muon", Precision::Bf16, 4),
        ("adamw", Precision::Bf16, 2),
    ]
    .into_iter()
    .enumerate()
    {
        let kind = Kind {
            optimizer,
            precision,
            parts,
        };
        let [whole, cut] =
            ["whole", "cut"].map(|name| root.path().join(format!("{name}-{number}")));
        let run = RunFolder::open(&whole, CONFIG, false).unwrap();
        let never = AtomicBool::new(false);
        kind.train(&run, &kind.fresh(), "data", (&never, &mut Silent))
            .unwrap();

        kind.stopped(&cut);
        let run = RunFolder::open(&cut, CONFIG, true).unwrap();
        let from = run.resumed().unwrap();
        assert_eq!(from.state.step, STOPPED);
        let model = kind.load(&from.path);
        kind.train(&run, &model, "data", (&never, &mut Silent))
            .unwrap();
        let weights = |run: &Path| std::fs::read(run.join("latest/model.safetensors")).unwrap();
        assert!(weights(&whole) == weights(&cut), "{kind:?}: weights");
        assert!(
            optimizer_bytes(&whole) == optimizer_bytes(&cut),
            "{kind:?}: optimizer"
        );
        assert_eq!(records(&whole), records(&cut), "{kind:?}");
    }
}

/// Checks that a run whose data have changed is refused with the reason, and that its folder stays unchanged.
#[test]
fn changed_data_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let kind = Kind {
        optimizer: "adamw",
        precision: Precision::F32,
        parts: 1,
    };
    kind.stopped(&path);
    let before = records(&path);
    let saved = std::fs::read(path.join("run.toml")).unwrap();
    // Only a run that resumes renames a broken checkpoint.
    let broken = path.join("step-999999");
    std::fs::create_dir(&broken).unwrap();
    std::fs::remove_file(path.join("latest")).unwrap();
    std::os::unix::fs::symlink("step-999999", path.join("latest")).unwrap();
    let other = format!("{CONFIG}\n[evaluation]\nevery = 3\n");
    let run = RunFolder::open(&path, &other, true).unwrap();
    let model = kind.load(&run.resumed().unwrap().path);
    let never = AtomicBool::new(false);
    let error = kind
        .train(&run, &model, "other data", (&never, &mut Silent))
        .unwrap_err()
        .to_string();
    assert!(error.contains("the data have changed"), "{error}");
    assert_eq!(before, records(&path));
    assert_eq!(std::fs::read(path.join("run.toml")).unwrap(), saved);
    assert_eq!(
        std::fs::read_link(path.join("latest")).unwrap(),
        Path::new("step-999999")
    );
    assert!(broken.is_dir());
    // A run that is accepted does all of that.
    let data = "data";
    kind.train(&run, &model, data, (&never, &mut Silent))
        .unwrap();
    drop(run);
    assert!(path.join("broken-step-999999").is_dir());
    let saved = std::fs::read_to_string(path.join("run.toml")).unwrap();
    assert!(saved.contains("every = 3"), "{saved}");
}
