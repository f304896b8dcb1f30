//! `polymath forget`: the report.

use std::path::{Path, PathBuf};

use anyhow::Context;
use polymath_data::{Dataset, HeldoutSplit};
use polymath_eval::evidence::Evidence;
use polymath_eval::report::{CurvePoint, split_to_judge};
use polymath_eval::{ForgettingReport, ModelScores, Settings};
use polymath_finetune::Lineage;
use polymath_train::{Resolved, resolve, resolve_base, resolve_checkpoint};

use super::evaluate::{Asked, datasets, score};
use super::ledger::Ledger;
use super::tasks;
use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Tokens of each domain whose scores are kept to show what was forgotten: 8 MB for a model.
const KEPT_TOKENS: u64 = 2_000_000;

/// Scores base and tuned models, compares them, writes the report and prints its table.
pub fn run(arguments: &arguments::Forget, environment: &Environment) -> Result<(), Failure> {
    polymath_eval::check_forms(&arguments.output, "report").map_err(Failure::usage)?;
    let base = resolve_checkpoint(&arguments.base)?;
    let resolved = arguments
        .tuned
        .iter()
        .map(|path| resolve(path))
        .collect::<Result<Vec<_>, _>>()?;
    let tuned: Vec<PathBuf> = resolved.iter().map(|run| run.folder.clone()).collect();
    let tasks = tasks::read(&arguments.tasks)?;
    let datasets = datasets(&arguments.scoring, &tuned)?;
    let context = match arguments.scoring.context {
        Some(context) => context,
        None => polymath_model::load_config(&base)?.max_position_embeddings,
    };
    let scoring = arguments::Scoring {
        context: Some(context),
        dataset: arguments.scoring.dataset.clone(),
        ..arguments.scoring
    };
    let chosen_on = chosen_on(&base, &tuned)?;
    let is_asked = arguments.split.split.is_some();
    let split = match is_asked {
        true => arguments.split.choice(),
        false => split_to_judge(chosen_on),
    };
    let asked = Asked {
        datasets: &datasets,
        tasks: &tasks,
        scoring: &scoring,
        split,
        or_all: !is_asked,
        keep: KEPT_TOKENS,
    };
    let mut before = score((&base, None), &asked, environment)?;
    before.sha256 = polymath_model::sha256_of_weights(&base)?;
    before.overlaps = datasets
        .iter()
        .flat_map(|dataset| dataset.manifest().overlaps.clone())
        .collect();
    let mut ledger = Ledger::new(&datasets, environment);
    let mut runs = Vec::new();
    for Resolved { folder, named } in &resolved {
        let over = resolve_base(folder, arguments.adapter_base.as_deref())?;
        let mut scores = score((folder, over.as_deref()), &asked, environment)?;
        scores.named = named.display().to_string();
        let lineage = describe(&mut scores, folder, &before.sha256, arguments)?;
        if let Some(lineage) = lineage {
            scores.overlaps = ledger.of(&lineage)?;
        }
        gather_evidence(&before, &mut scores, &datasets, arguments.seed)?;
        runs.push(scores);
    }
    let settings = Settings {
        tolerance: arguments.tolerance,
        seed: arguments.seed,
        context,
        max_tokens: arguments.scoring.max_tokens,
        chosen_on,
        split,
        ..Settings::default()
    };
    let report = ForgettingReport::new(&before, &runs, settings)?;
    polymath_eval::write(&report, &arguments.output)?;
    let page = arguments.output.join("report.html");
    results::announce(&format!("{}\n{}", report.table(), page.display()));
    Ok(())
}

/// The split by which the checkpoints were chosen: `dev` where it was for any of them.
fn chosen_on(base: &Path, tuned: &[PathBuf]) -> Result<Option<HeldoutSplit>, Failure> {
    let mut chosen = None;
    for folder in std::iter::once(base).chain(tuned.iter().map(PathBuf::as_path)) {
        chosen = chosen.or(polymath_finetune::chosen_on(folder)?);
    }
    Ok(chosen)
}

/// How a run was tuned, what for, and how its held-out scores went; what its folder says it was made from.
fn describe(
    scores: &mut ModelScores,
    folder: &Path,
    base_sha256: &str,
    arguments: &arguments::Forget,
) -> Result<Option<Lineage>, Failure> {
    let lineage = Lineage::of(folder)?;
    if !polymath_model::is_adapter(folder) {
        scores.sha256 = polymath_model::sha256_of_weights(folder)?;
    }
    if let Some(lineage) = &lineage {
        scores.tuned_from = lineage.base_sha256.clone();
    }
    scores.method = lineage
        .as_ref()
        .map_or("tuned".into(), |lineage| lineage.method.clone());
    scores.niche = arguments
        .niche
        .clone()
        .or(lineage.as_ref().map(|lineage| lineage.niche.clone()))
        .unwrap_or_default();
    scores.earlier_niches = lineage
        .as_ref()
        .map(|lineage| lineage.niches_since(base_sha256))
        .unwrap_or_default();
    let metrics = folder
        .parent()
        .unwrap_or(Path::new("."))
        .join("metrics.jsonl");
    // A model from elsewhere has no curve; that is no error.
    let text = match polymath_input::exists(&metrics)? {
        true => polymath_files::read(&metrics)
            .with_context(|| format!("can't read `{}`", metrics.display()))?,
        false => Vec::new(),
    };
    scores.curve = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<CurvePoint>(line).ok())
        .collect();
    Ok(lineage)
}

/// What a run lost in each domain; the scores of its single tokens are given up then, so that memory does not grow with
/// the number of runs.
fn gather_evidence(
    before: &ModelScores,
    run: &mut ModelScores,
    datasets: &[Dataset],
    seed: u64,
) -> Result<(), Failure> {
    let none = Vec::new();
    for (name, base) in &before.domains {
        let holds = |dataset: &&Dataset| dataset.domain_names().contains(&name.as_str());
        let (Some(tuned), Some(dataset)) = (run.domains.get(name), datasets.iter().find(holds))
        else {
            continue;
        };
        let evidence = Evidence {
            dataset,
            domain: name,
            base,
            tuned,
            answers: (
                before.questions.get(name).unwrap_or(&none),
                run.questions.get(name).unwrap_or(&none),
            ),
            seed,
        };
        run.evidence.insert(name.clone(), evidence.gather()?);
    }
    for domain in run.domains.values_mut() {
        domain.tokens_of = Vec::new();
    }
    Ok(())
}
