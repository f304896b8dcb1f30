//! Several fine-tunings one after the other, as `frontier` and `transfer` need them.

use polymath_finetune::Finetuning;
use polymath_train::{Launch, Outcome};

use super::finetune::about;
use super::pretrain::{launch, watcher};
use crate::environment::{Environment, StopSignal};
use crate::failure::Failure;
use crate::{lines, results};

/// Says of each run what it would take, and whether it is done.
pub fn list(runs: &[(String, &Finetuning)]) -> Result<(), Failure> {
    let mut text = String::new();
    for (name, tuning) in runs {
        let left = if tuning.is_done().map_err(Failure::usage)? {
            "done"
        } else {
            "to do"
        };
        text += &format!("{name:24} {:>12} tokens  {left}\n", tuning.plan().tokens);
    }
    results::print(&text)
}

/// Trains what is not done yet, each run on a dashboard if one is wanted; a run that was stopped or killed goes on where
/// its last checkpoint stands.
pub fn train(
    runs: &[(String, &Finetuning)],
    environment: &Environment,
    dashboard: bool,
) -> Result<Launch, Failure> {
    // A finished run of other settings is told before the first one starts.
    let mut left = Vec::new();
    for (number, (name, tuning)) in runs.iter().enumerate() {
        if !tuning.is_done().map_err(Failure::usage)? {
            left.push((number + 1, name, tuning));
        }
    }
    let signal = StopSignal::listen()?;
    let launch = launch(environment, true, &signal);
    for (number, name, tuning) in left {
        let title = format!("{number}/{}  {name}", runs.len());
        environment.say(&title);
        let about = dashboard.then(|| about(&title, tuning, tuning.run_folder()));
        let mut watcher = watcher(environment, &tuning.plan(), about)?;
        let mut stopped = matches!(
            tuning.run(&launch, &mut *watcher)?,
            Outcome::Interrupted { .. }
        );
        if !stopped && tuning.is_limited() {
            match tuning.verdict(&launch, &mut *watcher)? {
                Some(verdict) => watcher.message(&verdict.to_string()),
                None => stopped = true,
            }
        }
        if stopped {
            drop(watcher);
            lines::say("stopped and saved; the same command goes on");
            return Err(Failure::Interrupted);
        }
    }
    Ok(launch)
}
