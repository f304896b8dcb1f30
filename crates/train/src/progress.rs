//! Progress of a run from step to step: measurements, due evaluations and checkpoints, and notifications of the
//! observer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::checkpoint::{Best, RunState};
use crate::metrics::{Metrics, MetricsFile, read_metrics};
use crate::{
    ControlPlan, Controller, EvaluationMetrics, Fit, Monitor, Observer, Optimizer, Outcome,
    RunFolder, SaveModel, StepMetrics, TrainError,
};

/// Result of the evaluation after a step, if one was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluated {
    /// No evaluation was due after the step.
    No,
    /// The model was evaluated, and an earlier score is at least as good.
    NotBest,
    /// The model was evaluated, and its score is the best so far.
    Best,
    /// An evaluation was due but skipped or broken off, because the run is being stopped.
    Stopped,
}

/// Run in progress: its state, its metrics file, its evaluator and its observer.
pub struct TrainingProgress<'a> {
    /// State of the run after the last step, which the next checkpoint will contain.
    pub state: RunState,
    fit: &'a Fit<'a>,
    run: &'a RunFolder,
    metrics: MetricsFile,
    monitor: Monitor<'a>,
    /// Plans of the controller that the training loop has not applied yet.
    plans: Vec<ControlPlan>,
    observer: &'a mut dyn Observer,
    /// Lowest bits per byte of each domain so far.
    lowest: BTreeMap<String, f64>,
    /// Number of steps done by this process and the seconds that they took, for the estimate of the remaining time.
    pace: (u64, f64),
}

impl<'a> TrainingProgress<'a> {
    /// Starts a run, or resumes it from the newest checkpoint in its folder.
    pub fn begin(
        fit: &'a Fit<'a>,
        run: &'a RunFolder,
        monitor: Monitor<'a>,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let evaluator = &*monitor.evaluator;
        for skipped in run.skipped() {
            observer.message(skipped);
        }
        let state = match run.resumed() {
            None => RunState::fresh(fit.seed, &fit.data_fingerprint, evaluator.chosen_on()),
            Some(from) if from.state.data_fingerprint == fit.data_fingerprint => from.state.clone(),
            Some(from) => {
                return Err(TrainError::Run(format!(
                    "the data have changed since `{}` was saved: resume on the dataset it was started with, or \
                     choose another `run`",
                    from.path.display()
                )));
            }
        };
        run.prepare_resume(fit.checkpoint)?;
        if let Some(note) = evaluator.warning() {
            observer.message(&note);
        }
        let metrics = run.metrics()?;
        if let Some(note) = metrics.note() {
            observer.message(&note);
        }
        let mut lowest = BTreeMap::new();
        for earlier in read_metrics(run.path())? {
            if let Metrics::Evaluation(found) = earlier {
                take_lower(&mut lowest, &found.heldout_bits_per_byte);
            }
        }
        Ok(Self {
            state,
            fit,
            run,
            metrics,
            lowest,
            plans: (monitor.controller.as_ref()).map_or_else(Vec::new, |plans| plans.plans()),
            monitor,
            observer,
            pace: (0, 0.0),
        })
    }

    /// Evaluates before the first step if the settings ask for it, or if the run was stopped when an evaluation was
    /// due. In the second case, calls `save` to save the checkpoint again, since it lacks the result of the evaluation.
    pub fn evaluate_what_is_due(
        &mut self,
        total: u64,
        save: impl FnOnce(&mut Self) -> Result<(), TrainError>,
    ) -> Result<Evaluated, TrainError> {
        self.observer.begin(self.state.step, total);
        let first = self.run.resumed().is_none() && self.fit.evaluate_first;
        if !first && !self.state.evaluation_due {
            return Ok(Evaluated::No);
        }
        let evaluated = self.measure()?;
        if self.state.step > 0 && evaluated != Evaluated::Stopped {
            self.state.evaluation_due = false;
            self.mark(evaluated, total);
            save(self)?;
        }
        Ok(evaluated)
    }

    /// Records the metrics of one step in `metrics.jsonl`, and notifies the observer.
    pub fn record(&mut self, step: StepMetrics) -> Result<(), TrainError> {
        self.metrics.write(&step)?;
        tracing::debug!(
            step = step.step,
            loss = step.loss,
            learning_rate = step.learning_rate,
            gradient_norm = step.gradient_norm,
            tokens_per_second = step.tokens_per_second,
            "step"
        );
        self.pace.0 += 1;
        self.pace.1 += step.seconds - self.state.seconds;
        self.state.step = step.step;
        self.state.tokens = step.tokens;
        self.state.seconds = step.seconds;
        self.observer.after_step(&step);
        Ok(())
    }

    /// Estimates the seconds until the last step, at the average pace of this process. `seconds` is the duration of
    /// the step that was just done.
    pub fn seconds_left(&self, seconds: f64, total: u64) -> f64 {
        let (steps, spent) = (self.pace.0 + 1, self.pace.1 + seconds);
        spent / steps as f64 * (total - self.state.step - 1) as f64
    }

    /// Evaluates if an evaluation is due. A run that is being stopped must exit within seconds: it only records that
    /// the evaluation is due, and evaluates after resuming.
    pub fn evaluate(&mut self, total: u64) -> Result<Evaluated, TrainError> {
        let step = self.state.step;
        let due = step == total || self.fit.evaluation.every.is_due(step);
        let evaluated = match due {
            false => Evaluated::No,
            true if self.is_stopping() => Evaluated::Stopped,
            true => self.measure()?,
        };
        self.state.evaluation_due = evaluated == Evaluated::Stopped;
        self.mark(evaluated, total);
        Ok(evaluated)
    }

    /// Marks the state as finished or not, and as saved only because of a stop or not.
    fn mark(&mut self, evaluated: Evaluated, total: u64) {
        self.state.finished = self.state.step == total && !self.state.evaluation_due;
        self.state.stopped = !self.is_checkpoint(evaluated);
    }

    /// Returns true if a checkpoint is due after the current step, whether or not the run is being stopped.
    pub fn is_checkpoint(&self, evaluated: Evaluated) -> bool {
        let (step, kept) = (self.state.step, self.fit.checkpoint);
        evaluated == Evaluated::Best
            || self.state.finished
            || kept.milestones.contains(&step)
            || kept.every.is_due(step)
    }

    /// Returns the controller's plans that the training loop has not applied yet: after resuming those of the
    /// checkpoint, later the new ones.
    pub fn take_plans(&mut self) -> Vec<ControlPlan> {
        std::mem::take(&mut self.plans)
    }

    /// Returns true if the run was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.fit.stop.load(Ordering::SeqCst)
    }

    /// Tells the observer that training has ended.
    pub fn end(&mut self) {
        self.observer.end();
    }

    /// Saves a checkpoint of the model, the optimizer and the controller's state.
    pub fn save(&mut self, model: &dyn SaveModel, optimizer: &Optimizer) -> Result<(), TrainError> {
        let kept = self.fit.checkpoint;
        self.metrics.sync()?;
        let model = Controlled {
            model,
            controller: self.monitor.controller.as_deref(),
        };
        let path = self.run.save(self.state.clone(), &model, optimizer, kept)?;
        tracing::info!(step = self.state.step, path = %path.display(), "checkpoint");
        self.observer.after_checkpoint(&path);
        Ok(())
    }

    /// Returns the outcome of the finished run.
    pub fn finished(&self) -> Outcome {
        Outcome::of(&self.state)
    }

    fn measure(&mut self) -> Result<Evaluated, TrainError> {
        let (observer, stop) = (&mut *self.observer, self.fit.stop);
        let Monitor {
            evaluator,
            controller,
        } = &mut self.monitor;
        let bits_per_byte = evaluator.evaluate(&mut |done, all| {
            observer.evaluating(done, all);
            match stop.load(Ordering::SeqCst) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let bits_per_byte = match bits_per_byte {
            Err(TrainError::Stopped) => return Ok(Evaluated::Stopped),
            other => other?,
        };
        let score = evaluator.score(&bits_per_byte);
        let (mut control, mut notes) = (evaluator.control(), Vec::from_iter(evaluator.note()));
        if let Some(controller) = controller {
            let plan = controller.plan(self.state.step, &evaluator.limit_shares());
            self.plans.extend(plan);
            control.extend(controller.control());
            notes.extend(controller.note());
        }
        let first = self.lowest.is_empty();
        let mut lowest = take_lower(&mut self.lowest, &bits_per_byte);
        if first {
            lowest.clear(); // the first evaluation has nothing to compare with
        }
        let found = EvaluationMetrics {
            step: self.state.step,
            tokens: self.state.tokens,
            seconds: self.state.seconds,
            heldout_bits_per_byte: bits_per_byte,
            control,
            lowest,
            score_name: evaluator.score_name(),
            score: Some(score),
        };
        self.metrics.write(&found)?;
        // The initial weights are not a result of the run, and NaN never replaces a score.
        let better = self.state.step > 0
            && !score.is_nan()
            && self
                .state
                .best
                .is_none_or(|best| score.is_better_than(best.score));
        if better {
            self.state.best = Some(Best {
                step: self.state.step,
                score,
            });
        }
        tracing::info!(step = found.step, ?score, best = better, "evaluation");
        self.observer.after_evaluation(&found, better);
        if !notes.is_empty() {
            self.observer.message(&notes.join("; "));
        }
        Ok(match better {
            true => Evaluated::Best,
            false => Evaluated::NotBest,
        })
    }
}

/// Model and controller state that are saved together in a checkpoint.
struct Controlled<'a> {
    model: &'a dyn SaveModel,
    controller: Option<&'a dyn Controller>,
}

impl SaveModel for Controlled<'_> {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        if let Some(controller) = self.controller {
            controller.save(folder)?;
        }
        self.model.save(folder)
    }
}

/// Lowers the value of each domain in `lowest` to the bits per byte of an evaluation, if these are lower. Returns the
/// domains that improved.
fn take_lower(
    lowest: &mut BTreeMap<String, f64>,
    found: &BTreeMap<String, f64>,
) -> BTreeSet<String> {
    let lower = |(name, bits): &(&String, &f64)| {
        !bits.is_nan() && lowest.get(*name).is_none_or(|before| *bits < before)
    };
    let lower: Vec<_> = found.iter().filter(lower).collect();
    for (name, bits) in &lower {
        lowest.insert((*name).clone(), **bits);
    }
    lower.into_iter().map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the lowest bits per byte so far are tracked for each domain separately.
    #[test]
    fn lowest_values_are_tracked_per_domain() {
        let bits = |law, plays| BTreeMap::from([("law".into(), law), ("plays".into(), plays)]);
        let mut lowest = bits(2.0, 3.0);
        let names = |found: BTreeSet<String>| found.into_iter().collect::<Vec<_>>();
        assert_eq!(names(take_lower(&mut lowest, &bits(1.5, 3.5))), ["law"]);
        assert_eq!(names(take_lower(&mut lowest, &bits(1.5, 2.9))), ["plays"]);
        assert!(take_lower(&mut lowest, &bits(1.6, f64::NAN)).is_empty());
        assert_eq!(lowest, bits(1.5, 2.9));
    }
}
