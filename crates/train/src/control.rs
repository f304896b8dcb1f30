//! Control of a run: an evaluator measures, a controller plans the next steps, and the loop passes the plan on.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Evaluator, TrainError};

/// Plan of a controller for the steps from `step` on, until the next plan.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlPlan {
    /// Number of steps done when it begins.
    pub step: u64,
    /// Factor of the penalties, and of the terms of the loss that a controller may strengthen
    /// ([`crate::Objective::losses`]).
    pub strength: f64,
    /// Replayed rows of the batches; `None` if the plan does not change the batches.
    pub replay: Option<ReplayPlan>,
}

/// Replayed rows of a [`ControlPlan`].
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayPlan {
    /// Share of replayed rows.
    pub share: f64,
    /// Weights of the replayed domains, in the order of the source.
    pub weights: Vec<f64>,
}

/// Plans the steps after each evaluation. Its state holds all plans so far: together with seed and step they determine
/// a batch.
pub trait Controller {
    /// Returns the plan from `step` on, by what the evaluation after `step` measured ([`Evaluator::limit_shares`]). It
    /// replaces plans from `step` on; `None` changes nothing.
    fn plan(&mut self, step: u64, limit_shares: &BTreeMap<String, f64>) -> Option<ControlPlan>;

    /// Returns the plans so far, in the order of their steps.
    fn plans(&self) -> Vec<ControlPlan>;

    /// Writes the state into the folder of a checkpoint.
    ///
    /// # Errors
    /// A file that can't be written.
    fn save(&self, checkpoint: &Path) -> Result<(), TrainError>;

    /// Returns the current plan for the record of an evaluation. The default is none.
    fn control(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }

    /// Describes the current plan for the console. The default is none.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Evaluator of a run, and the controller that acts on its measurements.
pub struct Monitor<'a> {
    /// Measures the model.
    pub evaluator: &'a mut dyn Evaluator,
    /// Plans the next steps; `None` for a run that does not change on the way.
    pub controller: Option<&'a mut dyn Controller>,
}
