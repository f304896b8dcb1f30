//! Update rules of the controller: its level, the allowed excess during training, and the weights of replayed
//! domains.

use std::collections::BTreeMap;

use polymath_train::{Training, learning_rate};

/// Minimum and maximum of the level. Penalties are multiplied by 2^level.
const LEVELS: (f64, f64) = (-4.0, 6.0);
/// Gain of the controller: share of the violation's logarithm by which the level changes at one evaluation.
/// Forgetting responds over the next few evaluations.
const GAIN: f64 = 0.5;
/// Number of evaluations by which the violation is extrapolated linearly, since a change of the level acts over the
/// next few.
const AHEAD: f64 = 1.0;
/// Maximum increase and maximum decrease of the level at one evaluation.
const MOST: (f64, f64) = (0.5, 0.25);
/// Violation below which the level decreases. It is far below 1, because too much retention costs the niche less than
/// too little: afterwards, the result can be extrapolated beyond the last checkpoint, whereas with too little it must
/// be interpolated towards the base.
const ROOM: f64 = 0.25;
/// Maximum excess that is allowed during training at the full learning rate, in units of the limit.
const BEYOND: f64 = 2.0;
/// Minimum and maximum of the log₂ weights of replayed domains.
const LOG_WEIGHTS: (f64, f64) = (-3.0, 3.0);
/// Minimum of a domain's share of its limit in the rules, also for a domain that gains.
const LEAST: f64 = 1.0 / 16.0;

/// Excess that the worst domain is allowed during training. A run at its full learning rate forgets more than at its
/// end: in the measured runs, between almost nothing and two thirds of the forgetting vanishes as the learning rate
/// decreases.
#[derive(Debug, Clone, Default)]
pub struct Allowance(Option<(Training, u64)>);

impl Allowance {
    /// Makes the allowance of a run of `total` steps.
    pub fn new(training: &Training, total: u64) -> Self {
        let of_one = Training {
            learning_rate: 1.0,
            ..training.clone()
        };
        Self(Some((of_one, total)))
    }

    /// Returns the allowance after `step` in units of the limit: 1 plus twice the remaining decrease of the learning
    /// rate, as a share of its peak.
    pub(crate) fn at(&self, step: u64) -> f64 {
        let Some((training, total)) = &self.0 else {
            return 1.0;
        };
        let rate = |step: u64| learning_rate(training, step, *total);
        1.0 + BEYOND * (rate(step) - rate(*total)).max(0.0)
    }
}

/// Returns the next level. The violation is the worst domain's share of its limit, divided by the allowance. The
/// level increases by a share of the expected violation's logarithm if the expected violation exceeds 1. It decreases
/// if both the violation and its extrapolation are small, and stays otherwise. So the controller reacts while the
/// violation still grows, does not decrease the level because forgetting has not responded yet, and waits while a
/// domain recovers.
pub(super) fn next_level(level: f64, violation: f64, before: f64) -> f64 {
    let expected = violation + AHEAD * (violation - before);
    let most = violation.max(expected).max(LEAST);
    let next = if expected > 1.0 {
        level + (GAIN * expected.log2()).min(MOST.0)
    } else if most < ROOM {
        level - (GAIN * (ROOM / most).log2()).min(MOST.1)
    } else {
        level
    };
    next.clamp(LEVELS.0, LEVELS.1)
}

/// Updates the log₂ weights of the replayed domains. Domains that use more of their limits than others are replayed
/// more, as in Group DRO ([Sagawa 2020](https://arxiv.org/abs/1911.08731)). `shares` are shares of the limits; a
/// domain without a limit needs no replay.
pub(super) fn update_log_weights(
    before: &BTreeMap<String, f64>,
    replayed: &[String],
    shares: &BTreeMap<String, f64>,
) -> BTreeMap<String, f64> {
    let of = |share: &f64| share.max(LEAST).log2();
    let mean = shares.values().map(of).sum::<f64>() / shares.len().max(1) as f64;
    let log_weights = |name: &String| {
        let apart = shares.get(name).map_or(LEAST.log2(), of) - mean;
        let before = before.get(name).copied().unwrap_or(0.0);
        let next = (before + GAIN * apart).clamp(LOG_WEIGHTS.0, LOG_WEIGHTS.1);
        (name.clone(), next)
    };
    replayed.iter().map(log_weights).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the level increases if the violation is expected to exceed 1, decreases if it is small, stays in
    /// between, and waits while the violation grows or decreases by itself.
    #[test]
    fn the_level_follows_the_worst_domain() {
        assert_eq!(next_level(0.0, 2.0, 2.0), 0.5);
        assert_eq!(next_level(0.0, 1.1, 0.2), 0.5);
        assert_eq!(next_level(0.0, 100.0, 50.0), 0.5);
        assert_eq!(next_level(1.0, 0.9, 0.9), 1.0);
        assert_eq!(next_level(1.0, 0.2, 0.1), 1.0);
        assert_eq!(next_level(1.0, 0.2, 0.7), 1.0 - 0.5 * 1.25f64.log2());
        assert_eq!(next_level(1.0, 0.0, 0.0), 0.75);
        assert_eq!(next_level(1.0, 1.4, 1.9), 1.0);
        assert_eq!(next_level(6.0, 9.0, 9.0), 6.0);
    }

    /// Checks that the allowance is three times the limit at the full learning rate and the limit at the end, and
    /// that a constant rate allows no excess.
    #[test]
    fn the_allowance_ends_with_the_rate() {
        let training = |text: &str| {
            let config: polymath_train::TrainingConfig = toml::from_str(text).unwrap();
            config.resolve(&polymath_train::TrainingDefaults {
                length: polymath_train::Length::Steps(1),
                batch_size: 1,
                sequence_length: 1,
                learning_rate: 3.0,
                optimizer: polymath_train::OptimizerChoice::Adamw,
                weight_decay: polymath_train::WEIGHT_DECAY,
                padding: 0.0,
                epoch_tokens: 1,
                tokens_at_once: None,
            })
        };
        let falling = training("steps = 100\nwarmup_steps = 0\nminimum_learning_rate_ratio = 0.0");
        let allowance = Allowance::new(&falling, 100);
        assert!(allowance.at(1) > 2.98 && allowance.at(1) <= 3.0);
        assert!((allowance.at(50) - 2.0).abs() < 1e-9);
        assert_eq!(allowance.at(100), 1.0);
        let constant = training("steps = 100\nschedule = \"constant\"");
        assert_eq!(Allowance::new(&constant, 100).at(50), 1.0);
    }

    /// Checks on a simulated run that the controller settles within the limit, not far below it, and stays there.
    /// Forgetting drifts towards a value that the level decreases by one of several powers.
    #[test]
    fn forgetting_settles_within_the_limit() {
        for start in [0.05, 0.5, 1.5, 3.0, 8.0] {
            for power in [0.7, 1.0, 1.5, 2.0] {
                let (mut level, mut violation, mut rise) = (0.0, 0.0, 0.0);
                for evaluation in 0..60 {
                    let target = start / f64::exp2(power * level);
                    rise += 0.3 * (target - rise);
                    level = next_level(level, rise, violation);
                    violation = rise;
                    if evaluation > 30 {
                        assert!(
                            (0.2..1.1).contains(&violation),
                            "{start} by {power}: {violation} at {evaluation}"
                        );
                    }
                }
            }
        }
    }

    /// Checks that a domain that uses more of its limit is replayed more, within bounds, and one that gains or has no
    /// limit less.
    #[test]
    fn replay_favors_domains_near_their_limits() {
        let names = ["a", "b", "free"].map(str::to_owned);
        let shares = BTreeMap::from([("a".to_owned(), 1.0), ("b".to_owned(), 0.25)]);
        let first = update_log_weights(&BTreeMap::new(), &names, &shares);
        assert_eq!((first["a"], first["b"], first["free"]), (0.5, -0.5, -1.5));
        let mut later = first;
        for _ in 0..20 {
            later = update_log_weights(&later, &names, &shares);
        }
        assert_eq!((later["a"], later["b"], later["free"]), (3.0, -3.0, -3.0));
        let gained = BTreeMap::from([("a".to_owned(), 0.0), ("b".to_owned(), 0.0)]);
        assert_eq!(
            update_log_weights(&BTreeMap::new(), &names, &gained)["a"],
            0.0
        );
    }
}
