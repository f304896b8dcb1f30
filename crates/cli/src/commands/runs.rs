//! Several fine-tunings one after the other, as `frontier` and `transfer` need them.

use polymath_finetune::Finetuning;
use polymath_train::{Launch, Observer, Outcome};

use super::pretrain::{launch, training_console};
use crate::environment::{Environment, StopSignal};
use crate::failure::Failure;

/// Says of each run what it would take, and whether it is done.
pub fn list(runs: &[(String, &Finetuning)]) -> Result<(), Failure> {
    for (name, tuning) in runs {
        let left = if tuning.is_done().map_err(Failure::usage)? {
            "done"
        } else {
            "to do"
        };
        println!("{name:24} {:>12} tokens  {left}", tuning.plan().tokens);
    }
    Ok(())
}

/// Trains what is not done yet; a run that was stopped or killed goes on where its last checkpoint stands.
pub fn train(runs: &[(String, &Finetuning)], environment: &Environment) -> Result<Launch, Failure> {
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
        environment.say(&format!("{number}/{}  {name}", runs.len()));
        let mut console = training_console(environment, &tuning.plan())?;
        let mut stopped = matches!(
            tuning.run(&launch, &mut console)?,
            Outcome::Interrupted { .. }
        );
        if !stopped && tuning.is_limited() {
            match tuning.verdict(&launch, &mut console)? {
                Some(verdict) => console.message(&verdict.to_string()),
                None => stopped = true,
            }
        }
        if stopped {
            drop(console);
            eprintln!("stopped and saved; the same command goes on");
            return Err(Failure::Interrupted);
        }
    }
    Ok(launch)
}
