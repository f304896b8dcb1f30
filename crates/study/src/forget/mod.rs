//! The forgetting report of finished checkpoints: load, score, lineage, leak ledger, evidence.

mod ledger;

use std::path::{Path, PathBuf};

use polymath_data::{Dataset, HeldoutSplit};
use polymath_eval::WindowOptions;
use polymath_finetune::Lineage;
use polymath_report::evidence::Evidence;
use polymath_report::forgetting::{CurvePoint, split_to_judge};
use polymath_report::{ForgettingReport, ModelScores, Settings};
use polymath_train::{Resolved, resolve, resolve_base, resolve_checkpoint};

use crate::scoring::{Checkpoint, Target, open_datasets, open_tasks, score};
use crate::{Setup, StudyError};
use ledger::Ledger;

/// Tokens of each domain whose scores are kept to show what was forgotten: 8 MB for a model.
const KEPT_TOKENS: u64 = 2_000_000;

/// The split of the held-out documents that a report judges on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JudgedSplit {
    /// `test` where the checkpoints were chosen on `dev`, else all; a domain with no document in `test` is scored whole.
    #[default]
    ByLineage,
    /// This split alone.
    Split(HeldoutSplit),
    /// All held-out documents.
    All,
}

/// Options of [`forget`]; the default is that of the command line.
#[derive(Debug, Clone)]
pub struct ForgetOptions {
    /// Folders of datasets; if empty, those of the tuned checkpoints' own runs.
    pub datasets: Vec<PathBuf>,
    /// Files or folders of tasks with choices.
    pub tasks: Vec<PathBuf>,
    /// Context, stride and bound on tokens; the split is that of `split`.
    pub windows: WindowOptions,
    /// The split that is judged on.
    pub split: JudgedSplit,
    /// The base of tuned checkpoints that are adapters; by default the one that each names.
    pub adapter_base: Option<PathBuf>,
    /// The domain that was tuned for; by default what each run says.
    pub niche: Option<String>,
    /// Change below which a domain counts as kept, in bits per byte.
    pub tolerance: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
}

impl Default for ForgetOptions {
    fn default() -> Self {
        let Settings {
            tolerance, seed, ..
        } = Settings::default();
        Self {
            datasets: Vec::new(),
            tasks: Vec::new(),
            windows: WindowOptions::default(),
            split: JudgedSplit::default(),
            adapter_base: None,
            niche: None,
            tolerance,
            seed,
        }
    }
}

/// Scores a base and models tuned from it (checkpoints or run folders) on the same held-out documents, and compares them.
///
/// ```no_run
/// use candle_core::Device;
/// use polymath_model::Implementation;
/// use polymath_study::{ForgetOptions, Setup, Silent, forget};
///
/// let setup = Setup {
///     device: Device::Cpu,
///     implementation: Implementation::default(),
///     progress: &Silent,
/// };
/// let (base, tuned) = ("checkpoints/small".as_ref(), ["checkpoints/small-formal".into()]);
/// let report = forget(base, &tuned, &ForgetOptions::default(), &setup)?;
/// println!("{}", report.table());
/// polymath_report::write(&report, "report".as_ref())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A checkpoint, task or dataset that can't be opened; what does not fit each other; what scoring says.
pub fn forget(
    base: &Path,
    tuned: &[PathBuf],
    options: &ForgetOptions,
    setup: &Setup,
) -> Result<ForgettingReport, StudyError> {
    let base = resolve_checkpoint(base)?;
    let resolved = tuned
        .iter()
        .map(|path| resolve(path))
        .collect::<Result<Vec<_>, _>>()?;
    let tuned: Vec<PathBuf> = resolved.iter().map(|run| run.folder.clone()).collect();
    let tasks = open_tasks(&options.tasks)?;
    let datasets = open_datasets(&options.datasets, &tuned)?;
    let context = match options.windows.context {
        Some(context) => context,
        None => polymath_model::load_config(&base)?.max_position_embeddings,
    };
    let chosen_on = chosen_on(&base, &tuned)?;
    let split = match options.split {
        JudgedSplit::ByLineage => split_to_judge(chosen_on),
        JudgedSplit::Split(split) => Some(split),
        JudgedSplit::All => None,
    };
    let target = Target {
        datasets: &datasets,
        tasks: &tasks,
        windows: WindowOptions {
            context: Some(context),
            split,
            ..options.windows
        },
        or_all: options.split == JudgedSplit::ByLineage,
        keep: KEPT_TOKENS,
    };
    let before = score_base(&base, &target, setup)?;
    let mut ledger = Ledger::new(&datasets, setup.progress);
    let mut runs = Vec::new();
    for Resolved { folder, named } in &resolved {
        let over = resolve_base(folder, options.adapter_base.as_deref())?;
        let checkpoint = Checkpoint {
            folder,
            base: over.as_deref(),
        };
        let mut scores = score(checkpoint, &target, setup)?;
        scores.named = named.display().to_string();
        let niche = options.niche.as_deref();
        if let Some(lineage) = describe(&mut scores, folder, &before.sha256, niche)? {
            scores.overlaps = ledger.of(&lineage)?;
        }
        gather_evidence(&before, &mut scores, &datasets, options.seed)?;
        runs.push(scores);
    }
    let settings = Settings {
        tolerance: options.tolerance,
        seed: options.seed,
        context,
        max_tokens: options.windows.max_tokens,
        chosen_on,
        split,
        ..Settings::default()
    };
    Ok(ForgettingReport::new(&before, &runs, settings)?)
}

/// Scores the base, with what its datasets' held-out text has in common with their training text.
fn score_base(base: &Path, target: &Target, setup: &Setup) -> Result<ModelScores, StudyError> {
    let checkpoint = Checkpoint {
        folder: base,
        base: None,
    };
    let mut scores = score(checkpoint, target, setup)?;
    scores.sha256 = polymath_model::sha256_of_weights(base)?;
    scores.overlaps = target
        .datasets
        .iter()
        .flat_map(|dataset| dataset.manifest().overlaps.clone())
        .collect();
    Ok(scores)
}

/// The split by which the checkpoints were chosen: `dev` where it was for any of them.
fn chosen_on(base: &Path, tuned: &[PathBuf]) -> Result<Option<HeldoutSplit>, StudyError> {
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
    niche: Option<&str>,
) -> Result<Option<Lineage>, StudyError> {
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
    scores.niche = niche
        .map(str::to_owned)
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
        true => polymath_files::read(&metrics).map_err(StudyError::file(&metrics))?,
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
) -> Result<(), StudyError> {
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
