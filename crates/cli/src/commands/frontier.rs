//! `polymath frontier`: fine-tunes one base by several methods and compares them.

use polymath_config::Source;
use polymath_study::frontier::{FrontierConfig, FrontierStudy};

use super::dry_run;
use super::sweep::{self, ConsoleRunner};
use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Trains the runs of the sweep that are not finished, scores every run, and writes the comparison.
pub fn run(arguments: &arguments::Sweep, environment: &Environment) -> Result<(), Failure> {
    environment.check_dashboard(arguments.dashboard)?;
    arguments.limit.start()?;
    let config: FrontierConfig =
        polymath_config::load(&arguments.config, &arguments.overrides).map_err(Failure::usage)?;
    let source = Source::read(&arguments.config).map_err(Failure::usage)?;
    let runner = ConsoleRunner::new(environment, arguments.dashboard);
    let study = FrontierStudy::open(&config, &source, arguments.dry_run, &runner)?;
    if arguments.dry_run {
        return sweep::list(&study.status(&dry_run::launch(environment))?);
    }
    let end = study.run(&runner)?;
    if let Some(found) = &end.found {
        let page = config.output.join("frontier.html");
        results::announce(&format!("{}\n{}", found.table(), page.display()));
    }
    Ok(end.check_diverged()?)
}
