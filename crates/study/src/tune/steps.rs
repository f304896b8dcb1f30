//! Steps of a tuning.

use std::path::{Path, PathBuf};

use polymath_data::{Dataset, prepare};
use polymath_finetune::retention::GENERATED_DOMAIN;
use polymath_finetune::{Ending, FinetuneConfig, Finetuning};
use polymath_model::ModelSource;
use polymath_report::ForgettingReport;

use super::base::{TuneBase, has_template};
use super::configs::{Configs, Written};
use super::ending::{self, TuneEnd};
use super::request::Retained;
use super::{Tune, TuneFolder};
use crate::{ForgetOptions, Runner, Setup, StudyError, forget};

/// Number of steps of a tuning.
const STEPS: usize = 5;

/// Environment of a tuning: runs and shows its steps.
pub trait TuneRunner: Runner {
    /// Called when the dataset of the niche and the retained text is prepared. `folder` is its final folder.
    fn prepared(&self, dataset: &Dataset, folder: &Path);
}

/// Tuning that was opened only to inspect it, for a dry run.
pub struct Inspected {
    /// Opened fine-tuning, which can be inspected but not run.
    pub finetuning: Finetuning,
    /// Temporary folder of the prepared dataset, removed on drop.
    _scratch: tempfile::TempDir,
}

/// Fine-tuning after its training.
struct Trained {
    finetuning: Finetuning,
    ending: Ending,
}

impl Tune {
    /// Runs those steps of the tuning that are not done yet.
    ///
    /// # Errors
    /// Fails with [`StudyError::Interrupted`] if it was stopped, if the data or the base refuse the request, or with
    /// the error of a step.
    pub fn run(&self, runner: &dyn TuneRunner, setup: &Setup) -> Result<TuneEnd, StudyError> {
        let _lock = self.claim()?;
        self.say_base(runner);
        let base = TuneBase::open(&self.request, &self.folder.base())?;
        if let (Retained::Nothing, Some(dataset)) = (&self.retained, base.own_datasets.first()) {
            runner.say(&format!(
                "note: the base's own dataset `{}` is there: if it is retained, forgetting of its domains is measured and \
                 kept within a budget",
                dataset.display()
            ));
        }
        let configs = self.configs(&base, &self.folder);
        // A wrong setting of the training is told before the text is prepared.
        let written = configs.finetune()?;
        let dataset = self.prepare(&configs, runner)?;
        written.keep(&self.folder.finetune_config())?;
        let Trained { finetuning, ending } = self.finetune(written, runner)?;
        let tuned = finetuning.best()?;
        let report = self.report(&base, &finetuning, runner, setup)?;
        self.say(runner, 5, &self.said_files());
        let source = ModelSource::over(&tuned, finetuning.base());
        let files = ending::write_files(&self.folder, &self.request, source)?;
        Ok(TuneEnd {
            base: base.named.clone(),
            verdict: ending.verdict,
            report,
            page: self.folder.report().join("report.html"),
            chats: chats(&files.model)?,
            has_parted_prompts: has_parted_prompts(&dataset, configs.niche),
            files,
            has_no_text: self.retained == Retained::Nothing,
        })
    }

    /// Opens the tuning without writing into its folder, for a dry run. Imports a GGUF file and prepares the text in a
    /// temporary folder. A model of the hub is downloaded into its cache.
    ///
    /// # Errors
    /// Fails if the data or the base refuse the request.
    pub fn inspect(&self, runner: &dyn TuneRunner) -> Result<Inspected, StudyError> {
        let temporary = std::env::temp_dir();
        let scratch = tempfile::tempdir().map_err(StudyError::file(&temporary))?;
        let folder = TuneFolder::at(scratch.path());
        self.say_base(runner);
        let base = TuneBase::open(&self.request, &folder.base())?;
        let configs = self.configs(&base, &folder);
        self.say(runner, 2, &self.said_text());
        let prepared = configs.prepare()?;
        let dataset = prepare(&prepared.config, false, &*runner.preparation())
            .map_err(StudyError::refused)?;
        runner.prepared(&dataset, &self.folder.data());
        self.say(runner, 3, &self.said_training());
        let written = configs.finetune()?;
        let finetuning = Finetuning::inspect(written.config, &*runner.preparation())
            .map_err(StudyError::refused)?;
        self.say(runner, 4, &self.said_report());
        self.say(runner, 5, &self.said_files());
        Ok(Inspected {
            finetuning,
            _scratch: scratch,
        })
    }

    fn configs<'a>(&'a self, base: &'a TuneBase, folder: &'a TuneFolder) -> Configs<'a> {
        Configs {
            request: &self.request,
            folder,
            base,
            niche: self.niche(),
            retained: &self.retained,
        }
    }

    fn prepare(&self, configs: &Configs, runner: &dyn TuneRunner) -> Result<Dataset, StudyError> {
        self.say(runner, 2, &self.said_text());
        let written = configs.prepare()?;
        written.keep(&self.folder.prepare_config())?;
        let done = self.folder.has_data();
        let progress = runner.preparation();
        let dataset = prepare(&written.config, false, &*progress).map_err(|error| match done {
            true => StudyError::refused(format!(
                "the text was read into `{}` and can't be read again ({error}): if it has changed since, choose another \
                 output folder",
                self.folder.data().display()
            )),
            false => StudyError::refused(error),
        })?;
        if !done {
            runner.prepared(&dataset, &self.folder.data());
        }
        Ok(dataset)
    }

    fn finetune(
        &self,
        written: Written<FinetuneConfig>,
        runner: &dyn TuneRunner,
    ) -> Result<Trained, StudyError> {
        self.say(runner, 3, &self.said_training());
        let finetuning = Finetuning::open(written.config, &*runner.preparation())
            .map_err(StudyError::refused)?;
        let launch = runner.begin();
        let trained = runner
            .observer("tuning", &finetuning)
            .map_err(StudyError::Observer)
            .and_then(|mut observer| Ok(finetuning.run(&launch, &mut *observer)?));
        runner.end();
        let ending = trained?;
        if ending.is_finished() {
            return Ok(Trained { finetuning, ending });
        }
        runner.warn("stopped and saved; the same command continues");
        Err(StudyError::Interrupted)
    }

    /// Scores the base and the tuned model and writes the report, unless it exists.
    fn report(
        &self,
        base: &TuneBase,
        finetuning: &Finetuning,
        runner: &dyn TuneRunner,
        setup: &Setup,
    ) -> Result<ForgettingReport, StudyError> {
        self.say(runner, 4, &self.said_report());
        let output = self.folder.report();
        let forms = ["html", "json", "md"].map(|form| output.join(format!("report.{form}")));
        if forms.iter().all(|form| form.is_file()) {
            return Ok(ForgettingReport::read(&output.join("report.json"))?);
        }
        let mut options = ForgetOptions::default();
        match finetuning.limited_text()? {
            Some(generated) => options.datasets = vec![self.folder.data(), generated],
            None if finetuning.is_limited_on_generated_text() => runner.warn(
                "the text that the base generated was removed: the report has only the niche",
            ),
            None => {}
        }
        if let Some(limit) = self.tolerance() {
            options.tolerance = limit;
        }
        let run = self.folder.run();
        // A run of which no checkpoint was inside its limits has no best one.
        let tuned = match polymath_base::exists(run.join("best")).map_err(StudyError::file(&run))? {
            true => run,
            false => finetuning.best()?,
        };
        let mut report = forget(base.named.as_ref(), &[tuned], &options, setup)?;
        // The folder of the run has the same name in every tuning.
        for run in &mut report.runs {
            run.name = self.folder.name();
        }
        polymath_report::write(&report, &output)?;
        Ok(report)
    }

    /// Returns the tolerance of the report: the limit of generated text, if it is the only retained domain, or else the
    /// default limit.
    fn tolerance(&self) -> Option<f64> {
        let limits = self.request.limits();
        let generated = match self.retained {
            Retained::Nothing => limits.get(GENERATED_DOMAIN),
            _ => None,
        };
        generated.or_else(|| limits.get("default")).copied()
    }

    fn say(&self, runner: &dyn TuneRunner, step: usize, text: &str) {
        runner.say(&format!("{step}/{STEPS}  {text}"));
    }

    fn say_base(&self, runner: &dyn TuneRunner) {
        let named = &self.request.base;
        let text = match self.request.is_gguf() {
            true => format!(
                "Base: import `{named}` into `{}`.",
                self.folder.base().display()
            ),
            false => format!("Base: open `{named}`."),
        };
        let begun = if self.begun {
            " Done steps are skipped."
        } else {
            ""
        };
        self.say(runner, 1, &(text + begun));
    }

    fn said_text(&self) -> String {
        let learned = self.request.data.join("`, `");
        let retained = match &self.retained {
            Retained::Nothing => String::new(),
            Retained::Texts(texts) => format!(", and `{}` to keep", texts.join("`, `")),
            Retained::Dataset(dataset) => format!("; `{}` is to be kept", dataset.display()),
        };
        format!(
            "Text: prepare `{learned}` to learn{retained}, by `{}`.",
            self.folder.prepare_config().display()
        )
    }

    fn said_training(&self) -> String {
        let trained = match self.request.method.adapts() {
            true => "an adapter",
            false => "all weights",
        };
        let limits = self.request.limits();
        let limits: Vec<String> = limits
            .iter()
            .map(|(domain, limit)| match domain.as_str() {
                "default" => limit.to_string(),
                domain => format!("{limit} for {domain}"),
            })
            .collect();
        let text = match self.retained {
            Retained::Nothing => " on text that the base generates",
            _ => "",
        };
        format!(
            "Training: fine-tune {trained} on {}, within a forgetting budget of {} bits per byte{text}, by `{}`.",
            self.niche(),
            limits.join(", "),
            self.folder.finetune_config().display()
        )
    }

    fn said_report(&self) -> String {
        let retained = match &self.retained {
            Retained::Nothing => "of the text that the base generated",
            _ => "of the retained domains",
        };
        format!(
            "Report: score the base and the tuned model on held-out text of {} and {retained}.",
            self.niche()
        )
    }

    fn said_files(&self) -> String {
        let merged = match self.request.method.adapts() {
            true => format!(
                "merge the adapter into `{}`, ",
                self.folder.merged().display()
            ),
            false => String::new(),
        };
        format!(
            "Files: {merged}write `{}` for llama.cpp and Ollama.",
            self.folder.gguf().display()
        )
    }
}

/// Returns the path of a model's folder relative to the tuning's folder, as the target of a link.
pub(super) fn relative(folder: &TuneFolder, model: &Path) -> PathBuf {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let (root, model) = (whole(folder.root()), whole(model));
    model
        .strip_prefix(&root)
        .map_or(model.clone(), PathBuf::from)
}

/// Returns true if a model has a chat template: its base's, or that of the conversations that it was trained on.
fn chats(model: &Path) -> Result<bool, StudyError> {
    has_template(&polymath_model::tokenizer_in(model).map_err(StudyError::refused)?)
}

/// Returns true if prompts of the niche end in a line break that was put between them and their responses.
fn has_parted_prompts(dataset: &Dataset, niche: &str) -> bool {
    let domain = dataset.manifest().domains.get(niche);
    domain.is_some_and(|domain| domain.notes.parted_pairs > 0)
}
