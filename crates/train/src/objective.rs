//! Interfaces of the training loop: objective, batch source, evaluator and observer.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::{Tensor, Var};
use polymath_data::{Batch, HeldoutSplit, MixtureStream, ReplayStream};

use crate::{ControlPlan, EvaluationMetrics, Penalty, Score, StepMetrics, TrainError};

/// Model with its loss function and its trainable parameters.
///
/// `examples/objective.rs` in the repository is a complete custom objective that [`crate::fit`] trains.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use candle_core::{Tensor, Var};
/// use polymath_data::Batch;
/// use polymath_train::{LanguageModel, Objective, TrainError};
///
/// /// Language-model loss with L2 regularization.
/// struct Regularized<'a> {
///     model: LanguageModel<'a>,
///     strength: f64,
/// }
///
/// impl Objective for Regularized<'_> {
///     fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
///         let mut loss = self.model.loss(batch)?;
///         for parameter in self.trainable().values() {
///             loss = (loss + (parameter.sqr()?.sum_all()? * self.strength)?)?;
///         }
///         Ok(loss)
///     }
///
///     fn trainable(&self) -> &BTreeMap<String, Var> {
///         self.model.trainable()
///     }
/// }
/// ```
pub trait Objective {
    /// Called before step `step` (counted from 0) of the run with the seed `_seed`. The default does nothing.
    fn begin_step(&self, _seed: u64, _step: u64) {}

    /// Called before each part of a batch that is computed in parts, with the index in the batch of the part's first
    /// row. The default does nothing.
    fn begin_part(&self, _first_row: usize) {}

    /// Returns the *sum* of the batch's token losses, a scalar in the graph of the trainable parameters.
    ///
    /// # Errors
    /// Fails if the model fails.
    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError>;

    /// Returns the language-model loss and the terms added to it for a batch. The objective multiplies those terms that
    /// a controller may strengthen by `strength`, the strength of the current [`ControlPlan`] (1 without one). The
    /// default returns the loss alone.
    ///
    /// # Errors
    /// Fails if the model fails.
    fn losses(&self, batch: &Batch, _strength: f64) -> Result<Losses, TrainError> {
        Ok(Losses::of_task(self.loss(batch)?))
    }

    /// Returns the penalties, which depend on the parameters only. The training loop multiplies them by the strength
    /// of the current [`ControlPlan`]. The default returns none.
    fn penalties(&self) -> &[Box<dyn Penalty>] {
        &[]
    }

    /// Returns the trainable parameters by name.
    fn trainable(&self) -> &BTreeMap<String, Var>;
}

/// Losses of a batch, as scalar sums over tokens.
pub struct Losses {
    /// Sum to minimize, a scalar in the graph of the trainable parameters.
    pub total: Tensor,
    /// Language-model loss, which is a part of the total.
    pub task: Tensor,
    /// Other terms of the total, each with its name in the log.
    pub auxiliary: Vec<(&'static str, Tensor)>,
}

impl Losses {
    /// Makes losses that consist of the language-model loss alone.
    #[must_use]
    pub fn of_task(task: Tensor) -> Self {
        Self {
            total: task.clone(),
            task,
            auxiliary: Vec::new(),
        }
    }

    /// Adds a term to the total: a sum over tokens, as a scalar in the graph.
    ///
    /// # Errors
    /// Fails if the term is not a scalar of the same type.
    pub fn with(mut self, name: &'static str, term: Tensor) -> Result<Self, TrainError> {
        self.total = (self.total + &term)?;
        self.auxiliary.push((name, term));
        Ok(self)
    }
}

/// Endless source of batches. A batch is a pure function of the step number, so that resuming needs only that number.
/// A controlled run continues with another source after each plan ([`Self::follow`]): its batches are a function of
/// the step number and the plans so far.
pub trait BatchSource {
    /// Returns the batch of optimizer step `step`, counted from 0.
    fn batch(&self, step: u64) -> Batch;

    /// Returns a batch source that follows `plan` from the plan's step on, and gives the same batches as this source
    /// before. Returns `None` if plans do not change the batches, which is the default.
    ///
    /// # Errors
    /// Fails if the source can't follow the plan.
    fn follow(&self, _plan: &ControlPlan) -> Result<Option<Box<dyn BatchSource>>, TrainError> {
        Ok(None)
    }

    /// Checks that the data files can still be read. Called before each step. The default does nothing.
    ///
    /// # Errors
    /// Fails with the name of a file that can no longer be read.
    fn check(&self) -> Result<(), TrainError> {
        Ok(())
    }

    /// Returns the average share of padding among all positions. The default is 0.
    fn padding(&self) -> f64 {
        0.0
    }
}

impl BatchSource for MixtureStream {
    fn check(&self) -> Result<(), TrainError> {
        MixtureStream::check(self).map_err(|error| TrainError::Hook(Box::new(error)))
    }

    fn batch(&self, step: u64) -> Batch {
        MixtureStream::batch(self, step)
    }

    fn padding(&self) -> f64 {
        MixtureStream::padding(self)
    }
}

impl BatchSource for ReplayStream {
    fn check(&self) -> Result<(), TrainError> {
        ReplayStream::check(self).map_err(|error| TrainError::Hook(Box::new(error)))
    }

    fn batch(&self, step: u64) -> Batch {
        ReplayStream::batch(self, step)
    }

    fn padding(&self) -> f64 {
        ReplayStream::padding(self)
    }

    fn follow(&self, plan: &ControlPlan) -> Result<Option<Box<dyn BatchSource>>, TrainError> {
        let Some(replay) = &plan.replay else {
            return Ok(None);
        };
        let changed = self.with_change(plan.step, replay.share, Some(&replay.weights));
        let changed = changed.map_err(|error| TrainError::Hook(Box::new(error)))?;
        Ok(Some(Box::new(changed)))
    }
}

/// Interface for writing the model into a checkpoint's folder.
pub trait SaveModel {
    /// Writes the model into the existing folder `folder`.
    ///
    /// # Errors
    /// Fails if a file can't be written.
    fn save(&self, folder: &Path) -> Result<(), TrainError>;
}

/// Interface for measuring a model on held-out documents and scoring the result.
pub trait Evaluator {
    /// Returns the bits per byte of every domain. Calls `progress` often, with the number of scored tokens and their
    /// total. `progress` returns `Break` to stop the evaluation.
    ///
    /// # Errors
    /// Fails if scoring fails, and with [`TrainError::Stopped`] if `progress` returned `Break`.
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, TrainError>;

    /// Returns the score that chooses the best checkpoint, from the bits per byte of every domain.
    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> Score;

    /// Returns the name of [`Self::score`], such as a domain or "the mean of 3 domains".
    fn score_name(&self) -> String {
        "score".into()
    }

    /// Returns the split of the held-out documents that is scored. `None`, the default, means all documents.
    fn chosen_on(&self) -> Option<HeldoutSplit> {
        None
    }

    /// Returns a warning to show before the first evaluation. The default returns none.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Returns, by the last evaluation, how much of its limit each domain with a forgetting limit uses (1 is the
    /// limit). The run's [`Controller`] needs it. The default returns none.
    ///
    /// [`Controller`]: crate::Controller
    fn limit_shares(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }

    /// Returns additional values of the last evaluation by name, to be recorded in `metrics.jsonl`. The default returns
    /// none.
    fn control(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }

    /// Returns a description of the last evaluation for the console. The default returns none.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Receiver of the events of a run, for example for a console or a test.
///
/// ```
/// use polymath_train::{Observer, StepMetrics};
///
/// /// Keeps the losses.
/// #[derive(Default)]
/// struct Losses(Vec<f64>);
///
/// impl Observer for Losses {
///     fn after_step(&mut self, metrics: &StepMetrics) {
///         self.0.push(metrics.loss);
///     }
/// }
/// ```
pub trait Observer {
    /// Called when the run begins or resumes at `step` of `total`.
    fn begin(&mut self, _step: u64, _total: u64) {}
    /// Called after each step.
    fn after_step(&mut self, _metrics: &StepMetrics) {}
    /// Called during work that precedes the first step, with the name of the work, the amount done and the total
    /// amount.
    fn preparing(&mut self, _work: &str, _done: u64, _total: u64) {}
    /// Called during an evaluation, with the number of held-out tokens scored so far and the total number.
    fn evaluating(&mut self, _done: u64, _total: u64) {}
    /// Called after an evaluation. `best` is true if its score is the best so far.
    fn after_evaluation(&mut self, _metrics: &EvaluationMetrics, _best: bool) {}
    /// Called after a checkpoint was saved at `path`.
    fn after_checkpoint(&mut self, _path: &Path) {}
    /// Called at the end of training: after the last step, or after the run was stopped and saved.
    fn end(&mut self) {}
    /// Called with a message for the user.
    fn message(&mut self, _text: &str) {}
}

/// Observer that ignores all events.
pub struct Silent;

impl Observer for Silent {}
