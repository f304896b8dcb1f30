//! `polymath interpolate`: scores the models between a base and a tuned checkpoint, and writes the best one.

use std::path::Path;

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
    let is_base = curve.points[curve.chosen].alpha == Some(0.0);
    results::announce(&format!(
        "{}\n{}{}",
        curve.table(&rule),
        arguments.between.output.display(),
        arguments.between.next(is_base)
    ));
    Ok(())
}

impl arguments::Between {
    /// Returns the lines with the command that reports on the written model; empty if its weights are the base's.
    pub fn next(&self, is_base: bool) -> String {
        if is_base {
            return String::new();
        }
        let word = |path: &Path| shell_word(&path.display().to_string());
        let mut command = format!(
            "polymath report {} {}",
            word(&self.base),
            word(&self.output)
        );
        for dataset in &self.scoring.dataset {
            command += &format!(" --dataset {}", word(dataset));
        }
        if let Some(niche) = &self.niche {
            command += &format!(" --niche {}", shell_word(niche));
        }
        format!("\nA report on it, with intervals and verdicts:\n  {command} -o report")
    }

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
