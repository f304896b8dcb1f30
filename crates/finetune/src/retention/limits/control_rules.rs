//! Update rules of the limit controller. They set its level (the strength of retention is 2^level), the excess over the
//! limits that it allows during training, and the weights of the replayed domains.

use std::collections::BTreeMap;

use polymath_train::{Training, learning_rate};

/// Minimum and maximum of the controller's level. The strength of penalties and distillation is multiplied by 2^level.
const LEVELS: (f64, f64) = (-4.0, 6.0);
/// Gain of the controller: the level changes by this factor times log₂ of the violation at each evaluation. It is
/// below 1, since forgetting responds to a new level only over the next few evaluations.
const GAIN: f64 = 0.5;
/// Number of evaluations by which the controller extrapolates the violation of the limits linearly. It looks ahead
/// because a new strength of retention takes effect only over the next few evaluations.
const AHEAD: f64 = 1.0;
/// Maximum increase and maximum decrease of the controller's level at one evaluation.
const MOST: (f64, f64) = (0.5, 0.25);
/// Violation below which the controller's level decreases. It is far below 1, because too much retention costs the
/// niche less than too little: after training, a model well within the limits can be extrapolated beyond the last
/// checkpoint, whereas one beyond the limits must be interpolated towards the base.
const ROOM: f64 = 0.25;
/// Maximum excess over a limit that is allowed during training, as a multiple of the limit. It applies at the peak
/// learning rate and shrinks to 0 at the end of the run.
const BEYOND: f64 = 2.0;
/// Minimum and maximum of the log₂ of the factors that change how much each domain is replayed.
const LOG_WEIGHTS: (f64, f64) = (-3.0, 3.0);
/// Minimum share of its limit that a domain counts as using in the update rules, even if the domain improved.
const LEAST: f64 = 1.0 / 16.0;

/// Forgetting that the worst domain is allowed during training, as a multiple of its limit. It is above 1 while the
/// learning rate is high, since forgetting decreases again with the learning rate: in measured runs, between almost
/// none and two thirds of the forgetting vanished towards the end.
#[derive(Debug, Clone, Default)]
pub struct Allowance(Option<(Training, u64)>);

impl Allowance {
    /// Makes the allowance of a run of `total` steps, from its learning-rate schedule.
    pub fn new(training: &Training, total: u64) -> Self {
        let of_one = Training {
            learning_rate: 1.0,
            ..training.clone()
        };
        Self(Some((of_one, total)))
    }

    /// Returns the allowed forgetting after `step`, as a multiple of the limit: 1 plus twice the amount by which the
    /// learning rate will still decrease until the end, as a share of its peak.
    pub(crate) fn at(&self, step: u64) -> f64 {
        let Some((training, total)) = &self.0 else {
            return 1.0;
        };
        let rate = |step: u64| learning_rate(training, step, *total);
        1.0 + BEYOND * (rate(step) - rate(*total)).max(0.0)
    }
}

/// Returns the controller's next level, from its current level and the violations at this evaluation and the one
/// before. The violation is the largest share of a limit that any domain uses, divided by the allowance
/// ([`Allowance`]). The level increases in proportion to log₂ of the extrapolated violation if that exceeds 1. The
/// level decreases if both the measured and the extrapolated violation are small, and otherwise stays. So the
/// controller reacts while forgetting still grows, does not lower the level just because forgetting has not responded
/// yet, and waits while a domain recovers.
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

/// Returns new log₂ weights of the replayed domains. Domains that use more of their limits than others get more replay,
/// as in Group DRO ([Sagawa 2020](https://arxiv.org/abs/1911.08731)). `shares` holds for each domain the share of its
/// limit that it uses. A domain without a limit counts as using the minimum.
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

    /// Checks that the level increases if the violation is expected to exceed 1, decreases if the violation is small,
    /// stays in between, and waits while the violation grows or decreases at an unchanged level.
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

    /// Checks steps of the level by hand that no bound cuts, and its lowest value: the violation is extrapolated by its
    /// last change, and half of its log₂ is added.
    #[test]
    fn the_level_moves_by_half_the_logarithm() {
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        // Expected are 1.2 + 0.1 and 1.6 − 0.4.
        close(next_level(2.0, 1.2, 1.1), 2.0 + 0.5 * 1.3f64.log2());
        close(next_level(2.0, 1.6, 2.0), 2.0 + 0.5 * 1.2f64.log2());
        // The larger of measured and expected violation decides: 0.22, and 0.18 + 0.03.
        close(
            next_level(2.0, 0.22, 0.24),
            2.0 - 0.5 * (0.25f64 / 0.22).log2(),
        );
        close(
            next_level(2.0, 0.18, 0.15),
            2.0 - 0.5 * (0.25f64 / 0.21).log2(),
        );
        assert_eq!(next_level(-3.9, 0.0, 0.0), -4.0);
        assert_eq!(Allowance::default().at(3), 1.0);
    }

    /// Checks by hand weights that begin apart: half of the distance of a domain's log₂ share from the mean is added.
    #[test]
    fn weights_move_by_half_the_logarithm() {
        let names = ["a", "b", "free"].map(str::to_owned);
        let before = BTreeMap::from([("a".to_owned(), 0.25), ("free".to_owned(), 1.0)]);
        let shares = BTreeMap::from([("a".to_owned(), 4.0), ("b".to_owned(), 0.5)]);
        // log₂ 4 = 2 and log₂ ½ = −1 have the mean ½; a sixteenth counts as −4.
        let found = update_log_weights(&before, &names, &shares);
        assert_eq!(
            (found["a"], found["b"], found["free"]),
            (0.25 + 0.75, -0.75, 1.0 - 2.25)
        );
        let free = update_log_weights(&before, &names, &BTreeMap::new());
        assert_eq!((free["a"], free["b"], free["free"]), (-1.75, -2.0, -1.0));
    }

    /// Checks that the allowed forgetting is three times the limit at the peak learning rate and exactly the limit at
    /// the last step, and that a constant learning rate allows no excess.
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

    /// Checks on a simulated run that forgetting settles slightly below the limit and stays there. In the simulation,
    /// forgetting drifts towards a value that decreases as a power of the strength, for several powers.
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

    /// Checks that a domain that uses more of its limit is replayed more, within bounds, and that a domain that
    /// improved or has no limit is replayed less.
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
