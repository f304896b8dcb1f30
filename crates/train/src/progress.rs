//! Where a run stands between two steps: what it has measured, what is due, and who is told.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use crate::checkpoint::{Best, State};
use crate::metrics::{Metrics, MetricsFile, read_metrics};
use crate::{
    EvaluationMetrics, Evaluator, Fit, Observer, Optimizer, Outcome, RunFolder, SaveModel,
    StepMetrics, TrainError,
};

/// What became of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluated {
    /// None was due.
    No,
    /// Done; an earlier one is as good or better.
    NotBest,
    /// Done; the best so far.
    Best,
    /// Due, and not done: the run was asked to stop.
    Stopped,
}

/// A run in progress.
pub struct Progress<'a> {
    /// What the next checkpoint will say.
    pub state: State,
    fit: &'a Fit<'a>,
    run: &'a RunFolder,
    metrics: MetricsFile,
    evaluator: &'a mut dyn Evaluator,
    observer: &'a mut dyn Observer,
    /// The lowest bits per byte of each domain so far.
    lowest: BTreeMap<String, f64>,
    /// Steps and seconds since this process began, for the time left.
    pace: (u64, f64),
}

impl<'a> Progress<'a> {
    /// Takes up the run where its folder stands.
    pub fn begin(
        fit: &'a Fit<'a>,
        run: &'a RunFolder,
        evaluator: &'a mut dyn Evaluator,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, TrainError> {
        for skipped in run.skipped() {
            observer.message(skipped);
        }
        let state = match run.resumed() {
            None => State::fresh(fit.seed, &fit.data_fingerprint, evaluator.chosen_on()),
            Some(from) if from.state.data_fingerprint == fit.data_fingerprint => from.state.clone(),
            Some(from) => {
                return Err(TrainError::Run(format!(
                    "the data have changed since `{}` was saved: resume on the data set it was started with, or \
                     choose another `run`",
                    from.path.display()
                )));
            }
        };
        run.take_up(fit.checkpoint)?;
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
            evaluator,
            observer,
            pace: (0, 0.0),
        })
    }

    /// Evaluates before the first step where that was asked for, and where a stopped run left an evaluation out; then `save` is
    /// called, since the checkpoint of the stopped run lacks what the evaluation found.
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

    /// Takes one step into the record.
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

    /// Training time to the last step, counting the step just done, at this process's mean pace.
    pub fn seconds_left(&self, seconds: f64, total: u64) -> f64 {
        let (steps, spent) = (self.pace.0 + 1, self.pace.1 + seconds);
        spent / steps as f64 * (total - self.state.step - 1) as f64
    }

    /// Evaluates if it is time to. A run that is being stopped must leave within seconds: it notes what is due, and makes up for
    /// it when it goes on.
    pub fn evaluate(&mut self, total: u64) -> Result<Evaluated, TrainError> {
        let step = self.state.step;
        let due = step == total || step.is_multiple_of(self.fit.evaluation.every);
        let evaluated = match due {
            false => Evaluated::No,
            true if self.is_stopping() => Evaluated::Stopped,
            true => self.measure()?,
        };
        self.state.evaluation_due = evaluated == Evaluated::Stopped;
        self.mark(evaluated, total);
        Ok(evaluated)
    }

    /// Notes of the state that follows an evaluation whether the run is finished, and whether only a stop is the reason to save
    /// it.
    fn mark(&mut self, evaluated: Evaluated, total: u64) {
        self.state.finished = self.state.step == total && !self.state.evaluation_due;
        self.state.stopped = !self.is_checkpoint(evaluated);
    }

    /// Whether a run that nobody stops saves a checkpoint here.
    pub fn is_checkpoint(&self, evaluated: Evaluated) -> bool {
        let (step, kept) = (self.state.step, self.fit.checkpoint);
        let every = kept.every.unwrap_or(self.fit.evaluation.every);
        evaluated == Evaluated::Best
            || self.state.finished
            || kept.milestones.contains(&step)
            || step.is_multiple_of(every)
    }

    /// Whether the run was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.fit.stop.load(Ordering::SeqCst)
    }

    /// Training is over.
    pub fn end(&mut self) {
        self.observer.end();
    }

    /// Saves a checkpoint.
    pub fn save(&mut self, model: &dyn SaveModel, optimizer: &Optimizer) -> Result<(), TrainError> {
        let kept = self.fit.checkpoint;
        self.metrics.sync()?;
        let path = self.run.save(self.state.clone(), model, optimizer, kept)?;
        tracing::info!(step = self.state.step, path = %path.display(), "checkpoint");
        self.observer.after_checkpoint(&path);
        Ok(())
    }

    /// How the run ended, all steps done.
    pub fn finished(&self) -> Outcome {
        Outcome::of(&self.state)
    }

    fn measure(&mut self) -> Result<Evaluated, TrainError> {
        let (observer, stop) = (&mut *self.observer, self.fit.stop);
        let bits_per_byte = self.evaluator.evaluate(&mut |done, all| {
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
        let score = self.evaluator.score(&bits_per_byte);
        let first = self.lowest.is_empty();
        let mut lowest = take_lower(&mut self.lowest, &bits_per_byte);
        if first {
            lowest.clear(); // there is nothing that it is lower than
        }
        let found = EvaluationMetrics {
            step: self.state.step,
            tokens: self.state.tokens,
            seconds: self.state.seconds,
            heldout_bits_per_byte: bits_per_byte,
            control: self.evaluator.control(),
            lowest,
            decided_by: self.evaluator.decides(),
            score,
        };
        self.metrics.write(&found)?;
        // What a run starts from is no result of it; and no number is better than none.
        let better = self.state.step > 0
            && !score.is_nan()
            && self.state.best.is_none_or(|best| score < best.score);
        if better {
            self.state.best = Some(Best {
                step: self.state.step,
                score,
            });
        }
        tracing::info!(step = found.step, score, best = better, "evaluation");
        self.observer.after_evaluation(&found, better);
        if let Some(note) = self.evaluator.note() {
            self.observer.message(&note);
        }
        Ok(match better {
            true => Evaluated::Best,
            false => Evaluated::NotBest,
        })
    }
}

/// Lowers what is in `lowest` to the values of an evaluation, and returns the domains that it is lower in.
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

    /// Each domain has a best of its own.
    #[test]
    fn domains_are_lowest_apart() {
        let bits = |law, plays| BTreeMap::from([("law".into(), law), ("plays".into(), plays)]);
        let mut lowest = bits(2.0, 3.0);
        let names = |found: BTreeSet<String>| found.into_iter().collect::<Vec<_>>();
        assert_eq!(names(take_lower(&mut lowest, &bits(1.5, 3.5))), ["law"]);
        assert_eq!(names(take_lower(&mut lowest, &bits(1.5, 2.9))), ["plays"]);
        assert!(take_lower(&mut lowest, &bits(1.6, f64::NAN)).is_empty());
        assert_eq!(lowest, bits(1.5, 2.9));
    }
}
