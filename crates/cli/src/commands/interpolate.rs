//! `polymath interpolate`: scores the models between a base and a tuned checkpoint, and writes the best one.

use polymath_study::{BetweenOptions, InterpolateOptions, interpolate, shell_word};

use crate::arguments;
use crate::console::StudyConsole;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Scores the models, and writes the chosen one and the curve.
pub fn run(arguments: &arguments::Interpolate, environment: &Environment) -> Result<(), Failure> {
    let options = InterpolateOptions {
        between: arguments.between.options(),
        alphas: arguments.alphas.clone(),
        per_block: arguments.per_layer,
    };
    let console = StudyConsole::new(environment);
    let (curve, rule) = interpolate(&options, &environment.setup(&console))?;
    let output = shell_word(&arguments.between.output.display().to_string());
    let base = shell_word(&arguments.between.base.display().to_string());
    results::announce(&format!(
        "{}\nThe model is in {output}, with its curve in `interpolation.md`. Talk with it beside its base, or report on it:\n  \
         polymath chat {output} {base}\n  polymath report {base} {output} -o report",
        curve.table(&rule)
    ));
    Ok(())
}

impl arguments::Between {
    /// Converts the command's arguments to the options of the study crate's interpolation.
    pub fn options(&self) -> BetweenOptions {
        BetweenOptions {
            base: self.base.clone(),
            tuned: self.tuned.clone(),
            datasets: self.scoring.dataset.clone(),
            windows: self.scoring.windows(None),
            niche: self.niche.clone(),
            limit: self.limit,
            output: self.output.clone(),
        }
    }
}
