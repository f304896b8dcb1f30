//! `polymath reset`: finds the layers that cause the forgetting and resets the best ones.

use polymath_study::reset;

use crate::arguments;
use crate::console::StudyConsole;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Resets layers, scores the models, and writes the chosen model and the scores.
pub fn run(arguments: &arguments::Reset, environment: &Environment) -> Result<(), Failure> {
    let console = StudyConsole::new(environment);
    let options = arguments.between.options();
    let found = reset(&options, &environment.setup(&console))?;
    let page = options.output.join("reset.html");
    let next = arguments.between.next(found.is_base());
    results::announce(&format!("{}\n{}{next}", found.table(), page.display()));
    Ok(())
}
