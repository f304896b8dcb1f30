//! `polymath interpolate`: the models between a base and a tuned checkpoint, and the best of them.

use anyhow::Context;
use polymath_finetune::retention::{Found, grid};
use serde_json::json;

use super::between::Between;
use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// What the curve is kept in, written last: a folder with it is an interpolation's own.
const CURVE: &str = "interpolation.json";

/// Scores the curve, and writes the chosen model and the curve.
pub fn run(arguments: &arguments::Interpolate, environment: &Environment) -> Result<(), Failure> {
    let grid = grid(&arguments.alphas).map_err(Failure::usage)?;
    let between = Between::open(&arguments.between, CURVE)?;
    let models = between.models(environment)?;
    let rule = &between.rule;
    let found = models.search(&grid, rule, arguments.per_block, &mut |point| {
        let alpha = point
            .alpha
            .map_or("per block".to_owned(), |alpha| format!("α {alpha:.2}"));
        environment.say(&format!(
            "{alpha}  {} {:.4}  old domains {:+.4}",
            rule.niche, point.development[&rule.niche], point.mean_increase
        ));
    })?;
    let output = &arguments.between.output;
    let chosen = &found.points[found.chosen];
    let how = chosen
        .alpha
        .map_or("interpolated per block".to_owned(), |alpha| {
            format!("interpolated at {alpha:.2}")
        });
    between.write_model((&models, &chosen.shares), &how)?;
    write_curve(&between, &found)?;
    let text = format!("{}\n{}", found.table(rule), output.display());
    drop(models);
    between.output.finish()?;
    results::announce(&text);
    Ok(())
}

fn write_curve(between: &Between, found: &Found) -> Result<(), Failure> {
    let rule = &between.rule;
    let curve = json!({
        "schema": 1,
        "base": between.base,
        "tuned": between.tuned,
        "niche": rule.niche,
        "limit": rule.limit,
        "points": found.points,
        "chosen": found.chosen,
        "within_limit": found.within_limit,
    });
    for (name, text) in [
        ("interpolation.md", found.table(rule)),
        (CURVE, format!("{curve:#}\n")),
    ] {
        let path = between.output.path().join(name);
        std::fs::write(&path, text).with_context(|| format!("can't write `{}`", path.display()))?;
    }
    Ok(())
}
