//! `polymath frontier`: many methods to tune one base, compared.

use anyhow::anyhow;
use polymath_config::Source;
use polymath_finetune::Finetuning;
use polymath_report::Diverged;
use polymath_report::frontier::Frontier;
use polymath_study::frontier::{self, FrontierConfig, PlannedRun};

use super::runs;
use crate::arguments;
use crate::console::Stages;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Trains what is not there yet, scores every run, and writes the comparison.
pub fn run(arguments: &arguments::Sweep, environment: &Environment) -> Result<(), Failure> {
    environment.check_dashboard(arguments.dashboard)?;
    let config: FrontierConfig =
        polymath_config::load(&arguments.config, &arguments.overrides).map_err(Failure::usage)?;
    polymath_report::check_forms(&config.output, "frontier").map_err(Failure::usage)?;
    // All of them before the first: hours of work must not end in a typing error.
    let mut planned: Vec<(PlannedRun, Finetuning)> = Vec::new();
    let source = Source::read(&arguments.config).map_err(Failure::usage)?;
    for run in config.plan(&source).map_err(Failure::usage)? {
        let stages = Stages::new(environment);
        let tuning = match arguments.dry_run {
            true => Finetuning::inspect(run.config.clone(), &stages),
            false => Finetuning::open(run.config.clone(), &stages),
        };
        let tuning =
            tuning.map_err(|error| Failure::usage(anyhow!("`runs.{}`: {error}", run.method)))?;
        planned.push((run, tuning));
    }
    if let Some((_, tuning)) = planned.first() {
        frontier::check_splits(tuning).map_err(Failure::usage)?;
    }
    let named: Vec<(String, &Finetuning)> = planned
        .iter()
        .map(|(run, tuning)| (format!("{}, seed {}", run.method, run.seed), tuning))
        .collect();
    if arguments.dry_run {
        return runs::list(&named);
    }
    let trained = runs::train(&named, environment, arguments.dashboard)?;
    let names: Vec<String> = named.into_iter().map(|(name, _)| name).collect();
    let (mut finished, mut diverged) = (Vec::new(), Vec::new());
    for ((run, tuning), reason) in planned.into_iter().zip(&trained.diverged) {
        match reason {
            None => finished.push((run, tuning)),
            Some(message) => diverged.push(Diverged {
                name: run.method,
                seed: run.seed,
                message: message.clone(),
            }),
        }
    }
    if finished.is_empty() {
        return trained.conclude(&names);
    }
    let say = &mut |text: &str| environment.say(text);
    let mut found = frontier::compare(&config, &finished, diverged, &trained.launch, say)?;
    let method = found
        .recommended_candidate()
        .map(|candidate| candidate.method.clone());
    if let Some(method) = method
        && let Some(run) = config
            .confirming(&method, &source)
            .map_err(Failure::usage)?
    {
        found = confirmed(&config, found, run, (arguments, environment))?;
    }
    found.write(&config.output)?;
    let page = config.output.join("frontier.html");
    results::announce(&format!("{}\n{}", found.markdown(), page.display()));
    trained.conclude(&names)
}

/// Trains the recommended method with the fresh seed, and adds what it confirms. The comparison is written before: training can
/// be stopped.
fn confirmed(
    config: &FrontierConfig,
    mut found: Frontier,
    run: PlannedRun,
    (arguments, environment): (&arguments::Sweep, &Environment),
) -> Result<Frontier, Failure> {
    found.write(&config.output)?;
    let tuning = Finetuning::open(run.config.clone(), &Stages::new(environment))
        .map_err(|error| Failure::usage(anyhow!("`runs.{}`: {error}", run.method)))?;
    let name = format!("{}, fresh seed {}", run.method, run.seed);
    let trained = runs::train(&[(name, &tuning)], environment, arguments.dashboard)?;
    if let Some(message) = &trained.diverged[0] {
        found.notes.push(format!(
            "The run of the fresh seed {} diverged: {message}. The recommendation is not confirmed.",
            run.seed
        ));
        return Ok(found);
    }
    let say = &mut |text: &str| environment.say(text);
    Ok(frontier::confirm(
        config,
        found,
        &(run, tuning),
        &trained.launch,
        say,
    )?)
}
