//! `polymath forget`: the report.

use std::collections::BTreeMap;
use std::path::Path;

use polymath_data::Dataset;
use polymath_eval::report::CurvePoint;
use polymath_eval::{ForgettingReport, ModelScores, Settings};
use polymath_finetune::Lineage;
use polymath_train::resolve_checkpoint;

use super::evaluate::{base_of, datasets, score};
use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;

/// Scores base and tuned models, compares them, writes the report and prints its table.
pub fn run(arguments: &arguments::Forget, environment: &Environment) -> Result<(), Failure> {
    let base = resolve_checkpoint(&arguments.base)?;
    let tuned = arguments
        .tuned
        .iter()
        .map(|path| resolve_checkpoint(path))
        .collect::<Result<Vec<_>, _>>()?;
    let datasets = datasets(&arguments.scoring, &tuned[0])?;
    let context = match arguments.scoring.context {
        Some(context) => context,
        None => polymath_model::load_config(&base)?.max_position_embeddings,
    };
    let scoring = arguments::Scoring {
        context: Some(context),
        dataset: arguments.scoring.dataset.clone(),
        ..arguments.scoring
    };
    let before = score((&base, None), &datasets, &scoring, environment)?;
    let mut runs = Vec::new();
    for folder in &tuned {
        let over = base_of(folder, arguments.adapter_base.as_deref());
        let mut scores = score((folder, over), &datasets, &scoring, environment)?;
        describe(&mut scores, folder, arguments)?;
        runs.push(scores);
    }
    let settings = Settings {
        tolerance: arguments.tolerance,
        seed: arguments.seed,
        context,
        overlaps: overlaps(&datasets),
        ..Settings::default()
    };
    let report = ForgettingReport::new(&before, &runs, settings)?;
    polymath_eval::write(&report, &arguments.output)?;
    print!("{}", report.table());
    println!("\n{}", arguments.output.join("report.html").display());
    Ok(())
}

/// How a run was tuned, what for, and how its held-out scores went.
fn describe(
    scores: &mut ModelScores,
    folder: &Path,
    arguments: &arguments::Forget,
) -> Result<(), Failure> {
    let lineage = Lineage::of(folder)?;
    scores.method = lineage
        .as_ref()
        .map_or("tuned".into(), |lineage| lineage.method.clone());
    scores.niche = arguments
        .niche
        .clone()
        .or(lineage.map(|lineage| lineage.niche))
        .unwrap_or_default();
    let metrics = folder
        .parent()
        .unwrap_or(Path::new("."))
        .join("metrics.jsonl");
    // A model from elsewhere has no curve; that is no error.
    let text = std::fs::read_to_string(metrics).unwrap_or_default();
    scores.curve = text
        .lines()
        .filter_map(|line| serde_json::from_str::<CurvePoint>(line).ok())
        .collect();
    Ok(())
}

/// For each held-out domain, the largest share of its documents that stands whole in any training text.
fn overlaps(datasets: &[Dataset]) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for overlap in datasets
        .iter()
        .flat_map(|dataset| &dataset.manifest().overlaps)
    {
        let share: &mut f64 = found.entry(overlap.heldout.clone()).or_default();
        *share = share.max(overlap.exact_share);
    }
    found
}
