//! Resuming a run with another length: the settings that it keeps, and a description of its learning rate.

use crate::checkpoint::RunState;
use crate::{Extension, TrainError, Training, TrainingConfig, TrainingDefaults, learning_rate};

/// Settings with which a run is resumed.
#[derive(Debug, Clone, PartialEq)]
pub struct Continued {
    /// The `[training]` table with all extensions of the run.
    pub training: Training,
    /// Sentence for the user about the extension, if the run is extended now.
    pub said: Option<String>,
}

impl TrainingConfig {
    /// Returns true if this table gives the run saved with the table `saved` another length, or if that run has been
    /// extended before. `epoch_tokens` is the number of tokens in an epoch.
    fn changes_length_of(&self, saved: &Self, epoch_tokens: u64) -> bool {
        let defaults = TrainingDefaults {
            epoch_tokens,
            ..TrainingDefaults::UNUSED
        };
        let length = |table: &Self| table.resolve(&defaults).length;
        !saved.extensions.is_empty() || self.has_length() && length(self) != length(saved)
    }

    /// If this table extends the run that was saved with the table `saved`, or that run was extended before: takes over
    /// the saved values for keys that this table does not set, and returns true. Otherwise the defaults, which depend
    /// on the length, would change with it.
    pub fn continue_from(&mut self, saved: &Self, epoch_tokens: u64) -> bool {
        if !self.changes_length_of(saved, epoch_tokens) {
            return false;
        }
        if !self.has_length() {
            (self.tokens, self.steps) = (saved.tokens, saved.steps);
        }
        self.batch_size = self.batch_size.or(saved.batch_size);
        self.learning_rate = self.learning_rate.or(saved.learning_rate);
        self.warmup_steps = self.warmup_steps.or(saved.warmup_steps);
        self.optimizer = self.optimizer.or(saved.optimizer);
        self.weight_decay = self.weight_decay.or(saved.weight_decay);
        true
    }
}

impl Training {
    /// Describes the settings that an extended run keeps.
    pub fn kept(&self) -> String {
        format!(
            "as the run began: {} rows of {} tokens in a step, learning rate {:e}, {} steps of warmup",
            self.batch_size, self.sequence_length, self.learning_rate, self.warmup_steps
        )
    }
}

/// Compares the length in `training` with that of the run that was saved with the table `saved`. Returns `training`
/// with the run's extensions, including a new one if the run gets longer; see [`crate::RunFolder::lengthen`]. `shown`
/// is the run's folder for messages, `after` the step from which it resumes.
pub(crate) fn continue_run(
    (shown, after): (&str, u64),
    saved: &Training,
    training: &Training,
    padding: f64,
) -> Result<Continued, TrainError> {
    let mut continued = Continued {
        training: training.clone(),
        said: None,
    };
    let extensions = &mut continued.training.extensions;
    if !extensions.is_empty() && *extensions != saved.extensions {
        return Err(TrainError::Run(format!(
            "`training.extensions` differs from what is saved in `{shown}`: leave it out, it is written where a run is extended"
        )));
    }
    extensions.clone_from(&saved.extensions);
    let (before, now) = (saved.total_steps(padding), training.total_steps(padding));
    if now < before {
        return Err(TrainError::Run(format!(
            "the run `{shown}` has {before} steps, and `training` asks for {now}: a run can be made longer, not shorter. Give \
             its own length, or choose another `run`"
        )));
    }
    if now > before {
        // Extended twice at one point: the rates up to there are those of the first.
        if extensions.last().is_none_or(|last| last.after < after) {
            extensions.push(Extension {
                after,
                steps: before,
            });
        }
        continued.said = Some(format!("`{shown}` {}", describe(&continued.training, now)));
    }
    Ok(continued)
}

/// Describes the last extension of a run that now has `total` steps: the steps before and after it, and the learning
/// rate from there on.
pub(crate) fn describe(training: &Training, total: u64) -> String {
    let Some(Extension { after, steps }) = training.extensions.last().copied() else {
        return String::new();
    };
    let whole = Training {
        extensions: Vec::new(),
        ..training.clone()
    };
    let rate = |training: &Training, step| learning_rate(training, step, total);
    // Rates never rise after the warmup: where they agree after a step, they agree before it.
    let same = (training.extensions.iter())
        .all(|extension| rate(training, extension.after) == rate(&whole, extension.after));
    let rates = if same {
        format!(
            "the learning rate continues its schedule and is that of a run of {total} steps from the start"
        )
    } else {
        let first = (after + training.warmup_steps.max(1)).min(total);
        let (before, joined) = (rate(training, after), rate(training, first));
        format!(
            "the learning rate {} from {before:.2e} at step {after} to {joined:.2e} at step {first}, joins the schedule of \
             {total} steps there, and ends at {:.2e}; a run of {total} steps from the start would have had higher rates \
             before",
            if joined > before { "rises" } else { "goes" },
            rate(training, total)
        )
    };
    format!("continues after step {after} to step {total}, in place of {steps}: {rates}")
}

/// Returns the number of steps that were finished when the run was last extended.
pub(crate) fn last_extension(training: &Training) -> Option<u64> {
    training.extensions.last().map(|last| last.after)
}

/// Returns true if the checkpoint is the end of its run: it is marked as finished, and the run was not extended at or
/// after its step. `extended_after` is the step of the last extension.
pub(crate) fn is_ended(state: &RunState, extended_after: Option<u64>) -> bool {
    state.finished && extended_after.is_none_or(|after| after < state.step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Length;

    /// Checks the sentence about the settings that an extended run keeps.
    #[test]
    fn kept_settings_are_named() {
        let training = training(
            "batch_size = 8\nsequence_length = 32\nlearning_rate = 2.5e-3\nwarmup_steps = 5",
        );
        let expected = "as the run began: 8 rows of 32 tokens in a step, learning rate 2.5e-3, 5 steps of warmup";
        assert_eq!(training.kept(), expected);
    }

    /// Checks that a finished checkpoint ends its run unless the run was extended at its step or later.
    #[test]
    fn an_extension_reopens_a_run() {
        let mut state = RunState::fresh(1, "data", None);
        state.step = 9;
        assert!(!is_ended(&state, None) && !is_ended(&state, Some(5)));
        state.finished = true;
        for (extended_after, ended) in [
            (None, true),
            (Some(8), true),
            (Some(9), false),
            (Some(12), false),
        ] {
            assert_eq!(
                is_ended(&state, extended_after),
                ended,
                "{extended_after:?}"
            );
        }
    }

    fn training(text: &str) -> Training {
        let config: TrainingConfig = toml::from_str(text).unwrap();
        config.resolve(&TrainingDefaults {
            length: Length::Steps(200),
            ..TrainingDefaults::UNUSED
        })
    }

    /// Checks the learning rate of an extended run with a cosine schedule. Before the extension, the rate follows the
    /// schedule of the shorter run. After it, the gap to the schedule of the longer run closes within the warmup's
    /// number of steps. At the last step, the rate is the minimum.
    #[test]
    fn an_extended_cosine_rises_to_the_longer_schedule() {
        let short = training("steps = 100\nwarmup_steps = 10");
        let long = training("warmup_steps = 10");
        let extended = training("warmup_steps = 10\nextensions = [{ after = 100, steps = 100 }]");
        let rate = |step| learning_rate(&extended, step, 200);
        for step in 1..=100 {
            assert_eq!(rate(step), learning_rate(&short, step, 100));
        }
        let gap = learning_rate(&long, 100, 200) - 0.1;
        let half = learning_rate(&long, 105, 200) - gap / 2.0;
        assert!((rate(105) - half).abs() < 1e-12);
        for step in 110..=200 {
            assert_eq!(rate(step), learning_rate(&long, step, 200));
        }
        let said = describe(&extended, 200);
        assert!(said.contains("from 1.00e-1 at step 100 to "), "{said}");
        assert!(
            said.contains("ends at 1.00e-1; a run of 200 steps from the start would"),
            "{said}"
        );
    }

    /// Checks that an extension changes no learning rate if the rate does not depend on the length yet: with a constant
    /// schedule, or before the decay of a WSD schedule.
    #[test]
    fn an_extension_within_the_stable_phase_changes_no_rate() {
        for (shape, after) in [("constant", 100), ("wsd", 70)] {
            let long = training(&format!("schedule = \"{shape}\"\nwarmup_steps = 5"));
            let extended = training(&format!(
                "schedule = \"{shape}\"\nwarmup_steps = 5\nextensions = [{{ after = {after}, steps = 100 }}]"
            ));
            for step in 1..=200 {
                assert_eq!(
                    learning_rate(&extended, step, 200),
                    learning_rate(&long, step, 200),
                    "{shape} {step}"
                );
            }
            assert!(describe(&extended, 200).contains("that of a run of 200 steps from the start"));
        }
    }

    /// Checks that for any extensions, the learning rate stays within the range of the schedule and has no jump at an
    /// extension.
    #[test]
    fn rates_of_extensions_stay_in_range_and_are_continuous() {
        for shape in ["cosine", "wsd"] {
            for warmup in [0, 1, 30, 150] {
                let extended = training(&format!(
                    "schedule = \"{shape}\"\nwarmup_steps = {warmup}\n\
                     extensions = [{{ after = 50, steps = 100 }}, {{ after = 160, steps = 160 }}]"
                ));
                let rate = |step| learning_rate(&extended, step, 200);
                for step in warmup.max(1)..=200 {
                    assert!(
                        (0.1 - 1e-9..=1.0 + 1e-9).contains(&rate(step)),
                        "{shape} {step}"
                    );
                }
                if warmup == 30 {
                    for after in [50, 160] {
                        assert!(
                            (rate(after + 1) - rate(after)).abs() < 0.05,
                            "{shape} {after}"
                        );
                    }
                }
            }
        }
    }

    /// Checks that a run that gets longer keeps every setting whose default depends on the length, and takes the ones
    /// that are given; and that a run of the same length takes none.
    #[test]
    fn a_longer_run_keeps_what_it_began_with() {
        let read = |text: &str| -> TrainingConfig { toml::from_str(text).unwrap() };
        let saved = read(
            "steps = 100\nbatch_size = 3\nlearning_rate = 0.5\nwarmup_steps = 7\noptimizer = \"muon\"\nweight_decay = 0.25",
        );
        let mut longer = read("steps = 200\nweight_decay = 0.5");
        assert!(longer.continue_from(&saved, 1));
        assert_eq!((longer.steps, longer.batch_size), (Some(200), Some(3)));
        assert_eq!(
            (longer.learning_rate, longer.warmup_steps),
            (Some(0.5), Some(7))
        );
        assert_eq!(
            (longer.optimizer, longer.weight_decay),
            (saved.optimizer, Some(0.5))
        );
        let mut same = read("steps = 100");
        assert!(!same.continue_from(&saved, 1));
        assert_eq!((same.learning_rate, same.batch_size), (None, None));
    }

    /// Checks that a run that is extended twice before it trains on has one extension there, that of its first length.
    #[test]
    fn an_extension_is_recorded_once_at_a_step() {
        let of = |steps: u64, extensions: &str| training(&format!("steps = {steps}\n{extensions}"));
        let first = continue_run(("run", 50), &of(100, ""), &of(120, ""), 0.0).unwrap();
        let once = [Extension {
            after: 50,
            steps: 100,
        }];
        assert_eq!(first.training.extensions, once);
        let saved = of(120, "extensions = [{ after = 50, steps = 100 }]");
        let again = continue_run(("run", 50), &saved, &of(150, ""), 0.0).unwrap();
        assert_eq!(again.training.extensions, once);
        let later = continue_run(("run", 60), &saved, &of(150, ""), 0.0).unwrap();
        assert_eq!(later.training.extensions.len(), 2);
    }
}
