//! What the loop is given: what to minimise, on what, and who is told.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Tensor, Var};
use polymath_data::{Batch, HeldoutSplit, MixtureStream, ReplayStream};

use crate::{EvaluationMetrics, Penalty, StepMetrics, TrainError};

/// What is minimised, over which parameters.
///
/// An objective of one's own, trained by [`crate::fit`]: `examples/objective.rs` of the repository is a whole one.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use candle_core::{Tensor, Var};
/// use polymath_data::Batch;
/// use polymath_train::{LanguageModel, Objective, TrainError};
///
/// /// The loss, and a pull of all parameters towards 0.
/// struct Pulled<'a> {
///     model: LanguageModel<'a>,
///     strength: f64,
/// }
///
/// impl Objective for Pulled<'_> {
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
    /// Step `step` of the run with this seed is about to begin; nothing is done, if nothing else is said.
    fn begin_step(&self, _seed: u64, _step: u64) {}

    /// The SUM of the batch's token losses, a scalar in the graph of the trainable parameters.
    ///
    /// # Errors
    /// What the model says.
    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError>;

    /// The loss, and what is minimised beside it on the same batch; the loss alone, if nothing else is said.
    ///
    /// # Errors
    /// What the model says.
    fn losses(&self, batch: &Batch) -> Result<Losses, TrainError> {
        Ok(Losses::of_task(self.loss(batch)?))
    }

    /// What is minimised beside the loss and depends on the parameters only; nothing, if nothing else is said.
    fn penalties(&self) -> &[Box<dyn Penalty>] {
        &[]
    }

    /// The parameters that move, by name.
    fn trainable(&self) -> &BTreeMap<String, Var>;
}

/// What a batch costs: sums over tokens, scalars.
pub struct Losses {
    /// What is minimised, in the graph of the trainable parameters.
    pub total: Tensor,
    /// The part of it that is learnt.
    pub task: Tensor,
    /// The other parts, each under the name by which it is logged.
    pub beside: Vec<(&'static str, Tensor)>,
}

impl Losses {
    /// Of what is learnt, and nothing beside it.
    #[must_use]
    pub fn of_task(task: Tensor) -> Self {
        Self {
            total: task.clone(),
            task,
            beside: Vec::new(),
        }
    }

    /// The same with another sum over tokens beside it, a scalar in the graph.
    ///
    /// # Errors
    /// A term that is no scalar of the same type.
    pub fn with(mut self, name: &'static str, term: Tensor) -> Result<Self, TrainError> {
        self.total = (self.total + &term)?;
        self.beside.push((name, term));
        Ok(self)
    }
}

/// An endless stream of batches that is a pure function of the step, so that resuming needs no more than its number.
pub trait BatchSource {
    /// The batch of optimizer step `step`, counted from 0.
    fn batch(&self, step: u64) -> Batch;

    /// Checks, before each step, that the data can still be read. The default does nothing.
    ///
    /// # Errors
    /// The file that can't be read any more.
    fn check(&self) -> Result<(), TrainError> {
        Ok(())
    }

    /// The share of all positions that is padding, on average; none by default.
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

impl<T: BatchSource + ?Sized> BatchSource for Arc<T> {
    fn check(&self) -> Result<(), TrainError> {
        (**self).check()
    }

    fn batch(&self, step: u64) -> Batch {
        (**self).batch(step)
    }

    fn padding(&self) -> f64 {
        (**self).padding()
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
}

/// Writes the model part of a checkpoint.
pub trait SaveModel {
    /// Writes into the existing folder `folder`.
    ///
    /// # Errors
    /// A file that can't be written.
    fn save(&self, folder: &Path) -> Result<(), TrainError>;
}

/// Measures the model on held-out documents.
pub trait Evaluator {
    /// Bits per byte of every domain; `progress` takes tokens done and in all, often, and says whether to go on.
    ///
    /// # Errors
    /// What scoring says; [`TrainError::Stopped`] where `progress` said not to go on.
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, TrainError>;

    /// What decides the best checkpoint; lower is better.
    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> f64;

    /// Names what [`Self::score`] is: a domain, or e.g. the mean of several.
    fn decides(&self) -> String {
        "score".into()
    }

    /// Returns the split of the held-out documents that it scores; `None`, the default, where it scores all of them.
    fn chosen_on(&self) -> Option<HeldoutSplit> {
        None
    }

    /// Says before the first evaluation what is unusual about it; nothing by default.
    fn warning(&self) -> Option<String> {
        None
    }

    /// What it decided by the last evaluation, for the record; nothing, if nothing else is said.
    fn control(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }

    /// The same in a sentence for a person.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Is told what happens; a console, a test.
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
    /// The run is about to begin or go on at `step` of `total`.
    fn begin(&mut self, _step: u64, _total: u64) {}
    /// A step is done.
    fn after_step(&mut self, _metrics: &StepMetrics) {}
    /// So many held-out tokens have been scored, of all that an evaluation scores.
    fn evaluating(&mut self, _done: u64, _total: u64) {}
    /// An evaluation is done; `best` if its checkpoint is the best so far.
    fn after_evaluation(&mut self, _metrics: &EvaluationMetrics, _best: bool) {}
    /// A checkpoint stands at `path`.
    fn after_checkpoint(&mut self, _path: &Path) {}
    /// Training has ended: all steps are done, or it was stopped and has saved.
    fn end(&mut self) {}
    /// Something that a person should know.
    fn message(&mut self, _text: &str) {}
}

/// An observer that says nothing.
pub struct Silent;

impl Observer for Silent {}
