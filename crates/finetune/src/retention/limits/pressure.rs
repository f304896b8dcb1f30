//! The controller: how hard a run is held back, by how far the old domains are from their limits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Tensor, Var};
use polymath_data::ReplayStream;
use polymath_train::{Penalty, TrainError};
use serde::{Deserialize, Serialize};

use super::control::{Allowance, lean, next_level};

/// Bounds of what is replayed.
const SHARES: (f64, f64) = (0.005, 0.5);

const FILE: &str = "control.json";

/// What a checkpoint keeps of the controller.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// In order.
    changes: Vec<Change>,
}

/// How it stands from a step on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Change {
    step: u64,
    level: f64,
    /// What it was decided by.
    strain: f64,
    /// How much more of each domain is replayed than of others, in powers of two.
    leaning: BTreeMap<String, f64>,
}

/// How hard the run is held back. Level 0 is what the config says; each level above doubles the strength of penalties and
/// distillation, and the share of replayed rows.
pub struct Pressure {
    state: Mutex<State>,
    /// Steps that are done.
    step: Mutex<u64>,
    replay: Option<(Arc<ReplayStream>, f64)>,
    allowance: Allowance,
}

impl Pressure {
    /// Level 0; `replay` is the stream whose share it moves, and the share at that level.
    pub fn new(replay: Option<(Arc<ReplayStream>, f64)>, allowance: Allowance) -> Self {
        Self {
            state: Mutex::default(),
            step: Mutex::new(0),
            replay,
            allowance,
        }
    }

    /// Takes up what a checkpoint of `step` keeps.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn resume(&self, checkpoint: &Path, step: u64) -> Result<(), TrainError> {
        let path = checkpoint.join(FILE);
        let text = polymath_files::read(&path).map_err(TrainError::file("read", &path))?;
        let state: State = serde_json::from_slice(&text).map_err(|error| {
            TrainError::Config(format!(
                "`{}` is no controller's state: {error}",
                path.display()
            ))
        })?;
        for change in &state.changes {
            self.replay(change)?;
        }
        *self.state() = state;
        self.at(step);
        Ok(())
    }

    /// Writes what [`Self::resume`] reads.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn save(&self, checkpoint: &Path) -> Result<(), TrainError> {
        let path = checkpoint.join(FILE);
        let text = serde_json::to_string(&*self.state()).expect("a state is numbers");
        std::fs::write(&path, text + "\n").map_err(TrainError::file("write", &path))
    }

    /// So many steps are done.
    pub fn at(&self, step: u64) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it stands.
    pub fn level(&self) -> f64 {
        self.state().changes.last().map_or(0.0, |last| last.level)
    }

    /// What penalties and distillation are multiplied by.
    pub fn factor(&self) -> f64 {
        self.level().exp2()
    }

    /// The share of rows that is replayed, where any is.
    pub fn share(&self) -> Option<f64> {
        let (_, share) = self.replay.as_ref()?;
        Some(share_at(*share, self.level()))
    }

    /// The part of each domain in what is replayed.
    pub fn parts(&self) -> BTreeMap<String, f64> {
        let Some((stream, _)) = &self.replay else {
            return BTreeMap::new();
        };
        let leaning = self.state().changes.last().map(|last| last.leaning.clone());
        let weights = weights(stream, &leaning.unwrap_or_default());
        let sum: f64 = weights.iter().sum();
        let names = stream.replayed().iter().map(|part| part.name.clone());
        names
            .zip(weights.iter().map(|weight| weight / sum))
            .collect()
    }

    /// Takes an evaluation in: of each old domain, what its rise may be on other documents, as a share of its limit. Moves level
    /// and leaning for the steps to come. Before the first step nothing has risen, and nothing moves.
    ///
    /// # Errors
    /// Never, for shares inside their bounds.
    pub fn take(&self, shares: &BTreeMap<String, f64>) -> Result<(), TrainError> {
        let step = *self.step.lock().unwrap_or_else(PoisonError::into_inner);
        if step == 0 {
            return Ok(());
        }
        let mut state = self.state();
        state.changes.retain(|change| change.step < step);
        let worst = shares.values().copied().fold(0.0, f64::max);
        let strain = worst / self.allowance.at(step);
        let last = state.changes.last().cloned().unwrap_or_default();
        let change = Change {
            step,
            level: next_level(last.level, strain, last.strain),
            strain,
            leaning: lean(&last.leaning, &self.replayed(), shares),
        };
        state.changes.push(change.clone());
        drop(state);
        self.replay(&change)
    }

    /// The names of the domains that are replayed.
    fn replayed(&self) -> Vec<String> {
        let parts = self.replay.iter().flat_map(|(stream, _)| stream.replayed());
        parts.map(|part| part.name.clone()).collect()
    }

    fn replay(&self, change: &Change) -> Result<(), TrainError> {
        if let Some((stream, share)) = &self.replay {
            let share = share_at(*share, change.level);
            let weights = weights(stream, &change.leaning);
            let changed = stream.change(change.step, share, Some(&weights));
            changed.map_err(|error| TrainError::Hook(Box::new(error)))?;
        }
        Ok(())
    }
}

fn share_at(share: f64, level: f64) -> f64 {
    (share * level.exp2()).clamp(SHARES.0, SHARES.1)
}

/// Of the replayed domains, in their order.
fn weights(stream: &ReplayStream, leaning: &BTreeMap<String, f64>) -> Vec<f64> {
    let parts = stream.replayed().iter();
    parts
        .map(|part| part.weight * leaning.get(&part.name).copied().unwrap_or(0.0).exp2())
        .collect()
}

/// A penalty that the controller strengthens and weakens.
pub struct Pressed {
    /// The penalty at level 0.
    pub penalty: Box<dyn Penalty>,
    /// The controller.
    pub pressure: Arc<Pressure>,
}

impl Penalty for Pressed {
    fn name(&self) -> &'static str {
        self.penalty.name()
    }

    fn add(
        &self,
        parameters: &BTreeMap<String, Var>,
        gradients: &mut BTreeMap<String, Tensor>,
        scale: f64,
    ) -> Result<f64, TrainError> {
        let factor = self.pressure.factor();
        Ok(factor * self.penalty.add(parameters, gradients, scale * factor)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A controller that is saved and resumed goes on as one that was not; an evaluation that is repeated counts once.
    #[test]
    fn resuming_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let shares = |worst| BTreeMap::from([("a".to_owned(), worst), ("b".to_owned(), 0.1)]);
        let whole = Pressure::new(None, Allowance::default());
        for (step, worst) in [(0, 0.0), (5, 0.3), (10, 0.2), (15, 0.9)] {
            whole.at(step);
            whole.take(&shares(worst)).unwrap();
            if step == 10 {
                whole.save(folder.path()).unwrap();
            }
        }
        let resumed = Pressure::new(None, Allowance::default());
        resumed.resume(folder.path(), 10).unwrap();
        resumed.at(15);
        resumed.take(&shares(0.9)).unwrap();
        assert_eq!(resumed.level(), whole.level());
        resumed.take(&shares(0.9)).unwrap();
        assert_eq!(resumed.state().changes, whole.state().changes);
    }

    /// Pulls `p` by 3 with a value of 5.
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

    /// What leaves its limit is held harder and replayed more, by the power of two of the level; where there is room, less.
    #[test]
    fn strain_raises_what_holds_and_room_lowers_it() {
        let pressure = Arc::new(Pressure::new(None, Allowance::default()));
        let pressed = Pressed {
            penalty: Box::new(Three),
            pressure: Arc::clone(&pressure),
        };
        // Four times the limit: up by the most at once, half a power; then nothing is used: down by a quarter.
        for (step, share, level) in [(0, 4.0, 0.0), (1, 4.0, 0.5), (2, 0.0, 0.25)] {
            pressure.at(step);
            let shares = BTreeMap::from([("a".to_owned(), share), ("b".to_owned(), 0.0)]);
            pressure.take(&shares).unwrap();
            let factor = f64::powf(2.0, level);
            let near = |found: f64, expected: f64| (found - expected).abs() < 1e-5 * expected;
            assert!(
                near(pressure.factor(), factor),
                "{step}: {}",
                pressure.factor()
            );
            let zero =
                Tensor::zeros((), candle_core::DType::F64, &candle_core::Device::Cpu).unwrap();
            let mut gradients = BTreeMap::from([("p".to_owned(), zero)]);
            let value = pressed.add(&BTreeMap::new(), &mut gradients, 7.0).unwrap();
            assert!(near(value, 5.0 * factor), "{step}: {value}");
            let gradient = gradients["p"].to_scalar::<f64>().unwrap();
            assert!(near(gradient, 21.0 * factor), "{step}: {gradient}");
            assert!(near(share_at(0.2, level), 0.2 * factor), "{step}");
        }
    }
}
