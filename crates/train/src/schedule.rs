//! Learning-rate schedule: the learning rate of each step.

use crate::{Extension, Schedule, Training};

/// Returns the learning rate of optimizer step `step` (counted from 1) of a run of `total` steps.
///
/// Up to an [`Extension`], the rate is that of the run as it was before. After it, the gap between the last rate and
/// the schedule of the longer run closes linearly over as many steps as the warmup has. Without a gap, nothing changes.
pub fn learning_rate(config: &Training, step: u64, total: u64) -> f64 {
    extended(config, &config.extensions, (step, total))
}

fn extended(config: &Training, extensions: &[Extension], (step, total): (u64, u64)) -> f64 {
    let Some((last, earlier)) = extensions.split_last() else {
        return scheduled(config, step, total);
    };
    if step <= last.after {
        return extended(config, earlier, (step, last.steps));
    }
    let after = (step - last.after) as f64;
    let rate = scheduled(config, step, total);
    let closed = after / config.warmup_steps.max(1) as f64;
    if closed >= 1.0 {
        return rate;
    }
    let before = extended(config, earlier, (last.after, last.steps));
    let gap = scheduled(config, last.after, total) - before;
    // The schedule may fall faster than the gap closes.
    (rate - gap * (1.0 - closed)).max(before.min(rate))
}

/// Returns the learning rate by the schedule alone, for a run that has had `total` steps from its start (no
/// extensions).
fn scheduled(config: &Training, step: u64, total: u64) -> f64 {
    let (peak, warmup) = (config.learning_rate, config.warmup_steps);
    let minimum = peak * config.minimum_learning_rate_ratio;
    // 1) Linear warmup. The first step has a learning rate above 0.
    if step <= warmup {
        return peak * step as f64 / warmup as f64;
    }
    // 2) After the last step: the minimum (a constant schedule has no end).
    if step > total && config.schedule != Schedule::Constant {
        return minimum;
    }
    // 3) In between: the shape of the schedule. `progress` is 0 after the warmup and 1 at the last step.
    match config.schedule {
        Schedule::Constant => peak,
        Schedule::Cosine => {
            let progress = share(step, warmup, total);
            minimum + (peak - minimum) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
        }
        Schedule::Wsd => {
            let decay = (total as f64 * config.decay_fraction).round() as u64;
            let begin = total.saturating_sub(decay).max(warmup);
            if step <= begin {
                peak
            } else {
                peak + (minimum - peak) * share(step, begin, total)
            }
        }
    }
}

/// Returns the relative position of `step` between the steps `begin` (0) and `end` (1).
fn share(step: u64, begin: u64, end: u64) -> f64 {
    (step - begin) as f64 / (end - begin).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Length, TrainingConfig, TrainingDefaults};
    use proptest::prelude::*;

    fn config(schedule: Schedule, warmup: u64, peak: f64) -> Training {
        let config: TrainingConfig = toml::from_str("").unwrap();
        Training {
            schedule,
            warmup_steps: warmup,
            ..config.resolve(&TrainingDefaults {
                length: Length::Steps(1),
                batch_size: 1,
                sequence_length: 1,
                learning_rate: peak,
                optimizer: crate::OptimizerChoice::Adamw,
                weight_decay: crate::WEIGHT_DECAY,
                padding: 0.0,
                epoch_tokens: 1,
                tokens_at_once: None,
            })
        }
    }

    #[test]
    fn cosine_passes_through_its_known_points() {
        let config = config(Schedule::Cosine, 10, 1.0);
        let at = |step| learning_rate(&config, step, 110);
        assert_eq!(at(1), 0.1);
        assert_eq!(at(10), 1.0);
        assert!((at(60) - 0.55).abs() < 1e-12); // Halfway: the mean of peak and minimum.
        assert!((at(110) - 0.1).abs() < 1e-12);
        assert_eq!(at(500), 0.1);
    }

    #[test]
    fn stable_phase_is_constant_and_decay_is_linear() {
        let config = config(Schedule::Wsd, 0, 1.0);
        let at = |step| learning_rate(&config, step, 100);
        assert_eq!(at(1), 1.0);
        assert_eq!(at(80), 1.0);
        assert!((at(90) - 0.55).abs() < 1e-12);
        assert!((at(100) - 0.1).abs() < 1e-12);
    }

    /// Checks by hand a run of 100 steps that got 100 more. The rate fell to 0.1; the gap to the peak closes over the
    /// 10 steps of the warmup. A second extension is reached from the rate of the first.
    #[test]
    fn an_extension_closes_the_gap_over_the_warmup() {
        let mut config = config(Schedule::Wsd, 10, 1.0);
        config.extensions = vec![crate::Extension {
            after: 100,
            steps: 100,
        }];
        let close = |config: &Training, step, total, expected: f64| {
            let found = learning_rate(config, step, total);
            assert!((found - expected).abs() < 1e-12, "{step}: {found}");
        };
        // Up to step 100 the decay is that of 100 steps, from step 80 on.
        for (step, expected) in [
            (80, 1.0),
            (90, 0.55),
            (100, 0.1),
            (101, 0.19),
            (103, 0.37),
            (109, 0.91),
            (110, 1.0),
            (160, 1.0),
            (180, 0.55),
            (200, 0.1),
        ] {
            close(&config, step, 200, expected);
        }
        // From step 103 on, 300 steps: the rate is 0.37, and 0.63 is the gap.
        config.extensions.push(crate::Extension {
            after: 103,
            steps: 200,
        });
        for (step, expected) in [
            (100, 0.1),
            (103, 0.37),
            (104, 0.433),
            (108, 0.685),
            (113, 1.0),
        ] {
            close(&config, step, 300, expected);
        }
        // With 104 steps in all, the decay begins at step 83 and falls by 0.9/21 a step, faster than the gap closes.
        config.extensions.truncate(1);
        let falling = 0.1f64.min(1.0 - 0.9 * 18.0 / 21.0);
        close(&config, 101, 104, falling);
        close(&config, 104, 104, 0.1);
    }

    /// Checks a decay that would begin within the warmup: it begins after it.
    #[test]
    fn a_decay_begins_after_the_warmup() {
        let config = config(Schedule::Wsd, 90, 1.0);
        let at = |step| learning_rate(&config, step, 100);
        assert_eq!((at(45), at(90)), (0.5, 1.0));
        assert!((at(95) - 0.55).abs() < 1e-12 && (at(100) - 0.1).abs() < 1e-12);
    }

    proptest! {
        /// Checks that the learning rate never rises after the warmup and stays within [minimum, peak].
        #[test]
        fn never_rises_after_warmup(total in 1u64..3000, warmup in 0u64..300, kind in 0..3) {
            let schedule = [Schedule::Cosine, Schedule::Wsd, Schedule::Constant][kind as usize];
            let config = config(schedule, warmup, 2.0);
            let rates: Vec<f64> = (warmup.max(1)..=total).map(|step| learning_rate(&config, step, total)).collect();
            for pair in rates.windows(2) {
                prop_assert!(pair[1] <= pair[0] + 1e-12);
            }
            prop_assert!(rates.iter().all(|rate| (0.2 - 1e-12..=2.0 + 1e-12).contains(rate)));
        }
    }
}
