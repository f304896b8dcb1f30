//! `polymath finetune`.

use polymath_finetune::{FinetuneConfig, Finetuning};

use super::pretrain::{conclude, dry_run, launch, training_console};
use crate::arguments;
use crate::console::Stages;
use crate::environment::{Environment, StopSignal};
use crate::failure::Failure;

/// Trains, or says what training would take.
pub fn run(arguments: &arguments::Train, environment: &Environment) -> Result<(), Failure> {
    let config: FinetuneConfig = super::load_run(&arguments.config, &arguments.overrides)?;
    let folder = config.run.clone();
    let finetuning = Finetuning::open(config, &Stages::new(environment)).map_err(Failure::usage)?;
    if arguments.dry_run {
        println!(
            "niche: {}; watched: {}",
            finetuning.niche(),
            finetuning.watched().join(", ")
        );
        return dry_run(&finetuning.plan(), environment);
    }
    let mut console = training_console(environment, &finetuning.plan())?;
    let signal = StopSignal::listen()?;
    let outcome = finetuning.run(
        &launch(environment, arguments.resume, &signal),
        &mut console,
    )?;
    drop(console);
    conclude(outcome, &folder, environment)
}
