//! Weight, log entry and clipping of terms that are added to the loss.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::{Tensor, Var};
use polymath_data::Batch;
use polymath_train::{
    Losses, Objective, Observer, Penalty, RunFolder, SaveModel, StepMetrics, TrainError, fit,
};

use crate::support::table::{CONFIG, Case, Scores, Steps, Table, training};

/// Penalty strength·Σ parameter on the parameter `offset`; its gradient is the strength.
struct Slope(f64);

impl Penalty for Slope {
    fn name(&self) -> &'static str {
        "slope"
    }

    fn add(
        &self,
        parameters: &BTreeMap<String, Var>,
        gradients: &mut BTreeMap<String, Tensor>,
        scale: f64,
    ) -> Result<f64, TrainError> {
        let gradient = gradients.remove("offset").unwrap();
        gradients.insert("offset".into(), (gradient + scale * self.0)?);
        let value = parameters["offset"].sum_all()?.to_scalar::<f32>()?;
        Ok(self.0 * f64::from(value))
    }
}

/// A table with a linear term beside its loss, as a penalty or in each batch's graph.
struct Sloping {
    table: Table,
    penalties: Vec<Box<dyn Penalty>>,
    in_graph: f64,
}

impl Sloping {
    fn new(penalty: f64, in_graph: f64) -> Self {
        Self {
            table: Table::new(),
            penalties: vec![Box::new(Slope(penalty))],
            in_graph,
        }
    }
}

impl Objective for Sloping {
    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        self.table.loss(batch)
    }

    fn losses(&self, batch: &Batch) -> Result<Losses, TrainError> {
        // A sum over the batch's tokens, like the loss.
        let tokens = batch.targets.len() as f64;
        let offset = self.table.parameters["offset"].sum_all()?;
        let beside = (offset * (tokens * self.in_graph))?;
        Losses::of_task(self.loss(batch)?).with("in graph", beside)
    }

    fn penalties(&self) -> &[Box<dyn Penalty>] {
        &self.penalties
    }

    fn trainable(&self) -> &BTreeMap<String, Var> {
        self.table.trainable()
    }
}

impl SaveModel for Sloping {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        self.table.save(folder)
    }
}

/// Keeps the metrics of every step.
#[derive(Default)]
struct Recorder(RefCell<Vec<StepMetrics>>);

impl Observer for Recorder {
    fn after_step(&mut self, metrics: &StepMetrics) {
        self.0.borrow_mut().push(metrics.clone());
    }
}

/// Trains for three steps, and returns the parameters and the metrics of each step.
fn run(objective: &Sloping, parts: usize) -> (Vec<f32>, Vec<StepMetrics>) {
    let root = tempfile::tempdir().unwrap();
    let folder = RunFolder::open(&root.path().join("run"), CONFIG, false).unwrap();
    let mut case = Case::new();
    case.training = training(&format!(
        "steps = 3\nbatch_size = 4\nsequence_length = 2\nlearning_rate = 0.05\naccumulation_steps = {parts}\n\
         gradient_clip = 0.0"
    ));
    let (mut seen, stop) = (Recorder::default(), AtomicBool::new(false));
    let outcome = case.settings(&stop, |settings| {
        fit(
            settings,
            &folder,
            (objective, &Steps),
            &mut Scores(0),
            &mut seen,
        )
    });
    outcome.unwrap();
    let bits = objective.table.bits();
    (
        bits.into_iter().map(f32::from_bits).collect(),
        seen.0.into_inner(),
    )
}

/// Adds a penalty to the *mean* loss, whether as a known gradient or in the graph, for any number of parts. Logs it by
/// its name, and leaves it out of `loss`.
#[test]
fn penalties_are_added_to_the_mean_loss() {
    let (expected, metrics) = run(&Sloping::new(0.5, 0.0), 1);
    let (plain, without) = run(&Sloping::new(0.0, 0.0), 1);
    assert_ne!(expected, plain);
    for (other, parts) in [
        (Sloping::new(0.0, 0.5), 1),
        (Sloping::new(0.5, 0.0), 4),
        (Sloping::new(0.25, 0.25), 2),
    ] {
        let (found, other) = run(&other, parts);
        for (a, b) in expected.iter().zip(&found) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        for (a, b) in metrics.iter().zip(&other) {
            let sum = |step: &StepMetrics| step.penalties.values().sum::<f64>();
            assert!((sum(a) - sum(b)).abs() < 1e-5, "{a:?} {b:?}");
            assert!((a.gradient_norm - b.gradient_norm).abs() < 1e-4);
        }
    }
    // Before the first step the offset is 0.5.
    assert!((metrics[0].penalties["slope"] - 0.25).abs() < 1e-6);
    assert_eq!(metrics[0].loss, without[0].loss);
    assert_ne!(metrics[0].gradient_norm, without[0].gradient_norm);
}
