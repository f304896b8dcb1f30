//! Control of a run: an evaluator measures the model, a controller decides from that how strongly the next steps
//! retain, and the training loop applies this plan.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Evaluator, TrainError};

/// Controller's plan for the steps from `step` on, valid until the next plan.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlPlan {
    /// Number of finished steps from which the plan applies.
    pub step: u64,
    /// Factor by which the training loop multiplies the penalties, and the objective those loss terms that a controller
    /// may strengthen ([`crate::Objective::losses`]).
    pub strength: f64,
    /// Share and weights of replayed rows; `None` if the plan leaves the batches unchanged.
    pub replay: Option<ReplayPlan>,
}

/// Share and domains of replayed rows that a [`ControlPlan`] sets.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayPlan {
    /// Share of the rows that are replayed.
    pub share: f64,
    /// Relative weights of the replayed domains, in the order of the batch source.
    pub weights: Vec<f64>,
}

/// Controller that plans the next steps after each evaluation. Its state contains all plans so far: together with the
/// seed and the step number, they determine each batch.
pub trait Controller {
    /// Returns the plan for the steps from `step` on, or `None` to keep the current plan. `limit_shares` holds the
    /// measurements of the evaluation after `step` ([`Evaluator::limit_shares`]). The new plan replaces any earlier
    /// plan for these steps.
    fn plan(&mut self, step: u64, limit_shares: &BTreeMap<String, f64>) -> Option<ControlPlan>;

    /// Returns all plans so far, ordered by step.
    fn plans(&self) -> Vec<ControlPlan>;

    /// Writes the controller's state into the folder of a checkpoint.
    ///
    /// # Errors
    /// Fails if a file can't be written.
    fn save(&self, checkpoint: &Path) -> Result<(), TrainError>;

    /// Returns values of the current plan by name, to be recorded in `metrics.jsonl` with an evaluation. The default
    /// returns none.
    fn control(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }

    /// Returns a description of the current plan for the console. The default returns none.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Evaluator of a run, and the controller that acts on its measurements.
pub struct Monitor<'a> {
    /// Evaluator that measures the model.
    pub evaluator: &'a mut dyn Evaluator,
    /// Controller that plans the next steps; `None` for a run without control.
    pub controller: Option<&'a mut dyn Controller>,
}
