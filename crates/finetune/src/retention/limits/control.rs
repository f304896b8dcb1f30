//! The rules of the controller: how its level moves, what it allows on the way, and which domains it leans towards.

use std::collections::BTreeMap;

use polymath_train::{TrainingConfig, learning_rate};

/// The level's bounds: penalties are multiplied by 2^level.
const LEVELS: (f64, f64) = (-4.0, 6.0);
/// How much of the strain's logarithm the level moves by at one evaluation: forgetting answers over the next few.
const GAIN: f64 = 0.5;
/// How many evaluations it looks ahead, as if the strain went on as it went to this one: what acts now is seen over the next
/// few.
const AHEAD: f64 = 1.0;
/// How much the level rises and falls at one evaluation, at most.
const MOST: (f64, f64) = (0.5, 0.25);
/// Below this strain there is room to fall. Far below 1: the niche gets more out of a run that was held somewhat too hard, by
/// going on from its end, than out of one that was held too little and has to be brought back.
const ROOM: f64 = 0.25;
/// How far outside the worst domain may be on the way, beyond its limit, for the whole of the learning rate's fall.
const BEYOND: f64 = 2.0;
/// The bounds of how far replay leans towards a domain, in powers of two.
const LEANING: (f64, f64) = (-3.0, 3.0);
/// A domain that uses less of its limit, or gains, counts as using so much.
const LEAST: f64 = 1.0 / 16.0;

/// How far the worst domain may be outside on the way. At its full learning rate a run forgets more than it ends with: from
/// nearly nothing to two thirds of it goes again as the rate falls, in the runs that were looked at.
#[derive(Debug, Clone, Default)]
pub struct Allowance(Option<(TrainingConfig, u64)>);

impl Allowance {
    /// Of a run of `total` steps.
    pub fn new(training: &TrainingConfig, total: u64) -> Self {
        Self(Some((training.clone(), total)))
    }

    /// After `step`, in limits: 1 and twice what the learning rate still has to fall, as a share of its peak.
    pub(crate) fn at(&self, step: u64) -> f64 {
        let Some((training, total)) = &self.0 else {
            return 1.0;
        };
        let rate = |step: u64| learning_rate(training, 1.0, step, *total);
        1.0 + BEYOND * (rate(step) - rate(*total)).max(0.0)
    }
}

/// The strain is the worst domain's share of its limit, over what is allowed on the way. Up by the logarithm of the excess
/// where more than 1 is expected, down where there is room now and to come, and as it is between. So it answers while the strain
/// still grows, does not let go because forgetting has not answered yet, and waits while a domain comes back.
pub(super) fn next_level(level: f64, strain: f64, before: f64) -> f64 {
    let expected = strain + AHEAD * (strain - before);
    let most = strain.max(expected).max(LEAST);
    let next = if expected > 1.0 {
        level + (GAIN * expected.log2()).min(MOST.0)
    } else if most < ROOM {
        level - (GAIN * (ROOM / most).log2()).min(MOST.1)
    } else {
        level
    };
    next.clamp(LEVELS.0, LEVELS.1)
}

/// How much more of each replayed domain is replayed than of others, in powers of two: it goes to those that use more of their
/// limits than the others do, as in Group DRO (Sagawa 2020). `shares` are of the limits; a domain without one needs nothing.
pub(super) fn lean(
    before: &BTreeMap<String, f64>,
    replayed: &[String],
    shares: &BTreeMap<String, f64>,
) -> BTreeMap<String, f64> {
    let of = |share: &f64| share.max(LEAST).log2();
    let mean = shares.values().map(of).sum::<f64>() / shares.len().max(1) as f64;
    let leaning = |name: &String| {
        let apart = shares.get(name).map_or(LEAST.log2(), of) - mean;
        let before = before.get(name).copied().unwrap_or(0.0);
        let next = (before + GAIN * apart).clamp(LEANING.0, LEANING.1);
        (name.clone(), next)
    };
    replayed.iter().map(leaning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where it is going outside it rises, with much room it falls, between it stays, and what grows or comes back by itself is
    /// waited for.
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

    /// At the full rate three times the limit is allowed, at the end the limit; a rate that does not fall allows nothing.
    #[test]
    fn the_allowance_ends_with_the_rate() {
        let training = |text: &str| -> TrainingConfig { toml::from_str(text).unwrap() };
        let falling = training("steps = 100\nwarmup_steps = 0\nminimum_learning_rate_ratio = 0.0");
        let allowance = Allowance::new(&falling, 100);
        assert!(allowance.at(1) > 2.98 && allowance.at(1) <= 3.0);
        assert!((allowance.at(50) - 2.0).abs() < 1e-9);
        assert_eq!(allowance.at(100), 1.0);
        let constant = training("steps = 100\nschedule = \"constant\"");
        assert_eq!(Allowance::new(&constant, 100).at(50), 1.0);
    }

    /// On a plant whose forgetting drifts towards a level that pressure lowers by one of several powers, the controller comes
    /// inside, does not go far below where there is room, and stays.
    #[test]
    fn it_settles_inside() {
        for start in [0.05, 0.5, 1.5, 3.0, 8.0] {
            for power in [0.7, 1.0, 1.5, 2.0] {
                let (mut level, mut strain, mut rise) = (0.0, 0.0, 0.0);
                for evaluation in 0..60 {
                    let target = start / f64::exp2(power * level);
                    rise += 0.3 * (target - rise);
                    level = next_level(level, rise, strain);
                    strain = rise;
                    if evaluation > 30 {
                        assert!(
                            (0.2..1.1).contains(&strain),
                            "{start} by {power}: {strain} at {evaluation}"
                        );
                    }
                }
            }
        }
    }

    /// What uses more of its limit than the others is replayed more, within bounds; what gains or has no limit, less.
    #[test]
    fn replay_leans_towards_what_suffers() {
        let names = ["a", "b", "free"].map(str::to_owned);
        let shares = BTreeMap::from([("a".to_owned(), 1.0), ("b".to_owned(), 0.25)]);
        let first = lean(&BTreeMap::new(), &names, &shares);
        assert_eq!((first["a"], first["b"], first["free"]), (0.5, -0.5, -1.5));
        let mut later = first;
        for _ in 0..20 {
            later = lean(&later, &names, &shares);
        }
        assert_eq!((later["a"], later["b"], later["free"]), (3.0, -3.0, -3.0));
        let gained = BTreeMap::from([("a".to_owned(), 0.0), ("b".to_owned(), 0.0)]);
        assert_eq!(lean(&BTreeMap::new(), &names, &gained)["a"], 0.0);
    }
}
