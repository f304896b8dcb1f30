//! Checks whether a run may be resumed, and whether runs may be compared.

use std::path::Path;

use polymath_data::{BATCH_RULE, EVALUATION_RULE};

use crate::TrainError;
use crate::checkpoint::{RunState, SCHEMA};
use crate::checkpoints::finished;

/// Fails if the run is finished or interrupted and `resume` is false, or if it was started under other rules.
pub(crate) fn refuse_unfit(run: &Path, state: &RunState, resume: bool) -> Result<(), TrainError> {
    let (run, step) = (run.display(), state.step);
    if state.finished && !resume {
        return Err(TrainError::Run(format!(
            "the run `{run}` is finished ({step} steps): raise `training.tokens`, `steps` or `epochs` and give `--resume` to \
             extend it, choose another `run`, or delete the folder to train it again"
        )));
    }
    if state.finished {
        return Ok(());
    }
    refuse_older(&run.to_string(), state)?;
    if !resume {
        return Err(TrainError::Run(format!(
            "the run `{run}` was interrupted after step {step}: continue with `--resume`, or choose another `run`"
        )));
    }
    Ok(())
}

/// Fails if the run was made by an older version of the program, whose rules for batches or evaluations differ from the
/// present ones: to continue would mix both.
pub(crate) fn refuse_older(run: &str, state: &RunState) -> Result<(), TrainError> {
    if state.batch_rule != BATCH_RULE {
        return Err(other_batches(state, run));
    }
    if state.evaluation_rule != EVALUATION_RULE && state.best.is_some() {
        return Err(other_documents(state, run));
    }
    if state.schema < SCHEMA {
        return Err(TrainError::Run(format!(
            "the run `{run}` was {} after step {} of an older version of Polymath ({}): continue with that version, or train \
             again in another `run`",
            ended(state),
            state.step,
            state.program_version
        )));
    }
    Ok(())
}

/// Returns the word for messages that says how a run ended: "finished" or "interrupted".
fn ended(state: &RunState) -> &'static str {
    match state.finished {
        true => "finished",
        false => "interrupted",
    }
}

/// Makes the error for a run that was started with another rule for making batches, so that its remaining batches would
/// have other data.
fn other_batches(state: &RunState, run: &str) -> TrainError {
    TrainError::Run(format!(
        "the run `{run}` was {} after step {} by version {} of this program, which makes batches by rule {} where \
         this one has rule {BATCH_RULE}: it would continue with other data, in another order. Finish it with the program that \
         started it, or choose another `run` and train again; its checkpoints can still be evaluated",
        ended(state),
        state.step,
        state.program_version,
        state.batch_rule
    ))
}

/// Makes the error for a run that was evaluated with another rule for choosing held-out documents, so that its scores
/// can't be compared.
fn other_documents(state: &RunState, run: &str) -> TrainError {
    TrainError::Run(format!(
        "the run `{run}` was {} after step {} by version {} of this program, which evaluates on held-out documents \
         chosen by rule {} where this one has rule {EVALUATION_RULE}: its earlier scores are of other documents, and `best` \
         would compare the two. Finish it with the program that started it, or choose another `run` and train again; its \
         checkpoints can still be evaluated",
        ended(state),
        state.step,
        state.program_version,
        state.evaluation_rule
    ))
}

/// Fails if finished runs have different versions of the batch or evaluation rule, or other versions than runs that
/// are still to be trained. Such runs would differ in more than their settings.
///
/// # Errors
/// Fails with the folders of the runs that have an older rule.
pub fn check_batch_rules(runs: &[&Path]) -> Result<(), TrainError> {
    let states: Vec<Option<RunState>> = runs.iter().map(|run| finished(run)).collect();
    let rules = |of: &dyn Fn(&RunState) -> u32, now: u32| -> Vec<u32> {
        let rules = states.iter().map(|state| state.as_ref().map_or(now, of));
        rules.collect()
    };
    let batches = rules(&|state| state.batch_rule, BATCH_RULE);
    let making = VersionedRule {
        now: BATCH_RULE,
        what: "making batches",
        follows: "they see other data in another order",
    };
    refuse_mixed(runs, &batches, making)?;
    let evaluations = rules(&|state| state.evaluation_rule, EVALUATION_RULE);
    let choosing = VersionedRule {
        now: EVALUATION_RULE,
        what: "choosing the best checkpoint",
        follows: "their best checkpoint was chosen on other documents",
    };
    refuse_mixed(runs, &evaluations, choosing)
}

/// Rule with a version number on which the results of a run depend, such as how batches are made from the data.
struct VersionedRule {
    /// Version of the rule in this program.
    now: u32,
    /// Name of the rule, for the error message.
    what: &'static str,
    /// Consequence if runs have different versions of the rule, for the error message.
    follows: &'static str,
}

/// Fails if the runs that are to be compared have different versions of a rule. `rules` holds each run's version.
fn refuse_mixed(runs: &[&Path], rules: &[u32], rule: VersionedRule) -> Result<(), TrainError> {
    let VersionedRule { now, what, follows } = rule;
    if rules.iter().all(|rule| Some(rule) == rules.first()) {
        return Ok(());
    }
    let older = runs.iter().zip(rules).filter(|(_, rule)| **rule != now);
    let older: Vec<String> = older
        .map(|(run, rule)| format!("`{}` (rule {rule})", run.display()))
        .collect();
    Err(TrainError::Run(format!(
        "{} of {} runs were trained by an older rule of {what}: {}; the others have rule {now}, so that {follows}, and can't \
         be compared. Remove these folders to train them again, or choose another `output`",
        older.len(),
        runs.len(),
        older.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which runs may go on: an interrupted one with `--resume`, under the rules and the version that began
    /// it; a finished one with `--resume` in any case, since it is only extended if the rules are the same.
    #[test]
    fn runs_go_on_under_their_own_rules() {
        let check = |resume: bool, change: fn(&mut RunState)| {
            let mut state = RunState::fresh(1, "data", None);
            state.step = 4;
            change(&mut state);
            let found = refuse_unfit(Path::new("runs/a"), &state, resume);
            found.map_err(|error| error.to_string())
        };
        assert_eq!(check(true, |_| ()), Ok(()));
        assert!(
            check(false, |_| ())
                .unwrap_err()
                .contains("interrupted after step 4: continue with `--resume`")
        );
        assert_eq!(check(true, |state| state.finished = true), Ok(()));
        let said = check(false, |state| state.finished = true).unwrap_err();
        assert!(said.contains("`runs/a` is finished (4 steps)"), "{said}");
        for resume in [false, true] {
            let said = check(resume, |state| state.batch_rule = 0).unwrap_err();
            assert!(
                said.contains("interrupted after step 4")
                    && said.contains("makes batches by rule 0"),
                "{said}"
            );
            let said = check(resume, |state| state.schema = SCHEMA - 1).unwrap_err();
            assert!(said.contains("an older version of Polymath"), "{said}");
        }
        // Another rule of evaluation matters only once there was an evaluation.
        assert_eq!(check(true, |state| state.evaluation_rule = 0), Ok(()));
        let said = check(true, |state| {
            state.evaluation_rule = 0;
            let score = crate::Score::within(1.0);
            state.best = Some(crate::checkpoint::Best { step: 2, score });
        });
        assert!(said.unwrap_err().contains("chosen by rule 0"));
    }

    /// Checks that runs of one rule may be compared, and that those of an older rule are named.
    #[test]
    fn runs_of_several_rules_are_not_compared() {
        let runs = ["runs/a", "runs/b", "runs/c"].map(Path::new);
        let check = |rules: &[u32]| {
            let rule = VersionedRule {
                now: 3,
                what: "making batches",
                follows: "they differ",
            };
            refuse_mixed(&runs, rules, rule).map_err(|error| error.to_string())
        };
        assert_eq!((check(&[3, 3, 3]), check(&[2, 2, 2])), (Ok(()), Ok(())));
        let said = check(&[3, 2, 3]).unwrap_err();
        assert!(
            said.starts_with("1 of 3 runs") && said.contains("`runs/b` (rule 2)"),
            "{said}"
        );
        let said = check(&[1, 3, 2]).unwrap_err();
        assert!(
            said.contains("`runs/a` (rule 1), `runs/c` (rule 2)"),
            "{said}"
        );
    }
}
