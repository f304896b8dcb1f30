//! Several fine-tunings one after the other, as `frontier` and `transfer` need them.

use anyhow::anyhow;
use polymath_finetune::{Divergence, FinetuneError, Finetuning};
use polymath_study::check_bases;
use polymath_train::{Launch, Silent, TrainError, check_batch_rules};

use super::finetune::about;
use super::pretrain::{launch, watcher};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::signals::StopSignal;
use crate::{lines, results};

/// What training several runs came to.
pub struct Trained {
    /// How the runs were started.
    pub launch: Launch,
    /// Why each run that diverged did, in the order of the runs; `None` for those that are finished.
    pub diverged: Vec<Option<String>>,
}

impl Trained {
    /// The failure that a command ends with after its report, where runs diverged.
    pub fn conclude(&self, runs: &[String]) -> Result<(), Failure> {
        let lost: Vec<String> = runs
            .iter()
            .zip(&self.diverged)
            .filter_map(|(name, reason)| Some(format!("{name} ({})", reason.as_ref()?)))
            .collect();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(Failure::Failed(anyhow!(
                "{} of {} runs diverged: {}",
                lost.len(),
                runs.len(),
                lost.join("; ")
            ))),
        }
    }
}

/// Says of each run what it would take, and whether it is done.
pub fn list(runs: &[(String, &Finetuning)]) -> Result<(), Failure> {
    check_bases(runs.iter().map(|(_, tuning)| *tuning)).map_err(Failure::usage)?;
    let mut text = String::new();
    for ((name, tuning), done) in runs.iter().zip(done(runs)?) {
        let left = match tuning.divergence()? {
            _ if done => "done",
            Some(_) => "diverged",
            None => "to do",
        };
        text += &format!("{name:24} {:>12} tokens  {left}\n", tuning.plan().tokens);
    }
    results::print(&text)
}

/// Returns which runs are done. A finished run of other settings, or of another rule of making batches than the others, is
/// told before the first one starts.
fn done(runs: &[(String, &Finetuning)]) -> Result<Vec<bool>, Failure> {
    let mut done = Vec::new();
    for (_, tuning) in runs {
        done.push(tuning.is_done().map_err(Failure::usage)?);
    }
    let folders: Vec<_> = runs.iter().map(|(_, run)| run.run_folder()).collect();
    check_batch_rules(&folders).map_err(Failure::usage)?;
    Ok(done)
}

/// Trains what is not done yet, each run on a dashboard if one is wanted; a run that was stopped or killed goes on where
/// its last checkpoint stands. A run that diverges is noted as such, and the others go on; it is not trained again.
pub fn train(
    runs: &[(String, &Finetuning)],
    environment: &Environment,
    dashboard: bool,
) -> Result<Trained, Failure> {
    check_bases(runs.iter().map(|(_, tuning)| *tuning)).map_err(Failure::usage)?;
    let done = done(runs)?;
    let signal = StopSignal::listen();
    let launch = launch(environment, true, &signal);
    let mut diverged = Vec::new();
    for (number, ((name, tuning), done)) in runs.iter().zip(done).enumerate() {
        if done {
            // Nothing is left but what a killed process may have left undone after the last checkpoint.
            tuning.run(&launch, &mut Silent)?;
            diverged.push(None);
            continue;
        }
        if let Some(Divergence { message }) = tuning.divergence()? {
            lines::say(&format!(
                "{name}: diverged before, and is left out ({message}); to train it again, remove `{}`",
                tuning.run_folder().display()
            ));
            diverged.push(Some(message));
            continue;
        }
        let title = format!("{}/{}  {name}", number + 1, runs.len());
        let about = dashboard.then(|| about(&title, tuning, tuning.run_folder()));
        environment.say(&title);
        let mut watcher = watcher(environment, &tuning.plan(), about)?;
        let ended = tuning.run(&launch, &mut *watcher);
        if let Ok(ending) = &ended
            && let Some(verdict) = &ending.verdict
        {
            watcher.message(&verdict.to_string());
        }
        drop(watcher);
        diverged.push(match ended {
            Ok(ending) if ending.is_finished() => None,
            Ok(_) => {
                lines::say("stopped and saved; the same command goes on");
                return Err(Failure::Interrupted);
            }
            Err(FinetuneError::Training(TrainError::Diverged(message))) => {
                lines::say(&format!("{name}: {message}; the other runs go on"));
                Some(message)
            }
            Err(error) => return Err(error.into()),
        });
    }
    Ok(Trained { launch, diverged })
}
