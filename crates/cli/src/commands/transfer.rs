//! `polymath transfer`: who helps and who hurts whom.

use anyhow::anyhow;
use polymath_finetune::Finetuning;
use polymath_finetune::transfer::{self, PlannedRun, TransferConfig};

use super::runs;
use crate::arguments;
use crate::console::Stages;
use crate::environment::Environment;
use crate::failure::Failure;

/// Tunes on each domain in turn, scores all, and writes the matrix.
pub fn run(arguments: &arguments::Sweep, environment: &Environment) -> Result<(), Failure> {
    let config: TransferConfig =
        polymath_config::load(&arguments.config, &arguments.overrides).map_err(Failure::usage)?;
    let (plan, scored) = config.plan().map_err(Failure::usage)?;
    let mut planned: Vec<(PlannedRun, Finetuning)> = Vec::new();
    for mut run in plan {
        let domain = run.domain.clone();
        let open = |config| {
            Finetuning::open(config, &Stages::new(environment))
                .map_err(|error| Failure::usage(anyhow!("on `{domain}`: {error}")))
        };
        // How long a row is, only the base says.
        let length = open(run.config.clone())?.sequence_length();
        run.look_early(config.early_share, length);
        let tuning = open(run.config.clone())?;
        planned.push((run, tuning));
    }
    let named: Vec<(String, &Finetuning)> = planned
        .iter()
        .map(|(run, tuning)| (format!("{}, seed {}", run.domain, run.seed), tuning))
        .collect();
    if arguments.dry_run {
        return runs::list(&named);
    }
    let launch = runs::train(&named, environment)?;
    let found = transfer::measure(&config, (&planned, &scored), &launch, &mut |text| {
        if !environment.quiet {
            eprintln!("{text}");
        }
    })?;
    found.write(&config.output)?;
    print!("{}", found.markdown());
    println!("\n{}", config.output.join("transfer.html").display());
    Ok(())
}
