//! Tests of whole training runs of a transformer against a separate computation in f64: packed documents, ignored
//! targets, the mean over scored targets, clipping by the global norm, warmup and schedule, parameter groups, AdamW
//! and Muon.

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use polymath_data::{Batch, IGNORED};
use polymath_model::{
    ArchitectureConfig, EndTokens, LoadOptions, ModelConfig, Ops, Precision, Transformer,
};
use polymath_train::{BatchSource, Observer, RunFolder, StepMetrics, TrainingTask, fit};

use crate::support::bare::Bare;
use crate::support::llama_reference::{Weights, elements, gradient, loss, weights};
use crate::support::muon_by_hand;
use crate::support::table::{CONFIG, Case, Scores, training};

const VOCABULARY: u32 = 13;
const STEPS: usize = 5;
const PEAK: f64 = 0.05;
/// Learning rate of each step: linear warmup over two steps, then a half cosine over three (1 + cos 60°, 120° and
/// 180°), down to a tenth of the peak.
const RATES: [f64; STEPS] = [0.025, 0.05, 0.03875, 0.01625, 0.005];
const DECAY: f64 = 0.5;
const EPSILON: f64 = 0.02;
const BETAS: [f64; 2] = [0.9, 0.95];
const MOMENTUM: f64 = 0.8;
/// Clipping threshold, between the smallest and the largest gradient norm of the runs.
const CLIP: f64 = 2.5;

fn config() -> ModelConfig {
    let architecture: ArchitectureConfig = serde_json::from_value(serde_json::json!({
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "intermediate_size": 6, "initializer_range": 0.4, "tie_word_embeddings": false,
    }))
    .unwrap();
    architecture
        .resolve(VOCABULARY as usize, 6, EndTokens { begin: 0, end: 1 })
        .unwrap()
}

fn model() -> Transformer {
    let options = LoadOptions::trained(&Device::Cpu, Ops::fused(Precision::F32));
    Transformer::initialize(config(), 5, &options).unwrap()
}

/// Batch source with four rows of packed documents. The first two rows have two scored targets each, the last two
/// five each, so that the mean of the parts' means differs from the mean over all targets.
struct Packed;

impl BatchSource for Packed {
    fn batch(&self, step: u64) -> Batch {
        let token = |at: u32| (at * at * 3 + at * (step as u32 * 5 + 2) + 1) % VOCABULARY;
        let scored = |at: u32| match at / 12 {
            0 => at % 3 == 1,
            _ => at % 6 != 2,
        };
        let start = |at: u32| match at % 6 {
            0 | 1 => 0,
            _ => 2,
        };
        Batch {
            input_ids: (0..24).map(token).collect(),
            targets: (0..24)
                .map(|at| match scored(at) {
                    true => token(at + 1),
                    false => IGNORED,
                })
                .collect(),
            document_starts: (0..24).map(start).collect(),
            rows: 4,
            domains: vec![0; 4],
        }
    }
}

/// Training run that is computed separately in f64, for comparison.
struct ByHand {
    parameters: Weights,
    first: Weights,
    second: Weights,
    momentum: Weights,
    /// Loss and gradient norm of each step, as computed by hand.
    told: Vec<(f64, f64)>,
}

impl ByHand {
    fn run(muon: bool) -> Self {
        let parameters = weights(&model());
        let zeros: Weights = parameters
            .iter()
            .map(|(name, values)| (name.clone(), vec![0.0; values.len()]))
            .collect();
        let mut run = Self {
            parameters,
            first: zeros.clone(),
            second: zeros.clone(),
            momentum: zeros,
            told: Vec::new(),
        };
        for step in 1..=STEPS {
            run.step(step, muon);
        }
        run
    }

    fn step(&mut self, step: usize, muon: bool) {
        let batch = Packed.batch(step as u64 - 1);
        let scored = batch.targets.iter().filter(|target| **target != IGNORED);
        let scored = scored.count() as f64;
        let mean = |weights: &Weights| mean_loss(weights, &batch, scored);
        let gradients: Weights = self
            .parameters
            .keys()
            .map(|name| (name.clone(), gradient(&self.parameters, name, &mean)))
            .collect();
        let norm = gradients
            .values()
            .flatten()
            .map(|g| g * g)
            .sum::<f64>()
            .sqrt();
        self.told.push((mean(&self.parameters), norm));
        let clip = if norm > CLIP { CLIP / norm } else { 1.0 };
        for (name, gradient) in gradients {
            let gradient: Vec<f64> = gradient.iter().map(|g| g * clip).collect();
            match muon && is_inner_matrix(&name) {
                true => self.muon(&name, &gradient, RATES[step - 1]),
                false => self.adamw(&name, &gradient, step),
            }
        }
    }

    fn adamw(&mut self, name: &str, gradient: &[f64], step: usize) {
        let [beta1, beta2] = BETAS;
        let rate = RATES[step - 1];
        let decay = if decays(name) { DECAY } else { 0.0 };
        let parameters = self.parameters.get_mut(name).unwrap();
        let (first, second) = (self.first.get_mut(name), self.second.get_mut(name));
        let (first, second) = (first.unwrap(), second.unwrap());
        for (at, g) in gradient.iter().enumerate() {
            first[at] = beta1 * first[at] + (1.0 - beta1) * g;
            second[at] = beta2 * second[at] + (1.0 - beta2) * g * g;
            let mean = first[at] / (1.0 - beta1.powi(step as i32));
            let square = second[at] / (1.0 - beta2.powi(step as i32));
            parameters[at] -= rate * (decay * parameters[at] + mean / (square.sqrt() + EPSILON));
        }
    }

    fn muon(&mut self, name: &str, gradient: &[f64], rate: f64) {
        let shapes = config().parameter_shapes();
        let (_, shape) = shapes.iter().find(|(known, _)| known == name).unwrap();
        let momentum = self.momentum.get_mut(name).unwrap();
        let direction: Vec<f64> = gradient
            .iter()
            .zip(momentum)
            .map(|(g, m)| {
                *m = MOMENTUM * *m + (1.0 - MOMENTUM) * g;
                MOMENTUM * *m + (1.0 - MOMENTUM) * g
            })
            .collect();
        let orthogonal = muon_by_hand::orthogonal(&direction, (shape[0], shape[1]));
        let size = 0.2 * (shape[0].max(shape[1]) as f64).sqrt();
        for (p, u) in self
            .parameters
            .get_mut(name)
            .unwrap()
            .iter_mut()
            .zip(orthogonal)
        {
            *p -= rate * (DECAY * *p + size * u);
        }
    }
}

/// Returns the loss of a batch divided by `scored`, the number of its targets. Computed in f64, without the training
/// loop.
fn mean_loss(weights: &Weights, batch: &Batch, scored: f64) -> f64 {
    loss(&config(), weights, batch) / scored
}

/// Returns true for the parameters to which weight decay applies: the projections and the head, but neither norms nor
/// the embedding.
fn decays(name: &str) -> bool {
    name.ends_with("_proj.weight") || name == "lm_head.weight"
}

fn is_inner_matrix(name: &str) -> bool {
    name.ends_with("_proj.weight")
}

#[derive(Default)]
struct Recorder(RefCell<Vec<StepMetrics>>);

impl Observer for Recorder {
    fn after_step(&mut self, metrics: &StepMetrics) {
        self.0.borrow_mut().push(metrics.clone());
    }
}

/// Trains with the training loop, each batch in `parts` parts. Compares parameters, metrics and saved moments with
/// `expected`.
fn assert_is(expected: &ByHand, optimizer: &str, parts: usize, recompute: bool) {
    let what = format!("{optimizer} in {parts} parts, recompute {recompute}");
    let root = tempfile::tempdir().unwrap();
    let folder = RunFolder::open(&root.path().join("run"), CONFIG, false).unwrap();
    let mut case = Case::new();
    case.training = training(&format!(
        "steps = {STEPS}\nbatch_size = 4\nsequence_length = 6\nlearning_rate = {PEAK}\nwarmup_steps = 2\n\
         minimum_learning_rate_ratio = 0.1\naccumulation_steps = {parts}\ngradient_clip = {CLIP}\n\
         weight_decay = {DECAY}\nepsilon = {EPSILON}\noptimizer = \"{optimizer}\"\nmomentum = {MOMENTUM}"
    ));
    let objective = Bare(model().with_recompute(recompute));
    let (mut told, stop) = (Recorder::default(), AtomicBool::new(false));
    let outcome = case.settings(&stop, |settings| {
        let settings = polymath_train::Fit {
            data_fingerprint: settings.data_fingerprint.clone(),
            ..*settings
        };
        let batches: &dyn BatchSource = &Packed;
        fit(
            &settings,
            &folder,
            TrainingTask {
                objective: &objective,
                batches,
            },
            &mut Scores(0),
            &mut told,
        )
    });
    outcome.unwrap();

    let told = told.0.into_inner();
    assert_eq!(told.len(), STEPS);
    for ((metrics, (loss, norm)), rate) in told.iter().zip(&expected.told).zip(RATES) {
        let near = |found: f64, expected: f64| (found - expected).abs() < 2e-4 * expected;
        assert!(
            near(metrics.loss, *loss),
            "{what}: {metrics:?}, loss {loss}"
        );
        assert!(
            near(metrics.gradient_norm, *norm),
            "{what}: {metrics:?}, norm {norm}"
        );
        assert!(
            (metrics.learning_rate - rate).abs() < 1e-12,
            "{what}: {metrics:?}"
        );
    }
    let start = weights(&model());
    for (name, found) in weights(&objective.0) {
        assert_moved(
            &format!("{what}, `{name}`"),
            (&found, &expected.parameters[&name]),
            &start[&name],
        );
    }
    let saved = root.path().join("run/latest/optimizer.safetensors");
    let saved = candle_core::safetensors::load(saved, &Device::Cpu).unwrap();
    for name in start.keys() {
        let zeros = vec![0.0; start[name].len()];
        let kept: &[(&str, &Weights)] = match optimizer == "muon" && is_inner_matrix(name) {
            true => &[("momentum", &expected.momentum)],
            false => &[
                ("first_moment", &expected.first),
                ("second_moment", &expected.second),
            ],
        };
        for (kind, expected) in kept {
            let found = elements(&saved[&format!("{name}.{kind}")]);
            assert_moved(
                &format!("{what}, `{name}.{kind}`"),
                (&found, &expected[name]),
                &zeros,
            );
        }
    }
}

/// Asserts that `found` equals `expected` within a tolerance: a share of the largest change of any element since
/// `start`.
fn assert_moved(what: &str, (found, expected): (&[f64], &[f64]), start: &[f64]) {
    assert!(found.iter().all(|x| x.is_finite()), "{what}");
    let largest = |a: &[f64], b: &[f64]| {
        let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        apart.fold(0.0, f64::max)
    };
    let (error, way) = (largest(found, expected), largest(expected, start));
    assert!(
        error < 1e-3 * way,
        "{what}: off by {error} after a way of {way}"
    );
}

/// Checks five AdamW updates, some of them clipped and computed at once or in parts, against the separate
/// computation.
#[test]
fn adamw_matches_the_hand_computation() {
    let expected = ByHand::run(false);
    let norms = expected.told.iter().map(|(_, norm)| *norm);
    let clipped = norms.clone().filter(|norm| *norm > CLIP).count();
    assert!(
        (1..STEPS).contains(&clipped),
        "{:?}",
        norms.collect::<Vec<_>>()
    );
    for (parts, recompute) in [(1, false), (2, false), (4, true)] {
        assert_is(&expected, "adamw", parts, recompute);
    }
}

/// Checks updates with Muon for the matrices of the layers against the separate computation.
#[test]
fn muon_matches_the_hand_computation() {
    let expected = ByHand::run(true);
    for parts in [1, 4] {
        assert_is(&expected, "muon", parts, false);
    }
}
