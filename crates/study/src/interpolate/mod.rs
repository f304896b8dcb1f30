//! Interpolation between a base and a tuned checkpoint, and the choice of the best point.

pub(crate) mod between;
mod curve;
mod search;

pub use between::BetweenOptions;
pub use curve::{BitsPerByte, Point, Rule, grid};
pub use search::{Curve, Search};

use serde_json::json;

use crate::{Setup, StudyError};
use between::Between;

/// File with the curve, written last. It marks a folder as the result of an interpolation.
const CURVE: &str = "interpolation.json";

/// Options of [`interpolate`].
#[derive(Debug, Clone)]
pub struct InterpolateOptions {
    /// Checkpoints, data and output folder.
    pub between: BetweenOptions,
    /// Shares of the tuned weights to try, besides 0 and 1.
    pub alphas: Vec<f64>,
    /// If true, then searches for a separate share of each block, starting from the best common share.
    pub per_block: bool,
}

/// Scores the models between a base and a tuned checkpoint (WiSE-FT, Wortsman et al. 2022). Writes the chosen model
/// and the curve. Returns the curve and the rule that chose its point.
///
/// # Errors
/// Fails if the checkpoints, the data or the output folder do not fit, or if scoring or writing fails.
pub fn interpolate(
    options: &InterpolateOptions,
    setup: &Setup,
) -> Result<(Curve, Rule), StudyError> {
    let grid = grid(&options.alphas).map_err(StudyError::refused)?;
    let between = Between::open(&options.between, &[CURVE])?;
    let models = between.models(setup)?;
    let rule = &between.rule;
    let search = Search {
        models: &models,
        rule,
    };
    let curve = search.run(&grid, options.per_block, &mut |point| {
        let alpha = point
            .alpha
            .map_or("per block".to_owned(), |alpha| format!("α {alpha:.2}"));
        setup.progress.say(&format!(
            "{alpha}  {} {:.4}  retained domains {:+.4}",
            rule.niche, point.dev[&rule.niche], point.mean_increase
        ));
    })?;
    let chosen = &curve.points[curve.chosen];
    let how = chosen
        .alpha
        .map_or("interpolated per block".to_owned(), |alpha| {
            format!("interpolated at {alpha:.2}")
        });
    between.write_model(&models, &chosen.shares, &how)?;
    write_curve(&between, &curve)?;
    drop(models);
    let rule = between.rule.clone();
    between.output.finish()?;
    Ok((curve, rule))
}

fn write_curve(between: &Between, curve: &Curve) -> Result<(), StudyError> {
    let rule = &between.rule;
    let value = json!({
        "schema": 1,
        "base": between.base,
        "tuned": between.tuned,
        "niche": rule.niche,
        "limit": rule.limit,
        "points": curve.points,
        "chosen": curve.chosen,
        "within_limit": curve.within_limit,
    });
    for (name, text) in [
        ("interpolation.md", curve.markdown(rule)),
        (CURVE, format!("{value:#}\n")),
    ] {
        let path = between.output.path().join(name);
        std::fs::write(&path, text).map_err(StudyError::file(&path))?;
    }
    Ok(())
}
