//! Audit of models that anyone fine-tuned with anything: identity of base and tuned models, and forgetting on text that
//! needs no dataset of the user's.

mod behavior;
mod bundled;
mod carried;
mod distance;
mod identity;
mod recorded;
mod sources;
mod texts;
mod tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polymath_data::{Dataset, Split};
use polymath_eval::{WindowOptions, score_shard};
use polymath_model::{ModelSource, Precision, has_fast_bf16};
use polymath_report::audit::{Audit, AuditParts, AuditSettings};
use polymath_report::{ForgettingReport, ReportSettings};
use polymath_train::Resolved;

use crate::setup::Scored;
use crate::{ForgetOptions, GeneratedText, JudgedSplit, Setup, StudyError, forget};
use behavior::{BehaviorCheck, BehaviorPrompts};
use bundled::Bundled;
use sources::Opened;
pub use texts::OwnText;

/// Default maximum number of scored tokens of each domain: 24 documents of the bundled text, of which a verdict needs
/// 15.
pub const TOKENS: u64 = 6_000;
/// Default number of instructions, and of requests, that the models answer.
pub const PROMPTS: usize = 40;
/// Least length of a window in tokens, unless the model's context is shorter.
const SHORTEST_WINDOW: usize = 1024;

/// Options of [`audit`]. The defaults are those of the command line.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// Folder that the audit writes its text, dataset and imported models to.
    pub folder: PathBuf,
    /// Maximum number of scored tokens of each domain. Of the bundled text, the beginning of one document for each 250
    /// of them is scored; of the user's own, whole documents in a seeded order, up to the first that does not fit.
    pub tokens: u64,
    /// Increase in bits per byte above which a domain counts as forgotten.
    pub limit: f64,
    /// The user's own texts, each as a domain.
    pub texts: Vec<OwnText>,
    /// Files or folders of the user's own multiple-choice tasks.
    pub tasks: Vec<PathBuf>,
    /// Domain among `texts` that the models were tuned for. Its change is a gain, not forgetting.
    pub niche: Option<String>,
    /// Number of tokens that the base generates as a domain of its own, whose change estimates KL(base ‖ tuned).
    pub generate: Option<u64>,
    /// Precision of scoring. Default: bf16 if the processor has an instruction for it, else f32.
    pub precision: Option<Precision>,
    /// Number of format instructions, and of marked requests, that the models answer; 0 for none.
    pub prompts: usize,
    /// Random seed of the bootstrap and of generated text.
    pub seed: u64,
}

impl AuditOptions {
    /// Returns the default options with this folder.
    pub fn in_folder(folder: PathBuf) -> Self {
        let ReportSettings {
            tolerance, seed, ..
        } = ReportSettings::default();
        Self {
            folder,
            tokens: TOKENS,
            limit: tolerance,
            texts: Vec::new(),
            tasks: Vec::new(),
            niche: None,
            generate: None,
            precision: None,
            prompts: PROMPTS,
            seed,
        }
    }

    fn precision(&self, setup: &Setup) -> Precision {
        let fastest = match setup.device.is_cpu() && has_fast_bf16() {
            true => Precision::Bf16,
            false => Precision::F32,
        };
        self.precision.unwrap_or(fastest)
    }

    /// Returns windows as long as the longest document: rows are padded to the length of a window.
    fn windows(&self, base: &Path, dataset: &Dataset) -> Result<WindowOptions, StudyError> {
        let mut longest = SHORTEST_WINDOW;
        for name in dataset.domain_names() {
            let shard = dataset.shard(name, Split::Heldout)?;
            let lengths = (0..shard.documents()).map(|index| shard.document(index).len());
            longest = longest.max(lengths.max().unwrap_or(0));
        }
        let context = ModelSource::of(base).config()?.max_position_embeddings;
        Ok(WindowOptions {
            context: Some(context.min(longest)),
            max_tokens: Some(self.tokens),
            ..WindowOptions::default()
        })
    }
}

/// Audits `tuned` models (model folders, adapters, run folders, GGUF files or names on the hub) against their `base`:
/// checks that the comparison is valid, and measures forgetting on bundled text and on the user's own.
///
/// The audit names a base that already carries an adapter, a base that is not the base, tokenizers and chat templates
/// that differ, and an adapter that is loaded with the base. At the end it scores the base again, which must give
/// exactly the first scores. A tuned model whose comparison is invalid is not scored.
///
/// ```no_run
/// use candle_core::Device;
/// use polymath_model::{Implementation, Precision};
/// use polymath_study::{Setup, SilentStudy, audit};
///
/// let setup = Setup {
///     device: Device::Cpu,
///     implementation: Implementation::default(),
///     precision: Precision::F32,
///     progress: &SilentStudy,
/// };
/// let (base, tuned) = ("SmolLM2-135M-Instruct".as_ref(), ["my-adapter".into()]);
/// let options = audit::AuditOptions::in_folder("audit".into());
/// let found = audit::audit(base, &tuned, &options, &setup)?;
/// println!("{}", found.sentence());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Fails if a model, a text or a task can't be opened, or if scoring fails.
pub fn audit(
    base: &Path,
    tuned: &[PathBuf],
    options: &AuditOptions,
    setup: &Setup,
) -> Result<Audit, StudyError> {
    let precision = options.precision(setup);
    let setup = Setup {
        device: setup.device.clone(),
        implementation: setup.implementation,
        precision,
        progress: setup.progress,
    };
    let bundled = Bundled::read();
    texts::check(options, &bundled)?;
    let base = Opened::of(base, &options.folder)?;
    let tuned = tuned
        .iter()
        .map(|path| Opened::of(path, &options.folder))
        .collect::<Result<Vec<_>, _>>()?;
    let examined = identity::examine(&base, &tuned, setup.progress)?;
    let mut parts = AuditParts {
        base: base.named.clone(),
        tuned: tuned.iter().map(|model| model.named.clone()).collect(),
        settings: AuditSettings {
            limit: options.limit,
            tokens: options.tokens,
            precision: precision.to_string(),
            text: bundled.identity.clone(),
        },
        findings: examined.findings,
        base_again: BTreeMap::new(),
        behavior: Vec::new(),
        behavior_left_out: None,
        report: None,
    };
    if !examined.valid.is_empty() {
        let dataset = texts::prepare_all(&base.run.folder, &bundled, options)?;
        let scoring = Scoring {
            base: &base.run.folder,
            bundled: &bundled,
            windows: options.windows(&base.run.folder, &dataset)?,
            dataset,
            options,
            setup: &setup,
        };
        let report = scoring.report(&examined.valid)?;
        match scoring.behavior(&examined.valid)? {
            BehaviorCheck::Reports(reports) => parts.behavior = reports,
            BehaviorCheck::LeftOut(reason) => parts.behavior_left_out = Some(reason),
        }
        parts.base_again = scoring.again(&report)?;
        parts.report = Some(report);
    }
    Ok(Audit::new(parts))
}

/// Inputs of the scoring: the base, text, options and setup.
struct Scoring<'a> {
    base: &'a Path,
    bundled: &'a Bundled,
    dataset: Dataset,
    windows: WindowOptions,
    options: &'a AuditOptions,
    setup: &'a Setup<'a>,
}

impl Scoring<'_> {
    /// Scores the models and returns their forgetting report.
    fn report(&self, tuned: &[Resolved]) -> Result<ForgettingReport, StudyError> {
        let options = self.options;
        let mut tasks = vec![self.bundled.write_task(&options.folder.join("tasks"))?];
        tasks.extend(options.tasks.iter().cloned());
        let forgetting = ForgetOptions {
            datasets: vec![self.dataset.path().to_path_buf()],
            generated: options.generate.map(|tokens| GeneratedText {
                tokens,
                seed: options.seed,
                folder: options.folder.join("self-text"),
            }),
            tasks,
            windows: self.windows,
            split: JudgedSplit::All,
            adapter_base: Some(self.base.to_path_buf()),
            niche: options.niche.clone(),
            unscored_niches: options.niche.is_none(),
            tolerance: options.limit,
            seed: options.seed,
        };
        let tuned: Vec<PathBuf> = tuned.iter().map(|run| run.named.clone()).collect();
        forget(self.base, &tuned, &forgetting, self.setup)
    }

    /// Compares the answers of the models to format instructions and requests.
    fn behavior(&self, tuned: &[Resolved]) -> Result<BehaviorCheck, StudyError> {
        let interview = BehaviorPrompts {
            set: &self.bundled.set,
            prompts: self.options.prompts,
        };
        interview.ask(self.base, tuned, self.setup)
    }

    /// Scores the base once more on its smallest domain. Returns the change against the first scores: anything but
    /// exactly 0 means that the base was not the same model both times.
    fn again(&self, report: &ForgettingReport) -> Result<BTreeMap<String, f64>, StudyError> {
        let dataset = &self.dataset;
        let runs = report.runs.iter();
        let scored = runs.flat_map(|run| &run.domains).filter_map(|domain| {
            let before = domain.base_bits_per_byte?;
            let is_stored = dataset.domain_names().contains(&domain.name.as_str());
            is_stored.then_some((domain.bytes, &domain.name, before))
        });
        let Some((_, name, before)) = scored.min_by_key(|(bytes, name, _)| (*bytes, *name)) else {
            return Ok(BTreeMap::new());
        };
        let source = ModelSource::of(self.base);
        let ends = source.config()?.document_ends();
        let reading = dataset.read_by(&source.tokenizer()?, ends)?;
        let shard = reading.shard(name, Split::Heldout)?;
        let model = source.load(&self.setup.frozen())?;
        let progress = self.setup.progress;
        progress.begin(Scored::Domain("base again"));
        let after = score_shard(&model, &shard, self.windows, &mut |done, all| {
            progress.advance(done, all);
        })?;
        progress.finish();
        let change = after.bits_per_byte() - before;
        Ok(BTreeMap::from([(name.clone(), change)]))
    }
}
