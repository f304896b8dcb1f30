//! `polymath transfer`: who helps and who hurts whom.

use anyhow::anyhow;
use polymath_config::Source;
use polymath_finetune::Finetuning;
use polymath_report::Diverged;
use polymath_study::transfer::{self, OpenRun, TransferConfig};

use super::runs;
use crate::arguments;
use crate::console::Stages;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Tunes on each domain in turn, scores all, and writes the matrix.
pub fn run(arguments: &arguments::Sweep, environment: &Environment) -> Result<(), Failure> {
    environment.check_dashboard(arguments.dashboard)?;
    let config: TransferConfig =
        polymath_config::load(&arguments.config, &arguments.overrides).map_err(Failure::usage)?;
    polymath_report::check_forms(&config.output, "transfer").map_err(Failure::usage)?;
    let source = Source::read(&arguments.config).map_err(Failure::usage)?;
    let (plan, data) = config.plan(&source).map_err(Failure::usage)?;
    let mut seeds = Vec::new();
    let mut open = Vec::new();
    for run in plan {
        let stages = Stages::new(environment);
        let tuning = match arguments.dry_run {
            true => Finetuning::inspect(run.config, &stages),
            false => Finetuning::open(run.config, &stages),
        };
        let tuning =
            tuning.map_err(|error| Failure::usage(anyhow!("on `{}`: {error}", run.domain)))?;
        seeds.push(run.seed);
        open.push(OpenRun::new(run.domain, tuning, config.early_share));
    }
    let named: Vec<(String, &Finetuning)> = open
        .iter()
        .zip(&seeds)
        .map(|(run, seed)| (format!("{}, seed {seed}", run.domain), &run.tuning))
        .collect();
    if arguments.dry_run {
        return runs::list(&named);
    }
    let trained = runs::train(&named, environment, arguments.dashboard)?;
    let names: Vec<String> = named.into_iter().map(|(name, _)| name).collect();
    let (mut finished, mut diverged) = (Vec::new(), Vec::new());
    for ((run, seed), reason) in open.into_iter().zip(seeds).zip(&trained.diverged) {
        match reason {
            None => finished.push(run),
            Some(message) => diverged.push(Diverged {
                name: run.domain,
                seed,
                message: message.clone(),
            }),
        }
    }
    if finished.is_empty() {
        return trained.conclude(&names);
    }
    let found = transfer::measure(&config, (&finished, &data), &trained.launch, &mut |text| {
        environment.say(text);
    })?
    .with_diverged(diverged);
    found.write(&config.output)?;
    let page = config.output.join("transfer.html");
    results::announce(&format!("{}\n{}", found.markdown(), page.display()));
    trained.conclude(&names)
}
