//! Training loop: batch, loss, backward, clip, step, observe, evaluate, checkpoint.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::Var;
use polymath_data::{Batch, IGNORED};
use polymath_ops::{UpdateAt, is_finite};

use crate::backward::backward;
use crate::gradient_check::GradientCheck;
use crate::progress::{Evaluated, TrainingProgress};
use crate::schedule::learning_rate;
use crate::{
    BatchSource, ControlPlan, Evaluator, Fit, Monitor, Objective, Observer, Optimizer, Outcome,
    RunFolder, SaveModel, StepMetrics, TrainError,
};

/// Objective to train, and the batches to train it on.
pub struct TrainingTask<'a, O> {
    /// Model with its loss function.
    pub objective: &'a O,
    /// Source of the batch of each step.
    pub batches: &'a dyn BatchSource,
}

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
    task: TrainingTask<O>,
    evaluator: &mut dyn Evaluator,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let monitor = Monitor {
        evaluator,
        controller: None,
    };
    fit_controlled(fit, run, task, monitor, observer)
}

/// Trains as [`fit`] does, with a controller that makes a plan for the next steps after each evaluation. A step's batch
/// is a function of its number and of the plans so far, which the checkpoint contains too.
///
/// # Errors
/// Fails like [`fit`], and if the batches can't follow a plan.
pub fn fit_controlled<'a, O: Objective + SaveModel>(
    fit: &'a Fit,
    run: &'a RunFolder,
    task: TrainingTask<O>,
    monitor: Monitor<'a>,
    observer: &'a mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let TrainingTask { objective, batches } = task;
    let total = fit.training.total_steps(batches.padding());
    run.check_length()?;
    let mut learner = Learner::new(fit, objective, total)?;
    let mut at = TrainingProgress::begin(fit, run, monitor, observer)?;
    at.state.plan(total);
    learner.resume(run)?;
    let due = at.evaluate_what_is_due(total, |at| learner.save(at))?;
    if due == Evaluated::Stopped || at.state.step < total && at.is_stopping() {
        at.end();
        return Ok(Outcome::Interrupted {
            step: at.state.step,
        });
    }

    let mut batches = PlannedBatches::new(batches);
    while at.state.step < total {
        let begin = Instant::now();
        for plan in at.take_plans() {
            batches.follow(&plan)?;
        }
        let batch = batches.batch(at.state.step)?;
        let step = at.state.step + 1;
        let update = learner.update(&batch, step, batches.strength)?;

        let (tokens, seconds) = (batch.tokens(), begin.elapsed().as_secs_f64());
        at.record(StepMetrics {
            step,
            tokens: at.state.tokens + tokens,
            seconds: at.state.seconds + seconds,
            loss: update.loss,
            penalties: update.penalties,
            learning_rate: update.learning_rate,
            gradient_norm: update.gradient_norm,
            tokens_per_second: tokens as f64 / seconds,
            gpu_memory_bytes: learner.gpu_memory(),
            seconds_left: at.seconds_left(seconds, total),
        })?;

        let evaluated = at.evaluate(total)?;
        let stopped = !at.state.finished && at.is_stopping();
        if stopped || at.is_checkpoint(evaluated) {
            learner.save(&mut at)?;
        }
        if stopped {
            at.end();
            return Ok(Outcome::Interrupted { step });
        }
    }
    at.end();
    Ok(at.finished())
}

/// Batch source of the run as changed by the controller's current plan.
struct PlannedBatches<'a> {
    first: &'a dyn BatchSource,
    /// Batch source that follows the current plan; `None` while no plan has changed the batches.
    planned: Option<Box<dyn BatchSource>>,
    /// Factor of the penalties and of the loss terms that the controller may strengthen.
    strength: f64,
}

impl<'a> PlannedBatches<'a> {
    fn new(first: &'a dyn BatchSource) -> Self {
        Self {
            first,
            planned: None,
            strength: 1.0,
        }
    }

    fn source(&self) -> &dyn BatchSource {
        self.planned.as_deref().unwrap_or(self.first)
    }

    fn follow(&mut self, plan: &ControlPlan) -> Result<(), TrainError> {
        self.strength = plan.strength;
        if let Some(source) = self.source().follow(plan)? {
            self.planned = Some(source);
        }
        Ok(())
    }

    /// Returns the batch of a step, counted from 0. Fails if the batch has no targets.
    fn batch(&self, step: u64) -> Result<Batch, TrainError> {
        let source = self.source();
        source.check()?;
        let batch = source.batch(step);
        match batch.targets.iter().all(|target| *target == IGNORED) {
            true => Err(nothing_to_learn(step + 1)),
            false => Ok(batch),
        }
    }
}

/// Objective being trained, with the optimizer of its parameters.
struct Learner<'a, O> {
    fit: &'a Fit<'a>,
    objective: &'a O,
    optimizer: Optimizer,
    /// Check that the gradient reaches every parameter, during the first two steps of a new run; `None` for a resumed
    /// run, whose updates may be too small to change a number.
    check: Option<GradientCheck>,
    /// Number of steps of the run.
    total: u64,
}

/// Results of one optimizer step, for the log.
struct UpdateResult {
    /// Mean loss per target, in nats.
    loss: f64,
    penalties: BTreeMap<String, f64>,
    learning_rate: f64,
    gradient_norm: f64,
}

impl<'a, O: Objective + SaveModel> Learner<'a, O> {
    fn new(fit: &'a Fit, objective: &'a O, total: u64) -> Result<Self, TrainError> {
        Ok(Self {
            fit,
            objective,
            optimizer: Optimizer::new(fit.training, objective.trainable(), fit.ops)?,
            check: None,
            total,
        })
    }

    /// Loads the optimizer's state of a resumed run, or starts the gradient check of a new run.
    fn resume(&mut self, run: &RunFolder) -> Result<(), TrainError> {
        let parameters = self.objective.trainable();
        match run.resumed() {
            Some(from) => self.optimizer.load(&from.optimizer(), parameters)?,
            None => self.check = Some(GradientCheck::begin(parameters)?),
        }
        Ok(())
    }

    /// Saves a checkpoint of the current step. Fails if a weight is not finite.
    fn save(&self, at: &mut TrainingProgress) -> Result<(), TrainError> {
        refuse_infinite(self.objective.trainable(), at.state.step)?;
        at.save(self.objective, &self.optimizer)
    }

    /// Returns the peak memory of the tensors on the parameters' GPU; `None` for other devices.
    fn gpu_memory(&self) -> Option<u64> {
        let device = self.objective.trainable().values().next()?.device();
        Some(polymath_ops::device_memory(device)?.peak)
    }

    /// Computes the loss and the gradients of a batch, and updates the parameters.
    fn update(
        &mut self,
        batch: &Batch,
        step: u64,
        strength: f64,
    ) -> Result<UpdateResult, TrainError> {
        let training = self.fit.training;
        let parameters = self.objective.trainable();
        self.objective.begin_step(self.fit.seed, step - 1);
        let found = backward(self.objective, batch, training.accumulation_steps, strength)
            .map_err(TrainError::with_memory_advice)?;
        let (loss, scored, gradients) = (found.loss, found.scored, found.gradients);
        let gradient_norm = self.optimizer.gradient_norm(&gradients)? / scored;
        if !loss.is_finite() || !gradient_norm.is_finite() {
            return Err(diverged(step, loss, gradient_norm));
        }
        if self.check.is_some() && step <= 2 {
            GradientCheck::check_gradients(parameters, &gradients, step)?;
        }

        // The gradient belongs to a sum over tokens: one factor takes the mean and clips.
        let clip = match training.gradient_clip {
            limit if limit > 0.0 && gradient_norm > limit => limit / gradient_norm,
            _ => 1.0,
        };
        let update = UpdateAt {
            step,
            gradient_scale: clip / scored,
        };
        let learning_rate = learning_rate(training, step, self.total);
        self.optimizer
            .step(parameters, &gradients, update, learning_rate)
            .map_err(TrainError::with_memory_advice)?;
        if let (Some(check), 2) = (&self.check, step) {
            check.check_changed(parameters, learning_rate)?;
        }
        Ok(UpdateResult {
            loss: loss / scored,
            penalties: found.penalties,
            learning_rate,
            gradient_norm,
        })
    }
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
