//! Tests of terms that are added to the loss: their weight, log entry and clipping.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use candle_core::{Tensor, Var};
use polymath_data::Batch;
use polymath_train::{
    BatchSource, ControlPlan, Controller, Losses, Monitor, Objective, Observer, Penalty, RunFolder,
    SaveModel, StepMetrics, TrainError, TrainingTask, fit, fit_controlled,
};

use crate::support::table::{CONFIG, Case, Scores, Steps, StopAfter, Table, training};

/// Penalty strength·Σ parameter on the parameter named `offset`. Its gradient is the constant `strength`.
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

/// Table objective with an additional linear term, which is either a penalty or a part of each batch's graph.
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

    fn losses(&self, batch: &Batch, _: f64) -> Result<Losses, TrainError> {
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

/// Observer that stores the metrics of every step.
#[derive(Default)]
struct Recorder(RefCell<Vec<StepMetrics>>);

impl Observer for Recorder {
    fn after_step(&mut self, metrics: &StepMetrics) {
        self.0.borrow_mut().push(metrics.clone());
    }
}

/// Trains the objective for three steps. Returns the parameters and the metrics of each step.
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
            TrainingTask {
                objective,
                batches: &Steps,
            },
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

/// Checks that a penalty is added to the *mean* loss, by its direct gradient or in the graph, for any number of
/// parts. It is logged by its name and not included in `loss`.
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
    // Before the first step, the offset is 0.5.
    assert!((metrics[0].penalties["slope"] - 0.25).abs() < 1e-6);
    assert_eq!(metrics[0].loss, without[0].loss);
    assert_ne!(metrics[0].gradient_norm, without[0].gradient_norm);
}

/// Controller whose plan after step n has the strength n.
#[derive(Default)]
struct Steering(Vec<u64>);

fn plan(step: u64) -> ControlPlan {
    ControlPlan {
        step,
        strength: step as f64,
        replay: None,
    }
}

impl Controller for Steering {
    fn plan(&mut self, step: u64, _: &BTreeMap<String, f64>) -> Option<ControlPlan> {
        self.0.retain(|planned| *planned < step);
        self.0.push(step);
        Some(plan(step)).filter(|_| step > 0)
    }

    fn plans(&self) -> Vec<ControlPlan> {
        self.0
            .iter()
            .copied()
            .filter(|step| *step > 0)
            .map(plan)
            .collect()
    }

    fn save(&self, checkpoint: &Path) -> Result<(), TrainError> {
        let text = serde_json::to_string(&self.0).unwrap();
        std::fs::write(checkpoint.join("steering.json"), text).unwrap();
        Ok(())
    }
}

/// Batch source that switches to the batches of other steps after each plan.
struct Following(Vec<u64>);

impl BatchSource for Following {
    fn batch(&self, step: u64) -> Batch {
        let plans = self.0.iter().filter(|planned| **planned <= step);
        Steps.batch(step + plans.count() as u64)
    }

    fn follow(&self, plan: &ControlPlan) -> Result<Option<Box<dyn BatchSource>>, TrainError> {
        let plans = self.0.iter().copied().chain([plan.step]);
        Ok(Some(Box::new(Self(plans.collect()))))
    }
}

/// Values that one step of training used: the strength, the targets and the scale of the penalty.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    strength: f64,
    targets: Vec<u32>,
    scale: f64,
}

/// Objective that records the values that each step uses. It has a penalty whose value and gradient are 1.
struct Noting {
    table: Table,
    penalties: Vec<Box<dyn Penalty>>,
    seen: Rc<RefCell<Vec<Seen>>>,
}

struct NotingPenalty(Rc<RefCell<Vec<Seen>>>);

impl Penalty for NotingPenalty {
    fn name(&self) -> &'static str {
        "one"
    }

    fn add(
        &self,
        _: &BTreeMap<String, Var>,
        gradients: &mut BTreeMap<String, Tensor>,
        scale: f64,
    ) -> Result<f64, TrainError> {
        self.0.borrow_mut().last_mut().unwrap().scale = scale;
        let gradient = gradients.remove("offset").unwrap();
        gradients.insert("offset".into(), (gradient + scale)?);
        Ok(1.0)
    }
}

impl Noting {
    fn new(table: Table) -> Self {
        let seen = Rc::default();
        Self {
            table,
            penalties: vec![Box::new(NotingPenalty(Rc::clone(&seen)))],
            seen,
        }
    }
}

impl Objective for Noting {
    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        self.table.loss(batch)
    }

    fn losses(&self, batch: &Batch, strength: f64) -> Result<Losses, TrainError> {
        self.seen.borrow_mut().push(Seen {
            strength,
            targets: batch.targets.clone(),
            scale: 0.0,
        });
        Ok(Losses::of_task(self.loss(batch)?))
    }

    fn penalties(&self) -> &[Box<dyn Penalty>] {
        &self.penalties
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

/// Trains for six steps with a controller. Returns the values that the steps used, the weights and the logged
/// penalties.
fn controlled(path: &Path, stop_after: u64) -> (Vec<Seen>, Vec<u32>, Vec<f64>) {
    let folder = RunFolder::open(path, CONFIG, path.exists()).unwrap();
    let (mut table, mut steering, mut scores) = (Table::new(), Steering::default(), Scores(0));
    if let Some(from) = folder.resumed() {
        table = Table::load(&from.path);
        let saved = std::fs::read_to_string(from.path.join("steering.json")).unwrap();
        steering = Steering(serde_json::from_str(&saved).unwrap());
        scores = Scores(1 + from.state.step / 2);
    }
    let objective = Noting::new(table);
    let mut case = Case::new();
    case.training =
        training("steps = 6\nbatch_size = 4\nsequence_length = 2\nlearning_rate = 0.05");
    let (mut told, stop) = (Recorder::default(), AtomicBool::new(false));
    let mut stopping = Stopping(StopAfter(stop_after, &stop), &mut told);
    let outcome = case.settings(&stop, |settings| {
        let monitor = Monitor {
            evaluator: &mut scores,
            controller: Some(&mut steering),
        };
        let task = TrainingTask {
            objective: &objective,
            batches: &Following(Vec::new()),
        };
        fit_controlled(settings, &folder, task, monitor, &mut stopping)
    });
    outcome.unwrap();
    let told = told.0.into_inner();
    let penalties = told.iter().map(|step| step.penalties["one"]);
    (
        objective.seen.take(),
        objective.table.bits(),
        penalties.collect(),
    )
}

/// Observer that records the metrics and sets the stop flag after a step.
struct Stopping<'a>(StopAfter<'a>, &'a mut Recorder);

impl Observer for Stopping<'_> {
    fn after_step(&mut self, metrics: &StepMetrics) {
        self.0.after_step(metrics);
        self.1.after_step(metrics);
    }
}

/// Checks that a plan holds from the step after its evaluation to the next evaluation, for the objective, the
/// penalties and the batches, and that a resumed run follows the plans of its checkpoint to the same bits.
#[test]
fn a_plan_holds_until_the_next_evaluation() {
    let root = tempfile::tempdir().unwrap();
    let (seen, bits, penalties) = controlled(&root.path().join("straight"), 99);
    let expected = [(1.0, 0), (1.0, 1), (2.0, 3), (2.0, 4), (4.0, 6), (4.0, 7)];
    let expected = expected.map(|(strength, step)| Seen {
        strength,
        targets: Steps.batch(step).targets,
        scale: 8.0 * strength,
    });
    assert_eq!(seen, expected);
    assert_eq!(penalties, expected.each_ref().map(|seen| seen.strength));
    for stopped in [1, 2, 3, 5] {
        let path = root.path().join(format!("stopped-{stopped}"));
        let (before, ..) = controlled(&path, stopped);
        let (after, resumed, _) = controlled(&path, 99);
        assert_eq!([before, after].concat(), seen, "{stopped}");
        assert_eq!(resumed, bits, "{stopped}");
    }
}
