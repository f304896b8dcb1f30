//! Estimate of a run's duration before it starts, from timing a few of its own steps.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use polymath_data::{Batch, IGNORED};
use polymath_ops::{Ops, UpdateAt};
use serde::Serialize;

use crate::backward::backward;
use crate::checkpoint::OPTIMIZER;
use crate::{
    Checkpointing, Evaluation, Evaluator, Interval, Objective, Optimizer, SaveModel, TrainError,
    Training, TrainingTask,
};

/// Number of steps that are timed, after one untimed step that fills caches and memory pools.
const TIMED: u64 = 2;
/// Time after which a timed evaluation is cut off. Its whole duration is then extrapolated in proportion to the tokens.
const GLANCE: Duration = Duration::from_secs(2);
/// Number of steps whose batches are searched for one that has targets.
const LOOKED_AT: u64 = 1000;

/// Estimated duration of a run, part by part.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Parts of the run (such as steps or evaluations) in the order in which they happen.
    pub parts: Vec<CostPart>,
}

/// Estimated duration of one part of a run, such as all its evaluations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostPart {
    /// Name of the work in this part, with the number of times that it is done.
    pub name: String,
    /// Total duration of this part, in seconds.
    pub seconds: f64,
}

impl Cost {
    /// Adds a part that consists of `times` repetitions of `seconds` each.
    pub fn add(&mut self, name: impl Into<String>, times: u64, seconds: f64) {
        self.parts.push(CostPart {
            name: name.into(),
            seconds: times as f64 * seconds,
        });
    }

    /// Returns the estimated duration of the whole run in seconds.
    pub fn seconds(&self) -> f64 {
        self.parts.iter().map(|part| part.seconds).sum()
    }
}

/// Number of evaluations and of checkpoints in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluationCounts {
    /// Number of evaluations, including that of the initial weights.
    pub evaluations: u64,
    /// Maximum number of checkpoints, reached if every evaluation is the best so far.
    pub checkpoints: u64,
}

impl EvaluationCounts {
    /// Counts the evaluations and checkpoints of a run of `total` steps.
    pub fn of(
        total: u64,
        (evaluation, checkpoint): (&Evaluation, &Checkpointing),
        evaluate_first: bool,
    ) -> Self {
        let number = |every: Interval| match every {
            Interval::Steps(every) => total.div_ceil(every.max(1)),
            Interval::Word(_) => 1,
        };
        let evaluations = number(evaluation.every);
        let milestones = checkpoint
            .milestones
            .iter()
            .filter(|step| **step <= total)
            .count() as u64;
        // If one interval divides the other, the steps of the longer are steps of the shorter.
        let both = match (evaluation.every, checkpoint.every) {
            (Interval::Steps(one), Interval::Steps(other))
                if !one.is_multiple_of(other) && !other.is_multiple_of(one) =>
            {
                evaluations + number(checkpoint.every)
            }
            _ => evaluations.max(number(checkpoint.every)),
        };
        Self {
            evaluations: evaluations + u64::from(evaluate_first),
            checkpoints: (both + milestones).min(total.max(1)),
        }
    }
}

/// Measured duration of an optimizer step and of saving a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepTime {
    /// Duration of one optimizer step in seconds, including making its batch.
    pub step: f64,
    /// Duration of saving one checkpoint, in seconds.
    pub checkpoint: f64,
}

/// Measures the duration of a few steps as [`crate::fit`] does them, and of saving a checkpoint into the empty folder
/// `scratch`. The steps may change the objective's parameters.
///
/// # Errors
/// Fails if the objective or the disk fails, or if no batch has anything to learn.
pub fn time_steps<O: Objective + SaveModel>(
    training: &Training,
    task: TrainingTask<O>,
    ops: Ops,
    scratch: &Path,
) -> Result<StepTime, TrainError> {
    let TrainingTask { objective, batches } = task;
    let parameters = objective.trainable();
    let mut optimizer = Optimizer::new(training, parameters, ops)?;
    let is_of_use = |batch: &Batch| batch.targets.iter().any(|target| *target != IGNORED);
    let steps = (0..LOOKED_AT).filter(|step| is_of_use(&batches.batch(*step)));
    let mut seconds = Vec::new();
    for (number, step) in (0..=TIMED).zip(steps) {
        let begin = Instant::now();
        let batch = batches.batch(step);
        objective.begin_step(0, step);
        let found = backward(objective, &batch, training.accumulation_steps, 1.0)?;
        let norm = optimizer.gradient_norm(&found.gradients)?;
        let update = UpdateAt {
            step: number + 1,
            gradient_scale: 1.0 / norm.max(found.scored),
        };
        // A rate of next to nothing: the steps measure time.
        optimizer.step(parameters, &found.gradients, update, f64::MIN_POSITIVE)?;
        if let Some(any) = parameters.values().next() {
            any.device().synchronize()?;
        }
        seconds.push(begin.elapsed().as_secs_f64());
    }
    let [_, timed @ ..] = &seconds[..] else {
        return Err(TrainError::Config(
            "no batch has a position to learn: there is nothing to train on".into(),
        ));
    };
    let timed = if timed.is_empty() {
        &seconds[..]
    } else {
        timed
    };
    Ok(StepTime {
        step: timed.iter().sum::<f64>() / timed.len() as f64,
        checkpoint: time_checkpoint(objective, &optimizer, scratch)?,
    })
}

/// Measures the duration of saving a checkpoint in seconds: writes model and optimizer state, and computes the files'
/// SHA-256.
fn time_checkpoint(
    model: &impl SaveModel,
    optimizer: &Optimizer,
    scratch: &Path,
) -> Result<f64, TrainError> {
    let begin = Instant::now();
    model.save(scratch)?;
    optimizer.save(&scratch.join(OPTIMIZER))?;
    let entries = std::fs::read_dir(scratch).map_err(TrainError::file("read", scratch))?;
    for entry in entries {
        let path = entry.map_err(TrainError::file("read", scratch))?.path();
        if path.is_file() {
            crate::sha256_of(&path)?;
        }
    }
    Ok(begin.elapsed().as_secs_f64())
}

/// Measures the duration of one evaluation in seconds. A long evaluation is cut off, and its duration is extrapolated.
///
/// # Errors
/// Fails if the evaluation does.
pub fn time_evaluation(evaluator: &mut dyn Evaluator) -> Result<f64, TrainError> {
    let begin = Instant::now();
    let mut seen = (0, 0, 0.0);
    let found: Result<BTreeMap<String, f64>, TrainError> = evaluator.evaluate(&mut |done, all| {
        let seconds = begin.elapsed().as_secs_f64();
        seen = (done, all, seconds);
        match done > 0 && begin.elapsed() > GLANCE {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match (found, seen) {
        (Ok(_), _) => Ok(begin.elapsed().as_secs_f64()),
        (Err(TrainError::Stopped), (done, all, seconds)) if done > 0 => {
            Ok(seconds * all as f64 / done as f64)
        }
        (Err(error), _) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Score;

    /// Evaluator that takes a time for each of ten tokens.
    struct Slow(Duration);

    impl Evaluator for Slow {
        fn evaluate(
            &mut self,
            progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
        ) -> Result<BTreeMap<String, f64>, TrainError> {
            for done in 1..=10 {
                std::thread::sleep(self.0);
                if progress(done, 10).is_break() {
                    return Err(TrainError::Stopped);
                }
            }
            Ok(BTreeMap::new())
        }

        fn score(&self, _: &BTreeMap<String, f64>) -> Score {
            Score::within(0.0)
        }
    }

    /// Checks that a long evaluation is cut off, and that its whole time is what the rest would take at the same pace.
    #[test]
    fn a_long_evaluation_is_extrapolated() {
        let begin = Instant::now();
        let said = time_evaluation(&mut Slow(GLANCE / 2 + Duration::from_millis(50))).unwrap();
        let taken = begin.elapsed().as_secs_f64();
        assert!((said - 5.0 * taken).abs() < 0.2 * said, "{said} {taken}");
        let said = time_evaluation(&mut Slow(Duration::from_millis(5))).unwrap();
        assert!((0.05..2.0).contains(&said), "{said}");
    }

    /// Checks that a part costs its repetitions, and the run all of its parts.
    #[test]
    fn a_cost_adds_up_its_parts() {
        let mut cost = Cost::default();
        cost.add("steps", 7, 0.5);
        cost.add("evaluations", 2, 1.25);
        let seconds: Vec<f64> = cost.parts.iter().map(|part| part.seconds).collect();
        assert_eq!((seconds, cost.seconds()), (vec![3.5, 2.5], 6.0));
    }

    /// Checks that the function counts as many evaluations and checkpoints as the training loop makes.
    #[test]
    fn occasions_are_counted() {
        let of = |total, evaluate, save, milestones: &[u64]| {
            let evaluation = Evaluation {
                every: evaluate,
                max_tokens: 1,
            };
            let checkpoint = Checkpointing {
                every: save,
                keep: 2,
                milestones: milestones.to_vec(),
            };
            let found = EvaluationCounts::of(total, (&evaluation, &checkpoint), true);
            (found.evaluations, found.checkpoints)
        };
        let every = Interval::Steps;
        assert_eq!(of(20, every(5), every(5), &[]), (5, 4));
        assert_eq!(of(22, every(5), every(10), &[]), (6, 5));
        assert_eq!(of(20, Interval::NEVER, Interval::NEVER, &[3, 99]), (2, 2));
        assert_eq!(of(20, every(20), every(1), &[]), (2, 20));
        assert_eq!(of(30, every(3), every(5), &[]), (11, 16));
        assert_eq!(of(30, every(3), every(5), &[7, 30, 31]), (11, 18));
        assert_eq!(of(3, every(2), every(3), &[1, 2]), (3, 3));
        assert_eq!(of(30, every(4), every(12), &[]), (9, 8));
        assert_eq!(of(30, every(4), Interval::NEVER, &[]), (9, 8));
        assert_eq!(of(0, every(4), every(4), &[]), (1, 0));
    }
}
