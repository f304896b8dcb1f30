//! `polymath revert`: where forgetting sits, and the best blocks to put back.

use super::between::Between;
use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// A folder with it is a revert's own.
const FOUND: &str = "revert.json";

/// Puts blocks back, scores them, and writes the chosen model and what was found.
pub fn run(arguments: &arguments::Revert, environment: &Environment) -> Result<(), Failure> {
    let between = Between::open(&arguments.between, FOUND)?;
    let models = between.models(environment)?;
    let folders = (&*between.base, &*between.tuned);
    let (found, shares) = models.revert(&between.rule, folders, &mut |text| {
        environment.say(text);
    })?;
    let output = &arguments.between.output;
    let how = format!("{} blocks put back", found.steps[found.chosen].put_back);
    between.write_model((&models, &shares), &how)?;
    found.write(between.output.path())?;
    drop(models);
    between.output.finish()?;
    let page = output.join("revert.html");
    results::announce(&format!("{}\n{}", found.markdown(), page.display()));
    Ok(())
}
