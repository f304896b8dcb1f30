//! Controller of the forgetting limits. It adjusts one number, the level: retention gets stronger by the factor
//! 2^level. It raises the level when retained domains exceed their limits, and lowers it when they hardly use them.

use std::collections::BTreeMap;
use std::path::Path;

use polymath_data::ReplayStream;
use polymath_train::{ControlPlan, ReplayPlan, TrainError};
use serde::{Deserialize, Serialize};

use super::control_rules::{Allowance, next_level, update_log_weights};

/// Minimum and maximum share of replayed rows that the controller may set.
const SHARES: (f64, f64) = (0.005, 0.5);

const FILE: &str = "control.json";

/// Version of the rule that chooses the documents by which the controller is steered. Version 1, which was not
/// recorded, scored the whole dev split; version 2 scores a sample of it.
const RULE: u32 = 2;

/// State of the controller, stored as `control.json` in a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct ControllerState {
    /// Version of the rule that chooses the documents ([`RULE`]).
    #[serde(default = "first_rule")]
    rule: u32,
    /// Every change of the level so far, ordered by step.
    changes: Vec<LevelChange>,
}

fn first_rule() -> u32 {
    1
}

/// Level of the controller and replay weights of the domains, valid from one step until the next change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct LevelChange {
    step: u64,
    level: f64,
    /// Violation of the limits that caused the change: the largest share of a limit in use, divided by the allowed
    /// share.
    #[serde(rename = "strain")]
    violation: f64,
    /// Log₂ of the factor that multiplies each replayed domain's weight.
    #[serde(rename = "leaning")]
    log_weights: BTreeMap<String, f64>,
}

/// Replay settings of a run before the controller changes them, that is, at level 0.
pub struct ControlledReplay {
    /// Share of a batch's rows that are replayed at level 0.
    pub share: f64,
    /// Replayed domains, in the order of the batch source.
    pub domains: Vec<ReplayedDomain>,
}

impl ControlledReplay {
    /// Returns the replay settings at level 0: the domains and weights of `stream`, and the share `share` of replayed
    /// rows.
    pub fn of(stream: &ReplayStream, share: f64) -> Self {
        let domains = stream.replayed().iter().map(|part| ReplayedDomain {
            name: part.name.clone(),
            weight: part.weight,
        });
        Self {
            share,
            domains: domains.collect(),
        }
    }

    fn share_at(&self, level: f64) -> f64 {
        share_at(self.share, level)
    }

    /// Returns the relative weight of each replayed domain, in the order of [`Self::domains`].
    fn weights(&self, log_weights: &BTreeMap<String, f64>) -> Vec<f64> {
        let log_weight = |name: &String| log_weights.get(name).copied().unwrap_or(0.0);
        let domains = self.domains.iter();
        domains
            .map(|domain| domain.weight * log_weight(&domain.name).exp2())
            .collect()
    }
}

/// Domain from which rows are replayed, with its weight.
pub struct ReplayedDomain {
    /// Name of the domain.
    pub name: String,
    /// Relative weight of the domain among the replayed rows at level 0.
    pub weight: f64,
}

/// Controller of the retention strength in a run with limits. Level 0 means the strengths in the config. Each level
/// above doubles the strength of penalties and distillation, and the share of replayed rows.
pub struct LimitController {
    /// Every change of the level so far, ordered by step.
    changes: Vec<LevelChange>,
    replay: Option<ControlledReplay>,
    allowance: Allowance,
}

impl LimitController {
    /// Makes a controller at level 0, that is, with the strengths in the config.
    pub fn new(replay: Option<ControlledReplay>, allowance: Allowance) -> Self {
        Self {
            changes: Vec::new(),
            replay,
            allowance,
        }
    }

    /// Restores the state from the `control.json` of a checkpoint.
    ///
    /// # Errors
    /// Fails if the file can't be read, or if the run was steered by another rule.
    pub fn resume(&mut self, checkpoint: &Path) -> Result<(), TrainError> {
        let path = checkpoint.join(FILE);
        let text = polymath_base::read(&path).map_err(TrainError::file("read", &path))?;
        let state: ControllerState = serde_json::from_slice(&text).map_err(|error| {
            TrainError::Config(format!(
                "`{}` is not the state of a controller: {error}",
                path.display()
            ))
        })?;
        if state.rule != RULE {
            return Err(TrainError::Run(format!(
                "the checkpoint `{}` is of a version of Polymath that steers runs with limits by rule {}, where this one has \
                 rule {RULE}: it would continue on other held-out documents. Finish the run with the program that started it, \
                 or choose another `run` and train again; its checkpoints can still be evaluated",
                checkpoint.display(),
                state.rule
            )));
        }
        self.changes = state.changes;
        Ok(())
    }

    /// Returns the current level of the controller; retention has 2^level times its strength in the config.
    pub fn level(&self) -> f64 {
        self.changes.last().map_or(0.0, |last| last.level)
    }

    /// Returns the factor by which penalties and distillation are multiplied: 2^level.
    pub fn factor(&self) -> f64 {
        self.level().exp2()
    }

    /// Returns the current share of replayed rows, or `None` if the run replays none.
    pub fn share(&self) -> Option<f64> {
        let replay = self.replay.as_ref()?;
        Some(replay.share_at(self.level()))
    }

    /// Returns the share of each domain among the replayed rows.
    pub fn parts(&self) -> BTreeMap<String, f64> {
        let Some(replay) = &self.replay else {
            return BTreeMap::new();
        };
        let last = self.changes.last();
        let log_weights = last.map_or_else(BTreeMap::new, |last| last.log_weights.clone());
        let weights = replay.weights(&log_weights);
        let sum: f64 = weights.iter().sum();
        let names = replay.domains.iter().map(|domain| domain.name.clone());
        names
            .zip(weights.iter().map(|weight| weight / sum))
            .collect()
    }

    /// Returns the names of the replayed domains.
    fn replayed(&self) -> Vec<String> {
        let domains = self.replay.iter().flat_map(|replay| &replay.domains);
        domains.map(|domain| domain.name.clone()).collect()
    }

    /// Converts a change of the level to a [`ControlPlan`] for the training loop.
    fn planned(&self, change: &LevelChange) -> ControlPlan {
        let replay = self.replay.as_ref().map(|replay| ReplayPlan {
            share: replay.share_at(change.level),
            weights: replay.weights(&change.log_weights),
        });
        ControlPlan {
            step: change.step,
            strength: change.level.exp2(),
            replay,
        }
    }
}

impl polymath_train::Controller for LimitController {
    /// Plans the level and the replay weights for the steps from `step` on. `limit_shares` holds, for each retained
    /// domain, the upper bound of its increase in bits per byte divided by its limit. Makes no plan before the first
    /// step, when nothing has been forgotten.
    fn plan(&mut self, step: u64, limit_shares: &BTreeMap<String, f64>) -> Option<ControlPlan> {
        if step == 0 {
            return None;
        }
        self.changes.retain(|change| change.step < step);
        let worst = limit_shares.values().copied().fold(0.0, f64::max);
        let violation = worst / self.allowance.at(step);
        let last = self.changes.last().cloned().unwrap_or_default();
        let change = LevelChange {
            step,
            level: next_level(last.level, violation, last.violation),
            violation,
            log_weights: update_log_weights(&last.log_weights, &self.replayed(), limit_shares),
        };
        let plan = self.planned(&change);
        self.changes.push(change);
        Some(plan)
    }

    fn plans(&self) -> Vec<ControlPlan> {
        let changes = self.changes.iter();
        changes.map(|change| self.planned(change)).collect()
    }

    fn save(&self, checkpoint: &Path) -> Result<(), TrainError> {
        let path = checkpoint.join(FILE);
        let state = ControllerState {
            rule: RULE,
            changes: self.changes.clone(),
        };
        let text = serde_json::to_string(&state).expect("a state is numbers");
        std::fs::write(&path, text + "\n").map_err(TrainError::file("write", &path))
    }

    fn control(&self) -> BTreeMap<String, f64> {
        let mut control = BTreeMap::from([("strength".to_owned(), self.factor())]);
        if let Some(share) = self.share() {
            control.insert("replay_share".to_owned(), share);
            let parts = self.parts().into_iter();
            control.extend(parts.map(|(name, part)| (format!("replayed_{name}"), part)));
        }
        control
    }

    fn note(&self) -> Option<String> {
        let level = |back: usize| {
            let changes = self.changes.iter().rev();
            changes.map(|change| change.level).nth(back).unwrap_or(0.0)
        };
        if level(0) == level(1) {
            return None;
        }
        let strength = format!("strength × {:.2} from here", self.factor());
        Some(match self.share() {
            Some(share) => format!("replaying {:.1} %, {strength}", share * 100.0),
            None => strength,
        })
    }
}

fn share_at(share: f64, level: f64) -> f64 {
    (share * level.exp2()).clamp(SHARES.0, SHARES.1)
}

#[cfg(test)]
mod tests {
    use polymath_train::Controller;

    use super::*;

    /// Checks that a controller restored from a checkpoint makes the same plans as an uninterrupted one, and that a
    /// repeated evaluation of the same step counts once.
    #[test]
    fn resuming_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let shares = |worst| BTreeMap::from([("a".to_owned(), worst), ("b".to_owned(), 0.1)]);
        let mut whole = LimitController::new(None, Allowance::default());
        for (step, worst) in [(0, 0.0), (5, 0.3), (10, 0.2), (15, 0.9)] {
            whole.plan(step, &shares(worst));
            if step == 10 {
                whole.save(folder.path()).unwrap();
            }
        }
        let mut resumed = LimitController::new(None, Allowance::default());
        resumed.resume(folder.path()).unwrap();
        assert_eq!(resumed.plans(), whole.plans()[..2]);
        resumed.plan(15, &shares(0.9));
        assert_eq!(resumed.level(), whole.level());
        resumed.plan(15, &shares(0.9));
        assert_eq!(resumed.changes, whole.changes);
    }

    /// Checks that a state by another rule is refused with both rules named, that the names of the format's keys are
    /// read, and that a domain that uses more of its limit is replayed more.
    #[test]
    fn a_state_of_the_same_rule_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let changes =
            r#""changes":[{"step":5,"level":1.0,"strain":1.5,"leaning":{"a":1.0,"b":-1.0}}]"#;
        let write = |rule: &str| {
            std::fs::write(folder.path().join(FILE), format!("{{{rule}{changes}}}")).unwrap();
        };
        for (rule, named) in [("", "by rule 1"), (r#""rule":3,"#, "by rule 3")] {
            write(rule);
            let mut controller = LimitController::new(None, Allowance::default());
            let said = controller.resume(folder.path()).unwrap_err().to_string();
            assert!(
                said.contains(named) && said.contains("has rule 2"),
                "{said}"
            );
        }
        write(r#""rule":2,"#);
        let domain = |name: &str| ReplayedDomain {
            name: name.into(),
            weight: 0.5,
        };
        let replay = ControlledReplay {
            share: 0.2,
            domains: vec![domain("a"), domain("b")],
        };
        let mut controller = LimitController::new(Some(replay), Allowance::default());
        controller.resume(folder.path()).unwrap();
        let expected = ControlPlan {
            step: 5,
            strength: 2.0,
            replay: Some(ReplayPlan {
                share: 0.4,
                weights: vec![1.0, 0.25],
            }),
        };
        assert_eq!(controller.plans(), [expected]);
        assert_eq!(controller.parts()["a"], 0.8);
    }

    /// Checks that the console line gives the strength only when it changes.
    #[test]
    fn only_a_changed_strength_is_said() {
        let mut controller = LimitController::new(None, Allowance::default());
        let mut said = |step, share| {
            controller.plan(step, &BTreeMap::from([("a".to_owned(), share)]));
            controller.note()
        };
        assert_eq!(said(0, 0.0), None);
        assert_eq!(said(1, 0.3), None);
        assert!(said(2, 4.0).unwrap().contains("strength × 1.41 from here"));
        assert_eq!(said(3, 0.9), None);
    }

    /// Checks that penalties are multiplied by 2^level, and that the level increases after a violation of the limits
    /// and decreases if the limits are hardly used.
    #[test]
    fn the_strength_follows_the_violation() {
        let mut controller = LimitController::new(None, Allowance::default());
        // Four times the limit raises the level by the largest step, 0.5; no use of the limit lowers it by 0.25.
        for (step, share, level) in [(0, 4.0, 0.0), (1, 4.0, 0.5), (2, 0.0, 0.25)] {
            let shares = BTreeMap::from([("a".to_owned(), share), ("b".to_owned(), 0.0)]);
            let plan = controller.plan(step, &shares);
            let factor = f64::powf(2.0, level);
            let near = |found: f64, expected: f64| (found - expected).abs() < 1e-5 * expected;
            assert!(
                near(controller.factor(), factor),
                "{step}: {}",
                controller.factor()
            );
            assert_eq!(plan.is_some(), step > 0);
            assert!(plan.is_none_or(|plan| near(plan.strength, factor)));
            assert!(near(share_at(0.2, level), 0.2 * factor), "{step}");
        }
    }
}
