//! Training loop: batch, loss, backward, clip, step, observe, evaluate, checkpoint.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::Var;
use polymath_data::IGNORED;
use polymath_ops::{UpdateAt, gradient_norm, is_finite};

use crate::backward::backward;
use crate::gradient_check::GradientCheck;
use crate::progress::{Evaluated, Progress};
use crate::schedule::learning_rate;
use crate::{
    BatchSource, Evaluator, Fit, Monitor, Objective, Observer, Optimizer, Outcome, RunFolder,
    SaveModel, StepMetrics, TrainError,
};

/// Trains `objective` on `batches` in `run`, from the current position of the run folder to the last step.
///
/// Resuming is bit-exact: a step's batch is a function of its number, and the checkpoint contains everything else.
///
/// # Errors
/// Fails if the objective, the evaluator or a file fails, if a loss is not finite, or if the gradient does not reach
/// a trainable parameter.
pub fn fit<O: Objective + SaveModel>(
    fit: &Fit,
    run: &RunFolder,
    (objective, batches): (&O, &dyn BatchSource),
    evaluator: &mut dyn Evaluator,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let monitor = Monitor {
        evaluator,
        controller: None,
    };
    fit_controlled(fit, run, (objective, batches), monitor, observer)
}

/// Trains as [`fit`] does, with a controller that plans the steps after each evaluation. A step's batch is a function
/// of its number and of the plans so far, which the checkpoint contains too.
///
/// # Errors
/// Fails like [`fit`], and if the batches can't follow a plan.
pub fn fit_controlled<'a, O: Objective + SaveModel>(
    fit: &'a Fit,
    run: &'a RunFolder,
    (objective, batches): (&O, &dyn BatchSource),
    monitor: Monitor<'a>,
    observer: &'a mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let parameters = objective.trainable();
    let total = fit.training.total_steps(batches.padding());
    let mut optimizer = Optimizer::new(fit.training, parameters, fit.ops)?;
    let mut at = Progress::begin(fit, run, monitor, observer)?;
    if let Some(from) = run.resumed() {
        optimizer.load(&from.optimizer(), parameters)?;
    }
    // A resumed run passed the check when it began. Its last updates may be too small to change a number.
    let check = match run.resumed() {
        None => Some(GradientCheck::begin(parameters)?),
        Some(_) => None,
    };
    let due = at.evaluate_what_is_due(total, |at| {
        refuse_infinite(parameters, at.state.step)?;
        at.save(objective, &optimizer)
    })?;
    if due == Evaluated::Stopped || at.state.step < total && at.is_stopping() {
        at.end();
        return Ok(Outcome::Interrupted {
            step: at.state.step,
        });
    }

    let (mut planned, mut strength) = (None, 1.0);
    while at.state.step < total {
        let begin = Instant::now();
        for plan in at.take_plans() {
            strength = plan.strength;
            planned = source(&planned, batches).follow(&plan)?.or(planned);
        }
        let batches = source(&planned, batches);
        batches.check()?;
        let batch = batches.batch(at.state.step);
        if batch.targets.iter().all(|target| *target == IGNORED) {
            return Err(nothing_to_learn(at.state.step + 1));
        }
        objective.begin_step(fit.seed, at.state.step);
        let found = backward(objective, &batch, fit.training.accumulation_steps, strength)?;
        let (loss, scored, gradients) = (found.loss, found.scored, found.gradients);
        let gradient_norm = gradient_norm(&gradients.values().collect::<Vec<_>>())? / scored;
        let step = at.state.step + 1;
        if !loss.is_finite() || !gradient_norm.is_finite() {
            return Err(diverged(step, loss, gradient_norm));
        }
        if check.is_some() && step <= 2 {
            GradientCheck::check_gradients(parameters, &gradients, step)?;
        }

        // The gradient is that of a sum over tokens: one factor makes it the mean's and clips it.
        let clip = match fit.training.gradient_clip {
            limit if limit > 0.0 && gradient_norm > limit => limit / gradient_norm,
            _ => 1.0,
        };
        let update = UpdateAt {
            step,
            gradient_scale: clip / scored,
        };
        let learning_rate = learning_rate(fit.training, step, total);
        optimizer.step(parameters, &gradients, (update, learning_rate))?;
        if let (Some(check), 2) = (&check, step) {
            check.check_changed(parameters, learning_rate)?;
        }

        let (tokens, seconds) = (batch.tokens(), begin.elapsed().as_secs_f64());
        at.record(StepMetrics {
            step,
            tokens: at.state.tokens + tokens,
            seconds: at.state.seconds + seconds,
            loss: loss / scored,
            penalties: found.penalties,
            learning_rate,
            gradient_norm,
            tokens_per_second: tokens as f64 / seconds,
            seconds_left: at.seconds_left(seconds, total),
        })?;

        let evaluated = at.evaluate(total)?;
        let stopped = !at.state.finished && at.is_stopping();
        if stopped || at.is_checkpoint(evaluated) {
            refuse_infinite(parameters, step)?;
            at.save(objective, &optimizer)?;
        }
        if stopped {
            at.end();
            return Ok(Outcome::Interrupted { step });
        }
    }
    at.end();
    Ok(at.finished())
}

/// Returns the batch source of the current plan, or `first` without a plan.
fn source<'a>(
    planned: &'a Option<Box<dyn BatchSource>>,
    first: &'a dyn BatchSource,
) -> &'a dyn BatchSource {
    planned.as_deref().unwrap_or(first)
}

/// Fails if a weight is not finite: such a checkpoint would be worth less than the previous one.
fn refuse_infinite(parameters: &BTreeMap<String, Var>, step: u64) -> Result<(), TrainError> {
    for (name, parameter) in parameters {
        if !is_finite(parameter)? {
            return Err(TrainError::Diverged(format!(
                "after step {step} the parameter `{name}` holds a value that is not finite, so training has diverged; the \
                 checkpoints before are untouched. Lower `training.learning_rate`, or lengthen `training.warmup_steps`"
            )));
        }
    }
    Ok(())
}

/// Makes the error for a batch without targets. The mean over no token is undefined, and momentum alone would change
/// the weights.
fn nothing_to_learn(step: u64) -> TrainError {
    TrainError::Config(format!(
        "step {step}: no position of the batch has a target, so that there is nothing to learn: leave rows without \
         targets out of the batches"
    ))
}

fn diverged(step: u64, loss: f64, gradient_norm: f64) -> TrainError {
    TrainError::Diverged(format!(
        "step {step}: the loss is {loss} and the gradient's norm {gradient_norm}, so training has diverged; the \
         checkpoints before are untouched. Lower `training.learning_rate`, or lengthen `training.warmup_steps`"
    ))
}
