//! The loop: batch, loss, backward, clip, step, observe, evaluate, checkpoint.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use polymath_ops::{Ops, UpdateAt, gradient_norm};

use crate::backward::backward;
use crate::checkpoint::{Best, OPTIMIZER, State};
use crate::gradient_check::GradientCheck;
use crate::schedule::learning_rate;
use crate::{
    BatchSource, CheckpointConfig, EvaluationConfig, EvaluationMetrics, Objective, Observer,
    Optimizer, RunFolder, SaveModel, StepMetrics, TrainError, TrainingConfig,
};

/// What a run is, apart from its model and data.
pub struct Fit<'a> {
    /// The optimisation.
    pub training: &'a TrainingConfig,
    /// Tokens of a row.
    pub sequence_length: usize,
    /// Peak learning rate, as the phase chose it.
    pub learning_rate: f64,
    /// When to evaluate.
    pub evaluation: &'a EvaluationConfig,
    /// When to save, and what to keep.
    pub checkpoint: &'a CheckpointConfig,
    /// Of the run; saved with it.
    pub seed: u64,
    /// What the data are; saved with it, and compared on resuming.
    pub data_fingerprint: String,
    /// How the optimizer computes.
    pub ops: Ops,
    /// Set from outside to stop after the step in progress.
    pub stop: &'a AtomicBool,
}

/// Measures the model on held-out documents.
pub trait Evaluator {
    /// Bits per byte of every domain; `progress` takes tokens done and in all.
    ///
    /// # Errors
    /// What scoring says.
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BTreeMap<String, f64>, TrainError>;

    /// What decides the best checkpoint; lower is better.
    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> f64;
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// All steps are done.
    Finished {
        /// How many.
        steps: u64,
        /// The best evaluation's step and score.
        best: (u64, f64),
    },
    /// Stopped from outside, and saved after this step.
    Interrupted {
        /// The last step done.
        step: u64,
    },
}

/// Trains `objective` on `batches` in `run`, from where the run folder stands to the last step.
///
/// Resuming is bit-exact: the batch of a step is a function of its number, and the checkpoint holds the rest.
///
/// # Errors
/// The objective's, the evaluator's and the disk's; a loss that is no number; a trainable parameter that the gradient
/// does not reach.
pub fn fit<O: Objective + SaveModel>(
    fit: &Fit,
    run: &RunFolder,
    (objective, batches): (&O, &dyn BatchSource),
    evaluator: &mut dyn Evaluator,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let parameters = objective.trainable();
    let total = fit.training.total_steps(fit.sequence_length);
    let mut optimizer = Optimizer::new(fit.training, parameters, fit.ops)?;
    let mut state = fit.begin(run, &mut optimizer, objective)?;
    let mut metrics = run.metrics()?;
    let first = state.step;
    observer.begin(first, total);
    let check = GradientCheck::begin(parameters)?;

    if first == 0 {
        fit.evaluate(&mut state, &mut metrics, evaluator, observer)?;
    }
    while state.step < total {
        let begin = Instant::now();
        let batch = batches.batch(state.step);
        let (loss, scored, gradients) =
            backward(objective, &batch, fit.training.accumulation_steps)?;
        let gradient_norm = gradient_norm(&gradients.values().collect::<Vec<_>>())? / scored;
        state.step += 1;
        if !loss.is_finite() || !gradient_norm.is_finite() {
            return Err(diverged(&state, loss, gradient_norm));
        }
        if state.step == first + 1 {
            GradientCheck::gradients(parameters, &gradients)?;
        }

        // The gradient is of a sum over tokens: the mean and the clipping are one factor.
        let clip = match fit.training.gradient_clip {
            limit if limit > 0.0 && gradient_norm > limit => limit / gradient_norm,
            _ => 1.0,
        };
        let at = UpdateAt {
            step: state.step,
            gradient_scale: clip / scored,
        };
        let learning_rate = learning_rate(fit.training, fit.learning_rate, state.step, total);
        for (name, gradient) in &gradients {
            optimizer.step(name, &parameters[name], gradient, (at, learning_rate))?;
        }
        if state.step == first + 2 {
            check.moved(parameters)?;
        }

        let seconds = begin.elapsed().as_secs_f64();
        state.tokens += batch.input_ids.len() as u64;
        state.seconds += seconds;
        let step = StepMetrics {
            step: state.step,
            tokens: state.tokens,
            seconds: state.seconds,
            loss: loss / scored,
            learning_rate,
            gradient_norm,
            tokens_per_second: batch.input_ids.len() as f64 / seconds,
        };
        metrics.write(&step)?;
        observer.after_step(&step);

        state.finished = state.step == total;
        let stopped = fit.stop.load(Ordering::SeqCst) && !state.finished;
        let due = state.finished || state.step.is_multiple_of(fit.evaluation.every);
        let better =
            due && !stopped && fit.evaluate(&mut state, &mut metrics, evaluator, observer)?;
        let every = fit.checkpoint.every.unwrap_or(fit.evaluation.every);
        if better || stopped || state.finished || state.step.is_multiple_of(every) {
            run.save(state.clone(), objective, &optimizer, fit.checkpoint.keep)?;
        }
        if stopped {
            return Ok(Outcome::Interrupted { step: state.step });
        }
    }
    let best = state
        .best
        .map_or((total, f64::NAN), |best| (best.step, best.score));
    Ok(Outcome::Finished { steps: total, best })
}

impl Fit<'_> {
    /// Where the run stands, with the optimizer brought there.
    fn begin(
        &self,
        run: &RunFolder,
        optimizer: &mut Optimizer,
        objective: &impl Objective,
    ) -> Result<State, TrainError> {
        let Some(from) = run.resumed() else {
            return Ok(State {
                schema: 1,
                step: 0,
                tokens: 0,
                seconds: 0.0,
                seed: self.seed,
                data_fingerprint: self.data_fingerprint.clone(),
                program_version: env!("CARGO_PKG_VERSION").into(),
                best: None,
                finished: false,
                sha256: BTreeMap::new(),
            });
        };
        if from.state.data_fingerprint != self.data_fingerprint {
            return Err(TrainError::Run(format!(
                "the data have changed since `{}` was saved: resume on the data set it was started with, or choose \
                 another `run`",
                from.path.display()
            )));
        }
        optimizer.load(&from.path.join(OPTIMIZER), objective.trainable())?;
        let mut state = from.state.clone();
        state.sha256.clear();
        Ok(state)
    }

    /// Evaluates, and says whether this is the best so far.
    fn evaluate(
        &self,
        state: &mut State,
        metrics: &mut crate::metrics::MetricsFile,
        evaluator: &mut dyn Evaluator,
        observer: &mut dyn Observer,
    ) -> Result<bool, TrainError> {
        let bits_per_byte = evaluator.evaluate(&mut |done, all| observer.evaluating(done, all))?;
        let score = evaluator.score(&bits_per_byte);
        let found = EvaluationMetrics {
            step: state.step,
            tokens: state.tokens,
            seconds: state.seconds,
            heldout_bits_per_byte: bits_per_byte,
        };
        metrics.write(&found)?;
        // What a run starts from is no result of it.
        let better = state.step > 0 && state.best.is_none_or(|best| score < best.score);
        if better {
            state.best = Some(Best {
                step: state.step,
                score,
            });
        }
        observer.after_evaluation(&found, better);
        Ok(better)
    }
}

fn diverged(state: &State, loss: f64, gradient_norm: f64) -> TrainError {
    TrainError::Diverged(format!(
        "step {}: the loss is {loss} and the gradient's norm {gradient_norm}, so training has diverged; the \
         checkpoints before are untouched. Lower `training.learning_rate`, or lengthen `training.warmup_steps`",
        state.step
    ))
}
