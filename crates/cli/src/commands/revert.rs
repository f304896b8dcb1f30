//! `polymath revert`: which layers cause the forgetting, and the best ones to reset.

use polymath_study::reset;

use crate::arguments;
use crate::console::StudyConsole;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Resets blocks, scores them, and writes the chosen model and the figures.
pub fn run(arguments: &arguments::Revert, environment: &Environment) -> Result<(), Failure> {
    let console = StudyConsole::new(environment);
    let options = arguments.between.options();
    let found = reset(&options, &environment.setup(&console))?;
    let page = options.output.join("reset.html");
    results::announce(&format!("{}\n{}", found.markdown(), page.display()));
    Ok(())
}
