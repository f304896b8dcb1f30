//! Controller of the forgetting limits: adjusts the strength of retention by the violation of the limits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Tensor, Var};
use polymath_data::ReplayStream;
use polymath_train::{Penalty, TrainError};
use serde::{Deserialize, Serialize};

use super::control_rules::{Allowance, next_level, update_log_weights};

/// Bounds of the replay share.
const SHARES: (f64, f64) = (0.005, 0.5);

const FILE: &str = "control.json";

/// State of the controller in a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct ControllerState {
    /// Changes in the order of their steps.
    changes: Vec<LevelChange>,
}

/// State of the controller from a step on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct LevelChange {
    step: u64,
    level: f64,
    /// Violation that decided the change.
    #[serde(rename = "strain")]
    violation: f64,
    /// Log₂ weights of the replayed domains.
    #[serde(rename = "leaning")]
    log_weights: BTreeMap<String, f64>,
}

/// Controller of a run with limits. Level 0 is the strength of the config; each level above doubles the strength of
/// penalties and distillation, and the share of replayed rows.
pub struct Controller {
    state: Mutex<ControllerState>,
    /// Number of steps done.
    step: Mutex<u64>,
    replay: Option<(Arc<ReplayStream>, f64)>,
    allowance: Allowance,
}

impl Controller {
    /// Creates a controller at level 0; `replay` is the stream whose share it controls, and the share at that level.
    pub fn new(replay: Option<(Arc<ReplayStream>, f64)>, allowance: Allowance) -> Self {
        Self {
            state: Mutex::default(),
            step: Mutex::new(0),
            replay,
            allowance,
        }
    }

    /// Restores the state from a checkpoint of `step`.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn resume(&self, checkpoint: &Path, step: u64) -> Result<(), TrainError> {
        let path = checkpoint.join(FILE);
        let text = polymath_base::read(&path).map_err(TrainError::file("read", &path))?;
        let state: ControllerState = serde_json::from_slice(&text).map_err(|error| {
            TrainError::Config(format!(
                "`{}` is not the state of a controller: {error}",
                path.display()
            ))
        })?;
        for change in &state.changes {
            self.replay(change)?;
        }
        *self.state() = state;
        self.set_step(step);
        Ok(())
    }

    /// Writes the state that [`Self::resume`] reads.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn save(&self, checkpoint: &Path) -> Result<(), TrainError> {
        let path = checkpoint.join(FILE);
        let text = serde_json::to_string(&*self.state()).expect("a state is numbers");
        std::fs::write(&path, text + "\n").map_err(TrainError::file("write", &path))
    }

    /// Sets the number of steps done.
    pub fn set_step(&self, step: u64) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    fn state(&self) -> MutexGuard<'_, ControllerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current level.
    pub fn level(&self) -> f64 {
        self.state().changes.last().map_or(0.0, |last| last.level)
    }

    /// Returns the factor of penalties and distillation.
    pub fn factor(&self) -> f64 {
        self.level().exp2()
    }

    /// Returns the share of replayed rows, if rows are replayed.
    pub fn share(&self) -> Option<f64> {
        let (_, share) = self.replay.as_ref()?;
        Some(share_at(*share, self.level()))
    }

    /// Returns the share of each domain in the replayed rows.
    pub fn parts(&self) -> BTreeMap<String, f64> {
        let Some((stream, _)) = &self.replay else {
            return BTreeMap::new();
        };
        let log_weights = self
            .state()
            .changes
            .last()
            .map(|last| last.log_weights.clone());
        let weights = weights(stream, &log_weights.unwrap_or_default());
        let sum: f64 = weights.iter().sum();
        let names = stream.replayed().iter().map(|part| part.name.clone());
        names
            .zip(weights.iter().map(|weight| weight / sum))
            .collect()
    }

    /// Updates level and replay weights for the next steps after an evaluation. `shares` are the upper bounds of each
    /// retained domain's rise, as shares of its limit. Does nothing before the first step, when nothing has risen.
    ///
    /// # Errors
    /// Never for shares within their bounds.
    pub fn update(&self, shares: &BTreeMap<String, f64>) -> Result<(), TrainError> {
        let step = *self.step.lock().unwrap_or_else(PoisonError::into_inner);
        if step == 0 {
            return Ok(());
        }
        let mut state = self.state();
        state.changes.retain(|change| change.step < step);
        let worst = shares.values().copied().fold(0.0, f64::max);
        let violation = worst / self.allowance.at(step);
        let last = state.changes.last().cloned().unwrap_or_default();
        let change = LevelChange {
            step,
            level: next_level(last.level, violation, last.violation),
            violation,
            log_weights: update_log_weights(&last.log_weights, &self.replayed(), shares),
        };
        state.changes.push(change.clone());
        drop(state);
        self.replay(&change)
    }

    /// Returns the names of the replayed domains.
    fn replayed(&self) -> Vec<String> {
        let parts = self.replay.iter().flat_map(|(stream, _)| stream.replayed());
        parts.map(|part| part.name.clone()).collect()
    }

    fn replay(&self, change: &LevelChange) -> Result<(), TrainError> {
        if let Some((stream, share)) = &self.replay {
            let share = share_at(*share, change.level);
            let weights = weights(stream, &change.log_weights);
            let changed = stream.change(change.step, share, Some(&weights));
            changed.map_err(|error| TrainError::Hook(Box::new(error)))?;
        }
        Ok(())
    }
}

fn share_at(share: f64, level: f64) -> f64 {
    (share * level.exp2()).clamp(SHARES.0, SHARES.1)
}

/// Returns the weights of the replayed domains, in their order.
fn weights(stream: &ReplayStream, log_weights: &BTreeMap<String, f64>) -> Vec<f64> {
    let parts = stream.replayed().iter();
    parts
        .map(|part| part.weight * log_weights.get(&part.name).copied().unwrap_or(0.0).exp2())
        .collect()
}

/// Penalty whose strength the controller scales.
pub struct ControlledPenalty {
    /// Penalty at level 0.
    pub penalty: Box<dyn Penalty>,
    /// Controller of its strength.
    pub controller: Arc<Controller>,
}

impl Penalty for ControlledPenalty {
    fn name(&self) -> &'static str {
        self.penalty.name()
    }

    fn add(
        &self,
        parameters: &BTreeMap<String, Var>,
        gradients: &mut BTreeMap<String, Tensor>,
        scale: f64,
    ) -> Result<f64, TrainError> {
        let factor = self.controller.factor();
        Ok(factor * self.penalty.add(parameters, gradients, scale * factor)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Continues after resuming like an uninterrupted controller, and counts a repeated evaluation once.
    #[test]
    fn resuming_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let shares = |worst| BTreeMap::from([("a".to_owned(), worst), ("b".to_owned(), 0.1)]);
        let whole = Controller::new(None, Allowance::default());
        for (step, worst) in [(0, 0.0), (5, 0.3), (10, 0.2), (15, 0.9)] {
            whole.set_step(step);
            whole.update(&shares(worst)).unwrap();
            if step == 10 {
                whole.save(folder.path()).unwrap();
            }
        }
        let resumed = Controller::new(None, Allowance::default());
        resumed.resume(folder.path(), 10).unwrap();
        resumed.set_step(15);
        resumed.update(&shares(0.9)).unwrap();
        assert_eq!(resumed.level(), whole.level());
        resumed.update(&shares(0.9)).unwrap();
        assert_eq!(resumed.state().changes, whole.state().changes);
    }

    /// Penalty with gradient 3 on `p` and value 5.
    struct Three;

    impl Penalty for Three {
        fn name(&self) -> &'static str {
            "three"
        }

        fn add(
            &self,
            _: &BTreeMap<String, Var>,
            gradients: &mut BTreeMap<String, Tensor>,
            scale: f64,
        ) -> Result<f64, TrainError> {
            let gradient = gradients.remove("p").unwrap();
            gradients.insert("p".into(), (gradient + 3.0 * scale)?);
            Ok(5.0)
        }
    }

    /// Scales penalties and replay by the power of two of the level: up after a violation, down with room.
    #[test]
    fn a_violation_raises_the_strength_and_room_lowers_it() {
        let controller = Arc::new(Controller::new(None, Allowance::default()));
        let controlled = ControlledPenalty {
            penalty: Box::new(Three),
            controller: Arc::clone(&controller),
        };
        // Four times the limit raises the level by the largest step, half a power; no use of the limit lowers it by a
        // quarter.
        for (step, share, level) in [(0, 4.0, 0.0), (1, 4.0, 0.5), (2, 0.0, 0.25)] {
            controller.set_step(step);
            let shares = BTreeMap::from([("a".to_owned(), share), ("b".to_owned(), 0.0)]);
            controller.update(&shares).unwrap();
            let factor = f64::powf(2.0, level);
            let near = |found: f64, expected: f64| (found - expected).abs() < 1e-5 * expected;
            assert!(
                near(controller.factor(), factor),
                "{step}: {}",
                controller.factor()
            );
            let zero =
                Tensor::zeros((), candle_core::DType::F64, &candle_core::Device::Cpu).unwrap();
            let mut gradients = BTreeMap::from([("p".to_owned(), zero)]);
            let value = controlled
                .add(&BTreeMap::new(), &mut gradients, 7.0)
                .unwrap();
            assert!(near(value, 5.0 * factor), "{step}: {value}");
            let gradient = gradients["p"].to_scalar::<f64>().unwrap();
            assert!(near(gradient, 21.0 * factor), "{step}: {gradient}");
            assert!(near(share_at(0.2, level), 0.2 * factor), "{step}");
        }
    }
}
