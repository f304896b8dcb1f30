//! The controller: how hard a run is held back, by how far the old domains are from their limits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Tensor, Var};
use polymath_data::ReplayStream;
use polymath_train::{Penalty, TrainError};
use serde::{Deserialize, Serialize};

/// The level's bounds: penalties are multiplied by 2^level.
const LEVELS: (f64, f64) = (-4.0, 6.0);
/// Bounds of what is replayed.
const SHARES: (f64, f64) = (0.005, 0.5);
/// How much the level rises at one evaluation, at least and at most.
const RISE: (f64, f64) = (0.5, 1.5);
/// How much it falls at one evaluation.
const FALL: f64 = 0.25;
/// Below this share of its limit, the worst domain leaves room to fall.
const ROOM: f64 = 0.5;
/// A domain that comes down by this factor from one evaluation to the next is coming back: the level waits.
const COMING_BACK: f64 = 0.8;

const FILE: &str = "control.json";

/// What a checkpoint keeps of the controller.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// (step, level from it on), in order.
    levels: Vec<(u64, f64)>,
    /// The worst domain's rise as a share of its limit, at the last evaluation.
    worst: f64,
}

/// How hard the run is held back. Level 0 is what the config says; each level above doubles the strength of penalties and
/// distillation, and the share of replayed rows.
pub struct Pressure {
    state: Mutex<State>,
    /// Steps that are done.
    step: Mutex<u64>,
    replay: Option<(Arc<ReplayStream>, f64)>,
}

impl Pressure {
    /// Level 0; `replay` is the stream whose share it moves, and the share at that level.
    pub fn new(replay: Option<(Arc<ReplayStream>, f64)>) -> Self {
        Self {
            state: Mutex::default(),
            step: Mutex::new(0),
            replay,
        }
    }

    /// Takes up what a checkpoint of `step` keeps.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn resume(&self, checkpoint: &Path, step: u64) -> Result<(), TrainError> {
        let path = checkpoint.join(FILE);
        let text = std::fs::read(&path).map_err(TrainError::file("read", &path))?;
        let state: State = serde_json::from_slice(&text).map_err(|error| {
            TrainError::Config(format!(
                "`{}` is no controller's state: {error}",
                path.display()
            ))
        })?;
        for (step, level) in &state.levels {
            self.replay_at(*step, *level)?;
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
        self.state().levels.last().map_or(0.0, |(_, level)| *level)
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

    /// Takes an evaluation in, in which the worst domain's rise (the upper end of its interval) was so large a share of its
    /// limit, and moves the level for the steps to come. Before the first step nothing has risen, and nothing moves.
    ///
    /// # Errors
    /// Never, for shares inside their bounds.
    pub fn take(&self, worst: f64) -> Result<(), TrainError> {
        let step = *self.step.lock().unwrap_or_else(PoisonError::into_inner);
        if step == 0 {
            return Ok(());
        }
        let mut state = self.state();
        state.levels.retain(|(at, _)| *at < step);
        let level = state.levels.last().map_or(0.0, |(_, level)| *level);
        let next = next_level(level, worst, state.worst);
        state.levels.push((step, next));
        state.worst = worst;
        drop(state);
        self.replay_at(step, next)
    }

    fn replay_at(&self, step: u64, level: f64) -> Result<(), TrainError> {
        if let Some((stream, share)) = &self.replay {
            let changed = stream.change_share(step, share_at(*share, level));
            changed.map_err(|error| TrainError::Hook(Box::new(error)))?;
        }
        Ok(())
    }
}

fn share_at(share: f64, level: f64) -> f64 {
    (share * level.exp2()).clamp(SHARES.0, SHARES.1)
}

/// Up by the logarithm of the excess where the worst domain is outside and not coming back by itself, down a little where
/// it has room, and as it is between: what is replayed now acts over the next evaluations, so that a faster answer, or one
/// without a dead zone, would swing.
fn next_level(level: f64, worst: f64, before: f64) -> f64 {
    let coming_back = before > 0.0 && worst < COMING_BACK * before;
    let next = if worst > 1.0 && !coming_back {
        level + worst.log2().clamp(RISE.0, RISE.1)
    } else if worst < ROOM {
        level - FALL
    } else {
        level
    };
    next.clamp(LEVELS.0, LEVELS.1)
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

    /// Outside it rises, with room it falls, between it stays, and what comes back by itself is left alone.
    #[test]
    fn the_level_follows_the_worst_domain() {
        assert_eq!(next_level(0.0, 2.0, 2.0), 1.0);
        assert_eq!(next_level(0.0, 1.01, 1.01), 0.5);
        assert_eq!(next_level(0.0, 100.0, 50.0), 1.5);
        assert_eq!(next_level(1.0, 0.7, 0.7), 1.0);
        assert_eq!(next_level(1.0, 0.4, 0.7), 0.75);
        assert_eq!(next_level(1.0, 1.5, 2.0), 1.0);
        assert_eq!(next_level(6.0, 9.0, 9.0), 6.0);
    }

    /// On a plant whose forgetting drifts towards a level that replay halves, the controller comes inside and stays.
    #[test]
    fn it_settles_inside() {
        for strength in [1.5, 3.0, 8.0] {
            let (mut level, mut worst, mut rise) = (0.0, 0.0, 0.0);
            for evaluation in 0..60 {
                let target = strength / f64::exp2(level);
                rise += 0.3 * (target - rise);
                level = next_level(level, rise, worst);
                worst = rise;
                if evaluation > 30 {
                    assert!(
                        (0.3..1.05).contains(&worst),
                        "{strength}: {worst} at {evaluation}"
                    );
                }
            }
        }
    }

    /// A controller that is saved and resumed goes on as one that was not; an evaluation that is repeated counts once.
    #[test]
    fn resuming_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let whole = Pressure::new(None);
        for (step, worst) in [(0, 0.0), (5, 3.0), (10, 2.9), (15, 0.2)] {
            whole.at(step);
            whole.take(worst).unwrap();
            if step == 10 {
                whole.save(folder.path()).unwrap();
            }
        }
        let resumed = Pressure::new(None);
        resumed.resume(folder.path(), 10).unwrap();
        resumed.at(15);
        resumed.take(0.2).unwrap();
        assert_eq!(resumed.level(), whole.level());
        resumed.take(0.2).unwrap();
        assert_eq!(resumed.state().levels, whole.state().levels);
    }
}
