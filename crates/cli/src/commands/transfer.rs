//! `polymath transfer`: fine-tunes one base on each domain separately and reports the transfer matrix.

use polymath_config::Source;
use polymath_study::transfer::{TransferConfig, TransferStudy};

use super::dry_run;
use super::sweep::{self, ConsoleRunner};
use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Trains the unfinished runs, one for each domain, scores all of them, and writes the matrix.
pub fn run(arguments: &arguments::Sweep, environment: &Environment) -> Result<(), Failure> {
    environment.check_dashboard(arguments.dashboard)?;
    arguments.limit.start()?;
    let config: TransferConfig =
        polymath_config::load(&arguments.config, &arguments.overrides).map_err(Failure::usage)?;
    let source = Source::read(&arguments.config).map_err(Failure::usage)?;
    let runner = ConsoleRunner::new(environment, arguments.dashboard);
    let study = TransferStudy::open(&config, &source, arguments.dry_run, &runner)?;
    if arguments.dry_run {
        return sweep::list(&study.status(&dry_run::launch(environment))?);
    }
    let end = study.run(&runner)?;
    if let Some(found) = &end.found {
        let page = config.output.join("transfer.html");
        results::announce(&format!("{}\n{}", found.table(), page.display()));
    }
    Ok(end.check_diverged()?)
}
