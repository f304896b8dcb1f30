//! Forgetting report of finished checkpoints: loading, scores, lineage, leak ledger and evidence.

mod describe;
mod generated;
mod ledger;
pub(crate) mod provenance;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polymath_data::{Dataset, GroupKind, Grouping, HeldoutSplit};
use polymath_eval::WindowOptions;
use polymath_model::{ModelSource, check_folder};
use polymath_report::evidence::Evidence;
use polymath_report::forgetting::split_to_judge;
use polymath_report::{ForgettingReport, ModelScores, ReportSettings};
use polymath_train::{Resolved, resolve, resolve_base, resolve_checkpoint};

use crate::scoring::{Target, check_fit, open_datasets, open_tasks, own_datasets, score};
use crate::{Setup, StudyError};
pub(crate) use describe::Direction;
use describe::describe;
pub use generated::GeneratedText;
use ledger::Ledger;

/// Maximum number of tokens of each domain whose single scores are stored as evidence: 8 MB for each model.
const KEPT_TOKENS: u64 = 2_000_000;

/// Choice of the held-out documents that a report is computed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JudgedSplit {
    /// The `test` split if the checkpoints were chosen on `dev`, or else all documents. A domain without documents in
    /// `test` is scored as a whole.
    #[default]
    ByLineage,
    /// The given split.
    Split(HeldoutSplit),
    /// All held-out documents.
    All,
}

/// Options of [`forget`]. The defaults are those of the command line.
#[derive(Debug, Clone)]
pub struct ForgetOptions {
    /// Dataset folders. If empty, the datasets of the tuned checkpoints' own runs.
    pub datasets: Vec<PathBuf>,
    /// Text that the base generates, on which forgetting is measured without any data; `None` for none.
    pub generated: Option<GeneratedText>,
    /// Files or folders of multiple-choice tasks.
    pub tasks: Vec<PathBuf>,
    /// Context, stride and maximum number of tokens. Their `split` is ignored; `split` below applies.
    pub windows: WindowOptions,
    /// Split that the report is computed on.
    pub split: JudgedSplit,
    /// Base of the tuned checkpoints that are adapters. Default: the base that each adapter names.
    pub adapter_base: Option<PathBuf>,
    /// Domain of the fine-tuning. Default: the niche that each run records.
    pub niche: Option<String>,
    /// True if a recorded niche that is not among the scored domains is left out of the report; false if it is an
    /// error.
    pub unscored_niches: bool,
    /// Increase in bits per byte below which a domain counts as kept.
    pub tolerance: f64,
    /// Random seed of the bootstrap.
    pub seed: u64,
}

impl Default for ForgetOptions {
    fn default() -> Self {
        let ReportSettings {
            tolerance, seed, ..
        } = ReportSettings::default();
        Self {
            datasets: Vec::new(),
            generated: None,
            tasks: Vec::new(),
            windows: WindowOptions::default(),
            split: JudgedSplit::default(),
            adapter_base: None,
            niche: None,
            unscored_niches: false,
            tolerance,
            seed,
        }
    }
}

/// Scores a base and models tuned from it (checkpoints or run folders) on the same held-out documents, and compares
/// them.
///
/// ```no_run
/// use candle_core::Device;
/// use polymath_model::{Implementation, Precision};
/// use polymath_study::{ForgetOptions, Setup, SilentStudy, forget};
///
/// let setup = Setup {
///     device: Device::Cpu,
///     implementation: Implementation::default(),
///     precision: Precision::F32,
///     progress: &SilentStudy,
/// };
/// let (base, tuned) = ("checkpoints/small".as_ref(), ["checkpoints/small-formal".into()]);
/// let report = forget(base, &tuned, &ForgetOptions::default(), &setup)?;
/// println!("{}", report.table());
/// polymath_report::write(&report, "report".as_ref())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Fails if a checkpoint, task or dataset can't be opened, if they do not fit each other, or if scoring fails.
pub fn forget(
    base: &Path,
    tuned: &[PathBuf],
    options: &ForgetOptions,
    setup: &Setup,
) -> Result<ForgettingReport, StudyError> {
    let base = resolve_checkpoint(base)?;
    check_folder(&base)?;
    let resolved = resolve_all(tuned)?;
    let tuned: Vec<PathBuf> = resolved.iter().map(|run| run.folder.clone()).collect();
    let direction = Direction::of(&base, &tuned)?;
    let tasks = open_tasks(&options.tasks)?;
    let datasets = open_all(&base, &tuned, options, setup)?;
    let context = match options.windows.context {
        Some(context) => context,
        None => polymath_model::load_config(&base)?.max_position_embeddings,
    };
    let (chosen_on, chosen_unknown) = chosen_on(&base, &resolved)?;
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
        base_answers: None,
    };
    // The last model is scored hours after the first one, so that all of them are checked now.
    check_fit(ModelSource::of(&base), &target)?;
    for run in &resolved {
        let over = resolve_base(&run.folder, options.adapter_base.as_deref())?;
        let source = ModelSource {
            folder: &run.folder,
            base: over.as_deref(),
        };
        check_fit(source, &target)?;
    }
    let before = score_base(&direction, &target, setup)?;
    let target = Target {
        base_answers: Some(&before.questions),
        ..target
    };
    let mut ledger = Ledger::new(&datasets, setup.progress);
    let mut runs = Vec::new();
    for run in &resolved {
        let mut scores = score_run(run, options, &target, setup)?;
        let niche = options.niche.as_deref();
        if let Some(lineage) = describe(&mut scores, &run.folder, &direction, niche)? {
            scores.overlaps = ledger.of(&lineage)?;
        }
        if options.unscored_niches {
            let domains = &scores.domains;
            scores.niche = scores.niche.filter(|niche| domains.contains_key(niche));
        }
        for note in &scores.notes {
            setup.progress.say(note);
        }
        gather_evidence(&before, &mut scores, &datasets, context, options.seed)?;
        runs.push(scores);
    }
    let settings = ReportSettings {
        tolerance: options.tolerance,
        seed: options.seed,
        context,
        max_tokens: options.windows.max_tokens,
        chosen_on,
        chosen_unknown,
        split,
        ..ReportSettings::default()
    };
    Ok(ForgettingReport::new(&before, &runs, settings)?)
}

/// Resolves the tuned models to their checkpoint folders.
fn resolve_all(tuned: &[PathBuf]) -> Result<Vec<Resolved>, StudyError> {
    let resolved: Vec<Resolved> = tuned
        .iter()
        .map(|path| resolve(path))
        .collect::<Result<_, _>>()?;
    for run in &resolved {
        check_folder(&run.folder)?;
    }
    Ok(resolved)
}

/// Opens the datasets to score on, and lets the base generate text if the options say so.
fn open_all(
    base: &Path,
    tuned: &[PathBuf],
    options: &ForgetOptions,
    setup: &Setup,
) -> Result<Vec<Dataset>, StudyError> {
    let mut datasets = match (&options.generated, own_datasets(&options.datasets, tuned)?) {
        (Some(_), paths) if paths.is_empty() => Vec::new(),
        (_, paths) => open_datasets(&paths, tuned)?,
    };
    if let Some(text) = &options.generated {
        datasets.push(text.prepare(base, setup)?);
    }
    Ok(datasets)
}

/// Scores a tuned model.
fn score_run(
    run: &Resolved,
    options: &ForgetOptions,
    target: &Target,
    setup: &Setup,
) -> Result<ModelScores, StudyError> {
    let over = resolve_base(&run.folder, options.adapter_base.as_deref())?;
    let source = ModelSource {
        folder: &run.folder,
        base: over.as_deref(),
    };
    let mut scores = score(source, target, setup)?;
    scores.named = Some(run.named.display().to_string());
    Ok(scores)
}

/// Scores the base, and measures the overlap of its datasets' training and held-out text.
fn score_base(
    direction: &Direction,
    target: &Target,
    setup: &Setup,
) -> Result<ModelScores, StudyError> {
    let base = direction.base;
    let mut scores = score(ModelSource::of(base), target, setup)?;
    scores.sha256 = Some(direction.base_sha256.clone());
    for dataset in target
        .datasets
        .iter()
        .filter(|data| data.manifest().generated)
    {
        for name in dataset.domain_names() {
            if let Some(domain) = scores.domains.get_mut(name) {
                domain.grouping = Some(Grouping::of(GroupKind::Generated));
            }
        }
    }
    scores.curve = provenance::curve(base)?;
    scores.provenance = provenance::read(base)?;
    scores.overlaps = target
        .datasets
        .iter()
        .flat_map(|dataset| dataset.manifest().overlaps.clone())
        .collect();
    Ok(scores)
}

/// Returns the split on which the checkpoints were chosen, which is `dev` if any of them was chosen on it. In that
/// case, also returns the tuned checkpoints that record no split.
fn chosen_on(
    base: &Path,
    tuned: &[Resolved],
) -> Result<(Option<HeldoutSplit>, Vec<String>), StudyError> {
    let mut chosen = polymath_finetune::chosen_on(base)?;
    let mut unknown = Vec::new();
    for Resolved { folder, named } in tuned {
        match polymath_finetune::chosen_on(folder)? {
            Some(split) => chosen = chosen.or(Some(split)),
            None => unknown.push(named.display().to_string()),
        }
    }
    unknown.retain(|_| chosen.is_some());
    Ok((chosen, unknown))
}

/// Gathers the evidence of forgetting in each domain. Then drops the scores of single tokens, so that memory does not
/// grow with the number of runs.
fn gather_evidence(
    before: &ModelScores,
    run: &mut ModelScores,
    datasets: &[Dataset],
    context: usize,
    seed: u64,
) -> Result<(), StudyError> {
    let (none, unknown) = (Vec::new(), BTreeMap::new());
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
            generated: run.lost_answers.get(name).unwrap_or(&unknown),
            context,
            seed,
        };
        run.evidence.insert(name.clone(), evidence.gather()?);
    }
    for domain in run.domains.values_mut() {
        domain.tokens_of = Vec::new();
    }
    Ok(())
}
